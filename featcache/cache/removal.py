"""Removing a space's folder that holds no rows."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from featcache.cache.claims import FOLDER as CLAIMS
from featcache.cache.claims import LOCK as CLAIMS_LOCK
from featcache.cache.identity import CONTRACT, ORIGIN
from featcache.cache.locks import LOCK, try_lock
from featcache.cache.naming import shard_files
from featcache.durable import remove
from featcache.errors import MachineError


def give_up(path: Path) -> None:
    """Remove a space without rows after a failure, unless others are at it.

    It says nothing of what goes wrong: the failure itself is what counts.
    """
    with contextlib.suppress(OSError, MachineError):
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        handle = os.open(path / LOCK, flags)  # a full disk may refuse more
        try:
            alone = True
            with contextlib.suppress(MachineError):  # no locks here: then nobody can write
                alone = try_lock(handle, path / LOCK)
            if alone:
                remove_if_empty(path)
        finally:
            os.close(handle)


def remove_if_empty(path: Path) -> None:
    """Remove a space's folder that holds no shard, and the cache's folder if nothing else is in it.

    Args:
        path: The folder of the space.

    Raises:
        MachineError: The disk refuses.
    """
    if shard_files(path):
        return
    claims = path / CLAIMS
    files = [path / CONTRACT, path / ORIGIN, path / LOCK]
    if not claims.is_symlink():
        files.insert(0, claims / CLAIMS_LOCK)
    remove(files)
    for folder in (claims, path, path.parent):
        # It may not be there, or hold somebody else's file, or other spaces.
        with contextlib.suppress(OSError):
            os.rmdir(folder)
