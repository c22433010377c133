"""`predictions.parquet`: row by row, what the choice and the linear head say. It holds no texts.

Two runs that were scored on the same rows are compared by it, without the cache.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.errors import first_line
from featcache.search.scores import RowPredictions

NAME = "predictions.parquet"
CLASS_COLUMNS = ("label", "best", "linear")


@dataclass(frozen=True)
class Predictions:
    """Rows of one part with what was predicted for each.

    Attributes:
        part: "test", or "validation" in a run without test rows.
        keys: (N, 16) uint8, the rows' keys.
        label: (N,) class numbers that the rows carry.
        best: (N,) class numbers by the choice.
        linear: (N,) class numbers by the linear head.
    """

    part: str
    keys: NDArray[np.uint8]
    label: NDArray[np.int64]
    best: NDArray[np.int64]
    linear: NDArray[np.int64]


def encode_predictions(rows: RowPredictions, keys: NDArray[np.uint8]) -> bytes:
    """Write predictions as Parquet.

    Args:
        rows: What was predicted for each of N rows.
        keys: (N, 16) uint8, their keys.

    Returns:
        The bytes of the file.
    """
    import pyarrow as pa
    from pyarrow import parquet

    columns = {
        "key": pa.array([bytes(key) for key in keys], pa.binary(16)),
        "label": pa.array(rows.truth.astype(np.int32)),
        "best": pa.array(rows.best.astype(np.int32)),
        "linear": pa.array(rows.linear.astype(np.int32)),
        "confidence": pa.array(rows.confidence.astype(np.float32)),
    }
    table = pa.table(columns).replace_schema_metadata({"part": rows.part})
    stream = io.BytesIO()
    parquet.write_table(table, stream)
    return stream.getvalue()


def decode_predictions(data: bytes, n_classes: int) -> Predictions:
    """Read predictions of a run.

    Args:
        data: The bytes of the file.
        n_classes: How many classes the run has.

    Returns:
        The predictions.

    Raises:
        ValueError: The bytes are not what `encode_predictions` writes for such a run.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(data), columns=["key", *CLASS_COLUMNS])
        keys = table["key"].cast(pa.binary(16)).combine_chunks()
        joined = b"".join(bytes(key) for key in keys.to_pylist())
        columns = {name: _class_numbers(table[name], name, n_classes) for name in CLASS_COLUMNS}
        part = (table.schema.metadata or {}).get(b"part", b"test").decode()
    except (pa.ArrowException, KeyError, TypeError, OverflowError) as error:
        raise ValueError(first_line(error)) from error
    return Predictions(part, np.frombuffer(joined, dtype=np.uint8).reshape(-1, 16), **columns)


def _class_numbers(column: object, name: str, n_classes: int) -> NDArray[np.int64]:
    """Return a column as class numbers (N,) below `n_classes`."""
    import pyarrow as pa

    integers = column.cast(pa.int64())  # type: ignore[attr-defined]  # pyarrow has no types
    numbers = np.asarray(integers.to_numpy(zero_copy_only=False), dtype=np.int64)
    if integers.null_count or (
        len(numbers) and not (numbers.min() >= 0 and numbers.max() < n_classes)
    ):
        msg = f"column {name!r} holds a class that the run does not know"
        raise ValueError(msg)
    return numbers
