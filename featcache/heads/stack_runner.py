"""Stacks of heads in a search: candidates of one shape, on views of one width, trained as one
model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featcache.backbone.device import resolve_dtype
from featcache.features.budget import MemoryBudget
from featcache.features.folds import Fold
from featcache.features.matrices import FoldFeatures
from featcache.heads.candidate import Candidate
from featcache.heads.kind import Classes, FoldOutcome, Rung, Runner, recipe_settings, rounded
from featcache.heads.network import Network
from featcache.heads.setup import TrainingSetup
from featcache.heads.stack import Architecture
from featcache.heads.train import StackRows, StackTraining
from featcache.tasks.balance import DRAWN
from featcache.tasks.protocol import Task

_LARGEST_STACK = 1 << 25  # numbers that a stack trains: with gradients, moments and average 800 MB
_WORTH_HALF = 16  # outputs of the first layer from which on its product is quicker in bfloat16


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


class StackRunner:
    """Heads of one shape, on views of one width."""

    def __init__(
        self,
        group: Sequence[tuple[int, Candidate]],
        sweep: TrainingSetup,
        fold: Fold,
        features: FoldFeatures,
    ) -> None:
        self._views = list(dict.fromkeys(candidate.view for _, candidate in group))
        ordered = sorted(group, key=lambda one: self._views.index(one[1].view))
        self._numbers = [number for number, _ in ordered]
        self._candidates = [candidate for _, candidate in ordered]
        self._sweep, self._fold, self._features = sweep, fold, features
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
            settings = {"epochs": one.epochs, **recipe_settings(recipe)}
            if len(one.mixing):
                settings["mixing"] = [round(float(share), 4) for share in one.mixing]
            found[self._numbers[place]] = FoldOutcome(
                train[place],
                held[place],
                settings,
                rounded(one.curves),
                training.architecture.n_parameters,
                float(self._seconds[place]),
            )
        return found

    def _begin(self) -> StackTraining:
        heads = [(self._views.index(one.view), one) for one in self._candidates]
        train, held = (self._seen(side, self._dtype) for side in ("train", "held"))
        return begin_training(heads, train, held, self._sweep)

    def _seen(self, side: str, dtype: torch.dtype) -> StackRows:
        prepared = [self._features.view(view, dtype) for view in self._views]
        places = self._fold.train if side == "train" else self._fold.held
        return StackRows(
            [getattr(one, side) for one in prepared],
            torch.from_numpy(self._sweep.part.labels[places]),
        )


def begin_training(
    heads: Sequence[tuple[int, Candidate]],
    train: StackRows,
    held: StackRows | None,
    setup: TrainingSetup,
) -> StackTraining:
    """Set up the training of a stack.

    Args:
        heads: Each candidate with the number of its view, views ascending; all of one shape.
        train: Training rows.
        held: Held-out rows; None where every head runs its recipe's `max_epochs`.
        setup: What every trial shares.

    Returns:
        A training that has not run an epoch.
    """
    first = heads[0][1]
    n_mixed = len(first.view.layers) if first.view.mixed else 0
    architecture = Architecture(first.head, train.views[0].shape[-1], setup.task.n_outputs, n_mixed)
    recipes = [(view, one.recipe) for view, one in heads if one.recipe is not None]
    return StackTraining(
        architecture,
        train,
        held,
        recipes,
        metric=setup.score,
        seed=recipes[0][1].seed,
        rows=epoch_rows(train.labels.numpy(), setup.balance, setup.task),
    )


def stack_runners(
    candidates: Sequence[tuple[int, Candidate]],
    setup: TrainingSetup,
    fold: Fold,
    features: FoldFeatures,
) -> list[Runner]:
    """Make the stacks of some candidates, the cheapest shape first."""
    groups = groupby(sorted(candidates, key=_stack_key), key=_stack_key)
    return [
        StackRunner(part, setup, fold, features)
        for _, group in groups
        for part in _chunks(list(group), setup.source.width)
    ]


def refit_stacked(
    candidate: Candidate,
    settings: dict[str, Any],
    setup: TrainingSetup,
    places: NDArray[np.int64],
) -> Network:
    """Train one candidate as long as its trial found best; see `HeadKind.refit`."""
    assert candidate.recipe is not None
    recipe = replace(candidate.recipe, max_epochs=settings["epochs"], seed=setup.seed)
    labels = torch.from_numpy(setup.part.labels[places])
    with MemoryBudget() as budget:
        fold = Fold(places, places[:0])
        prepared = FoldFeatures(setup.source, setup.part.rows, fold, budget).view(candidate.view)
        train = StackRows([prepared.train], labels)
        training = begin_training([(0, replace(candidate, recipe=recipe))], train, None, setup)
        training.advance(recipe.max_epochs)
        return training.trained(0).network(prepared.scales)


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
