"""The posterior of a learning curve: how likely each power law is, given the scores measured.

A single least-squares fit of a power law is known to be overconfident far from its data (Mahmood et
al. 2022, "How much more data do I need?", arXiv 2207.01725). So no optimiser fits anything here:
every combination of rate, gain and wander on a grid is weighed by how well it explains the scores,
under the priors below, and answers are averages over all of them. `learning_curve.py` has the law.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

# Published rates lie between 0.07 and 0.35 (Hestness et al., table 1); that of counting is 0.5.
_RATES = np.linspace(0.05, 0.7, 27)
# Standard deviations, in the unit of the score, for each doubling of rows.
_WANDERS = np.array([0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032])
_USUAL_WANDER = 0.004
_N_GAINS = 121  # grid points between no gain and a perfect score
# A curve may fall too, but not by much: more rows seldom harm (Viering and Loog, section 6).
_LOSSES = -np.geomspace(0.1, 0.0005, 15)
_USUAL_GAIN = 0.3  # scale of what endless rows gain
_FALLING = 0.25  # how much less likely a curve that falls is
_N_SAMPLES = 4000


@dataclass(frozen=True, eq=False)
class Laws:
    """K equally likely laws, each (K,).

    Attributes:
        level: The score at the largest size.
        to_come: What endless rows would add to it.
        rate: The exponent.
        wander: Standard deviation of the wander for each doubling of rows.
    """

    level: Values
    to_come: Values
    rate: Values
    wander: Values


def sample_laws(sizes: Values, means: Values, variance: Values) -> Laws:
    """Sample laws in proportion to how likely they are.

    The law is linear in its level, which is integrated out exactly; the other three are on a grid.

    Args:
        sizes: (P,) numbers of rows, ascending.
        means: (P,) mean scores of their draws.
        variance: (P,) variances of these means.

    Returns:
        4,000 laws.
    """
    to_come = np.concatenate([_LOSSES, np.linspace(0.0, max(1.0 - means[-1], 0.01), _N_GAINS)])
    log_prior = _log_prior_gain(to_come)  # (G,)
    bend = 1.0 - (sizes / sizes[-1]) ** -_RATES[:, None]  # (C, P), zero at the last size
    without_level = means - to_come[None, :, None] * bend[:, None, :]  # (C, G, P)
    weights, levels, errors = [], [], []
    for wander in _WANDERS:
        inverse, log_determinant = _inverse_covariance(sizes, variance, wander)
        precision = inverse.sum()
        level = (without_level @ inverse).sum(axis=-1) / precision  # (C, G)
        misfit = without_level - level[..., None]
        chi = np.einsum("cgp,pq,cgq->cg", misfit, inverse, misfit)
        error = math.sqrt(1 / precision)
        prior = log_prior + _log_prior_wander(wander)
        weight = -0.5 * (chi + log_determinant + math.log(precision)) + prior
        weights.append(np.where(level + to_come <= 1.0 + 2 * error, weight, -np.inf))
        levels.append(level)
        errors.append(error)
    return _draw(np.stack(weights), np.stack(levels), np.array(errors), to_come)


def _draw(weights: Values, levels: Values, errors: Values, to_come: Values) -> Laws:
    """Draw laws from a grid.

    Args:
        weights: (W, C, G) logarithms of how likely each wander, rate and gain are.
        levels: (W, C, G) the mean level of each.
        errors: (W,) the standard error of the level by wander.
        to_come: (G,) the gains of the grid.

    Returns:
        The laws.
    """
    likelihood = np.exp(weights - weights.max())
    generator = np.random.default_rng(0)
    shares = (likelihood / likelihood.sum()).ravel()
    drawn = generator.choice(likelihood.size, _N_SAMPLES, p=shares)
    wander, rate, gain = np.unravel_index(drawn, likelihood.shape)
    noise = errors[wander] * generator.standard_normal(_N_SAMPLES)
    level = levels[wander, rate, gain] + noise
    return Laws(level, to_come[gain], _RATES[rate], _WANDERS[wander])


def _inverse_covariance(sizes: Values, variance: Values, wander: float) -> tuple[Values, float]:
    """Invert the covariance (P, P) of the scores: noise, and a random walk from the last size."""
    doublings = np.log2(sizes)
    back = doublings[-1] - doublings
    walk = wander**2 * np.minimum(back[:, None], back[None, :])
    covariance = np.diag(variance) + walk
    _, log_determinant = np.linalg.slogdet(covariance)
    return np.linalg.inv(covariance), float(log_determinant)


def _log_prior_gain(to_come: Values) -> Values:
    """Small gains are likelier than large ones: nobody stops labelling at a tenth of the score."""
    steps = np.gradient(to_come)
    falling = np.where(to_come < 0, _FALLING, 1.0)
    return np.asarray(np.log(steps * np.exp(-np.abs(to_come) / _USUAL_GAIN) * falling))


def _log_prior_wander(wander: float) -> float:
    """Half-Cauchy around 0.4 points, on a grid that is even in the logarithm."""
    return math.log(wander / (1 + (wander / _USUAL_WANDER) ** 2))
