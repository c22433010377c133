"""Verb: what more labels, or a larger head, would give, as curves of scores.

Reads as `fit-heads` does, trains the linear reference and the best simple head on parts of the
training rows, fits learning curves, and trains heads of every size on the best view. Nothing is
written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from featcache.data.parts import read_parts
from featcache.data.texts import TextOptions
from featcache.evidence.capacity import DEPTHS, WIDTHS, CapacityPoint
from featcache.evidence.curves import MeasuredCurve
from featcache.features.commands import DEFAULT_CACHE
from featcache.features.find import find_space
from featcache.features.request import pooling_named
from featcache.features.views import VIEWS
from featcache.heads.candidate import Candidate
from featcache.heads.shape import HeadShape
from featcache.progress import Progress, Silent, Stage
from featcache.search.candidates import Candidates, base_recipe
from featcache.search.options import SearchOptions, heads_asked_for, listed, seeds_from
from featcache.search.problem import LabelProblem, memory_told, views_asked_for

SPLIT = "0.8/0.2"  # nothing is chosen for good here, so no rows are kept for a test
HEADS = ("logreg", "mlp")  # simple ones, among which the best is looked for
_SEARCHED_DEPTHS, _SEARCHED_WIDTHS = (1,), (256,)


@dataclass(frozen=True)
class Curves:
    """What `curves` measured.

    Attributes:
        label: The label.
        metric: The metric of all scores.
        space: The space that the features come from.
        rows: Numbers of training and of validation rows.
        classes: The names of the classes.
        learning_curves: The score by training rows, of the linear reference and, where it is
            another, of the best simple head, which is last.
        view: What the heads of `capacity` see.
        capacity: Heads of each size, trained on all training rows.
        seconds: How long it all took.
    """

    label: str
    metric: str
    space: str
    rows: tuple[int, int]
    classes: tuple[Any, ...]
    learning_curves: tuple[MeasuredCurve, ...]
    view: str
    capacity: tuple[CapacityPoint, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Make the object that `--json` prints.

        Returns:
            `learning_curve` is that of the best simple head; `learning_curves` has all, the linear
            reference first.
        """
        learning_curves = [curve.to_json() for curve in self.learning_curves]
        return {
            "label": self.label,
            "metric": self.metric,
            "space": self.space,
            "rows": {"train": self.rows[0], "validation": self.rows[1]},
            "classes": list(self.classes),
            "learning_curve": learning_curves[-1],
            "learning_curves": learning_curves,
            "capacity": {"view": self.view, "heads": [point.to_json() for point in self.capacity]},
            "seconds": round(self.seconds, 3),
        }


def curves(
    train: Any,
    *,
    label: str,
    validation: Any = None,
    test: Any = None,
    split: str | None = None,
    cache: str | os.PathLike[str] = DEFAULT_CACHE,
    strict: bool = False,
    backbone: str | os.PathLike[str] | None = None,
    space: str | None = None,
    text: str | None = None,
    template: str | None = None,
    encoding: str = "utf-8",
    skip_empty: bool = False,
    heads: Sequence[str] | str = HEADS,
    depths: Sequence[int] = DEPTHS,
    widths: Sequence[int] = WIDTHS,
    layers: str | Sequence[int] | None = None,
    pooling: str | Sequence[str] | None = None,
    views: str | Sequence[str] = VIEWS,
    metric: str = "macro_f1",
    balance: str = "none",
    seed: int = 0,
    progress: Progress | None = None,
    pool: str | Sequence[str] | None = None,
) -> Curves:
    """Measure the score against the number of training rows, and against the size of the head.

    The same call with the same seed gives the same result on one machine.

    Args:
        train: Files or tables; see `data.read.read`.
        label: The column of the labels.
        validation: Rows to score on; without them, a part of the training rows.
        test: Rows whose texts are left out of training; nothing else of them is read.
        split: Shares "train/validation"; by default 0.8/0.2.
        cache: The folder of the cache.
        strict: Raise where a text stands in two parts, instead of dropping it from training.
        backbone: The model whose space is used, where there are several spaces.
        space: The space that is used, by its name or the beginning of its name.
        text: The column of the texts; by default `text`, `sentence`, or the only one.
        template: Text made of columns, such as "{title}: {body}".
        encoding: The encoding of CSV, TSV and JSONL files.
        skip_empty: Go on without rows whose text is empty or missing.
        heads: Kinds of head, of linear, mlp (one hidden layer of 256) and logreg. The best of them
            on any view is drawn beside logistic regression on the last layer's mean.
        depths: Numbers of hidden layers that are compared on the best view; 0 is linear.
        widths: Widths of hidden layers that are compared on the best view.
        layers: Layers to try; by default all that are cached.
        pooling: Poolings to try; by default all that are cached.
        views: Kinds of view: single, layers (side by side), poolings (side by side), mix.
        metric: What is drawn: accuracy, macro_f1, weighted_f1 or mcc.
        balance: For classes of unequal size: none, weights, oversample or undersample.
        seed: The seed of the split, the draws and the training.
        progress: Where progress is shown; by default nowhere.
        pool: Another name of `pooling`.

    Returns:
        The learning curves, and the scores by size of the head.

    Raises:
        InputError: Data or options are wrong; classes derived from it say what.
        CacheMissError: No space holds all rows; the message has the `extract` command.
        SplitError: A text stands in two parts, under `strict`.
        MachineError: Memory is full.
    """
    started = time.perf_counter()
    pooling = pooling_named(pooling, pool)
    progress = progress or Silent()
    mlp = HeadShape("mlp", 1, 1)
    heads_asked_for(["mlp"], depths, widths, mlp)  # refuses impossible depths and widths
    shapes, _ = heads_asked_for(heads, _SEARCHED_DEPTHS, _SEARCHED_WIDTHS, mlp)
    options = _options(shapes, listed(views), metric, balance, seed)
    reading = TextOptions(text, template, encoding, skip_empty)
    if split is None and validation is None:
        split = SPLIT
    parts = read_parts(
        train,
        validation,
        test,
        label=label,
        split=split,
        reading=reading,
        seed=seed,
        strict=strict,
        warn=progress.note,
    )
    chosen_space = find_space(
        Path(cache),
        [parts.train, parts.validation],
        backbone=backbone,
        name=space,
        layers=layers,
        pool=pooling,
        reading=reading.options(),
    )
    tried = views_asked_for(chosen_space, layers, pooling, options)
    from featcache.features.budget import MemoryBudget
    from featcache.features.cached import CachedStates

    with MemoryBudget() as room, memory_told():
        rows = [chosen_space.find(part.keys) for part in (parts.train, parts.validation)]
        states = CachedStates(chosen_space, np.concatenate(rows), room)
        is_split = validation is None
        problem = LabelProblem.of(
            label, parts, chosen_space, states, options, tried, split=is_split
        )
        best = _best(problem, progress)
        learning_curves = _learning_curves(problem, best, progress)
        capacity = _capacity(problem, best, depths, widths, progress)
    return Curves(
        label=label,
        metric=metric,
        space=chosen_space.name,
        rows=(len(parts.train.texts), len(parts.validation.texts)),
        classes=tuple(problem.classes),
        learning_curves=learning_curves,
        view=str(best.view),
        capacity=capacity,
        seconds=time.perf_counter() - started,
    )


def _options(
    shapes: tuple[HeadShape, ...], views: tuple[str, ...], metric: str, balance: str, seed: int
) -> SearchOptions:
    """Return options for a search of simple heads: by halving, without limits, with one seed."""
    return SearchOptions(
        heads=shapes,
        factories=(),
        views=views,
        metric=metric,
        search="halving",
        trials=None,
        seconds=None,
        cv=None,
        seeds=seeds_from(seed, 1),
        balance=balance,
        focal=0.0,
        thresholds=False,
    )


def _best(problem: LabelProblem, progress: Progress) -> Candidate:
    """Choose the simplest of the best simple heads on validation rows."""
    from featcache.features.budget import MemoryBudget
    from featcache.search.search import Search
    from featcache.search.selection import choose

    sweep, balance = problem.sweep, problem.wanted.balance
    n_rows = sweep.task.epoch_size(sweep.part.labels[sweep.folds[0].train], balance)
    recipe = base_recipe(n_rows, seed=sweep.seed, balanced=balance == "weights")
    candidates = Candidates(tuple(problem.views), problem.wanted.heads, recipe).grid()
    with Stage(progress, "heads", len(candidates)) as stage, MemoryBudget() as room:
        search = Search(
            problem.sweep,
            room=room,
            watch=lambda best: stage.reach(best.n_done, str(best)),
            out_of_time=lambda: False,
        )
        return choose(search.run(candidates, halving=True), problem.sweep).candidate


def _learning_curves(
    problem: LabelProblem, best: Candidate, progress: Progress
) -> tuple[MeasuredCurve, ...]:
    from featcache.evidence.curves import curve_sizes, measure_learning_curve

    measured = []
    n_sizes = len(curve_sizes(len(problem.sweep.folds[0].train), problem.task.fewest_rows))
    for candidate in dict.fromkeys([problem.reference, best]):
        with Stage(progress, "rows", n_sizes) as stage:
            watch = partial(_show_rows, stage, candidate)
            measured.append(measure_learning_curve(candidate, problem.sweep, watch=watch))
    return tuple(measured)


def _show_rows(stage: Stage, candidate: Candidate, n_rows: int) -> None:
    stage.advance(1, f"{n_rows:,} rows, {candidate.head} on {candidate.view}")


def _capacity(
    problem: LabelProblem,
    best: Candidate,
    depths: Sequence[int],
    widths: Sequence[int],
    progress: Progress,
) -> tuple[CapacityPoint, ...]:
    from featcache.evidence.capacity import measure_capacity

    n_heads = 1 + len({depth for depth in depths if depth}) * len(set(widths))
    with Stage(progress, "capacity", n_heads) as stage:
        points = measure_capacity(
            best.view,
            problem.sweep,
            depths=depths,
            widths=widths,
            watch=lambda n_done: stage.reach(n_done, f"on {best.view}"),
        )
        return tuple(points)
