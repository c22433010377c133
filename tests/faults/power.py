"""Campaign `power`: a power cut at every point of a cache's life, with every kind of half-done
write.

A real sequence is recorded call by call: a space in a cache folder that is not there yet, three
shards, a merge, another shard, another merge, and one more shard. `journal` says what a cut before
each call may leave; such states are laid down and opened. Rows acknowledged before the cut have to
be found, whatever is found has to be right to the bit, and the state has to accept a new writer.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import tempfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from featcache.cache.columns import CachedRows
from featcache.cache.space import Space
from featcache.cache.upkeep.merge import merge
from tests.faults.calls import Call, watched
from tests.faults.journal import Disk, Journal, lay_down, read_back
from tests.faults.result import Result, Tally
from tests.faults.samples import create, rows, truth_of
from tests.faults.truth import Truth, temporaries

N_ROWS = 7
MEMORY = Path("/dev/shm")  # noqa: S108 - what is laid down here is checked and removed at once


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder in memory where there is one: what is tested is what is read, not the disk."""
    return tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)


class _KilledError(BaseException):
    """The end of a process that is killed before it makes a call."""


@dataclass
class _Killer:
    """Passes calls on to a journal, but not those that a killed process no longer makes. kill:
    which is the first.
    """

    journal: Journal
    kill: int | None
    calls: int = 0

    def __call__(self, call: Call, go: Callable[[], Any]) -> Any:
        self.calls += 1
        if (
            self.kill is None or self.calls <= self.kill or call.name == "close"
        ):  # the kernel closes all files
            return self.journal(call, go)
        if self.calls > self.kill + 1 and call.name in {"unlink", "fsync"}:
            # What Python does on the way out, so that it closes all it has opened, and no disk sees
            return None
        raise _KilledError


@dataclass(frozen=True)
class _Story:
    """The recorded sequence. parts: rows of each shard; `fresh` is never in it. title: what
    happened in it.
    """

    title: str
    parts: Sequence[CachedRows]
    fresh: CachedRows
    truth: Truth
    disk: Disk

    @classmethod
    def record(cls, folder: Path, seed: int, kill: int | None) -> _Story:
        """kill: the number of the call before which a first process is killed; a second one goes
        on.
        """
        folder.mkdir()
        parts = [rows(N_ROWS, seed=100 * seed + number) for number in range(5)]
        chance = random.Random(seed)
        killer = _Killer(Journal(), kill)

        def drawn() -> uuid.UUID:
            return uuid.UUID(int=chance.getrandbits(128), version=4)

        # Names are drawn by seed: of two rows with one key the first shard by name is served.
        with mock.patch.object(uuid, "uuid4", drawn), watched(folder, killer):
            with contextlib.suppress(_KilledError):
                _live(folder / "cache", parts, killer.journal)
            killer.kill = None
            if kill is not None:
                _live(folder / "cache", parts, killer.journal)
        disk = Disk.of(killer.journal)
        kept = disk.after(len(disk.safe), chance, keep=1.0)
        assert kept == read_back(folder), "the recorded calls do not explain what is on the disk"
        title = "" if kill is None else f"after a kill before call {kill}, "
        return cls(title, parts, rows(N_ROWS, seed=100 * seed + 99), truth_of(*parts), disk)


def _live(cache: Path, parts: Sequence[CachedRows], journal: Journal) -> None:
    """One life of a cache; where a former one was cut short, it goes on."""
    create(cache)
    _write(cache, parts[:3], journal)
    for number in (3, 4):
        merge(create(cache), progress=lambda _: None)
        _write(cache, parts[: number + 1], journal)


def _write(cache: Path, parts: Sequence[CachedRows], journal: Journal | None = None) -> None:
    """Add the parts that are missing as an extraction does, each a shard of its own; then all are
    acknowledged.
    """
    with create(cache).writing() as (_, claims):
        space = create(cache)
        missing = [number for number, part in enumerate(parts) if (space.find(part.keys) < 0).any()]
        keys = np.concatenate(
            [np.empty((0, 16), np.uint8), *(parts[number].keys for number in missing)]
        )
        done = [number for number in range(len(parts)) if number not in missing]
        for chosen, _ in claims.slices(keys, N_ROWS, lambda _: None):
            if len(chosen):
                done.append(missing[int(chosen[0]) // N_ROWS])
                assert chosen.tolist() == list(range(chosen[0], chosen[0] + N_ROWS))
                space.add(parts[done[-1]], {"written": "2026-01-01T00:00:00+00:00"})
            if journal:
                journal.acknowledge(
                    [
                        row
                        for number in done
                        for row in range(number * N_ROWS, (number + 1) * N_ROWS)
                    ]
                )


def campaign(trials: int = 10_000, seed: int = 0) -> Result:
    """Half of the states of the undisturbed sequence, half of sequences in which a first process
    was killed.
    """
    tally, chance = Tally(), random.Random(seed)
    with scratch_folder() as scratch:
        whole = _Story.record(Path(scratch) / "whole", seed, None)
        n_calls = sum(1 for operation in whole.disk.journal.operations if not operation.said)
        tally.notes["calls"] = n_calls
        # Making the space is where a second process meets what a first one has begun.
        kills = [*range(1, 25), *chance.sample(range(25, n_calls), 16)][: trials // 50]
        stories = [_Story.record(Path(scratch) / f"killed-{kill}", seed, kill) for kill in kills]
        tally.notes["kills before a cut"] = len(kills)
        for trial in range(trials):
            story = stories[trial // 2 % len(stories)] if stories and trial % 2 else whole
            _cut(story, Path(scratch) / "state", chance, tally)
    return tally.result("power", trials, f"0 lost, 0 wrong in {trials:,} states")


def _cut(story: _Story, state: Path, chance: random.Random, tally: Tally) -> None:
    """Lay down one state, look at it, and remove it."""
    operations = story.disk.journal.operations
    cut = chance.randrange(len(operations) + 1)
    keep = chance.choice((1.0, 0.0, None, None, None, None))
    before = operations[cut].title if cut < len(operations) else "the end"
    share = {1.0: "all", 0.0: "nothing", None: "part"}[keep]
    where = (
        f"{story.title}cut {cut} of {len(operations)}, before {before}, {share} of the unsafe kept"
    )
    state.mkdir()
    lay_down(story.disk.after(cut, chance, keep), state)
    said = sorted({number for operation in operations[:cut] for number in operation.said})
    _check(story, state / "cache", np.array(said, dtype=np.int64), where, tally)
    shutil.rmtree(state)


def _check(
    story: _Story,
    cache: Path,
    said: np.ndarray[tuple[int], np.dtype[np.int64]],
    where: str,
    tally: Tally,
) -> None:
    found = story.truth.check(cache)
    tally.notes["rows found"] += int(found.held.sum())
    tally.notes["rows acknowledged"] += len(said)
    tally.lose(int((~found.held[said]).sum()), where)
    tally.mistake(f"{where}: {found.wrong} rows differ", found.wrong)
    for problem in found.problems:
        tally.mistake(f"{where}: {problem}")
    tally.notes["states with leftovers"] += bool(temporaries(cache))
    try:
        _write(cache, [story.fresh])
        space = Space.open(next(cache.iterdir()))
    except Exception as error:  # noqa: BLE001 - whatever it is, a new writer was not accepted
        tally.mistake(f"{where}: a new writer gets {error!r}")
        return
    after = story.truth.check(cache)
    fresh = truth_of(story.fresh).check(cache)
    tally.lose(int((found.held & ~after.held).sum()), f"{where}, after a new writer")
    tally.mistake(
        f"{where}: after a new writer {after.wrong + fresh.wrong} rows differ",
        after.wrong + fresh.wrong,
    )
    if not fresh.held.all():
        tally.mistake(f"{where}: the new writer's rows are not there")
    for name in temporaries(space.path):
        tally.mistake(f"{where}: {name} is left after a new writer")
