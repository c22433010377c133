"""HDF5 files whose bytes our own code writes: libhdf5 only lays them out, in memory.

libhdf5 never calls fsync, leaves unreadable files when it is killed, and crashes the process on a
full disk. So it has two tasks only: to say where everything belongs (`lay_out`, which takes a few
KiB of memory whatever the size of the data), and to read a file that is on the disk, to see whether
it is what its header says (`differences`).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

ALIGNMENT = 64  # bytes: a cache line, and the width of an AVX-512 register
_DEEPEST = 2  # of folders in a file: checksums/layer_06/mean


@dataclass(frozen=True)
class Hdf5Layout:
    """An HDF5 file without its data.

    Attributes:
        offsets: Where each dataset begins, in bytes from the beginning of the file.
        n_bytes: The size of the file.
    """

    offsets: Mapping[str, int]
    n_bytes: int
    _metadata: Mapping[int, bytes]

    def read(self, start: int, end: int) -> bytes:
        """Give the bytes from `start` to `end`, zero where libhdf5 put nothing."""
        filled = bytearray(end - start)
        for offset, piece in self._metadata.items():
            first, last = max(offset, start), min(offset + len(piece), end)
            if first < last:
                filled[first - start : last - start] = piece[first - offset : last - offset]
        return bytes(filled)


def lay_out(
    datasets: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]],
    attributes: Mapping[str, str],
    user_block: int = 0,
) -> Hdf5Layout:
    """Lay out a file of contiguous, aligned datasets.

    Args:
        datasets: Name -> shape and dtype.
        attributes: Name -> text, of the file itself.
        user_block: Bytes to leave free at the beginning; 0, or a power of two from 512.

    Returns:
        The layout, with all bytes of the file but the data.
    """
    stream, offsets = _Sparse(), {}
    options: dict[str, Any] = {"alignment_threshold": 1, "alignment_interval": ALIGNMENT}
    if user_block:
        options["userblock_size"] = user_block
    with h5py.File(stream, "w", libver="earliest", **options) as file:
        for name, text in attributes.items():
            file.attrs[name] = text
        links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
        links.set_create_intermediate_group(True)
        for name, (shape, dtype) in datasets.items():
            settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            settings.set_layout(h5py.h5d.CONTIGUOUS)
            # Each dataset has its place from the start and no zeros are written into it, so only
            # the metadata reach the stream.
            settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            settings.set_obj_track_times(False)
            kind = h5py.h5t.py_create(dtype, logical=True)
            made = h5py.h5d.create(
                file.id,
                name.encode(),
                kind,
                h5py.h5s.create_simple(shape),
                dcpl=settings,
                lcpl=links,
            )
            offsets[name] = made.get_offset()
    return Hdf5Layout(offsets, stream.size, stream.pieces)


class _Sparse(io.RawIOBase):
    """A file in memory that keeps what was written and nothing of what lies between."""

    def __init__(self) -> None:
        self.pieces: dict[int, bytes] = {}
        self.size = 0
        self._place = 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self.pieces.pop(self._place, None)  # so that the latest comes last
        self.pieces[self._place] = piece
        self._place += len(piece)
        self.size = max(self.size, self._place)
        return len(piece)

    def readinto(self, buffer: Any) -> int:
        piece = Hdf5Layout({}, self.size, self.pieces).read(self._place, self._place + len(buffer))
        buffer[:] = piece
        self._place += len(piece)
        return len(piece)

    def truncate(self, size: int | None = None) -> int:
        self.size = self._place if size is None else size
        return self.size


def differences(
    path: Path, datasets: Mapping[str, tuple[int, tuple[int, ...], np.dtype[Any]]]
) -> list[str]:
    """List what an HDF5 reader would see otherwise than a file's header says.

    A file can be sound byte for byte and still lie to h5py: a link that leads to another file, data
    kept elsewhere, a virtual dataset whose sources are gone and read as zeros.

    Args:
        path: The file.
        datasets: Name -> offset, shape and dtype.

    Returns:
        The differences, each in words; empty where there are none.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            problems: list[str] = []
            names = _names(file, "", problems)
            extra = sorted(names - set(datasets))
            problems += [f"it has {name}, which its header does not" for name in extra]
            problems += [f"it lacks {name}" for name in sorted(set(datasets) - names)]
            for name in sorted(names & set(datasets)):
                if not _is_as_stated(file[name], *datasets[name]):
                    problems.append(f"HDF5 has another {name} than its header")
            return problems
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        return [f"HDF5 cannot read it: {error}"]


def _is_as_stated(
    dataset: h5py.Dataset, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> bool:
    """Return True if a dataset lies in the file itself, in one piece, as stated."""
    settings = dataset.id.get_create_plist()
    if settings.get_layout() != h5py.h5d.CONTIGUOUS or settings.get_external_count():
        return False
    same_place = dataset.id.get_offset() == offset
    return bool(same_place and dataset.shape == shape and dataset.dtype == dtype)


def _names(group: h5py.Group, prefix: str, problems: list[str]) -> set[str]:
    """List the datasets below a group; links other than hard ones become `problems`."""
    names: set[str] = set()
    if prefix.count("/") > _DEEPEST:  # hard links can go in circles
        problems.append(f"{prefix} is too deep")
        return names
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            problems.append(f"{prefix}{name} is a link")
        elif isinstance(group[name], h5py.Group):
            names |= _names(group[name], f"{prefix}{name}/", problems)
        else:
            names.add(f"{prefix}{name}")
    return names
