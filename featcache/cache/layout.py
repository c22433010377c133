"""The bytes of a file of rows, and the rules they keep; `docs/cache-format.md` says it at length.

    offset 0          magic  b"\\x93FEATC\\r\\n"                                             8 bytes
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

`rules.py` says which datasets a file has. The first 32 bytes and the checksum rule stay what they
are in every version, so that an older reader can tell a newer file from a damaged one. xxh3:
github.com/Cyan4973/xxHash.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import xxhash
from msgspec import Meta

from featcache import schema
from featcache.cache.contract import FIRST_FORMAT, FORMAT
from featcache.cache.provenance import Provenance

MAGIC = b"\x93FEATC\r\n"
PREFIX = struct.Struct("<8sIIII")
HEAD = PREFIX.size + 8  # bytes before the JSON: what every version keeps
# 4 KiB to 16 MiB: a hostile size must not fill the memory
USER_BLOCKS = [1 << power for power in range(12, 25)]
CHECKSUMS = "checksums/"
OFFSETS = "offsets/"
KEYS, N_TOKENS, TRUNCATED = "keys", "n_tokens", "truncated"
FACTS = (KEYS, N_TOKENS, TRUNCATED)
ROW_CHECKSUMS = CHECKSUMS + KEYS
INDEX = ("index/entries", "index/first", "index/checksums")
BFLOAT16 = "bfloat16"
_CHECKSUM = struct.Struct("<Q")

Count = Annotated[int, Meta(ge=1, lt=1 << 62)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
Shape = Annotated[tuple[Count, ...], Meta(min_length=1, max_length=2)]
Kind = Literal["uint8", "uint32", "uint64", "float16", "float32", "bfloat16"]
Role = Literal["rows", "addition"]


class MalformedError(ValueError):
    """Bytes that are no user block of this format; the message continues "it is damaged: "."""


class NewerFormatError(ValueError):
    """A sound user block of a later version, which is the message."""


class Extent(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where one dataset lies in the file, as its header says.

    Attributes:
        offset: Bytes from the beginning of the file.
        shape: One or two sizes, rows first.
        kind: The type of its numbers by name; `bfloat16` is stored as the bits, in 16 of them.
        xxh3: The checksum of its bytes, 16 hex digits.
    """

    offset: Count
    shape: Shape
    kind: Kind
    xxh3: Hash

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy type that holds the numbers; uint16 for the bits of bfloat16."""
        return dtype_of(self.kind)

    @property
    def n_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    @property
    def end(self) -> int:
        return self.offset + self.n_bytes


class HeaderFields(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The JSON of a user block.

    Attributes:
        contract: The contract's digest.
        rows: How many rows the file has.
        file_bytes: The size of the whole file.
        rest: The checksum of everything between the user blocks that is in no dataset.
        provenance: What made the rows; see `Provenance`.
        datasets: Name -> where it lies.
        role: From format 2 on: `rows`, or `addition` for datasets of rows in other files.
    """

    contract: Digest
    rows: Count
    file_bytes: Count
    rest: Hash
    provenance: dict[str, Any]
    datasets: dict[str, Extent]
    role: Role | None = None


@dataclass(frozen=True)
class Header:
    """What a user block says, and how.

    Attributes:
        fields: Its JSON.
        user_block: Its size U in bytes.
        version: The version of the format.
        block: Its bytes, where it was read from a file; two headers are equal without them.
    """

    fields: HeaderFields
    user_block: int
    version: int = FIRST_FORMAT
    block: bytes = field(default=b"", compare=False, repr=False)

    @property
    def contract(self) -> str:
        return self.fields.contract

    @property
    def rows(self) -> int:
        return self.fields.rows

    @property
    def file_bytes(self) -> int:
        return self.fields.file_bytes

    @property
    def rest(self) -> str:
        return self.fields.rest

    @property
    def provenance(self) -> Mapping[str, Any]:
        return self.fields.provenance

    @property
    def datasets(self) -> Mapping[str, Extent]:
        return self.fields.datasets

    @property
    def is_addition(self) -> bool:
        """Whether the file adds datasets to rows that are in other files."""
        return self.fields.role == "addition"

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the pooled states, such as `layer_06/mean`."""
        return tuple(name for name in self.datasets if name.startswith("layer_"))

    @property
    def sealed(self) -> bool:
        """Whether the file carries an index of its keys."""
        return INDEX[0] in self.datasets

    def is_ragged(self, view: str) -> bool:
        """Return True if a view has a different number of vectors for each row."""
        return OFFSETS + view in self.datasets

    def width(self, view: str) -> int:
        """The length of a view's vectors."""
        return self.datasets[view].shape[1]

    def gaps(self) -> Iterator[tuple[int, int]]:
        """Yield the stretches between the two user blocks that are in no dataset.

        They hold HDF5's own metadata, and padding.
        """
        place = self.user_block
        for extent in sorted(self.datasets.values(), key=lambda extent: extent.offset):
            yield place, extent.offset
            place = extent.end
        yield place, self.file_bytes - self.user_block

    def to_block(self) -> bytes | None:
        """Write the user block; None where it does not fit into its size."""
        fields = schema.fields_of(self.fields)
        text = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
        if HEAD + len(text) > self.user_block:
            return None
        block = bytearray(self.user_block)
        PREFIX.pack_into(block, 0, MAGIC, self.version, self.user_block, len(text), 0)
        block[HEAD : HEAD + len(text)] = text
        _CHECKSUM.pack_into(block, PREFIX.size, block_hash(block))
        return bytes(block)


def dtype_of(kind: str) -> np.dtype[Any]:
    """The NumPy type of a dataset's numbers, little-endian."""
    return np.dtype("uint16" if kind == BFLOAT16 else kind).newbyteorder("<")


def block_size(head: bytes) -> int:
    """Read the size U from the first 32 bytes.

    Args:
        head: The first 32 bytes of a file.

    Returns:
        The size of its user block, in bytes.

    Raises:
        MalformedError: They are not those of a shard.
    """
    if len(head) < HEAD or head[: len(MAGIC)] != MAGIC:
        msg = "it does not begin as a shard does"
        raise MalformedError(msg)
    _, _, user_block, json_bytes, _ = PREFIX.unpack(head[: PREFIX.size])
    if user_block not in USER_BLOCKS or HEAD + json_bytes > user_block:
        msg = "its header has an impossible size"
        raise MalformedError(msg)
    return int(user_block)


def parse(block: bytes) -> Header:
    """Read a whole user block; `rules.check` then holds what it says to the rules of the format.

    Args:
        block: The user block, or more of the file.

    Returns:
        The header.

    Raises:
        MalformedError: A rule is broken; the message says the first.
        NewerFormatError: A later version wrote it.
    """
    user_block = block_size(block)
    if len(block) < user_block:
        msg = "it is cut off inside its header"
        raise MalformedError(msg)
    _, version, _, json_bytes, _ = PREFIX.unpack_from(block)
    if block_hash(block) != _CHECKSUM.unpack_from(block, PREFIX.size)[0]:
        claim = f" (which claims format {version}; this featcache reads up to {FORMAT})"
        msg = "its header does not match the header's checksum"
        raise MalformedError(msg if FIRST_FORMAT <= version <= FORMAT else msg + claim)
    if version > FORMAT:
        raise NewerFormatError(version)
    if version < FIRST_FORMAT:
        msg = f"there is no format {version}"
        raise MalformedError(msg)
    try:
        fields = schema.read(bytes(block[HEAD : HEAD + json_bytes]), HeaderFields)
        Provenance.of(fields.provenance)
    except schema.SchemaError as error:
        msg = f"its header cannot be read: {error}"
        raise MalformedError(msg) from error
    return Header(fields, user_block, int(version), bytes(block[:user_block]))


def block_hash(block: bytes | bytearray) -> int:
    """The xxh3-64 of a user block without the 8 bytes where this number stands."""
    return xxhash.xxh3_64_intdigest(bytes(block[: PREFIX.size]) + bytes(block[HEAD:]))
