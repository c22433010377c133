"""Features as NumPy files or as a plain HDF5 file, for tools that know nothing of featcache."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.columns import Column, write_hdf5
from featcache.cache.contract import dataset_name
from featcache.cache.layout import KEYS, N_TOKENS, TRUNCATED
from featcache.cache.space import Space
from featcache.durable import make_folder, new_file, remove, write_durably
from featcache.errors import MachineError

_STEP = 8192  # rows gathered together


def columns_of(
    space: Space,
    positions: NDArray[np.int64],
    views: Sequence[tuple[int, str]],
    progress: Callable[[int], None],
) -> list[Column]:
    """Make the datasets of an export.

    Args:
        space: The space.
        positions: Of the rows, (M,), in the order in which they are written.
        views: Pairs of a layer and a pooling.
        progress: Called with the rows of a view that were read since the last call.

    Returns:
        The columns: keys, token counts, truncation marks, and one for each view.
    """
    tokens, truncated = space.token_counts(positions)
    columns = [
        Column.of(KEYS, space.keys_at(positions)),
        Column.of(N_TOKENS, tokens.astype("<u4")),
        Column.of(TRUNCATED, truncated.astype(np.uint8)),
    ]
    for layer, pooling in views:
        shape = (len(positions), space.width_of(layer, pooling))
        kind = space.dtype_of(layer, pooling).name
        gather = _gatherer(space, positions, layer, pooling, progress)
        columns.append(Column(dataset_name(layer, pooling), shape, kind, gather))
    return columns


def _gatherer(
    space: Space,
    positions: NDArray[np.int64],
    layer: int,
    pooling: str,
    progress: Callable[[int], None],
) -> Callable[[], Iterator[NDArray[Any]]]:
    def gather() -> Iterator[NDArray[Any]]:
        for start in range(0, len(positions), _STEP):
            part = positions[start : start + _STEP]
            yield space.gather(part, layer=layer, pooling=pooling)
            progress(len(part))

    return gather


def export_hdf5(path: Path, space: Space, columns: Sequence[Column]) -> list[Path]:
    """Write one HDF5 file with a dataset for each column, and the contract as an attribute.

    Args:
        path: The file.
        space: The space, for its contract.
        columns: The datasets.

    Returns:
        The files that were written.

    Raises:
        MachineError: The disk refuses; nothing is left half-written.
    """
    make_folder(path.parent)
    return [write_hdf5(path.parent, path.name, columns, {"contract": space.contract.to_json()})]


def export_numpy(folder: Path, space: Space, columns: Sequence[Column]) -> list[Path]:
    """Write a folder with one .npy file a column (`layer_06-mean.npy`), and contract.json.

    `np.load` can map the files.

    Args:
        folder: The folder; it is made if it is missing.
        space: The space, for its contract.
        columns: The arrays.

    Returns:
        The files that were written.

    Raises:
        MachineError: The disk refuses; what was written is removed then.
    """
    existed = folder.exists()
    make_folder(folder)
    written: list[Path] = []
    try:
        _write_arrays(folder, columns, written)
        written.append(folder / "contract.json")
        write_durably(folder, "contract.json", space.contract.to_json().encode())
    except BaseException:
        with contextlib.suppress(OSError, MachineError):
            remove(written)
            if not existed:
                folder.rmdir()
        raise
    return written


def _write_arrays(folder: Path, columns: Sequence[Column], written: list[Path]) -> None:
    """Write one .npy file a column; each joins `written` before its first byte is."""
    for column in columns:
        head = io.BytesIO()
        facts = {"descr": column.dtype.str, "fortran_order": False, "shape": column.shape}
        np.lib.format.write_array_header_1_0(head, facts)
        name = column.name.replace("/", "-") + ".npy"
        n_bytes = len(head.getvalue()) + int(np.prod(column.shape)) * column.dtype.itemsize
        written.append(folder / name)
        with new_file(folder, name, n_bytes) as file:
            file.write_at(0, head.getvalue())
            place = len(head.getvalue())
            for piece in column.pieces():
                data = np.ascontiguousarray(piece.astype(column.dtype, copy=False))
                file.write_at(place, data.reshape(-1).view(np.uint8).data)
                place += data.nbytes
