"""Logistic regression by scikit-learn, over a path of regularisation strengths."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.features.standardize import Standardization
from featcache.heads.network import Network, folded

C_PATH = (0.001, 0.01, 0.1, 1.0)
"""Inverse regularisation strengths tried, in this order. On standardised MiniLM features 0.01, 0.1
and 1 were each the best of some view; larger ones were not tried, because the time grows with C and
the scores fall beyond the best.
"""
_MAX_ITERATIONS = 1000
# On 4,569 x 2,688 of four classes the default 1e-4 takes 2.4 times as long and ends within 0.2
# points of macro-F1.
_TOLERANCE = 1e-3


class _Unheard:
    """A context in which warnings are not heard, for several threads at a time.

    Python keeps filters once for all threads: `catch_warnings` in each of them ends with the
    filters of another.
    """

    def __init__(self) -> None:
        self._lock, self._n_inside, self._before = threading.Lock(), 0, warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._n_inside == 0:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.simplefilter("ignore")
            self._n_inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                self._before.__exit__(None, None, None)


_UNHEARD = _Unheard()


@dataclass(frozen=True)
class Point:
    """A fitted logistic regression on standardised features: weights (H, C), biases (C,).

    converged: whether the solver stopped before its last iteration.
    """

    c: float
    weights: NDArray[np.float64]
    biases: NDArray[np.float64]
    converged: bool

    def predict(self, standardized: NDArray[np.float32]) -> NDArray[np.int64]:
        """Classes (N,)."""
        logits = standardized @ self.weights.astype(np.float32) + self.biases.astype(np.float32)
        return np.asarray(logits.argmax(axis=1), dtype=np.int64)

    def network(self, scales: Sequence[Standardization]) -> Network:
        """The same on features as cached. scales: of the view's parts."""
        return folded([self.weights], [self.biases], Standardization.joined(scales))


class LogisticPath:
    """Logistic regressions of rising C on the same rows, each started where the one before ended."""

    def __init__(
        self,
        standardized: NDArray[np.float32],
        labels: NDArray[np.int64],
        *,
        n_classes: int,
        balanced: bool = False,
    ) -> None:
        """standardized: (N, H).  labels: (N,) class numbers, every class present.  balanced: weighs
        errors by class.
        """
        from sklearn.linear_model import LogisticRegression

        self._x, self._y, self._n_classes = standardized, labels, n_classes
        self._model = LogisticRegression(
            max_iter=_MAX_ITERATIONS,
            tol=_TOLERANCE,
            warm_start=True,
            class_weight="balanced" if balanced else None,
        )

    def fit(self, c: float) -> Point:
        """The next point of the path."""
        self._model.set_params(C=c)
        with _UNHEARD:
            self._model.fit(self._x, self._y)
        weights, biases = _weights(self._model, self._n_classes)
        return Point(
            c, weights, biases, converged=bool(np.max(self._model.n_iter_) < _MAX_ITERATIONS)
        )


def _weights(model: object, n_classes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(H, C) and (C,). For two classes scikit-learn keeps one column, the second's logit over the
    first's.
    """
    coefficients: NDArray[np.float64] = model.coef_.T.copy()  # type: ignore[attr-defined]  # scikit-learn has no types
    intercepts: NDArray[np.float64] = model.intercept_.copy()  # type: ignore[attr-defined]
    if n_classes == 2:
        coefficients = np.concatenate([np.zeros_like(coefficients), coefficients], axis=1)
        intercepts = np.concatenate([np.zeros_like(intercepts), intercepts])
    return coefficients, intercepts
