"""Spaces with known rows, ways to damage their files, and a disk that gives out at some call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import featcache.durable
from featcache.cache import layout
from featcache.cache.columns import CachedRows
from featcache.cache.layout import INDEX, Header
from featcache.cache.space import Space
from featcache.cache.upkeep.merge import merge
from featcache.cache.upkeep.repair import Repaired, repair
from featcache.cache.upkeep.verify import SpaceFault, verify
from tests.cache.test_shard import rows
from tests.cache.test_space import make

VIEWS = ("layer_00/mean", "layer_00/cls", "layer_02/mean", "layer_02/cls")
FACTS = ("keys", "n_tokens", "truncated")
CHECKSUMS = ("checksums/keys", *(f"checksums/{view}" for view in VIEWS))
PARTS = (*FACTS, *VIEWS, *CHECKSUMS, *INDEX, "header", "copy", "gaps")
N_ROWS = 7  # of each shard

Truth = dict[bytes, dict[str, NDArray[np.float16]]]


def quiet(_: object = None) -> None:
    """Progress that nobody follows."""


def truth_of(*parts: CachedRows) -> Truth:
    """What a space of these rows has to give: key -> view -> states."""
    return {
        bytes(part.keys[row]): {view: part.features[view][row].astype(np.float16) for view in VIEWS}
        for part in parts
        for row in range(len(part.keys))
    }


def filled(cache: Path, *, shards: int = 3, sealed: bool = False) -> tuple[Space, Truth]:
    """A space of some shards of 7 rows each, or of one sealed file with all of them."""
    space = make(cache)
    parts = [rows(N_ROWS, seed=seed) for seed in range(shards)]
    for day, part in enumerate(parts, 1):
        space.add(part, {"written": f"2026-01-0{day}T00:00:00+00:00"})
    if sealed:
        merge(space, progress=quiet)
    return space.reopened(), truth_of(*parts)


def served(space: Path, truth: Truth) -> set[bytes]:
    """The keys that a newly opened space finds; whatever it gives for them has to be what was
    written.
    """
    opened = Space.open(space)
    keys = np.frombuffer(b"".join(truth), np.uint8).reshape(-1, 16)
    positions = opened.find(keys)
    found = [key for key, position in zip(truth, positions, strict=True) if position >= 0]
    for view in VIEWS:
        layer, pooling = int(view[6:8]), view.split("/")[1]
        got = opened.gather(positions[positions >= 0], layer=layer, pooling=pooling)
        np.testing.assert_array_equal(
            got, np.array([truth[key][view] for key in found]).reshape(got.shape)
        )
    return set(found)


def header_of(path: Path) -> Header:
    data = path.read_bytes()
    return layout.parse(data[: layout.block_size(data[: layout.HEAD])])


def places_of(path: Path, part: str) -> list[int]:
    """A byte in each stretch of a part of a file: of a dataset the one that begins row 3, of the
    gaps one in each.
    """
    header = header_of(path)
    if part == "header":
        return [9, 40]
    if part == "copy":
        return [header.file_bytes - header.user_block + place for place in (9, 40)]
    if part == "gaps":
        return [start + (end - start) // 2 for start, end in header.gaps() if start < end]
    extent = header.datasets[part]
    row = min(3, extent.shape[0] - 1)
    return [extent.offset + row * (extent.n_bytes // extent.shape[0])]


def flip(path: Path, place: int, mask: int = 0x10) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= mask
    path.write_bytes(data)


def key_in_row(path: Path, row: int) -> bytes:
    extent = header_of(path).datasets["keys"]
    return path.read_bytes()[extent.offset + 16 * row : extent.offset + 16 * (row + 1)]


def findings(space: Path, sample: float | None = None) -> tuple[SpaceFault, ...]:
    return verify(space, sample=sample, progress=quiet).findings


def repaired(space: Path) -> Repaired:
    """Repair, after which nothing may be wrong."""
    done = repair(space, progress=quiet)
    assert findings(space) == ()
    assert done.left == ()
    return done


class KilledError(BaseException):
    """The end of a process that is killed."""


class FailingDisk:
    """In the place of `os` in featcache.durable: the call number `at` raises; a killed process
    makes no more calls.
    """

    def __init__(self, at: int, error: BaseException) -> None:
        self._at, self._error = at, error
        self.calls = 0

    @property
    def failed(self) -> bool:
        return self.calls > self._at

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if not callable(real) or name in {
            "close",
            "strerror",
            "statvfs",
            "fspath",
        }:  # the kernel closes all files
            return real

        def call(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls - 1 == self._at or (self.failed and isinstance(self._error, KilledError)):
                raise self._error
            return real(*arguments, **named)

        return call


def at_every_call(
    prepare: Callable[[int], Path], work: Callable[[Path], object], error: BaseException
) -> Iterator[Path]:
    """Let `work` fail at its first call of the disk, its second, …; yields the folder after each
    failure.

    prepare: makes the folder anew.
    """
    from unittest import mock

    number = 0
    while True:
        folder = prepare(number)
        disk = FailingDisk(number, error)
        with mock.patch.object(featcache.durable, "os", disk):
            try:
                work(folder)
            except BaseException as caught:
                if not disk.failed or isinstance(caught, AssertionError):
                    raise
        if not disk.failed:
            assert number > 0, "nothing was written"
            return
        yield folder
        number += 1


def keys_of(names: Sequence[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(names), np.uint8).reshape(-1, 16)
