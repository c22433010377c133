"""Bundles: a head on disk with everything needed to use it, as safetensors and JSON. Nothing executes on load.

bundle/head.safetensors   weights.0, biases.0, weights.1, …   float32, standardisation folded in
bundle/head.json          contract, view, class labels, template, backbone, scores, versions
bundle/README.md          the model card, for people
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from featcache.errors import BundleError, DamageError, MachineError
from featcache.files import write_durably
from featcache.heads.network import Network

BUNDLE_FORMAT = 1
_WEIGHTS = "head.safetensors"
_DESCRIPTION = "head.json"
_CARD = "README.md"


@dataclass(frozen=True)
class Description:
    """What `head.json` holds.

    classes: labels in the order of the logits, in their own type.  layers, pooling: the view, joined in this
    order.  contract: of the space the head was trained on.  backbone: where its folder was, or its hub id.
    weights: SHA-256 of `head.safetensors`.  checksum: of this file; both are filled in by `save_bundle`.
    """

    head: str
    classes: list[Any]
    label: str
    layers: list[int]
    pooling: list[str]
    contract: dict[str, Any]
    space: str
    backbone: str
    template: str | None
    text: str | None
    scores: dict[str, Any]
    versions: dict[str, str]
    weights: str = ""
    checksum: str = ""
    format: int = BUNDLE_FORMAT

    def expected_checksum(self) -> str:
        """SHA-256 of all other fields but `backbone`, which may be corrected by hand when a model has moved."""
        fields = {name: value for name, value in asdict(self).items() if name not in {"backbone", "checksum"}}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def save_bundle(folder: Path, network: Network, description: Description, card: str) -> None:
    """Write a bundle; its description last, so that a half-written folder is not taken for one.

    Raises MachineError where the folder cannot be written.
    """
    from safetensors.numpy import save

    arrays = {}
    for number, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        arrays[f"weights.{number}"] = np.ascontiguousarray(weight)
        arrays[f"biases.{number}"] = np.ascontiguousarray(bias)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _DESCRIPTION).unlink(missing_ok=True)
    except OSError as error:
        msg = f"the folder {folder} cannot be made: {error.strerror}"
        raise MachineError(msg, cure="Choose a folder that can be written: --out DIR.") from error
    stored = save(arrays)
    description = replace(description, weights=hashlib.sha256(stored).hexdigest())
    description = replace(description, checksum=description.expected_checksum())
    write_durably(folder, _WEIGHTS, stored)
    write_durably(folder, _CARD, card.encode())
    write_durably(folder, _DESCRIPTION, json.dumps(asdict(description), indent=2, ensure_ascii=False).encode())


def read_bundle(folder: Path) -> tuple[Network, Description]:
    """Read what `save_bundle` wrote. Raises BundleError for another folder, DamageError for a changed file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not (folder / _DESCRIPTION).exists():
        msg = f"{folder} is not a bundle: it has no {_DESCRIPTION}"
        raise BundleError(msg, cure="Give the folder that `featcache fit-heads` names at the end (runs/…/bundle).")
    try:
        fields = json.loads((folder / _DESCRIPTION).read_text("utf-8"))
        if fields["format"] > BUNDLE_FORMAT:
            msg = f"{folder} was written in format {fields['format']}; this featcache reads up to {BUNDLE_FORMAT}"
            raise BundleError(msg, cure="Upgrade: pip install --upgrade featcache")
        description = Description(**fields)
        if description.checksum != description.expected_checksum():
            raise _damaged(folder, f"{_DESCRIPTION} does not match its checksum")
        stored = (folder / _WEIGHTS).read_bytes()
        if hashlib.sha256(stored).hexdigest() != description.weights:
            raise _damaged(folder, f"{_WEIGHTS} is not the file that {_DESCRIPTION} was written for")
        return _network(load(stored)), description
    except FileNotFoundError as error:
        raise _damaged(folder, f"{_WEIGHTS} is missing") from error
    except (ValueError, TypeError, KeyError, SafetensorError) as error:
        raise _damaged(folder, f"{_DESCRIPTION} cannot be read") from error


def _damaged(folder: Path, reason: str) -> DamageError:
    return DamageError(
        f"the bundle {folder} is damaged: {reason}", cure="Fit the head again; its cache makes that quick."
    )


def _network(arrays: Mapping[str, Any]) -> Network:
    n_layers = len(arrays) // 2
    return Network(
        tuple(arrays[f"weights.{number}"] for number in range(n_layers)),
        tuple(arrays[f"biases.{number}"] for number in range(n_layers)),
    )
