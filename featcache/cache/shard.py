"""One shard: an immutable HDF5 file of rows, with checksums that need no HDF5 library to check.

    offset 0          magic  b"\\x93FEATC\\r\\n"                                              8 bytes
           8          format version, uint32 little-endian                                 4
          12          size U of this user block, a power of two >= 4096, uint32            4
          16          length J of the JSON, uint32                                         4
          20          zero                                                                 4
          24          xxh3-64 of the user block with these 8 bytes left out, uint64        8
          32          JSON: contract hash, rows, file size, for each dataset its offset,
                      shape, dtype and xxh3-64, and `rest`: the xxh3-64 of every byte
                      that is in no dataset and not in the user block                      J
        32+J          zeros up to U
           U          a plain HDF5 file: `keys` (rows, 16) uint8, `n_tokens` (rows,) uint32,
                      `truncated` (rows,) uint8, `layer_06/mean` (rows, hidden) float16 (float32
                      where a value does not fit), `checksums/layer_06/mean` (rows,) uint64: the
                      xxh3-64 of each row's bytes; contiguous and 64-byte aligned

Writing: built in memory, then written by our own code to a temporary name, fsynced, renamed to a final
name that holds a UUID, and the folder fsynced; only then do its rows count. libhdf5 never touches the
disk: it leaves unreadable files when killed and crashes on a full disk. Reading: check the user block and
that all offsets lie in the file, then memory-map. xxh3: github.com/Cyan4973/xxHash.
"""

from __future__ import annotations

import io
import json
import os
import struct
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from featcache.cache.contract import FORMAT, Contract
from featcache.errors import DamageError, MachineError
from featcache.files import write_durably

MAGIC = b"\x93FEATC\r\n"
SUFFIX = ".h5"
_PREFIX = struct.Struct("<8sIIII")
_CHECKSUM = struct.Struct("<Q")
_JSON_START = _PREFIX.size + _CHECKSUM.size
_MIN_USER_BLOCK = 4096
_ALIGNMENT = 64
_CHECKSUMS = "checksums/"
_DTYPES = {"uint8", "uint32", "uint64", "float16", "float32"}
_FLOAT16_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Rows:
    """Rows to be written. keys: uint8 (N, 16); n_tokens: (N,); truncated: (N,) bool; features: name -> (N, H)."""

    keys: NDArray[np.uint8]
    n_tokens: NDArray[np.uint32]
    truncated: NDArray[np.bool_]
    features: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class _Extent:
    """Where one dataset lies in the file, as its header says."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    xxh3: str

    @property
    def n_bytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize


def write_shard(folder: Path, rows: Rows, *, contract: Contract, provenance: Mapping[str, Any]) -> Path:
    """Write one shard so that it is either whole under its final name or not there at all.

    provenance: what made the rows (versions, device, …).
    Returns the shard's path; when it returns, the rows are on the disk. Raises MachineError where the disk
    is full or fails, leaving no file behind.
    """
    return write_durably(folder, f"shard-{uuid.uuid4().hex}{SUFFIX}", _build(rows, contract, provenance))


def _build(rows: Rows, contract: Contract, provenance: Mapping[str, Any]) -> memoryview:
    """The bytes of a shard: the HDF5 file built in memory, then the user block written in front of it."""
    datasets: dict[str, NDArray[Any]] = {
        "keys": np.ascontiguousarray(rows.keys),
        "n_tokens": rows.n_tokens.astype(np.uint32),
        "truncated": rows.truncated.astype(np.uint8),
    }
    for name, states in rows.features.items():
        stored = np.ascontiguousarray(narrow(states))
        datasets[name] = stored
        datasets[_CHECKSUMS + name] = _row_checksums(stored)
    user_block = _MIN_USER_BLOCK
    while True:
        # The header needs the offsets, the offsets need the header's size: grow it until it fits.
        buffer, extents = _build_hdf5(datasets, contract, provenance, user_block)
        spans = sorted((extent.offset, extent.offset + extent.n_bytes) for extent in extents.values())
        header = {
            "contract": contract.digest,
            "rows": len(rows.keys),
            "file_bytes": len(buffer),
            "rest": _rest_hash(buffer, spans, user_block),
            "provenance": dict(provenance),
            "datasets": {
                name: [extent.offset, list(extent.shape), extent.dtype.name, extent.xxh3]
                for name, extent in extents.items()
            },
        }
        text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
        if _JSON_START + len(text) <= user_block:
            break
        user_block *= 2
    block = bytearray(user_block)
    _PREFIX.pack_into(block, 0, MAGIC, FORMAT, user_block, len(text), 0)
    block[_JSON_START : _JSON_START + len(text)] = text
    _CHECKSUM.pack_into(block, _PREFIX.size, _block_hash(block))
    buffer[:user_block] = block
    return buffer


def _build_hdf5(
    datasets: Mapping[str, NDArray[Any]], contract: Contract, provenance: Mapping[str, Any], user_block: int
) -> tuple[memoryview, dict[str, _Extent]]:
    stream = io.BytesIO()
    options = {"alignment_threshold": 1, "alignment_interval": _ALIGNMENT, "userblock_size": user_block}
    offsets: dict[str, int] = {}
    with h5py.File(stream, "w", libver="earliest", **options) as file:
        file.attrs["contract"] = contract.to_json()
        file.attrs["provenance"] = json.dumps(dict(provenance), sort_keys=True)
        for name, array in datasets.items():
            dataset = file.create_dataset(name, data=array, track_times=False)
            offsets[name] = dataset.id.get_offset()
    buffer = stream.getbuffer()
    extents = {
        name: _Extent(offsets[name], array.shape, array.dtype, xxhash.xxh3_64_hexdigest(array.data))
        for name, array in datasets.items()
    }
    return buffer, extents


def narrow(states: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
    """States as they are stored: float16 where every value fits, else float32, so that none becomes infinite."""
    if np.abs(states).max(initial=0.0) > _FLOAT16_MAX:
        return states.astype(np.float32)
    return states.astype(np.float16)


def _row_checksums(array: NDArray[Any]) -> NDArray[np.uint64]:
    """xxh3-64 of each row's bytes, shape (rows,)."""
    data, width = array.reshape(-1).view(np.uint8).data, array.strides[0]
    hash_row = xxhash.xxh3_64_intdigest
    return np.fromiter(
        (hash_row(data[start : start + width]) for start in range(0, len(array) * width, width)),
        dtype=np.uint64,
        count=len(array),
    )


def _rest_hash(buffer: memoryview, spans: Iterable[tuple[int, int]], start: int) -> str:
    digest = xxhash.xxh3_64()
    for begin, end in spans:
        digest.update(buffer[start:begin])
        start = end
    digest.update(buffer[start:])
    return digest.hexdigest()


def _block_hash(block: bytes | bytearray) -> int:
    return xxhash.xxh3_64_intdigest(bytes(block[: _PREFIX.size]) + bytes(block[_JSON_START:]))


@dataclass(frozen=True)
class Shard:
    """One shard, opened for reading. Only the user block has been read; data are mapped when asked for."""

    path: Path
    contract: str
    provenance: Mapping[str, Any]
    n_rows: int
    n_bytes: int
    _user_block: int
    _extents: Mapping[str, _Extent]
    _rest: str
    _maps: dict[str, NDArray[Any]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> Shard:
        """Check the user block against its own checksum and all extents against the file's size.

        Raises DamageError where anything does not fit, or where a newer featcache wrote the file.
        """
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                head = file.read(_JSON_START)
                if len(head) < _JSON_START or head[:8] != MAGIC:
                    raise _damaged(path, "it does not begin as a shard does")
                _, version, user_block, json_bytes, _ = _PREFIX.unpack(head[: _PREFIX.size])
                if version > FORMAT:
                    msg = f"{path} was written in format {version}; this featcache reads up to {FORMAT}"
                    raise DamageError(msg, cure="Upgrade: pip install --upgrade featcache")
                if not (_JSON_START + json_bytes <= user_block <= size):
                    raise _damaged(path, "it is cut off inside its header")
                block = head + file.read(user_block - _JSON_START)
        except OSError as error:
            msg = f"{path} cannot be read: {error.strerror}"
            raise MachineError(msg, cure="Check the disk and the file's permissions.") from error
        if _block_hash(block) != _CHECKSUM.unpack_from(block, _PREFIX.size)[0]:
            raise _damaged(path, "its header does not match the header's checksum")
        header = json.loads(block[_JSON_START : _JSON_START + json_bytes])
        if header["file_bytes"] != size:
            raise _damaged(path, f"it has {size:,} bytes instead of {header['file_bytes']:,}")
        extents = {
            name: _Extent(offset, tuple(shape), np.dtype(dtype), xxh3)
            for name, (offset, shape, dtype, xxh3) in header["datasets"].items()
            if dtype in _DTYPES
        }
        for name, extent in extents.items():
            inside = user_block <= extent.offset and extent.offset + extent.n_bytes <= size
            if not inside or not extent.shape or extent.shape[0] != header["rows"]:
                raise _damaged(path, f"its header places {name} where it cannot be")
        return cls(
            path, header["contract"], header["provenance"], header["rows"], size, user_block, extents, header["rest"]
        )

    def read(self, name: str) -> NDArray[Any]:
        """A whole dataset, checked against its hash. Raises DamageError on a difference."""
        array = self._map(name)
        if xxhash.xxh3_64_hexdigest(array.data) != self._extents[name].xxh3:
            raise _damaged(self.path, f"{name} does not match its checksum")
        return array

    def gather(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows of a features dataset as float32 (len(rows), hidden), each checked against its own checksum.

        Raises DamageError naming the first row that differs.
        """
        if _CHECKSUMS + name not in self._extents:
            raise _damaged(self.path, f"it holds no {name}")
        picked = np.ascontiguousarray(self._map(name)[rows])
        expected = self._map(_CHECKSUMS + name)[rows]
        wrong = np.flatnonzero(_row_checksums(picked) != expected)
        if len(wrong):
            raise _damaged(self.path, f"row {rows[wrong[0]]} of {name} does not match its checksum")
        return picked.astype(np.float32)

    def verify(self) -> None:
        """Check every byte of the file. Raises DamageError for the first part that differs."""
        for name in self._extents:
            self.read(name)
        spans = sorted((extent.offset, extent.offset + extent.n_bytes) for extent in self._extents.values())
        if _rest_hash(np.memmap(self.path, mode="r", dtype=np.uint8).data, spans, self._user_block) != self._rest:
            raise _damaged(self.path, "bytes between its datasets do not match their checksum")

    def _map(self, name: str) -> NDArray[Any]:
        if name not in self._maps:
            if name not in self._extents:
                raise _damaged(self.path, f"it holds no {name}")
            extent = self._extents[name]
            self._maps[name] = np.memmap(
                self.path, mode="r", dtype=extent.dtype, offset=extent.offset, shape=extent.shape
            )
        return self._maps[name]


def _damaged(path: Path, reason: str) -> DamageError:
    cure = "Move the file away and run `featcache extract` again: only its rows are computed anew."
    return DamageError(f"{path} is damaged: {reason}", cure=cure)
