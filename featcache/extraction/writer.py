"""The last thread of a pass: it writes states into shards while the model computes the next."""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from featcache.cache.writer import SHARD_BYTES, ShardWriter
from featcache.extraction.threads import Events, join

_WAITING_BYTES = 2 * SHARD_BYTES  # of states that may wait to be written


class StateWriter:
    """A thread that writes states; when its context ends, all that was put is on the disk.

    Attributes:
        slices_written: Slices whose rows are all on the disk.
        wait_seconds: How long the main thread has waited because too much was waiting.
    """

    def __init__(self, writer: ShardWriter, events: Events) -> None:
        """Prepare the thread, which the context starts.

        Args:
            writer: Writes the shards.
            events: Where an error of this thread goes, so that the main thread meets it.
        """
        self.slices_written, self.wait_seconds = 0, 0.0
        self._writer, self._events = writer, events
        # A batch, an empty tuple for the end of a slice, or None for the end of the pass.
        self._batches: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        # Each of these is counted by one thread alone, so no lock is needed.
        self._bytes_put, self._bytes_written = 0, 0
        self._progressed, self._hurry = threading.Event(), threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="featcache-write", daemon=True)

    @property
    def n_written(self) -> int:
        """Rows on the disk."""
        return self._writer.n_written

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._batches.put(None)
        join(self._thread, self._hurry.set)
        if self._error is not None and (kind is None or kind is KeyboardInterrupt):
            raise self._error

    def put(
        self,
        keys: NDArray[np.uint8],
        n_tokens: NDArray[np.uint32],
        truncated: NDArray[np.bool_],
        states: NDArray[np.floating[Any]],
    ) -> None:
        """Hand over a batch; waits while too much is waiting to be written.

        Args:
            keys: Keys of the texts, (B, 16).
            n_tokens: Their numbers of tokens, (B,).
            truncated: Whether they lost tokens, (B,).
            states: Their states, (B, layers, poolings, H), float16 or float32.

        Raises:
            BaseException: Whatever ended the thread.
        """
        started = time.perf_counter()
        while self._is_behind() and self._error is None:
            self._progressed.clear()
            # The thread may have set it just before; only what holds after `clear` counts.
            if self._is_behind() and self._error is None:
                self._progressed.wait()
        if self._error is not None:
            raise self._error
        self.wait_seconds += time.perf_counter() - started
        self._bytes_put += states.nbytes
        self._batches.put((keys, n_tokens, truncated, states))

    def end_slice(self) -> None:
        """Have everything put so far written, so that the claim on the slice can go."""
        self._batches.put(())

    def _is_behind(self) -> bool:
        """Whether more states are waiting than may."""
        return self._bytes_put - self._bytes_written > _WAITING_BYTES

    def _run(self) -> None:
        """The thread: write until the end of the pass, or until something fails."""
        try:
            while (batch := self._batches.get()) is not None and not self._hurry.is_set():
                if batch:
                    self._writer.add(*batch)
                    self._bytes_written += batch[3].nbytes
                    self._progressed.set()
                else:
                    self._writer.flush()
                    self.slices_written += 1
            self._writer.flush()
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._error = error
            self._progressed.set()
            self._events.put(error)
