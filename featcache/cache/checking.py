"""All that is wrong with a shard, part by part, and which rows it spoils.

The file is read, not mapped: a bad sector is an error, not a crash.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from featcache.cache.datasets import STEP, offsets_fit, read_pieces
from featcache.cache.files import damaged, opened
from featcache.cache.hdf5 import differences
from featcache.cache.layout import CHECKSUMS, FACTS, OFFSETS, ROW_CHECKSUMS
from featcache.cache.numbers import fact_checksums, row_checksums
from featcache.cache.shard import Shard

Progress = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Fault:
    """One thing that is wrong with a shard.

    Attributes:
        what: In words.
        rows: The rows that it spoils, bool (N,); none where all can be mended.
        dataset: The one that does not match its hash, or None where it is something else.
    """

    what: str
    rows: NDArray[np.bool_]
    dataset: str | None = None


def unheard(n_bytes: int) -> None:
    """Progress that nobody follows."""


def verify_shard(shard: Shard, progress: Progress = unheard) -> None:
    """Hold every byte of a shard to its checksum, and HDF5's view of the file to the header's.

    Args:
        shard: The shard.
        progress: Called with the bytes read since it was last called.

    Raises:
        DamageError: Something is wrong; the message says the first thing.
        MachineError: The disk fails.
    """
    for fault in faults(shard, progress):
        raise damaged(shard.path, fault.what)


def faults(shard: Shard, progress: Progress = unheard) -> Iterator[Fault]:
    """Find all that is wrong with a shard.

    Args:
        shard: The shard, opened by whichever of its headers is sound.
        progress: Called with the bytes read since it was last called.

    Yields:
        Fault: Each fault, in the order of the file's parts.

    Raises:
        MachineError: The disk fails.
    """
    sound = True
    with opened(shard.path) as (handle, size):
        for fault in _part_faults(shard, handle, size, progress):
            sound = False
            yield fault
    if sound:  # libhdf5 gets to see only what is what we wrote
        extents = shard.header.datasets
        places = {
            name: (extent.offset, extent.shape, extent.dtype) for name, extent in extents.items()
        }
        for what in differences(shard.path, places):
            yield Fault(what, _no_rows(shard))


def _part_faults(shard: Shard, handle: int, size: int, progress: Progress) -> Iterator[Fault]:
    header = shard.header
    if size != shard.n_bytes:
        yield Fault(f"it has {size:,} bytes instead of {shard.n_bytes:,}", _no_rows(shard))
    for name, extent in header.datasets.items():
        if _hash(handle, [(extent.offset, extent.end)], progress) != extent.xxh3:
            spoiled = _spoiled(shard, handle, name)
            what = f"{name} does not match its checksum{_where(spoiled)}"
            yield Fault(what, spoiled, name)
        elif name.startswith(OFFSETS):
            values = header.datasets[name.removeprefix(OFFSETS)]
            if not offsets_fit(_whole(shard, handle, name), values):
                yield Fault(f"{name} do not lead through their values", ~_no_rows(shard), name)
    if _hash(handle, list(header.gaps()), progress) != header.rest:
        yield Fault("bytes between its datasets do not match their checksum", _no_rows(shard))
    copy_place = shard.n_bytes - header.user_block
    for what, place in (("header", 0), ("copy of its header", copy_place)):
        if os.pread(handle, header.user_block, place) != header.block:
            yield Fault(f"the {what} does not match the checksum", _no_rows(shard))


def _where(spoiled: NDArray[np.bool_]) -> str:
    if not spoiled.any():
        return ""
    return f" in {spoiled.sum():,} of its rows, first in row {np.argmax(spoiled)}"


def _spoiled(shard: Shard, handle: int, name: str) -> NDArray[np.bool_]:
    """The rows that a damaged dataset spoils; none where it is made from others."""
    if name in shard.views:
        if shard.header.is_ragged(name):
            spoiled = _spoiled_ragged(shard, handle, name)
        else:
            spoiled = _no_rows(shard)
            expected = _whole(shard, handle, CHECKSUMS + name)
            for start, piece in read_pieces(handle, shard.extent(name)):
                end = start + len(piece)
                spoiled[start:end] = row_checksums(piece) != expected[start:end]
    elif name in FACTS:
        facts = [_whole(shard, handle, fact) for fact in FACTS]
        spoiled = fact_checksums(*facts) != _whole(shard, handle, ROW_CHECKSUMS)
    else:
        return ~_no_rows(shard) if name.startswith(OFFSETS) else _no_rows(shard)
    # Where no row's checksum tells which, none of them can be trusted.
    return spoiled if spoiled.any() else ~spoiled


def _spoiled_ragged(shard: Shard, handle: int, name: str) -> NDArray[np.bool_]:
    offsets = _whole(shard, handle, OFFSETS + name)
    if not offsets_fit(offsets, shard.extent(name)):
        return ~_no_rows(shard)
    extent = shard.extent(name)
    width = extent.n_bytes // extent.shape[0]
    spoiled = _no_rows(shard)
    for row, expected in enumerate(_whole(shard, handle, CHECKSUMS + name).tolist()):
        start, end = int(offsets[row]) * width, int(offsets[row + 1]) * width
        data = os.pread(handle, end - start, extent.offset + start)
        spoiled[row] = xxhash.xxh3_64_intdigest(data) != expected
    return spoiled


def _no_rows(shard: Shard) -> NDArray[np.bool_]:
    return np.zeros(shard.n_rows, dtype=np.bool_)


def _whole(shard: Shard, handle: int, name: str) -> NDArray[Any]:
    return np.concatenate([piece for _, piece in read_pieces(handle, shard.extent(name))])


def _hash(handle: int, spans: list[tuple[int, int]], progress: Progress) -> str:
    """The xxh3-64 of stretches of a file, as far as it reaches."""
    digest = xxhash.xxh3_64()
    for start, end in spans:
        for place in range(start, end, STEP):
            data = os.pread(handle, min(STEP, end - place), place)
            if not data:  # cut off
                break
            digest.update(data)
            progress(len(data))
    return digest.hexdigest()
