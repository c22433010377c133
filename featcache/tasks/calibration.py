"""Calibration: whether a head that says 0.9 is right nine times of ten, and the one number that
mends it.

Temperature scaling divides all logits by T, fitted on validation rows (Guo et al. 2017, arXiv
1706.04599). It changes no prediction, only how sure it claims to be. What it gained is read off the
expected calibration error, before and after, on rows that it was not fitted on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LOWEST, _HIGHEST = 0.05, 20.0


def temperature(logits: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    """The T in [0.05, 20] for which softmax(logits / T) has the lowest log loss.

    logits: (N, C), finite.  truth: (N,) class numbers.  1.0 where no T is lowest: without rows, and
    where every row is right, since the loss then falls for ever as T does, however few the rows.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    scaled = logits.astype(np.float64)
    right = np.take_along_axis(scaled, truth[:, None], axis=1)  # (N, 1)
    behind = scaled - right  # (N, C), how far the true class lies behind each
    if not (behind > 0).any():
        return 1.0

    def loss(log_t: float) -> float:
        return float(logsumexp(behind / math.exp(log_t), axis=1).mean())

    # In 1/T the loss is convex, so in log T it has one valley, and the bounded search finds its
    # floor.
    found = minimize_scalar(loss, bounds=(math.log(_LOWEST), math.log(_HIGHEST)), method="bounded")
    return math.exp(found.x) if found.fun < loss(0.0) else 1.0


def expected_calibration_error(
    probabilities: NDArray[np.float64], truth: NDArray[np.int64], *, n_bins: int = 15
) -> float:
    """Mean distance of confidence and accuracy over bins of confidence, weighted by their rows; 0
    is best.

    probabilities: (N, C), N >= 1.  truth: (N,) class numbers.  Confidence is a row's highest
    probability; the bins have equal width, and an edge belongs to the bin below it (Naeini et al.
    2015; 15 bins: Guo et al. 2017).
    """
    # |B|/N * |accuracy - confidence| of a bin is that distance times its rows / N.
    bins = reliability(probabilities, truth, n_bins=n_bins)
    return sum(one.rows * abs(one.accuracy - one.confidence) for one in bins) / len(truth)


@dataclass(frozen=True)
class Bin:
    """Rows of like confidence: its mean, the share of them that is right, and how many they are."""

    confidence: float
    accuracy: float
    rows: int


def reliability(
    probabilities: NDArray[np.float64], truth: NDArray[np.int64], *, n_bins: int = 15
) -> list[Bin]:
    """The bins of the expected calibration error that hold rows, by rising confidence; arguments as
    there.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    bins = np.searchsorted(np.arange(1, n_bins) / n_bins, confidence)
    rows = np.bincount(bins, minlength=n_bins)
    sums = [np.bincount(bins, weights=one, minlength=n_bins) for one in (confidence, right)]
    return [
        Bin(float(sums[0][one] / rows[one]), float(sums[1][one] / rows[one]), int(rows[one]))
        for one in np.flatnonzero(rows)
    ]
