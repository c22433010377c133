"""Logistic regression by scikit-learn, over a path of regularisation strengths."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.features.standardize import Standardization
from featcache.features.views import View
from featcache.heads.kind import FoldOutcome
from featcache.heads.network import Network, folded
from featcache.heads.shape import HeadShape
from featcache.tasks.balance import DRAWN

if TYPE_CHECKING:
    from featcache.features.folds import Fold
    from featcache.features.matrices import FoldFeatures
    from featcache.heads.candidate import Candidate
    from featcache.heads.kind import Numbered, Rung, Runner
    from featcache.heads.setup import TrainingSetup

Classes = NDArray[np.int64]
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
    """Logistic regressions of rising C on the same rows, each started where the one
    before ended.
    """

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


class _Path:
    """Logistic regression on one view; its best C so far stands for it."""

    def __init__(
        self,
        one: tuple[int, Candidate],
        sweep: TrainingSetup,
        fold: Fold,
        features: FoldFeatures,
    ) -> None:
        self._number, self._view, self._path_of_c = one[0], one[1].view, one[1].path
        self._sweep, self._fold, self._features = sweep, fold, features
        self._path: LogisticPath | None = None
        self._points: list[tuple[float, Point, Classes]] = []
        self._dropped, self._seconds = False, 0.0

    def advance(self, rung: Rung, out_of_time: Callable[[], bool]) -> None:
        started = time.perf_counter()
        while (
            not self._dropped
            and len(self._points) < min(rung.points, len(self._path_of_c))
            and not out_of_time()
        ):
            prepared = self._features.view(self._view)
            self._path = self._path or logistic_path(
                prepared.train.numpy(), self._labels(self._fold.train), self._sweep
            )
            point = self._path.fit(self._path_of_c[len(self._points)])
            held = point.predict(prepared.held.numpy())
            (score,) = self._sweep.score(self._labels(self._fold.held), held[None])
            self._points.append((float(score), point, held))
        self._seconds += time.perf_counter() - started

    def held(self) -> dict[int, Classes]:
        return {self._number: self._best()[2]} if self._points else {}

    def drop(self, numbers: set[int]) -> None:
        self._dropped = self._dropped or self._number in numbers

    def outcomes(self) -> dict[int, FoldOutcome]:
        if not self._points:
            return {}
        train, labels = (
            self._features.view(self._view).train.numpy(),
            self._labels(self._fold.train),
        )
        predicted = [point.predict(train) for _, point, _ in self._points]
        scores = self._sweep.score(labels, np.stack(predicted))
        _, best, held = self._best()
        curve = {
            "c": [point.c for _, point, _ in self._points],
            "train_score": [round(float(score), 6) for score in scores],
            "validation_score": [round(score, 6) for score, _, _ in self._points],
        }
        place = [point.c for _, point, _ in self._points].index(best.c)
        n_parameters = best.weights.size + best.biases.size
        settings = {"c": best.c, "converged": best.converged}
        outcome = FoldOutcome(predicted[place], held, settings, curve, n_parameters, self._seconds)
        return {self._number: outcome}

    def _best(self) -> tuple[float, Point, Classes]:
        """Of equal scores that of the smallest C."""
        return max(self._points, key=lambda one: (one[0], -one[1].c))

    def _labels(self, places: NDArray[np.int64]) -> Classes:
        return self._sweep.part.labels[places]


def logistic_path(
    standardized: NDArray[np.float32], labels: Classes, sweep: TrainingSetup
) -> LogisticPath:
    """The path over C on training rows, with the sweep's way to treat classes of unequal size."""
    if sweep.balance in DRAWN:
        rows = sweep.task.drawn_rows(labels, sweep.balance, np.random.default_rng(sweep.seed))
        standardized, labels = standardized[rows], labels[rows]
    return LogisticPath(
        standardized, labels, n_classes=sweep.task.n_outputs, balanced=sweep.balance == "weights"
    )


class LogReg:
    """The kind `logreg`: logistic regression by scikit-learn, over a path of rising C."""

    name, tier, learning_rate, stacked, plain_loss = "logreg", 0, None, False, False

    def shape(self, depth: int = 0, width: int | None = None) -> HeadShape:  # noqa: ARG002 - it has neither
        """Make the shape of a logistic regression."""
        return HeadShape(self.name)

    def fits(self, view: View) -> bool:
        """Refuse mixed views: weights of a mean are learned by gradient descent alone."""
        return not view.mixed

    def runners(
        self, candidates: Numbered, setup: TrainingSetup, fold: Fold, features: FoldFeatures
    ) -> list[Runner]:
        """Make one runner for each candidate."""
        return [_Path(one, setup, fold, features) for one in candidates]

    def refit(
        self,
        candidate: Candidate,
        settings: dict[str, Any],
        setup: TrainingSetup,
        places: NDArray[np.int64],
    ) -> Network:
        """Train with the C that was found best; see `HeadKind.refit`."""
        from featcache.features.budget import MemoryBudget
        from featcache.features.folds import Fold
        from featcache.features.matrices import FoldFeatures

        with MemoryBudget() as budget:
            fold = Fold(places, places[:0])
            features = FoldFeatures(setup.source, setup.part.rows, fold, budget)
            view = features.view(candidate.view)
            path = logistic_path(view.train.numpy(), setup.part.labels[places], setup)
            return path.fit(settings["c"]).network(view.scales)
