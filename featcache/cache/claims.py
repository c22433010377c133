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
    """List the claim files of a space; links are neither listed nor followed."""
    folder = space / FOLDER
    if not _is_folder(folder):
        return []
    named = [path for path in folder.iterdir() if _CLAIM.fullmatch(path.name)]
    return [path for path in named if not path.is_symlink() and path.is_file()]


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


class Claims:
    """One writer's claims on rows of a space; leaving its context frees them."""

    def __init__(self, space: Path, seen: set[str]) -> None:
        """Prepare to claim rows; nothing is written yet.

        Args:
            space: The folder of the space.
            seen: Names of the shards whose rows the writer knows already.
        """
        self._space, self._seen = space, seen
        self._path = space / FOLDER / uuid.uuid4().hex
        self._handle: int | None = None
        # A thread may still ask for slices when the context ends: it gets none then, and never
        # uses a closed handle.
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
        """Share rows with the other writers, slice by slice, until all are done or yielded.

        Args:
            keys: Of the rows, uint8 (M, 16); they all differ.
            limit: The most rows of a slice.
            waiting: Called once, with the number of rows that others have in hand, when nothing
                else is left.
            first: The most rows of the first slice, where that is less than `limit`; each later
                slice may be 8 times as large as the one before.
            on_disk: Returns how many of the slices with rows, counted from the first, are in
                shards that have their names; the others stay claimed. Without it, asking for a
                slice means that all slices before are on the disk.

        Yields:
            tuple[NDArray[np.int64], int]: Numbers of the rows that this writer has to compute and
                write, none while others have all that is left; and how many rows others have
                finished since the last slice.

        Raises:
            MachineError: The folder cannot be written.
        """
        index = KeyIndex.build(keys)
        left = np.ones(len(keys), dtype=np.bool_)  # rows that anybody may still have to compute
        held: list[NDArray[np.int64]] = []
        size, n_yielded, waited = first or limit, 0, False
        while left.any():
            n_held = 0 if on_disk is None else n_yielded - on_disk()
            held = held[len(held) - n_held :]
            n_before = np.count_nonzero(left)
            with self._choosing:
                if self._ended:
                    return
                numbers = self._choose(index, keys, left, size, held)
            yield numbers, int(n_before - np.count_nonzero(left))
            left[numbers] = False
            if len(numbers):
                held, n_yielded, size = [*held, numbers], n_yielded + 1, min(limit, _GROWTH * size)
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
        """Claim up to `limit` of the rows that are left; those in `held` stay claimed.

        Args:
            index: The index of `keys`.
            keys: Of all rows, uint8 (M, 16).
            left: Rows that are not done, bool (M,); those that others have finished are cleared.
            limit: The most rows to claim.
            held: Numbers of the rows claimed before whose shards have no names yet.

        Returns:
            The numbers of the rows that are claimed now.
        """
        folder = self._space / FOLDER
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)
            if not _is_folder(folder):
                msg = f"{folder} is a link or a file, where a folder must be"
                raise MachineError(msg, cure="Move it away; it holds nothing that lasts.")
            with locked(folder / LOCK, shared=False):
                # Claims before shards: a writer that ends in between has named its shard before it
                # gives up its claim.
                claimed = index.find(self._others())
                finished = index.find(self._new_keys())
                left[finished[finished >= 0]] = False
                free = left.copy()
                free[claimed[claimed >= 0]] = False
                # A copy: a slice would keep the numbers of all free rows in memory.
                numbers = np.flatnonzero(free)[:limit].copy()
                self._put(keys[np.concatenate([*held, numbers])])
        except OSError as error:
            msg = f"{folder} cannot be written: {error.strerror}"
            cure = "What was finished before is kept. Check the disk."
            raise MachineError(msg, cure=cure) from error
        return numbers

    def _new_keys(self) -> NDArray[np.uint8]:
        """Read the keys of the shards that came in since the last look."""
        new = [path for path in shard_files(self._space) if path.name not in self._seen]
        self._seen |= {path.name for path in new}
        keys = [np.empty((0, 16), np.uint8)]
        # Not of additions: their rows are in other files.
        shards = [Shard.open(path) for path in new]
        keys += [shard.read(KEYS) for shard in shards if not shard.is_addition]
        return np.concatenate(keys)

    def _others(self) -> NDArray[np.uint8]:
        """Read the keys that other writers have in hand; files of dead writers are removed."""
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
        """Write the keys into this writer's claim file, in place of those before."""
        if self._handle is None:
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            try_lock(self._handle, self._path)
        os.ftruncate(self._handle, 0)
        data = keys.tobytes()
        while data:
            data = data[os.write(self._handle, data) :]
        os.lseek(self._handle, 0, os.SEEK_SET)
