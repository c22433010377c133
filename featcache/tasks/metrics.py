"""Scores of predictions, their intervals and paired differences, all from confusion matrices.

cm: (..., C, C), rows are the truth, columns the prediction. Because every metric is a function of
the confusion matrix, a bootstrap of a thousand resamples is one multinomial draw and one vectorised
call (percentile intervals: Efron and Tibshirani 1993, chapter 13; paired: chapter 16). The values
agree with scikit-learn's `accuracy_score`, `f1_score` (average "macro" and "weighted") and
`matthews_corrcoef`.

Runs: a prediction may be one, (N,), or that of S runs with other seeds on the same rows, (S, N).
Their metric is then the mean over the runs. Rows are resampled and runs are not: an interval is
that of these S heads on other rows, not that of training again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[np.int64]  # (N,) class numbers, or (S, N) where runs are spoken of
Values = NDArray[np.float64]

N_RESAMPLES = 1000
_LOW, _HIGH = 2.5, 97.5
# Numbers held by one chunk of confusion matrices, or of what they are counted from: 8 MB. 32 MB
# leave the caches and take 2.3 times as long for 300 heads of 150 classes, 2 MB 1.5 times as long
# for a difference.
_CELLS_AT_ONCE = 1_000_000


def accuracy(cm: Values) -> Values:
    """Share of rows that are right."""
    return np.asarray(np.trace(cm, axis1=-2, axis2=-1) / cm.sum(axis=(-2, -1)))


def macro_f1(cm: Values) -> Values:
    """Mean over classes of F1; a class counts where it occurs in the truth or the prediction."""
    f1, occurs = _f1(cm)
    return np.asarray(f1.sum(axis=-1) / occurs.sum(axis=-1))


def weighted_f1(cm: Values) -> Values:
    """Mean of the classes' F1, each weighted by its share of the true rows."""
    f1, _ = _f1(cm)
    return np.asarray((f1 * cm.sum(axis=-1)).sum(axis=-1) / cm.sum(axis=(-2, -1)))


def mcc(cm: Values) -> Values:
    """Matthews correlation for any number of classes (Gorodkin 2004); 0 where it is not defined."""
    truth, given, total = cm.sum(axis=-1), cm.sum(axis=-2), cm.sum(axis=(-2, -1))
    covariance = np.trace(cm, axis1=-2, axis2=-1) * total - (truth * given).sum(axis=-1)
    spread = (total**2 - (truth**2).sum(axis=-1)) * (total**2 - (given**2).sum(axis=-1))
    root = np.sqrt(np.maximum(spread, 0.0))
    return np.asarray(
        np.divide(covariance, root, out=np.zeros_like(root, dtype=np.float64), where=root > 0)
    )


def _f1(cm: Values) -> tuple[Values, NDArray[np.bool_]]:
    """F1 of each class, (..., C), 0 where it is not defined; and whether the class
    occurs at all.
    """
    size = cm.sum(axis=-1) + cm.sum(axis=-2)
    hits = 2.0 * np.diagonal(cm, axis1=-2, axis2=-1)
    return np.divide(
        hits, size, out=np.zeros_like(size, dtype=np.float64), where=size > 0
    ), size > 0


METRICS: dict[str, Callable[[Values], Values]] = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "weighted_f1": weighted_f1,
    "mcc": mcc,
}


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def confusion(truth: Classes, predicted: Classes, n_classes: int) -> Values:
    """Counts (C, C)."""
    cells = np.bincount(truth * n_classes + predicted, minlength=n_classes**2)
    return cells.reshape(n_classes, n_classes).astype(np.float64)


def score(metric: str, truth: Classes, predicted: Classes, n_classes: int) -> float:
    """One metric of N predictions."""
    return float(METRICS[metric](confusion(truth, predicted, n_classes)))


def scores(truth: Classes, predicted: Classes, n_classes: int) -> dict[str, float]:
    """Every metric of N predictions, rounded to 6 places."""
    cm = confusion(truth, predicted, n_classes)
    return {name: round(float(metric(cm)), 6) for name, metric in METRICS.items()}


def scores_of_many(metric: str, truth: Classes, predicted: Classes, n_classes: int) -> Values:
    """One metric of P predictions of the same rows, (P,). truth: (N,); predicted: (P, N)."""
    n_cells = n_classes**2
    row_of = truth * n_classes
    step = max(1, _CELLS_AT_ONCE // max(n_cells, len(truth)))
    results = []
    for start in range(0, len(predicted), step):
        part = predicted[start : start + step]
        cells = part + row_of + n_cells * np.arange(len(part))[:, None]
        counts = np.bincount(cells.ravel(), minlength=n_cells * len(part)).astype(np.float64)
        results.append(METRICS[metric](counts.reshape(-1, n_classes, n_classes)))
    return np.concatenate(results) if results else np.empty(0)


def scores_without(
    metric: str,
    truth: Classes,
    predicted: Classes,
    groups: Classes,
    *,
    n_groups: int,
    n_classes: int,
) -> Values:
    """One metric on the rows outside of each group, the mean over runs.

    Args:
        metric: Of METRICS.
        truth: (N,) class numbers.
        predicted: (S, N) of S runs.
        groups: (N,) number of each row's group, from 0.
        n_groups: How many groups there are.
        n_classes: How many classes there are.

    Returns:
        (G,) for each group that is left out.
    """
    n_runs = len(predicted)
    n_cells = n_groups * n_classes**2  # of one run
    row_of = (groups * n_classes + truth) * n_classes
    cells = row_of + predicted + n_cells * np.arange(n_runs)[:, None]
    counts = np.bincount(cells.ravel(), minlength=n_runs * n_cells).astype(np.float64)
    counts = counts.reshape(n_runs, n_groups, n_classes, n_classes)
    others = counts.sum(axis=1, keepdims=True) - counts
    return np.asarray(METRICS[metric](others).mean(axis=0))


@dataclass(frozen=True)
class Difference(Interval):
    """A paired difference of two predictions on the same rows, with its interval and standard
    error.
    """

    standard_error: float


def interval(
    metric: str, truth: Classes, predicted: Classes, n_classes: int, *, seed: int
) -> Interval:
    """The metric of a prediction with its percentile interval. predicted: (N,), or (S, N) for S
    runs.
    """
    runs = np.atleast_2d(predicted)
    value = scores_of_many(metric, truth, runs, n_classes).mean()
    (drawn,) = _resampled(metric, truth, [runs], n_classes, seed)
    return Interval(round(float(value), 6), *_ends(drawn))


def difference(
    metric: str, truth: Classes, predicted: Classes, rival: Classes, n_classes: int, *, seed: int
) -> Difference:
    """The metric of one prediction less that of a rival, resampled in pairs. Each may be (N,) or
    (S, N).
    """
    mine, theirs = np.atleast_2d(predicted), np.atleast_2d(rival)
    value = float(
        np.subtract(
            *(scores_of_many(metric, truth, runs, n_classes).mean() for runs in (mine, theirs))
        )
    )
    drawn = np.subtract(*_resampled(metric, truth, [mine, theirs], n_classes, seed))
    return Difference(round(value, 6), *_ends(drawn), round(float(np.std(drawn, ddof=1)), 6))


def _resampled(
    metric: str, truth: Classes, rivals: Sequence[Classes], n_classes: int, seed: int
) -> list[Values]:
    """The metric on every resample, (R,), for each rival, (S, N); the resamples are the same for
    all.

    Rows that agree in truth and all predictions are alike, so drawing N rows with replacement is
    drawing the counts of these kinds from a multinomial: the work grows with the kinds, not with N.
    """
    from scipy.sparse import csr_array

    kinds, counts = np.unique(np.concatenate([truth[None], *rivals]), axis=1, return_counts=True)
    n_kinds, n_cells = len(counts), n_classes**2
    to_cells = [  # (K, C * C) for each run: which cell a row of a kind counts in
        csr_array(
            (np.ones(n_kinds), (np.arange(n_kinds), kinds[0] * n_classes + run)),
            shape=(n_kinds, n_cells),
        )
        for run in kinds[1:]
    ]
    generator = np.random.default_rng(seed)
    results = np.empty((len(to_cells), N_RESAMPLES))
    step = max(1, _CELLS_AT_ONCE // max(n_cells, n_kinds))
    for start in range(0, N_RESAMPLES, step):
        place = slice(start, min(start + step, N_RESAMPLES))
        draws = generator.multinomial(
            len(truth), counts / len(truth), size=place.stop - place.start
        )
        for values, cells in zip(results, to_cells, strict=True):
            values[place] = METRICS[metric](
                np.asarray(draws @ cells).reshape(-1, n_classes, n_classes)
            )
    ends = np.cumsum([len(runs) for runs in rivals])
    return [part.mean(axis=0) for part in np.split(results, ends[:-1])]


def _ends(resampled: Values) -> tuple[float, float]:
    low, high = np.percentile(resampled, [_LOW, _HIGH])
    return round(float(low), 6), round(float(high), 6)
