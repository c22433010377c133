"""A first pass over data: read, render and check every row, and keep only its 16-byte key.

So bad data are found before anything is computed, and what is kept does not grow with the texts. A
second pass (`Cursor`) gives the texts that are needed and compares each with its key: data that
changed in between are an error, never features of another text.
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
    """One table of the first pass.

    Attributes:
        parts: The sources of its rows.
        n_texts: How many of its rows are not empty.
        rows: int32 (n_texts,), the row of each text; None where every row is one.
    """

    parts: tuple[TablePart, ...]
    n_texts: int
    rows: NDArray[np.int32] | None


@dataclass(frozen=True)
class Survey:
    """What the first pass found; texts are known by their place among the U different ones.

    Attributes:
        keys: uint8 (U, 16), the keys of the different texts.
        first: (U,) places of the different texts among all.
        n_texts: Rows that are not empty.
        n_empty: Rows that are empty.
        sources: The sources, each once.
        head: The texts of the first chunk, which need not be read again.
        stream: The data.
        fields: Which column fills which field of the template.
        chunks: The tables of the first pass, in order.
        chunk_rows: Rows of each table.
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
        """Read all rows; the first `chunk_rows` of them decide which column is the text.

        Args:
            stream: The data.
            reading: How rows become texts.
            chunk_rows: Rows of each table.

        Returns:
            What was found.

        Raises:
            DataFileError: Data cannot be read.
            ColumnError: As for `texts.render`.
            TextError: As for `texts.render`.
        """
        head: Sequence[str] = ()
        fields: Fields | None = None
        chunks: list[Chunk] = []
        keys: list[NDArray[np.uint8]] = []
        shown: list[tuple[str, int]] = []
        n_empty = 0
        for table in stream.chunks(chunk_rows):
            fields = fields or Fields.of(table, reading)
            texts, empty = render_rows(table, fields)
            if not chunks:
                head = texts.rendered
            rows = np.array(texts.rows, dtype=np.int32) if empty else None
            chunks.append(Chunk(table.parts, len(texts.rendered), rows))
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
        return cls(
            keys=all_keys if len(first) == len(all_keys) else all_keys[first],
            first=first,
            n_texts=len(all_keys),
            n_empty=n_empty,
            sources=sources,
            head=head,
            stream=stream,
            fields=fields,
            chunks=tuple(chunks),
            chunk_rows=chunk_rows,
        )

    def place(self, unique: int) -> tuple[str, int]:
        """Return the source and row (from 1) where one of the different texts is first."""
        text = int(self.first[unique])
        for chunk in self.chunks:
            if text < chunk.n_texts:
                return place_in(chunk.parts, text if chunk.rows is None else int(chunk.rows[text]))
            text -= chunk.n_texts
        msg = f"there is no text {unique}"
        raise IndexError(msg)

    def texts(self, uniques: NDArray[np.int64]) -> list[str]:
        """Read some of the different texts, in the order of `uniques`, as `Cursor.take` does."""
        return Cursor(self).take(uniques)


def _keep_going() -> None:
    """Let the reading go on; this is the check of a cursor that nothing stops."""


class Cursor:
    """The second pass: gives texts and reads on from where it is; only a step back starts again."""

    def __init__(self, survey: Survey, check: Callable[[], None] = _keep_going) -> None:
        """Start before the first chunk.

        Args:
            survey: What the first pass found.
            check: Called before each table is read; may raise, to end a long search.
        """
        self._survey, self._check = survey, check
        self._tables: Iterator[Table] | None = None
        self._table: Table | None = None
        # The chunk at hand, the place of its first text, and its texts.
        self._number, self._start, self._texts = 0, 0, survey.head

    def take(self, uniques: NDArray[np.int64]) -> list[str]:
        """Read some of the different texts.

        Args:
            uniques: Ascending places among the different texts.

        Returns:
            The texts, in the order of `uniques`.

        Raises:
            DataFileError: The data are no longer what the first pass saw.
        """
        places = self._survey.first[uniques]
        if len(places) and places[0] < self._start:
            self._number, self._start, self._texts, self._tables = 0, 0, self._survey.head, None
        texts: list[str] = []
        while len(texts) < len(places):
            end = self._start + self._survey.chunks[self._number].n_texts
            stop = int(np.searchsorted(places, end))
            if stop > len(texts):
                here = self._rendered()
                texts += [here[place - self._start] for place in places[len(texts) : stop].tolist()]
            if len(texts) < len(places):
                self._next(end)
        self._hold_to_keys(texts, uniques)
        return texts

    def _next(self, start: int) -> None:
        """Read the next table; it is rendered only if a text of it is needed."""
        self._check()
        if self._tables is None:
            self._tables = islice(self._survey.stream.chunks(self._survey.chunk_rows), 1, None)
        self._number, self._start, self._texts = self._number + 1, start, ()
        table = next(self._tables, None)
        n_rows = sum(part.n_rows for part in self._survey.chunks[self._number].parts)
        if table is None or table.n_rows != n_rows:
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
        if source is None:
            parts = self._survey.chunks[self._number].parts
            source = ", ".join(dict.fromkeys(part.source for part in parts))
        msg = f"{source} changed while it was read: {what}"
        return DataFileError(msg, cure="Run the same command again when nobody writes to it.")
