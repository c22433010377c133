"""Reading the bytes of one file: through a memory map, or by copies.

A map is fast and takes no memory of its own; but when another process cuts a mapped file short, the
next look at the lost part ends this process with SIGBUS. `MappedFile` compares the file's size
before each look, which leaves only the time between that and the end of the work with the bytes.
`CopiedFile` reads into memory of its own: slower, and safe from that.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from featcache.durable import NotAFileError, open_regular
from featcache.errors import DamageError, MachineError


class FileBytes(Protocol):
    """The bytes of an open file, which stay readable when its name is gone."""

    def piece(self, start: int, end: int) -> NDArray[np.uint8]:
        """Give the bytes from `start` to `end`; raises DamageError where the file is shorter."""

    def rows(self, start: int, width: int, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Give rows of `width` bytes, uint8 (len(rows), width), counted from byte `start`."""


class MappedFile:
    """A file in a memory map of its own."""

    def __init__(self, path: Path, handle: int, size: int) -> None:
        """Map the first `size` bytes.

        Args:
            path: The file's path, for messages.
            handle: The open file; the map outlives it.
            size: The bytes to map.

        Raises:
            DamageError: The file has become shorter since its size was read.
        """
        self._path, self._size = path, size
        try:
            self._map = mmap.mmap(handle, size, access=mmap.ACCESS_READ)
        except ValueError as error:  # Python compares the length with the file's own
            raise _cut_off(path) from error
        self._bytes = np.frombuffer(self._map, np.uint8)

    def piece(self, start: int, end: int) -> NDArray[np.uint8]:
        """Give a view of the map."""
        if self._map.size() < self._size:  # asks the file, not the map
            raise _cut_off(self._path)
        return self._bytes[start:end]

    def rows(self, start: int, width: int, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Copy rows out of the map."""
        end = start + (int(rows.max()) + 1) * width if len(rows) else start
        return self.piece(start, end).reshape(-1, width)[rows]


class CopiedFile:
    """A file that is kept open and read into memory, piece by piece."""

    def __init__(self, path: Path, handle: int) -> None:
        """Keep a copy of the handle."""
        self._path, self._handle = path, os.dup(handle)

    def __del__(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            os.close(self._handle)

    def piece(self, start: int, end: int) -> NDArray[np.uint8]:
        """Read the bytes into a new array."""
        piece = np.empty(end - start, np.uint8)
        read_into(self._path, self._handle, start, piece)
        return piece

    def rows(self, start: int, width: int, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read row by row, so that the rest of the dataset costs no memory."""
        picked = np.empty((len(rows), width), np.uint8)
        for place, row in enumerate(rows):
            read_into(self._path, self._handle, start + int(row) * width, picked[place])
        return picked


def read_into(path: Path, handle: int, start: int, buffer: NDArray[np.uint8]) -> None:
    """Fill an array with the bytes of a file from `start` on.

    Args:
        path: The file's path, for messages.
        handle: The open file.
        start: Where its bytes begin.
        buffer: The array, uint8 (n,).

    Raises:
        DamageError: The file ends before that.
        MachineError: The disk fails.
    """
    view = buffer.data
    try:
        while view:
            n_read = os.preadv(handle, [view], start)
            if not n_read:
                raise _cut_off(path)
            view, start = view[n_read:], start + n_read
    except OSError as error:
        raise unreadable(path, error) from error


@contextlib.contextmanager
def opened(path: Path) -> Iterator[tuple[int, int]]:
    """Open a regular file; never through a link, and never waiting for a pipe's writer.

    Args:
        path: The file.

    Yields:
        tuple[int, int]: Its handle, and its size in bytes.

    Raises:
        DamageError: Something else has its name.
        FileNotFoundError: Nothing has.
        MachineError: The disk does not let it be read.
    """
    try:
        with open_regular(path) as (handle, size):
            yield handle, size
    except FileNotFoundError:
        raise
    except NotAFileError as error:
        raise damaged(path, f"{error}, where a shard must be a file") from error
    except OSError as error:
        raise unreadable(path, error) from error


def damaged(path: Path, reason: str) -> DamageError:
    """Make the error for a file that is not what its checksums say."""
    cure = f"{repair_command(path.parent)} drops the damaged rows and says which"
    return DamageError(
        f"{path} is damaged: {reason}", cure=f"{cure} `featcache extract` computes them anew."
    )


def repair_command(space: Path) -> str:
    """Write the command that repairs a space."""
    cache = str(space.parent)
    return f"`featcache repair {space.name}{'' if cache == 'cache' else f' --cache {cache}'}`"


def unreadable(path: Path, error: OSError) -> MachineError:
    """Make the error for a file that the disk does not let be read."""
    reason = error.strerror or errno.errorcode.get(error.errno or 0, "unknown error")
    return MachineError(
        f"{path} cannot be read: {reason}", cure="Check the disk and the file's permissions."
    )


def _cut_off(path: Path) -> DamageError:
    return damaged(path, "another process has made it shorter while it was being read")
