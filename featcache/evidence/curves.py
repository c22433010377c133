"""Score against the number of training rows, and against the size of the head, on the cache:
measured, not guessed.

A smaller number of rows is drawn of the training rows of each fold; the rows that are held back
stay the same, so that sizes are compared on the same rows. Few rows are drawn more often than many,
because one draw says less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.evidence.learning_curve import FEWEST_SIZES, LearningCurve, fitted
from featcache.features.folds import Fold
from featcache.features.views import View
from featcache.heads.candidate import Candidate
from featcache.heads.setup import TrainingSetup
from featcache.heads.shape import HeadShape
from featcache.search.candidates import Candidates, base_recipe
from featcache.search.trial import Trial
from featcache.tasks.metrics import (
    Difference,
    Interval,
    difference,
    interval,
    score,
    scores_of_many,
)
from featcache.tasks.strata import part_of

DEPTHS, WIDTHS = (0, 1, 2, 3, 4), (64, 256)
_MOST_SIZES, _FEWEST_ROWS, _ROWS_A_CLASS = 7, 32, 4
_Z95 = 1.96
_DRAWS = (1, 2, 4, 6)  # of all rows, a half, a quarter, and less


@dataclass(frozen=True)
class CurvePoint:
    """What `rows` training rows gave: the mean score of some draws on the rows held back, with its
    bootstrap interval over those; the mean score on the rows trained on; the score of each draw;
    and its classes of those rows, (R, V).
    """

    rows: int
    score: Interval
    train: float
    scores: tuple[float, ...]
    predicted: NDArray[np.int64] = field(repr=False, compare=False)

    @property
    def draws(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class MeasuredCurve:
    """A head's score by training rows. about: the head in words. curve: None where there are fewer
    than three sizes, for which `needed` training rows are enough.
    """

    about: str
    metric: str
    sizes: tuple[CurvePoint, ...]
    curve: LearningCurve | None
    needed: int

    def sentence(self) -> str:
        """What twice the labels would give, in words."""
        if self.curve is None:
            return f"no learning curve: it takes {self.needed:,} training rows"
        gain = self.curve.doubling
        return (
            f"twice the labels would give about {100 * gain.value:+z.1f} ± {100 * gain.standard_error:.1f} points "
            f"of {self.metric}"
        )

    def to_json(self) -> dict[str, Any]:
        """As `result.json` has it: points measured, the curve through them up to twice the rows,
        and that gain.
        """
        fit = doubling = None
        if self.curve is not None:
            fit = [
                {"rows": rows, "value": one.value, "low": one.low, "high": one.high}
                for rows, one in self.curve.dense()
            ]
            gain = self.curve.doubling
            doubling = {"value": gain.value, "standard_error": gain.standard_error}
        points = [
            {
                "rows": one.rows,
                "mean": one.score.value,
                "low": one.score.low,
                "high": one.score.high,
                "train": one.train,
            }
            for one in self.sizes
        ]
        return {
            "metric": self.metric,
            "about": self.about,
            "points": points,
            "fit": fit,
            "doubling": doubling,
        }


def sizes_of(n_rows: int, n_classes: int) -> tuple[int, ...]:
    """Halves of halves of the rows, ascending: at most 7 sizes, none below 32 rows or 4 a class."""
    least = _least(n_classes)
    found = [n_rows >> place for place in range(_MOST_SIZES)]
    return tuple(sorted({one for one in found if one >= least} | {n_rows}))


def _least(n_classes: int) -> int:
    return max(_FEWEST_ROWS, _ROWS_A_CLASS * n_classes)


def by_rows(
    candidate: Candidate,
    sweep: TrainingSetup,
    *,
    about: str | None = None,
    most_draws: int = max(_DRAWS),
    most_sizes: int = _MOST_SIZES,
    out_of_time: Callable[[], bool] = lambda: False,
    watch: Callable[[int], None] = lambda _: None,
) -> MeasuredCurve:
    """Train a candidate on parts of each fold's training rows, and fit the curve.

    most_sizes: the largest of `sizes_of`, where fewer will do.
    watch: told of each size that is done.  Where time ran out, the smallest sizes are there: they
    come first.
    """
    n_rows = min(len(fold.train) for fold in sweep.folds)
    measured: list[CurvePoint] = []
    sizes = sizes_of(n_rows, sweep.n_classes)[-most_sizes:]
    for place, rows in enumerate(sizes):
        if out_of_time():
            break
        smaller = len(sizes) - 1 - place
        draws = min(most_draws, _DRAWS[min(smaller, len(_DRAWS) - 1)])
        found = _measured(candidate, sweep, rows, draws, place)
        measured.append(found)
        watch(rows)
    guess = np.full(len(sweep.truth), np.bincount(sweep.truth).argmax())
    worst = score(sweep.metric, sweep.truth, guess, sweep.n_classes)
    most = max((one.draws for one in measured), default=0)
    scores = np.full((len(measured), most), np.nan)
    for place, one in enumerate(measured):
        scores[place, : one.draws] = one.scores
    least = min(worst, float(np.nanmin(scores, initial=1.0)))
    last = measured[-1].score if measured else Interval(0.0, 0.0, 0.0)
    held_error = (last.high - last.low) / (2 * _Z95)
    curve = fitted(
        [one.rows for one in measured], scores, pool=n_rows, worst=least, held_error=held_error
    )
    needed = _least(sweep.n_classes) << (FEWEST_SIZES - 1)
    return MeasuredCurve(
        about or f"{candidate.head} on {candidate.view}",
        sweep.metric,
        tuple(measured),
        curve,
        needed,
    )


def _measured(
    candidate: Candidate, sweep: TrainingSetup, rows: int, draws: int, place: int
) -> CurvePoint:
    """All draws of a size are trained together."""
    labels = sweep.part.labels
    folds = tuple(
        Fold(_drawn(fold.train, labels, rows, seed=sweep.seed + 1000 * place + draw), fold.held)
        for draw in range(draws)
        for fold in sweep.folds
    )
    if candidate.recipe is not None:  # few rows in large batches are few steps
        batch = min(candidate.recipe.batch_size, base_recipe(rows, seed=sweep.seed).batch_size)
        candidate = replace(candidate, recipe=replace(candidate.recipe, batch_size=batch))
    part = replace(sweep, folds=folds, seeds=sweep.seeds[:1])
    trial = _run([candidate], part)[0]
    predicted = trial.predicted.reshape(draws, -1)  # folds of one draw side by side
    scores = scores_of_many(sweep.metric, sweep.truth, predicted, sweep.n_classes)
    found = interval(sweep.metric, sweep.truth, predicted, sweep.n_classes, seed=sweep.seed)
    return CurvePoint(
        rows,
        found,
        trial.train[sweep.metric],
        tuple(round(float(one), 6) for one in scores),
        predicted,
    )


def _drawn(
    places: NDArray[np.int64], labels: NDArray[np.int64], rows: int, *, seed: int
) -> NDArray[np.int64]:
    return (
        places if rows == len(places) else part_of(places, labels[places], rows, seed=seed % 2**32)
    )


@dataclass(frozen=True)
class CapacityPoint:
    """A head of some size on one view: its score with its interval, beside that on training rows,
    and its gain over the head without hidden layers (None for that head).
    """

    depth: int
    width: int | None
    score: Interval
    train: float
    n_parameters: int
    gain: Difference | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def by_capacity(
    view: View,
    sweep: TrainingSetup,
    *,
    depths: Sequence[int] = DEPTHS,
    widths: Sequence[int] = WIDTHS,
    watch: Callable[[int], None] = lambda _: None,
) -> list[CapacityPoint]:
    """Heads of these depths and widths on one view, each at the epoch that held rows like best; the
    smallest first.

    watch: told of how many heads are done.
    """
    shapes = [HeadShape("linear")] + [
        HeadShape("mlp", depth, wide)
        for depth in sorted(set(depths))
        if depth
        for wide in sorted(set(widths))
    ]
    recipe = base_recipe(
        len(sweep.folds[0].train), seed=sweep.seed, balanced=sweep.balance == "weights"
    )
    offered = Candidates((view,), tuple(shapes), recipe)
    trials = _run([offered.usual(view, shape) for shape in shapes], sweep, watch)
    by_head = {trial.head: trial for trial in trials}
    linear = by_head[shapes[0]]
    return [
        _capacity(by_head[shape], linear, sweep) for shape in shapes if 0 in depths or shape.depth
    ]


def _capacity(trial: Trial, linear: Trial, sweep: TrainingSetup) -> CapacityPoint:
    metric, truth, n_classes = sweep.metric, sweep.truth, sweep.n_classes
    gain = None
    if trial is not linear:
        gain = difference(
            metric, truth, trial.predicted, linear.predicted, n_classes, seed=sweep.seed
        )
    return CapacityPoint(
        trial.head.depth,
        trial.head.width,
        interval(metric, truth, trial.predicted, n_classes, seed=sweep.seed),
        trial.train[metric],
        trial.n_parameters,
        gain,
    )


def _run(
    candidates: Sequence[Candidate],
    sweep: TrainingSetup,
    watch: Callable[[int], None] = lambda _: None,
) -> list[Trial]:
    from featcache.features.budget import MemoryBudget
    from featcache.search.search import Search

    with MemoryBudget() as room:
        search = Search(
            sweep,
            room=room,
            watch=lambda best: watch(best.n_done),
            out_of_time=lambda: False,
        )
        return search.run(candidates)
