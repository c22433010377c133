"""The rows of a space besides their features: which there are, where, and of how many tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from featcache.cache.additions import split_by_shard
from featcache.cache.index import KeyIndex, SealedIndex
from featcache.cache.layout import KEYS, N_TOKENS, TRUNCATED
from featcache.cache.shard import Shard


@dataclass(frozen=True)
class RowTable:
    """The rows of several shards, in one order: a row's position counts over all of them.

    Attributes:
        shards: The files, in the order of their rows.
    """

    shards: Sequence[Shard]

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """The position of each shard's first row, and the number of rows at the end."""
        return np.cumsum([0, *(shard.n_rows for shard in self.shards)])

    def find(self, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Find the positions of keys.

        Memory grows with the keys, and with the rows of shards that are not sealed.

        Args:
            keys: uint8 (M, 16).

        Returns:
            int64 (M,); -1 where no shard has the key.

        Raises:
            DamageError: A shard's keys or its index are damaged.
        """
        if not self._sealed_indexes:
            return self._index.find(keys)
        positions = np.full(len(keys), -1, dtype=np.int64)
        for start, index in self._sealed_indexes:
            unknown = np.flatnonzero(positions < 0)
            rows = index.find(keys[unknown])
            positions[unknown] = np.where(rows < 0, rows, rows + start)
        unknown = np.flatnonzero(positions < 0)
        positions[unknown] = self._index.find(keys[unknown])
        return positions

    def keys_at(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read the keys, uint8 (M, 16), of rows at positions (M,)."""
        keys = np.empty((len(positions), 16), dtype=np.uint8)
        for shard, places, rows in split_by_shard(self.shards, positions):
            keys[places] = shard.read(KEYS)[rows]
        return keys

    def token_counts(
        self, positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Read how many tokens the backbone saw of rows, and whether some were cut off.

        Args:
            positions: int64 (M,).

        Returns:
            The numbers of tokens and the marks of truncated rows, each (M,).
        """
        counts = np.empty(len(positions), dtype=np.int64)
        truncated = np.empty(len(positions), dtype=np.bool_)
        for shard, places, rows in split_by_shard(self.shards, positions):
            counts[places] = shard.read(N_TOKENS)[rows]
            truncated[places] = shard.read(TRUNCATED)[rows] != 0
        return counts, truncated

    def first_positions(self) -> NDArray[np.int64]:
        """List the positions of all rows, ascending, without those that repeat a key."""
        keys = np.concatenate(
            [np.empty((0, 16), np.uint8), *(shard.read(KEYS) for shard in self.shards)]
        )
        return np.flatnonzero(KeyIndex.build(keys).find(keys) == np.arange(len(keys)))

    @cached_property
    def _sealed_indexes(self) -> list[tuple[int, SealedIndex]]:
        return [
            (int(start), shard.index())
            for start, shard in zip(self.starts, self.shards, strict=False)
            if shard.sealed
        ]

    @cached_property
    def _index(self) -> KeyIndex:
        """The index of the shards that are not sealed."""
        keys, positions = [np.empty((0, 16), dtype=np.uint8)], [np.empty(0, dtype=np.int64)]
        for start, shard in zip(self.starts, self.shards, strict=False):
            if not shard.sealed:
                keys.append(shard.read(KEYS))
                positions.append(np.arange(start, start + shard.n_rows))
        return KeyIndex.build(np.concatenate(keys), np.concatenate(positions))
