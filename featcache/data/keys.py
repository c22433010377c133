"""Row keys: a text is known to the cache by its content, never by file, row number or order.

The key is BLAKE2b with a 16-byte digest (RFC 7693) over the UTF-8 bytes of the rendered text, the
exact string that the tokenizer is given. At 10 million texts the odds of two sharing a key are
about 1e-25.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

KEY_BYTES = 16


def row_key(text: str) -> bytes:
    """Return the 16-byte key of one rendered text, which holds no lone surrogates."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=KEY_BYTES).digest()


def row_keys(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Return the keys of N texts as uint8 of shape (N, 16), in the order of `texts`."""
    joined = b"".join(row_key(text) for text in texts)
    return np.frombuffer(joined, dtype=np.uint8).reshape(len(texts), KEY_BYTES)


def first_of_each(keys: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the first row with each text, and for every row the place of its text among those.

    Args:
        keys: uint8 (N, 16), the row keys.

    Returns:
        (first, group). `first` (U,) holds the ascending row numbers of the U distinct texts;
        `group` (N,) holds numbers in 0..U-1, so that `keys[first][group]` equals `keys`.
    """
    order, opens = _sorted(keys)
    heads = order[opens]  # of each text its first row, by key
    by_row = np.argsort(heads)
    place = np.empty(len(heads), dtype=np.int64)
    place[by_row] = np.arange(len(heads))
    group = np.empty(len(keys), dtype=np.int64)
    group[order] = place[np.cumsum(opens) - 1]
    return heads[by_row], group


def first_rows(keys: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return `first` of `first_of_each` in half the memory, which is 32 bytes a row."""
    order, opens = _sorted(keys)
    return np.sort(order[opens])


def _sorted(keys: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Sort row numbers (N,) by key, equal keys in their order, and mark (N,) where a key begins."""
    halves = np.ascontiguousarray(keys).view(np.uint64).reshape(len(keys), 2)
    order = np.argsort(halves[:, 0], kind="stable")
    opens = np.ones(len(keys), dtype=np.bool_)
    opens[1:] = np.diff(halves[order, 0]) != 0
    same = np.flatnonzero(~opens)
    if (halves[order[same], 1] != halves[order[same - 1], 1]).any():  # by chance once in 2^64 pairs
        order = np.lexsort((halves[:, 1], halves[:, 0]))
        opens[1:] = (halves[order[1:]] != halves[order[:-1]]).any(axis=1)
    return order, opens
