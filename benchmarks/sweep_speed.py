"""What stacking and halving save: featcache's default sweep against the same heads one by one.

    python benchmarks/sweep_speed.py --data train.parquet [--test test.parquet] \\
        [--rows N] [--sample K] [--json]

All contestants have the same rows in the same split, and the same states in memory. They are:

featcache      the default candidates, stacked and halved, as `fit-heads` searches them
stacked        the same candidates stacked, all to their end: what halving saves is its time over
               featcache's
one by one     the same candidates, each alone in a plain PyTorch loop (`plain_heads.py`) to its
               end, logistic regression by scikit-learn for each C from scratch: what stacking saves
               is its time over `stacked`
scikit-learn   GridSearchCV over logistic regression's C and MLPClassifier's depths and widths on
               every view but the mixed one, all cores; its choice is its best, for it keeps no
               predictions
steps          one step of 32, 64 and 128 stacked linear heads of a view, against as many steps of
               one in plain PyTorch
first          from opening the cache to the first score that is shown, each time in a fresh process

featcache's times hold standardising the states and scoring training rows; those of the others do
not. Nothing holds the backbone's pass, the choice's refit or the test. One by one takes minutes:
--sample K trains every K-th candidate of each shape and scales the time by shape; the table says
so.

Before times are shown, the scores must agree: heads one by one with the same heads stacked, on
average, and the chosen validation scores, both within --tolerance points. Exit code 1: they do not
(the times are in the JSON file alone), or a figure misses its bound.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from common import Model, backbone_or_minilm, machine, machine_line, median, plain_table, run
from head_data import Prepared, Task, extracted, prepared, read_all
from plain_heads import Grid, OneByOne, adamw, grid_searches, model_of
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch.nn import functional

from featcache.features.budget import MemoryBudget
from featcache.features.matrices import raw_features
from featcache.heads.candidate import Candidate
from featcache.heads.recipe import Metric, Recipe
from featcache.heads.setup import TrainingSetup
from featcache.heads.shape import HeadShape
from featcache.heads.stack import Architecture
from featcache.heads.train import StackRows, StackTraining
from featcache.search.candidates import TRIALS
from featcache.search.finalise import finished, tested
from featcache.search.search import Search
from featcache.search.selection import best_of, choose
from featcache.search.trial import Trial

CONTESTANTS = ("featcache", "stacked", "one by one", "scikit-learn", "steps", "first")
STACKS = (32, 64, 128)
STEP_RATIO, FIRST_SECONDS = 10.0, 3.0
STEP_EPOCHS = (
    8  # so many epochs of steps are one measurement: what happens between epochs weighs little then
)

FIRST = """
import json, os, sys, time
launched, imported = float(sys.argv[1]), sys.argv[2] == "imported"
train, test, label, cache, space, out = sys.argv[3:]
import featcache
if imported:
    import scipy.sparse, sklearn.linear_model, sklearn.feature_extraction.text
    import featcache.verbs.fit, featcache.search.finalise, featcache.search.search
    from featcache.progress import Silent
    launched = time.time()
from featcache.progress import Silent

class Watch(Silent):
    def advance(self, rows, detail):
        print(json.dumps({"seconds": time.time() - launched, "shown": detail}), flush=True)
        os._exit(0)

options = {"test": test or None, "label": label, "text": "text"}
places = {"cache": cache, "space": space, "out": out}
featcache.fit_heads(train, **options, **places, progress=Watch())
"""


@dataclass(frozen=True)
class Result:
    """What a contestant found, and how long it took. seconds: each run; scaled where a sample was
    trained.

    best, chosen: validation scores in points.  test: accuracy of the choice after its refit, in
    points.
    """

    name: str
    n_candidates: int
    n_trained: int
    seconds: list[float]
    best: float
    chosen: float
    choice: str
    test: float

    @property
    def median(self) -> float:
        return median(self.seconds)


def search_all(
    ready: Prepared, candidates: Sequence[Candidate], *, halving: bool
) -> tuple[list[Trial], float]:
    """The search as `fit-heads` calls it."""
    with MemoryBudget() as room:
        started = time.perf_counter()
        search = Search(ready.sweep, room=room, watch=lambda _: None, out_of_time=lambda: False)
        trials = search.run(candidates, halving=halving, stays=ready.reference.__eq__)
        return trials, time.perf_counter() - started


def result_of(
    name: str, ready: Prepared, trials: Sequence[Trial], n_candidates: int, seconds: Sequence[float]
) -> Result:
    """The choice among the trials, refitted and scored on the test rows."""
    metric = ready.sweep.metric
    choice = choose(trials, ready.sweep)
    scored, _, _ = tested(finished(choice, ready.sweep, thresholds=False), ready.sweep, ready.test)
    done = [trial for trial in trials if not trial.dropped]
    return Result(
        name=name,
        n_candidates=n_candidates,
        n_trained=len(trials),
        seconds=[round(one, 3) for one in seconds],
        best=round(100 * best_of(done, metric).validation[metric], 3),
        chosen=round(100 * choice.validation[metric], 3),
        choice=f"{choice.head} on {choice.view}",
        test=round(100 * scored.intervals["accuracy"].value, 3),
    )


def sampled(candidates: Sequence[Candidate], every: int) -> dict[Candidate, float]:
    """Every so many-th candidate of those with one head and as many inputs, and how many each
    stands for.
    """
    groups: dict[tuple[Any, ...], list[Candidate]] = {}
    for one in candidates:
        key = (one.head, len(one.view.layers), len(one.view.poolings), one.view.mixed)
        groups.setdefault(key, []).append(one)
    found: dict[Candidate, float] = {}
    for group in groups.values():
        taken = group[(every - 1) // 2 :: every] or group[:1]
        found |= dict.fromkeys(taken, len(group) / len(taken))
    return found


def one_by_one(alone: OneByOne, stands_for: dict[Candidate, float]) -> tuple[list[Trial], float]:
    """Each candidate alone; seconds of all that they stand for."""
    trials: list[Trial] = []
    for candidate in stands_for:
        alone.features(candidate.view)
        trials.append(alone.trial(candidate))
        click.echo(
            f"  {len(trials)}/{len(stands_for)} {candidate.head} on {candidate.view}: "
            f"{trials[-1].seconds:.2f} s",
            err=True,
        )
    return trials, sum(trial.seconds * stands_for[trial.candidate] for trial in trials)


def agreement(mine: Sequence[Trial], theirs: Sequence[Trial], metric: str) -> dict[str, Any]:
    """Validation scores of the same candidates, stacked less one by one, in points."""
    rival = {trial.candidate: trial.validation[metric] for trial in theirs}
    gaps: dict[str, list[float]] = {"linear": [], "mlp": [], "logreg": []}
    for trial in mine:
        if trial.candidate in rival:
            gaps[trial.head.kind].append(100 * (trial.validation[metric] - rival[trial.candidate]))
    return {
        kind: {
            "heads": len(values),
            "mean": round(float(np.mean(values)), 3),
            "mean_absolute": round(float(np.abs(values).mean()), 3),
        }
        for kind, values in gaps.items()
        if values
    }


def scikit_learn(
    ready: Prepared, alone: OneByOne, cores: int, every: int
) -> tuple[list[Grid], float]:
    """Grid searches on every view; the choice is the best."""
    views = [view for view in ready.views if not view.mixed]
    single, joined = (
        [view for view in views if view.single],
        [view for view in views if not view.single],
    )
    some = [*single[(every - 1) // 2 :: every], *joined] if every > 1 else views
    factor = len(single) / max(1, sum(view.single for view in some))
    grid_searches(
        ready, alone.features(some[0]), some[0], cores, ("logreg",)
    )  # its processes start
    found: list[Grid] = []
    for view in some:
        found += grid_searches(ready, alone.features(view), view, cores, ("logreg", "mlp"))
        click.echo(f"  grids on {view}: {sum(one.seconds for one in found[-2:]):.2f} s", err=True)
    return found, sum(one.seconds * (factor if one.view.single else 1.0) for one in found)


def result_of_grids(ready: Prepared, grids: Sequence[Grid], seconds: float) -> Result:
    """The best of the grids, refitted on training and validation rows by scikit-learn."""
    best = max(grids, key=lambda one: one.score)
    pipeline = make_pipeline(StandardScaler(), best.model)
    pipeline.fit(
        raw_features(ready.sweep.source, best.view, ready.sweep.part.rows), ready.sweep.part.labels
    )
    predicted = pipeline.predict(raw_features(ready.sweep.source, best.view, ready.test.rows))
    score = round(100 * best.score, 3)
    n_views = sum(not view.mixed for view in ready.views)
    per_view = sum(one.n_fits for one in grids if one.view == grids[0].view)
    return Result(
        name="scikit-learn",
        n_candidates=n_views * per_view,
        n_trained=sum(one.n_fits for one in grids),
        seconds=[round(seconds, 3)],
        best=score,
        chosen=score,
        choice=f"{best.kind} {best.model.get_params().get('hidden_layer_sizes', '')} "
        f"on {best.view}",
        test=round(100 * float((predicted == ready.test.labels).mean()), 3),
    )


def step_times(ready: Prepared, alone: OneByOne, repeats: int) -> list[dict[str, float]]:
    """Microseconds of a step of M stacked linear heads, and of one in plain PyTorch, in turns."""
    view = ready.reference.view
    x, fold = alone.features(view).train, ready.sweep.folds[0]
    labels = torch.from_numpy(ready.sweep.part.labels[fold.train])
    base = replace(ready.candidates.base, max_epochs=1)
    architecture = Architecture(HeadShape("linear"), x.shape[1], ready.sweep.task.n_outputs)
    metric = ready.sweep.score
    n_steps = math.ceil(STEP_EPOCHS * len(labels) / base.batch_size)

    def drawn(generator: torch.Generator) -> torch.Tensor:
        return torch.cat(
            [torch.randperm(len(labels), generator=generator) for _ in range(STEP_EPOCHS)]
        )

    seconds: dict[int, list[float]] = {count: [] for count in (1, *STACKS)}
    for _ in range(repeats + 1):
        given = plain_steps(architecture, base, x, labels, drawn, seconds[1])
        for count in STACKS:
            stacked = stacked_steps(
                architecture, base, count, x, labels, drawn, metric, seconds[count]
            )
            same = float((given == stacked).float().mean())
            if same < 0.99:
                msg = (
                    f"of {count} stacked heads the first agrees with a plain one on only "
                    f"{same:.1%} of training rows."
                )
                raise click.ClickException(f"{msg} Times of different results are not compared.")
    one = 1e6 * float(np.median(seconds[1][1:])) / n_steps
    return [
        {
            "heads": count,
            "stacked_us": round(1e6 * float(np.median(seconds[count][1:])) / n_steps, 1),
            "plain_us": round(one, 1),
            "ratio": round(count * one * n_steps / 1e6 / float(np.median(seconds[count][1:])), 2),
        }
        for count in STACKS
    ]


def plain_steps(
    architecture: Architecture,
    recipe: Recipe,
    x: torch.Tensor,
    labels: torch.Tensor,
    drawn: Callable[[torch.Generator], torch.Tensor],
    seconds: list[float],
) -> torch.Tensor:
    """Train one head; the classes that it gives the training rows."""
    model = model_of(architecture, recipe)
    optimizer = adamw(model, recipe)
    order = torch.Generator().manual_seed(recipe.seed)
    started = time.perf_counter()
    for rows in torch.split(drawn(order), recipe.batch_size):
        loss = functional.cross_entropy(model(x.index_select(0, rows)), labels[rows])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
    seconds.append(time.perf_counter() - started)
    with torch.no_grad():
        return model(x).argmax(dim=1)  # type: ignore[no-any-return]  # modules are untyped


def stacked_steps(
    architecture: Architecture,
    recipe: Recipe,
    count: int,
    x: torch.Tensor,
    labels: torch.Tensor,
    drawn: Callable[[torch.Generator], torch.Tensor],
    metric: Metric,
    seconds: list[float],
) -> torch.Tensor:
    """Train a stack, the first head of which is the plain one; the classes that this one gives the
    training rows.
    """
    # Other rates, so that no head is the other; no average, for the plain head has none.
    recipes = [
        replace(
            recipe, learning_rate=recipe.learning_rate * (1 + place / count), average_epochs=0.0
        )
        for place in range(count)
    ]
    seen = StackRows([x], labels)
    heads = [(0, one) for one in recipes]
    training = StackTraining(
        architecture, seen, None, heads, metric=metric, seed=recipe.seed, rows=drawn
    )
    started = time.perf_counter()
    training.advance(1)
    seconds.append(time.perf_counter() - started)
    return torch.from_numpy(training.predictions(seen)[0])


def first_results(task: Task, cache: Path, space: str, repeats: int) -> dict[str, float]:
    """Median seconds until something is shown, with and without imports."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        files = [
            written(table, Path(folder) / name)
            for table, name in ((task.train, "train"), (task.test, "test"))
        ]
        for how in ("with imports", "imported"):
            seconds = []
            for _ in range(repeats + 1):
                arguments = [how, *files, task.label, str(cache), space, f"{folder}/run"]
                answer = subprocess.run(
                    [sys.executable, "-c", FIRST, str(time.time()), *arguments],
                    check=True,
                    capture_output=True,
                    text=True,
                )
                seconds.append(json.loads(answer.stdout)["seconds"])
            found[how] = median(seconds[1:])
    return found


def written(table: Any, path: Path) -> str:
    """The rows as a JSON-lines file; its name."""
    if table is None:
        return ""
    names = list(table)
    lines = (
        json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False)
        for row in zip(*table.values(), strict=True)
    )
    path = path.with_suffix(".jsonl")
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return str(path)


def measure(
    task: Task,
    model: Model,
    *,
    cache: Path,
    metric: str,
    seed: int,
    only: Sequence[str],
    limit: int,
    sample: int,
    repeats: int,
    bfloat16: bool,
    plain_threads: int | None,
) -> dict[str, Any]:
    """Everything that was asked for, as one object."""
    space = extracted(task, model, cache)
    report: dict[str, Any] = {
        "benchmark": "sweep_speed",
        "backbone": model.name,
        "space": space.name,
        "metric": metric,
    }
    with MemoryBudget() as room:
        ready = prepared(task, space, room, metric=metric, seed=seed)
        read_all(ready)
        candidates = ready.candidates.default(limit)
        alone = OneByOne(ready, bfloat16=bfloat16)
        warm_up(ready, alone, candidates)
        report |= {
            "rows": ready.rows,
            "classes": len(ready.classes),
            "seed": seed,
            "sample": sample,
        }
        report |= {
            "candidates": len(candidates),
            "plain_bfloat16": bfloat16,
            "plain_threads": plain_threads,
        }
        results, trials = searches(ready, candidates, only, repeats)
        stands_for = sampled(candidates, sample)
        if "one by one" in only:
            click.echo(f"one by one: {len(stands_for)} of {len(candidates)} candidates", err=True)
            with threads(plain_threads):
                plain, seconds = one_by_one(alone, stands_for)
            trials["one by one"] = plain
            results.append(result_of("one by one", ready, plain, len(candidates), [seconds]))
            report["seconds_by_shape"] = by_shape(trials)
        if "scikit-learn" in only:
            click.echo("scikit-learn's grid searches", err=True)
            grids, seconds = scikit_learn(ready, alone, os.cpu_count() or 1, sample)
            results.append(result_of_grids(ready, grids, seconds))
        report["contestants"] = [asdict(one) for one in results]
        report["check"] = checks(ready.sweep, trials, stands_for if sample > 1 else None)
        if "steps" in only:
            report["steps"] = step_times(ready, alone, max(repeats, 3))
    if "first" in only:
        report["first"] = first_results(task, cache, space.name, max(repeats, 3))
    return {**report, "machine": machine()}


def searches(
    ready: Prepared, candidates: Sequence[Candidate], only: Sequence[str], repeats: int
) -> tuple[list[Result], dict[str, list[Trial]]]:
    """The two searches of featcache, in turns."""
    names = [name for name in ("featcache", "stacked") if name in only]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    trials: dict[str, list[Trial]] = {}
    for _ in range(repeats):
        for name in names:
            trials[name], taken = search_all(ready, candidates, halving=name == "featcache")
            seconds[name].append(taken)
            click.echo(f"{name}: {taken:.2f} s", err=True)
    return [
        result_of(name, ready, trials[name], len(candidates), seconds[name]) for name in names
    ], trials


def warm_up(ready: Prepared, alone: OneByOne, candidates: Sequence[Candidate]) -> None:
    """A process's first product, optimiser and thread cost more than the next ones."""
    first = {one.head: one for one in reversed(candidates) if one.view.single}
    short = [
        one if one.recipe is None else replace(one, recipe=replace(one.recipe, max_epochs=1))
        for one in first.values()
    ]
    search_all(ready, short, halving=False)
    for one in short:
        alone.trial(one)


def by_shape(trials: dict[str, list[Trial]]) -> list[dict[str, Any]]:
    """Mean seconds of a head one by one, and of the same heads stacked, by shape; a stack's are
    shared out evenly.
    """
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials["one by one"]:
        kind = "mixed" if trial.view.mixed else "single" if trial.view.single else "joined"
        groups.setdefault((str(trial.head), kind), []).append(trial)
    stacked = {trial.candidate: trial.seconds for trial in trials.get("stacked", [])}
    return [
        {
            "head": head,
            "view": view,
            "heads": len(group),
            "one_by_one": round(float(np.mean([one.seconds for one in group])), 3),
            "stacked": round(float(np.mean([stacked[one.candidate] for one in group])), 3)
            if stacked
            else None,
        }
        for (head, view), group in groups.items()
    ]


@contextlib.contextmanager
def threads(count: int | None) -> Iterator[None]:
    """So many threads for PyTorch and what scikit-learn uses."""
    before = torch.get_num_threads()
    if count is None:
        yield
        return
    with threadpool_limits(limits=count):
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def checks(
    sweep: TrainingSetup, trials: dict[str, list[Trial]], stands_for: dict[Candidate, float] | None
) -> dict[str, Any]:
    """What must agree. stands_for: the sample, where only one was trained one by one; it is
    compared with the same.
    """
    found: dict[str, Any] = {}
    if "one by one" not in trials:
        return found
    metric = sweep.metric
    if "stacked" in trials:
        found["heads"] = agreement(trials["stacked"], trials["one by one"], metric)
    rival = "featcache" if stands_for is None else "stacked"
    if rival in trials:
        mine = [one for one in trials[rival] if stands_for is None or one.candidate in stands_for]
        chosen = [
            100 * choose(some, sweep).validation[metric] for some in (mine, trials["one by one"])
        ]
        found["chosen"] = {
            "of": rival if stands_for is None else f"{rival}, the sample",
            "mine": round(chosen[0], 3),
            "one_by_one": round(chosen[1], 3),
        }
    return found


def disagreements(check: dict[str, Any], tolerance: float) -> list[str]:
    """Why the contestants are not comparable; empty where they are."""
    found = []
    heads = check.get("heads", {})
    if heads:
        weight = sum(one["heads"] for one in heads.values())
        mean = sum(one["mean"] * one["heads"] for one in heads.values()) / weight
        if not abs(mean) <= tolerance:
            found.append(
                "stacked heads differ from the same heads one by one by "
                f"{mean:+.2f} points on average"
            )
    chosen = check.get("chosen")
    if chosen and not abs(chosen["mine"] - chosen["one_by_one"]) <= tolerance:
        gap = chosen["mine"] - chosen["one_by_one"]
        found.append(
            f"the validation score chosen by {chosen['of']} is {gap:+.2f} points from that "
            "one by one"
        )
    return found


def missed(report: dict[str, Any]) -> list[str]:
    """Figures that miss their bound."""
    found = [
        f"{one['heads']} stacked heads take a step {one['ratio']:.1f} times faster, "
        f"not {STEP_RATIO:g}"
        for one in report.get("steps", [])
        if one["ratio"] < STEP_RATIO
    ]
    return found + [
        f"the first result takes {seconds:.1f} s ({how}), not {FIRST_SECONDS:g}"
        for how, seconds in report.get("first", {}).items()
        if seconds > FIRST_SECONDS
    ]


def scores_table(report: dict[str, Any]) -> str:
    """What each contestant found."""
    rows = [
        [one["name"], f"{one['n_trained']}/{one['n_candidates']}"]
        + [f"{one[name]:.2f}" for name in ("best", "chosen", "test")]
        + [one["choice"]]
        for one in report["contestants"]
    ]
    header = [
        "",
        "trained",
        f"best validation {report['metric']}",
        "chosen",
        "test accuracy",
        "choice",
    ]
    lines = [plain_table(header, rows)] if rows else []
    for kind, one in report["check"].get("heads", {}).items():
        lines.append(
            f"check: {one['heads']} {kind} heads stacked less one by one: "
            f"{one['mean']:+.2f} points on average (absolute {one['mean_absolute']:.2f})"
        )
    return "\n".join(lines)


def times_table(report: dict[str, Any]) -> str:
    """How long each took."""
    contestants = report["contestants"]
    lines = []
    if contestants:
        base = median(contestants[0]["seconds"])
        scaled = report["sample"] > 1
        rows = [
            [
                one["name"]
                + (" *" if scaled and one["name"] in ("one by one", "scikit-learn") else ""),
                f"{median(one['seconds']):.2f}",
                f"{median(one['seconds']) / base:.2f}",
            ]
            for one in contestants
        ]
        lines.append(plain_table(["", "seconds", f"over {contestants[0]['name']}"], rows))
        if scaled:
            lines.append(f"* one in {report['sample']} trained, of each shape; the time is scaled")
        times = {one["name"]: median(one["seconds"]) for one in contestants}
        if {"featcache", "stacked", "one by one"} <= set(times):
            stacking, halving = (
                times["one by one"] / times["stacked"],
                times["stacked"] / times["featcache"],
            )
            lines.append(
                f"stacking saves a factor of {stacking:.1f}, halving another {halving:.1f}"
            )
    if report.get("seconds_by_shape"):
        rows = [
            [f"{one['head']}, {one['view']} view", str(one["heads"]), f"{one['one_by_one']:.3f}"]
            + (
                []
                if one["stacked"] is None
                else [f"{one['stacked']:.3f}", f"{one['one_by_one'] / one['stacked']:.1f}"]
            )
            for one in report["seconds_by_shape"]
        ]
        header = [
            "seconds a head",
            "heads",
            "one by one",
            "stacked, on one of the cores",
            "times faster",
        ]
        lines.append("\n" + plain_table(header[: len(rows[0])], rows))
    if report.get("steps"):
        rows = [
            [
                str(one["heads"]),
                f"{one['stacked_us']:,.0f}",
                f"{one['plain_us']:,.0f}",
                f"{one['ratio']:.1f}",
                f"≥ {STEP_RATIO:g}",
            ]
            for one in report["steps"]
        ]
        lines.append(
            "\n"
            + plain_table(
                ["linear heads", "a step, µs", "a plain head's", "times faster", "required"], rows
            )
        )
    if report.get("first"):
        rows = [
            [how, f"{value:.2f}", f"≤ {FIRST_SECONDS:g}"] for how, value in report["first"].items()
        ]
        lines.append("\n" + plain_table(["to the first result", "seconds", "required"], rows))
    return "\n".join(lines)


def _only(_context: click.Context, _parameter: click.Parameter, value: str) -> list[str]:
    names = [part.strip() for part in value.split(",")]
    unknown = [name for name in names if name not in CONTESTANTS]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(CONTESTANTS)}")
    return names


@click.command(
    help="Time featcache's sweep against the same heads one by one, after comparing their scores."
)
@click.option(
    "--data", required=True, type=click.Path(exists=True, path_type=Path), help="Rows to train on."
)
@click.option(
    "--test", type=click.Path(exists=True, path_type=Path), help="Test rows [a split of --data]."
)
@click.option("--label", default="label", show_default=True, help="Column of the labels.")
@click.option("--backbone", help="Model folder or hub id [MiniLM of the extra `demo`].")
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Cache folder, kept between runs [a temporary one].",
)
@click.option(
    "--rows",
    type=click.IntRange(1),
    help="Use only so many rows of --data, drawn with a fixed seed.",
)
@click.option("--metric", default="macro_f1", show_default=True, help="What the choice goes by.")
@click.option(
    "--only",
    default=",".join(CONTESTANTS),
    show_default=True,
    callback=_only,
    help="Contestants, by commas.",
)
@click.option(
    "--limit-candidates",
    default=TRIALS,
    show_default=True,
    type=click.IntRange(1),
    help="Heads to try.",
)
@click.option(
    "--sample",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="One by one, train one in so many.",
)
@click.option(
    "--repeats",
    default=3,
    show_default=True,
    type=click.IntRange(1),
    help="Runs of what takes seconds.",
)
@click.option(
    "--plain-bfloat16", is_flag=True, help="Give the plain PyTorch heads autocast to bfloat16."
)
@click.option(
    "--plain-threads", type=click.IntRange(1), help="Threads of heads one by one [all cores]."
)
@click.option(
    "--tolerance", default=0.3, show_default=True, help="Points by which scores may differ."
)
@click.option("--seed", default=0, show_default=True, help="Of the split and the heads.")
@click.option("--out", default="benchmarks-out", show_default=True, type=click.Path(path_type=Path))
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on stdout; the tables go to stderr."
)
def main(
    *,
    data: Path,
    test: Path | None,
    label: str,
    backbone: str | None,
    cache: Path | None,
    rows: int | None,
    metric: str,
    only: list[str],
    limit_candidates: int,
    sample: int,
    repeats: int,
    plain_bfloat16: bool,
    plain_threads: int | None,
    tolerance: float,
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """Read the options, measure, check, and report."""
    task = Task.read(data, test, label, rows)
    with tempfile.TemporaryDirectory() as temporary:
        report = measure(
            task,
            backbone_or_minilm(backbone),
            cache=cache or Path(temporary),
            metric=metric,
            seed=seed,
            only=only,
            limit=limit_candidates,
            sample=sample,
            repeats=repeats,
            bfloat16=plain_bfloat16,
            plain_threads=plain_threads,
        )
    apart = disagreements(report["check"], tolerance)
    report |= {
        "data": data.name,
        "tolerance": tolerance,
        "disagreements": apart,
        "missed": missed(report),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "sweep_speed.json").write_text(
        json.dumps(report, indent=2, ensure_ascii=False) + "\n", "utf-8"
    )
    sizes = ", ".join(f"{count:,} {part}" for part, count in report["rows"].items())
    click.echo(
        f"{data.name}: {sizes}; {report['candidates']} candidates on {report['backbone']}\n",
        err=as_json,
    )
    click.echo(f"{scores_table(report)}\n", err=as_json)
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False))
    if apart:
        raise click.ClickException(
            "; ".join(apart) + ". Times of different results are not compared."
        )
    click.echo(f"{times_table(report)}\n\n{machine_line()}", err=as_json)
    if report["missed"]:
        raise click.ClickException("; ".join(report["missed"]))


if __name__ == "__main__":
    run(main)
