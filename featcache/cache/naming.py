"""The names of shards, by which a space's folder is read."""

from __future__ import annotations

import uuid
from pathlib import Path

SUFFIX = ".h5"
SEALED = "features.h5"


def shard_name() -> str:
    """Make a name that no other shard has, so that no writer can replace a file of another."""
    return f"shard-{uuid.uuid4().hex}{SUFFIX}"


def shard_files(folder: Path) -> list[Path]:
    """List the files of a folder that are shards by their names, sorted, without hidden ones."""
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))
