"""Bundles: a head on disk with everything needed to use it, as safetensors and JSON. Nothing
executes on load.

bundle/head.safetensors   weights.0, biases.0, weights.1, …   float32, standardisation folded in
                          of a head that is code: module.<name>, scale.mean, scale.std
bundle/head.json          contract, view, class labels, template, backbone, scores, versions
bundle/README.md          the model card, for people

Format 2 added what stands between the layers, temperature, offsets and heads that are code. Format
1 had none of these fields, and means what they are without: it is read as before. Its golden file
is `tests/golden/bundle-1`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.durable import make_folder, remove, write_durably
from featcache.errors import BundleError, DamageError
from featcache.heads.network import Head, Network

if TYPE_CHECKING:
    from featcache.heads.kinds.custom import CustomHead, Factory

BUNDLE_FORMAT = 2
CUSTOM = "custom"
_WEIGHTS = "head.safetensors"
_DESCRIPTION = "head.json"
_CARD = "README.md"


@dataclass(frozen=True)
class Description:
    """What `head.json` holds.

    classes: labels in the order of the logits, in their own type.  layers, pooling: the view,
    joined in this order.  contract: of the space the head was trained on.  backbone: where its
    folder was, or its hub id.
    activation, layer_norm, residual: of the network.  factory: "module:qualname" of a head that is
    code.
    temperature: logits are divided by it for probabilities (Guo et al. 2017, arXiv 1706.04599).
    offsets: one a class, added to the logits before the label is chosen; they change no
    probability.
    weights: SHA-256 of `head.safetensors`.  checksum: of this file. What the head itself knows
    (activation, layer_norm, residual, factory), both sums and the format are filled in by
    `save_bundle`.
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
    activation: str = "gelu"
    layer_norm: bool = False
    residual: bool = False
    temperature: float = 1.0
    offsets: list[float] | None = None
    factory: str | None = None
    weights: str = ""
    checksum: str = ""
    format: int = BUNDLE_FORMAT

    def check(self) -> None:
        """Raises ValueError for a temperature or offsets that cannot be used."""
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            msg = f"the temperature {self.temperature} is not a positive number"
            raise ValueError(msg)
        if self.offsets is not None and not (
            len(self.offsets) == len(self.classes)
            and all(math.isfinite(one) for one in self.offsets)
        ):
            msg = f"the offsets {self.offsets} are not a number for each of {len(self.classes)} classes"
            raise ValueError(msg)


def checksum_of(fields: Mapping[str, Any]) -> str:
    """SHA-256 of a description's fields but `backbone`, which may be corrected by hand when a model
    has moved.

    Of the fields that a file has, whatever this version's `Description` would add to them.
    """
    summed = {name: value for name, value in fields.items() if name not in {"backbone", "checksum"}}
    return hashlib.sha256(json.dumps(summed, sort_keys=True).encode()).hexdigest()


def save_bundle(
    folder: Path, head: Network | CustomHead, description: Description, card: str
) -> None:
    """Write a bundle; its description last, so that a half-written folder is not taken for one.

    Raises MachineError where the folder cannot be written; ValueError as `Description.check`.
    """
    if isinstance(head, Network):
        stored = _bytes_of(head)
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
    description = replace(description, checksum=checksum_of(asdict(description)))
    make_folder(folder, "--out")
    remove([folder / _DESCRIPTION])  # a bundle half replaced must not look whole
    write_durably(folder, _WEIGHTS, stored)
    write_durably(folder, _CARD, card.encode())
    write_durably(
        folder, _DESCRIPTION, json.dumps(asdict(description), indent=2, ensure_ascii=False).encode()
    )


def is_bundle(folder: Path) -> bool:
    """Whether a folder looks like a bundle; nothing in it is read."""
    return (folder / _DESCRIPTION).exists()


def read_bundle(folder: Path, factory: Factory | None = None) -> tuple[Head, Description]:
    """Read what `save_bundle` wrote. factory: what makes the module of a head that is code, and
    only of such a one.

    Raises BundleError for another folder, a later format, or a factory that is missing, needless or
    another one; DamageError for a changed file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if not is_bundle(folder):
        msg = f"{folder} is not a bundle: it has no {_DESCRIPTION}"
        raise BundleError(
            msg, cure="Give the folder that `featcache fit-heads` names at the end (runs/…/bundle)."
        )
    try:
        fields = json.loads((folder / _DESCRIPTION).read_text("utf-8"))
        if fields["format"] > BUNDLE_FORMAT:
            msg = f"{folder} was written in format {fields['format']}; this featcache reads up to {BUNDLE_FORMAT}"
            raise BundleError(msg, cure="Upgrade: pip install --upgrade featcache")
        if fields["checksum"] != checksum_of(fields):
            raise _damaged(folder, f"{_DESCRIPTION} does not match its checksum")
        description = Description(**fields)
        description.check()
        stored = (folder / _WEIGHTS).read_bytes()
        if hashlib.sha256(stored).hexdigest() != description.weights:
            raise _damaged(
                folder, f"{_WEIGHTS} is not the file that {_DESCRIPTION} was written for"
            )
        network = None if description.head == CUSTOM else _network(load(stored), description)
    except FileNotFoundError as error:
        raise _damaged(folder, f"{_WEIGHTS} is missing") from error
    except (ValueError, TypeError, KeyError, SafetensorError) as error:
        raise _damaged(folder, f"{_DESCRIPTION} cannot be read") from error
    if network is None:
        return _custom(folder, stored, description, factory), description
    if factory is not None:
        msg = f"the head of {folder} is no code, so it needs no factory"
        raise BundleError(msg, cure=f"Leave it out: featcache.load_bundle({str(folder)!r})")
    return network, description


def _custom(
    folder: Path, stored: bytes, description: Description, factory: Factory | None
) -> CustomHead:
    """The head whose code only the user has. Outside the reading of files: an error of that code is
    the user's.
    """
    if factory is None:
        msg = f"the head of {folder} is code, made by {description.factory}, and a bundle holds no code"
        cure = f"Use it from Python, with that function: featcache.load_bundle({str(folder)!r}, factory=...)"
        raise BundleError(msg, cure=cure)
    from featcache.heads.kinds.custom import CustomHead

    return CustomHead.from_bytes(stored, factory, len(description.classes), str(folder))


def _damaged(folder: Path, reason: str) -> DamageError:
    return DamageError(
        f"the bundle {folder} is damaged: {reason}",
        cure="Fit the head again; its cache makes that quick.",
    )


def _bytes_of(network: Network) -> bytes:
    from safetensors.numpy import save

    arrays = {}
    for number, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        arrays[f"weights.{number}"] = np.ascontiguousarray(weight)
        arrays[f"biases.{number}"] = np.ascontiguousarray(bias)
    return bytes(save(arrays))


def _network(arrays: Mapping[str, Any], description: Description) -> Network:
    n_layers = len(arrays) // 2
    return Network(
        tuple(arrays[f"weights.{number}"] for number in range(n_layers)),
        tuple(arrays[f"biases.{number}"] for number in range(n_layers)),
        description.activation,
        description.layer_norm,
        description.residual,
    )
