"""The pass itself: reading and tokenising, the model, and writing shards run side by side.

One thread reads and tokenises the next slice (`reader.py`), the main thread runs the model, one
thread writes (`writer.py`). What waits between them is bounded: one slice of tokens, and two shards
of states. Whatever ends the pass, both threads are over when `run_pass` returns, and what was
computed is on the disk.
"""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.claims import Claims
from featcache.cache.space import Space
from featcache.cache.writer import ShardWriter
from featcache.data.survey import Survey
from featcache.errors import BackboneError, DoesNotFitError, Interrupted, MachineError
from featcache.extraction.compute import culprit, not_finite, not_finite_error
from featcache.extraction.reader import SliceReader
from featcache.extraction.threads import Events, OtherProcesses, Slice
from featcache.extraction.writer import StateWriter
from featcache.progress import Progress, Stage

if TYPE_CHECKING:
    from featcache.backbone.forward import Pooled
    from featcache.backbone.model import Backbone

# Rows that are tokenised and sorted together, and claimed where several processes share the work.
SLICE_ROWS = 32_768
# Rows of the first slice: fewer, so that the model has something to do at once.
FIRST_ROWS = 1_024


@dataclass(frozen=True)
class PassStatistics:
    """What a pass did.

    Attributes:
        rows: Which of the different texts it computed, bool (U,).
        computed: How many rows it wrote.
        tokens: How many tokens they have.
        truncated: How many of them lost tokens.
        wait_seconds: How long the model stood still, waiting for tokens or for the writer.
        flush_seconds: From the last batch until all was on the disk.
    """

    rows: NDArray[np.bool_]
    computed: int
    tokens: int
    truncated: int
    wait_seconds: float
    flush_seconds: float

    @classmethod
    def none(cls, n_texts: int) -> PassStatistics:
        """Describe no pass at all over `n_texts` different texts."""
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
    """Compute and write missing texts, slice by slice.

    Other processes may work on the same texts: what they finish or have in hand is left to them.
    What was computed before an error is written, unless writing is what failed.

    Args:
        space: The space.
        claims: Shares the rows with other processes.
        survey: All texts.
        missing: Numbers of the different texts to compute, (M,).
        model: The backbone.
        shard_rows: Rows of a shard; None: by bytes and seconds.
        progress: Where progress is shown.

    Returns:
        What was done.

    Raises:
        Interrupted: Ctrl-C.
        FeatcacheError: Reading, the model or writing failed.
    """
    events: Events = SimpleQueue()
    writer = StateWriter(ShardWriter(space, _provenance(model), shard_rows), events)
    reader = SliceReader(
        claims,
        survey,
        missing,
        model.tokenizer,
        space.contract.max_length,
        _slice_rows(len(missing), shard_rows),
        writer,
        events,
    )
    computation = _Computation(space, survey, model, progress, len(missing), writer)
    try:
        with Stage(progress, "pass", len(missing)), writer, reader:
            for event in reader:
                computation.handle(event)
            ended = time.perf_counter()
    except KeyboardInterrupt as error:
        done = f"{writer.n_written:,} of {len(missing):,} new texts are computed and kept"
        raise Interrupted(
            f"interrupted: {done}", cure="Run the same command again: it goes on from there."
        ) from error
    return PassStatistics(
        rows=computation.rows,
        computed=writer.n_written,
        tokens=computation.n_tokens,
        truncated=computation.n_truncated,
        wait_seconds=reader.wait_seconds + writer.wait_seconds,
        flush_seconds=time.perf_counter() - ended,
    )


def _slice_rows(n_missing: int, shard_rows: int | None) -> tuple[int, int]:
    """Most rows of the first slice and of the others: whole shards, where their size is given."""
    first, others = FIRST_ROWS, SLICE_ROWS
    if shard_rows is not None:
        first = -(-FIRST_ROWS // shard_rows) * shard_rows
        others = -(-SLICE_ROWS // shard_rows) * shard_rows
    if n_missing <= 2 * FIRST_ROWS:  # too few for a slice to begin with
        return others, others
    return min(first, others), others


class _Computation:
    """Runs the model over slices, in the main thread, and hands its states to the writer."""

    def __init__(
        self,
        space: Space,
        survey: Survey,
        model: Backbone,
        progress: Progress,
        n_missing: int,
        writer: StateWriter,
    ) -> None:
        self.n_tokens, self.n_truncated = 0, 0  # of the rows that were computed
        self.rows = np.zeros(len(survey.keys), dtype=np.bool_)  # (U,): what was computed
        self._contract, self._survey, self._model = space.contract, survey, model
        self._progress, self._n_missing, self._writer = progress, n_missing, writer
        self._started, self._n_reported = time.perf_counter(), 0

    def handle(self, event: Slice | OtherProcesses) -> None:
        """Compute a slice, or show what other processes do."""
        if isinstance(event, Slice):
            self._compute(event)
        elif event.n_awaited:
            self._progress.note(
                f"another process is computing the last {event.n_awaited:,} texts; waiting for them"
            )
        else:
            self._progress.advance(event.n_finished, "by another process")

    def _compute(self, piece: Slice) -> None:
        """Run the model over a slice, batch by batch."""
        from featcache.backbone.forward import pooled_states

        contract = self._contract
        batches = pooled_states(
            self._model, piece.tokens, layers=contract.layers, poolings=contract.poolings
        )
        with contextlib.closing(batches):  # gives the model its own attention back
            for batch in self._naming_what_does_not_fit(piece, batches):
                bad = self._write(piece, batch)
                if bad is not None:
                    batches.close()  # the culprit is looked for with the model's own attention
                    raise self._not_finite_error(piece, bad)
        self._writer.end_slice()
        self.rows[piece.rows] = True
        self.n_truncated += int(piece.tokens.truncated.sum())

    def _write(self, piece: Slice, batch: Pooled) -> NDArray[np.int64] | None:
        """Hand a batch to the writer; returns its rows that are not finite, if there are any."""
        from featcache.backbone.forward import halved

        tokens = piece.tokens
        states = halved(batch.states)  # (B, layers, poolings, H)
        bad = not_finite(states)
        if len(bad):
            return batch.rows[bad]
        lengths = tokens.lengths[batch.rows]
        self._writer.put(
            self._survey.keys[piece.rows[batch.rows]],
            lengths.astype(np.uint32),
            tokens.truncated[batch.rows],
            states,
        )
        self.n_tokens += int(lengths.sum())
        self._report(len(batch.rows))
        return None

    def _naming_what_does_not_fit(
        self, piece: Slice, batches: Iterator[Pooled]
    ) -> Iterator[Pooled]:
        """The batches; an error names the place of a text that is too large for the memory."""
        try:
            yield from batches
        except DoesNotFitError as error:
            source, number = self._survey.place(int(piece.rows[error.row]))
            msg = f"{source}, row {number}: {error.what}"
            raise MachineError(msg, cure=error.cure) from error

    def _report(self, n_rows: int) -> None:
        """Show progress, and a line for every shard that was written."""
        rate = f"{self.n_tokens / (time.perf_counter() - self._started):,.0f} tokens/s"
        self._progress.advance(n_rows, rate)
        if self._writer.n_written > self._n_reported:
            self._n_reported = self._writer.n_written
            self._progress.milestone(
                f"{self._n_reported:,}/{self._n_missing:,} rows written · {rate}"
            )

    def _not_finite_error(self, piece: Slice, rows: NDArray[np.int64]) -> BackboneError:
        """The error that names the row which is not finite. rows: (B,) numbers in the slice."""
        texts = [piece.texts[row] for row in rows]
        row = piece.rows[culprit(texts, rows, self._model, self._contract)]
        source, number = self._survey.place(int(row))
        return not_finite_error(f"{source}, row {number}", self._contract)


def _provenance(model: Backbone) -> dict[str, Any]:
    """What computed the rows: kept with each shard, never compared."""
    libraries = ("featcache", "torch", "transformers", "tokenizers")
    return {
        "written": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "device": model.device,
        "attention": "packed" if model.packed else "padded",
        "machine": platform.machine(),
        **{name: version(name) for name in libraries},
    }
