"""gc: find what may go from a cache, and remove it when told to."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.cache.claims import FOLDER as CLAIMS
from featcache.cache.index import KeyIndex
from featcache.cache.layout import KEYS
from featcache.cache.shard import Shard, shard_name
from featcache.cache.space import Space, remove_if_empty
from featcache.cache.upkeep.repair import ASIDE
from featcache.cache.upkeep.rewrite import Source, write_rows
from featcache.files import TEMPORARY, remove

_UNFINISHED_AGE = 3600.0  # seconds without a change after which an unfinished file is nobody's


@dataclass(frozen=True)
class Removal:
    """Something that may go. what: "space", "rows", or "leftovers" of killed writers and of repairs.

    keep: for "rows", the keys (K, 16) that stay.
    """

    what: str
    path: Path
    reason: str
    rows: int
    bytes: int
    keep: NDArray[np.uint8] | None = None


def whole_space(space: Space, reason: str) -> Removal:
    """The removal of a space with all that is in it."""
    return Removal("space", space.path, reason, space.n_rows, space.n_bytes)


def unused_rows(space: Space, keys: NDArray[np.uint8], reason: str) -> Removal | None:
    """The removal of all rows but those with keys (K, 16); None where there are no others."""
    index = KeyIndex.build(keys)
    unused = sum(int((index.find(shard.read(KEYS)) < 0).sum()) for shard in space.shards)
    if not unused:
        return None
    if unused == space.n_rows:
        return whole_space(space, reason)
    return Removal("rows", space.path, reason, unused, space.n_bytes * unused // space.n_rows, keys)


def leftovers(cache: Path) -> list[Removal]:
    """What killed writers left unfinished, and what repairs set aside, folder by folder."""
    found = []
    for folder in [cache, *(path for path in sorted(cache.iterdir()) if path.is_dir())] if cache.is_dir() else []:
        for ending, reason in ((TEMPORARY, "unfinished files of killed writers"), (ASIDE, "set aside by repair")):
            files = _old(folder, ending) if ending == TEMPORARY else list(folder.glob(f"*{ending}"))
            if files:
                size = sum(file.lstat().st_size for file in files)
                found.append(Removal("leftovers", folder, f"{len(files)} {reason}", 0, size))
    return found


def collect(removal: Removal, *, progress: Callable[[int], None], waiting: Callable[[], None] = lambda: None) -> None:
    """Remove; waits for the space's writers. Killed half-way, what is left is whole and may be removed again.

    Raises MachineError where the disk refuses.
    """
    if removal.what == "leftovers":
        remove([*_old(removal.path, TEMPORARY), *removal.path.glob(f"*{ASIDE}")])
        return
    space = Space.open(removal.path)
    with space.alone(waiting) as now:
        if removal.keep is None:
            _remove_space(now)
        else:
            index = KeyIndex.build(removal.keep)
            for shard in now.shards:
                _keep_only(now, shard, index.find(shard.read(KEYS)) >= 0, progress)


def _remove_space(space: Space) -> None:
    """Rows first: as long as one is left, the contract is there to read it."""
    remove(shard.path for shard in space.shards)
    remove([*space.path.glob(f"*{TEMPORARY}"), *(space.path / CLAIMS).glob("*")])
    remove_if_empty(space.path)


def _keep_only(space: Space, shard: Shard, keep: NDArray[np.bool_], progress: Callable[[int], None]) -> None:
    if keep.all():
        return
    if keep.any():
        name = shard.path.name if shard.sealed else shard_name()
        write_rows(
            space.path, name, [Source(shard, keep)],
            contract=space.contract, provenance=shard.provenance, seal=shard.sealed, progress=progress,
        )  # fmt: skip
    if not (keep.any() and shard.sealed):
        remove([shard.path])


def _old(folder: Path, ending: str) -> list[Path]:
    now = time.time()
    return [path for path in folder.glob(f"*{ending}") if now - path.lstat().st_mtime > _UNFINISHED_AGE]
