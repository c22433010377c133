"""Several writers of one space share the work: each claims a slice of rows, then the next.

    claims/lock     held while a writer chooses, so that no two choose the same rows
    claims/<uuid>   the 16-byte keys of what one writer has in hand; locked as long as it lives

A writer may claim a slice while it still computes and writes the ones before: a row stays in its
file until its shard has been named, so at every moment it is in a shard, in a claim, or free.

Locks are flock's: a killed writer's claims are free at once. A claim saves work and nothing else: a
row that is computed twice all the same is harmless.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from featcache.cache.index import KeyIndex
from featcache.cache.layout import KEYS
from featcache.cache.locks import WAIT_SECONDS, locked, try_lock
from featcache.cache.naming import shard_files
from featcache.cache.shard import Shard
from featcache.errors import MachineError

FOLDER = "claims"
LOCK = "lock"
_MOST_BYTES = 64 << 20  # of one claim that are read: 4 million rows; more is no claim of ours
_GROWTH = 8  # of slices, from the first small one on
_CLAIM = re.compile(r"[0-9a-f]{32}")


def claims_in(space: Path) -> list[Path]:
    """The claim files of a space: what has such a name and is a file. Nothing is looked for behind
    a link.
    """
    folder = space / FOLDER
    if not _is_folder(folder):
        return []
    named = [path for path in folder.iterdir() if _CLAIM.fullmatch(path.name)]
    return [path for path in named if not path.is_symlink() and path.is_file()]


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


class Claims:
    """One writer's claims on the rows of a space. A context: what is claimed is free again when it
    ends.
    """

    def __init__(self, space: Path, seen: set[str]) -> None:
        """space: its folder.  seen: names of the shards that the writer has looked at."""
        self._space, self._seen = space, seen
        self._path = space / FOLDER / uuid.uuid4().hex
        self._handle: int | None = None
        # A thread may still ask for slices when the context ends: it gets none, and never a closed
        # handle.
        self._ended, self._choosing = False, threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._choosing:
            self._ended = True
            if self._handle is not None:
                with contextlib.suppress(OSError):
                    os.unlink(self._path)
                os.close(self._handle)

    def slices(
        self,
        keys: NDArray[np.uint8],
        limit: int,
        waiting: Callable[[int], None],
        *,
        first: int | None = None,
        on_disk: Callable[[], int] | None = None,
    ) -> Generator[tuple[NDArray[np.int64], int], None, None]:
        """Share the rows of `keys`, uint8 (M, 16), which all differ, with the other writers, slice
        by slice.

        Yields numbers of up to `limit` rows that are this writer's to compute and to write, and how
        many rows others have finished meanwhile; no numbers while all that is left is in the
        others' hands. Ends when all rows are done or yielded.
        waiting: called once with the rows that others have in hand, when nothing else is left.
        first: the limit of the first slice, where it is another one; each later slice may be 8
        times as large as the one before, up to `limit`.
        on_disk: says how many of the yielded slices that have rows, counted from the first, are in
        shards that have their names; the others stay claimed. Without it, asking for a slice says
        that those before are.
        Raises MachineError where the folder cannot be written.
        """
        index, left = (
            KeyIndex.build(keys),
            np.ones(len(keys), dtype=np.bool_),
        )  # left: for anybody to compute
        held: list[NDArray[np.int64]] = []
        size, n_yielded, waited = first or limit, 0, False
        while left.any():
            n_held = 0 if on_disk is None else n_yielded - on_disk()
            held = held[len(held) - n_held :]
            n_before = np.count_nonzero(left)
            with self._choosing:
                if self._ended:
                    return
                mine = self._choose(index, keys, left, size, held)
            yield mine, int(n_before - np.count_nonzero(left))
            left[mine] = False
            if len(mine):
                held, n_yielded, size = [*held, mine], n_yielded + 1, min(limit, _GROWTH * size)
            elif left.any():
                if not waited:
                    waiting(int(np.count_nonzero(left)))
                waited = True
                time.sleep(WAIT_SECONDS)

    def _choose(
        self,
        index: KeyIndex,
        keys: NDArray[np.uint8],
        left: NDArray[np.bool_],
        limit: int,
        held: list[NDArray[np.int64]],
    ) -> NDArray[np.int64]:
        """Claim up to `limit` of the rows that are left, beside those `held` and none else; returns
        their numbers.

        index: of `keys`.  left: bool (M,), from which rows are taken that others have finished.
        """
        folder = self._space / FOLDER
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)
            if not _is_folder(folder):
                msg = f"{folder} is a link or a file, where a folder must be"
                raise MachineError(msg, cure="Move it away; it holds nothing that lasts.")
            with locked(folder / LOCK, shared=False):
                # In this order: a writer that ends in between has named its shard before it gives
                # up its claim.
                claimed = index.find(self._others())
                finished = index.find(self._new_keys())
                left[finished[finished >= 0]] = False
                free = left.copy()
                free[claimed[claimed >= 0]] = False
                mine = np.flatnonzero(free)[
                    :limit
                ].copy()  # else it holds on to the numbers of all that is left
                self._put(keys[np.concatenate([*held, mine])])
        except OSError as error:
            msg = f"{folder} cannot be written: {error.strerror}"
            raise MachineError(
                msg, cure="What was finished before is kept. Check the disk."
            ) from error
        return mine

    def _new_keys(self) -> NDArray[np.uint8]:
        """Keys of the shards that came in since the last look."""
        new = [path for path in shard_files(self._space) if path.name not in self._seen]
        self._seen |= {path.name for path in new}
        keys = [np.empty((0, 16), np.uint8)]
        # Not of additions: their rows are in other files.
        shards = [Shard.open(path) for path in new]
        keys += [shard.read(KEYS) for shard in shards if not shard.is_addition]
        return np.concatenate(keys)

    def _others(self) -> NDArray[np.uint8]:
        """Keys that other writers have in hand; the files of dead ones are removed."""
        keys = [np.empty((0, 16), np.uint8)]
        for path in claims_in(self._space):
            if path == self._path:
                continue
            try:
                handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            except FileNotFoundError:  # that writer has just ended
                continue
            try:
                if try_lock(handle, path):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path)
                else:
                    # Whole keys only: that writer's disk may have been full.
                    size = min(os.fstat(handle).st_size, _MOST_BYTES) // 16 * 16
                    data = os.pread(handle, size, 0)
                    keys.append(
                        np.frombuffer(data[: len(data) // 16 * 16], np.uint8).reshape(-1, 16)
                    )
            finally:
                os.close(handle)
        return np.concatenate(keys)

    def _put(self, keys: NDArray[np.uint8]) -> None:
        if self._handle is None:
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            try_lock(self._handle, self._path)
        os.ftruncate(self._handle, 0)
        data = keys.tobytes()
        while data:
            data = data[os.write(self._handle, data) :]
        os.lseek(self._handle, 0, os.SEEK_SET)
