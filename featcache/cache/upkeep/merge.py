"""Merge: many shards become one sealed `features.h5`, whose keys are found without reading them
all.

The sealed file is written beside the shards, read back, and only then are the shards removed:
killed at any moment, every row is there, at worst twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featcache.cache.checking import verify_shard
from featcache.cache.naming import SEALED, shard_name
from featcache.cache.provenance import merged
from featcache.cache.shard import Shard
from featcache.cache.space import Space
from featcache.cache.upkeep.rewrite import RowSource, write_rows
from featcache.durable import free_bytes, move, remove
from featcache.errors import DamageError, MachineError
from featcache.wording import megabytes


@dataclass(frozen=True)
class Merged:
    """What a merge did. files: shards that became one (0: there was nothing to do); repeats: rows
    held twice before.
    """

    space: str
    path: str
    rows: int
    repeats: int
    files: int
    bytes: int


def merge(
    space: Space, *, progress: Callable[[int], None], waiting: Callable[[], None] = lambda: None
) -> Merged:
    """Merge all shards of a space; waits for its writers.

    progress: called with bytes copied or checked since the last call; they are twice the features'
    bytes.
    Raises DamageError where a shard is damaged, MachineError where the disk is full or fails. In
    either case the shards are as they were.
    """
    with space.alone(waiting) as now:
        shards = now.shards
        if not shards or (len(shards) == 1 and shards[0].sealed):
            return Merged(now.name, str(now.path), now.n_rows, 0, 0, now.n_bytes)
        free = free_bytes(now.path)
        if now.n_bytes > free:
            needed = megabytes(now.n_bytes)
            msg = f"merging {now.name} needs {needed} beside it, and {megabytes(free)} are free"
            raise MachineError(
                msg, cure="Free space: the old shards go only when the new file is safe."
            )
        first = np.zeros(now.n_rows, dtype=np.bool_)
        first[now.first_positions()] = True
        masks = np.split(first, np.cumsum([shard.n_rows for shard in shards])[:-1])
        sources = [
            RowSource(shard, keep) for shard, keep in zip(shards, masks, strict=True) if keep.any()
        ]
        # Under a name of its own: an older sealed file is replaced only when this one has been read
        # back.
        written = write_rows(
            now.path,
            shard_name(),
            sources,
            contract=now.contract,
            provenance=merged(
                [shard.provenance for shard in shards], [shard.n_rows for shard in shards]
            ),
            seal=True,
            progress=progress,
        )
        sealed = _read_back(written, progress)
        path = now.path / SEALED
        move(written, path)
        remove(shard.path for shard in shards if shard.path != path)
        return Merged(
            now.name, str(now.path), sealed.n_rows, int((~first).sum()), len(shards), sealed.n_bytes
        )


def _read_back(path: Path, progress: Callable[[int], None]) -> Shard:
    """The file that was just written. Where it is not sound it is removed again: MachineError."""
    try:
        sealed = Shard.open(path)
        verify_shard(sealed, progress)
    except (DamageError, MachineError) as error:
        remove([path])
        msg = f"what was written to {path.parent} reads back otherwise: {error.what}"
        raise MachineError(
            msg, cure="The disk or the memory is failing. The shards are as they were: copy them."
        ) from error
    return sealed
