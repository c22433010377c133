"""Learning curves: the score of a head by the number of training rows, measured on the cache.

Smaller numbers of rows are drawn from the training rows of each fold. The held-out rows stay the
same, so that all sizes are compared on the same rows. Few rows are drawn more often than many,
because one draw of few rows says less. `learning_curve.py` fits a law through the points;
`capacity.py` measures the score by the size of the head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.evidence.learning_curve import MIN_SIZES, LearningCurve, fit_learning_curve
from featcache.features.folds import Fold
from featcache.heads.candidate import Candidate
from featcache.heads.setup import TrainingSetup
from featcache.search.candidates import base_recipe
from featcache.search.trial import Trial
from featcache.tasks.metrics import Interval
from featcache.tasks.protocol import Task

_MAX_SIZES = 7
_Z95 = 1.96
_DRAWS = (1, 2, 4, 6)  # of all rows, a half, a quarter, and less


@dataclass(frozen=True)
class CurvePoint:
    """What a number of training rows gave: scores of several draws on the held-out rows.

    Attributes:
        rows: Number of training rows.
        score: The mean score of the draws, with its bootstrap interval over the held-out rows.
        train: The mean score on the rows trained on.
        scores: The score of each of R draws.
        predicted: (R, V) predicted classes of the held-out rows.
    """

    rows: int
    score: Interval
    train: float
    scores: tuple[float, ...]
    predicted: NDArray[np.int64] = field(repr=False, compare=False)

    @property
    def draws(self) -> int:
        """Number of draws."""
        return len(self.scores)


@dataclass(frozen=True)
class MeasuredCurve:
    """The score of a head by the number of its training rows.

    Attributes:
        about: The head, in words.
        metric: The metric of the scores.
        points: What was measured, by ascending number of rows.
        curve: The law through the points; None for fewer than three of them.
        n_rows_needed: Training rows that are enough for three points.
    """

    about: str
    metric: str
    points: tuple[CurvePoint, ...]
    curve: LearningCurve | None
    n_rows_needed: int

    def sentence(self) -> str:
        """Say what twice the labels would give.

        Returns:
            A sentence that begins in lower case, without a full stop.
        """
        if self.curve is None:
            return f"no learning curve: it takes {self.n_rows_needed:,} training rows"
        gain = self.curve.doubling
        points = f"{100 * gain.value:+z.1f} ± {100 * gain.standard_error:.1f} points"
        return f"twice the labels would give about {points} of {self.metric}"

    def to_json(self) -> dict[str, Any]:
        """Make the object that `result.json` holds.

        Returns:
            The points measured, the law up to twice the rows, and what doubling the rows gains.
        """
        points = [
            {
                "rows": point.rows,
                "mean": point.score.value,
                "low": point.score.low,
                "high": point.score.high,
                "train": point.train,
            }
            for point in self.points
        ]
        written = {"metric": self.metric, "about": self.about, "points": points}
        if self.curve is None:
            return {**written, "fit": None, "doubling": None}
        fit = [
            {"rows": rows, "value": estimate.value, "low": estimate.low, "high": estimate.high}
            for rows, estimate in self.curve.dense()
        ]
        gain = self.curve.doubling
        doubling = {"value": gain.value, "standard_error": gain.standard_error}
        return {**written, "fit": fit, "doubling": doubling}


def curve_sizes(n_rows: int, smallest: int) -> tuple[int, ...]:
    """List the sizes of a curve: all rows, a half, a quarter and so on.

    Args:
        n_rows: Training rows that there are.
        smallest: Rows below which nothing is measured, as the task has it.

    Returns:
        At most 7 ascending sizes, none below `smallest` but `n_rows` itself.
    """
    halves = [n_rows >> n_halvings for n_halvings in range(_MAX_SIZES)]
    return tuple(sorted({n_rows, *(size for size in halves if size >= smallest)}))


def measure_learning_curve(
    candidate: Candidate,
    setup: TrainingSetup,
    *,
    about: str | None = None,
    max_draws: int = max(_DRAWS),
    max_sizes: int = _MAX_SIZES,
    out_of_time: Callable[[], bool] = lambda: False,
    watch: Callable[[int], None] = lambda _: None,
) -> MeasuredCurve:
    """Train a head on parts of each fold's training rows, and fit a law through the scores.

    Args:
        candidate: The head.
        setup: Rows, folds and metric.
        about: The head in words [its shape and view].
        max_draws: Draws of a size at most.
        max_sizes: Sizes at most; the largest ones are taken.
        out_of_time: Asked before each size. Where it returns True, the curve has only the sizes
            measured so far, which are the smallest.
        watch: Called with each number of rows that is done.

    Returns:
        The points and the law.
    """
    n_rows = min(len(fold.train) for fold in setup.folds)
    sizes = curve_sizes(n_rows, setup.task.fewest_rows)[-max_sizes:]
    points: list[CurvePoint] = []
    for place, size in enumerate(sizes):
        if out_of_time():
            break
        n_larger = len(sizes) - 1 - place
        n_draws = min(max_draws, _DRAWS[min(n_larger, len(_DRAWS) - 1)])
        points.append(_measure_point(candidate, setup, size, n_draws, 1000 * place))
        watch(size)
    return MeasuredCurve(
        about or f"{candidate.head} on {candidate.view}",
        setup.metric,
        tuple(points),
        _fit_law(points, setup, n_rows),
        setup.task.fewest_rows << (MIN_SIZES - 1),
    )


def _fit_law(
    points: Sequence[CurvePoint], setup: TrainingSetup, n_rows: int
) -> LearningCurve | None:
    """Fit the law through the scores of all draws."""
    if not points:
        return None
    majority = setup.task.majority(setup.truth, len(setup.truth))
    guessed = setup.task.score(setup.metric, setup.truth, majority)
    n_draws = max(point.draws for point in points)
    scores = np.full((len(points), n_draws), np.nan)  # (P, R)
    for place, point in enumerate(points):
        scores[place, : point.draws] = point.scores
    last = points[-1].score
    return fit_learning_curve(
        [point.rows for point in points],
        scores,
        pool=n_rows,
        worst=min(guessed, float(np.nanmin(scores, initial=1.0))),
        held_error=(last.high - last.low) / (2 * _Z95),
    )


def _measure_point(
    candidate: Candidate, setup: TrainingSetup, n_rows: int, n_draws: int, first_seed: int
) -> CurvePoint:
    """Train a head on several draws of some rows; all draws are trained together."""
    labels = setup.part.labels
    folds: list[Fold] = []
    for draw in range(n_draws):
        seed = setup.seed + first_seed + draw
        folds += [
            Fold(_draw(fold.train, labels, setup.task, n_rows, seed=seed), fold.held)
            for fold in setup.folds
        ]
    if candidate.recipe is not None:  # few rows in large batches are few steps
        batch = min(candidate.recipe.batch_size, base_recipe(n_rows, seed=setup.seed).batch_size)
        candidate = replace(candidate, recipe=replace(candidate.recipe, batch_size=batch))
    trial = _train(candidate, replace(setup, folds=tuple(folds), seeds=setup.seeds[:1]))
    # The folds of one draw lie side by side: (1, R x V) -> (R, V).
    predicted = trial.predicted.reshape(n_draws, -1)
    scores = setup.score(setup.truth, predicted)
    return CurvePoint(
        n_rows,
        setup.task.interval(setup.metric, setup.truth, predicted, seed=setup.seed),
        trial.train[setup.metric],
        tuple(round(float(value), 6) for value in scores),
        predicted,
    )


def _draw(
    places: NDArray[np.int64], labels: NDArray[np.int64], task: Task, n_rows: int, *, seed: int
) -> NDArray[np.int64]:
    """Draw some of the places, all classes in their shares."""
    if n_rows == len(places):
        return places
    return task.part_of(places, labels[places], n_rows, seed=seed % 2**32)


def _train(candidate: Candidate, setup: TrainingSetup) -> Trial:
    """Train one head on all folds of a setup."""
    from featcache.features.budget import MemoryBudget
    from featcache.search.search import Search

    with MemoryBudget() as room:
        search = Search(setup, room=room, watch=lambda _: None, out_of_time=lambda: False)
        (trial,) = search.run([candidate])
        return trial
