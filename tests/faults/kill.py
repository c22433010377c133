"""Campaign `kill`: SIGKILL at random moments of an extraction, then the same extraction again.

A row is acknowledged when the process has reported its shard through a pipe. After the kill every
acknowledged row has to be there and right, before anything is repaired; after the second run all
rows do, and that run computes only what the first did not leave.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path

from tests.conftest import save_encoder, sentences
from tests.faults.children import Child, extraction, warm
from tests.faults.result import Result, Tally
from tests.faults.truth import Truth, temporaries

TEXTS, SHARD_ROWS, SLICE_ROWS = 120, 8, 24
LIMIT = 60.0  # seconds; an undisturbed extraction takes 0.15


@dataclass(frozen=True)
class Moment:
    """When to kill: `delay` seconds after the start, after the space is about to be made, or after
    a shard.
    """

    after: str | int
    delay: float

    @classmethod
    def draw(cls, chance: random.Random, life: float, n_shards: int) -> Moment:
        """Over the whole life; but making the space and the shards, short parts of it, get their
        own shares.
        """
        part = chance.random()
        if part < 0.35:
            return cls("start", chance.uniform(0, life))
        if part < 0.45:
            return cls("creating", chance.uniform(0, 0.008))
        return cls(chance.randint(1, n_shards), chance.uniform(0, 0.012))

    def reached(self, child: Child) -> bool:
        if self.after == "start":
            return True
        if self.after == "creating":
            return child.creating
        return len(child.acknowledged) >= int(self.after)

    def strike(self, child: Child) -> bool:
        """Wait for the moment and kill. Returns whether the process was alive then."""
        child.wait(LIMIT, until=lambda: self.reached(child))
        time.sleep(self.delay)
        return child.kill()


@dataclass(frozen=True)
class Bench:
    """What all trials share. life: seconds of an undisturbed run."""

    context: ForkServerContext
    model: Path
    texts: Sequence[str]
    truth: Truth
    life: float
    n_shards: int

    @classmethod
    def build(cls, folder: Path, n_texts: int, shard_rows: int, slice_rows: int) -> Bench:
        context, model, texts = warm(), save_encoder(folder / "model"), sentences(n_texts)
        for run in ("first", "peace"):  # the first one waits for the server's imports
            child = Child(context, extraction, model, folder / run, texts, shard_rows, slice_rows)
            finished, life = child.finish(LIMIT), time.monotonic() - child.started
            assert finished
            assert child.exit_code == 0
            assert len(child.rows) == n_texts, (
                "not every durable row was reported: the campaign would see too little"
            )
        truth = Truth.of(folder / "peace", texts)
        return cls(context, model, texts, truth, life, len(child.acknowledged))

    def start(self, cache: Path, texts: Sequence[str], shard_rows: int, slice_rows: int) -> Child:
        return Child(self.context, extraction, self.model, cache, texts, shard_rows, slice_rows)


def campaign(trials: int = 1_000, seed: int = 0) -> Result:
    """Until `trials` kills have hit a living process; a process that was too quick is no trial."""
    chance, tally, hits, tried = random.Random(seed), Tally(), 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bench = Bench.build(folder, TEXTS, SHARD_ROWS, SLICE_ROWS)
        while hits < trials and tried < 3 * trials + 10:
            tried += 1
            moment = Moment.draw(chance, bench.life, bench.n_shards)
            hits += _trial(
                bench, folder / f"trial-{tried}", moment, f"trial {tried}, {moment}", tally
            )
    return tally.result("kill", hits, f"0 lost, 0 wrong in {trials:,} kills")


def _trial(bench: Bench, cache: Path, moment: Moment, where: str, tally: Tally) -> bool:
    victim = bench.start(cache, bench.texts, SHARD_ROWS, SLICE_ROWS)
    hit = moment.strike(victim)
    if not hit:
        tally.notes["too late"] += 1
        if victim.exit_code != 0:
            tally.crash(f"{where}: ended with {victim.ending}")
    tally.notes[_phase(victim, bench)] += hit
    found = bench.truth.check(cache)
    tally.lose(int((~found.held[bench.truth.places(victim.rows)]).sum()), where)
    tally.mistake(f"{where}: {found.wrong} rows differ after the kill", found.wrong)
    for problem in found.problems:
        tally.mistake(f"{where}, after the kill: {problem}")
    _again(bench, cache, int(found.held.sum()), where, tally)
    return hit


def _again(bench: Bench, cache: Path, n_held: int, where: str, tally: Tally) -> None:
    """The run that goes on from the kill."""
    heir = bench.start(cache, bench.texts, SHARD_ROWS, SLICE_ROWS)
    if not heir.finish(LIMIT):
        tally.hang(f"{where}: the second run did not end")
        return
    if heir.exit_code != 0:
        tally.mistake(f"{where}: the second run ended with {heir.ending}")
        return
    if heir.facts[-1] != {"hits": n_held, "computed": TEXTS - n_held, "unique": TEXTS}:
        tally.mistake(f"{where}: {n_held} rows were there, the second run says {heir.facts[-1]}")
    found = bench.truth.check(cache)
    tally.lose(int((~found.held).sum()), f"{where}, second run")
    tally.mistake(f"{where}: {found.wrong} rows differ after the second run", found.wrong)
    # An unfinished memo, which lies beside the spaces and which no lock protects, is left to `gc`.
    for problem in [
        *found.problems,
        *(f"{left} is left" for left in temporaries(cache) if "/" in left),
    ]:
        tally.mistake(f"{where}, after the second run: {problem}")


def _phase(victim: Child, bench: Bench) -> str:
    """Where in its life a process was killed."""
    if not victim.creating:
        return "before the space"
    done = len(victim.acknowledged)
    if done == 0:
        return "before the first shard"
    return "between shards" if done < bench.n_shards else "after the last shard"
