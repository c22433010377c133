"""Finding rows by key: a sorted array and binary search, without a Python object for every row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class KeyIndex:
    """Positions of N keys, sorted by their first 8 bytes; where a key occurs twice, the first position counts."""

    _high: NDArray[np.uint64]
    _low: NDArray[np.uint64]
    _positions: NDArray[np.int64]

    @classmethod
    def build(cls, keys: NDArray[np.uint8]) -> KeyIndex:
        """Index of keys, uint8 (N, 16); position i is row i."""
        high, low = _halves(keys)
        order = np.argsort(high, kind="stable")  # stable: equal keys stay in order, so the first is found
        return cls(high[order], low[order], order.astype(np.int64))

    def find(self, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
        """For each of the keys (M, 16) its position, or -1 where it is not there; shape (M,)."""
        high, low = _halves(keys)
        found = np.full(len(keys), -1, dtype=np.int64)
        place = np.searchsorted(self._high, high, side="left")
        open_ = np.arange(len(keys))
        # One round, but for keys whose first 8 bytes are equal and whose last 8 are not.
        while len(open_):
            open_ = open_[place[open_] < len(self._high)]
            open_ = open_[self._high[place[open_]] == high[open_]]
            same = self._low[place[open_]] == low[open_]
            found[open_[same]] = self._positions[place[open_[same]]]
            open_ = open_[~same]
            place[open_] += 1
        return found


def _halves(keys: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    both = np.ascontiguousarray(keys).view(">u8").astype(np.uint64)
    return both[:, 0].copy(), both[:, 1].copy()
