"""Processes to be killed: forked from a server that has imported the heavy libraries and holds
nothing else.

A fork of a process that has used its thread pools may deadlock, so the server is one of its own
that has only
imported: multiprocessing's `forkserver`. A child is running 10 ms later instead of 3 s.
"""

from __future__ import annotations

import contextlib
import gc
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any
from unittest import mock

# What an extraction with a tiny BERT imports. Modules only: no model, no file, no thread of ours.
_IMPORTED = (
    "torch",
    "transformers",
    "featcache.verbs.extract",
    "featcache.extraction.engine",
    "featcache.backbone.load",
    "featcache.backbone.forward",
    "featcache.backbone.batching",
    "featcache.backbone.facts",
    "featcache.cli.main",
    "featcache.cli.extract",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.bert.modeling_bert",
    "datasets",
    "rich.console",
    "rich.progress",
    # What the module of a child's function may import.
    "pytest",
    "featcache.cache.upkeep.merge",
    "featcache.data.labels",
    "featcache.data.parts",
    "featcache.demo",
)
_ROWS, _CREATING, _FACT = b"R", b"C", b"J"
_KEY_BYTES = 16


def warm() -> ForkServerContext:
    """The context of all children. The server starts with the first child and ends with this
    process.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_IMPORTED))
    return context


class Child:
    """A process that runs `target(sender, *arguments)` and tells through a pipe what it has
    finished.

    acknowledged: keys of the rows whose shard it reported, a list a shard.  facts: JSON objects it
    sent.
    """

    def __init__(
        self, context: ForkServerContext, target: Callable[..., None], *arguments: Any
    ) -> None:
        self.receiver, sender = context.Pipe(duplex=False)
        self.acknowledged: list[list[bytes]] = []
        self.creating = False
        self.facts: list[dict[str, Any]] = []
        self.started = time.monotonic()
        self._process = context.Process(
            target=_begin, args=(target, sender, *arguments), daemon=True
        )
        self._process.start()
        sender.close()
        self.open = True  # whether something may still come through the pipe

    @property
    def rows(self) -> set[bytes]:
        return {key for shard in self.acknowledged for key in shard}

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        errors = [str(facts["error"]) for facts in self.facts if "error" in facts]
        return f"exit code {self.exit_code}" + "".join(f", {error}" for error in errors)

    @property
    def exit_code(self) -> int | None:
        """None while it runs, -9 where it was killed."""
        return self._process.exitcode

    def waitables(self) -> list[Any]:
        """What becomes ready when there is news of this child."""
        return [self._process.sentinel, *([self.receiver] if self.open else [])]

    def read(self) -> None:
        """Take in what has been reported so far."""
        try:
            while self.open and self.receiver.poll():
                self._take(self.receiver.recv_bytes())
        except (EOFError, OSError):  # it has ended, or was killed while it was reporting
            self.open = False

    def _take(self, message: bytes) -> None:
        kind, content = message[:1], message[1:]
        if kind == _ROWS:
            starts = range(0, len(content), _KEY_BYTES)
            self.acknowledged.append([content[start : start + _KEY_BYTES] for start in starts])
        elif kind == _CREATING:
            self.creating = True
        else:
            self.facts.append(json.loads(content))

    def wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Wait for its end, or until `until()` holds after news. Returns whether one of them came
        in time.
        """
        deadline = time.monotonic() + seconds
        while True:
            self.read()
            if until() or (self.exit_code is not None and not self.open):
                return True
            left = deadline - time.monotonic()
            if left <= 0 or not wait(
                self.waitables() if self.open else [self._process.sentinel], left
            ):
                return False

    def kill(self) -> bool:
        """Send SIGKILL, and take in all that was reported before. Returns whether it was still
        alive then.
        """
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):  # it may have ended since it was asked
                os.kill(self._process.pid or 0, signal.SIGKILL)
        self._process.join()
        self.read()
        return self.exit_code == -signal.SIGKILL

    def finish(self, seconds: float) -> bool:
        """Wait for the end; past its time it is killed. Returns whether it ended by itself."""
        in_time = self.wait(seconds)
        if not in_time:
            self.kill()
        self._process.join()
        self.read()
        return in_time


def _begin(target: Callable[..., None], sender: Connection, *arguments: Any) -> None:
    # Else each collection walks through all that the server has imported, and copies those pages:
    # 0.2 s a child.
    gc.freeze()
    try:
        target(sender, *arguments)
    except Exception as error:  # noqa: BLE001 - told to the campaign, which judges it
        tell(sender, error=repr(error))
        raise SystemExit(1) from None


# What children run; each gets the pipe's end first.


def tell(sender: Connection, **facts: Any) -> None:
    """Report a JSON object."""
    sender.send_bytes(_FACT + json.dumps(facts).encode())


def report(sender: Connection) -> None:
    """From now on report when a space is about to be made, and the keys of each shard that is
    durable.

    A message is shorter than what a pipe takes in one piece: a kill leaves it whole or not there.
    """
    from featcache.cache.space import Space

    add, create = Space.add, Space.create

    def adding(self: Space, rows: Any, provenance: Any) -> Path:
        path = add(self, rows, provenance)
        sender.send_bytes(_ROWS + rows.keys.tobytes())
        return path

    def creating(*arguments: Any) -> Space:
        sender.send_bytes(_CREATING)
        return create(*arguments)

    mock.patch.object(Space, "add", adding).start()
    mock.patch.object(Space, "create", creating).start()


def slices_of(rows: int) -> None:
    """Make the slices of an extraction small."""
    from featcache.extraction import engine as pipeline

    mock.patch.object(pipeline, "SLICE_ROWS", rows).start()


def extraction(
    sender: Connection,
    model: Path,
    cache: Path,
    texts: Sequence[str],
    shard_rows: int,
    slice_rows: int,
) -> None:
    """One extraction from Python, as undisturbed as a kill lets it be."""
    import featcache

    report(sender)
    slices_of(slice_rows)
    done = featcache.extract(
        {"text": list(texts)}, backbone=model, cache=cache, dtype="float32", shard_rows=shard_rows
    )
    tell(sender, hits=done.hits, computed=done.computed, unique=done.unique)
