"""Training candidates some way at a time: stacks of heads, paths over C, and modules of the user's,
with one face.

A runner trains candidates on one fold with one seed. How far is told as a `Rung`; between rungs a
search lets the worse ones go.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from featcache.backbone.device import resolve_dtype
from featcache.features.folds import Fold
from featcache.features.matrices import FoldFeatures, raw_features
from featcache.heads.candidate import Candidate
from featcache.heads.kinds.custom import train_custom
from featcache.heads.kinds.logreg import LogisticPath, Point
from featcache.heads.recipe import Examples, Metric, Recipe, TrainingCurves
from featcache.heads.setup import TrainingSetup
from featcache.heads.stack import Architecture
from featcache.heads.train import StackRows, StackTraining
from featcache.tasks.balance import DRAWN
from featcache.tasks.protocol import Task

Classes = NDArray[np.int64]
_LARGEST_STACK = 1 << 25  # numbers that a stack trains: with gradients, moments and average 800 MB
_WORTH_HALF = 16  # outputs of the first layer from which on its product is quicker in bfloat16


@dataclass(frozen=True)
class Rung:
    """How far candidates are trained: heads so many epochs in all, logistic regression so many
    points of its path.
    """

    epochs: int
    points: int


@dataclass(frozen=True)
class FoldOutcome:
    """What became of a candidate in one fold. train, held: classes of its rows. settings: what a
    refit needs.
    """

    train: Classes
    held: Classes
    settings: dict[str, Any]
    curve: dict[str, list[float]]
    n_parameters: int
    seconds: float


class Runner(Protocol):
    """Some candidates, by their numbers, on one fold with one seed."""

    def advance(self, rung: Rung, out_of_time: Callable[[], bool]) -> None:
        """Train up to the rung."""

    def held(self) -> dict[int, Classes]:
        """Classes of the validation rows by each candidate that has been trained at all, at its
        best.
        """

    def drop(self, numbers: set[int]) -> None:
        """Train these no longer."""

    def outcomes(self) -> dict[int, FoldOutcome]:
        """What became of each candidate that has been trained at all."""


def runners_of(
    candidates: Sequence[tuple[int, Candidate]],
    sweep: TrainingSetup,
    fold: Fold,
    features: FoldFeatures,
    metric: Metric,
) -> list[Runner]:
    """Runners for numbered candidates.

    The one with the quickest result is first; then the longest, so that threads end together.
    """
    logistic = [one for one in candidates if one[1].head.kind == "logreg"]
    custom = [one for one in candidates if one[1].head.kind == "custom"]
    stacked = [one for one in candidates if one[1].head.kind not in ("logreg", "custom")]
    stacks = [
        _Stack(part, sweep, fold, features, metric)
        for _, same in groupby(sorted(stacked, key=_stack_key), key=_stack_key)
        for part in _chunks(list(same), sweep.source.width)
    ]
    found: list[Runner] = [*stacks[:1], *reversed(stacks[1:])]
    found += [_Path(one, sweep, fold, features, metric) for one in logistic]
    if custom:
        found.append(_Customs(custom, sweep, fold, metric))
    return found


def _stack_key(one: tuple[int, Candidate]) -> tuple[Any, ...]:
    """What candidates must share to be trained as one stack; cheap shapes sort first."""
    _, candidate = one
    head, view, recipe = candidate.head, candidate.view, candidate.recipe
    assert recipe is not None
    form = (head.activation, head.layer_norm, head.residual)
    layout = (len(view.layers), len(view.poolings), view.mixed)
    return (
        head.depth,
        head.width or 0,
        form,
        not view.single,
        layout,
        not view.scaled,
        recipe.batch_size,
    )


def _chunks(
    group: Sequence[tuple[int, Candidate]], width: int
) -> Iterator[list[tuple[int, Candidate]]]:
    """A group in stacks of bearable size; one view's heads stay together where they can."""
    some: list[tuple[int, Candidate]] = []
    used = 0
    for one in sorted(group, key=lambda one: str(one[1].view)):
        head, view = one[1].head, one[1].view
        n_inputs = width if view.mixed else width * len(view.layers) * len(view.poolings)
        size = (head.width or 1) * (n_inputs + max(0, head.depth - 1) * (head.width or 0))
        if some and used + size > _LARGEST_STACK:
            yield some
            some, used = [], 0
        some.append(one)
        used += size
    yield some


@cache
def bfloat16_is_quicker() -> bool:
    """Whether this processor multiplies bfloat16 natively."""
    return resolve_dtype("auto", "cpu") == "bfloat16"


class _Stack:
    """Heads of one shape, on views of one width."""

    def __init__(
        self,
        group: Sequence[tuple[int, Candidate]],
        sweep: TrainingSetup,
        fold: Fold,
        features: FoldFeatures,
        metric: Metric,
    ) -> None:
        self._views = list(dict.fromkeys(candidate.view for _, candidate in group))
        ordered = sorted(group, key=lambda one: self._views.index(one[1].view))
        self._numbers = [number for number, _ in ordered]
        self._candidates = [candidate for _, candidate in ordered]
        self._sweep, self._fold, self._features, self._metric = sweep, fold, features, metric
        self._training: StackTraining | None = None
        self._seconds = np.zeros(len(group))
        head = self._candidates[0].head
        # States as they are may differ by thousandths of their size, which bfloat16 does not hold.
        fast = (
            head.depth > 0
            and (head.width or 0) >= _WORTH_HALF
            and self._views[0].scaled
            and bfloat16_is_quicker()
        )
        self._dtype = torch.bfloat16 if fast else torch.float32

    def advance(self, rung: Rung, out_of_time: Callable[[], bool]) -> None:
        if self._training is None and out_of_time():
            return  # reading its views may take long
        started = time.perf_counter()
        training = self._training = self._training or self._begin()
        running = training.running
        training.advance(rung.epochs, out_of_time=out_of_time)
        if running:
            self._seconds[running] += (time.perf_counter() - started) / len(running)

    def held(self) -> dict[int, Classes]:
        if self._training is None:
            return {}
        predicted = self._training.predicted
        return {
            number: one for number, one in zip(self._numbers, predicted, strict=True) if len(one)
        }

    def drop(self, numbers: set[int]) -> None:
        if self._training is not None:
            self._training.drop(
                place for place, number in enumerate(self._numbers) if number in numbers
            )

    def outcomes(self) -> dict[int, FoldOutcome]:
        training = self._training
        if training is None:
            return {}
        # In full precision, as the head that is kept will predict; many training rows tell no more
        # by it.
        held = training.predictions(self._seen("held", torch.float32))
        train = training.predictions(self._seen("train", self._dtype))
        found = {}
        for place in train:
            one, recipe = training.trained(place), self._candidates[place].recipe
            assert recipe is not None
            settings = {"epochs": one.epochs, **_told(recipe)}
            if len(one.mixing):
                settings["mixing"] = [round(float(share), 4) for share in one.mixing]
            found[self._numbers[place]] = FoldOutcome(
                train[place],
                held[place],
                settings,
                _rounded(one.curves),
                training.architecture.n_parameters,
                float(self._seconds[place]),
            )
        return found

    def _begin(self) -> StackTraining:
        head, view = self._candidates[0].head, self._views[0]
        n_mixed = len(view.layers) if view.mixed else 0
        train, held = (self._seen(side, self._dtype) for side in ("train", "held"))
        architecture = Architecture(
            head, train.views[0].shape[-1], self._sweep.task.n_outputs, n_mixed
        )
        heads = [
            (self._views.index(one.view), one.recipe)
            for one in self._candidates
            if one.recipe is not None
        ]
        seed = heads[0][1].seed
        rows = epoch_rows(train.labels.numpy(), self._sweep.balance, self._sweep.task)
        return StackTraining(
            architecture, train, held, heads, metric=self._metric, seed=seed, rows=rows
        )

    def _seen(self, side: str, dtype: torch.dtype) -> StackRows:
        prepared = [self._features.view(view, dtype) for view in self._views]
        places = self._fold.train if side == "train" else self._fold.held
        return StackRows(
            [getattr(one, side) for one in prepared],
            torch.from_numpy(self._sweep.part.labels[places]),
        )


class _Path:
    """Logistic regression on one view; its best C so far stands for it."""

    def __init__(
        self,
        one: tuple[int, Candidate],
        sweep: TrainingSetup,
        fold: Fold,
        features: FoldFeatures,
        metric: Metric,
    ) -> None:
        self._number, self._view, self._path_of_c = one[0], one[1].view, one[1].path
        self._sweep, self._fold, self._features, self._metric = sweep, fold, features, metric
        self._path: LogisticPath | None = None
        self._points: list[tuple[float, Point, Classes]] = []
        self._dropped, self._seconds = False, 0.0

    def advance(self, rung: Rung, out_of_time: Callable[[], bool]) -> None:
        started = time.perf_counter()
        while (
            not self._dropped
            and len(self._points) < min(rung.points, len(self._path_of_c))
            and not out_of_time()
        ):
            prepared = self._features.view(self._view)
            self._path = self._path or logistic_path(
                prepared.train.numpy(), self._labels(self._fold.train), self._sweep
            )
            point = self._path.fit(self._path_of_c[len(self._points)])
            held = point.predict(prepared.held.numpy())
            (score,) = self._metric(self._labels(self._fold.held), held[None])
            self._points.append((float(score), point, held))
        self._seconds += time.perf_counter() - started

    def held(self) -> dict[int, Classes]:
        return {self._number: self._best()[2]} if self._points else {}

    def drop(self, numbers: set[int]) -> None:
        self._dropped = self._dropped or self._number in numbers

    def outcomes(self) -> dict[int, FoldOutcome]:
        if not self._points:
            return {}
        train, labels = (
            self._features.view(self._view).train.numpy(),
            self._labels(self._fold.train),
        )
        predicted = [point.predict(train) for _, point, _ in self._points]
        scores = self._metric(labels, np.stack(predicted))
        _, best, held = self._best()
        curve = {
            "c": [point.c for _, point, _ in self._points],
            "train_score": [round(float(score), 6) for score in scores],
            "validation_score": [round(score, 6) for score, _, _ in self._points],
        }
        place = [point.c for _, point, _ in self._points].index(best.c)
        n_parameters = best.weights.size + best.biases.size
        settings = {"c": best.c, "converged": best.converged}
        outcome = FoldOutcome(predicted[place], held, settings, curve, n_parameters, self._seconds)
        return {self._number: outcome}

    def _best(self) -> tuple[float, Point, Classes]:
        """Of equal scores that of the smallest C."""
        return max(self._points, key=lambda one: (one[0], -one[1].c))

    def _labels(self, places: NDArray[np.int64]) -> Classes:
        return self._sweep.part.labels[places]


class _Customs:
    """Heads that are code, one after the other: each rung trains them anew, for they cannot be
    continued.
    """

    def __init__(
        self,
        group: Sequence[tuple[int, Candidate]],
        sweep: TrainingSetup,
        fold: Fold,
        metric: Metric,
    ) -> None:
        self._group = dict(group)
        self._sweep, self._fold, self._metric = sweep, fold, metric
        self._outcomes: dict[int, FoldOutcome] = {}
        self._running = set(self._group)

    def advance(self, rung: Rung, out_of_time: Callable[[], bool]) -> None:
        for number in sorted(self._running):
            if out_of_time():
                return
            outcome = self._outcomes[number] = self._train(self._group[number], rung.epochs)
            if len(outcome.curve["train_loss"]) < rung.epochs:
                self._running.remove(number)  # it stopped by itself, and would do so again

    def held(self) -> dict[int, Classes]:
        return {number: one.held for number, one in self._outcomes.items()}

    def drop(self, numbers: set[int]) -> None:
        self._running -= numbers

    def outcomes(self) -> dict[int, FoldOutcome]:
        return dict(self._outcomes)

    def _train(self, candidate: Candidate, epochs: int) -> FoldOutcome:
        started = time.perf_counter()
        assert candidate.recipe is not None
        assert candidate.factory is not None
        recipe = replace(candidate.recipe, max_epochs=min(epochs, candidate.recipe.max_epochs))
        train, held = (
            Examples(
                raw_features(self._sweep.source, candidate.view, self._sweep.part.rows[places]),
                self._sweep.part.labels[places],
            )
            for places in (self._fold.train, self._fold.held)
        )
        head, best_epoch, curves = train_custom(
            candidate.factory,
            train,
            held,
            n_classes=self._sweep.task.n_outputs,
            recipe=recipe,
            metric=self._metric,
        )
        classes = [self._sweep.task.decide(head.logits(one.features)) for one in (train, held)]
        settings = {"epochs": best_epoch, "factory": head.factory, **_told(recipe)}
        seconds = time.perf_counter() - started
        return FoldOutcome(
            classes[0], classes[1], settings, _rounded(curves), head.n_parameters, seconds
        )


def logistic_path(
    standardized: NDArray[np.float32], labels: Classes, sweep: TrainingSetup
) -> LogisticPath:
    """The path over C on training rows, with the sweep's way to treat classes of unequal size."""
    if sweep.balance in DRAWN:
        rows = sweep.task.drawn_rows(labels, sweep.balance, np.random.default_rng(sweep.seed))
        standardized, labels = standardized[rows], labels[rows]
    return LogisticPath(
        standardized, labels, n_classes=sweep.task.n_outputs, balanced=sweep.balance == "weights"
    )


def epoch_rows(
    labels: Classes, balance: str, task: Task
) -> Callable[[torch.Generator], torch.Tensor] | None:
    """What draws an epoch's rows for a stack where classes are to be balanced so; None where all
    rows are taken.
    """
    if balance not in DRAWN:
        return None

    def draw(generator: torch.Generator) -> torch.Tensor:
        seed = int(torch.randint(2**62, (1,), generator=generator))
        return torch.from_numpy(task.drawn_rows(labels, balance, np.random.default_rng(seed)))

    return draw


def _told(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe is worth knowing afterwards."""
    names = (
        "learning_rate",
        "weight_decay",
        "dropout",
        "label_smoothing",
        "balanced",
        "focal",
        "batch_size",
    )
    return {name: getattr(recipe, name) for name in names}


def _rounded(curves: TrainingCurves) -> dict[str, list[float]]:
    return {name: [round(value, 6) for value in values] for name, values in vars(curves).items()}
