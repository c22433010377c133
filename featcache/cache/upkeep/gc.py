"""Finding what may be removed from a cache, and removing it on request."""

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


@dataclass(frozen=True)
class _Leftover:
    """A kind of file that may be removed.

    Attributes:
        shape: What its whole name looks like. Only featcache itself gives such names: a cache may
            lie in a folder with other things.
        min_age: Seconds since its last change before it counts as left.
        singular: What one such file is called.
        plural: What several are called.
    """

    shape: re.Pattern[str]
    min_age: float
    singular: str
    plural: str


_LEFTOVERS = (
    _Leftover(
        re.compile(rf".+-[0-9a-f]{{32}}{re.escape(TEMPORARY)}"),
        _UNFINISHED_AGE,
        "unfinished file of a killed writer",
        "unfinished files of killed writers",
    ),
    _Leftover(
        re.compile(rf".+({re.escape(SUFFIX)}|\.json)(\.\d+)?{re.escape(ASIDE)}"),
        float("-inf"),
        "file set aside by repair",
        "files set aside by repair",
    ),
)


@dataclass(frozen=True)
class Removal:
    """Something that may be removed from a cache.

    Attributes:
        what: `space`, `rows`, or `leftovers` of killed writers and of repairs.
        path: The folder that it is in.
        reason: Why it may go.
        rows: How many rows go.
        bytes: How many bytes that frees, about.
        files: Names of the files meant; files that come in later stay.
        keep: The keys, uint8 (K, 16), of the rows that stay; None where all rows go.
    """

    what: str
    path: Path
    reason: str
    rows: int
    bytes: int
    files: frozenset[str]
    keep: NDArray[np.uint8] | None = None


def whole_space(space: Space, reason: str) -> Removal:
    """Plan the removal of a space with all that is in it."""
    return Removal("space", space.path, reason, space.n_rows, space.n_bytes, _names(space))


def unused_rows(space: Space, keys: NDArray[np.uint8], reason: str) -> Removal | None:
    """Plan the removal of all rows but those with some keys.

    Args:
        space: The space.
        keys: Of the rows that stay, uint8 (K, 16).
        reason: Why the others may go.

    Returns:
        The removal; None where there are no other rows.
    """
    index = KeyIndex.build(keys)
    n_unused = sum(int((index.find(shard.read(KEYS)) < 0).sum()) for shard in space.shards)
    if not n_unused:
        return None
    what = "space" if n_unused == space.n_rows else "rows"
    n_bytes = space.n_bytes * n_unused // space.n_rows
    return Removal(what, space.path, reason, n_unused, n_bytes, _names(space), keys)


def leftovers(cache: Path) -> list[Removal]:
    """List what killed writers left unfinished and what repairs set aside, folder by folder."""
    if not cache.is_dir():
        return []
    subfolders = [path for path in sorted(cache.iterdir()) if path.is_dir()]
    removals = []
    for folder in (cache, *subfolders):
        for kind in _LEFTOVERS:
            sizes = dict(_old_files(folder, kind))
            if sizes:
                n_files = len(sizes)
                reason = f"{n_files:,} {kind.singular if n_files == 1 else kind.plural}"
                n_bytes, names = sum(sizes.values()), frozenset(sizes)
                removals.append(Removal("leftovers", folder, reason, 0, n_bytes, names))
    return removals


def collect(
    removal: Removal, *, progress: Callable[[int], None], waiting: Callable[[], None] = lambda: None
) -> None:
    """Remove what a plan says, when the space's writers are done.

    If it is killed half-way, what is left is whole and can be removed again.

    Args:
        removal: What goes.
        progress: Called with the bytes copied since the last call, where a file keeps some rows.
        waiting: Called once if writers have to end first.

    Raises:
        MachineError: The disk refuses.
    """
    if removal.what == "leftovers":
        _collect_leftovers(removal, waiting)
        return
    space = Space.open(removal.path)
    with space.alone(waiting) as now:
        _collect_rows(removal, now, progress)
        # Rows first: the contract stays as long as one of them does.
        if not shard_files(now.path):
            remove([*now.path.glob(f"*{TEMPORARY}"), *claims_in(now.path)])
            remove_if_empty(now.path)


def _collect_leftovers(removal: Removal, waiting: Callable[[], None]) -> None:
    """Remove leftovers, and their folder if nothing else was in it."""
    remove(removal.path / name for name in removal.files)
    contract = removal.path / CONTRACT
    from_repair = any(name.endswith(ASIDE) for name in removal.files)
    if not from_repair or contract.exists():
        return
    with locked(removal.path / LOCK, shared=False, waiting=waiting):
        if not contract.exists():  # a writer may have made it during the wait
            remove_if_empty(removal.path)


def _collect_rows(removal: Removal, space: Space, progress: Callable[[int], None]) -> None:
    """Remove the files of a plan, or copy those of which some rows stay."""
    files = (*space.shards, *space.additions)
    meant = [file for file in files if file.path.name in removal.files]
    if removal.keep is None:
        remove(shard.path for shard in meant)
        return
    index = KeyIndex.build(removal.keep)
    for shard in meant:
        source = RowSource(shard, index.find(shard.read(KEYS)) >= 0)
        if not source.keep.all():
            put_in_place(source, contract=space.contract, progress=progress)


def _names(space: Space) -> frozenset[str]:
    return frozenset(file.path.name for file in (*space.shards, *space.additions))


def _old_files(folder: Path, kind: _Leftover) -> Iterator[tuple[str, int]]:
    """Yield names and sizes of the files of a folder that are leftovers of a kind."""
    now = time.time()
    for path in folder.iterdir():
        if kind.shape.fullmatch(path.name):
            with contextlib.suppress(FileNotFoundError):  # its writer has just finished it
                facts = path.lstat()
                if now - facts.st_mtime >= kind.min_age and not stat.S_ISDIR(facts.st_mode):
                    yield path.name, facts.st_size
