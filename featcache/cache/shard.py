"""One shard: an immutable HDF5 file of rows, with checksums that need no HDF5 library to check.

`layout.py` and `rules.py` say what the bytes mean, `columns.py` writes them. Reading: `Shard.open`
holds the header to its own checksum and every byte that is not data to the header; data are held to
their checksums when they are read. A file that breaks any rule is refused with DamageError, never
read in part. `checking.py` finds all that is wrong with one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from featcache.cache import layout, rules
from featcache.cache.columns import RaggedRows
from featcache.cache.contract import FORMAT
from featcache.cache.datasets import STEP, offsets_fit, read_pieces, read_rows
from featcache.cache.files import CopiedFile, FileBytes, MappedFile, damaged, opened
from featcache.cache.index import SealedIndex
from featcache.cache.layout import CHECKSUMS, FACTS, INDEX, OFFSETS, ROW_CHECKSUMS, Extent, Header
from featcache.cache.numbers import ragged_checksums, row_checksums, widen
from featcache.errors import CacheMissError, DamageError, FormatError

_WHOLE = 4  # from a quarter of a dataset's rows on, one hash of it all costs less than one a row


@dataclass(frozen=True, eq=False)
class Shard:
    """One shard, opened for reading.

    It keeps its file, so that a merge or `gc` that removes the name takes nothing from an open
    reader; with `hold=False` it opens the file anew each time (a file costs a descriptor, and they
    are few).

    Attributes:
        path: Where the file is.
        header: What its header says.
        mapped: Whether it is read through a memory map, or by copies.
    """

    path: Path
    header: Header
    mapped: bool
    _file: FileBytes | None

    @property
    def contract(self) -> str:
        return self.header.contract

    @property
    def provenance(self) -> Mapping[str, Any]:
        return self.header.provenance

    @property
    def n_rows(self) -> int:
        return self.header.rows

    @property
    def n_bytes(self) -> int:
        return self.header.file_bytes

    @property
    def sealed(self) -> bool:
        return self.header.sealed

    @property
    def views(self) -> tuple[str, ...]:
        return self.header.views

    @property
    def is_addition(self) -> bool:
        """Whether it adds views to rows that are in other files."""
        return self.header.is_addition

    @property
    def hidden_size(self) -> int | None:
        """The width of all its views, or None where they differ."""
        widths = {self.header.width(view) for view in self.views}
        return widths.pop() if len(widths) == 1 else None

    @classmethod
    def open(cls, path: Path, *, hold: bool = True, mapped: bool = True) -> Shard:
        """Check everything but the data: the header, the size, HDF5's metadata.

        Args:
            path: The file.
            hold: Keep it open.
            mapped: Read it through a memory map; else by copies, which a file that is cut short
                meanwhile cannot end with SIGBUS.

        Returns:
            The shard.

        Raises:
            DamageError: Anything does not fit.
            FormatError: A later featcache wrote the file.
            MachineError: It cannot be read.
            FileNotFoundError: It is gone.
        """
        with opened(path) as (handle, size):
            header = _read_header(path, handle, 0)
            if header.file_bytes != size:
                raise damaged(path, f"it has {size:,} bytes instead of {header.file_bytes:,}")
            file: FileBytes = MappedFile(path, handle, size) if mapped else CopiedFile(path, handle)
        shard = cls(path, header, mapped, file if hold else None)
        digest = xxhash.xxh3_64()
        for start, end in header.gaps():
            digest.update(file.piece(start, end).data)
        if digest.hexdigest() != header.rest:
            raise damaged(path, "bytes between its datasets do not match their checksum")
        return shard

    @classmethod
    def open_damaged(cls, path: Path) -> Shard:
        """Open what may be a damaged shard, by its header or the copy, to see what of it is sound.

        Args:
            path: The file.

        Returns:
            The shard, of which only the header and the keys' places are known to be right.

        Raises:
            DamageError: Neither header can be used, or not even the keys are there.
            FormatError: A later featcache wrote the file.
            MachineError: It cannot be read.
            FileNotFoundError: It is gone.
        """
        with opened(path) as (handle, size):
            copies = [size - block for block in layout.USER_BLOCKS if size >= 2 * block]
            for place in (0, *copies):
                with contextlib.suppress(DamageError):
                    header = _read_header(path, handle, place)
                    break
            else:
                raise damaged(path, "neither its header nor the copy of it can be read")
        # Both keep a hostile header from asking for memory without end, too.
        if any(header.datasets[name].end > size for name in (*FACTS, ROW_CHECKSUMS)):
            raise damaged(path, "it is cut off before its keys end")
        extents = header.datasets.values()
        if any(extent.n_bytes // extent.shape[0] > size for extent in extents):
            raise damaged(path, "it is cut off before its first row ends")
        return cls(path, header, mapped=True, _file=None)

    def read(self, name: str) -> NDArray[Any]:
        """Give a whole dataset, mapped where the shard is, and held to its hash.

        Args:
            name: The dataset.

        Returns:
            The array, as it is stored.

        Raises:
            DamageError: It differs.
        """
        array = self._view(name)
        if not self._matches(name, array):
            raise damaged(self.path, f"{name} does not match its checksum")
        return array

    def load(
        self, name: str, *, verify: bool = True, into: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Read a whole dataset into memory, as it is stored.

        Args:
            name: The dataset.
            verify: Hold it to its hash.
            into: An array of its shape and dtype to be filled, instead of a new one.

        Returns:
            The array.

        Raises:
            DamageError: It differs.
        """
        extent = self.extent(name)
        array = np.empty(extent.shape, extent.dtype) if into is None else into
        memory = array.reshape(-1).view(np.uint8)
        file, digest = self._bytes(), xxhash.xxh3_64()
        for start in range(0, len(memory), STEP):
            end = min(start + STEP, len(memory))
            memory[start:end] = file.piece(extent.offset + start, extent.offset + end)
            if verify:
                digest.update(memory[start:end].data)
        if verify and digest.hexdigest() != extent.xxh3:
            raise damaged(self.path, f"{name} does not match its checksum")
        return array

    def gather(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Give rows of a view as float32 (len(rows), H), each held to a checksum.

        Args:
            name: The view.
            rows: Numbers of rows, int64 (M,).

        Returns:
            float32 (M, H).

        Raises:
            DamageError: A row differs; the message names the first.
        """
        self._check_rows(rows)
        extent = self.extent(name)
        if len(rows) * _WHOLE >= self.n_rows:
            states = self._view(name)
            if self._matches(name, states):
                return widen(states[rows])
        # Few rows, or some row is damaged, and perhaps none of those that are needed.
        picked = self._rows(extent, rows)
        expected = self._rows(self.extent(CHECKSUMS + name), rows)
        wrong = np.flatnonzero(row_checksums(picked) != expected)
        if len(wrong):
            raise damaged(self.path, f"row {rows[wrong[0]]} of {name} does not match its checksum")
        return widen(picked)

    def gather_ragged(self, name: str, rows: NDArray[np.int64]) -> RaggedRows:
        """Give rows of a ragged view, their values float32 (T, H), each held to a checksum.

        Args:
            name: The view.
            rows: Numbers of rows, int64 (M,).

        Returns:
            M rows, in the order of `rows`.

        Raises:
            DamageError: A row differs, or the offsets do.
        """
        self._check_rows(rows)
        extent, offsets = self.extent(name), self.offsets(name)
        width = extent.n_bytes // extent.shape[0]
        file = self._bytes()
        pieces = [
            file.piece(
                extent.offset + offsets[row] * width, extent.offset + offsets[row + 1] * width
            )
            for row in rows.tolist()
        ]
        lengths = np.diff(offsets)[rows]
        found = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        data = np.concatenate([np.empty(0, np.uint8), *pieces])
        values = data.view(extent.dtype).reshape(-1, extent.shape[1])
        expected = self._rows(self.extent(CHECKSUMS + name), rows)
        wrong = np.flatnonzero(ragged_checksums(values, found) != expected)
        if len(wrong):
            raise damaged(self.path, f"row {rows[wrong[0]]} of {name} does not match its checksum")
        return RaggedRows(widen(values), found)

    def offsets(self, name: str) -> NDArray[np.int64]:
        """Where each row begins in a ragged view, and the end of the last; int64 (n_rows + 1,).

        Args:
            name: The view.

        Returns:
            int64 (n_rows + 1,).

        Raises:
            DamageError: They do not match their hash, or lead out of the view.
        """
        stored = self.load(OFFSETS + name)
        self.check_offsets(name, stored)
        return stored.astype(np.int64)

    def check_offsets(self, name: str, offsets: NDArray[np.uint64]) -> None:
        """Refuse offsets that do not lead through a ragged view from its beginning to its end.

        Args:
            name: The view.
            offsets: As they are stored, (n_rows + 1,).

        Raises:
            DamageError: They do not.
        """
        if offsets_fit(offsets, self.extent(name)):
            return
        raise damaged(self.path, f"{OFFSETS}{name} do not lead through {name}")

    def some(self, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Give rows of any dataset as they are stored, not checked; read and not mapped."""
        with opened(self.path) as (handle, _):
            return read_rows(CopiedFile(self.path, handle), self.extent(name), rows)

    def index(self) -> SealedIndex:
        """Open the index of a sealed file; its blocks are checked when they are used."""
        entries, first, checksums = INDEX
        return SealedIndex(
            self._view(entries),
            self.load(first),
            self.load(checksums),
            lambda what: damaged(self.path, what),
        )

    def extent(self, name: str) -> Extent:
        """Where a dataset lies.

        Args:
            name: The dataset.

        Returns:
            Its place, shape and kind.

        Raises:
            DamageError: The file has no such dataset.
        """
        if name not in self.header.datasets:
            raise damaged(self.path, f"it holds no {name}")
        return self.header.datasets[name]

    def pieces(self, name: str) -> Iterator[NDArray[Any]]:
        """Read a dataset from its first row to its last in pieces of about 1 MiB, not checked.

        Args:
            name: The dataset.

        Yields:
            NDArray[Any]: Some rows, as they are stored.

        Raises:
            MachineError: The disk fails.
        """
        with opened(self.path) as (handle, _):
            yield from (piece for _, piece in read_pieces(handle, self.extent(name)))

    def gap_bytes(self) -> Iterator[bytes]:
        """Read what lies between the datasets, as it is on the disk.

        Yields:
            bytes: The bytes of one gap, as far as the file reaches.

        Raises:
            MachineError: The disk fails.
        """
        with opened(self.path) as (handle, size):
            for start, end in self.header.gaps():
                if start < min(end, size):
                    yield os.pread(handle, min(end, size) - start, start)

    def _check_rows(self, rows: NDArray[np.int64]) -> None:
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.n_rows:
            raise damaged(self.path, f"its index leads to row {rows.max()} of {self.n_rows}")

    def _rows(self, extent: Extent, rows: NDArray[np.int64]) -> NDArray[Any]:
        return read_rows(self._bytes(), extent, rows)

    def _view(self, name: str) -> NDArray[Any]:
        extent = self.extent(name)
        data = self._bytes().piece(extent.offset, extent.end)
        return data.view(extent.dtype).reshape(extent.shape)

    def _matches(self, name: str, array: NDArray[Any]) -> bool:
        digest = xxhash.xxh3_64_hexdigest(array.reshape(-1).view(np.uint8).data)
        return digest == self.header.datasets[name].xxh3

    def _bytes(self) -> FileBytes:
        if self._file is not None:
            return self._file
        with contextlib.suppress(FileNotFoundError):
            again = Shard.open(self.path, mapped=self.mapped)
            file = again._file  # noqa: SLF001 - a field of this class
            if again.header == self.header and file is not None:
                return file
        msg = f"{self.path} was removed while it was being read, by a merge, repair or gc"
        raise CacheMissError(msg, cure="Run the same command again.")


def _read_header(path: Path, handle: int, place: int) -> Header:
    try:
        user_block = layout.block_size(os.pread(handle, layout.HEAD, place))
        header = layout.parse(os.pread(handle, user_block, place))
        rules.check(header)
    except layout.NewerFormatError as error:
        msg = f"{path} was written in format {error}; this featcache reads up to {FORMAT}"
        raise FormatError(msg, cure="Upgrade: pip install --upgrade featcache") from error
    except layout.MalformedError as error:
        raise damaged(path, str(error)) from error
    return header
