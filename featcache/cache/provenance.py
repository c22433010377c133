"""What made a shard's rows: recorded with each shard, shown to people, never compared.

A provenance is one flat JSON object. A few of its keys are known here and have to be of their type;
all others are facts about the machine and the libraries, which may change with every release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from featcache import schema
from featcache.cache.origin import BackboneOrigin

ORIGIN_FIELD = "origin"  # what `repair` makes a lost origin.json from
_MERGED = "merged"


class _Known(msgspec.Struct, frozen=True):
    """The keys of a provenance that are read.

    Attributes:
        written: When the rows came in, in ISO form and UTC.
        since: When the first of them did, where they came in over some time.
        rows: How many rows it is about; only in the parts of a merged one.
        origin: Where the backbone was.
        merged: The environments that computed the rows of a merged file.
    """

    written: str = ""
    since: str | None = None
    rows: Annotated[int, Meta(ge=1, lt=1 << 62)] | None = None
    origin: BackboneOrigin | None = None
    merged: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class Provenance:
    """What made the rows of one shard.

    Attributes:
        known: The keys that have a meaning here.
        facts: All others: device, versions, threads.
    """

    known: _Known
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Provenance:
        """Read the JSON object of a shard's header.

        Args:
            fields: The object.

        Returns:
            The provenance.

        Raises:
            SchemaError: A known key has a value that it cannot have.
        """
        names = set(_Known.__struct_fields__)
        known = {name: value for name, value in fields.items() if name in names}
        facts = {name: value for name, value in fields.items() if name not in names}
        provenance = cls(schema.convert(known, _Known), facts)
        for part in provenance.known.merged or []:
            cls.of({**part, _MERGED: None})
        return provenance

    @property
    def origin(self) -> BackboneOrigin | None:
        return self.known.origin

    def parts(self, n_rows: int) -> list[tuple[Provenance, int]]:
        """List the environments that made the rows, each with the rows that it made."""
        if self.known.merged is None:
            return [(self, n_rows)]
        parts = [Provenance.of({**part, _MERGED: None}) for part in self.known.merged]
        return [(part, part.known.rows or 0) for part in parts]


def environments(
    provenances: Sequence[Mapping[str, Any]], n_rows: Sequence[int]
) -> list[dict[str, Any]]:
    """List each environment that computed rows once.

    Args:
        provenances: Of shards; a merged shard brings several environments.
        n_rows: The rows of each shard.

    Returns:
        For each environment its facts, its `rows`, and `since` when until when they were `written`.
    """
    environments: dict[str, dict[str, Any]] = {}
    for fields, rows in zip(provenances, n_rows, strict=True):
        for part, part_rows in Provenance.of(fields).parts(rows):
            written = part.known.written
            name = repr(sorted(part.facts.items()))
            fresh = {**part.facts, "rows": 0, "since": written, "written": ""}
            environment = environments.setdefault(name, fresh)
            environment["rows"] += part_rows
            environment["since"] = min(environment["since"], part.known.since or written)
            environment["written"] = max(environment["written"], written)
    return list(environments.values())


def merged(provenances: Sequence[Mapping[str, Any]], n_rows: Sequence[int]) -> dict[str, Any]:
    """Make the provenance of a file that holds the rows of several shards."""
    fields: dict[str, Any] = {_MERGED: environments(provenances, n_rows)}
    for provenance in provenances:
        if ORIGIN_FIELD in provenance:
            return {**fields, ORIGIN_FIELD: provenance[ORIGIN_FIELD]}
    return fields
