"""Ways to damage a shard, drawn by chance. Each takes a file's bytes and gives others.

Those of the header know its layout: magic, version, size U of the user block, size of the JSON,
checksum, JSON; the last U bytes of the file are a copy of the first.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import xxhash

PREFIX = struct.Struct("<8sIIII")  # magic, version, U, bytes of JSON, zero
HEAD = PREFIX.size + 8
Bytes = bytearray
Damage = Callable[[Bytes, random.Random], Bytes]


def header_of(data: bytes | Bytes) -> dict[str, Any]:
    """The JSON of a sound shard."""
    _, _, _, size, _ = PREFIX.unpack_from(data)
    fields: dict[str, Any] = json.loads(data[HEAD : HEAD + size])
    return fields


def with_header(data: Bytes, text: bytes, *, copies: tuple[bool, bool] = (True, True)) -> Bytes:
    """Other JSON in the header, in the copy at the end, or in both, with a checksum that fits."""
    magic, version, user_block, _, zero = PREFIX.unpack_from(data)
    text = text[: user_block - HEAD]
    block = bytearray(user_block)
    PREFIX.pack_into(block, 0, magic, version, user_block, len(text), zero)
    block[HEAD : HEAD + len(text)] = text
    return with_block(data, seal(block), copies=copies)


def seal(block: Bytes) -> Bytes:
    """A user block with the checksum that it should have."""
    struct.pack_into(
        "<Q",
        block,
        PREFIX.size,
        xxhash.xxh3_64_intdigest(bytes(block[: PREFIX.size] + block[HEAD:])),
    )
    return block


def with_block(data: Bytes, block: Bytes, *, copies: tuple[bool, bool] = (True, True)) -> Bytes:
    if copies[0]:
        data[: len(block)] = block
    if copies[1]:
        data[len(data) - len(block) :] = block
    return data


def _place(data: Bytes, chance: random.Random) -> int:
    """Anywhere; but a header is small and its bytes matter, so every third time in it."""
    _, _, _, size, _ = PREFIX.unpack_from(data)
    header = min(HEAD + size, len(data))  # the size may be what was damaged before
    return chance.randrange(header) if chance.random() < 0.33 else chance.randrange(len(data))


def flip(data: Bytes, chance: random.Random) -> Bytes:
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        data[_place(data, chance)] ^= 1 << chance.randrange(8)
    return data


def cut(data: Bytes, chance: random.Random) -> Bytes:
    end = _place(data, chance)
    return data[: end // 512 * 512 if chance.random() < 0.5 else end]


def extend(data: Bytes, chance: random.Random) -> Bytes:
    count = chance.choice((1, 8, 100, 512, 4096))
    return data + chance.choice(
        (bytes(count), chance.randbytes(count), bytes(data), bytes(data[:count]))
    )


def zero_sectors(data: Bytes, chance: random.Random) -> Bytes:
    for _ in range(chance.randint(1, 3)):
        start = _place(data, chance) // 512 * 512
        data[start : start + 512] = bytes(len(data[start : start + 512]))
    return data


def scribble(data: Bytes, chance: random.Random) -> Bytes:
    start = _place(data, chance)
    stop = min(start + chance.choice((1, 2, 8, 64, 600)), len(data))
    data[start:stop] = chance.randbytes(stop - start)
    return data


def swap_blocks(data: Bytes, chance: random.Random) -> Bytes:
    size = chance.choice((16, 64, 512, 4096))
    one, other = (chance.randrange(len(data) // size) * size for _ in range(2))
    data[one : one + size], data[other : other + size] = (
        data[other : other + size],
        data[one : one + size],
    )
    return data


def copy_block(data: Bytes, chance: random.Random) -> Bytes:
    size = chance.choice((16, 64, 512, 4096))
    one, other = (chance.randrange(len(data) // size) * size for _ in range(2))
    data[one : one + size] = data[other : other + size]
    return data


def shift(data: Bytes, chance: random.Random) -> Bytes:
    place, count = _place(data, chance), chance.choice((1, 16, 512))
    if chance.random() < 0.5:
        return data[:place] + data[place + count :]
    return data[:place] + bytes(count) + data[place:]


def edit_text(data: Bytes, chance: random.Random) -> Bytes:
    """A character of the header's JSON, the checksum left as it is."""
    _, _, _, size, _ = PREFIX.unpack_from(data)
    data[HEAD + chance.randrange(size)] = chance.choice(b'0123456789abcdef{}[]",: ')
    return data


def edit_prefix(data: Bytes, chance: random.Random) -> Bytes:
    """One of the numbers before the JSON, with a checksum that fits where there is still one."""
    block = data[: PREFIX.unpack_from(data)[2]]
    struct.pack_into(
        "<I", block, chance.choice((8, 12, 16, 20)), chance.choice(_NUMBERS) & 0xFFFFFFFF
    )
    return with_block(data, seal(block), copies=_copies(chance))


_NUMBERS = (
    0,
    1,
    2,
    3,
    16,
    4095,
    4096,
    8192,
    1 << 31,
    (1 << 32) - 1,
    1 << 61,
    1 << 63,
    (1 << 64) - 1,
    1 << 200,
)
_DTYPES = (
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int64",
    "float16",
    "float32",
    "float64",
    "object",
    "V4",
    "<f2",
    "",
)


def edit_field(data: Bytes, chance: random.Random) -> Bytes:
    """One value of the header's JSON becomes another, with a checksum that fits."""
    fields = header_of(data)
    leaves = list(_leaves(fields))
    holder, key = chance.choice(leaves)
    old = holder[key]
    way = chance.random()
    if way < 0.2 and isinstance(holder, dict):
        del holder[key]
    elif way < 0.3 and isinstance(holder, dict):
        holder[chance.choice(("", "x", "layer_01/mean", "layer_00/last", "index/entries"))] = old
    elif way < 0.6:
        # Of the same kind: an offset for an offset, a hash for a hash.
        other = chance.choice(
            [where[name] for where, name in leaves if type(where[name]) is type(old)]
        )
        holder[key] = deepcopy(other)
    else:
        holder[key] = _other(old, chance)
    return with_header(data, json.dumps(fields).encode(), copies=_copies(chance))


def _copies(chance: random.Random) -> tuple[bool, bool]:
    return chance.choice(((True, True), (True, True), (True, False), (False, True)))


def _leaves(value: Any) -> list[tuple[Any, Any]]:
    """All places in nested dicts and lists, as (container, key)."""
    keys = (
        list(value)
        if isinstance(value, dict)
        else range(len(value))
        if isinstance(value, list)
        else []
    )
    return [place for key in keys for place in ((value, key), *_leaves(value[key]))]


def _other(old: Any, chance: random.Random) -> Any:
    if isinstance(old, int):
        near = (
            old + 1,
            old - 1,
            old * 2,
            -old,
            old + 64,
            old - 64,
            old + 4096,
            old ^ 1,
            old / 2,
            float(old),
        )
        return chance.choice((*near, *_NUMBERS, str(old), True, None, float("nan"), [old]))
    if isinstance(old, str):
        return chance.choice(
            (*_DTYPES, "0" * len(old), old[:-1], old + "0", old.upper(), "é" * 16, 0, None, [], {})
        )
    nested: Any = old
    for _ in range(chance.choice((1, 1, 50))):
        nested = [nested]
    return chance.choice(
        (nested, [], {}, None, 0, "", [*old, *old] if isinstance(old, list) else [old])
    )


BYTES: tuple[Damage, ...] = (
    flip,
    cut,
    extend,
    zero_sectors,
    scribble,
    swap_blocks,
    copy_block,
    shift,
    edit_text,
)
FORGED: tuple[Damage, ...] = (edit_prefix, edit_field)
