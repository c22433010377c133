"""Several writers of one space share the work: each claims a slice of rows, computes it, and claims the next.

    claims/lock     held while a writer chooses, so that no two choose the same rows
    claims/<uuid>   the 16-byte keys that one writer computes now; the file is locked as long as it lives

Locks are flock's: a killed writer's claims are free at once. A claim saves work and nothing else: a row that
is computed twice all the same is harmless.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from featcache.cache.index import KeyIndex
from featcache.cache.layout import KEYS
from featcache.cache.locks import WAIT_SECONDS, locked, try_lock
from featcache.cache.shard import Shard, shard_files
from featcache.errors import MachineError

FOLDER = "claims"
LOCK = "lock"
_CLAIM = re.compile(r"[0-9a-f]{32}")


def claims_in(space: Path) -> list[Path]:
    """The claim files of a space: what has such a name and is a file. Nothing is looked for behind a link."""
    folder = space / FOLDER
    if not _is_folder(folder):
        return []
    named = [path for path in folder.iterdir() if _CLAIM.fullmatch(path.name)]
    return [path for path in named if not path.is_symlink() and path.is_file()]


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


class Claims:
    """One writer's claims on the rows of a space. A context: what is claimed is free again when it ends."""

    def __init__(self, space: Path, seen: set[str]) -> None:
        """space: its folder.  seen: names of the shards that the writer has looked at."""
        self._space, self._seen = space, seen
        self._path = space / FOLDER / uuid.uuid4().hex
        self._handle: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
            os.close(self._handle)

    def slices(
        self, keys: NDArray[np.uint8], limit: int, waiting: Callable[[int], None]
    ) -> Iterator[tuple[NDArray[np.int64], int]]:
        """Share the rows of `keys`, uint8 (M, 16), which all differ, with the other writers, slice by slice.

        Yields numbers of up to `limit` rows that are this writer's to compute and to write before the next
        slice, and how many rows others have finished meanwhile; no numbers while all that is left is in the
        others' hands. Ends when all rows are done.
        waiting: called once with the rows that others have in hand, when nothing else is left.
        Raises MachineError where the folder cannot be written.
        """
        todo, waited = np.arange(len(keys)), False
        while len(todo):
            finished, mine = self._choose(keys[todo], limit)
            yield todo[mine], int(finished.sum())
            finished[mine] = True
            todo = todo[~finished]
            if len(todo) and not len(mine):
                if not waited:
                    waiting(len(todo))
                waited = True
                time.sleep(WAIT_SECONDS)

    def _choose(self, keys: NDArray[np.uint8], limit: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Claim up to `limit` rows in place of those claimed before.

        Returns which rows others have finished since the last call, bool (M,), and the numbers of the claimed.
        """
        folder = self._space / FOLDER
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)
            if not _is_folder(folder):
                msg = f"{folder} is a link or a file, where a folder must be"
                raise MachineError(msg, cure="Move it away; it holds nothing that lasts.")
            with locked(folder / LOCK, shared=False):
                # In this order: a writer that ends in between has named its shard before it gives up its claim.
                claimed = KeyIndex.build(self._others()).find(keys) >= 0
                finished = KeyIndex.build(self._new_keys()).find(keys) >= 0
                mine = np.flatnonzero(~finished & ~claimed)[:limit]
                self._put(keys[mine])
        except OSError as error:
            msg = f"{folder} cannot be written: {error.strerror}"
            raise MachineError(msg, cure="What was finished before is kept. Check the disk.") from error
        return finished, mine

    def _new_keys(self) -> NDArray[np.uint8]:
        """Keys of the shards that came in since the last look."""
        new = [path for path in shard_files(self._space) if path.name not in self._seen]
        self._seen |= {path.name for path in new}
        return np.concatenate([np.empty((0, 16), np.uint8), *(Shard.open(path).read(KEYS) for path in new)])

    def _others(self) -> NDArray[np.uint8]:
        """Keys that other writers compute now; the files of dead ones are removed."""
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
                    size = os.fstat(handle).st_size // 16 * 16  # less, where that writer's disk was full
                    keys.append(np.frombuffer(os.pread(handle, size, 0), np.uint8).reshape(-1, 16))
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
