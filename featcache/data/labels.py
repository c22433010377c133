"""Labels keep their type: strings stay strings, 0 and 1 stay integers, true and false stay
booleans.

CSV has no types, so a column in which every label is written as an integer (or as true/false) is
read as such, over all files of a call together: a test file that happens to hold only "1" and "2"
must not disagree with a training file that also holds "other".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from featcache.data.table import Table
from featcache.data.texts import is_missing
from featcache.errors import ColumnError, LabelError

Label = str | int | bool

_INTEGER = re.compile(
    r"0|-?[1-9][0-9]{0,17}"
)  # "01" is a code, not a number, and so is one of 19 digits
_BOOLEANS = {
    "true": True,
    "false": False,
    "True": True,
    "False": False,
    "TRUE": True,
    "FALSE": False,
}


def labels_of(
    tables: Sequence[Table], column: str, rows: Sequence[Sequence[int]]
) -> list[list[Label]]:
    """Labels of the given rows of each table, all of one type.

    Raises ColumnError where a table lacks the column; LabelError, with row numbers, where labels
    are missing, fractional, or of more than one type.
    """
    cells = [_cells(table, column, chosen) for table, chosen in zip(tables, rows, strict=True)]
    written = [value for part in cells for value, textual in part if textual]
    convert: dict[str, Label] = {}
    if any(isinstance(value, str) and not textual for part in cells for value, textual in part):
        pass  # a file with types says that the labels are strings
    elif written and all(_INTEGER.fullmatch(value) for value in written):
        convert = {value: int(value) for value in written}
    elif written and all(value in _BOOLEANS for value in written):
        convert = {value: _BOOLEANS[value] for value in written}
    labels = [
        [convert.get(value, value) if textual else value for value, textual in part]
        for part in cells
    ]
    kinds = sorted({type(value).__name__ for part in labels for value in part})
    if len(kinds) > 1:
        msg = f"column {column!r} mixes labels of the types {' and '.join(kinds)}"
        raise LabelError(msg, cure="Write all labels as one type.")
    return labels


def _cells(table: Table, column: str, rows: Sequence[int]) -> list[tuple[Any, bool]]:
    if column not in table.columns:
        names = ", ".join(repr(name) for name in table.columns)
        msg = f"{table.sources} has no column {column!r}; its columns are {names}"
        raise ColumnError(msg, cure="Name the labels' column with --label.")
    textual = table.textual_rows()
    missing: list[int] = []
    cells: list[tuple[Any, bool]] = []
    for row in rows:
        value = table.columns[column][row]
        if is_missing(value) or (isinstance(value, str) and not value.strip()):
            missing.append(row)
        else:
            cells.append(
                (str(value) if isinstance(value, str) else _plain(table, column, row), textual[row])
            )
    if missing:
        noun = "label is" if len(missing) == 1 else "labels are"
        msg = f"{len(missing):,} {noun} missing in column {column!r}: {table.places(missing)}"
        raise LabelError(msg, cure="Label these rows or take them out of the file.")
    return cells


def _plain(table: Table, column: str, row: int) -> int | bool:
    """A label that is no string as Python's own int or bool; data frames turn whole numbers to
    floats.
    """
    value = table.columns[column][row]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    source, number = table.place(row)
    msg = f"{source}, row {number}: the label {value!r} in column {column!r} is {type(value).__name__}"
    raise LabelError(msg, cure="Labels are strings, integers or booleans.")
