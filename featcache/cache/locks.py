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
    """Take a lock, or change the one that is held, without waiting. Returns whether it is held now.

    Where a change fails, the lock that was held is gone, too: so does flock.
    Raises MachineError where the file system has no such locks.
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
    """Hold a lock file, made where it is missing; waits while others hold it. Yields its handle.

    waiting: called once if the wait is more than a moment.  when_alone: called first if nobody
    holds the lock.
    Raises MachineError where the folder cannot be written, or is removed during the wait.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        msg = f"{path.parent} cannot be written: {error.strerror}"
        raise MachineError(
            msg, cure="Reading needs no such right; to add rows, choose another --cache."
        ) from error
    try:
        if try_lock(handle, path):
            when_alone()
        # Changing a lock gives up the old one first: somebody may come between, so this can wait in
        # any case.
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
    """Whether the file that was opened is the one that has the name now."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False
