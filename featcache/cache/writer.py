"""Gathering computed rows into shards of a useful size: 64 MiB, or what 30 seconds brought."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.columns import CachedRows
from featcache.cache.contract import dataset_name
from featcache.cache.space import Space

SHARD_BYTES = 64 << 20
SHARD_SECONDS = 30.0

_Part = tuple[NDArray[np.uint8], NDArray[np.uint32], NDArray[np.bool_], NDArray[np.floating[Any]]]


@dataclass
class ShardWriter:
    """A buffer of rows that become shards of a space; only rows in `n_written` count as done.

    Attributes:
        space: The space.
        provenance: What makes the rows: versions, device.
        shard_rows: Rows of each shard; None for `SHARD_BYTES` or what `SHARD_SECONDS` brought.
        n_written: Rows that are in shards, safe on the disk.
    """

    space: Space
    provenance: Mapping[str, Any]
    shard_rows: int | None = None
    n_written: int = 0
    _waiting: list[_Part] = field(default_factory=list)
    _since: float = field(default_factory=time.monotonic)

    def add(
        self,
        keys: NDArray[np.uint8],
        n_tokens: NDArray[np.uint32],
        truncated: NDArray[np.bool_],
        states: NDArray[np.floating[Any]],
    ) -> int:
        """Take rows, and write them where they fill a shard.

        Args:
            keys: uint8 (B, 16).
            n_tokens: Tokens of each row, (B,).
            truncated: Whether a row's text was cut off, (B,).
            states: (B, layers, poolings, H) in the contract's order.

        Returns:
            The number of rows that were written now.
        """
        self._waiting.append((keys, n_tokens, truncated, states))
        n_waiting = sum(len(part[0]) for part in self._waiting)
        if self.shard_rows is not None:
            return self._write(n_waiting - n_waiting % self.shard_rows)
        n_bytes = n_waiting * states[0].size * 2  # float16, as almost all rows are stored
        full = n_bytes >= SHARD_BYTES or time.monotonic() - self._since >= SHARD_SECONDS
        return self._write(n_waiting) if full else 0

    def flush(self) -> int:
        """Write all rows that wait, and return their number."""
        return self._write(sum(len(part[0]) for part in self._waiting))

    def _write(self, n_rows: int) -> int:
        """Write the first `n_rows` that wait, shard by shard.

        Rows leave the buffer as soon as they are on the disk, so Ctrl-C writes none twice.
        """
        step = self.shard_rows or max(n_rows, 1)
        for start in range(0, n_rows, step):
            count = min(step, n_rows - start)
            parts, rest = _split(self._waiting, count)
            self.space.add(self._rows(parts), self.provenance)
            self._waiting = rest
            self.n_written += count
            self._since = time.monotonic()
        return n_rows

    def _rows(self, parts: list[_Part]) -> CachedRows:
        keys, n_tokens, truncated = (np.concatenate([part[i] for part in parts]) for i in range(3))
        contract = self.space.contract
        features = {
            # View by view: the states, which are most of it, are copied once.
            dataset_name(layer, pooling): np.concatenate([part[3][:, i, j] for part in parts])
            for i, layer in enumerate(contract.layers)
            for j, pooling in enumerate(contract.poolings)
        }
        return CachedRows(keys, n_tokens, truncated, features)


def _split(parts: list[_Part], count: int) -> tuple[list[_Part], list[_Part]]:
    """Split parts into their first `count` rows and the others."""
    before: list[_Part] = []
    for number, (keys, n_tokens, truncated, states) in enumerate(parts):
        if count < len(keys):
            after = (keys[count:], n_tokens[count:], truncated[count:], states[count:])
            if count:
                before.append((keys[:count], n_tokens[:count], truncated[:count], states[:count]))
            return before, [after, *parts[number + 1 :]]
        before.append(parts[number])
        count -= len(keys)
    return before, []
