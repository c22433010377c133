"""States of the cache, kept in memory while there is room."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from featcache.cache.space import Space
from featcache.features.budget import MemoryBudget
from featcache.features.views import View


class CachedStates:
    """States as cached of the rows of a call, kept while there is room, for folds and labels ask
    for them again.

    The others are read from the cache each time: it is a file already.
    """

    def __init__(self, space: Space, rows: NDArray[np.int64], room: MemoryBudget) -> None:
        """rows: all positions that will be asked for."""
        self._space, self._room, self._rows = space, room, np.unique(rows)
        self._known: dict[View, NDArray[np.float32]] = {}
        self._lock = threading.Lock()

    def gather(self, view: View, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """States (N, H) of one layer and pooling at positions in the cache."""
        with self._lock:
            if view not in self._known and self._room.take(
                4 * len(self._rows) * self._space.origin.hidden_size
            ):
                self._known[view] = self._read(view, self._rows)
        known = self._known.get(view)
        return self._read(view, rows) if known is None else known[np.searchsorted(self._rows, rows)]

    def _read(self, view: View, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._space.gather(rows, layer=view.layers[0], pooling=view.poolings[0])
