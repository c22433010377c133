"""The contract: everything that changes a feature, and nothing else.

Two runs share features exactly when their contracts are equal. A path, a hub id, library versions
and the device are provenance: they are recorded with each shard and never compared. The layers and
poolings are the one part in which a space may hold more than was asked for (`holds`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from featcache.errors import DamageError, FormatError

FORMAT = 1
"""Version of everything below a cache folder. Raise it when a reader of the old number would
misread the new files; then keep a reader for the old number, keep `tests/golden/format-1`, and say
so in the changelog.
"""


ABSENT = "(not set)"
"""What `Contract.differences` gives for a key of the configuration that one side does not have."""


@dataclass(frozen=True, eq=False)
class Contract:
    """What determines a feature, given a text. Contracts are equal exactly when their JSON is.

    weights, tokenizer, code: SHA-256 of contents (`code` only where a model brings Python files of
    its own).
    config: the model's configuration without names and library versions.
    layers: ascending; 0 is the embedding output, n the last block after the final norm.
    poolings: in the order of `POOLINGS`.
    """

    weights: str
    config: Mapping[str, Any]
    tokenizer: str
    code: str | None
    special_tokens: bool
    max_length: int
    truncation_side: str
    dtype: str
    quantization: str | None
    layers: tuple[int, ...]
    poolings: tuple[str, ...]
    format: int = FORMAT

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
        """Canonical JSON: sorted keys, no spaces."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, where: str) -> Contract:
        """Read what `to_json` wrote.

        Raises DamageError, naming `where`, for anything else; FormatError for a later version.
        """
        try:
            fields = json.loads(text)
            version = fields["format"]
            if type(version) is int and version > FORMAT:
                msg = (
                    f"{where} was written in format {version}; this featcache reads up to {FORMAT}"
                )
                raise FormatError(msg, cure="Upgrade: pip install --upgrade featcache")
            fields["layers"] = tuple(fields["layers"])
            fields["poolings"] = tuple(fields["poolings"])
            contract = cls(**fields)
            contract._check_types()
            return contract
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            msg = f"{where} is not a contract that can be read: {error}"
            raise DamageError(
                msg, cure="Move this folder away; `featcache extract` makes it anew."
            ) from error

    def without_views(self) -> Contract:
        """This contract with the layers and poolings blanked: what has to be equal for a subset to
        be a hit.
        """
        return replace(self, layers=(), poolings=())

    def holds(self, asked: Contract) -> bool:
        """Whether features of this contract serve `asked`: all else equal, its layers and poolings
        included.
        """
        return (
            self.without_views() == asked.without_views()
            and set(asked.layers) <= set(self.layers)
            and set(asked.poolings) <= set(self.poolings)
        )

    def differences(self, other: Contract) -> dict[str, tuple[Any, Any]]:
        """Fields that differ, each with (this one's, the other's) value; empty exactly for equal
        contracts.

        The configuration is gone through key by key: `config.layer_norm_eps`,
        `config.rope_parameters.rope_theta`.
        """
        mine, theirs = asdict(self), asdict(other)
        return {
            name: pair
            for field in mine
            for name, pair in _differing(field, mine[field], theirs[field])
        }

    def _check_types(self) -> None:
        """Raise TypeError for a field that JSON filled with something else than it holds."""
        texts = (self.weights, self.tokenizer, self.truncation_side, self.dtype, *self.poolings)
        numbers = (self.format, self.max_length, *self.layers)
        if not (
            isinstance(self.config, dict)
            and all(isinstance(one, str) for one in texts)
            and all(type(one) is int for one in numbers)
        ):
            msg = "a field has a value of the wrong type"
            raise TypeError(msg)


def _differing(name: str, mine: Any, theirs: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for key in sorted(mine.keys() | theirs.keys()):
            if key in mine and key in theirs:
                yield from _differing(f"{name}.{key}", mine[key], theirs[key])
            else:
                yield f"{name}.{key}", (mine.get(key, ABSENT), theirs.get(key, ABSENT))
    elif json.dumps(mine, sort_keys=True) != json.dumps(theirs, sort_keys=True):
        yield name, (mine, theirs)


POOLINGS = ("mean", "cls", "last", "max")


def dataset_name(layer: int, pooling: str) -> str:
    """The HDF5 name of one layer's pooled states, such as `layer_06/mean`."""
    return f"layer_{layer:02d}/{pooling}"
