"""`head.json`: what a bundle says of its head, as one typed class that reads and writes the file.

Format 2 added what stands between the layers, temperature, offsets and heads that are code. A file
of format 1 has none of these fields, and means what their defaults say.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from featcache import schema
from featcache.data.labels import Label

BUNDLE_FORMAT = 2


class Description(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `head.json` holds.

    Attributes:
        head: The kind of head.
        classes: Labels in the order of the logits, in their own type.
        label: The column of labels.
        layers: Of the view; layers and poolings are joined in this order.
        pooling: Of the view.
        contract: Of the space that the head was trained on.
        space: The folder of that space.
        backbone: Where the model's folder was, or its hub id; it may be corrected by hand.
        template: What texts are put into; None for the text as it is.
        text: The column of texts.
        scores: Of the head, as `result.json` has them.
        versions: Of the libraries that scores depend on.
        activation: Between the layers of the network.
        layer_norm: Whether each hidden layer is normalised.
        residual: Whether hidden layers are added to what they read.
        temperature: Logits are divided by it for probabilities (Guo et al. 2017, arXiv 1706.04599).
        offsets: One a class, added to the logits before the label is chosen; they change no
            probability.
        factory: "module:qualname" of a head that is code.
        weights: SHA-256 of `head.safetensors`.
        checksum: SHA-256 of this file's fields.
        format: Of the bundle.

    What the head itself knows (activation, layer_norm, residual, factory), both sums and the format
    are filled in by `save_bundle`.
    """

    head: str
    classes: Annotated[list[Label], Meta(min_length=1)]
    label: str
    layers: Annotated[list[Annotated[int, Meta(ge=0, le=9999)]], Meta(min_length=1)]
    pooling: Annotated[list[str], Meta(min_length=1)]
    contract: dict[str, Any]
    space: str
    backbone: str
    template: str | None
    text: str | None
    scores: dict[str, Any]
    versions: dict[str, Any]
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
        """Check what the types cannot say.

        Raises:
            ValueError: A temperature, offsets or classes that cannot be used.
        """
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            msg = f"the temperature {self.temperature} is not a positive number"
            raise ValueError(msg)
        n_classes = len(self.classes)
        if self.offsets is not None and (
            len(self.offsets) != n_classes or not all(map(math.isfinite, self.offsets))
        ):
            msg = f"the offsets {self.offsets} are not a number for each of {n_classes} classes"
            raise ValueError(msg)
        if len(set(self.classes)) != n_classes:
            msg = "a class is listed twice"
            raise ValueError(msg)


class _Versioned(msgspec.Struct):
    """What is looked at first: a later format need not fit `Description`."""

    format: int
    checksum: str = ""


class LaterFormatError(ValueError):
    """The description was written by a later featcache."""


def encode_description(description: Description) -> bytes:
    """Write a description as `head.json`, with its checksum filled in."""
    fields = schema.fields_of(description)
    fields["checksum"] = checksum_of(fields)
    return json.dumps(fields, indent=2, ensure_ascii=False).encode()


def decode_description(data: bytes) -> Description:
    """Read `head.json`.

    Args:
        data: The bytes of the file.

    Returns:
        The description, checked.

    Raises:
        LaterFormatError: A later featcache wrote it.
        ValueError: It was changed, or never was a description; the message is one sentence.
    """
    fields = schema.parse(data)
    written = schema.convert(fields, _Versioned)
    if written.format > BUNDLE_FORMAT:
        msg = f"format {written.format}; this featcache reads up to {BUNDLE_FORMAT}"
        raise LaterFormatError(msg)
    if written.checksum != checksum_of(fields):
        msg = "it does not match its checksum"
        raise ValueError(msg)
    description = schema.convert(fields, Description)
    description.check()
    return description


def checksum_of(fields: Mapping[str, Any]) -> str:
    """Sum up a description's fields but `backbone`, which may be corrected by hand.

    Only the fields that a file has count, whatever this version would add to them.

    Args:
        fields: As they stand in `head.json`.

    Returns:
        SHA-256 as 64 hex digits.
    """
    summed = {name: value for name, value in fields.items() if name not in {"backbone", "checksum"}}
    return hashlib.sha256(json.dumps(summed, sort_keys=True).encode()).hexdigest()
