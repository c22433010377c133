"""Campaign `hostile`: files made to mislead a reader, or to hang it, or to lead it out of the
cache.

Each case puts one such thing into a space with sound rows beside it. Opening, reading or `verify`
has to refuse it with an error of ours, whatever is served has to be right, nothing may hang, and
nothing outside the cache may be opened or changed: not by readers, nor by `repair`, nor by a
writer.
"""

from __future__ import annotations

import ctypes
import os
import random
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from featcache.cache.checking import verify_shard
from featcache.cache.folder import contracts_in, spaces_in
from featcache.cache.memo import Memo
from featcache.cache.naming import SUFFIX
from featcache.cache.shard import Shard
from featcache.cache.upkeep.repair import repair
from featcache.cache.upkeep.verify import verify
from featcache.errors import FeatcacheError
from tests.faults.children import Child, tell, warm
from tests.faults.hostile_cases import CASES, SERVED, Stage
from tests.faults.power import scratch_folder
from tests.faults.result import Result, Tally
from tests.faults.samples import create, rows, truth_of
from tests.faults.truth import Truth

N_ROWS, LIMIT = 9, 20.0
_MEMORY = (
    1 << 30
)  # bytes that a case may take beyond what the process has: a few KiB are on the disk
_OPENED = 0x20 | 0x1 | 0x2  # inotify: opened, read, written


def campaign(trials: int = 0, seed: int = 0) -> Result:
    """Every case once; where there are more than `trials` (and that is not 0), so many of them."""
    tally, context, cases = Tally(), warm(), list(CASES.items())
    if trials and trials < len(cases):
        cases = random.Random(seed).sample(cases, trials)
    for name, build in cases:
        with scratch_folder() as scratch:
            stage = Stage(Path(scratch) / "cache", Path(scratch) / "outside")
            truth = _set(stage, seed)
            build(stage)
            outside = _contents(stage.outside)
            with _watching(stage.outside) as opened:
                _probe(name, Child(context, _meet, stage, truth, name not in SERVED), tally)
                for path in opened():
                    tally.mistake(f"{name}: {path} outside the cache was opened")
            if _contents(stage.outside) != outside:
                tally.mistake(f"{name}: what lies outside the cache was changed")
    return tally.result(
        "hostile", len(cases), "all refused, nothing outside the cache opened, no hang"
    )


def _set(stage: Stage, seed: int) -> Truth:
    """A space with one shard to be replaced and one to stay, and a folder outside with what must
    not be touched.
    """
    stage.outside.mkdir()
    (stage.outside / "diary.txt").write_text("dear diary")
    parts = [rows(N_ROWS, 10 * seed + part) for part in range(2)]
    space = create(stage.cache)
    for part in parts:
        path = space.add(part, {"written": "2026-01-01T00:00:00+00:00"})
        path.rename(stage.target if part is parts[0] else stage.sound)
    return truth_of(*parts)


def _probe(name: str, child: Child, tally: Tally) -> None:
    """What became of one case."""
    if not child.finish(LIMIT):
        tally.hang(f"{name}: no end within {LIMIT:.0f} s, after {_steps(child)}")
    elif (child.exit_code or 0) < 0:
        tally.crash(f"{name}: signal {-(child.exit_code or 0)}, after {_steps(child)}")
    elif child.exit_code:
        tally.mistake(f"{name}: {child.ending}, after {_steps(child)}")
    for facts in child.facts:
        for problem in facts.get("problems", []):
            tally.mistake(f"{name}: {problem}")
        if "refused" in facts:
            tally.notes[f"refused by {facts['refused']}"] += 1


def _steps(child: Child) -> str:
    return ", ".join(facts["step"] for facts in child.facts if "step" in facts) or "nothing"


def _meet(sender: Connection, stage: Stage, truth: Truth, must_refuse: bool) -> None:
    """All that featcache does with a space, in a child. must_refuse: opening, reading or `verify`
    has to.
    """
    _, limit = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(
        OSError, ValueError, FileNotFoundError
    ):  # where there is no /proc there is no limit
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _MEMORY, limit))
    refused: list[str] = []

    def step(title: str, action: Callable[[], list[str]]) -> None:
        """Do something that may be refused with an error of ours, and with no other."""
        try:
            problems = action()
        except FeatcacheError:
            refused.append(title)
            problems = []
        except Exception as error:  # noqa: BLE001 - told, and the other steps are tried all the same
            problems = [f"{title} raises {error!r:.200}"]
        tell(sender, step=title, problems=problems)

    def found() -> list[str]:
        checked = verify(stage.space, progress=lambda _: None)
        if checked.findings:
            refused.append("verify")
        return []

    step("reading", lambda: _read(stage, truth))
    step("verify of each file", lambda: _verify_files(stage))
    step("verify", found)
    if refused:
        tell(sender, refused=refused[0])
    elif must_refuse:
        tell(sender, problems=["refused by nothing"])
    step(
        "the list of contracts",
        lambda: [] if isinstance(contracts_in(stage.cache), dict) else ["no list"],
    )
    step("the memo", lambda: [] if isinstance(Memo.load(stage.cache), Memo) else ["no memo"])
    step("a writer", lambda: _write(stage))
    step("repair", lambda: [] if repair(stage.space, progress=lambda _: None) else ["no answer"])
    step("reading after repair", lambda: _read(stage, truth))


def _read(stage: Stage, truth: Truth) -> list[str]:
    """Ask for all rows; an error that opening collects is raised here."""
    spaces, wrong = spaces_in(stage.cache)
    if wrong:
        raise wrong[0]
    problems = []
    for space in spaces:
        held = space.find(truth.keys) >= 0
        if differing := truth.differing(space, held):
            problems.append(f"{differing} rows differ, and nothing is said")
    return problems


def _verify_files(stage: Stage) -> list[str]:
    for path in sorted(stage.space.glob(f"*{SUFFIX}")):
        verify_shard(Shard.open(path))
    return []


def _write(stage: Stage) -> list[str]:
    """A writer may be refused; what it must not do is follow what it finds."""
    fresh = rows(3, 77)
    space = create(stage.cache)
    with space.writing() as (now, claims):
        for chosen, _ in claims.slices(fresh.keys, 3, lambda _: None):
            if len(chosen):
                now.add(fresh, {"written": "2026-01-01T00:00:00+00:00"})
    return []


def _contents(folder: Path) -> dict[str, bytes | None]:
    """A folder's files, without opening what is no file."""
    paths = sorted(folder.rglob("*"))
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in paths
    }


@dataclass(frozen=True)
class _Inotify:
    """Linux tells which files below a folder are opened."""

    handle: int
    folder: Path

    def names(self) -> list[str]:
        """Names of what was opened since the beginning."""
        found: dict[str, None] = {}
        with suppress(BlockingIOError):
            while data := os.read(self.handle, 1 << 16):
                place = 0
                while place < len(data):
                    size = int.from_bytes(data[place + 12 : place + 16], sys.byteorder)
                    found[
                        data[place + 16 : place + 16 + size].rstrip(b"\0").decode() or "the folder"
                    ] = None
                    place += 16 + size
        return list(found)


@contextmanager
def _watching(folder: Path) -> Iterator[Callable[[], list[str]]]:
    """Yields what tells which files in a folder were opened meanwhile. Empty where the system
    cannot tell.
    """
    if sys.platform != "linux":
        yield list
        return
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert handle >= 0
    assert libc.inotify_add_watch(handle, os.fsencode(folder), _OPENED) >= 0
    watch = _Inotify(handle, folder)
    try:
        (folder / "diary.txt").read_text()
        assert watch.names(), (
            "nothing is seen of a file that is read: the campaign would see nothing either"
        )
        yield watch.names
    finally:
        os.close(handle)
