"""The features of a fold, standardised with its training rows; each view is read once, and kept in
memory or a file.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcache.features.budget import MemoryBudget
from featcache.features.folds import Fold
from featcache.features.source import DenseSource
from featcache.features.standardize import Standardization
from featcache.features.views import View


@dataclass(frozen=True)
class Prepared:
    """A view's standardised features: train (N, H) and held (V, H); mixed layers (L, N, H). scales:
    of each part.
    """

    scales: tuple[Standardization, ...]
    train: Tensor
    held: Tensor


class FoldFeatures:
    """Views of one fold's rows, made when they are first asked for; several threads may ask."""

    def __init__(
        self, source: DenseSource, rows: NDArray[np.int64], fold: Fold, budget: MemoryBudget
    ) -> None:
        """Read nothing yet.

        Args:
            source: Holds the states.
            rows: Positions in the source of the rows whose places a fold holds.
            fold: Training rows, which set the scale, and held-out rows.
            budget: Memory for the features; what it does not cover is kept in a file.
        """
        self._source, self._rows, self._fold, self._budget = source, rows, fold, budget
        self._made: dict[tuple[View, torch.dtype], Prepared] = {}
        self._lock = threading.Lock()

    def view(self, view: View, dtype: torch.dtype = torch.float32) -> Prepared:
        """The view's features; the parts of a joined one are read once, whoever asks."""
        with self._lock:
            return self._view(view, dtype)

    def _view(self, view: View, dtype: torch.dtype = torch.float32) -> Prepared:
        if (view, dtype) not in self._made:
            if dtype != torch.float32:
                whole = self._view(view)
                halves = (self._budget.keep(one.to(dtype)) for one in (whole.train, whole.held))
                self._made[view, dtype] = Prepared(whole.scales, *halves)
            else:
                self._made[view, dtype] = self._single(view) if view.single else self._joined(view)
        return self._made[view, dtype]

    def _single(self, view: View) -> Prepared:
        rows = self._rows[np.concatenate([self._fold.train, self._fold.held])]
        states = self._source.gather(view.standardised(), rows)
        n_train = len(self._fold.train)
        scale = (
            Standardization.of(states[:n_train])
            if view.scaled
            else Standardization.none(states.shape[1])
        )
        parts = (
            torch.from_numpy(scale.apply(some)) for some in (states[:n_train], states[n_train:])
        )
        return Prepared((scale,), *map(self._budget.keep, parts))

    def _joined(self, view: View) -> Prepared:
        parts = [self._view(part.standardised(view.scaled)) for part in view.parts()]
        join = torch.stack if view.mixed else partial(torch.cat, dim=1)
        sides = (join([getattr(part, side) for part in parts]) for side in ("train", "held"))
        return Prepared(
            tuple(scale for part in parts for scale in part.scales), *map(self._budget.keep, sides)
        )


def raw_features(source: DenseSource, view: View, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """A view's features as they are in the source, before any standardisation.

    Args:
        source: Holds the states.
        view: What heads see; layers that are mixed stand side by side.
        rows: (N,) positions in the source.

    Returns:
        (N, inputs), what a finished head takes.
    """
    return np.concatenate([source.gather(part, rows) for part in view.parts()], axis=1)
