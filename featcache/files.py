"""Writing a file so that it is whole or not there: to a temporary name, fsync, rename, fsync of the folder."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from pathlib import Path

from featcache.errors import MachineError

TEMPORARY = ".partial"


def write_durably(folder: Path, name: str, data: bytes | memoryview) -> Path:
    """Write a file through a temporary one: write, fsync, rename, fsync the folder.

    Raises MachineError where the file system refuses; the temporary file is removed then, after Ctrl-C too.
    """
    temporary = folder / f"{name}-{uuid.uuid4().hex}{TEMPORARY}"
    final = folder / name
    try:
        # O_EXCL: never a file that somebody else has open, nor through a planted link.
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            _reserve(handle, len(data))
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        temporary.rename(final)
        sync_folder(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        msg = f"{final} could not be written: {os.strerror(error.errno or 0)}"
        cure = "What was finished before is kept. Free space or mend the disk, then run the same command again."
        raise MachineError(msg, cure=cure) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return final


def _reserve(handle: int, n_bytes: int) -> None:
    """Take the space first, so that a full disk is noticed before the first byte. Not every file system can."""
    if not hasattr(os, "posix_fallocate") or not n_bytes:
        return
    try:
        os.posix_fallocate(handle, 0, n_bytes)
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}:
            raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
