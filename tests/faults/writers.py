"""Campaign `writers`: several extractions into one space at once, killed and started again in the
midst of it.

Each round has a fresh space and 4 to 8 writers; pairs of them are given the same texts, the others
different ones that overlap. A killed writer starts again with the same texts, one that is done
takes the next. When the kills of the round are used up all run to their end, and then every row
that was asked for has to be there.
"""

from __future__ import annotations

import fcntl
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np

from featcache.cache.folder import spaces_in
from tests.faults.children import Child
from tests.faults.kill import LIMIT, Bench, Moment
from tests.faults.result import Result, Tally
from tests.faults.truth import temporaries

POOL, ASKED, SHARD_ROWS, SLICE_ROWS = 1_200, 64, 8, 16
KILLS_A_ROUND = 25


@dataclass
class _Writer:
    """One place in a round: texts after texts, by process after process.

    ended: earlier processes.
    """

    assignments: Iterator[list[int]]
    asked: list[int] = field(default_factory=list)
    child: Child | None = None
    moment: Moment | None = None
    since: float | None = None  # when the event before the moment was seen
    ended: list[Child] = field(default_factory=list)

    def due(self) -> float | None:
        """When this writer is to be killed, as far as that is known yet."""
        assert self.child is not None
        if self.moment is None or not self.moment.reached(self.child):
            return None
        if self.since is None:
            self.since = self.child.started if self.moment.after == "start" else time.monotonic()
        return self.since + self.moment.delay


def campaign(trials: int = 500, seed: int = 0) -> Result:
    """Rounds of up to 25 kills until `trials` processes were killed alive."""
    chance, tally, kills, rounds = random.Random(seed), Tally(), 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench.build(Path(scratch), POOL, SHARD_ROWS, SLICE_ROWS)
        alone = bench.start(Path(scratch) / "alone", bench.texts[:ASKED], SHARD_ROWS, SLICE_ROWS)
        assert alone.finish(LIMIT)
        bench = replace(bench, life=time.monotonic() - alone.started)
        while kills < trials and not tally.hangs:
            rounds += 1
            goal = min(KILLS_A_ROUND, trials - kills)
            cache = Path(scratch) / f"round-{rounds}"
            kills += _Round(bench, cache, chance, tally, goal, f"round {rounds}").run()
    tally.notes["rounds"] = rounds
    return tally.result(
        "writers", kills, f"0 lost, 0 wrong, rows twice ≤ kills x {SLICE_ROWS}, in {trials:,} kills"
    )


@dataclass
class _Round:
    bench: Bench
    cache: Path
    chance: random.Random
    tally: Tally
    goal: int
    where: str
    kills: int = 0
    writers: list[_Writer] = field(default_factory=list)

    def run(self) -> int:
        n_writers = self.chance.randint(4, 8)
        streams = [self.chance.randrange(2**32) for _ in range(n_writers)]
        # The first two pairs share their texts.
        self.writers = [
            _Writer(_assignments(streams[place // 2 if place < 4 else place]))
            for place in range(n_writers)
        ]
        for writer in self.writers:
            self._next(writer)
        while any(writer.child for writer in self.writers):
            if not self._turn():
                return self.kills
        self._inspect()
        return self.kills

    def _turn(self) -> bool:
        """Wait for news or the next kill, and act on it. False where nothing moves any more."""
        running = [writer for writer in self.writers if writer.child]
        dues = [due for writer in running if (due := writer.due()) is not None]
        now = time.monotonic()
        timeout = max(0.0, min([LIMIT, *(due - now for due in dues)]))
        ready = wait(
            [
                waitable
                for writer in running
                if writer.child
                for waitable in writer.child.waitables()
            ],
            timeout,
        )
        if not ready and not dues:
            self.tally.hang(f"{self.where}: no writer has moved for {LIMIT:.0f} s")
            for writer in running:
                self._end(writer).kill()
            return False
        for writer in running:
            assert writer.child is not None
            writer.child.read()
            due = writer.due()
            if writer.child.exit_code is not None:
                self._ended(writer)
            elif due is not None and due <= time.monotonic():
                self._kill(writer)
        return True

    def _kill(self, writer: _Writer) -> None:
        child = self._end(writer)
        if child.kill():
            self.kills += 1
            self.tally.notes[
                "killed while writing" if child.acknowledged else "killed before the first shard"
            ] += 1
            self._start(writer)
        else:
            self._judge(child, writer)

    def _ended(self, writer: _Writer) -> None:
        child = self._end(writer)
        child.finish(LIMIT)
        self._judge(child, writer)

    def _judge(self, child: Child, writer: _Writer) -> None:
        """What follows on a writer that ended by itself."""
        if child.exit_code is not None and child.exit_code < 0:
            self.tally.crash(f"{self.where}: a writer died of signal {-child.exit_code}")
        elif child.exit_code != 0:
            self.tally.mistake(f"{self.where}: a writer ended with {child.ending}")
        if self.kills < self.goal:
            self._next(writer)

    def _next(self, writer: _Writer) -> None:
        writer.asked = next(writer.assignments)
        self._start(writer)

    def _start(self, writer: _Writer) -> None:
        writer.child = self._writer(writer.asked)
        writer.since = None
        doomed, life = (
            self.kills < self.goal,
            self.bench.life * len(self.writers) / (os.cpu_count() or 1),
        )
        writer.moment = Moment.draw(self.chance, life, ASKED // SHARD_ROWS) if doomed else None

    def _writer(self, asked: Sequence[int]) -> Child:
        return self.bench.start(
            self.cache, [self.bench.texts[text] for text in asked], SHARD_ROWS, SLICE_ROWS
        )

    def _end(self, writer: _Writer) -> Child:
        child, writer.child = writer.child, None
        assert child is not None
        writer.ended.append(child)
        self._asked.update(writer.asked)
        return child

    _asked: set[int] = field(default_factory=set)

    def _inspect(self) -> None:
        """After the last writer: one more, then rows, locks, leftovers, and rows computed twice."""
        fresh = POOL - 1
        last = self._writer([fresh])
        if not last.finish(LIMIT):
            self.tally.hang(f"{self.where}: one more writer did not end")
            return
        if last.exit_code != 0 or last.facts[-1]["computed"] != 1:
            self.tally.mistake(
                f"{self.where}: one more writer ended with {last.ending}, {last.facts}"
            )
        children = [last, *(child for writer in self.writers for child in writer.ended)]
        acknowledged = set().union(*(child.rows for child in children))
        found, truth = self.bench.truth.check(self.cache), self.bench.truth
        self.tally.lose(int((~found.held[truth.places(acknowledged)]).sum()), self.where)
        absent = int((~found.held[np.array(sorted({*self._asked, fresh}))]).sum())
        self.tally.mistake(f"{self.where}: {absent} rows that were asked for are not there", absent)
        self.tally.mistake(f"{self.where}: {found.wrong} rows differ", found.wrong)
        # One of the memo, which no lock protects, is left to `gc`.
        held_locks = [
            str(path.name)
            for path in self.cache.rglob("*")
            if path.is_file() and not _lockable(path)
        ]
        left = [f"{name} is left" for name in temporaries(self.cache) if "/" in name]
        for problem in [
            *found.problems,
            *(f"{name} is still locked" for name in held_locks),
            *left,
        ]:
            self.tally.mistake(f"{self.where}: {problem}")
        if found.held.any():
            self._count_twice()

    def _count_twice(self) -> None:
        """Rows that lie in more than one shard."""
        (space,), _ = spaces_in(self.cache)
        keys = np.concatenate([shard.read("keys") for shard in space.shards])
        twice = len(keys) - len(np.unique(keys, axis=0))
        self.tally.notes["rows"] += len(keys)
        self.tally.notes["rows twice"] += twice
        if twice > self.kills * SLICE_ROWS:
            self.tally.mistake(
                f"{self.where}: {twice} rows were computed more than once by {self.kills} kills"
            )


def _assignments(stream: int) -> Iterator[list[int]]:
    chance = random.Random(stream)
    while True:
        yield chance.sample(range(POOL - 1), ASKED)  # the last text is for the last writer


def _lockable(path: Path) -> bool:
    """Whether nobody holds a lock on a file."""
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True
