"""Advisory locks on files (flock): the kernel frees them when their holder dies."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from featcache.errors import MachineError

LOCK = "lock"  # the file of a space that its writers hold
WAIT_SECONDS = 0.2  # between two tries for a lock
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


def try_lock(handle: int, where: Path, *, shared: bool = False) -> bool:
    """Take a lock, or change the one that is held, without waiting.

    A change that fails also loses the lock that was held before; that is how flock works.

    Args:
        handle: The open lock file.
        where: Its path, for the message.
        shared: Whether others may hold the lock at the same time.

    Returns:
        True if the lock is held now.

    Raises:
        MachineError: The file system has no such locks.
    """
    import fcntl  # not on Windows, where a cache can be read

    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        msg = (
            f"{where.parent} is on a file system without file locks (flock: {error.strerror}); "
            "writing needs them"
        )
        cure = (
            "Reading works. To add rows, use a --cache on a local disk; "
            "copied here afterwards it stays valid."
        )
        raise MachineError(msg, cure=cure) from error
    return True


@contextlib.contextmanager
def locked(
    path: Path,
    *,
    shared: bool,
    waiting: Callable[[], None] = lambda: None,
    when_alone: Callable[[], None] = lambda: None,
) -> Iterator[int]:
    """Hold the lock of a file, which is made if it is missing; wait while others hold it.

    Args:
        path: The lock file.
        shared: Whether others may hold the lock at the same time.
        waiting: Called once if the wait is more than a moment.
        when_alone: Called first if nobody else holds the lock.

    Yields:
        int: The handle of the lock file.

    Raises:
        MachineError: The folder cannot be written, or is removed during the wait.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        msg = f"{path.parent} cannot be written: {error.strerror}"
        cure = "Reading needs no such right; to add rows, choose another --cache."
        raise MachineError(msg, cure=cure) from error
    try:
        if try_lock(handle, path):
            when_alone()
        # Changing a lock gives up the old one first and another process may come between, so this
        # may have to wait even if nobody held the lock.
        n_tries = 1
        while not try_lock(handle, path, shared=shared):
            if n_tries == 2:
                waiting()
            n_tries += 1
            time.sleep(WAIT_SECONDS)
        if not _is_still(handle, path):
            msg = f"{path.parent} was removed by another process"
            raise MachineError(msg, cure="Run the same command again.")
        yield handle
    finally:
        os.close(handle)


def _is_still(handle: int, path: Path) -> bool:
    """Return True if the file that was opened still has its name."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False
