"""Learning curves: what a head scored with part of the labels, and what more of them would give,
with honest doubt.

The score with n training rows is taken to be

    score(n) = limit - scale * n ** -rate + wander(n) + noise

the power law that learning curves of most learners follow (Hestness et al. 2017, arXiv 1712.00409;
Viering and Loog 2021, "The shape of learning curves", arXiv 2103.10948), a wander for that they
follow it only roughly (a random walk over the logarithm of n, so that doubt grows with each
doubling beyond the last size measured), and the noise of drawing other rows. A single least-squares
fit of such a law is known to be overconfident far from its data (Mahmood et al. 2022, "How much
more data do I need?", arXiv 2207.01725), so nothing is fitted by an optimiser: every pair of rate
and gain on a grid is weighed by how well it explains the sizes measured, under priors given below,
and answers are averages over all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

FEWEST_SIZES = 3  # two points say nothing about a bend
# Published rates lie between 0.07 and 0.35 (Hestness et al., table 1), that of counting is 0.5.
_RATES = np.linspace(0.05, 0.7, 27)
_WANDERS = np.array(
    [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032]
)  # of the score, for each doubling
# Grid points between the worst and the best that the law may still give beyond the last size
_GAINS = 121
_USUAL_GAIN, _FALLING = (
    0.3,
    0.25,
)  # scale of what endless rows give; how much less likely a curve that falls is
_SAMPLES = 4000
_LEAST_NOISE = 5e-4
# Heads that differ do so on some of the rows held back, even where draws happen to agree (a
# majority class, say).
_OF_HELD = 0.25
_UNKNOWN_NOISE = 0.005  # where no size has two draws


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error and 95 % interval, in the unit of the score (0.01 is a
    point).
    """

    value: float
    standard_error: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: Values) -> Estimate:
        low, high = np.percentile(samples, [2.5, 97.5])
        numbers = (samples.mean(), samples.std(), low, high)
        return cls(*(round(float(one), 6) for one in numbers))


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """What is known of a curve: many curves, each as likely as its share of them.

    On 60 curves of four real data sets (heads on MiniLM, three metrics: 180 cases) a score at full
    data lay within the 95 % interval foretold from half the data in 95 % of cases, at a median
    width of 4.5 points; the part of the held rows' error was chosen there. In
    `benchmarks/learning_curves.py`, with other splits and draws, it was 62 of 63 cases and 3.6
    points.

    rows: sizes measured, ascending.  level (K,): the score with `rows[-1]` rows; to_come (K,): what
    endless rows would add by the law; rate (K,); wander (K,): standard deviation for each doubling.
    noise: standard deviation of one measured score with `rows[-1]` rows; noise_rate: it falls as
    rows ** -noise_rate.
    """

    rows: tuple[int, ...]
    level: Values = field(repr=False)
    to_come: Values = field(repr=False)
    rate: Values = field(repr=False)
    wander: Values = field(repr=False)
    noise: float
    noise_rate: float

    def at(self, rows: int, *, measured: bool = True) -> Estimate:
        """The score with so many rows, of the best guess at it.

        measured: as one training on such rows would measure it on the same held-back rows; else the
        mean over many.
        """
        nearest = min(abs(math.log2(rows / one)) for one in self.rows)
        variance = self.wander**2 * nearest
        if measured:
            variance = variance + (self.noise * (self.rows[-1] / rows) ** self.noise_rate) ** 2
        return Estimate.of(np.minimum(self._law(rows) + np.sqrt(variance) * self._normal(), 1.0))

    def gain(self, rows_from: int, rows_to: int) -> Estimate:
        """How much the mean score changes from so many rows to so many."""
        steps = abs(math.log2(rows_to / rows_from))
        change = self._law(rows_to) - self._law(rows_from)
        return Estimate.of(change + self.wander * math.sqrt(steps) * self._normal())

    @property
    def doubling(self) -> Estimate:
        """What twice the rows of the largest size would give."""
        return self.gain(self.rows[-1], 2 * self.rows[-1])

    @property
    def limit(self) -> Estimate:
        """The score that endless rows would give by the law."""
        return Estimate.of(np.minimum(self.level + self.to_come, 1.0))

    def dense(self, *, points: int = 40, up_to: int | None = None) -> list[tuple[int, Estimate]]:
        """Means at log-spaced sizes from the smallest measured up to twice the largest (or
        `up_to`), for a plot.
        """
        sizes = np.geomspace(self.rows[0], up_to or 2 * self.rows[-1], points).round().astype(int)
        return [(int(size), self.at(int(size), measured=False)) for size in np.unique(sizes)]

    def _law(self, rows: int) -> Values:
        return np.asarray(self.level + self.to_come * (1.0 - (rows / self.rows[-1]) ** -self.rate))

    def _normal(self) -> Values:
        return np.random.default_rng(1).standard_normal(len(self.level))


def fitted(
    rows: Sequence[int],
    scores: NDArray[np.floating],
    *,
    pool: int | None = None,
    worst: float = 0.0,
    held_error: float = 0.0,
) -> LearningCurve | None:
    """The curve through scores (P, R) of R draws at each of P sizes (NaN where a size has fewer),
    or None for fewer than three sizes.

    pool: rows that the draws are taken of [the largest size]: draws of a half of it are more alike
    than those of other rows would be.  worst: the score of guessing, below which no curve lies.
    held_error: standard error of a score by the choice of the rows held back; the noise is taken
    to be no less than a part of it.
    """
    found = np.asarray(scores, dtype=np.float64)
    there = ~np.isnan(found).all(axis=1)
    sizes, found = np.asarray(rows, dtype=np.float64)[there], found[there]
    order = np.argsort(sizes)
    sizes, found = sizes[order], found[order]
    if len(sizes) < FEWEST_SIZES:
        return None
    share = np.minimum(sizes / (pool or sizes[-1]), 1.0)
    noise, noise_rate = _noise(sizes, found, share)
    noise = math.hypot(noise, _OF_HELD * held_error)
    count = (~np.isnan(found)).sum(axis=1)
    own = (noise * (sizes[-1] / sizes) ** noise_rate) ** 2
    # The pool is one draw of the world: what its rows have in common, all parts of it share.
    variance = own * (share + (1.0 - share) / count)
    return _posterior(sizes, np.nanmean(found, axis=1), variance, worst, noise, noise_rate)


def _noise(sizes: Values, scores: Values, share: Values) -> tuple[float, float]:
    """Standard deviation of one draw of fresh rows at the largest size, and the rate at which it
    falls.
    """
    many = ((~np.isnan(scores)).sum(axis=1) > 1) & (share < 1.0)
    if not many.any():
        return _UNKNOWN_NOISE, 0.25
    degrees = (~np.isnan(scores[many])).sum(axis=1) - 1.0
    spread = np.nanvar(scores[many], axis=1, ddof=1) / (
        1.0 - share[many]
    )  # of parts that overlap less than they do
    best, result = -np.inf, (_UNKNOWN_NOISE, 0.25)
    for rate in (0.0, 0.125, 0.25, 0.375, 0.5):
        scale = (sizes[-1] / sizes[many]) ** (2 * rate)
        pooled = max(float((degrees * spread / scale).sum() / degrees.sum()), _LEAST_NOISE**2)
        likely = float(
            -0.5 * (degrees * (np.log(pooled * scale) + spread / (pooled * scale))).sum()
        )
        if likely > best:
            best, result = likely, (math.sqrt(pooled), rate)
    return result


def _posterior(
    sizes: Values, means: Values, variance: Values, worst: float, noise: float, noise_rate: float
) -> LearningCurve:
    """Every (wander, rate, gain) weighed; the level, in which the law is linear, is integrated out
    by hand.
    """
    last = means[-1]
    room = max(1.0 - last, 0.01)
    # Mostly upwards; a curve may fall, too, but not by much: more rows seldom harm (Viering and
    # Loog, section 6).
    to_come = np.concatenate([-np.geomspace(0.1, 0.0005, 15), np.linspace(0.0, room, _GAINS)])
    steps = np.gradient(to_come)
    # Small gains are likelier than large ones: nobody stops labelling at a tenth of the score.
    prior_gain = (
        steps * np.exp(-np.abs(to_come) / _USUAL_GAIN) * np.where(to_come < 0, _FALLING, 1.0)
    )
    bend = 1.0 - (sizes / sizes[-1]) ** -_RATES[:, None]  # (C, P), zero at the last size
    law = to_come[None, :, None] * bend[:, None, :]  # (C, G, P)
    away = np.log2(sizes)
    weights, levels, spreads = [], [], []
    for wander in _WANDERS:
        # A random walk from the last size downwards.
        back = away[-1] - away
        cov = np.diag(variance) + wander**2 * np.minimum(back[:, None], back[None, :])
        inverse = np.linalg.inv(cov)
        rest = means - law  # (C, G, P)
        precision = inverse.sum()
        level = (rest @ inverse).sum(axis=-1) / precision
        misfit = rest - level[..., None]
        chi = np.einsum("cgp,pq,cgq->cg", misfit, inverse, misfit)
        _, logdet = np.linalg.slogdet(cov)
        fits = level + to_come <= 1.0 + 2 * math.sqrt(1 / precision)
        prior = np.log(prior_gain) + _log_prior_wander(wander)
        weights.append(np.where(fits, -0.5 * (chi + logdet + math.log(precision)) + prior, -np.inf))
        levels.append(level)
        spreads.append(math.sqrt(1 / precision))
    logs = np.stack(weights)
    chance = np.exp(logs - logs.max())
    generator = np.random.default_rng(0)
    drawn = generator.choice(chance.size, _SAMPLES, p=(chance / chance.sum()).ravel())
    w, c, g = np.unravel_index(drawn, chance.shape)
    level = np.stack(levels)[w, c, g] + np.array(spreads)[w] * generator.standard_normal(_SAMPLES)
    return LearningCurve(
        rows=tuple(int(one) for one in sizes),
        level=np.clip(level, worst, 1.0),
        to_come=to_come[g],
        rate=_RATES[c],
        wander=_WANDERS[w],
        noise=noise,
        noise_rate=noise_rate,
    )


def _log_prior_wander(wander: float) -> float:
    """Half-Cauchy around 0.4 points, on a grid that is even in the logarithm."""
    return math.log(wander / (1 + (wander / 0.004) ** 2))
