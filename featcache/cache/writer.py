"""Gathering computed rows into shards of a useful size: 64 MiB, or what 30 seconds brought."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.columns import Rows
from featcache.cache.contract import dataset_name
from featcache.cache.space import Space

SHARD_BYTES = 64 << 20
SHARD_SECONDS = 30.0


@dataclass
class ShardWriter:
    """Buffers rows of a space and writes them as shards. Rows count as done only once `n_written` has them.

    shard_rows: rows of each shard, or None for the size and time above.
    """

    space: Space
    provenance: Mapping[str, Any]
    shard_rows: int | None = None
    n_written: int = 0
    _waiting: list[tuple[NDArray[np.uint8], NDArray[np.uint32], NDArray[np.bool_], NDArray[np.floating[Any]]]] = field(
        default_factory=list
    )
    _since: float = field(default_factory=time.monotonic)

    def add(
        self,
        keys: NDArray[np.uint8],
        n_tokens: NDArray[np.uint32],
        truncated: NDArray[np.bool_],
        states: NDArray[np.floating[Any]],
    ) -> int:
        """Take B rows; states: (B, layers, poolings, H) in the contract's order. Returns the rows written now."""
        self._waiting.append((keys, n_tokens, truncated, states))
        n_waiting = sum(len(part[0]) for part in self._waiting)
        if self.shard_rows is not None:
            return self._write(n_waiting - n_waiting % self.shard_rows)
        n_bytes = n_waiting * states[0].size * 2  # float16, as almost all rows are stored
        full = n_bytes >= SHARD_BYTES or time.monotonic() - self._since >= SHARD_SECONDS
        return self._write(n_waiting) if full else 0

    def flush(self) -> int:
        """Write what is waiting. Returns the rows written now."""
        return self._write(sum(len(part[0]) for part in self._waiting))

    def _write(self, n_rows: int) -> int:
        """Write the first `n_rows` that wait, shard by shard; what is on the disk waits no longer, even on Ctrl-C."""
        step = self.shard_rows or max(n_rows, 1)
        for start in range(0, n_rows, step):
            keys, n_tokens, truncated, states = (np.concatenate(arrays) for arrays in zip(*self._waiting, strict=True))
            self._waiting = [(keys, n_tokens, truncated, states)]
            count = min(step, n_rows - start)
            features = _by_name(states[:count], self.space.contract.layers, self.space.contract.poolings)
            self.space.add(Rows(keys[:count], n_tokens[:count], truncated[:count], features), self.provenance)
            rest = (keys[count:], n_tokens[count:], truncated[count:], states[count:])
            self._waiting = [rest] if len(rest[0]) else []
            self.n_written += count
            self._since = time.monotonic()
        return n_rows


def _by_name(
    states: NDArray[np.floating[Any]], layers: Sequence[int], poolings: Sequence[str]
) -> dict[str, NDArray[np.floating[Any]]]:
    return {
        dataset_name(layer, pooling): states[:, i, j]
        for i, layer in enumerate(layers)
        for j, pooling in enumerate(poolings)
    }
