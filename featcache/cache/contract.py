"""The contract: everything that changes a feature, and nothing else.

Two runs share features exactly when their contracts are equal. A path, a hub id, library versions and the
device are provenance: they are recorded with each shard and never compared. The layers and poolings are
the one part in which a space may hold more than was asked for (`holds`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from featcache.errors import DamageError

FORMAT = 1
"""Version of everything below a cache folder. Raise it when a reader of the old number would misread the
new files; then keep a reader for the old number, keep `tests/golden/format-1`, and say so in the changelog."""


@dataclass(frozen=True)
class Contract:
    """What determines a feature, given a text.

    weights, tokenizer, code: SHA-256 of contents (`code` only where a model brings Python files of its own).
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

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, 64 hex digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, where: str) -> Contract:
        """Read what `to_json` wrote. Raises DamageError, naming `where`, for anything else."""
        try:
            fields = json.loads(text)
            if fields["format"] != FORMAT:
                msg = f"{where} was written in format {fields['format']}; this featcache reads format {FORMAT}"
                raise DamageError(msg, cure="Upgrade: pip install --upgrade featcache")
            fields["layers"] = tuple(fields["layers"])
            fields["poolings"] = tuple(fields["poolings"])
            return cls(**fields)
        except (ValueError, KeyError, TypeError) as error:
            msg = f"{where} is not a contract that can be read: {error}"
            raise DamageError(msg, cure="Move this folder away; `featcache extract` makes it anew.") from error

    def without_views(self) -> Contract:
        """This contract with the layers and poolings blanked: what has to be equal for a subset to be a hit."""
        return replace(self, layers=(), poolings=())

    def holds(self, asked: Contract) -> bool:
        """Whether features of this contract serve `asked`: all else equal, its layers and poolings included."""
        return (
            self.without_views() == asked.without_views()
            and set(asked.layers) <= set(self.layers)
            and set(asked.poolings) <= set(self.poolings)
        )

    def differences(self, other: Contract) -> dict[str, tuple[Any, Any]]:
        """Fields that differ, each with (this one's, the other's) value."""
        mine, theirs = asdict(self), asdict(other)
        return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}


POOLINGS = ("mean", "cls", "last", "max")


def dataset_name(layer: int, pooling: str) -> str:
    """The HDF5 name of one layer's pooled states, such as `layer_06/mean`."""
    return f"layer_{layer:02d}/{pooling}"
