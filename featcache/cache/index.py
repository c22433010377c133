"""Finding rows by key, without a Python object for each row.

`KeyIndex`, for a few shards, is a sorted array in memory. `SealedIndex`, for millions of rows, is
the same array stored in a sealed file and memory-mapped: blocks of 512 entries, each with a
checksum, and the first key of each block, which is all that is read at first. Looking up a key
touches one block (two levels of a B-tree, all of one size).
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
    """Positions of N keys, sorted by their first 8 bytes; of equal keys the first one counts."""

    _high: NDArray[np.uint64]
    _low: NDArray[np.uint64]
    _positions: NDArray[np.int64]

    @classmethod
    def build(cls, keys: NDArray[np.uint8], positions: NDArray[np.int64] | None = None) -> KeyIndex:
        """Build the index of keys.

        Args:
            keys: uint8 (N, 16).
            positions: Of the keys, (N,), ascending; 0 … N-1 where they are left out.

        Returns:
            The index.
        """
        high, low = _halves(keys)
        # Stable: equal keys stay in order, so the first of them is found.
        order = np.argsort(high, kind="stable")
        sorted_positions = order.astype(np.int64) if positions is None else positions[order]
        return cls(high[order], low[order], sorted_positions)

    def find(self, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Find the position of each of the keys (M, 16), shape (M,); -1 for an unknown key."""
        positions = np.empty(len(keys), dtype=np.int64)
        for start in range(0, len(keys), _STEP):  # so that nothing but the answer grows with M
            high, low = _halves(keys[start : start + _STEP])
            place = np.searchsorted(self._high, high, side="left")
            positions[start : start + _STEP] = _follow(
                self._high, self._low, self._positions, high, low, place
            )
        return positions


@dataclass(frozen=True)
class SealedIndex:
    """An index in a file, each of whose blocks is held to its checksum when it is first used.

    Attributes:
        entries: Sorted, uint64 (N, 3): first half of the key, second half, row.
        first: The first half of each block's first key.
        checksums: The xxh3-64 of each block's bytes.
        damaged: Makes the error for a block that does not match, from what is wrong.
    """

    entries: NDArray[np.uint64]
    first: NDArray[np.uint64]
    checksums: NDArray[np.uint64]
    damaged: Callable[[str], Exception]
    _checked: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_checked", np.zeros(len(self.first), dtype=np.bool_))

    def find(self, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Find positions as `KeyIndex.find` does; memory grows with `keys`, not with the index."""
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
    """Make the arrays of a `SealedIndex`: its entries, first and checksums.

    Args:
        keys: uint8 (N, 16); they all differ.

    Returns:
        The three arrays.
    """
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
    """Look up keys from the first entry that may hold each of them.

    Args:
        sorted_high: First halves of the entries' keys, sorted, (N,).
        sorted_low: Second halves of the entries' keys, (N,).
        positions: Of the entries, (N,).
        high: First halves of the keys that are looked up, (M,).
        low: Their second halves, (M,).
        place: For each key the first entry whose first half is not smaller, (M,); it is changed.
        before_use: Called with the entries that are looked at next.

    Returns:
        The position of each key, (M,); -1 where no entry is equal.
    """
    positions_found = np.full(len(high), -1, dtype=np.int64)
    unknown = np.arange(len(high))
    # One round, but for keys whose first 8 bytes are equal and whose last 8 are not.
    while len(unknown):
        unknown = unknown[place[unknown] < len(sorted_high)]
        if before_use is not None:
            before_use(place[unknown])
        unknown = unknown[sorted_high[place[unknown]] == high[unknown]]
        same = sorted_low[place[unknown]] == low[unknown]
        positions_found[unknown[same]] = positions[place[unknown[same]]]
        unknown = unknown[~same]
        place[unknown] += 1
    return positions_found


def _halves(keys: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Split keys, uint8 (M, 16), into two numbers each, uint64 (M,)."""
    both = np.ascontiguousarray(keys).view(">u8")
    return both[:, 0].astype(np.uint64), both[:, 1].astype(np.uint64)
