"""Who has read which test rows: one JSON line for each choice scored on them, beside the space.

A test score is honest once. Whoever tries again after seeing it, and reports the better one, has
chosen on test rows; the ledger cannot forbid that, but it makes a second choice on the same rows
known. It is a help to honest people, no proof: it is a file that anyone may remove.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache import schema
from featcache.durable import read_small

_SUFFIX = ".tests.jsonl"
_MOST_BYTES = 64 << 20  # some 200,000 choices


@dataclass(frozen=True)
class LedgerEntry:
    """One choice scored on test rows.

    Attributes:
        test: The hash of the rows' keys and labels.
        label: The name of the label.
        choice: The head, in words.
        when: UTC, ISO 8601.
        run: Where the run was written.
    """

    test: str
    label: str
    choice: str
    when: str
    run: str


def test_name(keys: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
    """Make the 16 hex digits that stand for test rows, in whatever order.

    Args:
        keys: uint8 (N, 16).
        labels: Class numbers, (N,).

    Returns:
        The name.
    """
    rows = sorted(
        bytes(key) + int(label).to_bytes(8, "little")
        for key, label in zip(keys, labels, strict=True)
    )
    return hashlib.blake2b(b"".join(rows), digest_size=8).hexdigest()


def earlier_choices(space: Path, entry: LedgerEntry) -> list[LedgerEntry]:
    """List other choices that were scored on the same rows before, each once, oldest first.

    Damaged lines are skipped, and so is a file that is none or has more than 64 MiB.

    Args:
        space: The folder of the space.
        entry: The choice that is about to be scored.

    Returns:
        The choices.
    """
    choices: dict[str, LedgerEntry] = {}
    with contextlib.suppress(OSError, ValueError):
        for line in read_small(_file(space), _MOST_BYTES).split(b"\n"):
            with contextlib.suppress(schema.SchemaError):
                earlier = schema.read(line, LedgerEntry)
                same_rows = (earlier.test, earlier.label) == (entry.test, entry.label)
                if same_rows and earlier.choice != entry.choice:
                    choices.setdefault(earlier.choice, earlier)
    return list(choices.values())


def enter(space: Path, entry: LedgerEntry) -> bool:
    """Add a line, safely beside other processes.

    Args:
        space: The folder of the space.
        entry: The choice that is scored.

    Returns:
        Whether that worked: a cache may be read-only.
    """
    line = (json.dumps(asdict(entry), ensure_ascii=False) + "\n").encode("utf-8", "replace")
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        handle = os.open(_file(space), flags, 0o644)
        try:
            facts = os.fstat(handle)
            if not stat.S_ISREG(facts.st_mode):
                return False
            if facts.st_size and os.pread(handle, 1, facts.st_size - 1) != b"\n":
                line = b"\n" + line  # a line was torn: ours is to stand apart from it
            os.write(handle, line)  # one call: lines of two processes do not mix
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError:
        return False
    return True


def _file(space: Path) -> Path:
    return space.parent / f"{space.name}{_SUFFIX}"
