"""Finding rows by key without a Python object for each: in memory for a few shards, on the disk for
millions.

`KeyIndex` is a sorted array of what the open shards hold. `SealedIndex` is the same, stored with a
sealed file and memory-mapped: blocks of 512 entries, each with a checksum, and the first key of
each block, which is all that is read at first. A look-up touches one block for each key (two levels
of a B-tree, all of one size).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

_STEP = 1 << 16  # keys looked up together
BLOCK = 512  # entries of 24 bytes: three pages


@dataclass(frozen=True)
class KeyIndex:
    """Positions of N keys, sorted by their first 8 bytes; where a key occurs twice, the first
    position counts.
    """

    _high: NDArray[np.uint64]
    _low: NDArray[np.uint64]
    _positions: NDArray[np.int64]

    @classmethod
    def build(cls, keys: NDArray[np.uint8], positions: NDArray[np.int64] | None = None) -> KeyIndex:
        """Index of keys, uint8 (N, 16); positions: (N,), ascending, or 0 … N-1 where they are left
        out.
        """
        high, low = _halves(keys)
        order = np.argsort(
            high, kind="stable"
        )  # stable: equal keys stay in order, so the first is found
        return cls(
            high[order],
            low[order],
            order.astype(np.int64) if positions is None else positions[order],
        )

    def find(self, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
        """For each of the keys (M, 16) its position, or -1 where it is not there; shape (M,)."""
        found = np.empty(len(keys), dtype=np.int64)
        for start in range(0, len(keys), _STEP):  # so that nothing but the answer grows with M
            high, low = _halves(keys[start : start + _STEP])
            place = np.searchsorted(self._high, high, side="left")
            found[start : start + _STEP] = _follow(
                self._high, self._low, self._positions, high, low, place
            )
        return found


@dataclass(frozen=True)
class SealedIndex:
    """An index that lies in a file. entries: uint64 (N, 3), sorted: first half of the key, second
    half, row.

    first: the first half of each block's first key.  checksums: the xxh3-64 of each block's bytes.
    A block is held to its checksum when it is first used; `damaged` makes the error for one that
    does not match.
    """

    entries: NDArray[np.uint64]
    first: NDArray[np.uint64]
    checksums: NDArray[np.uint64]
    damaged: Callable[[str], Exception]
    _checked: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_checked", np.zeros(len(self.first), dtype=np.bool_))

    def find(self, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
        """As `KeyIndex.find`; memory grows with the keys asked for, not with the rows held."""
        high, low = _halves(keys)
        # The block before the first one that begins at or after the key: the key's first entry is
        # in it or opens the next, which is where the search below then ends.
        block = np.maximum(np.searchsorted(self.first, high, side="left") - 1, 0)
        self._check(block)
        start = block * BLOCK
        end = np.minimum(start + BLOCK, len(self.entries))
        while True:
            searching = start < end
            if not searching.any():
                break
            middle = (start + end) // 2
            below = searching.copy()
            below[searching] = self.entries[middle[searching], 0] < high[searching]
            start = np.where(below, middle + 1, start)
            end = np.where(searching & ~below, middle, end)
        return _follow(
            self.entries[:, 0],
            self.entries[:, 1],
            self.entries[:, 2],
            high,
            low,
            start,
            before_use=self._check_at,
        )

    def _check_at(self, places: NDArray[np.int64]) -> None:
        self._check(places // BLOCK)

    def _check(self, blocks: NDArray[np.int64]) -> None:
        for block in np.unique(blocks[~self._checked[blocks]]):
            piece = np.ascontiguousarray(self.entries[block * BLOCK : (block + 1) * BLOCK])
            if xxhash.xxh3_64_intdigest(piece.data) != self.checksums[block]:
                raise self.damaged(f"block {block} of its index does not match its checksum")
            self._checked[block] = True


def sealed_arrays(
    keys: NDArray[np.uint8],
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]:
    """entries, first and checksums of a SealedIndex over keys, uint8 (N, 16), which must differ."""
    high, low = _halves(keys)
    order = np.argsort(high, kind="stable")
    if (high[order[1:]] == high[order[:-1]]).any():  # keys with equal first halves, by the second
        order = np.lexsort((low, high))
    order = order.astype(np.uint64)
    entries = np.stack([high[order], low[order], order], axis=1).astype("<u8", copy=False)
    checksums = [
        xxhash.xxh3_64_intdigest(entries[i : i + BLOCK].data) for i in range(0, len(entries), BLOCK)
    ]
    return entries, entries[::BLOCK, 0].copy(), np.array(checksums, dtype=np.uint64)


def _follow(
    sorted_high: NDArray[np.uint64],
    sorted_low: NDArray[np.uint64],
    positions: NDArray[Any],
    high: NDArray[np.uint64],
    low: NDArray[np.uint64],
    place: NDArray[np.int64],
    before_use: Callable[[NDArray[np.int64]], None] | None = None,
) -> NDArray[np.int64]:
    """From the first entry whose first half is not smaller, to the one whose halves are both equal,
    or -1.
    """
    found = np.full(len(high), -1, dtype=np.int64)
    open_ = np.arange(len(high))
    # One round, but for keys whose first 8 bytes are equal and whose last 8 are not.
    while len(open_):
        open_ = open_[place[open_] < len(sorted_high)]
        if before_use is not None:
            before_use(place[open_])
        open_ = open_[sorted_high[place[open_]] == high[open_]]
        same = sorted_low[place[open_]] == low[open_]
        found[open_[same]] = positions[place[open_[same]]]
        open_ = open_[~same]
        place[open_] += 1
    return found


def _halves(keys: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    both = np.ascontiguousarray(keys).view(">u8")
    return both[:, 0].astype(np.uint64), both[:, 1].astype(np.uint64)
