"""A small JSON file beside the spaces that remembers what is slow to find out again: digests of
large files.

Nothing in it is trusted for correctness: an entry counts only while path, size, mtime, ctime and
inode of the file are what they were, and a memo that is lost or damaged is simply made again.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from featcache.durable import read_small, write_durably
from featcache.errors import MachineError

_NAME = "memo.json"


@dataclass
class Memo:
    """A mapping of strings. `save` writes it into the cache folder when something was added."""

    entries: dict[str, str] = field(default_factory=dict)
    changed: bool = False

    @classmethod
    def load(cls, cache: Path) -> Memo:
        """The memo of a cache folder; empty where there is none that can be read."""
        try:
            entries = json.loads(read_small(cache / _NAME))
        except (OSError, ValueError, RecursionError):
            return cls()
        valid = isinstance(entries, dict) and all(
            isinstance(value, str) for value in entries.values()
        )
        return cls(entries if valid else {})

    def get(self, key: str) -> str | None:
        """What was remembered, or None."""
        return self.entries.get(key)

    def put(self, key: str, value: str) -> None:
        """Remember a value until `save`."""
        self.entries[key] = value
        self.changed = True

    def save(self, cache: Path) -> None:
        """Write the memo where the cache folder exists; failing to is no harm and says nothing."""
        if self.changed and cache.is_dir():
            with contextlib.suppress(MachineError):
                write_durably(
                    cache, _NAME, json.dumps(self.entries, indent=1, sort_keys=True).encode()
                )
