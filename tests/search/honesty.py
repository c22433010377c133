"""Is the reported test score true? Many small sweeps, each with a test set of its own, beside the
whole truth.

Each run draws a task: views that tell two classes equally well, which a fresh sample of thousands
of rows knows to half a point and a validation set of forty does not. It is searched, chosen,
refitted and scored on test rows as `fit-heads` does, through the same code; the same heads are then
scored on the fresh sample. A choice that never looked at the test rows is scored there without
bias; the best of all heads by their test scores is scored too high, by luck it has chosen.
Accuracy, because the mean of macro-F1 over small test sets is not the macro-F1 of a large one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from featcache.features.matrices import raw_features
from featcache.features.views import View
from featcache.heads.candidate import Candidate
from featcache.heads.setup import LabelledPositions, TrainingSetup
from featcache.search import finalise as final
from featcache.search.refit import refit
from featcache.search.selection import choose
from tests.search.planted import LINEAR, LOGREG, Features, grid, mlp, searched, sweep_of

_VIEWS = [View((layer,), ("mean",)) for layer in range(4)]
_INPUTS, _TRAIN, _HELD, _TEST, _FRESH = 6, 60, 40, 40, 4000
_EPOCHS, _BATCH = 8, 20


@dataclass(frozen=True)
class Gap:
    """Reported score less true score, over runs: mean and its standard error, and the two means."""

    reported: float
    true: float
    mean: float
    standard_error: float

    @classmethod
    def of(cls, reported: list[float], true: list[float]) -> Gap:
        gaps = np.subtract(reported, true)
        error = float(np.std(gaps, ddof=1) / np.sqrt(len(gaps)))
        return cls(float(np.mean(reported)), float(np.mean(true)), float(gaps.mean()), error)


@dataclass(frozen=True)
class Honesty:
    """honest: of the head chosen on validation rows. by_test: of the head with the best
    test score.
    """

    runs: int
    candidates: int
    honest: Gap
    by_test: Gap
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether the one is within two standard errors of the truth, and the other above it by
        more than that.
        """
        return (
            abs(self.honest.mean) <= 2 * self.honest.standard_error
            and self.by_test.mean > 2 * self.by_test.standard_error
        )


def measured(runs: int, seed: int = 0) -> Honesty:
    """Run it so many times, with seeds that follow `seed`."""
    started = time.monotonic()
    found = [_run(seed + number) for number in range(runs)]
    reported, true, best, best_true = (
        [getattr(one, name) for one in found] for name in _Run.__annotations__
    )
    return Honesty(
        runs,
        len(_candidates(_task(seed)[0])),
        Gap.of(reported, true),
        Gap.of(best, best_true),
        round(time.monotonic() - started, 1),
    )


@dataclass(frozen=True)
class _Run:
    reported: float
    true: float
    best: float
    best_true: float


def _run(seed: int) -> _Run:
    sweep, test, fresh = _task(seed)
    trials = searched(sweep, _candidates(sweep), halving=True)
    chosen = choose(trials, sweep)
    heads = [refit(trial, sweep) for trial in trials]
    right = [
        [
            float(
                (
                    head.logits(raw_features(sweep.source, trial.view, part.rows)).argmax(axis=1)
                    == part.labels
                ).mean()
            )
            for part in (test, fresh)
        ]
        for trial, head in zip(trials, heads, strict=True)
    ]
    reported, _, _ = final.tested(final.finished(chosen, sweep, thresholds=False), sweep, test)
    (true,) = (
        fresh_score
        for trial, (_, fresh_score) in zip(trials, right, strict=True)
        if trial is chosen
    )
    best, best_true = max(right, key=lambda one: one[0])
    return _Run(reported.intervals["accuracy"].value, true, best, best_true)


def _task(seed: int) -> tuple[TrainingSetup, LabelledPositions, LabelledPositions]:
    """A sweep, its test rows, and a large sample of the same kind."""
    generator = np.random.default_rng(seed)
    n_rows = _TRAIN + _HELD + _TEST + _FRESH
    labels = generator.integers(0, 2, n_rows)
    features: Features = {
        view: generator.standard_normal((n_rows, _INPUTS))
        + 0.5 * labels[:, None] * (np.arange(_INPUTS) < 3)
        for view in _VIEWS
    }
    sweep = sweep_of(features, labels, train=_TRAIN, held=_HELD, seed=seed, seeds=(seed,))
    behind = np.arange(_TRAIN + _HELD, n_rows)
    test, fresh = (
        LabelledPositions(rows, labels[rows]) for rows in (behind[:_TEST], behind[_TEST:])
    )
    return sweep, test, fresh


def _candidates(sweep: TrainingSetup) -> list[Candidate]:
    return grid(
        sweep,
        _VIEWS,
        LOGREG,
        LINEAR,
        mlp(1, 8),
        max_epochs=_EPOCHS,
        batch_size=_BATCH,
        learning_rate=2e-2,
    )
