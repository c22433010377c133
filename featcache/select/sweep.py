"""What a sweep is about: its rows and folds, what is tried on them, and what became of it. Plain data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.heads.logistic import C_PATH
from featcache.heads.shape import HeadShape
from featcache.select.views import View

if TYPE_CHECKING:
    from featcache.heads.custom import Factory
    from featcache.heads.recipe import Recipe


@dataclass(frozen=True)
class Part:
    """Rows to train on or to score. rows: their positions in the cache; labels: class numbers; both (N,)."""

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """Places of training and validation rows among a sweep's rows."""

    train: NDArray[np.int64]
    held: NDArray[np.int64]


@dataclass(frozen=True)
class Sweep:
    """What every trial of a search shares.

    gather: (view of one layer and pooling, positions in the cache) -> float32 features (N, H).  part: training and
    validation rows together.  folds: one, or those of a cross-validation, whose validation rows are all rows.
    seeds: each candidate is trained with each of them.  balance: see `heads.balance`.
    """

    gather: Callable[[View, NDArray[np.int64]], NDArray[np.float32]]
    part: Part
    folds: tuple[Fold, ...]
    n_classes: int
    metric: str
    seed: int
    seeds: tuple[int, ...]
    balance: str = "none"

    @property
    def truth(self) -> NDArray[np.int64]:
        """Classes of the validation rows of all folds, (V,), fold by fold."""
        return np.concatenate([self.part.labels[fold.held] for fold in self.folds])


@dataclass(frozen=True)
class Candidate:
    """A head to be tried on a view. recipe: how it is trained; None for logistic regression, which has a path over C.

    path: of rising C.  factory: makes the module of a custom head.
    """

    view: View
    head: HeadShape
    recipe: Recipe | None = None
    factory: Factory | None = None
    path: tuple[float, ...] = C_PATH


@dataclass(frozen=True)
class Trial:
    """A candidate and what became of it.

    settings: what a refit needs (C, or epochs and the recipe).  train, validation: metrics, means over seeds (and,
    on training rows, folds).  curve: of the first fold and seed, over epochs or C.  ended: "done", "out of time", or
    the epoch at which others were better ("dropped at 3").  predicted: (S, V) classes of the validation rows, by seed.
    """

    candidate: Candidate
    settings: dict[str, Any]
    train: dict[str, float]
    validation: dict[str, float]
    curve: dict[str, list[float]]
    n_parameters: int
    seconds: float
    ended: str
    predicted: NDArray[np.int64] = field(repr=False)

    @property
    def head(self) -> HeadShape:
        return self.candidate.head

    @property
    def view(self) -> View:
        return self.candidate.view

    @property
    def dropped(self) -> bool:
        """Whether others were preferred before its end; such a head cannot be chosen."""
        return self.ended.startswith("dropped")

    def record(self) -> dict[str, Any]:
        """The trial as JSON, as `trials.jsonl` keeps it."""
        head = self.head
        form = {"activation": head.activation, "layer_norm": head.layer_norm, "residual": head.residual}
        return {
            "head": head.kind,
            "depth": head.depth,
            "width": head.width,
            **(form if head.depth else {}),
            "layers": list(self.view.layers),
            "pooling": list(self.view.poolings),
            "mixed": self.view.mixed,
            "settings": self.settings,
            "train": self.train,
            "validation": self.validation,
            "ended": self.ended,
            "curve": self.curve,
            "n_parameters": self.n_parameters,
            "seconds": round(self.seconds, 3),
        }
