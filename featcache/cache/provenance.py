"""What made a shard's rows: recorded with each shard, shown to people, never compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ORIGIN_FIELD = "origin"  # of a provenance: what `repair` makes a lost origin.json from
_MERGED = "merged"
_COUNTED = {"written", "since", "rows"}


def environments(
    provenances: Sequence[Mapping[str, Any]], n_rows: Sequence[int]
) -> list[dict[str, Any]]:
    """Each environment that computed rows once: its facts, its `rows`, and `since` when until when
    it `written`.

    provenances, n_rows: of shards; a merged shard brings several environments.
    """
    known: dict[str, dict[str, Any]] = {}
    for provenance, rows in zip(provenances, n_rows, strict=True):
        merged = provenance.get(_MERGED)
        for one in merged if isinstance(merged, list) else [{**provenance, "rows": rows}]:
            facts = {
                name: value for name, value in one.items() if name not in {*_COUNTED, ORIGIN_FIELD}
            }
            written = str(one.get("written", ""))
            so_far = known.setdefault(
                repr(sorted(facts.items())), {**facts, "rows": 0, "since": written, "written": ""}
            )
            so_far["rows"] += one["rows"]
            so_far["since"] = min(so_far["since"], str(one.get("since", written)))
            so_far["written"] = max(so_far["written"], written)
    return list(known.values())


def merged(provenances: Sequence[Mapping[str, Any]], n_rows: Sequence[int]) -> dict[str, Any]:
    """The provenance of a file made of several shards."""
    origins = [one[ORIGIN_FIELD] for one in provenances if ORIGIN_FIELD in one]
    return {
        _MERGED: environments(provenances, n_rows),
        **({ORIGIN_FIELD: origins[0]} if origins else {}),
    }
