"""A candidate and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.features.views import View
from featcache.heads.candidate import Candidate
from featcache.heads.shape import HeadShape


@dataclass(frozen=True)
class Trial:
    """A candidate and what became of it.

    settings: what a refit needs (C, or epochs and the recipe).  train, validation: metrics, means
    over seeds (and, on training rows, folds).  curve: of the first fold and seed, over epochs or C.
    ended: "done", "out of time", or the epoch at which others were better ("dropped at 3").
    predicted: (S, V) classes of the validation rows, by seed.
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
