"""The first thread of a pass: it claims, reads and tokenises one slice ahead of the model."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from featcache.cache.claims import Claims
from featcache.data.survey import Cursor, Survey
from featcache.extraction.threads import Events, OtherProcesses, Slice, join
from featcache.extraction.writer import StateWriter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from featcache.backbone.batching import Tokens

# Texts given to the tokenizer together: its output takes many times the memory of the texts.
_TOKENIZED_TOGETHER = 4_096


class _StoppedError(Exception):
    """The pass is over; no more slices are needed."""


class SliceReader:
    """A thread that brings slices; a context manager, and an iterator over the events of the pass.

    It claims the next slice when the one before has been taken: while one is computed the next gets
    ready, and those being written are still claimed.

    Attributes:
        wait_seconds: How long the main thread has waited for slices.
    """

    def __init__(
        self,
        claims: Claims,
        survey: Survey,
        missing: NDArray[np.int64],
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        slice_rows: tuple[int, int],
        writer: StateWriter,
        events: Events,
    ) -> None:
        """Prepare the thread, which the context starts.

        Args:
            claims: Shares the rows with other processes.
            survey: The texts.
            missing: Numbers of the different texts to compute, (M,).
            tokenizer: The model's tokenizer.
            max_length: Tokens of the longest text.
            slice_rows: Most rows of the first slice, and of the others.
            writer: Says which slices are on the disk, so that their claims can go.
            events: Where slices go; the writer puts its errors there, too.
        """
        self.wait_seconds = 0.0
        self._claims, self._survey, self._missing = claims, survey, missing
        self._tokenizer, self._max_length = tokenizer, max_length
        self._slice_rows, self._writer, self._events = slice_rows, writer, events
        self._taken, self._stop = threading.Semaphore(0), threading.Event()
        self._thread = threading.Thread(target=self._run, name="featcache-read", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._taken.release()
        join(self._thread)

    def __iter__(self) -> Iterator[Slice | OtherProcesses]:
        """Yield slices and news of others until all is through; raise what ended either thread."""
        while True:
            started = time.perf_counter()
            event = self._events.get()
            if event is None:
                return
            if isinstance(event, BaseException):
                raise event
            if isinstance(event, Slice):
                self.wait_seconds += time.perf_counter() - started
                self._taken.release()
            yield event

    def _run(self) -> None:
        """The thread: read until all is read, the pass is stopped, or something fails."""
        try:
            self._read()
        except _StoppedError:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._events.put(error)
        else:
            self._events.put(None)

    def _read(self) -> None:
        """Claim slice after slice and put each, tokenised, among the events."""
        keys, cursor = self._survey.keys, Cursor(self._survey, self._check)
        if len(keys) != len(self._missing):
            keys = keys[self._missing]
        first_rows, most_rows = self._slice_rows
        slices = self._claims.slices(
            keys,
            most_rows,
            lambda n_rows: self._events.put(OtherProcesses(n_awaited=n_rows)),
            first=first_rows,
            on_disk=lambda: self._writer.slices_written,
        )
        with contextlib.closing(slices):
            for claimed, n_elsewhere in slices:
                self._check()
                if n_elsewhere:
                    self._events.put(OtherProcesses(n_finished=n_elsewhere))
                if len(claimed):  # otherwise other processes have all that is left
                    rows = self._missing[claimed]
                    texts = cursor.take(rows)
                    self._events.put(Slice(rows, texts, self._tokenize(texts)))
                    self._taken.acquire()
                    self._check()

    def _tokenize(self, texts: Sequence[str]) -> Tokens:
        """Tokens of a slice, made piece by piece."""
        from featcache.backbone.batching import Tokens, tokenize

        pieces = []
        for start in range(0, len(texts), _TOKENIZED_TOGETHER):
            self._check()
            together = texts[start : start + _TOKENIZED_TOGETHER]
            pieces.append(tokenize(self._tokenizer, together, max_length=self._max_length))
        lengths = np.concatenate([piece.lengths for piece in pieces])
        return Tokens(
            np.concatenate([piece.ids for piece in pieces]),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([piece.truncated for piece in pieces]),
        )

    def _check(self) -> None:
        """Leave the thread if the pass is over."""
        if self._stop.is_set():
            raise _StoppedError
