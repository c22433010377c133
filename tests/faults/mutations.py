"""Campaign `mutations`: damaged files, each refused with an error of ours or read right.

A space with a sound shard and a damaged one is opened and all its rows are asked for, by key and
all at once; `verify` has to find every change that is no forgery; and every so often `repair` has
to leave a sound space. It happens in processes of their own, so that a crash is counted and the
next file goes on.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.cache.checking import verify_shard
from featcache.cache.identity import CONTRACT, ORIGIN
from featcache.cache.naming import SEALED
from featcache.cache.shard import Shard
from featcache.cache.space import Space
from featcache.cache.upkeep.merge import merge
from featcache.cache.upkeep.repair import repair
from featcache.errors import FeatcacheError
from tests.faults import mutate
from tests.faults.children import Child, tell, warm
from tests.faults.power import scratch_folder
from tests.faults.result import Result, Tally
from tests.faults.samples import LAYERS, POOLINGS, create, rows, truth_of
from tests.faults.truth import Truth

BATCH, LIMIT = 2_000, 120.0  # files a process, and its seconds; it takes 5
N_ROWS = 12
_REPAIR_EVERY = 20
VIEWS = [(layer, pooling) for layer in LAYERS for pooling in POOLINGS]
_TARGET, _SOUND, _TWIN = "shard-t.h5", "shard-s.h5", "shard-u.h5"


@dataclass(frozen=True)
class _Stock:
    """Sound files, and a space to put damaged ones into. target: the file to damage, by kind.

    spare: files of the same kinds with other rows.  foreign: of another space.  sound: the shard
    beside the target.
    facts: the other files of a space.
    """

    folder: Path
    truth: Truth
    target: dict[str, bytes]
    spare: dict[str, bytes]
    foreign: bytes
    sound: bytes
    facts: dict[str, bytes]

    @classmethod
    def make(cls, folder: Path) -> _Stock:
        parts = [rows(N_ROWS, seed) for seed in range(4)]

        def written(cache: str, part: int, **changes: int) -> Path:
            space = create(folder / cache, **changes)
            return space.add(parts[part], {"written": "2026-01-01T00:00:00+00:00"})

        def sealed(cache: str, *numbers: int) -> bytes:
            for number in numbers:
                path = written(cache, number)
            merge(create(folder / cache), progress=lambda _: None)
            return (path.parent / SEALED).read_bytes()

        ordinary = written("ordinary", 0).read_bytes()
        spare = {"ordinary": written("ordinary", 1).read_bytes(), "sealed": sealed("other", 1)}
        sound = written("ordinary", 2)
        foreign = written("foreign", 0, max_length=47).read_bytes()
        stock = cls(
            sound.parent,
            truth_of(parts[0], parts[2]),
            {"ordinary": ordinary, "sealed": sealed("sealed", 0)},
            spare,
            foreign,
            sound.read_bytes(),
            {name: (sound.parent / name).read_bytes() for name in (CONTRACT, ORIGIN)},
        )
        stock.restore()
        return stock

    def restore(self) -> None:
        """The space with the sound shard and nothing else. Files are made anew: maps of old ones
        stay as they were.
        """
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name, data in {**self.facts, _SOUND: self.sound}.items():
            (self.folder / name).write_bytes(data)


def _files(stock: _Stock, kind: str, chance: random.Random) -> tuple[str, dict[str, bytes], bool]:
    """One damaged space: what was done, the files beside the sound shard, and whether checksums
    were forged.
    """
    name = _TARGET if kind == "ordinary" else SEALED
    data = bytearray(stock.target[kind])
    way = chance.random()
    if way < 0.6:
        damage = chance.choice(mutate.BYTES)
        return damage.__name__, {name: bytes(damage(data, chance))}, False
    if way < 0.9:
        damage = chance.choice((mutate.edit_prefix, mutate.edit_field, mutate.edit_field))
        return damage.__name__, {name: bytes(damage(data, chance))}, True
    return _swapped(stock, kind, name, chance)


def _swapped(
    stock: _Stock, kind: str, name: str, chance: random.Random
) -> tuple[str, dict[str, bytes], bool]:
    """Whole files or headers in each other's places."""
    other = "sealed" if kind == "ordinary" else "ordinary"
    target, spare = stock.target[kind], stock.spare[kind]
    size = mutate.PREFIX.unpack_from(target)[2]
    return chance.choice(
        (
            ("a shard of another space", {name: stock.foreign}, True),
            ("a shard under another's name", {name: stock.sound, _SOUND: target}, True),
            (
                "a sealed file as a shard, or a shard as a sealed file",
                {SEALED: target, _TARGET: stock.target[other]},
                True,
            ),
            ("a shard twice", {name: target, _TWIN: target}, True),
            ("the header of another shard", {name: spare[:size] + target[size:]}, False),
            (
                "both headers of another shard",
                {name: spare[:size] + target[size:-size] + spare[-size:]},
                False,
            ),
            ("the body of another shard", {name: target[:size] + spare[size:]}, False),
        )
    )


def campaign(trials: int = 100_000, seed: int = 0) -> Result:
    tally, context = Tally(), warm()
    with scratch_folder() as scratch:
        start, number = 0, 0
        while start < trials:
            stop = min(start + BATCH, trials)
            number += 1
            folder = Path(scratch) / f"batch-{number}"
            folder.mkdir()
            child = Child(context, _batch, folder, start, stop, seed)
            in_time = child.finish(LIMIT)
            _take(child, tally)
            if in_time and child.exit_code == 0:
                start = stop
            else:
                start = _broken(child, folder, in_time=in_time, tally=tally, start=start)
            shutil.rmtree(folder)
    return tally.result(
        "mutations", trials, f"0 silent differences, 0 crashes, 0 hangs in {trials:,} files"
    )


def _take(child: Child, tally: Tally) -> None:
    for facts in child.facts:
        tally.notes.update(facts.get("notes", {}))
        for problem in facts.get("problems", []):
            tally.tell(problem)
        tally.wrong += facts.get("wrong", 0)


def _broken(child: Child, folder: Path, *, in_time: bool, tally: Tally, start: int) -> int:
    """Blame the file at which a batch did not come to its end; returns where to go on."""
    progress = folder / "progress"
    at = int(progress.read_text()) if progress.exists() else start
    if not in_time:
        tally.hang(f"file {at}: no end within {LIMIT:.0f} s")
    elif (child.exit_code or 0) < 0:
        tally.crash(f"file {at}: signal {-(child.exit_code or 0)}")
    else:
        tally.mistake(f"file {at}: {child.ending}")
    return at + 1


def _batch(sender: Connection, folder: Path, start: int, stop: int, seed: int) -> None:
    """Files `start` to `stop`, in a child."""
    stock = _Stock.make(folder)
    tally = Tally()
    with (folder / "progress").open("w") as progress:
        for number in range(start, stop):
            progress.seek(0)
            progress.write(str(number))
            progress.flush()
            _one(stock, number, seed, tally)
            if (
                tally.wrong or number % 100 == 0 or number + 1 == stop
            ):  # what is found must outlive a crash
                tell(sender, notes=tally.notes, problems=tally.problems, wrong=tally.wrong)
                tally = Tally()


def _one(stock: _Stock, number: int, seed: int, tally: Tally) -> None:
    chance = random.Random(f"{seed} {number}")
    kind = chance.choice(("ordinary", "sealed"))
    what, files, forged = _files(stock, kind, chance)
    where = f"{kind}, {what}, file {number}"
    for name, data in files.items():
        (stock.folder / name).write_bytes(data)
    changed = [
        name for name, data in files.items() if data not in {*stock.target.values(), stock.sound}
    ]
    try:
        served = _read(stock, where, chance, tally)
        tally.notes["read right" if served else "refused"] += 1
        if served and files.get(_TARGET) == stock.foreign:
            tally.mistake(f"{where}: not refused")
        for name in changed:
            found = _verify(stock.folder / name)
            tally.notes["forged, and not found by verify"] += forged and not found
            if not found and not forged:
                tally.mistake(f"{where}: verify finds nothing")
        if number % _REPAIR_EVERY == 0:
            _repaired(stock, where, tally)
    except Exception as error:  # noqa: BLE001 - an error that is not ours is what is looked for
        tally.mistake(f"{where}: {error!r}")
    stock.restore()


def _read(stock: _Stock, where: str, chance: random.Random, tally: Tally) -> bool:
    """Ask a space for all its rows. Returns whether all were served; those that were have to be
    right.
    """
    try:
        space = Space.open(stock.folder)
        positions = space.find(stock.truth.keys)
    except FeatcacheError:
        return False
    held = positions >= 0
    tally.mistake(
        f"{where}: {int((~held).sum())} rows are not found, and nothing is said", int((~held).sum())
    )
    try:
        differing = stock.truth.differing(space, held)
        for view, (layer, pooling) in enumerate(VIEWS):
            loaded = space.load(layer=layer, pooling=pooling)
            differing += int((loaded[positions[held]] != stock.truth.states[held, view]).any())
        tally.mistake(f"{where}: {differing} rows differ, and nothing is said", differing)
    except FeatcacheError:
        _read_singly(stock, space, positions, where, chance, tally)
        return False
    return True


def _read_singly(
    stock: _Stock,
    space: Space,
    positions: NDArray[np.int64],
    where: str,
    chance: random.Random,
    tally: Tally,
) -> None:
    """Of a space that does not serve everything, each row alone."""
    view = chance.randrange(len(VIEWS))
    layer, pooling = VIEWS[view]
    for row in np.flatnonzero(positions >= 0):
        try:
            states = space.gather(positions[[row]], layer=layer, pooling=pooling)
        except FeatcacheError:
            continue
        tally.notes["rows served beside damage"] += 1
        if not np.array_equal(states[0], stock.truth.states[row, view]):
            tally.mistake(f"{where}: row {row} differs, and nothing is said")


def _verify(path: Path) -> bool:
    """Whether verifying a file finds something."""
    try:
        verify_shard(Shard.open(path))
    except FeatcacheError:
        return True
    return False


def _repaired(stock: _Stock, where: str, tally: Tally) -> None:
    """Repair leaves a space in which nothing is damaged, the sound shard is whole and no row is
    wrong.
    """
    try:
        done = repair(stock.folder, progress=lambda _: None)
    except FeatcacheError as error:
        tally.mistake(f"{where}: repair raises {error!r}")
        return
    tally.notes["repaired"] += 1
    if done.left:  # of a later version, says its header: nobody may touch it
        tally.notes["repaired but for a later version"] += 1
        return
    space = Space.open(stock.folder)
    for shard in space.shards:
        verify_shard(shard)
    held = space.find(stock.truth.keys) >= 0
    if not held[N_ROWS:].all():
        tally.mistake(f"{where}: repair loses rows of a sound shard")
    differing = stock.truth.differing(space, held)
    tally.mistake(f"{where}: {differing} rows differ after repair", differing)
