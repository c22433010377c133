"""The two small files of a space that say whose features it holds: contract.json, origin.json."""

from __future__ import annotations

from pathlib import Path

from featcache.cache.contract import Contract
from featcache.cache.files import repair_command, unreadable
from featcache.cache.origin import BackboneOrigin
from featcache.durable import NotAFileError, read_small
from featcache.errors import CacheMissError, DamageError
from featcache.schema import SchemaError

CONTRACT = "contract.json"
ORIGIN = "origin.json"


def read_contract(path: Path) -> Contract:
    """Read the contract of a space's folder.

    Args:
        path: The folder of the space.

    Returns:
        The contract.

    Raises:
        CacheMissError: There is none.
        DamageError: It is garbled.
        FormatError: A later featcache wrote it.
        MachineError: The disk does not let it be read.
    """
    try:
        data = _read(path / CONTRACT)
    except FileNotFoundError as error:
        msg = f"{path} is not a feature space"
        raise CacheMissError(msg, cure="`featcache ls` shows the spaces there are.") from error
    except NotAFileError as error:
        msg = f"{path / CONTRACT} is not a contract that can be read: {error}"
        raise DamageError(msg, cure=f"{repair_command(path)} makes it from the shards.") from error
    try:
        return Contract.from_json(data, str(path / CONTRACT))
    except DamageError as error:
        raise DamageError(
            error.what, cure=f"{repair_command(path)} makes it from the shards."
        ) from error


def read_origin(path: Path) -> BackboneOrigin:
    """Read where the backbone of a space was.

    Args:
        path: The folder of the space.

    Returns:
        The origin.

    Raises:
        DamageError: The file is garbled or missing.
        MachineError: The disk does not let it be read.
    """
    try:
        return BackboneOrigin.from_json(_read(path / ORIGIN))
    except (FileNotFoundError, NotAFileError, SchemaError) as error:
        msg = f"{path / ORIGIN} cannot be read: {error}"
        raise DamageError(msg, cure=f"{repair_command(path)} makes it from the shards.") from error


def _read(path: Path) -> bytes:
    try:
        return read_small(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error
