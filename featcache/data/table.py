"""Table: rows of named columns in memory, each row knowing which file it came from.

All readers end here, and so do Python lists, mappings, data frames and Arrow tables, so that
everything after reading sees one shape of data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

CHUNK_ROWS = 32_768  # of a table that is one piece of larger data: some MiB of short texts
SHOWN = 5  # row numbers named in a message; a file can have thousands


@dataclass(frozen=True)
class TablePart:
    """One source's share of a table.

    Attributes:
        source: The file, or other source, that the rows come from.
        n_rows: How many rows of the table they are.
        textual: Whether every value was written as text (CSV), so that types are guesses.
        start: Rows of the source before these.
    """

    source: str
    n_rows: int
    textual: bool
    start: int = 0


@dataclass(frozen=True)
class Table:
    """Columns of equal length, in the order of the parts they were read from."""

    columns: dict[str, list[Any]]
    parts: tuple[TablePart, ...]

    @property
    def n_rows(self) -> int:
        return sum(part.n_rows for part in self.parts)

    @property
    def sources(self) -> str:
        """The sources as messages list them."""
        return ", ".join(dict.fromkeys(part.source for part in self.parts))

    def place(self, row: int) -> tuple[str, int]:
        """The source of a row and its number there, counting data rows from 1."""
        return place_in(self.parts, row)

    def places(self, rows: Sequence[int]) -> str:
        """Say where the first few of these rows are, for messages: `train.csv, rows 3, 8, …`."""
        return phrase([self.place(row) for row in rows[:SHOWN]], len(rows))

    def split(self, n_rows: int) -> tuple[Table, Table]:
        """Return the first `n_rows` rows, and the others."""
        before: list[TablePart] = []
        after: list[TablePart] = []
        left = n_rows
        for part in self.parts:
            count = min(part.n_rows, left)
            rest = part.n_rows - count
            left -= count
            if count:
                before.append(replace(part, n_rows=count))
            if rest:
                after.append(replace(part, n_rows=rest, start=part.start + count))
        return (
            Table({name: values[:n_rows] for name, values in self.columns.items()}, tuple(before)),
            Table({name: values[n_rows:] for name, values in self.columns.items()}, tuple(after)),
        )

    def textual_rows(self) -> list[bool]:
        """For every row, whether its values were all written as text."""
        return [part.textual for part in self.parts for _ in range(part.n_rows)]


def table_of(
    columns: Mapping[str, Sequence[Any]],
    source: str,
    *,
    textual: bool = False,
    start: int = 0,
    n_rows: int | None = None,
) -> Table:
    """Make a table of one part.

    Args:
        columns: The values of each column.
        source: The file, or other source, that the rows come from.
        textual: Whether every value was written as text.
        start: Rows of the source before these.
        n_rows: How many rows there are; needed where there may be rows without columns.

    Returns:
        The table.

    Raises:
        ValueError: The columns differ in length.
    """
    lists: dict[str, list[Any]] = {}
    for name, values in columns.items():
        lists[str(name)] = values if isinstance(values, list) else list(values)
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        msg = f"columns differ in length: {lengths}"
        raise ValueError(msg)
    count = next(iter(lengths.values()), 0) if n_rows is None else n_rows
    return Table(lists, (TablePart(source, count, textual, start),))


def concatenate(tables: Sequence[Table]) -> Table:
    """Join the rows of all tables in order; a column that one of them lacks is None there."""
    if len(tables) == 1:
        return tables[0]
    columns: dict[str, list[Any]] = {name: [] for table in tables for name in table.columns}
    for table in tables:
        absent = [None] * table.n_rows
        for name, values in columns.items():
            values.extend(table.columns.get(name, absent))
    return Table(columns, _joined([part for table in tables for part in table.parts]))


def _joined(parts: Sequence[TablePart]) -> tuple[TablePart, ...]:
    """Merge each part into the one before where it goes on in the same source."""
    joined: list[TablePart] = []
    for part in parts:
        last = joined[-1] if joined else None
        if last and part == replace(last, n_rows=part.n_rows, start=last.start + last.n_rows):
            joined[-1] = replace(last, n_rows=last.n_rows + part.n_rows)
        else:
            joined.append(part)
    return tuple(joined)


def place_in(parts: Sequence[TablePart], row: int) -> tuple[str, int]:
    """Return the source of a row of parts laid end to end, and its number there, counted from 1."""
    left = row
    for part in parts:
        if left < part.n_rows:
            return part.source, part.start + left + 1
        left -= part.n_rows
    msg = f"row {row} is past the end of the table"
    raise IndexError(msg)


def phrase(shown: Sequence[tuple[str, int]], total: int) -> str:
    """Write places for messages, the first few of `total`: `train.csv, rows 3, 8, …`."""
    numbers: dict[str, list[str]] = {}
    for source, number in shown:
        numbers.setdefault(source, []).append(str(number))
    phrases = []
    for source, rows in numbers.items():
        noun = "row" if len(rows) == 1 else "rows"
        phrases.append(f"{source}, {noun} {', '.join(rows)}")
    more = ", …" if total > len(shown) else ""
    return "; ".join(phrases) + more
