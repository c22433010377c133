"""gc: find what may go from a cache, and remove it when told to."""

from __future__ import annotations

import contextlib
import re
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.cache.claims import claims_in
from featcache.cache.identity import CONTRACT
from featcache.cache.index import KeyIndex
from featcache.cache.layout import KEYS
from featcache.cache.locks import LOCK, locked
from featcache.cache.naming import SUFFIX, shard_files
from featcache.cache.removal import remove_if_empty
from featcache.cache.space import Space
from featcache.cache.upkeep.repair import ASIDE
from featcache.cache.upkeep.rewrite import RowSource, put_in_place
from featcache.durable import TEMPORARY, remove

_UNFINISHED_AGE = 3600.0  # seconds without a change after which an unfinished file is nobody's
# Only what featcache itself gives such names: a cache may lie in a folder with other things
_LEFTOVERS = (
    (
        re.compile(rf".+-[0-9a-f]{{32}}{re.escape(TEMPORARY)}"),
        _UNFINISHED_AGE,
        "unfinished file of a killed writer",
        "unfinished files of killed writers",
    ),
    (
        re.compile(rf".+({re.escape(SUFFIX)}|\.json)(\.\d+)?{re.escape(ASIDE)}"),
        float("-inf"),
        "file set aside by repair",
        "files set aside by repair",
    ),
)


@dataclass(frozen=True)
class Removal:
    """Something that may go. what: "space", "rows", or "leftovers" of killed writers and of
    repairs.

    keep: the keys (K, 16) that stay, where rows were looked at one by one.  files: names of the
    files meant; what comes in after this was shown stays.
    """

    what: str
    path: Path
    reason: str
    rows: int
    bytes: int
    files: frozenset[str]
    keep: NDArray[np.uint8] | None = None


def whole_space(space: Space, reason: str) -> Removal:
    """The removal of a space with all that is in it."""
    return Removal("space", space.path, reason, space.n_rows, space.n_bytes, _names(space))


def unused_rows(space: Space, keys: NDArray[np.uint8], reason: str) -> Removal | None:
    """The removal of all rows but those with keys (K, 16); None where there are no others."""
    index = KeyIndex.build(keys)
    unused = sum(int((index.find(shard.read(KEYS)) < 0).sum()) for shard in space.shards)
    if not unused:
        return None
    n_bytes, what = (
        space.n_bytes * unused // space.n_rows,
        "space" if unused == space.n_rows else "rows",
    )
    return Removal(what, space.path, reason, unused, n_bytes, _names(space), keys)


def leftovers(cache: Path) -> list[Removal]:
    """What killed writers left unfinished, and what repairs set aside, folder by folder."""
    found = []
    for folder in (
        [cache, *(path for path in sorted(cache.iterdir()) if path.is_dir())]
        if cache.is_dir()
        else []
    ):
        for shape, age, one, several in _LEFTOVERS:
            sizes = dict(_old(folder, shape, age))
            if sizes:
                reason = f"1 {one}" if len(sizes) == 1 else f"{len(sizes):,} {several}"
                found.append(
                    Removal("leftovers", folder, reason, 0, sum(sizes.values()), frozenset(sizes))
                )
    return found


def collect(
    removal: Removal, *, progress: Callable[[int], None], waiting: Callable[[], None] = lambda: None
) -> None:
    """Remove; waits for the space's writers. Killed half-way, what is left is whole and may be
    removed again.

    Raises MachineError where the disk refuses.
    """
    if removal.what == "leftovers":
        remove(removal.path / name for name in removal.files)
        if (
            any(name.endswith(ASIDE) for name in removal.files)
            and not (removal.path / CONTRACT).exists()
        ):
            with locked(removal.path / LOCK, shared=False, waiting=waiting):
                if not (
                    removal.path / CONTRACT
                ).exists():  # nothing but what was set aside was in it
                    remove_if_empty(removal.path)
        return
    space = Space.open(removal.path)
    with space.alone(waiting) as now:
        files = (*now.shards, *now.additions)
        meant = [file for file in files if file.path.name in removal.files]
        if removal.keep is None:
            remove(shard.path for shard in meant)
        else:
            index = KeyIndex.build(removal.keep)
            for shard in meant:
                source = RowSource(shard, index.find(shard.read(KEYS)) >= 0)
                if not source.keep.all():
                    put_in_place(source, contract=now.contract, progress=progress)
        if not shard_files(now.path):  # rows first: as long as one is left, its contract is
            remove([*now.path.glob(f"*{TEMPORARY}"), *claims_in(now.path)])
            remove_if_empty(now.path)


def _names(space: Space) -> frozenset[str]:
    return frozenset(file.path.name for file in (*space.shards, *space.additions))


def _old(folder: Path, shape: re.Pattern[str], age: float) -> Iterator[tuple[str, int]]:
    """Names and sizes of files in a folder that are called so and have not changed for so many
    seconds.
    """
    now = time.time()
    for path in folder.iterdir():
        if shape.fullmatch(path.name):
            with contextlib.suppress(FileNotFoundError):  # its writer has just finished it
                facts = path.lstat()
                if now - facts.st_mtime >= age and not stat.S_ISDIR(facts.st_mode):
                    yield path.name, facts.st_size
