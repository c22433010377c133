"""Where a space's backbone was found when the space was made: provenance, never identity."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from featcache import schema
from featcache.cache.contract import MOST_LAYERS

MOST_WIDTH = 1 << 24  # numbers in one vector; the widest model today has 16,384


@dataclass(frozen=True)
class BackboneOrigin:
    """What `origin.json` says.

    Attributes:
        backbone: A path or a hub id.
        hidden_size: The width of the model's states.
        n_layers: Its blocks, without the embedding output.
        limit: The most tokens of one text; None without a limit.
    """

    backbone: str
    hidden_size: Annotated[int, Meta(ge=1, le=MOST_WIDTH)]
    n_layers: Annotated[int, Meta(ge=0, le=MOST_LAYERS)]
    limit: Annotated[int, Meta(ge=1, lt=1 << 62)] | None

    @classmethod
    def from_json(cls, data: bytes) -> BackboneOrigin:
        """Read what `to_json` wrote.

        Args:
            data: The bytes of the file.

        Returns:
            The origin.

        Raises:
            SchemaError: It is something else.
        """
        return schema.read(data, cls)

    def to_json(self) -> str:
        """Write the file, indented for people."""
        return json.dumps(vars(self), indent=2, sort_keys=True)
