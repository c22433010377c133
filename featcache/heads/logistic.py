"""Logistic regression by scikit-learn, over a path of regularisation strengths."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.heads.network import Network, folded
from featcache.heads.standardize import Standardization

C_PATH = (0.001, 0.01, 0.1, 1.0)
"""Inverse regularisation strengths tried. On standardised MiniLM features 0.01, 0.1 and 1 were each the best of some
view; larger ones were not tried, because the time grows with C and the scores fall beyond the best."""
_MAX_ITERATIONS = 1000
# On 4,569 x 2,688 of four classes the default 1e-4 takes 2.4 times as long and ends within 0.2 points of macro-F1.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Logistic:
    """A fitted logistic regression on raw features. converged: whether the solver stopped by itself."""

    network: Network
    c: float
    converged: bool


def fit_logistic_path(
    features: NDArray[np.float32], labels: NDArray[np.int64], *, n_classes: int, path: Sequence[float] = C_PATH
) -> list[Logistic]:
    """One logistic regression for each C of the path, in its order; each starts where the one before ended.

    features: (N, H) as cached; standardised here.  labels: (N,) class numbers, every class present.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    scale = Standardization.of(features)
    standardized = scale.apply(features)
    model = LogisticRegression(max_iter=_MAX_ITERATIONS, tol=_TOLERANCE, warm_start=True)
    fitted = []
    for c in path:
        model.set_params(C=c)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(standardized, labels)
        converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
        fitted.append(
            Logistic(folded([_weights(model, n_classes)[0]], [_weights(model, n_classes)[1]], scale), c, converged)
        )
    return fitted


def _weights(model: object, n_classes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(H, C) and (C,). For two classes scikit-learn keeps one column, the second's logit over the first's."""
    coefficients: NDArray[np.float64] = model.coef_.T  # type: ignore[attr-defined]  # scikit-learn has no types
    intercepts: NDArray[np.float64] = model.intercept_  # type: ignore[attr-defined]
    if n_classes == 2:  # noqa: PLR2004 - binary
        coefficients = np.concatenate([np.zeros_like(coefficients), coefficients], axis=1)
        intercepts = np.concatenate([np.zeros_like(intercepts), intercepts])
    return coefficients, intercepts
