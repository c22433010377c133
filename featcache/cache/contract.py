"""The contract: everything that changes a feature, and nothing else.

Two runs share features exactly when their contracts are equal. A path, a hub id, library versions
and the device are provenance: they are recorded with each shard and never compared. The layers and
poolings are the one part in which a space may hold more than a request needs (`holds`).

The digest names the space, so it must never change for features that do not: a field that is added
later gets a default, and is left out of the canonical JSON where it has it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Any

from msgspec import Meta

from featcache import schema
from featcache.errors import DamageError, FormatError

FORMAT = 2
"""The newest version of everything below a cache folder that is read and, where a file needs it,
written. Raise it when a reader of the old number would misread the new files; then keep a reader
for the old number and a folder of such files in `tests/golden`, and say so in the changelog.
"""

FIRST_FORMAT = 1
"""What a file says that uses nothing of a later format; the canonical contract always does."""

ABSENT = "(not set)"
"""What `Contract.differences` gives for a key of the configuration that one side does not have."""

POOLINGS = ("mean", "cls", "last", "max")
"""The poolings that format 1 knows. Format 2 takes any name of the grammar `Pooling`."""

MOST_LAYERS = 9_999

Layer = Annotated[int, Meta(ge=0, le=MOST_LAYERS)]
Pooling = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]*(-[a-z0-9_]+)*\Z", max_length=64)]
Layers = Annotated[tuple[Layer, ...], Meta(min_length=1, max_length=MOST_LAYERS + 1)]
Poolings = Annotated[tuple[Pooling, ...], Meta(min_length=1, max_length=1_000)]


@dataclass(frozen=True, eq=False)
class Contract:
    """What determines a feature, given a text. Contracts are equal exactly when their JSON is.

    Attributes:
        weights: SHA-256 of the weights' contents.
        config: The model's configuration without names and library versions.
        tokenizer: SHA-256 of the tokenizer's contents.
        code: SHA-256 of the model's own Python files; None where it brings none.
        special_tokens: Whether the tokenizer adds its special tokens.
        max_length: The most tokens of one text.
        truncation_side: Where longer texts are cut: `left` or `right`.
        dtype: What the model computes in.
        quantization: How the weights are quantised, or None.
        layers: Ascending; 0 is the embedding output, n the last block after the final norm.
        poolings: Names of the poolings, in the order in which the states are written.
        format: The version that the contract's own JSON needs; never part of its identity.
    """

    weights: str
    config: Mapping[str, Any]
    tokenizer: str
    code: str | None
    special_tokens: bool
    max_length: Annotated[int, Meta(ge=1, le=1 << 40)]
    truncation_side: str
    dtype: str
    quantization: str | None
    layers: Layers
    poolings: Poolings
    format: Annotated[int, Meta(ge=FIRST_FORMAT, le=FORMAT)] = FIRST_FORMAT

    # Not field by field: Python takes 1, 1.0 and True for equal, NaN for different from itself.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Contract) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, 64 hex digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the datasets that hold the features, such as `layer_06/mean`, layer by layer."""
        return tuple(
            dataset_name(layer, pooling) for layer in self.layers for pooling in self.poolings
        )

    def to_json(self) -> str:
        """Write the canonical JSON, whose SHA-256 is the digest: sorted keys, no spaces."""
        return json.dumps(self._identity(), sort_keys=True, separators=(",", ":"))

    def to_file(self) -> bytes:
        """Write `contract.json`: the same fields, indented for people."""
        fields = self._identity()
        if fields.keys() & _later_fields(self):
            fields["format"] = FORMAT  # a reader of format 1 has to refuse it, not call it damaged
        return json.dumps(dict(sorted(fields.items())), indent=2).encode()

    @classmethod
    def from_json(cls, data: str | bytes, where: str) -> Contract:
        """Read what `to_json` or `to_file` wrote.

        Args:
            data: The text, or its bytes.
            where: The path, for messages.

        Returns:
            The contract.

        Raises:
            FormatError: A later featcache wrote it.
            DamageError: It is no contract.
        """
        try:
            fields = schema.parse(data.encode() if isinstance(data, str) else data)
            check_version(fields, where)
            contract = schema.convert(fields, cls)
            _check_order(contract)
        except (schema.SchemaError, UnicodeEncodeError) as error:
            msg = f"{where} is not a contract that can be read: {error}"
            raise DamageError(
                msg, cure="Move this folder away; `featcache extract` makes it anew."
            ) from error
        return contract

    def without_views(self) -> Contract:
        """Blank the layers and poolings: the rest has to be equal for a subset to be a hit."""
        return replace(self, layers=(), poolings=())

    def holds(self, requested: Contract) -> bool:
        """Return True if all else is equal and the requested layers and poolings are included."""
        return (
            self.without_views() == requested.without_views()
            and set(requested.layers) <= set(self.layers)
            and set(requested.poolings) <= set(self.poolings)
        )

    def differences(self, other: Contract) -> dict[str, tuple[Any, Any]]:
        """List what differs, as name -> (this one's value, the other's); empty for equal contracts.

        The configuration is compared key by key: `config.layer_norm_eps`,
        `config.rope_parameters.rope_theta`.
        """
        return dict(_differing("", self._identity(), other._identity()))

    def _identity(self) -> dict[str, Any]:
        """The fields that make the digest: later ones only where they differ from their default."""
        fields = dataclasses.asdict(self)
        for name in _later_fields(self):
            if fields[name] == _default_of(self, name):
                del fields[name]
        return {**fields, "format": FIRST_FORMAT}


def dataset_name(layer: int, pooling: str) -> str:
    """Name the HDF5 dataset of one layer's pooled states, such as `layer_06/mean`."""
    return f"layer_{layer:02d}/{pooling}"


def check_version(fields: Any, where: str) -> None:
    """Refuse a parsed JSON file that says it is of a later format.

    Args:
        fields: The parsed file.
        where: Its path, for the message.

    Raises:
        FormatError: Its `format` is above what this featcache reads.
    """
    version = fields.get("format") if isinstance(fields, dict) else None
    if type(version) is int and FORMAT < version < 1 << 32:
        msg = f"{where} was written in format {version}; this featcache reads up to {FORMAT}"
        raise FormatError(msg, cure="Upgrade: pip install --upgrade featcache")


def _check_order(contract: Contract) -> None:
    if any(layer >= following for layer, following in pairwise(contract.layers)):
        msg = "its layers are not in ascending order"
        raise schema.SchemaError(msg)
    if len(set(contract.poolings)) != len(contract.poolings):
        msg = "it has a pooling twice"
        raise schema.SchemaError(msg)


def _later_fields(contract: Contract) -> set[str]:
    """Names of the fields that came after format 1: those with a default, but for `format`."""
    fields = dataclasses.fields(contract)
    return {field.name for field in fields if field.default is not dataclasses.MISSING} - {"format"}


def _default_of(contract: Contract, name: str) -> Any:
    return next(field.default for field in dataclasses.fields(contract) if field.name == name)


def _differing(
    prefix: str, left: Mapping[str, Any], right: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Compare two objects key by key, and objects inside them in the same way."""
    names = list(dict.fromkeys([*left, *right]))
    for key in sorted(names) if prefix else names:
        here, there = left.get(key, ABSENT), right.get(key, ABSENT)
        if isinstance(here, dict) and isinstance(there, dict):
            yield from _differing(f"{prefix}{key}.", here, there)
        elif (key in left) != (key in right) or _text(here) != _text(there):
            yield prefix + key, (here, there)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
