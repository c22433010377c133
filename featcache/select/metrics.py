"""Scores of predictions, their intervals and paired differences, all from confusion matrices.

cm: (..., C, C), rows are the truth, columns the prediction. Because every metric is a function of the
confusion matrix, a bootstrap of a thousand resamples is one multinomial draw and one vectorised call
(percentile intervals: Efron and Tibshirani 1993, chapter 13; paired: chapter 16). The values agree with
scikit-learn's `accuracy_score`, `f1_score(average="macro")` and `matthews_corrcoef`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[np.int64]  # (N,) class numbers
Values = NDArray[np.float64]

N_RESAMPLES = 1000
_LOW, _HIGH = 2.5, 97.5
_CELLS_AT_ONCE = 4_000_000  # numbers held by one chunk of resampled confusion matrices (32 MB)


def accuracy(cm: Values) -> Values:
    """Share of rows that are right."""
    return np.asarray(np.trace(cm, axis1=-2, axis2=-1) / cm.sum(axis=(-2, -1)))


def macro_f1(cm: Values) -> Values:
    """Mean over classes of F1; a class counts where it occurs in the truth or the prediction."""
    size = cm.sum(axis=-1) + cm.sum(axis=-2)  # (..., C)
    hits = 2.0 * np.diagonal(cm, axis1=-2, axis2=-1)
    f1 = np.divide(hits, size, out=np.zeros_like(size, dtype=np.float64), where=size > 0)
    return np.asarray(f1.sum(axis=-1) / (size > 0).sum(axis=-1))


def mcc(cm: Values) -> Values:
    """Matthews correlation for any number of classes (Gorodkin 2004); 0 where it is not defined."""
    truth, given, total = cm.sum(axis=-1), cm.sum(axis=-2), cm.sum(axis=(-2, -1))
    covariance = np.trace(cm, axis1=-2, axis2=-1) * total - (truth * given).sum(axis=-1)
    spread = (total**2 - (truth**2).sum(axis=-1)) * (total**2 - (given**2).sum(axis=-1))
    root = np.sqrt(np.maximum(spread, 0.0))
    return np.asarray(np.divide(covariance, root, out=np.zeros_like(root, dtype=np.float64), where=root > 0))


METRICS: dict[str, Callable[[Values], Values]] = {"accuracy": accuracy, "macro_f1": macro_f1, "mcc": mcc}


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


@dataclass(frozen=True)
class Difference(Interval):
    """A paired difference of two predictions on the same rows, with its interval and standard error."""

    standard_error: float


def interval(metric: str, truth: Classes, predicted: Classes, n_classes: int, *, seed: int) -> Interval:
    """The metric of N predictions with its percentile interval."""
    value = score(metric, truth, predicted, n_classes)
    (drawn,) = _resampled(metric, truth, [predicted], n_classes, seed)
    return Interval(round(value, 6), *_ends(drawn))


def difference(
    metric: str, truth: Classes, predicted: Classes, rival: Classes, n_classes: int, *, seed: int
) -> Difference:
    """The metric of one prediction less that of a rival, resampled in pairs."""
    value = score(metric, truth, predicted, n_classes) - score(metric, truth, rival, n_classes)
    mine, theirs = _resampled(metric, truth, [predicted, rival], n_classes, seed)
    error = float(np.std(mine - theirs, ddof=1))
    return Difference(round(value, 6), *_ends(mine - theirs), round(error, 6))


def _resampled(metric: str, truth: Classes, predictions: Sequence[Classes], n_classes: int, seed: int) -> list[Values]:
    """The metric on every resample, (R,), for each prediction; the resamples are the same for all.

    Rows that agree in truth and all predictions are alike, so drawing N rows with replacement is drawing
    the counts of these kinds from a multinomial: the work does not grow with N.
    """
    from scipy.sparse import csr_array

    stacked = np.stack([truth, *predictions])  # (1 + P, N)
    kinds, counts = np.unique(stacked, axis=1, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(truth), counts / len(truth), size=N_RESAMPLES)
    n_cells = n_classes**2
    step = max(1, _CELLS_AT_ONCE // n_cells)
    results = []
    for predicted in kinds[1:]:
        cells = kinds[0] * n_classes + predicted
        to_cells = csr_array((np.ones(len(cells)), (np.arange(len(cells)), cells)), shape=(len(cells), n_cells))
        parts = [
            METRICS[metric](np.asarray(draws[start : start + step] @ to_cells).reshape(-1, n_classes, n_classes))
            for start in range(0, N_RESAMPLES, step)
        ]
        results.append(np.concatenate(parts))
    return results


def _ends(resampled: Values) -> tuple[float, float]:
    low, high = np.percentile(resampled, [_LOW, _HIGH])
    return round(float(low), 6), round(float(high), 6)
