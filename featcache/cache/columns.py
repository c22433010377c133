"""Writing datasets to a file in one stream: a shard, a sealed file, or plain HDF5 for export.

A column hands out its rows in pieces, so that a file of any size is written in a few MiB of memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from featcache.cache.contract import Contract
from featcache.cache.hdf5 import ALIGNMENT, Hdf5Layout, lay_out
from featcache.cache.layout import (
    CHECKSUMS,
    FACTS,
    OFFSETS,
    ROW_CHECKSUMS,
    USER_BLOCKS,
    Extent,
    Header,
    HeaderFields,
    Role,
    dtype_of,
)
from featcache.cache.naming import shard_name
from featcache.cache.numbers import (
    fact_checksums,
    kind_of,
    narrow,
    ragged_checksums,
    row_checksums,
)
from featcache.cache.rules import check, needed_format
from featcache.durable import NewFile, new_file

_STEP = 4 << 20  # bytes hashed and written together
_UNKNOWN = "0" * 16  # a hash that is not known yet, as long as it will be


@dataclass(frozen=True)
class Column:
    """One dataset to be written.

    Attributes:
        name: Its HDF5 name.
        shape: One or two sizes, rows first.
        kind: The type of its numbers by name.
        pieces: Gives its rows in order, in arrays of any number of rows.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    pieces: Callable[[], Iterable[NDArray[Any]]]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy type of its numbers."""
        return dtype_of(self.kind)

    @classmethod
    def of(cls, name: str, array: NDArray[Any], kind: str | None = None) -> Column:
        """Make a column of an array that is in memory, or mapped."""
        return cls(name, array.shape, kind or str(array.dtype.name), lambda: [array])


@dataclass(frozen=True)
class RaggedRows:
    """Rows with a number of vectors of their own, such as one for each token.

    Attributes:
        values: The vectors of all rows, one after the other, (T, H); T is at least 1.
        offsets: Row i has the vectors from offsets[i] up to offsets[i + 1]; int64 (N + 1,).
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, number: int) -> NDArray[Any]:
        """The vectors of one row, (n, H)."""
        return self.values[self.offsets[number] : self.offsets[number + 1]]


@dataclass(frozen=True)
class CachedRows:
    """N rows to be written.

    Attributes:
        keys: uint8 (N, 16).
        n_tokens: Tokens that the model was given, (N,).
        truncated: Whether tokens were cut off, bool (N,).
        features: Name of a view -> floats (N, H), or the bits of bfloat16 as uint16 (N, H).
        ragged: Name of a view -> its N rows, for views with a number of vectors for each row.
    """

    keys: NDArray[np.uint8]
    n_tokens: NDArray[np.uint32]
    truncated: NDArray[np.bool_]
    features: Mapping[str, NDArray[Any]]
    ragged: Mapping[str, RaggedRows] = field(default_factory=dict)

    def columns(self) -> list[Column]:
        """Make the datasets of a shard, checksums of the rows included."""
        facts = (
            np.ascontiguousarray(self.keys),
            self.n_tokens.astype("<u4"),
            self.truncated.astype(np.uint8),
        )
        columns = [Column.of(name, array) for name, array in zip(FACTS, facts, strict=True)]
        columns.append(Column.of(ROW_CHECKSUMS, fact_checksums(*facts)))
        for name, states in self.features.items():
            stored = np.ascontiguousarray(narrow(states))
            columns.append(Column.of(name, stored, kind_of(stored)))
            columns.append(Column.of(CHECKSUMS + name, row_checksums(stored)))
        for name, rows in self.ragged.items():
            columns += _ragged_columns(name, rows)
        return columns


def _ragged_columns(name: str, rows: RaggedRows) -> list[Column]:
    stored = np.ascontiguousarray(narrow(rows.values))
    offsets = rows.offsets.astype("<u8")
    return [
        Column.of(name, stored, kind_of(stored)),
        Column.of(OFFSETS + name, offsets),
        Column.of(CHECKSUMS + name, ragged_checksums(stored, offsets)),
    ]


def write_shard(
    folder: Path,
    rows: CachedRows,
    *,
    contract: Contract,
    provenance: Mapping[str, Any],
    role: Role = "rows",
) -> Path:
    """Write one shard so that it is either whole under its final name or not there at all.

    Args:
        folder: The folder of the space.
        rows: What to write.
        contract: That of the space.
        provenance: What made the rows: versions, device.
        role: `addition` where the rows are in other files already.

    Returns:
        The shard's path; when it returns, the rows are on the disk.

    Raises:
        MachineError: The disk is full or fails; no file is left behind.
    """
    return write_shard_file(
        folder,
        shard_name(),
        rows.columns(),
        contract=contract,
        provenance=provenance,
        role=role,
    )


def write_shard_file(
    folder: Path,
    name: str,
    columns: Sequence[Column],
    *,
    contract: Contract,
    provenance: Mapping[str, Any],
    role: Role = "rows",
) -> Path:
    """Write a file of rows so that it is either whole under its name or not there at all.

    Args:
        folder: The folder of the space.
        name: The file's name in it.
        columns: The datasets, keys first.
        contract: That of the space.
        provenance: What made the rows.
        role: `addition` where the rows are in other files already.

    Returns:
        The file; its rows are on the disk.

    Raises:
        MachineError: The disk is full or fails; no file is left behind.
    """
    attributes = {
        "contract": contract.to_json(),
        "provenance": json.dumps(dict(provenance), sort_keys=True),
    }
    for user_block in USER_BLOCKS:
        # The header needs the offsets, the offsets need the header's size: grow it until it fits.
        layout = _lay_out(columns, attributes, user_block)
        header = _header(columns, layout, user_block, contract.digest, provenance, role)
        if header.to_block() is not None:
            break
    with new_file(folder, name, header.file_bytes) as file:
        hashes = _write_data(file, layout, columns)
        rest = xxhash.xxh3_64()
        for start, stop in header.gaps():
            gap = layout.read(start, stop)
            rest.update(gap)
            file.write_at(start, gap)
        block = _with_hashes(header, hashes, rest.hexdigest()).to_block()
        assert block is not None
        file.write_at(0, block)
        file.write_at(header.file_bytes - user_block, block)
    return folder / name


def _header(
    columns: Sequence[Column],
    layout: Hdf5Layout,
    user_block: int,
    digest: str,
    provenance: Mapping[str, Any],
    role: Role,
) -> Header:
    """Make the header of a file, its hashes left open; in the oldest format that can say it."""
    end = -(-layout.n_bytes // ALIGNMENT) * ALIGNMENT
    datasets = {}
    for column in columns:
        # `needed_format` holds the kind, a plain text here, to the rules.
        kind = cast("Any", column.kind)
        offset = layout.offsets[column.name]
        datasets[column.name] = Extent(offset, column.shape, kind, _UNKNOWN)
    fields = HeaderFields(
        contract=digest,
        rows=columns[0].shape[0],
        file_bytes=end + user_block,
        rest=_UNKNOWN,
        provenance=dict(provenance),
        datasets=datasets,
        role=role,
    )
    version = needed_format(fields)
    if version == 1:
        fields = msgspec.structs.replace(fields, role=None)
    header = Header(fields, user_block, version)
    check(header, places=False)
    return header


def _with_hashes(header: Header, hashes: Mapping[str, str], rest: str) -> Header:
    datasets = {
        name: msgspec.structs.replace(extent, xxh3=hashes[name])
        for name, extent in header.datasets.items()
    }
    fields = msgspec.structs.replace(header.fields, rest=rest, datasets=datasets)
    return replace(header, fields=fields)


def write_hdf5(
    folder: Path, name: str, columns: Sequence[Column], attributes: Mapping[str, str]
) -> Path:
    """Write columns as an HDF5 file and nothing else.

    Args:
        folder: Where the file goes.
        name: Its name.
        columns: Its datasets.
        attributes: Name -> text, of the file itself.

    Returns:
        The file.

    Raises:
        MachineError: The disk is full or fails.
    """
    layout = _lay_out(columns, attributes, 0)
    with new_file(folder, name, layout.n_bytes) as file:
        _write_data(file, layout, columns)
        place = 0
        for column in sorted(columns, key=lambda column: layout.offsets[column.name]):
            start = layout.offsets[column.name]
            file.write_at(place, layout.read(place, start))
            place = start + int(np.prod(column.shape)) * column.dtype.itemsize
        file.write_at(place, layout.read(place, layout.n_bytes))
    return folder / name


def _lay_out(
    columns: Sequence[Column], attributes: Mapping[str, str], user_block: int
) -> Hdf5Layout:
    datasets = {column.name: (column.shape, column.dtype) for column in columns}
    return lay_out(datasets, attributes, user_block)


def _write_data(file: NewFile, layout: Hdf5Layout, columns: Sequence[Column]) -> dict[str, str]:
    """Write all data at their places; returns the xxh3-64 of each dataset."""
    hashes = {}
    for column in columns:
        digest, place = xxhash.xxh3_64(), layout.offsets[column.name]
        for piece in column.pieces():
            stored = np.ascontiguousarray(piece.astype(column.dtype, copy=False))
            data = stored.reshape(-1).view(np.uint8).data
            for start in range(0, len(data), _STEP):
                step = data[start : start + _STEP]
                digest.update(step)
                file.write_at(place, step)
                place += len(step)
        hashes[column.name] = digest.hexdigest()
    return hashes
