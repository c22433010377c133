"""Reading the rows of one dataset from the bytes of a file, without checking them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.files import FileBytes
from featcache.cache.layout import Extent

# Bytes read and hashed together: they are still in the processor's cache when they are hashed
STEP = 1 << 20


def offsets_fit(offsets: NDArray[np.uint64], values: Extent) -> bool:
    """Return True if offsets lead through a ragged dataset from its beginning to its end."""
    ascending = bool((offsets[1:] >= offsets[:-1]).all())
    return ascending and int(offsets[0]) == 0 and int(offsets[-1]) == values.shape[0]


def read_pieces(handle: int, extent: Extent) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield a dataset in pieces, each with its first row's number; zeros past the file's end."""
    n_rows = extent.shape[0]
    width = extent.n_bytes // n_rows
    step = max(STEP // width, 1)
    for start in range(0, n_rows, step):
        count = min(step, n_rows - start)
        data = os.pread(handle, count * width, extent.offset + start * width)
        data = data.ljust(count * width, b"\0")
        yield start, np.frombuffer(data, extent.dtype).reshape(count, *extent.shape[1:])


def read_rows(file: FileBytes, extent: Extent, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Read rows of a dataset as they are stored, in the order of `rows`."""
    width = extent.n_bytes // extent.shape[0]
    data = np.ascontiguousarray(file.rows(extent.offset, width, rows))
    return data.reshape(-1).view(extent.dtype).reshape(len(rows), *extent.shape[1:])
