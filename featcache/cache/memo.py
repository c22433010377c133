"""A small JSON file beside the spaces: digests of large files, which are slow to work out again.

Nothing in it is trusted for correctness: an entry counts only while path, size, mtime, ctime and
inode of the file are what they were, and a memo that is lost or damaged is simply made again.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from featcache import schema
from featcache.durable import read_small, write_durably
from featcache.errors import MachineError

_NAME = "memo.json"


@dataclass
class Memo:
    """A mapping of strings that `save` writes into the cache folder when something was added.

    Attributes:
        entries: What is remembered, by name.
        changed: Whether something was added since it was read.
    """

    entries: dict[str, str] = field(default_factory=dict)
    changed: bool = False

    @classmethod
    def load(cls, cache: Path) -> Memo:
        """Read the memo of a cache folder; it is empty where there is none that can be read."""
        try:
            return cls(schema.read(read_small(cache / _NAME), dict[str, str]))
        except (OSError, ValueError):
            return cls()

    def get(self, key: str) -> str | None:
        """Give what was remembered, or None."""
        return self.entries.get(key)

    def put(self, key: str, value: str) -> None:
        """Remember a value until `save`."""
        self.entries[key] = value
        self.changed = True

    def save(self, cache: Path) -> None:
        """Write the memo where the cache folder exists; failing to is no harm and says nothing."""
        if self.changed and cache.is_dir():
            text = json.dumps(self.entries, indent=1, sort_keys=True)
            with contextlib.suppress(MachineError):
                write_durably(cache, _NAME, text.encode())
