"""From a table to the exact strings a backbone is given: which column, which template, which rows
are empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from typing import Any

import numpy as np

from featcache.data.table import CHUNK_ROWS, SHOWN, Table, phrase
from featcache.data.templates import Template
from featcache.errors import ColumnError, TextError

_MISSING_IN_PANDAS = {"NAType", "NaTType"}  # by name, without importing pandas
_PRINTABLE = (
    bool,
    int,
    float,
    np.number,
    np.bool_,
    Decimal,
    date,
    time,
)  # what a template may write out; bytes and lists it may not


@dataclass(frozen=True)
class TextOptions:
    """How rows become texts: the texts' column (None: find it), a template, the files' encoding,
    empty rows.
    """

    text: str | None = None
    template: str | None = None
    encoding: str = "utf-8"
    skip_empty: bool = False

    def options(self) -> list[str]:
        """The options of the command line that read the same texts, for commands that are to be
        pasted.
        """
        options = ["--text", self.text] if self.text else []
        options += ["--template", self.template] if self.template else []
        options += ["--encoding", self.encoding] if self.encoding != "utf-8" else []
        return options + (["--skip-empty"] if self.skip_empty else [])


@dataclass(frozen=True)
class Texts:
    """Rendered texts and, for each, the row of the table it came from."""

    rendered: list[str]
    rows: list[int]
    n_empty: int


def text_column(table: Table, wanted: str | None, label: str | None) -> str:
    """The column of the texts: the one wanted, else `text`, else `sentence`, else the only text
    column.

    Raises ColumnError, naming the columns there are, where that leaves none or several.
    """
    names = list(table.columns)
    if wanted is not None and wanted == label:
        msg = f"the column {wanted!r} is asked for as text and as label, so every label would be in its text"
        raise ColumnError(
            msg, cure="Name the texts' column with --text and the labels' with --label."
        )
    if wanted is not None:
        if wanted not in table.columns:
            msg = f"{table.sources} has no column {wanted!r}; its columns are {_listed(names)}"
            raise ColumnError(msg, cure="Name one of these with --text.")
        return wanted
    for usual in ("text", "sentence"):
        if usual in table.columns and usual != label:
            return usual
    # By the rows that a pass over large data sees first, so that every verb takes the same column.
    textual = table.textual_rows()[:CHUNK_ROWS]
    candidates = [
        name
        for name in names
        if name not in {label, "label"} and _holds_text(table.columns[name][:CHUNK_ROWS], textual)
    ]
    if len(candidates) == 1:
        return candidates[0]
    which = (
        "none of them is text" if not candidates else f"{_listed(candidates)} could all be the text"
    )
    msg = f"{table.sources} has the columns {_listed(names)}, and {which}"
    raise ColumnError(msg, cure="Say which one with --text COLUMN.")


@dataclass(frozen=True)
class Fields:
    """Which column fills which field of the template; without a template there is the one field
    `text`.
    """

    columns: Mapping[str, str]
    template: Template | None

    @classmethod
    def of(cls, table: Table, reading: TextOptions, *, label: str | None = None) -> Fields:
        """What a reading means for data with the columns of a table.

        In a template (see `templates.Template`) `{text}` is the text column, unless a column has
        that very name.
        label: the label's column, which is never the text.
        Raises ColumnError for missing columns, or where it cannot be told which one is the text.
        """
        template = None if reading.template is None else Template.parse(reading.template)
        return cls(_field_columns(table, template, reading.text, label), template)


def render(table: Table, reading: TextOptions, *, label: str | None = None) -> Texts:
    """The string of every row that is not empty.

    label: the label's column, which is never the text.
    Raises ColumnError for missing columns (see `Fields.of`); TextError, with row numbers, for empty
    or missing texts (unless `skip_empty` is set), for values that are not text, and for strings
    that do not encode to UTF-8.
    """
    texts, empty = render_rows(table, Fields.of(table, reading, label=label))
    shown = [table.place(row) for row in empty[:SHOWN]]
    check_empty(shown, len(empty), table.n_rows, table.sources, skip_empty=reading.skip_empty)
    return texts


def render_rows(table: Table, fields: Fields) -> tuple[Texts, list[int]]:
    """The string of every row that is not empty, and which rows are; a column that is not there is
    empty.

    Raises TextError, with row numbers, for values that are not text, and for strings that do not
    encode to UTF-8.
    """
    rendered: list[str] = []
    rows: list[int] = []
    empty: list[int] = []
    template, absent = fields.template, [None] * table.n_rows
    names = list(fields.columns)
    columns = [table.columns.get(name, absent) for name in fields.columns.values()]
    for row, values in enumerate(zip(*columns, strict=True)):
        strings = [
            value
            if type(value) is str
            else _string(table, fields.columns[name], row, value, strict=template is None)
            for name, value in zip(names, values, strict=True)
        ]
        if not any(value.strip() for value in strings):
            empty.append(row)
            continue
        string = (
            strings[0]
            if template is None
            else template.render(dict(zip(names, strings, strict=True)))
        )
        if not string.isascii():
            _check_encodes(string, table, row)
        rendered.append(string)
        rows.append(row)
    return Texts(rendered, rows, len(empty)), empty


def check_empty(
    shown: Sequence[tuple[str, int]], n_empty: int, n_rows: int, sources: str, *, skip_empty: bool
) -> None:
    """Raises TextError where rows are empty that may not be, or all are. shown: places of the first
    few of them.
    """
    if n_empty and not skip_empty:
        noun = "text is" if n_empty == 1 else "texts are"
        msg = f"{n_empty:,} {noun} empty or missing: {phrase(shown, n_empty)}"
        raise TextError(msg, cure="Fill them in, or go on without them: --skip-empty.")
    if n_empty == n_rows:
        msg = f"{sources} holds no text: {_all_rows(n_rows)} empty"
        raise TextError(msg, cure="Check that the right column is read (--text COLUMN).")


def _field_columns(
    table: Table, template: Template | None, text: str | None, label: str | None
) -> dict[str, str]:
    if template is None:
        return {"text": text_column(table, text, label)}
    columns: dict[str, str] = {}
    for field in template.fields:
        if field == label:
            msg = f"the template puts the label's column {label!r} into the text, which would give every label away"
            raise ColumnError(msg, cure="Take it out of the template.")
        if field in table.columns:
            columns[field] = field
        elif field == "text":
            columns[field] = text_column(table, text, label)
        else:
            msg = (
                f"the template names the column {field!r}, which {table.sources} does not have; "
                f"its columns are {_listed(list(table.columns))}"
            )
            raise ColumnError(msg, cure="Use one of these in the template.")
    return columns


def _check_encodes(string: str, table: Table, row: int) -> None:
    try:
        string.encode("utf-8")
    except UnicodeEncodeError as error:
        source, number = table.place(row)
        msg = f"{source}, row {number}: the text holds half a surrogate pair, which is no character"
        raise TextError(
            msg, cure="Repair the text; such strings come from cut-off UTF-16."
        ) from error


def _string(table: Table, column: str, row: int, value: Any, *, strict: bool) -> str:
    if isinstance(value, str):
        return str(value)  # NumPy's strings become Python's
    if is_missing(value):
        return ""
    if strict or not (isinstance(value, _PRINTABLE)):
        source, number = table.place(row)
        msg = f"{source}, row {number}: column {column!r} holds {type(value).__name__} {value!r}, not text"
        raise TextError(
            msg, cure="Give the column of the texts with --text, or write its values as strings."
        )
    return str(value)


def is_missing(value: Any, *, blank: bool = False) -> bool:
    """Whether a cell is empty: None, or the NaN, NA or NaT that data frames use for it.

    Args:
        value: What the cell holds.
        blank: Whether a string of white space counts as empty, too.
    """
    if value is None or type(value).__name__ in _MISSING_IN_PANDAS:
        return True
    if blank and isinstance(value, str):
        return not value.strip()
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _holds_text(values: list[Any], textual: list[bool]) -> bool:
    """Whether a column is text; where a file has no types, whether some value is not a plain
    number.
    """
    present = [
        (value, written)
        for value, written in zip(values, textual, strict=True)
        if not is_missing(value)
    ]
    if not present or not all(isinstance(value, str) for value, _ in present):
        return False
    return any(
        not written or (value.strip() and not _is_number(value)) for value, written in present
    )


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return value.strip().lower() in {"true", "false"}
    return True


def _all_rows(count: int) -> str:
    return "its only row is" if count == 1 else f"all {count:,} rows are"


def _listed(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names) if names else "none"
