"""Writes the JSON Schema of `result.json`, which `fit-heads --json` prints too, from its classes.

python docs/schemas/make.py
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from featcache.runs.schema import RunRecord

PLACE = Path(__file__).parent / "result.schema.json"


def schema_text() -> str:
    """Return the schema as it stands in the file."""
    return json.dumps(msgspec.json.schema(RunRecord), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PLACE.write_text(schema_text(), "utf-8")
