"""Heads that are code in a search: one after the other, each rung trains them anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.features.folds import Fold
from featcache.features.matrices import raw_features
from featcache.heads.candidate import Candidate
from featcache.heads.kind import Classes, FoldOutcome, Rung, recipe_settings, rounded
from featcache.heads.module import CustomHead, train_custom
from featcache.heads.recipe import Examples
from featcache.heads.setup import TrainingSetup


class ModuleRunner:
    """Heads that are code, one after the other: each rung trains them anew, for they cannot be
    continued.
    """

    def __init__(
        self,
        group: Sequence[tuple[int, Candidate]],
        sweep: TrainingSetup,
        fold: Fold,
    ) -> None:
        self._group = dict(group)
        self._sweep, self._fold = sweep, fold
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
            metric=self._sweep.score,
        )
        classes = [self._sweep.task.decide(head.logits(one.features)) for one in (train, held)]
        settings = {"epochs": best_epoch, "factory": head.factory, **recipe_settings(recipe)}
        seconds = time.perf_counter() - started
        return FoldOutcome(
            classes[0], classes[1], settings, rounded(curves), head.n_parameters, seconds
        )


def refit_module(
    candidate: Candidate,
    settings: dict[str, Any],
    setup: TrainingSetup,
    places: NDArray[np.int64],
) -> CustomHead:
    """Train one candidate as long as its trial found best; see `HeadKind.refit`."""
    assert candidate.recipe is not None
    assert candidate.factory is not None
    features = raw_features(setup.source, candidate.view, setup.part.rows[places])
    head, _, _ = train_custom(
        candidate.factory,
        Examples(features, setup.part.labels[places]),
        None,
        n_classes=setup.task.n_outputs,
        recipe=replace(candidate.recipe, max_epochs=settings["epochs"], seed=setup.seed),
        metric=setup.score,
    )
    return head
