"""Who has read which test rows: one JSON line for each choice scored on them, in a file beside the
space.

A test score is honest once. Whoever tries again after seeing it, and reports the better one, has
chosen on test rows; the ledger cannot forbid that, but it makes a second choice on the same rows
known. It is a help to honest people, no
proof: it is a file that anyone may remove.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_SUFFIX = ".tests.jsonl"


@dataclass(frozen=True)
class LedgerEntry:
    """One choice scored on test rows. test: hash of their keys and labels; choice: the head; when:
    UTC, ISO 8601.
    """

    test: str
    label: str
    choice: str
    when: str
    run: str


def test_name(keys: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
    """16 hex digits that stand for test rows, in whatever order: keys uint8 (N, 16) and class
    numbers (N,).
    """
    rows = sorted(
        bytes(key) + int(label).to_bytes(8, "little")
        for key, label in zip(keys, labels, strict=True)
    )
    return hashlib.blake2b(b"".join(rows), digest_size=8).hexdigest()


def earlier_choices(space: Path, reading: LedgerEntry) -> list[LedgerEntry]:
    """Other choices that were scored on the same rows before, each once, oldest first. Damaged
    lines are skipped.
    """
    found: dict[str, LedgerEntry] = {}
    with contextlib.suppress(OSError):
        for line in _file(space).read_bytes().split(b"\n"):
            with contextlib.suppress(ValueError, TypeError):
                one = LedgerEntry(**json.loads(line))
                if (one.test, one.label) == (
                    reading.test,
                    reading.label,
                ) and one.choice != reading.choice:
                    found.setdefault(one.choice, one)
    return list(found.values())


def enter(space: Path, reading: LedgerEntry) -> bool:
    """Add a line, safely beside other processes. Returns whether that worked: a cache may be
    read-only.
    """
    line = (json.dumps(asdict(reading), ensure_ascii=False) + "\n").encode()
    try:
        handle = os.open(
            _file(space), os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644
        )
        try:
            size = os.lseek(handle, 0, os.SEEK_END)
            if (
                size and os.pread(handle, 1, size - 1) != b"\n"
            ):  # a line was torn: ours is to stand apart from it
                line = b"\n" + line
            os.write(handle, line)  # one call: lines of two processes do not mix
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError:
        return False
    return True


def _file(space: Path) -> Path:
    return space.parent / f"{space.name}{_SUFFIX}"
