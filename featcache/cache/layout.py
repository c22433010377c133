"""The bytes of a shard, and all rules that they have to keep. `docs/cache-format.md` says the same
at length.

    offset 0          magic  b"\\x93FEATC\\r\\n"                                              8 bytes
           8          format version, uint32 little-endian                                 4
          12          size U of this user block, a power of two >= 4096, uint32            4
          16          length J of the JSON, uint32                                         4
          20          zero                                                                 4
          24          xxh3-64 of the user block with these 8 bytes left out, uint64        8
          32          JSON: contract hash, rows, file size, for each dataset its offset,
                      shape, dtype and xxh3-64, and `rest`: the xxh3-64 of every byte
                      between the two user blocks that is in no dataset                    J
        32+J          zeros up to U
           U          a plain HDF5 file: datasets, contiguous and 64-byte aligned
     end - U          the user block once more, for repairs

Datasets (all little-endian; N rows of H numbers):

    keys                    (N, 16) uint8     BLAKE2b-128 of each text
    n_tokens, truncated     (N,) uint32, uint8
    layer_06/mean           (N, H) float16, or float32 where a value does not fit; one for each view
    checksums/keys          (N,) uint64       xxh3-64 of each row's key, n_tokens and truncated, 21 bytes
    checksums/layer_06/mean (N,) uint64       xxh3-64 of each row's bytes; one for each view

and, in a sealed file only, `index/entries`, `index/first` and `index/checksums` (see `index.py`).
The first 32 bytes and the checksum rule stay what they are in every version to come, so that an
older reader can tell a newer file from a damaged one. xxh3: github.com/Cyan4973/xxHash.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import xxhash

from featcache.cache.contract import FORMAT, POOLINGS
from featcache.cache.index import BLOCK

MAGIC = b"\x93FEATC\r\n"
PREFIX = struct.Struct("<8sIIII")
HEAD = PREFIX.size + 8  # bytes before the JSON: what every version keeps
USER_BLOCKS = [
    1 << power for power in range(12, 25)
]  # 4 KiB to 16 MiB: a hostile size must not fill the memory
CHECKSUMS = "checksums/"
KEYS, N_TOKENS, TRUNCATED = "keys", "n_tokens", "truncated"
ROW_CHECKSUMS = CHECKSUMS + KEYS
INDEX = ("index/entries", "index/first", "index/checksums")
_CHECKSUM = struct.Struct("<Q")
_VIEW = re.compile(rf"layer_[0-9][0-9]+/({'|'.join(POOLINGS)})")
_HEX = re.compile(r"[0-9a-f]{16}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DTYPES = {
    name: np.dtype(name).newbyteorder("<")
    for name in ("uint8", "uint32", "uint64", "float16", "float32")
}
_FIELDS = {"contract", "rows", "file_bytes", "rest", "provenance", "datasets"}


class MalformedError(ValueError):
    """Bytes that are no user block of this format; the message continues "it is damaged: "."""


class NewerFormatError(ValueError):
    """A sound user block of a later version, which is the message."""


@dataclass(frozen=True)
class Extent:
    """Where one dataset lies in the file, as its header says. xxh3: of its bytes, 16 hex digits."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    xxh3: str

    @property
    def n_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    @property
    def end(self) -> int:
        return self.offset + self.n_bytes


@dataclass(frozen=True)
class Header:
    """What a user block says. user_block: its size U; block: its bytes, where it was read from a
    file.
    """

    contract: str
    rows: int
    file_bytes: int
    rest: str
    provenance: Mapping[str, Any]
    datasets: Mapping[str, Extent]
    user_block: int
    block: bytes = b""

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the pooled states, such as `layer_06/mean`."""
        return tuple(name for name in self.datasets if _VIEW.fullmatch(name))

    @property
    def sealed(self) -> bool:
        """Whether the file carries an index of its keys."""
        return INDEX[0] in self.datasets

    def gaps(self) -> Iterator[tuple[int, int]]:
        """Stretches between the two user blocks that are in no dataset: HDF5's own metadata, and
        padding.
        """
        place = self.user_block
        for extent in sorted(self.datasets.values(), key=lambda one: one.offset):
            yield place, extent.offset
            place = extent.end
        yield place, self.file_bytes - self.user_block

    def to_block(self) -> bytes | None:
        """The user block; None where it does not fit into its size."""
        fields = {
            **{name: getattr(self, name) for name in _FIELDS - {"datasets", "provenance"}},
            "provenance": dict(self.provenance),
            "datasets": {
                name: [one.offset, list(one.shape), one.dtype.name, one.xxh3]
                for name, one in self.datasets.items()
            },
        }
        text = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
        if HEAD + len(text) > self.user_block:
            return None
        block = bytearray(self.user_block)
        PREFIX.pack_into(block, 0, MAGIC, FORMAT, self.user_block, len(text), 0)
        block[HEAD : HEAD + len(text)] = text
        _CHECKSUM.pack_into(block, PREFIX.size, block_hash(block))
        return bytes(block)


def block_size(head: bytes) -> int:
    """The size U that the first 32 bytes state. Raises MalformedError where they are not those of a
    shard.
    """
    if len(head) < HEAD or head[: len(MAGIC)] != MAGIC:
        raise MalformedError("it does not begin as a shard does")
    _, _, user_block, json_bytes, _ = PREFIX.unpack(head[: PREFIX.size])
    if user_block not in USER_BLOCKS or HEAD + json_bytes > user_block:
        raise MalformedError("its header has an impossible size")
    return int(user_block)


def parse(block: bytes) -> Header:
    """Read a whole user block and hold it to every rule.

    Raises MalformedError naming the first rule that is broken; NewerFormatError for a later
    version.
    """
    user_block = block_size(block)
    if len(block) < user_block:
        raise MalformedError("it is cut off inside its header")
    _, version, _, json_bytes, _ = PREFIX.unpack_from(block)
    if block_hash(block) != _CHECKSUM.unpack_from(block, PREFIX.size)[0]:
        claim = (
            ""
            if version == FORMAT
            else f" (which claims format {version}; this featcache reads {FORMAT})"
        )
        raise MalformedError(f"its header does not match the header's checksum{claim}")
    if version > FORMAT:
        raise NewerFormatError(version)
    if version != FORMAT:
        raise MalformedError(f"there is no format {version}")
    try:
        fields = json.loads(block[HEAD : HEAD + json_bytes])
    except (ValueError, RecursionError) as error:
        raise MalformedError("its header is no JSON") from error
    header = replace(_typed(fields, user_block), block=bytes(block[:user_block]))
    _check_datasets(header)
    _check_places(header)
    return header


def block_hash(block: bytes | bytearray) -> int:
    """xxh3-64 of a user block without the 8 bytes where this number stands."""
    return xxhash.xxh3_64_intdigest(bytes(block[: PREFIX.size]) + bytes(block[HEAD:]))


def _typed(fields: Any, user_block: int) -> Header:
    """The header with the types it must have; sizes and places are not looked at yet."""
    if not isinstance(fields, dict) or set(fields) != _FIELDS:
        raise MalformedError("its header has other fields than a header")
    texts_fit = _matches(_DIGEST, fields["contract"]) and _matches(_HEX, fields["rest"])
    numbers_fit = _is_count(fields["rows"]) and _is_count(fields["file_bytes"])
    if not (texts_fit and numbers_fit and isinstance(fields["provenance"], dict)):
        raise MalformedError("a field of its header has an impossible value")
    if not isinstance(fields["datasets"], dict):
        raise MalformedError("its header lists no datasets")
    datasets = {name: _extent(name, entry) for name, entry in fields["datasets"].items()}
    return Header(**{**fields, "datasets": datasets}, user_block=user_block)


def _extent(name: str, entry: Any) -> Extent:
    if isinstance(entry, list) and len(entry) == 4:
        offset, shape, dtype, xxh3 = entry
        shape_fits = (
            isinstance(shape, list)
            and 1 <= len(shape) <= 2
            and all(_is_count(one) for one in shape)
        )
        if (
            _is_count(offset)
            and shape_fits
            and isinstance(dtype, str)
            and dtype in _DTYPES
            and _matches(_HEX, xxh3)
        ):
            return Extent(offset, tuple(shape), _DTYPES[dtype], xxh3)
    raise MalformedError(f"its header describes {name[:40]!r} in an impossible way")


def _check_datasets(header: Header) -> None:
    """Exactly the datasets of a shard, each with its shape and dtype."""
    rows, views = header.rows, header.views
    expected: dict[str, tuple[set[tuple[int, ...]], set[str]]] = {
        KEYS: ({(rows, 16)}, {"uint8"}),
        N_TOKENS: ({(rows,)}, {"uint32"}),
        TRUNCATED: ({(rows,)}, {"uint8"}),
        ROW_CHECKSUMS: ({(rows,)}, {"uint64"}),
    }
    widths = {header.datasets[name].shape[1:] for name in views}
    if len(widths) != 1 or () in widths:
        raise MalformedError("its header gives no width, or several, to its states")
    for name in views:
        expected[name] = ({(rows, *next(iter(widths)))}, {"float16", "float32"})
        expected[CHECKSUMS + name] = ({(rows,)}, {"uint64"})
    if header.sealed:
        n_blocks = -(-rows // BLOCK)
        for name, shape in zip(INDEX, ((rows, 3), (n_blocks,), (n_blocks,)), strict=True):
            expected[name] = ({shape}, {"uint64"})
    if set(expected) != set(header.datasets):
        odd = min(set(expected) ^ set(header.datasets))
        raise MalformedError(
            f"its header {'lacks' if odd in expected else 'has an unexpected'} {odd[:40]!r}"
        )
    for name, (shapes, dtypes) in expected.items():
        if (
            header.datasets[name].shape not in shapes
            or header.datasets[name].dtype.name not in dtypes
        ):
            raise MalformedError(f"its header gives {name} a wrong shape or dtype")


def _check_places(header: Header) -> None:
    """All datasets lie between the two user blocks, and none over another."""
    if any(start > end for start, end in header.gaps()):
        raise MalformedError("its header places a dataset where it cannot be")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value < 1 << 62


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
