"""A first pass over data: every row is read, rendered and checked, and only its 16-byte key is
kept.

So bad data are found before anything is computed, and what is kept does not grow with the texts. A
second pass (`Cursor`) gives the texts that are wanted and holds each to its key: data that changed
in between are an error, never features of another text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from featcache.data.keys import first_rows, row_keys
from featcache.data.stream import Stream
from featcache.data.table import CHUNK_ROWS, SHOWN, Table, TablePart, place_in
from featcache.data.texts import Fields, TextOptions, check_empty, render_rows
from featcache.errors import DataFileError


@dataclass(frozen=True)
class Chunk:
    """One table of the first pass. rows: of each text, (n_texts,); None where every row is one."""

    parts: tuple[TablePart, ...]
    n_texts: int
    rows: NDArray[np.int32] | None


@dataclass(frozen=True)
class Survey:
    """What the first pass found. Texts are known by their place among the U different ones.

    n_texts: rows that are not empty; n_empty: the others.  keys: uint8 (U, 16).  first: (U,) places
    of the different texts among all.  head: the texts of the first chunk, which need not be read
    again.
    """

    keys: NDArray[np.uint8]
    first: NDArray[np.int64]
    n_texts: int
    n_empty: int
    sources: tuple[str, ...]
    head: Sequence[str]
    stream: Stream
    fields: Fields
    chunks: tuple[Chunk, ...]
    chunk_rows: int

    @classmethod
    def of(cls, stream: Stream, reading: TextOptions, *, chunk_rows: int = CHUNK_ROWS) -> Survey:
        """Go through all rows. Which column is the text is decided on the first `chunk_rows` of
        them.

        Raises DataFileError for data that cannot be read; ColumnError and TextError as
        `texts.render`.
        """
        tables = stream.chunks(chunk_rows)
        head: Sequence[str] = ()
        fields: Fields | None = None
        chunks: list[Chunk] = []
        keys: list[NDArray[np.uint8]] = []
        shown: list[tuple[str, int]] = []
        n_empty = 0
        for table in tables:
            fields = fields or Fields.of(table, reading)
            texts, empty = render_rows(table, fields)
            head = head if chunks else texts.rendered
            chunks.append(
                Chunk(
                    table.parts,
                    len(texts.rendered),
                    np.array(texts.rows, dtype=np.int32) if empty else None,
                )
            )
            keys.append(row_keys(texts.rendered))
            shown += [table.place(row) for row in empty[: SHOWN - len(shown)]]
            n_empty += len(empty)
        sources = tuple(dict.fromkeys(part.source for chunk in chunks for part in chunk.parts))
        all_keys = np.concatenate(keys)
        keys.clear()  # the peak of memory is what follows
        n_rows = len(all_keys) + n_empty
        check_empty(shown, n_empty, n_rows, ", ".join(sources), skip_empty=reading.skip_empty)
        assert fields is not None
        first = first_rows(all_keys)
        distinct = all_keys if len(first) == len(all_keys) else all_keys[first]
        return cls(
            distinct,
            first,
            len(all_keys),
            n_empty,
            sources,
            head,
            stream,
            fields,
            tuple(chunks),
            chunk_rows,
        )

    def place(self, unique: int) -> tuple[str, int]:
        """The source of one of the different texts, and its row there, counted from 1: where it is
        first.
        """
        text = int(self.first[unique])
        for chunk in self.chunks:
            if text < chunk.n_texts:
                return place_in(chunk.parts, text if chunk.rows is None else int(chunk.rows[text]))
            text -= chunk.n_texts
        msg = f"there is no text {unique}"
        raise IndexError(msg)

    def texts(self, uniques: NDArray[np.int64]) -> list[str]:
        """Some of the different texts, in the order of `uniques`, which must ascend. Raises as
        `Cursor.take`.
        """
        return Cursor(self).take(uniques)


def _go_on() -> None:
    """Nobody wants the reading to stop."""


class Cursor:
    """The second pass: gives texts, and reads on from where it is. Only a step back begins anew."""

    def __init__(self, survey: Survey, check: Callable[[], None] = _go_on) -> None:
        """check: called before each table is read; may raise, to end a long search."""
        self._survey, self._check = survey, check
        self._number, self._start, self._texts = (
            0,
            0,
            survey.head,
        )  # the chunk at hand, and its first text
        self._tables: Iterator[Table] | None = None
        self._table: Table | None = None

    def take(self, uniques: NDArray[np.int64]) -> list[str]:
        """The texts of `uniques`, ascending places among the different ones.

        Raises DataFileError where the data are no longer what the first pass saw.
        """
        wanted = self._survey.first[uniques]
        if len(wanted) and wanted[0] < self._start:
            self._number, self._start, self._texts, self._tables = 0, 0, self._survey.head, None
        texts: list[str] = []
        while len(texts) < len(wanted):
            end = self._start + self._survey.chunks[self._number].n_texts
            stop = int(np.searchsorted(wanted, end))
            if stop > len(texts):
                here = self._rendered()
                texts += [here[place - self._start] for place in wanted[len(texts) : stop].tolist()]
            if len(texts) < len(wanted):
                self._next(end)
        self._hold_to_keys(texts, uniques)
        return texts

    def _next(self, start: int) -> None:
        """Read the next table; it is rendered only if a text of it is wanted."""
        self._check()
        if self._tables is None:
            self._tables = islice(self._survey.stream.chunks(self._survey.chunk_rows), 1, None)
        self._number, self._start, self._texts = self._number + 1, start, ()
        table = next(self._tables, None)
        if table is None or table.n_rows != sum(
            part.n_rows for part in self._survey.chunks[self._number].parts
        ):
            what = "it has another number of rows"
            raise self._changed(what)
        self._table = table

    def _rendered(self) -> Sequence[str]:
        if not self._texts and self._table is not None:
            self._texts = render_rows(self._table, self._survey.fields)[0].rendered
            if len(self._texts) != self._survey.chunks[self._number].n_texts:
                what = "other rows are empty"
                raise self._changed(what)
        return self._texts

    def _hold_to_keys(self, texts: Sequence[str], uniques: NDArray[np.int64]) -> None:
        wrong = (row_keys(texts) != self._survey.keys[uniques]).any(axis=1)
        if wrong.any():
            source, row = self._survey.place(int(uniques[np.argmax(wrong)]))
            raise self._changed(f"row {row} holds another text", source)

    def _changed(self, what: str, source: str | None = None) -> DataFileError:
        where = source or ", ".join(
            dict.fromkeys(part.source for part in self._survey.chunks[self._number].parts)
        )
        msg = f"{where} changed while it was read: {what}"
        return DataFileError(msg, cure="Run the same command again when nobody writes to it.")
