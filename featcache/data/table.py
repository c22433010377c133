"""Table: rows of named columns in memory, each row knowing which file it came from.

All readers end here, and so do Python lists, mappings, data frames and Arrow tables, so that everything
after reading sees one shape of data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_SHOWN = 5  # row numbers named in a message; a file can have thousands


@dataclass(frozen=True)
class Part:
    """One source's share of a table. `textual`: every value was written as text (CSV), so types are guesses."""

    source: str
    n_rows: int
    textual: bool


@dataclass(frozen=True)
class Table:
    """Columns of equal length, in the order of the parts they were read from."""

    columns: dict[str, list[Any]]
    parts: tuple[Part, ...]

    @property
    def n_rows(self) -> int:
        return sum(part.n_rows for part in self.parts)

    @property
    def sources(self) -> str:
        """The sources as a phrase for messages."""
        names = list(dict.fromkeys(part.source for part in self.parts))
        return names[0] if len(names) == 1 else ", ".join(names)

    def place(self, row: int) -> tuple[str, int]:
        """The source of a row and its number there, counting data rows from 1."""
        for part in self.parts:
            if row < part.n_rows:
                return part.source, row + 1
            row -= part.n_rows
        msg = f"row {row} is past the end of the table"
        raise IndexError(msg)

    def places(self, rows: Sequence[int]) -> str:
        """Where the first few of some rows are, for messages: `train.csv, rows 3, 8, …`."""
        shown = [self.place(row) for row in rows[:_SHOWN]]
        sources = dict.fromkeys(source for source, _ in shown)
        numbers = {one: [str(number) for source, number in shown if source == one] for one in sources}
        phrases = [f"{one}, row{'s' if len(found) > 1 else ''} {', '.join(found)}" for one, found in numbers.items()]
        return "; ".join(phrases) + (", …" if len(rows) > len(shown) else "")

    def textual_rows(self) -> list[bool]:
        """For every row, whether its values were all written as text."""
        return [part.textual for part in self.parts for _ in range(part.n_rows)]


def table_of(columns: Mapping[str, Sequence[Any]], source: str, *, textual: bool = False) -> Table:
    """A table of one part. Raises ValueError where the columns differ in length."""
    lists = {str(name): list(values) for name, values in columns.items()}
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        msg = f"columns differ in length: {lengths}"
        raise ValueError(msg)
    n_rows = next(iter(lengths.values()), 0)
    return Table(lists, (Part(source, n_rows, textual),))


def concatenate(tables: Sequence[Table]) -> Table:
    """Rows of all tables, one after the other; a column that one of them lacks is None there."""
    if len(tables) == 1:
        return tables[0]
    names = dict.fromkeys(name for table in tables for name in table.columns)
    columns = {
        name: [value for table in tables for value in table.columns.get(name, [None] * table.n_rows)] for name in names
    }
    return Table(columns, tuple(part for table in tables for part in table.parts))
