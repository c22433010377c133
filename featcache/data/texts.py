"""From a table to the exact strings a backbone is given: which column, template and rows."""

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
# What a template may write out; bytes and lists it may not.
_PRINTABLE = (bool, int, float, np.number, np.bool_, Decimal, date, time)


@dataclass(frozen=True)
class TextOptions:
    """How rows become texts.

    Attributes:
        text: The column of the texts; None finds it.
        template: How columns become one text; None takes the column of the texts as it is.
        encoding: The encoding of text files.
        skip_empty: Whether rows without a text are left out rather than refused.
    """

    text: str | None = None
    template: str | None = None
    encoding: str = "utf-8"
    skip_empty: bool = False

    def options(self) -> list[str]:
        """Write the options with which a pasted command line reads the same texts."""
        options: list[str] = []
        if self.text:
            options += ["--text", self.text]
        if self.template:
            options += ["--template", self.template]
        if self.encoding != "utf-8":
            options += ["--encoding", self.encoding]
        if self.skip_empty:
            options.append("--skip-empty")
        return options


@dataclass(frozen=True)
class Texts:
    """Rendered texts and, for each, the row of the table it came from."""

    rendered: list[str]
    rows: list[int]
    n_empty: int


def text_column(table: Table, name: str | None, label: str | None) -> str:
    """Find the column of the texts: `name`, `text`, `sentence`, or else the only text column.

    Args:
        table: The data.
        name: The column that the user named, or None.
        label: The label's column, which is never the text.

    Returns:
        The name of the column.

    Raises:
        ColumnError: That leaves no column or several; the message names the columns there are.
    """
    if name is not None:
        return _named_column(table, name, label)
    for usual in ("text", "sentence"):
        if usual in table.columns and usual != label:
            return usual
    return _only_text_column(table, label)


def _named_column(table: Table, name: str, label: str | None) -> str:
    """Return `name`, or raise ColumnError if the table lacks it or it holds the labels."""
    if name == label:
        msg = f"the column {name!r} is named for the texts and for the labels"
        cure = "Name the texts' column with --text and the labels' with --label."
        raise ColumnError(msg, cure=cure)
    if name not in table.columns:
        names = _listed(list(table.columns))
        msg = f"{table.sources} has no column {name!r}; its columns are {names}"
        raise ColumnError(msg, cure="Name one of these with --text.")
    return name


def _only_text_column(table: Table, label: str | None) -> str:
    """Return the one column that holds text, or raise ColumnError if there is none or several."""
    # By the rows that a pass over large data sees first, so that every verb takes the same column.
    textual = table.textual_rows()[:CHUNK_ROWS]
    candidates: list[str] = []
    for name, values in table.columns.items():
        if name not in {label, "label"} and _holds_text(values[:CHUNK_ROWS], textual):
            candidates.append(name)
    if len(candidates) == 1:
        return candidates[0]
    which = "none of them is text"
    if candidates:
        which = f"{_listed(candidates)} could all be the text"
    msg = f"{table.sources} has the columns {_listed(list(table.columns))}, and {which}"
    raise ColumnError(msg, cure="Say which one with --text COLUMN.")


@dataclass(frozen=True)
class Fields:
    """Which column fills which field of the template.

    Attributes:
        columns: The column of each field; without a template there is the one field `text`.
        template: The template, or None.
    """

    columns: Mapping[str, str]
    template: Template | None

    @classmethod
    def of(cls, table: Table, reading: TextOptions, *, label: str | None = None) -> Fields:
        """Work out what a reading means for data with the columns of a table.

        In a template (see `templates.Template`) `{text}` is the text column, unless a column has
        that very name.

        Args:
            table: Rows with the columns of the data.
            reading: How rows become texts.
            label: The label's column, which is never the text.

        Returns:
            The fields.

        Raises:
            ColumnError: A column is missing, or it is not clear which one is the text.
        """
        template = None if reading.template is None else Template.parse(reading.template)
        return cls(_field_columns(table, template, reading.text, label), template)


def render(table: Table, reading: TextOptions, *, label: str | None = None) -> Texts:
    """Render the string of every row that is not empty.

    Args:
        table: The data.
        reading: How rows become texts.
        label: The label's column, which is never the text.

    Returns:
        The strings and their rows.

    Raises:
        ColumnError: A column is missing (see `Fields.of`).
        TextError: Texts are empty or missing (unless `skip_empty` is set), values are not text, or
            strings do not encode to UTF-8. The message has the row numbers.
    """
    texts, empty = render_rows(table, Fields.of(table, reading, label=label))
    shown = [table.place(row) for row in empty[:SHOWN]]
    check_empty(shown, len(empty), table.n_rows, table.sources, skip_empty=reading.skip_empty)
    return texts


def render_rows(table: Table, fields: Fields) -> tuple[Texts, list[int]]:
    """Render every row that is not empty, and say which rows are; an absent column is empty.

    Args:
        table: The data.
        fields: Which column fills which field.

    Returns:
        The strings with their rows, and the numbers of the empty rows.

    Raises:
        TextError: Values are not text, or strings do not encode to UTF-8. The message has the row
            numbers.
    """
    rendered: list[str] = []
    rows: list[int] = []
    empty: list[int] = []
    template, absent = fields.template, [None] * table.n_rows
    names, sources = list(fields.columns), list(fields.columns.values())
    columns = [table.columns.get(source, absent) for source in sources]
    for row, values in enumerate(zip(*columns, strict=True)):
        strings = _strings(table, sources, row, values, strict=template is None)
        if not any(map(str.strip, strings)):
            empty.append(row)
            continue
        string = strings[0]
        if template is not None:
            string = template.render(dict(zip(names, strings, strict=True)))
        if not string.isascii():
            _check_encodes(string, table, row)
        rendered.append(string)
        rows.append(row)
    return Texts(rendered, rows, len(empty)), empty


def _strings(
    table: Table, columns: Sequence[str], row: int, values: Sequence[Any], *, strict: bool
) -> list[str]:
    """Return the values of one row as strings."""
    strings: list[str] = []
    for column, value in zip(columns, values, strict=True):
        if type(value) is str:
            strings.append(value)
        else:
            strings.append(_string(table, column, row, value, strict=strict))
    return strings


def check_empty(
    shown: Sequence[tuple[str, int]], n_empty: int, n_rows: int, sources: str, *, skip_empty: bool
) -> None:
    """Raise TextError where rows are empty that may not be, or where all of them are.

    Args:
        shown: Places of the first few empty rows.
        n_empty: How many rows are empty.
        n_rows: How many rows there are.
        sources: The sources as messages list them.
        skip_empty: Whether rows may be empty.
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
            msg = (
                f"the template puts the label's column {label!r} into the text, "
                "which would give every label away"
            )
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
        cure = "Repair the text; such strings come from cut-off UTF-16."
        raise TextError(msg, cure=cure) from error


def _string(table: Table, column: str, row: int, value: Any, *, strict: bool) -> str:
    """Return one value as a string; `strict` refuses numbers, dates and the like."""
    if isinstance(value, str):
        return str(value)  # NumPy's strings become Python's
    if is_missing(value):
        return ""
    if strict or not isinstance(value, _PRINTABLE):
        source, number = table.place(row)
        kind = type(value).__name__
        msg = f"{source}, row {number}: column {column!r} holds {kind} {value!r}, not text"
        cure = "Give the column of the texts with --text, or write its values as strings."
        raise TextError(msg, cure=cure)
    return str(value)


def is_missing(value: Any, *, blank: bool = False) -> bool:
    """Return True if a cell is empty: None, or the NaN, NA or NaT that data frames use for it.

    Args:
        value: What the cell holds.
        blank: Whether a string of white space counts as empty, too.

    Returns:
        True if it is empty.
    """
    if value is None or type(value).__name__ in _MISSING_IN_PANDAS:
        return True
    if blank and isinstance(value, str):
        return not value.strip()
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _holds_text(values: list[Any], textual: list[bool]) -> bool:
    """Return True if a column is text; in a file without types, if a value is no plain number."""
    holds_text = False
    for value, written in zip(values, textual, strict=True):
        if is_missing(value):
            continue
        if not isinstance(value, str):
            return False
        if not written or (value.strip() and not _is_number(value)):
            holds_text = True
    return holds_text


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
