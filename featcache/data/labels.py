"""Labels keep their type: strings stay strings, 0 and 1 integers, true and false booleans.

CSV has no types, so a column in which every label is written as an integer (or as true or false) is
read as such, over all files of a call together: a test file that happens to hold only "1" and "2"
must not disagree with a training file that also holds "other".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featcache.data.table import Table
from featcache.data.texts import is_missing
from featcache.errors import ColumnError, LabelError

Label = str | int | bool

# "01" is a code, not a number, and so is one of 19 digits.
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_BOOLEANS = {
    "true": True,
    "false": False,
    "True": True,
    "False": False,
    "TRUE": True,
    "FALSE": False,
}


@dataclass(frozen=True)
class _Cell:
    """A label as it was read.

    Attributes:
        value: The label.
        untyped: Whether it was written as text, so that its type is a guess.
    """

    value: Label
    untyped: bool


def labels_of(
    tables: Sequence[Table], column: str, rows: Sequence[Sequence[int]]
) -> list[list[Label]]:
    """Read labels of some rows of each table, all of one type.

    Args:
        tables: The data of one call.
        column: The column of the labels.
        rows: Row numbers of each table.

    Returns:
        For each table the labels of its rows.

    Raises:
        ColumnError: A table lacks the column.
        LabelError: Labels are missing, fractional, or of more than one type.
    """
    cells = [_cells(table, column, numbers) for table, numbers in zip(tables, rows, strict=True)]
    types = _types_of([cell for part in cells for cell in part])
    labels = [[_typed(cell, types) for cell in part] for part in cells]
    kinds = sorted({type(label).__name__ for part in labels for label in part})
    if len(kinds) > 1:
        msg = f"column {column!r} mixes labels of the types {' and '.join(kinds)}"
        raise LabelError(msg, cure="Write all labels as one type.")
    return labels


def check_column(table: Table, column: str) -> None:
    """Raise ColumnError, naming the columns of the table, if it lacks that of the labels."""
    if column not in table.columns:
        names = ", ".join(map(repr, table.columns))
        msg = f"{table.sources} has no column {column!r}; its columns are {names}"
        raise ColumnError(msg, cure="Name the labels' column with --label.")


def _types_of(cells: Sequence[_Cell]) -> dict[str, Label]:
    """Say what each label that was written as text means; empty where all of them are strings."""
    written: set[str] = set()
    for cell in cells:
        if not isinstance(cell.value, str):
            continue
        if not cell.untyped:  # a file with types says that the labels are strings
            return {}
        written.add(cell.value)
    if all(map(_INTEGER.fullmatch, written)):
        return {value: int(value) for value in written}
    if written <= _BOOLEANS.keys():
        return {value: _BOOLEANS[value] for value in written}
    return {}


def _typed(cell: _Cell, types: dict[str, Label]) -> Label:
    if cell.untyped and isinstance(cell.value, str):
        return types.get(cell.value, cell.value)
    return cell.value


def _cells(table: Table, column: str, rows: Sequence[int]) -> list[_Cell]:
    check_column(table, column)
    values, untyped = table.columns[column], table.textual_rows()
    missing = [row for row in rows if is_missing(values[row], blank=True)]
    if missing:
        noun = "label is" if len(missing) == 1 else "labels are"
        msg = f"{len(missing):,} {noun} missing in column {column!r}: {table.places(missing)}"
        raise LabelError(msg, cure="Label these rows or take them out of the file.")
    return [_Cell(_plain(table, column, row), untyped[row]) for row in rows]


def _plain(table: Table, column: str, row: int) -> Label:
    """Return a label as Python's own str, int or bool; data frames make whole numbers floats."""
    value: Any = table.columns[column][row]
    if isinstance(value, str):
        return str(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    source, number = table.place(row)
    kind = type(value).__name__
    msg = f"{source}, row {number}: the label {value!r} in column {column!r} is {kind}"
    raise LabelError(msg, cure="Labels are strings, integers or booleans.")
