"""Making the folder of a space, and making sure that it is the space of one contract."""

from __future__ import annotations

from pathlib import Path

from featcache.cache.contract import Contract
from featcache.cache.identity import CONTRACT, ORIGIN
from featcache.cache.locks import LOCK, locked
from featcache.cache.origin import BackboneOrigin
from featcache.cache.removal import give_up
from featcache.durable import make_folder, write_durably
from featcache.errors import ContractError


def make_space_folder(path: Path, contract: Contract, origin: BackboneOrigin) -> None:
    """Make the folder of a space, with what identifies it; a failure leaves nothing behind.

    Args:
        path: The folder.
        contract: What determines the space's features.
        origin: Where its backbone is.

    Raises:
        MachineError: The folder cannot be written.
    """
    make_folder(path)
    try:
        # Without the lock, another writer would take these files for those of a killed one.
        with locked(path / LOCK, shared=True):
            write_durably(path, ORIGIN, origin.to_json().encode())
            write_durably(path, CONTRACT, contract.to_file())
    except BaseException:
        give_up(path)
        raise


def check_same_contract(path: Path, stored: Contract, contract: Contract) -> None:
    """Refuse a folder whose contract is another one than its name says.

    Args:
        path: The folder.
        stored: The contract that it holds.
        contract: The contract that is needed.

    Raises:
        ContractError: They differ.
    """
    if stored == contract:
        return
    differences = []
    for field, (there, here) in stored.differences(contract).items():
        differences.append(f"{field} is {there!r} there and {here!r} here")
    msg = f"{path} holds another contract: {', '.join(differences)}"
    raise ContractError(msg, cure="Move that folder away, or choose another --cache.")
