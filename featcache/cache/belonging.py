"""The files of rows in a space's folder: opening them, and whether they belong to the space."""

from __future__ import annotations

import contextlib
from pathlib import Path

from featcache.cache.contract import Contract
from featcache.cache.files import damaged, repair_command
from featcache.cache.identity import CONTRACT, ORIGIN
from featcache.cache.naming import shard_files
from featcache.cache.origin import BackboneOrigin
from featcache.cache.shard import Shard
from featcache.errors import CacheMissError, DamageError

# Shards whose files stay open; each takes a file descriptor, of which macOS gives 256
_HELD = 128
_TRIES = 5  # at listing a folder in which a merge or gc removes files


def check_belongs(file: Shard, path: Path, contract: Contract, origin: BackboneOrigin) -> None:
    """Refuse a file that is not what contract.json and origin.json say."""
    if file.contract != contract.digest:
        msg = f"{file.path} was written under another contract than {path / CONTRACT}"
        raise DamageError(msg, cure=f"{repair_command(path)} finds out which of them is wrong.")
    if not fits_contract(file, contract) or not fits_origin(file, origin):
        msg = f"{file.path} holds other states than {path / CONTRACT} and {ORIGIN} say"
        raise DamageError(msg, cure=f"{repair_command(path)} finds out which of them is wrong.")


def fits_contract(file: Shard, contract: Contract) -> bool:
    """Return True if a file has the contract's digest and views, or adds only other views."""
    views = set(contract.views)
    right_views = views.isdisjoint(file.views) if file.is_addition else views == set(file.views)
    return right_views and file.contract == contract.digest


def fits_origin(file: Shard, origin: BackboneOrigin) -> bool:
    """Return True if a file's width is the model's; files of format 2 have widths of their own."""
    return file.header.version > 1 or file.hidden_size == origin.hidden_size


def check_widths(files: tuple[Shard, ...]) -> None:
    """Refuse files that give one view different widths, or rows of another form."""
    forms: dict[str, tuple[int, bool]] = {}
    for file in files:
        for view in file.views:
            form = (file.header.width(view), file.header.is_ragged(view))
            if forms.setdefault(view, form) != form:
                raise damaged(file.path, f"its {view} has another form than in the files beside it")


def open_files(path: Path, *, mapped: bool) -> tuple[Shard, ...]:
    """Open all files of rows of a folder, sorted by name.

    Of two rows with one key, every reader serves the same.
    """
    for _ in range(_TRIES):
        files = shard_files(path)
        # A merge or gc may remove one between the listing and the opening.
        with contextlib.suppress(FileNotFoundError):
            hold = len(files) <= _HELD
            return tuple(Shard.open(file, hold=hold, mapped=mapped) for file in files)
    msg = f"{path} keeps changing while it is being read"
    raise CacheMissError(msg, cure="Run the same command again when the other process is done.")
