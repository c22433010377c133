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

    textual: every value was written as text (CSV), so types are guesses.  start: rows of the source
    before these.
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
        """The sources as a phrase for messages."""
        return ", ".join(dict.fromkeys(part.source for part in self.parts))

    def place(self, row: int) -> tuple[str, int]:
        """The source of a row and its number there, counting data rows from 1."""
        return place_in(self.parts, row)

    def places(self, rows: Sequence[int]) -> str:
        """Where the first few of some rows are, for messages: `train.csv, rows 3, 8, …`."""
        return phrase([self.place(row) for row in rows[:SHOWN]], len(rows))

    def split(self, n_rows: int) -> tuple[Table, Table]:
        """The first `n_rows` rows, and the others."""
        before: list[TablePart] = []
        after: list[TablePart] = []
        for part in self.parts:
            count = min(part.n_rows, n_rows - sum(one.n_rows for one in before))
            before += [replace(part, n_rows=count)] if count else []
            rest = part.n_rows - count
            after += [replace(part, n_rows=rest, start=part.start + count)] if rest else []
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
    """A table of one part. n_rows: needed where there may be rows without columns.

    Raises ValueError where the columns differ in length.
    """
    lists = {
        str(name): values if isinstance(values, list) else list(values)
        for name, values in columns.items()
    }
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        msg = f"columns differ in length: {lengths}"
        raise ValueError(msg)
    count = next(iter(lengths.values()), 0) if n_rows is None else n_rows
    return Table(lists, (TablePart(source, count, textual, start),))


def concatenate(tables: Sequence[Table]) -> Table:
    """Rows of all tables, one after the other; a column that one of them lacks is None there."""
    if len(tables) == 1:
        return tables[0]
    names = dict.fromkeys(name for table in tables for name in table.columns)
    columns = {
        name: [
            value for table in tables for value in table.columns.get(name, [None] * table.n_rows)
        ]
        for name in names
    }
    parts: list[TablePart] = []
    for part in (part for table in tables for part in table.parts):
        if parts and part == replace(
            parts[-1], n_rows=part.n_rows, start=parts[-1].start + parts[-1].n_rows
        ):
            parts[-1] = replace(
                parts[-1], n_rows=parts[-1].n_rows + part.n_rows
            )  # it goes on where that one ends
        else:
            parts.append(part)
    return Table(columns, tuple(parts))


def place_in(parts: Sequence[TablePart], row: int) -> tuple[str, int]:
    """The source of a row of some parts laid end to end, and its number there, counting data rows
    from 1.
    """
    left = row
    for part in parts:
        if left < part.n_rows:
            return part.source, part.start + left + 1
        left -= part.n_rows
    msg = f"row {row} is past the end of the table"
    raise IndexError(msg)


def phrase(shown: Sequence[tuple[str, int]], total: int) -> str:
    """Places for messages, the first few of `total`: `train.csv, rows 3, 8, …`."""
    sources = dict.fromkeys(source for source, _ in shown)
    numbers = {one: [str(number) for source, number in shown if source == one] for one in sources}
    phrases = [
        f"{one}, row{'s' if len(found) > 1 else ''} {', '.join(found)}"
        for one, found in numbers.items()
    ]
    return "; ".join(phrases) + (", …" if total > len(shown) else "")
