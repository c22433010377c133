"""Does a learning curve keep its word? Scores at full data, predicted from half of it.

    python benchmarks/learning_curves.py --data spam=sms_spam.parquet \\
        --data news=ag_news.train.parquet [--seeds 3]
    python benchmarks/learning_curves.py            # planted tasks alone, half a minute

A case is a data set (or a planted task), a head on a view, a metric and a seed. The curve is
fitted, as `featcache curves` does, on parts of one half of the training rows, up to that half; then
the head is trained on all training rows and scored on the same held-back rows. A hit is a score
within the stated 95 % interval; 80 to 97 % of hits is the aim: more says that the intervals are too
wide. Width is that of the interval, in points; "error" is how far its middle lies off (root of the
mean square), "no change" how far off one would be with the score at half the data. The exit code is
1 where fewer than 80 % hit.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import numpy as np
from common import backbone_or_minilm, machine, machine_line, plain_table, run
from head_data import Task, extracted, prepared

from featcache.evidence.curves import measure_learning_curve
from featcache.features.budget import MemoryBudget
from featcache.features.folds import Fold
from featcache.features.source import ArraySource
from featcache.features.views import View, reference_view
from featcache.heads.candidate import Candidate
from featcache.heads.setup import LabelledPositions, TrainingSetup
from featcache.heads.shape import HeadShape
from featcache.search.candidates import base_recipe
from featcache.search.search import Search
from featcache.tasks.single_label import SingleLabel
from featcache.tasks.strata import part_of

METRICS = ("macro_f1", "accuracy", "mcc")  # taken in turn
LEAST = 0.8
ONE = View((0,), ("mean",))


@dataclass(frozen=True)
class Case:
    """One prediction. truth: the score at full data; value, low, high: what was predicted;
    half: the score with half of the data.
    """

    data: str
    head: str
    view: str
    metric: str
    seed: int
    rows: int
    truth: float
    value: float
    low: float
    high: float
    half: float

    @property
    def hit(self) -> bool:
        return self.low <= self.truth <= self.high


def predict_from_half(data: str, sweep: TrainingSetup, candidate: Candidate) -> Case:
    """One case. sweep: one fold of all rows; the half is drawn here."""
    (fold,) = sweep.folds
    labels = sweep.part.labels[fold.train]
    half = part_of(fold.train, labels, len(fold.train) // 2, seed=sweep.seed + 77)
    measured = measure_learning_curve(candidate, replace(sweep, folds=(Fold(half, fold.held),)))
    assert measured.curve is not None, "too few rows for a curve"
    predicted = measured.curve.at(len(fold.train))
    with MemoryBudget() as room:
        search = Search(sweep, room=room, watch=lambda _: None, out_of_time=lambda: False)
        truth = search.run([candidate])[0].validation[sweep.metric]
    return Case(
        data,
        str(candidate.head),
        str(candidate.view),
        sweep.metric,
        sweep.seed,
        len(fold.train),
        truth,
        predicted.value,
        predicted.low,
        predicted.high,
        measured.points[-1].score.value,
    )


def heads_of(views: tuple[View, ...], n_rows: int) -> list[Candidate]:
    """The usual head, and a deeper one, on each view."""
    recipe = base_recipe(n_rows, seed=0)
    mlp = HeadShape("mlp", 1, 64)
    candidates = []
    for view in views:
        candidates += [Candidate(view, HeadShape("logreg")), Candidate(view, mlp, recipe)]
    return candidates


def real(
    name: str, file: Path, label: str, backbone: str | None, cache: Path, seeds: int
) -> Iterator[Case]:
    """Cases of a data set: two views, two heads each."""
    model = backbone_or_minilm(backbone)
    task = Task.read(file, None, label, None)
    space = extracted(task, model, cache)
    for seed in range(seeds):
        with MemoryBudget() as room:
            ready = prepared(task, space, room, metric=METRICS[0], seed=seed)
            n_train = len(ready.sweep.folds[0].train)
            part = LabelledPositions(
                np.concatenate([ready.sweep.part.rows, ready.test.rows]),
                np.concatenate([ready.sweep.part.labels, ready.test.labels]),
            )
            # Nothing is chosen here, so validation and test rows are held back together.
            folds = (Fold(np.arange(n_train), np.arange(n_train, len(part.rows))),)
            layers = space.contract.layers
            last = reference_view(layers, space.contract.poolings)
            middle = View((layers[len(layers) // 2],), last.poolings)
            for place, candidate in enumerate(heads_of((last, middle), n_train)):
                sweep = replace(
                    ready.sweep,
                    part=part,
                    folds=folds,
                    metric=METRICS[(place + seed) % len(METRICS)],
                )
                yield predict_from_half(name, sweep, candidate)


def planted(seeds: int) -> Iterator[Case]:
    """Linear tasks of growing difficulty, one that no head can learn, and XOR."""
    for seed in range(seeds):
        for name, inputs, signal in (
            ("linear, easy", 32, 0.5),
            ("linear, wide", 256, 0.15),
            ("linear, faint", 64, 0.08),
            ("no signal", 64, 0.0),
            ("xor", 16, 1.0),
        ):
            generator = np.random.default_rng([seed, inputs])
            n_train, n_rows = 1600, 2600
            labels = generator.integers(0, 2, n_rows)
            features = generator.standard_normal((n_rows, inputs)).astype(np.float32)
            if name == "xor":
                labels = (
                    (features[:, 0] * features[:, 1] > 0) ^ (generator.random(n_rows) < 0.05)
                ).astype(np.int64)
            else:
                features += (signal * (2 * labels - 1))[:, None].astype(np.float32)
            folds = (Fold(np.arange(n_train), np.arange(n_train, n_rows)),)
            part = LabelledPositions(np.arange(n_rows), labels)
            logreg, mlp = heads_of((ONE,), n_train)
            for place, candidate in enumerate((mlp,) if name == "xor" else (logreg,)):
                metric = METRICS[(place + seed) % len(METRICS)]
                sweep = TrainingSetup(
                    ArraySource({ONE: features}),
                    part,
                    folds,
                    SingleLabel((0, 1)),
                    metric,
                    seed,
                    (seed,),
                )
                yield predict_from_half(f"planted: {name}", sweep, candidate)


def summary(cases: list[Case]) -> dict[str, float]:
    """Shares and points over some cases."""
    error = [100 * (case.truth - case.value) for case in cases]
    still = [100 * (case.truth - case.half) for case in cases]
    return {
        "cases": len(cases),
        "hits": round(float(np.mean([case.hit for case in cases])), 3),
        "median_width": round(
            float(np.median([100 * (case.high - case.low) for case in cases])), 2
        ),
        "error": round(float(np.sqrt(np.mean(np.square(error)))), 2),
        "no_change": round(float(np.sqrt(np.mean(np.square(still)))), 2),
    }


def table(cases: list[Case]) -> str:
    """Data sets down."""
    names = list(dict.fromkeys(case.data for case in cases))
    groups = [(name, [case for case in cases if case.data == name]) for name in names] + [
        ("all", cases)
    ]
    rows = []
    for name, group in groups:
        figures = summary(group)
        points = [f"{figures[key]:.1f}" for key in ("median_width", "error", "no_change")]
        rows.append([name, f"{figures['cases']:.0f}", f"{figures['hits']:.0%}", *points])
    return plain_table(["data", "cases", "hits", "median width", "error", "no change"], rows)


@click.command(
    help="Predict scores at full data from half of it; exits with 1 where fewer than 80 % hold."
)
@click.option("--data", "sets", multiple=True, metavar="NAME=FILE", help="Labelled texts.")
@click.option("--label", default="label", show_default=True, help="Column of the labels.")
@click.option("--backbone", help="Model folder or hub id [MiniLM of the extra `demo`].")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Cache folder, kept between runs [a temporary one].",
)
@click.option(
    "--seeds",
    default=3,
    show_default=True,
    type=click.IntRange(1),
    help="Splits and draws of each.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on stdout; the table goes to stderr."
)
def main(
    *,
    sets: tuple[str, ...],
    label: str,
    backbone: str | None,
    cache: Path | None,
    seeds: int,
    as_json: bool,
) -> None:
    """Read the options, run, and report."""
    started = time.monotonic()
    cases = list(planted(seeds))
    with tempfile.TemporaryDirectory() as temporary:
        for named_file in sets:
            name, _, file = named_file.partition("=")
            cases += real(name, Path(file), label, backbone, cache or Path(temporary), seeds)
    click.echo(table(cases), err=as_json)
    click.echo(f"\n{time.monotonic() - started:.0f} s; {machine_line()}", err=as_json)
    holds = summary(cases)["hits"] >= LEAST
    if as_json:
        report = {
            "benchmark": "learning_curves",
            "summary": summary(cases),
            "holds": holds,
            "cases": [{**asdict(case), "hit": case.hit} for case in cases],
            "machine": machine(),
        }
        click.echo(json.dumps(report, ensure_ascii=False))
    if not holds:
        sys.exit(1)


if __name__ == "__main__":
    run(main)
