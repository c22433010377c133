"""Learning curves as a law: what a head would score with more rows, and how sure that is.

The score with n training rows is taken to be

    score(n) = limit - scale * n ** -rate + wander(n) + noise

the power law that learning curves of most learners follow (Hestness et al. 2017, arXiv 1712.00409;
Viering and Loog 2021, "The shape of learning curves", arXiv 2103.10948). The wander allows for
curves that follow it only roughly: a random walk over the logarithm of n, so that uncertainty grows
with each doubling beyond the last size measured. The noise is that of drawing other rows. How the
law is inferred from scores stands in `posterior.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featcache.evidence.posterior import Values, sample_laws

MIN_SIZES = 3  # two points say nothing about a bend
_NOISE_RATES = (0.0, 0.125, 0.25, 0.375, 0.5)
_MIN_NOISE = 5e-4
_UNKNOWN_NOISE = (0.005, 0.25)  # noise and its rate where no size has two draws
# Heads that differ do so on some of the held-out rows, even where draws happen to agree (a majority
# class, say).
_SHARE_OF_HELD_ERROR = 0.25


@dataclass(frozen=True)
class Estimate:
    """A value with its uncertainty, in the unit of the score (0.01 is a point).

    Attributes:
        value: The mean.
        standard_error: The standard deviation.
        low: The lower end of the 95 % interval.
        high: The upper end of the 95 % interval.
    """

    value: float
    standard_error: float
    low: float
    high: float

    @classmethod
    def from_samples(cls, samples: Values) -> Estimate:
        """Summarise samples of a value.

        Args:
            samples: (K,) equally likely values.

        Returns:
            Their mean, deviation and interval, rounded to six digits.
        """
        low, high = np.percentile(samples, [2.5, 97.5])
        numbers = (samples.mean(), samples.std(), low, high)
        return cls(*(round(float(number), 6) for number in numbers))


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """What is known of a learning curve: K laws, all equally likely.

    On 60 curves of four real data sets (heads on MiniLM, three metrics: 180 cases) a score at full
    data lay within the 95 % interval predicted from half the data in 95 % of cases, at a median
    width of 4.5 points; the share of the held-out rows' error was chosen there. In
    `benchmarks/learning_curves.py`, with other splits and draws, it was 62 of 63 cases and 3.6
    points.

    Attributes:
        rows: The sizes measured, ascending.
        level: (K,) the score with `rows[-1]` rows.
        to_come: (K,) what endless rows would add to it by the law.
        rate: (K,) the exponent of the law.
        wander: (K,) standard deviation of the wander for each doubling of rows.
        noise: Standard deviation of one measured score with `rows[-1]` rows.
        noise_rate: The noise falls as rows ** -noise_rate.
    """

    rows: tuple[int, ...]
    level: Values = field(repr=False)
    to_come: Values = field(repr=False)
    rate: Values = field(repr=False)
    wander: Values = field(repr=False)
    noise: float
    noise_rate: float

    def at(self, rows: int, *, measured: bool = True) -> Estimate:
        """Estimate the score with a number of training rows.

        Args:
            rows: Number of training rows.
            measured: Whether to add the noise of one training on such rows, as it would be measured
                on the same held-out rows; without it, the mean over many trainings.

        Returns:
            The score with its uncertainty; never above 1.
        """
        n_doublings = min(abs(math.log2(rows / size)) for size in self.rows)
        variance = self.wander**2 * n_doublings
        if measured:
            noise = self.noise * (self.rows[-1] / rows) ** self.noise_rate
            variance = variance + noise**2
        samples = self._law(rows) + np.sqrt(variance) * self._normal()
        return Estimate.from_samples(np.minimum(samples, 1.0))

    def gain(self, rows_from: int, rows_to: int) -> Estimate:
        """Estimate how much the mean score changes between two numbers of rows.

        Args:
            rows_from: The number of rows to begin with.
            rows_to: The number of rows in the end.

        Returns:
            The change with its uncertainty.
        """
        n_doublings = abs(math.log2(rows_to / rows_from))
        change = self._law(rows_to) - self._law(rows_from)
        return Estimate.from_samples(change + self.wander * math.sqrt(n_doublings) * self._normal())

    @property
    def doubling(self) -> Estimate:
        """What twice the rows of the largest size would gain."""
        return self.gain(self.rows[-1], 2 * self.rows[-1])

    @property
    def limit(self) -> Estimate:
        """The score that endless rows would give by the law."""
        return Estimate.from_samples(np.minimum(self.level + self.to_come, 1.0))

    def dense(self, *, points: int = 40, up_to: int | None = None) -> list[tuple[int, Estimate]]:
        """Estimate mean scores at log-spaced sizes, for a plot.

        Args:
            points: How many sizes at most.
            up_to: The largest size [twice the largest measured].

        Returns:
            Sizes with their scores, from the smallest size measured.
        """
        sizes = np.geomspace(self.rows[0], up_to or 2 * self.rows[-1], points).round().astype(int)
        return [(int(size), self.at(int(size), measured=False)) for size in np.unique(sizes)]

    def _law(self, rows: int) -> Values:
        """The score with a number of rows by each of the laws, (K,)."""
        return np.asarray(self.level + self.to_come * (1.0 - (rows / self.rows[-1]) ** -self.rate))

    def _normal(self) -> Values:
        """The same standard normal numbers each time, (K,), so that estimates repeat."""
        return np.random.default_rng(1).standard_normal(len(self.level))


def fit_learning_curve(
    rows: Sequence[int],
    scores: NDArray[np.floating],
    *,
    pool: int | None = None,
    worst: float = 0.0,
    held_error: float = 0.0,
) -> LearningCurve | None:
    """Fit the curve through scores of several draws at each of several sizes.

    Args:
        rows: P numbers of training rows, in any order.
        scores: (P, R) scores of R draws each; NaN where a size has fewer.
        pool: Number of rows that the draws are taken from [the largest size]. Two draws of half of
            them are more alike than draws of other rows would be.
        worst: The score of guessing, below which no curve lies.
        held_error: Standard error of a score by the choice of the held-out rows; the noise is taken
            to be no less than a part of it.

    Returns:
        The curve, or None for fewer than three sizes with scores.
    """
    all_scores = np.asarray(scores, dtype=np.float64)
    all_sizes = np.asarray(rows, dtype=np.float64)
    order = np.argsort(all_sizes)
    order = order[~np.isnan(all_scores[order]).all(axis=1)]
    sizes, values = all_sizes[order], all_scores[order]
    if len(sizes) < MIN_SIZES:
        return None
    share = np.minimum(sizes / (pool or sizes[-1]), 1.0)
    noise, noise_rate = _estimate_noise(sizes, values, share)
    noise = math.hypot(noise, _SHARE_OF_HELD_ERROR * held_error)
    n_draws = (~np.isnan(values)).sum(axis=1)
    one_draw = (noise * (sizes[-1] / sizes) ** noise_rate) ** 2
    # The pool itself is one draw of the world: all parts of it share what its rows have in common.
    variance = one_draw * (share + (1.0 - share) / n_draws)
    laws = sample_laws(sizes, np.nanmean(values, axis=1), variance)
    return LearningCurve(
        rows=tuple(int(size) for size in sizes),
        level=np.clip(laws.level, worst, 1.0),
        to_come=laws.to_come,
        rate=laws.rate,
        wander=laws.wander,
        noise=noise,
        noise_rate=noise_rate,
    )


def _estimate_noise(sizes: Values, scores: Values, share: Values) -> tuple[float, float]:
    """Estimate how much the scores of fresh draws vary.

    Args:
        sizes: (P,) numbers of rows, ascending.
        scores: (P, R) scores of the draws; NaN where a size has fewer.
        share: (P,) each size as a share of the pool.

    Returns:
        The standard deviation of one draw at the largest size, and the rate at which it falls.
    """
    repeated = ((~np.isnan(scores)).sum(axis=1) > 1) & (share < 1.0)
    if not repeated.any():
        return _UNKNOWN_NOISE
    degrees = (~np.isnan(scores[repeated])).sum(axis=1) - 1.0
    # Draws that share rows vary less than fresh ones would.
    spread = np.nanvar(scores[repeated], axis=1, ddof=1) / (1.0 - share[repeated])
    highest, best = -np.inf, _UNKNOWN_NOISE
    for rate in _NOISE_RATES:
        scale = (sizes[-1] / sizes[repeated]) ** (2 * rate)
        pooled = max(float((degrees * spread / scale).sum() / degrees.sum()), _MIN_NOISE**2)
        misfit = np.log(pooled * scale) + spread / (pooled * scale)
        likelihood = float(-0.5 * (degrees * misfit).sum())
        if likelihood > highest:
            highest, best = likelihood, (math.sqrt(pooled), rate)
    return best
