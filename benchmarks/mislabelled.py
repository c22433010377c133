"""Are wrong labels found? Labels of real data are flipped and looked for as `fit-heads` does.

    python benchmarks/mislabelled.py --data news=ag_news.train.parquet \\
        [--shares 0,0.01,0.03,0.1] [--seeds 3]

A share of the labels is replaced by other classes. A search over a dozen heads on 80 % of the rows
picks the three best on the others; their out-of-fold probabilities (five folds) rank the rows.
Reported: how many rows are listed, how many of the flipped ones are among them (found), and what
share of the list they are (precision). Rows whose label was wrong before are counted against the
list, so precision is a lower bound; the row with share 0 tells how many these may be. "cleanlab" is
the list without our bound on the probability. The exit code is 1 where of 3 % flipped labels less
than 75 % are found, or at a precision below 60 % (means over seeds), unless the heads call more
than 15 % of all rows something else: what they cannot do they cannot check (sst2 on MiniLM, 18 %:
51 % found at 45 %).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
from common import backbone_or_minilm, machine, machine_line, plain_table, run
from head_data import Task, extracted
from numpy.typing import NDArray

from featcache.cache.space import Space
from featcache.data.keys import row_keys
from featcache.evidence.mislabelled import best_heads, find_mislabelled, held_out_probabilities
from featcache.features.budget import MemoryBudget
from featcache.features.cached import CachedStates
from featcache.features.folds import Fold, folds_of
from featcache.features.views import View, reference_pooling
from featcache.heads.setup import LabelledPositions, TrainingSetup
from featcache.heads.shape import HeadShape
from featcache.search.candidates import Candidates, base_recipe
from featcache.search.search import Search
from featcache.tasks.single_label import SingleLabel

FOUND, PRECISION, REQUIRED_AT, MOST_ERRORS = 0.75, 0.6, 0.03, 0.15
HEADS = (HeadShape("logreg"), HeadShape("mlp", 1, 256), HeadShape("mlp", 2, 256))


@dataclass(frozen=True)
class Case:
    """One data set with some labels flipped. cleanlab_*: of the list without the bound."""

    data: str
    share: float
    seed: int
    rows: int
    flipped: int
    listed: int
    found: float
    precision: float
    cleanlab_listed: int
    cleanlab_found: float
    cleanlab_precision: float
    disagree: int
    heads: list[str]
    seconds: float


def flipped_labels(
    truth: NDArray[np.int64], share: float, n_classes: int, seed: int
) -> NDArray[np.int64]:
    """Each flipped label is one of the other classes, evenly."""
    generator = np.random.default_rng([seed, round(1e6 * share)])
    given = truth.copy()
    places = generator.choice(len(truth), round(share * len(truth)), replace=False)
    given[places] = (truth[places] + generator.integers(1, n_classes, len(places))) % n_classes
    return given


def case(name: str, task: Task, space: Space, share: float, seed: int) -> Case:
    """Flip, search, look, count."""
    started = time.monotonic()
    classes = sorted(set(task.train[task.label]))
    truth = SingleLabel(tuple(classes)).encode(list(task.train[task.label]))
    given = flipped_labels(truth, share, len(classes), seed)
    keys = row_keys(list(task.train["text"]))
    rows, n_rows = space.find(keys), len(truth)
    folds = folds_of(keys, [classes[number] for number in given], 5, seed=seed)
    layers, pooling = space.contract.layers, (reference_pooling(space.contract.poolings),)
    views = (layers[-1:], layers[len(layers) // 2 :][:1], layers[-4:], layers)
    with MemoryBudget() as room:
        states = CachedStates(space, rows, room)
        first = (Fold(folds[0].train, folds[0].held),)
        sweep = TrainingSetup(
            states,
            LabelledPositions(rows, given),
            first,
            SingleLabel(tuple(classes)),
            "macro_f1",
            seed,
            (seed,),
        )
        recipe = base_recipe(len(first[0].train), seed=seed)
        candidates = Candidates(
            tuple(View(tuple(some_layers), pooling) for some_layers in views), HEADS, recipe
        ).grid()
        with MemoryBudget() as inner:
            search = Search(
                sweep,
                room=inner,
                watch=lambda _: None,
                out_of_time=lambda: False,
            )
            best = best_heads(search.run(candidates, halving=True), sweep.metric)
        probabilities = held_out_probabilities(best, sweep, folds)
    wrong = given != truth
    listed, plain = (
        find_mislabelled(probabilities, given),
        find_mislabelled(probabilities, given, max_probability=1.0),
    )

    def shares(places: NDArray[np.int64]) -> tuple[float, float]:
        hits = int(wrong[places].sum())
        return hits / max(1, int(wrong.sum())), hits / max(1, len(places))

    return Case(
        name,
        share,
        seed,
        n_rows,
        int(wrong.sum()),
        len(listed),
        *shares(listed.rows),
        len(plain),
        *shares(plain.rows),
        listed.n_disagreeing,
        [f"{trial.head} on {trial.view}" for trial in best],
        round(time.monotonic() - started, 1),
    )


def table(cases: list[Case]) -> str:
    """Data sets and shares down, means over seeds."""
    rows = []
    for name, share in dict.fromkeys((case.data, case.share) for case in cases):
        group = [case for case in cases if (case.data, case.share) == (name, share)]

        def mean(field: str, group: list[Case] = group) -> float:
            return float(np.mean([getattr(case, field) for case in group]))

        numbers = [f"{mean(field):,.0f}" for field in ("rows", "flipped", "disagree", "listed")]
        if share:
            ours, plain = (
                ("found", "precision"),
                ("cleanlab_listed", "cleanlab_found", "cleanlab_precision"),
            )
            worst_found = min(case.found for case in group)
            worst = f"{worst_found:.0%} {min(case.precision for case in group):.0%}"
            cleanlab = [f"{mean(plain[0]):,.0f}", *(f"{mean(field):.0%}" for field in plain[1:])]
            rows.append(
                [
                    name,
                    f"{share:.0%}",
                    *numbers,
                    *(f"{mean(field):.0%}" for field in ours),
                    worst,
                    *cleanlab,
                ]
            )
        else:
            rows.append(
                [name, "0%", *numbers, "", "", "", f"{mean('cleanlab_listed'):,.0f}", "", ""]
            )
    header = [
        "data",
        "share",
        "rows",
        "flipped",
        "disagree",
        "listed",
        "found",
        "precision",
        "worst seed",
    ]
    return plain_table([*header, "cleanlab", "found", "precision"], rows)


def holds(cases: list[Case]) -> bool:
    """Whether the required shares are found, where the heads know the task."""
    good = True
    for name in {case.data for case in cases}:
        group = [case for case in cases if case.data == name and case.share == REQUIRED_AT]
        if group and np.mean([case.disagree / case.rows for case in group]) <= MOST_ERRORS:
            good &= bool(np.mean([case.found for case in group]) >= FOUND)
            good &= bool(np.mean([case.precision for case in group]) >= PRECISION)
    return good


@click.command(help="Flip labels and look for them; exits with 1 where too few are found.")
@click.option(
    "--data", "sets", multiple=True, required=True, metavar="NAME=FILE", help="Labelled texts."
)
@click.option("--label", default="label", show_default=True, help="Column of the labels.")
@click.option(
    "--shares", default="0,0.01,0.03,0.1", show_default=True, help="Of labels that are flipped."
)
@click.option("--backbone", help="Model folder or hub id [MiniLM of the extra `demo`].")
@click.option(
    "--rows", type=click.IntRange(1), help="Rows of each set at most, drawn with a fixed seed."
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Cache folder, kept between runs [a temporary one].",
)
@click.option(
    "--seeds", default=3, show_default=True, type=click.IntRange(1), help="Flips of each share."
)
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on stdout; the table goes to stderr."
)
def main(
    *,
    sets: tuple[str, ...],
    label: str,
    shares: str,
    backbone: str | None,
    rows: int | None,
    cache: Path | None,
    seeds: int,
    as_json: bool,
) -> None:
    """Read the options, run, and report."""
    model, cases = backbone_or_minilm(backbone), []
    with tempfile.TemporaryDirectory() as temporary:
        for named_file in sets:
            name, _, file = named_file.partition("=")
            task = Task.read(Path(file), None, label, rows)
            space = extracted(task, model, cache or Path(temporary))
            for share in map(float, shares.split(",")):
                for seed in range(seeds if share else 1):
                    cases.append(case(name, task, space, share, seed))
                    click.echo(f"{cases[-1]}", err=True)
    click.echo(table(cases), err=as_json)
    click.echo(f"\n{machine_line()}", err=as_json)
    if as_json:
        report = {
            "benchmark": "mislabelled",
            "holds": holds(cases),
            "cases": [asdict(case) for case in cases],
        }
        click.echo(json.dumps({**report, "machine": machine()}, ensure_ascii=False))
    if not holds(cases):
        sys.exit(1)


if __name__ == "__main__":
    run(main)
