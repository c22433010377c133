"""Merging many shards into one sealed `features.h5`, which finds keys without reading all of them.

The sealed file is written beside the shards, read back, and only then are the shards removed:
killed at any moment, every row is there, at worst twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
    """What a merge did.

    Attributes:
        space: The name of the space.
        path: Its folder.
        rows: Its rows now.
        repeats: Rows that were held twice before.
        files: Shards that became one; 0 where there was nothing to do.
        bytes: The size of the rows' file.
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
    """Merge all shards of a space, when its writers are done.

    Args:
        space: The space.
        progress: Called with the bytes copied or checked since the last call; over the whole merge
            they are twice the features' bytes.
        waiting: Called once if writers have to end first.

    Returns:
        What was done.

    Raises:
        DamageError: A shard is damaged; the shards stay as they were.
        MachineError: The disk is full or fails; the shards stay as they were.
    """
    with space.alone(waiting) as now:
        shards = now.shards
        if not shards or (len(shards) == 1 and shards[0].sealed):
            return Merged(now.name, str(now.path), now.n_rows, 0, 0, now.n_bytes)
        _check_free_space(now)
        is_first = np.zeros(now.n_rows, dtype=np.bool_)
        is_first[now.first_positions()] = True
        written = _write_sealed(now, is_first, progress)
        sealed = _read_back(written, progress)
        path = now.path / SEALED
        move(written, path)
        remove(shard.path for shard in shards if shard.path != path)
        n_repeats = int((~is_first).sum())
        return Merged(
            now.name, str(now.path), sealed.n_rows, n_repeats, len(shards), sealed.n_bytes
        )


def _check_free_space(space: Space) -> None:
    """Refuse a merge for which the disk has no room."""
    free = free_bytes(space.path)
    if space.n_bytes > free:
        needed = megabytes(space.n_bytes)
        msg = f"merging {space.name} needs {needed} beside it, and {megabytes(free)} are free"
        cure = "Free space: the old shards go only when the new file is safe."
        raise MachineError(msg, cure=cure)


def _write_sealed(
    space: Space, is_first: NDArray[np.bool_], progress: Callable[[int], None]
) -> Path:
    """Write the rows marked in `is_first`, bool (n_rows,), as one sealed file.

    It has a name of its own: an older sealed file is replaced only when this one has been read
    back.
    """
    n_rows = [shard.n_rows for shard in space.shards]
    sources = []
    for shard, keep in zip(space.shards, np.split(is_first, np.cumsum(n_rows)[:-1]), strict=True):
        if keep.any():
            sources.append(RowSource(shard, keep))
    return write_rows(
        space.path,
        shard_name(),
        sources,
        contract=space.contract,
        provenance=merged([shard.provenance for shard in space.shards], n_rows),
        seal=True,
        progress=progress,
    )


def _read_back(path: Path, progress: Callable[[int], None]) -> Shard:
    """Open the file that was just written and check it; one that is not sound is removed again."""
    try:
        sealed = Shard.open(path)
        verify_shard(sealed, progress)
    except (DamageError, MachineError) as error:
        remove([path])
        msg = f"what was written to {path.parent} reads back otherwise: {error.what}"
        cure = "The disk or the memory is failing. The shards are as they were: copy them."
        raise MachineError(msg, cure=cure) from error
    return sealed
