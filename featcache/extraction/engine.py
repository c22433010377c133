"""The pass itself: reading and tokenising, the model, and writing shards run side by side.

One thread reads and tokenises the next slice, the main thread runs the model, one thread writes.
What waits between them is bounded: one slice of tokens, and two shards of states. Whatever ends the
pass, both threads are over when `run_pass` returns, and what was computed is on the disk.
"""

from __future__ import annotations

import contextlib
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from featcache.cache.claims import Claims
from featcache.cache.contract import Contract
from featcache.cache.space import Space
from featcache.cache.writer import SHARD_BYTES, ShardWriter
from featcache.data.survey import Cursor, Survey
from featcache.errors import BackboneError, DoesNotFitError, Interrupted, MachineError
from featcache.extraction.compute import culprit, not_finite, not_finite_error
from featcache.progress import Progress, Stage

if TYPE_CHECKING:
    from featcache.backbone.batching import Tokens
    from featcache.backbone.forward import Pooled
    from featcache.backbone.model import Backbone

SLICE_ROWS = (
    32_768  # rows tokenised and sorted together, and claimed where several processes share the work
)
FIRST_ROWS = (
    1_024  # of the first slice, so that the model has something to do at once; the next have more
)
# Texts given to the tokenizer together: what it makes of them takes many times their room
_STEP = 4_096
_HANDED_BYTES = 2 * SHARD_BYTES  # of states that the writing thread may be behind


@dataclass(frozen=True)
class PassStatistics:
    """What a pass did. rows: bool (U,), which of the different texts it computed; tokens and
    truncated are theirs.

    wait_seconds: the model stood still for want of tokens, or of room to hand over states;
    flush_seconds: from the last batch until all was on the disk.
    """

    rows: NDArray[np.bool_]
    computed: int
    tokens: int
    truncated: int
    wait_seconds: float
    flush_seconds: float

    @classmethod
    def none(cls, n_texts: int) -> PassStatistics:
        """No pass at all."""
        return cls(np.zeros(n_texts, dtype=np.bool_), 0, 0, 0, 0.0, 0.0)


def run_pass(
    space: Space,
    claims: Claims,
    survey: Survey,
    missing: NDArray[np.int64],
    model: Backbone,
    shard_rows: int | None,
    progress: Progress,
) -> PassStatistics:
    """Compute and write the missing ones of the different texts, slice by slice.

    Other processes may be at the same texts: what they finish or have in hand is left to them.
    Raises Interrupted on Ctrl-C, and what reading, the model and writing raise. What was computed
    before is written, unless writing is what failed.
    """
    events: _Events = SimpleQueue()
    writing = _Writing(ShardWriter(space, _provenance(model), shard_rows), events)
    step = SLICE_ROWS if shard_rows is None else -(-SLICE_ROWS // shard_rows) * shard_rows
    first = step
    if len(missing) > 2 * FIRST_ROWS:
        first = min(
            step, FIRST_ROWS if shard_rows is None else -(-FIRST_ROWS // shard_rows) * shard_rows
        )
    reading = _Reading(
        claims, survey, missing, model, space.contract, (first, step), writing, events
    )
    computing = _Computing(space, survey, model, progress, len(missing), writing)
    try:
        with Stage(progress, "pass", len(missing)), writing, reading:
            for one in reading:
                computing.run(one)
            ended = time.perf_counter()
    except KeyboardInterrupt as error:
        msg = f"interrupted: {writing.n_written:,} of {len(missing):,} new texts are computed and kept"
        raise Interrupted(msg, cure="Run the same command again: it goes on from there.") from error
    wait = reading.wait_seconds + writing.wait_seconds
    flush = time.perf_counter() - ended
    return PassStatistics(
        computing.rows, writing.n_written, computing.n_tokens, computing.n_truncated, wait, flush
    )


# -- the first thread: texts and tokens ------------------------------------------------------------


@dataclass(frozen=True)
class _Slice:
    """Rows to compute. rows: (N,) places among the different texts."""

    rows: NDArray[np.int64]
    texts: Sequence[str]
    tokens: Tokens


@dataclass(frozen=True)
class _Told:
    """What the reading thread has to say: rows that others have finished, or are still at."""

    finished: int = 0
    awaited: int = 0


# What the main thread waits for; an error of either thread, and None at the end.
_Events = SimpleQueue[_Slice | _Told | BaseException | None]


class _StoppedError(Exception):
    """The pass is over; nobody wants more slices."""


class _Reading:
    """A thread that claims, reads and tokenises one slice ahead; a context, and an iterator over
    what it brings.

    It claims the next slice when the one before has been taken: while one is computed one is ready,
    and those being written are still claimed.
    """

    def __init__(
        self,
        claims: Claims,
        survey: Survey,
        missing: NDArray[np.int64],
        model: Backbone,
        contract: Contract,
        limits: tuple[int, int],
        writing: _Writing,
        events: _Events,
    ) -> None:
        self.wait_seconds = 0.0
        self._claims, self._survey, self._missing = claims, survey, missing
        self._model, self._contract, self._limits, self._writing = model, contract, limits, writing
        self._ready = events
        self._taken, self._stop = threading.Semaphore(0), threading.Event()
        self._thread = threading.Thread(target=self._run, name="featcache-read", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._taken.release()
        _join(self._thread)

    def __iter__(self) -> Iterator[_Slice | _Told]:
        """Raises what ended either thread."""
        while True:
            started = time.perf_counter()
            one = self._ready.get()
            if one is None:
                return
            if isinstance(one, BaseException):
                raise one
            if isinstance(one, _Slice):
                self.wait_seconds += time.perf_counter() - started
                self._taken.release()
            yield one

    def _run(self) -> None:
        try:
            self._read()
        except _StoppedError:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._ready.put(error)
        else:
            self._ready.put(None)

    def _read(self) -> None:
        keys, cursor = self._survey.keys, Cursor(self._survey, self._check)
        keys = keys if len(keys) == len(self._missing) else keys[self._missing]
        first, limit = self._limits
        slices = self._claims.slices(
            keys,
            limit,
            lambda n_rows: self._ready.put(_Told(awaited=n_rows)),
            first=first,
            on_disk=lambda: self._writing.slices_written,
        )
        with contextlib.closing(slices):
            for mine, n_elsewhere in slices:
                self._check()
                if n_elsewhere:
                    self._ready.put(_Told(finished=n_elsewhere))
                if len(mine):  # else what is left is in other hands
                    rows = self._missing[mine]
                    texts = cursor.take(rows)
                    self._ready.put(_Slice(rows, texts, self._tokens(texts)))
                    self._taken.acquire()
                    self._check()

    def _tokens(self, texts: Sequence[str]) -> Tokens:
        from featcache.backbone.batching import Tokens, tokenize

        parts = []
        for start in range(0, len(texts), _STEP):
            self._check()
            some = texts[start : start + _STEP]
            parts.append(
                tokenize(self._model.tokenizer, some, max_length=self._contract.max_length)
            )
        lengths = np.concatenate([part.lengths for part in parts])
        return Tokens(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([part.truncated for part in parts]),
        )

    def _check(self) -> None:
        if self._stop.is_set():
            raise _StoppedError


# -- the main thread: the model --------------------------------------------------------------------


class _Computing:
    """Runs the model over slices and hands its states on."""

    def __init__(
        self,
        space: Space,
        survey: Survey,
        model: Backbone,
        progress: Progress,
        n_missing: int,
        writing: _Writing,
    ) -> None:
        self.n_tokens, self.n_truncated = 0, 0
        self.rows = np.zeros(len(survey.keys), dtype=np.bool_)
        self._contract, self._survey, self._model = space.contract, survey, model
        self._progress, self._n_missing, self._writing = progress, n_missing, writing
        self._started, self._shown = time.perf_counter(), 0

    def run(self, one: _Slice | _Told) -> None:
        if isinstance(one, _Slice):
            self._compute(one)
        elif one.awaited:
            self._progress.note(
                f"another process is computing the last {one.awaited:,} texts; waiting for them"
            )
        else:
            self._progress.advance(one.finished, "by another process")

    def _compute(self, slice_: _Slice) -> None:
        from featcache.backbone.forward import halved, pooled_states

        tokens, contract = slice_.tokens, self._contract
        batches = pooled_states(
            self._model, tokens, layers=contract.layers, poolings=contract.poolings
        )
        with contextlib.closing(batches):  # gives the model its own attention back
            for batch in self._placed(slice_, batches):
                states = halved(batch.states)
                bad = not_finite(states)
                if len(bad):
                    batches.close()
                    raise self._not_finite_error(slice_, batch.rows[bad])
                self._writing.put(
                    self._survey.keys[slice_.rows[batch.rows]],
                    tokens.lengths[batch.rows].astype(np.uint32),
                    tokens.truncated[batch.rows],
                    states,
                )
                self.n_tokens += int(tokens.lengths[batch.rows].sum())
                self._tell(len(batch.rows))
        self._writing.end_slice()
        self.rows[slice_.rows] = True
        self.n_truncated += int(tokens.truncated.sum())

    def _placed(self, slice_: _Slice, batches: Iterator[Pooled]) -> Iterator[Pooled]:
        """The batches; a text that is too much for the memory is named."""
        try:
            yield from batches
        except DoesNotFitError as error:
            source, number = self._survey.place(int(slice_.rows[error.row]))
            msg = f"{source}, row {number}: {error.what}"
            raise MachineError(msg, cure=error.cure) from error

    def _tell(self, n_rows: int) -> None:
        rate = f"{self.n_tokens / (time.perf_counter() - self._started):,.0f} tokens/s"
        self._progress.advance(n_rows, rate)
        if self._writing.n_written > self._shown:
            self._shown = self._writing.n_written
            self._progress.milestone(f"{self._shown:,}/{self._n_missing:,} rows written · {rate}")

    def _not_finite_error(self, slice_: _Slice, rows: NDArray[np.int64]) -> BackboneError:
        row = slice_.rows[
            culprit([slice_.texts[row] for row in rows], rows, self._model, self._contract)
        ]
        source, number = self._survey.place(int(row))
        return not_finite_error(f"{source}, row {number}", self._contract)


# -- the last thread: shards -----------------------------------------------------------------------


class _Writing:
    """A thread that writes what it is given. A context: at its end everything given is on the disk.

    n_written: rows on the disk; slices_written: slices all of whose rows are.
    """

    def __init__(self, writer: ShardWriter, events: _Events) -> None:
        self.slices_written, self.wait_seconds = 0, 0.0
        self._writer, self._events = writer, events
        self._given: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        # Bytes given and taken: each is counted by one thread alone, so no lock is needed.
        self._n_given, self._n_taken = 0, 0
        self._moved, self._hurry = threading.Event(), threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="featcache-write", daemon=True)

    @property
    def n_written(self) -> int:
        return self._writer.n_written

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._given.put(None)
        _join(self._thread, self._hurry.set)
        if self._error is not None and (kind is None or kind is KeyboardInterrupt):
            raise self._error

    def put(
        self,
        keys: NDArray[np.uint8],
        n_tokens: NDArray[np.uint32],
        truncated: NDArray[np.bool_],
        states: NDArray[np.floating[Any]],
    ) -> None:
        """Hand over B rows as `ShardWriter.add` takes them; waits while too many are waiting.

        Raises what ended the thread.
        """
        started = time.perf_counter()
        while self._n_given - self._n_taken > _HANDED_BYTES and self._error is None:
            self._moved.clear()
            if self._n_given - self._n_taken > _HANDED_BYTES and self._error is None:
                self._moved.wait()
        if self._error is not None:
            raise self._error
        self.wait_seconds += time.perf_counter() - started
        self._n_given += states.nbytes
        self._given.put((keys, n_tokens, truncated, states))

    def end_slice(self) -> None:
        """Have everything given so far written, so that its claim can go."""
        self._given.put(())

    def _run(self) -> None:
        try:
            while (given := self._given.get()) is not None and not self._hurry.is_set():
                if given:
                    self._writer.add(*given)
                    self._n_taken += given[3].nbytes
                    self._moved.set()
                else:
                    self._writer.flush()
                    self.slices_written += 1
            self._writer.flush()
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._error = error
            self._moved.set()
            self._events.put(error)


def _join(thread: threading.Thread, hurry: Callable[[], None] | None = None) -> None:
    """Wait for a thread to end. Ctrl-C is raised when it has; a second one makes it hurry, or is
    obeyed at once.
    """
    interrupt: KeyboardInterrupt | None = None
    while thread.is_alive():
        try:
            thread.join()
        except KeyboardInterrupt as error:
            if interrupt is not None and hurry is None:
                raise
            if interrupt is not None and hurry is not None:
                hurry()
            interrupt = error
    if interrupt is not None:
        raise interrupt


def _provenance(model: Backbone) -> dict[str, Any]:
    libraries = {
        name: version(name) for name in ("featcache", "torch", "transformers", "tokenizers")
    }
    return {
        "written": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "device": model.device,
        "attention": "packed" if model.packed else "padded",
        "machine": platform.machine(),
        **libraries,
    }
