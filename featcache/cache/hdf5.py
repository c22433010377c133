"""HDF5 without letting libhdf5 near the disk: it lays out a file in memory, our own code writes the
bytes.

libhdf5 never calls fsync, leaves unreadable files when it is killed and crashes the process on a
full disk. So it is only asked where everything belongs (`lay_out`, a few KiB of memory whatever the
size of the data), and whether a file that is on the disk is what we think it is (`differences`).
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
    """An HDF5 file without its data. offsets: of each dataset, from the beginning of the file;
    n_bytes: its end.
    """

    offsets: Mapping[str, int]
    n_bytes: int
    _metadata: Mapping[int, bytes]

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end`, zero where libhdf5 put nothing."""
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
    """Lay out contiguous, aligned datasets of given shapes and dtypes, and text attributes of the
    file.

    user_block: bytes to leave free at the beginning; 0, or a power of two from 512.
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
            # A place from the start, and no zeros written into it: only the metadata reach the
            # stream.
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
    """What an HDF5 reader would see otherwise than stated: name -> (offset, shape, dtype).

    A file can be sound byte for byte and still lie to h5py: a link that leads to another file, data
    kept elsewhere, a virtual dataset whose sources are gone and read as zeros.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            found: list[str] = []
            names = _names(file, "", found)
            found += [
                f"it has {name}, which its header does not"
                for name in sorted(names - set(datasets))
            ]
            found += [f"it lacks {name}" for name in sorted(set(datasets) - names)]
            for name in sorted(names & set(datasets)):
                offset, shape, dtype = datasets[name]
                one = file[name]
                settings = one.id.get_create_plist()
                plain = (
                    settings.get_layout() == h5py.h5d.CONTIGUOUS
                    and not settings.get_external_count()
                )
                if (
                    not plain
                    or one.id.get_offset() != offset
                    or one.shape != shape
                    or one.dtype != dtype
                ):
                    found.append(f"HDF5 has another {name} than its header")
            return found
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        return [f"HDF5 cannot read it: {error}"]


def _names(group: h5py.Group, prefix: str, found: list[str]) -> set[str]:
    """Names of the datasets below a group; links that are not hard ones go to `found` and are not
    followed.
    """
    names: set[str] = set()
    if prefix.count("/") > _DEEPEST:  # hard links can go in circles
        found.append(f"{prefix} is too deep")
        return names
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            found.append(f"{prefix}{name} is a link")
        elif isinstance(group[name], h5py.Group):
            names |= _names(group[name], f"{prefix}{name}/", found)
        else:
            names.add(f"{prefix}{name}")
    return names
