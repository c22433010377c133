"""A cache folder: the spaces in it, and which of them serves a contract."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from featcache.cache.contract import Contract
from featcache.cache.files import repair_command
from featcache.cache.identity import CONTRACT, read_contract
from featcache.cache.naming import shard_files
from featcache.cache.space import Space
from featcache.errors import CacheMissError, DamageError, FeatcacheError, FormatError, MachineError


def folder_name(backbone: str) -> str:
    """Make the readable part of a space's folder.

    Args:
        backbone: A path or hub id; its last part is made safe for a file name.

    Returns:
        The name, or `backbone` where nothing of it is left.
    """
    last = re.split(r"[/\\]", backbone.rstrip("/\\"))[-1]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-.") or "backbone"


def folders_in(cache: Path) -> list[Path]:
    """List the folders of a cache that are spaces, or were: those with a contract or shards."""
    if not cache.is_dir():
        return []
    folders = sorted(path for path in cache.iterdir() if path.is_dir())
    return [path for path in folders if (path / CONTRACT).exists() or shard_files(path)]


def spaces_in(cache: Path) -> tuple[list[Space], list[FeatcacheError]]:
    """Open all spaces of a cache folder.

    Args:
        cache: The folder.

    Returns:
        The spaces by name, and what is wrong with those that cannot be opened.
    """
    spaces: list[Space] = []
    errors: list[FeatcacheError] = []
    for path in folders_in(cache):
        try:
            spaces.append(Space.open(path))
        except (DamageError, FormatError, MachineError) as error:
            errors.append(error)
        except CacheMissError:
            msg = f"{path} holds shards and no {CONTRACT}"
            errors.append(DamageError(msg, cure=f"{repair_command(path)} makes it from them."))
    return spaces, errors


def contracts_in(cache: Path) -> dict[Path, Contract]:
    """Read the contracts of a cache folder by the path of their space; no shard is opened.

    A contract that cannot be read is left out: it keeps nobody from the other spaces, `ls` shows
    it, and whoever needs that very space meets the damage when opening it.

    Args:
        cache: The folder of all spaces.

    Returns:
        Path of a space -> its contract.

    Raises:
        MachineError: The disk does not let one be read: there may be more spaces than are known.
    """
    contracts: dict[Path, Contract] = {}
    for path in folders_in(cache):
        with contextlib.suppress(DamageError, FormatError, CacheMissError):
            contracts[path] = read_contract(path)
    return contracts
