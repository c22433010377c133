"""One shard: an immutable HDF5 file of rows, with checksums that need no HDF5 library to check.

`layout.py` says what the bytes mean, `columns.py` writes them. Reading: `Shard.open` holds the
header to its own checksum and every byte that is not data to the header, then memory-maps; data are
held to their checksums when they are read. A file that breaks any rule is refused with DamageError,
never read in part.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from featcache.cache import layout
from featcache.cache.columns import (
    CachedRows,
    fact_checksums,
    row_checksums,
    widen,
    write_shard_file,
)
from featcache.cache.contract import FORMAT, Contract
from featcache.cache.hdf5 import differences
from featcache.cache.index import SealedIndex
from featcache.cache.layout import (
    CHECKSUMS,
    INDEX,
    KEYS,
    N_TOKENS,
    ROW_CHECKSUMS,
    TRUNCATED,
    Header,
)
from featcache.errors import CacheMissError, DamageError, FormatError, MachineError

SUFFIX = ".h5"
SEALED = "features.h5"
_STEP = (
    1 << 20
)  # bytes read and hashed together: they are still in the processor's cache when they are hashed
_WHOLE = 4  # from a quarter of a dataset's rows on, one hash of it all costs less than one a row


def shard_name() -> str:
    """A name that no other shard has, so that no writer can replace a file of another."""
    return f"shard-{uuid.uuid4().hex}{SUFFIX}"


def shard_files(folder: Path) -> list[Path]:
    """The files of a folder that are shards by their names, sorted; hidden ones are some file
    system's own.
    """
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))


def write_shard(
    folder: Path, rows: CachedRows, *, contract: Contract, provenance: Mapping[str, Any]
) -> Path:
    """Write one shard so that it is either whole under its final name or not there at all.

    provenance: what made the rows (versions, device, …).
    Returns the shard's path; when it returns, the rows are on the disk. Raises MachineError where
    the disk is full or fails, leaving no file behind.
    """
    return write_shard_file(
        folder, shard_name(), rows.columns(), contract=contract, provenance=provenance
    )


def _unheard(n_bytes: int) -> None:
    """Progress that nobody follows."""


@dataclass(frozen=True, eq=False)
class Fault:
    """One thing that is wrong with a shard. rows: bool (N,), the rows it spoils; none where all can
    be mended.

    dataset: the one that does not match its hash, or None where it is something else.
    """

    what: str
    rows: NDArray[np.bool_]
    dataset: str | None = None


@dataclass(frozen=True, eq=False)
class Shard:
    """One shard, opened for reading.

    It keeps its memory map, so that a merge or `gc` that removes the file takes nothing from an
    open reader; with `hold=False` it maps the file anew each time (a map costs a file descriptor,
    and they are few).
    """

    path: Path
    header: Header
    _map: NDArray[np.uint8] | None

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
    def hidden_size(self) -> int:
        return self.header.datasets[self.views[0]].shape[1]

    @classmethod
    def open(cls, path: Path, *, hold: bool = True) -> Shard:
        """Check everything but the data: the header, the size, HDF5's metadata.

        Raises DamageError where anything does not fit, FormatError where a later featcache wrote
        the file, MachineError where it cannot be read, FileNotFoundError where it is gone.
        """
        with _opened(path) as (handle, size):
            header = _read_header(path, handle, 0)
            if header.file_bytes != size:
                raise damaged(path, f"it has {size:,} bytes instead of {header.file_bytes:,}")
            data = np.frombuffer(mmap.mmap(handle, size, access=mmap.ACCESS_READ), np.uint8)
        shard = cls(path, header, data if hold else None)
        if shard._rest(data) != header.rest:
            raise damaged(path, "bytes between its datasets do not match their checksum")
        return shard

    @classmethod
    def open_damaged(cls, path: Path) -> Shard:
        """Open what may be a damaged shard, to see what of it is sound; the header's copy serves
        where need be.

        Raises DamageError where neither header can be used, or where not even the keys are there;
        else as `open`.
        """
        with _opened(path) as (handle, size):
            places = [
                0,
                *(size - user_block for user_block in layout.USER_BLOCKS if size >= 2 * user_block),
            ]
            for place in places:
                with contextlib.suppress(DamageError):
                    header = _read_header(path, handle, place)
                    break
            else:
                raise damaged(path, "neither its header nor the copy of it can be read")
            # Both keep a hostile header from asking for memory without end, too.
            if any(
                header.datasets[name].end > size
                for name in (KEYS, N_TOKENS, TRUNCATED, ROW_CHECKSUMS)
            ):
                raise damaged(path, "it is cut off before its keys end")
            if any(one.n_bytes // one.shape[0] > size for one in header.datasets.values()):
                raise damaged(path, "it is cut off before its first row ends")
        return cls(path, header, None)

    def read(self, name: str) -> NDArray[Any]:
        """A whole dataset, mapped and held to its hash. Raises DamageError on a difference."""
        array = self._view(name)
        if not self._matches(name, array):
            raise damaged(self.path, f"{name} does not match its checksum")
        return array

    def load(
        self, name: str, *, verify: bool = True, into: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """A whole dataset in memory, as it is stored; unlike `read` it does not depend on the file
        afterwards.

        verify: hold it to its hash.  into: an array of its shape and dtype to be filled, instead of
        a new one.
        Raises DamageError on a difference.
        """
        extent = self._extent(name)
        array = np.empty(extent.shape, extent.dtype) if into is None else into
        memory = array.reshape(-1).view(np.uint8)
        source, digest = self._bytes()[extent.offset : extent.end], xxhash.xxh3_64()
        for start in range(0, len(memory), _STEP):
            memory[start : start + _STEP] = source[start : start + _STEP]
            if verify:
                digest.update(memory[start : start + _STEP].data)
        if verify and digest.hexdigest() != extent.xxh3:
            raise damaged(self.path, f"{name} does not match its checksum")
        return array

    def gather(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows of a features dataset as float32 (len(rows), hidden), each held to a checksum.

        Raises DamageError naming the first row that differs.
        """
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.n_rows:
            raise damaged(self.path, f"its index leads to row {rows.max()} of {self.n_rows}")
        data = self._bytes()
        states = self._view(name, data)
        if len(rows) * _WHOLE >= self.n_rows and self._matches(name, states):
            return widen(states[rows])
        # Few rows, or some row is damaged, and perhaps none of those that are asked for.
        picked = np.ascontiguousarray(states[rows])
        wrong = np.flatnonzero(row_checksums(picked) != self._view(CHECKSUMS + name, data)[rows])
        if len(wrong):
            raise damaged(self.path, f"row {rows[wrong[0]]} of {name} does not match its checksum")
        return widen(picked)

    def some(self, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Rows of any dataset as they are stored, not checked; read and not mapped, as by `pieces`."""
        extent = self._extent(name)
        width = extent.n_bytes // self.n_rows
        with _opened(self.path) as (handle, _):
            data = b"".join(
                os.pread(handle, width, extent.offset + int(row) * width) for row in rows
            )
        return np.frombuffer(data, extent.dtype).reshape(len(rows), *extent.shape[1:])

    def index(self) -> SealedIndex:
        """The index of a sealed file, mapped; its blocks are checked when they are used."""
        entries, first, checksums = INDEX
        return SealedIndex(
            self._view(entries),
            self.load(first),
            self.load(checksums),
            lambda what: damaged(self.path, what),
        )

    def verify(self, progress: Callable[[int], None] = _unheard) -> None:
        """Hold every byte to its checksum, and HDF5's view of the file to the header's.

        progress: as for `faults`. Raises DamageError for the first thing that is wrong.
        """
        for fault in self.faults(progress):
            raise damaged(self.path, fault.what)

    def faults(self, progress: Callable[[int], None] = _unheard) -> Iterator[Fault]:
        """All that is wrong, part by part. The file is read, not mapped: a bad sector is an error,
        not a crash.

        progress: called with the bytes read since it was last called. Raises MachineError where the
        disk fails.
        """
        nothing = np.zeros(self.n_rows, dtype=np.bool_)
        sound = True
        with _opened(self.path) as (handle, size):
            for fault in self._part_faults(handle, size, nothing, progress):
                sound = False
                yield fault
        if sound:  # libhdf5 gets to see only what is what we wrote
            extents = self.header.datasets
            places = {name: (one.offset, one.shape, one.dtype) for name, one in extents.items()}
            for what in differences(self.path, places):
                yield Fault(what, nothing)

    def _part_faults(
        self, handle: int, size: int, nothing: NDArray[np.bool_], progress: Callable[[int], None]
    ) -> Iterator[Fault]:
        if size != self.n_bytes:
            yield Fault(f"it has {size:,} bytes instead of {self.n_bytes:,}", nothing)
        for name, extent in self.header.datasets.items():
            if _hash(handle, [(extent.offset, extent.end)], progress) == extent.xxh3:
                continue
            spoiled = self._spoiled(handle, name)
            where = (
                f" in {spoiled.sum():,} of its rows, first in row {np.argmax(spoiled)}"
                if spoiled.any()
                else ""
            )
            yield Fault(f"{name} does not match its checksum{where}", spoiled, name)
        if _hash(handle, list(self.header.gaps()), progress) != self.header.rest:
            yield Fault("bytes between its datasets do not match their checksum", nothing)
        for what, place in (
            ("header", 0),
            ("copy of its header", self.n_bytes - self.header.user_block),
        ):
            if os.pread(handle, self.header.user_block, place) != self.header.block:
                yield Fault(f"the {what} does not match the checksum", nothing)

    def _spoiled(self, handle: int, name: str) -> NDArray[np.bool_]:
        """The rows that a damaged dataset spoils: by the rows' checksums, none for what is made
        from others.
        """
        spoiled = np.zeros(self.n_rows, dtype=np.bool_)
        if name in self.views:
            expected = self._pread(handle, CHECKSUMS + name)
            for start, piece in self._pieces(handle, name):
                spoiled[start : start + len(piece)] = (
                    row_checksums(piece) != expected[start : start + len(piece)]
                )
        elif name in {KEYS, N_TOKENS, TRUNCATED}:
            facts = [self._pread(handle, one) for one in (KEYS, N_TOKENS, TRUNCATED)]
            spoiled = fact_checksums(*facts) != self._pread(handle, ROW_CHECKSUMS)
        else:
            return spoiled
        return (
            spoiled if spoiled.any() else ~spoiled
        )  # no row's checksum tells which: none of them can be trusted

    def pieces(self, name: str) -> Iterator[NDArray[Any]]:
        """A dataset from its first row to its last in pieces of about 1 MiB, read and not mapped,
        not checked.

        Raises MachineError where the disk fails.
        """
        with _opened(self.path) as (handle, _):
            yield from (piece for _, piece in self._pieces(handle, name))

    def gap_bytes(self) -> Iterator[bytes]:
        """What lies between the datasets, as it is on the disk. Raises MachineError where the disk
        fails.
        """
        with _opened(self.path) as (handle, size):
            gaps = ((start, min(end, size)) for start, end in self.header.gaps())
            yield from (os.pread(handle, end - start, start) for start, end in gaps if start < end)

    def _pread(self, handle: int, name: str) -> NDArray[Any]:
        return np.concatenate([piece for _, piece in self._pieces(handle, name)])

    def _pieces(self, handle: int, name: str) -> Iterator[tuple[int, NDArray[Any]]]:
        """Pieces with the number of their first row; zeros where the file has ended."""
        extent = self.header.datasets[name]
        width = extent.n_bytes // self.n_rows
        step = max(_STEP // width, 1)
        for start in range(0, self.n_rows, step):
            count = min(step, self.n_rows - start)
            data = os.pread(handle, count * width, extent.offset + start * width).ljust(
                count * width, b"\0"
            )
            yield start, np.frombuffer(data, extent.dtype).reshape(count, *extent.shape[1:])

    def _view(self, name: str, data: NDArray[np.uint8] | None = None) -> NDArray[Any]:
        extent = self._extent(name)
        data = self._bytes() if data is None else data
        return data[extent.offset : extent.end].view(extent.dtype).reshape(extent.shape)

    def _matches(self, name: str, array: NDArray[Any]) -> bool:
        return (
            xxhash.xxh3_64_hexdigest(array.reshape(-1).view(np.uint8).data)
            == self.header.datasets[name].xxh3
        )

    def _extent(self, name: str) -> layout.Extent:
        if name not in self.header.datasets:
            raise damaged(self.path, f"it holds no {name}")
        return self.header.datasets[name]

    def _bytes(self) -> NDArray[np.uint8]:
        if self._map is not None:
            return self._map
        with contextlib.suppress(FileNotFoundError):
            again = Shard.open(self.path)
            if again.header == self.header and again._map is not None:  # noqa: SLF001 - of this class
                return again._map  # noqa: SLF001 - of this class
        msg = f"{self.path} was removed while it was being read, by a merge, repair or gc"
        raise CacheMissError(msg, cure="Run the same command again.")

    def _rest(self, data: NDArray[np.uint8]) -> str:
        digest = xxhash.xxh3_64()
        for start, end in self.header.gaps():
            digest.update(data[start:end].data)
        return digest.hexdigest()


def damaged(path: Path, reason: str) -> DamageError:
    """The error for a file that is not what its checksums say."""
    cure = f"{repair_command(path.parent)} drops the damaged rows and says which `featcache extract` computes them anew."
    return DamageError(f"{path} is damaged: {reason}", cure=cure)


def repair_command(space: Path) -> str:
    """The command that repairs a space."""
    cache = str(space.parent)
    return f"`featcache repair {space.name}{'' if cache == 'cache' else f' --cache {cache}'}`"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[int, int]]:
    """A handle and the size of a regular file; never through a link, and never waiting for a pipe's
    writer.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise damaged(path, "it is a symbolic link, where a shard must be a file") from error
        raise _unreadable(path, error) from error
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise damaged(path, "it is not a file")
        yield handle, facts.st_size
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(handle)


def _unreadable(path: Path, error: OSError) -> MachineError:
    return MachineError(
        f"{path} cannot be read: {error.strerror}",
        cure="Check the disk and the file's permissions.",
    )


def _read_header(path: Path, handle: int, place: int) -> Header:
    try:
        user_block = layout.block_size(os.pread(handle, layout.HEAD, place))
        return layout.parse(os.pread(handle, user_block, place))
    except layout.NewerFormatError as error:
        msg = f"{path} was written in format {error}; this featcache reads up to {FORMAT}"
        raise FormatError(msg, cure="Upgrade: pip install --upgrade featcache") from error
    except layout.MalformedError as error:
        raise damaged(path, str(error)) from error


def _hash(handle: int, spans: list[tuple[int, int]], progress: Callable[[int], None]) -> str:
    """xxh3-64 of stretches of a file, as far as it reaches."""
    digest = xxhash.xxh3_64()
    for start, end in spans:
        for place in range(start, end, _STEP):
            data = os.pread(handle, min(_STEP, end - place), place)
            if not data:  # cut off
                break
            digest.update(data)
            progress(len(data))
    return digest.hexdigest()
