"""States of the cache as a source of inputs, kept in memory while the budget lasts."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from featcache.cache.space import Space
from featcache.features.budget import MemoryBudget
from featcache.features.views import View

_BYTES = 4  # of a float32


class CachedStates:
    """States of a space, as a `DenseSource` whose positions are those of the space.

    Folds and labels ask for the same states again and again, so they are kept in memory. States
    that the budget does not cover are read from the cache each time: it is a file already.
    """

    def __init__(self, space: Space, rows: NDArray[np.int64], budget: MemoryBudget) -> None:
        """Read nothing yet.

        Args:
            space: Holds the states.
            rows: All positions that will be asked for.
            budget: Memory for the states that are kept.
        """
        self._space, self._budget, self._rows = space, budget, np.unique(rows)
        self._kept: dict[View, NDArray[np.float32]] = {}
        self._lock = threading.Lock()

    @property
    def width(self) -> int:
        """Numbers that a row has in one layer and pooling."""
        return self._space.origin.hidden_size

    def gather(self, view: View, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read the states (N, width) of one layer and pooling at positions in the space."""
        with self._lock:
            n_bytes = _BYTES * len(self._rows) * self.width
            if view not in self._kept and self._budget.take(n_bytes):
                self._kept[view] = self._read(view, self._rows)
        kept = self._kept.get(view)
        if kept is None:
            return self._read(view, rows)
        return kept[np.searchsorted(self._rows, rows)]

    def _read(self, view: View, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._space.gather(rows, layer=view.layers[0], pooling=view.poolings[0])
