"""Bundles: a head on disk with everything needed to use it, as safetensors and JSON.

bundle/head.safetensors   weights.0, biases.0, weights.1, …   float32, standardisation folded in
                          of a head that is code: module.<name>, scale.mean, scale.std
bundle/head.json          contract, view, class labels, template, backbone, scores, versions
bundle/README.md          the model card, for people

Nothing executes on load. Bundles of format 1 are read as before; their golden file is
`tests/golden/bundle-1`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from featcache.bundles.description import (
    BUNDLE_FORMAT,
    Description,
    LaterFormatError,
    decode_description,
    encode_description,
)
from featcache.bundles.weights import check_custom, decode_network, encode_network
from featcache.durable import NotAFileError, make_folder, read_small, remove, write_durably
from featcache.errors import BundleError, DamageError, first_line
from featcache.heads.network import Head, Network

if TYPE_CHECKING:
    from featcache.heads.module import CustomHead, Factory

CUSTOM = "custom"
_WEIGHTS = "head.safetensors"
_DESCRIPTION = "head.json"
_CARD = "README.md"
_LARGEST_WEIGHTS = 1 << 30  # bytes; an mlp of 4 layers of 4,096 on all states has a third of it


def save_bundle(
    folder: Path, head: Network | CustomHead, description: Description, card: str
) -> None:
    """Write a bundle; its description last, so that a half-written folder is not taken for one.

    Args:
        folder: Where; it is made where it is missing.
        head: The trained head.
        description: What is known of it; what the head itself knows is filled in here.
        card: The content of README.md.

    Raises:
        MachineError: The folder cannot be written.
        ValueError: The description cannot be used; see `Description.check`.
    """
    if isinstance(head, Network):
        stored = encode_network(head)
        description = replace(
            description,
            activation=head.activation,
            layer_norm=head.layer_norm,
            residual=head.residual,
        )
    else:
        stored = head.to_bytes()
        description = replace(description, head=CUSTOM, factory=head.factory)
    description.check()
    description = replace(
        description, weights=hashlib.sha256(stored).hexdigest(), format=BUNDLE_FORMAT
    )
    make_folder(folder, "--out")
    remove([folder / _DESCRIPTION])  # a bundle half replaced must not look whole
    write_durably(folder, _WEIGHTS, stored)
    write_durably(folder, _CARD, card.encode())
    write_durably(folder, _DESCRIPTION, encode_description(description))


def is_bundle(folder: Path) -> bool:
    """Return whether a folder looks like a bundle; nothing in it is read."""
    return (folder / _DESCRIPTION).exists()


def read_bundle(folder: Path, factory: Factory | None = None) -> tuple[Head, Description]:
    """Read what `save_bundle` wrote.

    Args:
        folder: The bundle.
        factory: What makes the module of a head that is code, and only of such a one.

    Returns:
        The head and its description.

    Raises:
        BundleError: The folder is no bundle or of a later format, or the factory is missing,
            needless or another one.
        DamageError: A file is not what `save_bundle` wrote.
    """
    if not is_bundle(folder):
        msg = f"{folder} is not a bundle: it has no {_DESCRIPTION}"
        raise BundleError(
            msg, cure="Give the folder that `featcache fit-heads` names at the end (runs/…/bundle)."
        )
    description = _read_description(folder)
    stored = _read_weights(folder, description)
    try:
        if description.head != CUSTOM:
            network = decode_network(stored, description)
        else:
            check_custom(stored)
    except ValueError as error:
        raise _damaged(folder, f"{_DESCRIPTION} cannot be read: {first_line(error)}") from error
    if description.head == CUSTOM:
        return _custom(folder, stored, description, factory), description
    if factory is not None:
        msg = f"the head of {folder} is no code, so it needs no factory"
        raise BundleError(msg, cure=f"Leave it out: featcache.load_bundle({str(folder)!r})")
    return network, description


def _read_description(folder: Path) -> Description:
    try:
        return decode_description(_read(folder, _DESCRIPTION))
    except LaterFormatError as error:
        msg = f"{folder} was written in {error}"
        raise BundleError(msg, cure="Upgrade: pip install --upgrade featcache") from error
    except ValueError as error:
        raise _damaged(folder, f"{_DESCRIPTION} cannot be read: {first_line(error)}") from error


def _read_weights(folder: Path, description: Description) -> bytes:
    stored = _read(folder, _WEIGHTS, _LARGEST_WEIGHTS)
    if hashlib.sha256(stored).hexdigest() != description.weights:
        raise _damaged(folder, f"{_WEIGHTS} is not the file that {_DESCRIPTION} was written for")
    return stored


def _read(folder: Path, name: str, largest: int = 16 << 20) -> bytes:
    """Return a file of the bundle, which must be a regular file of bearable size."""
    try:
        return read_small(folder / name, largest, follow=True)
    except FileNotFoundError as error:
        raise _damaged(folder, f"{name} is missing") from error
    except NotAFileError as error:
        raise _damaged(folder, f"{name} cannot be read: {error}") from error
    except OSError as error:
        raise _damaged(folder, f"{name} cannot be read: {error.strerror}") from error


def _custom(
    folder: Path, stored: bytes, description: Description, factory: Factory | None
) -> CustomHead:
    """Return a head whose code only the user has; an error of that code is the user's."""
    if factory is None:
        msg = (
            f"the head of {folder} is code, made by {description.factory}, "
            "and a bundle holds no code"
        )
        call = f"featcache.load_bundle({str(folder)!r}, factory=...)"
        raise BundleError(msg, cure=f"Use it from Python, with that function: {call}")
    from featcache.heads.module import CustomHead

    return CustomHead.from_bytes(stored, factory, len(description.classes), str(folder))


def _damaged(folder: Path, reason: str) -> DamageError:
    return DamageError(
        f"the bundle {folder} is damaged: {reason}",
        cure="Fit the head again; its cache makes that quick.",
    )
