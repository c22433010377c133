"""Campaign `malformed`: every JSON file of a cache, wrong in every way of `malformed`.

A space with sound rows has one of its small files, or the header of a shard, replaced. Whatever
opens, lists, verifies and repairs it has to give an error of featcache or the right rows; no
traceback, no hang, no memory without end; and after `repair` the space is sound or set aside.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from featcache.cache.folder import contracts_in, folders_in, spaces_in
from featcache.cache.memo import Memo
from featcache.cache.upkeep.repair import repair
from featcache.cache.upkeep.verify import verify
from featcache.errors import FeatcacheError
from featcache.runs.ledger import LedgerEntry, earlier_choices, enter
from tests.faults.children import Child, tell, warm
from tests.faults.malformed import IMPOSTORS, mutations_of
from tests.faults.mutate import HEAD, PREFIX, header_of, seal
from tests.faults.power import scratch_folder
from tests.faults.result import Result, Tally
from tests.faults.samples import create, rows, truth_of
from tests.faults.truth import Truth

BATCH, LIMIT = 150, 180.0  # files a process, and its seconds
_MEMORY = 1 << 30  # bytes that a process may take beyond what it has
_ENTRY = LedgerEntry("0" * 16, "label", "a head", "2026-01-01T00:00:00", "runs/x")
_FILES = ("contract.json", "origin.json", "memo.json", "ledger", "header")

Case = tuple[str, str, bytes | str]  # name, file, its bytes or the name of an impostor


def cases(documents: dict[str, Any]) -> Iterator[Case]:
    """Every mutation of every file, and every impostor in its place."""
    for file in _FILES:
        for name, data in mutations_of(documents[file]):
            yield f"{file}: {name}", file, data
        for name in IMPOSTORS:
            yield f"{file}: {name}", file, name


def campaign(trials: int = 0, seed: int = 0) -> Result:
    """All cases; where `trials` is not 0, so many of them, drawn by chance."""
    tally, context = Tally(), warm()
    with scratch_folder() as scratch:
        stock = Path(scratch) / "stock"
        truth, documents = _stock(stock)
        chosen = list(cases(documents))
        if trials and trials < len(chosen):
            chosen = random.Random(seed).sample(chosen, trials)
        pending = iter(chosen)
        while batch := list(islice(pending, BATCH)):
            child = Child(context, _meet, Path(scratch) / "work", stock, truth, batch)
            last = "the first case"
            if not child.finish(LIMIT):
                tally.hang(f"no end within {LIMIT:.0f} s, after {_last(child) or last}")
            elif (child.exit_code or 0) < 0:
                tally.crash(f"signal {-(child.exit_code or 0)}, after {_last(child) or last}")
            elif child.exit_code:
                tally.mistake(f"{child.ending}, after {_last(child) or last}")
            for facts in child.facts:
                tally.notes["cases"] += 1
                tally.notes["refused"] += bool(facts.get("refused"))
                for problem in facts.get("problems", []):
                    tally.mistake(f"{facts['case']}: {problem}")
    return tally.result("malformed", len(chosen), "an error of ours or the right rows, no hang")


def _last(child: Child) -> str:
    return str(child.facts[-1]["case"]) if child.facts else ""


def _stock(folder: Path) -> tuple[Truth, dict[str, Any]]:
    """A cache with one space of two shards, its memo and its ledger; and these as documents."""
    parts = [rows(5, seed) for seed in range(2)]
    space = create(folder)
    for number, part in enumerate(parts):
        path = space.add(part, {"written": "2026-01-01T00:00:00+00:00", "device": "cpu"})
        path.rename(path.with_name(f"shard-{number}.h5"))
    memo = Memo({"sha256 of /a/b": "a" * 64, "facts": "{}"}, changed=True)
    memo.save(folder)
    enter(space.path, _ENTRY)
    documents = {
        name: json.loads((space.path / name).read_text())
        for name in ("contract.json", "origin.json")
    }
    documents["memo.json"] = memo.entries
    documents["ledger"] = vars(_ENTRY)
    documents["header"] = header_of((space.path / "shard-0.h5").read_bytes())
    return truth_of(*parts), documents


def _meet(sender: Connection, work: Path, stock: Path, truth: Truth, batch: list[Case]) -> None:
    """Try some cases, in a child."""
    _, limit = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(OSError, ValueError):  # where there is no /proc there is no limit
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _MEMORY, limit))
    for name, file, content in batch:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(stock, work)
        _put(work, file, content)
        refused, problems = _try(work, truth)
        tell(sender, case=name, refused=refused, problems=problems)


def _put(cache: Path, file: str, content: bytes | str) -> None:
    """Put a malformed file in its place."""
    (space,) = folders_in(cache)
    path = {
        "memo.json": cache / "memo.json",
        "ledger": cache / f"{space.name}.tests.jsonl",
        "header": space / "shard-0.h5",
    }.get(file, space / file)
    data = path.read_bytes()
    path.unlink()
    if isinstance(content, str):
        IMPOSTORS[content](path)
    elif file == "header":
        path.write_bytes(_with_header(data, content))
    else:
        path.write_bytes(content)


def _with_header(data: bytes, text: bytes) -> bytes:
    """A shard with another JSON in both headers, however long, and checksums that fit."""
    magic, version, old, _, zero = PREFIX.unpack_from(data)
    size = max(old, 1 << (len(text) + HEAD - 1).bit_length())
    block = bytearray(size)
    PREFIX.pack_into(block, 0, magic, version, size, len(text), zero)
    block[HEAD : HEAD + len(text)] = text
    sealed = bytes(seal(block))
    assert struct.unpack_from("<I", sealed, 16) == (len(text),)
    return sealed + data[old:-old] + sealed


def _try(cache: Path, truth: Truth) -> tuple[bool, list[str]]:
    """All that is done with a cache; returns whether something was refused, and what is wrong."""
    (space,) = folders_in(cache)
    refused: list[str] = []
    problems: list[str] = []

    def step(title: str, action: Callable[[], str | None]) -> None:
        try:
            problem = action()
        except FeatcacheError as error:
            refused.append(title)
            problem = None if error.what.isprintable() else f"{title} says {error.what!a:.200}"
        except BaseException as error:  # noqa: BLE001 - told, and the other steps are tried all the same
            problem = f"{title} raises {error!r:.200}"
        if problem:
            problems.append(problem)

    def check() -> None:
        if verify(space, progress=lambda _: None).findings:
            refused.append("verify")

    def ledger() -> str | None:
        earlier = earlier_choices(space, LedgerEntry(**{**vars(_ENTRY), "choice": "another"}))
        enter(space, _ENTRY)
        wrong = any(
            not isinstance(value, str) for entry in earlier for value in vars(entry).values()
        )
        return "the ledger gives no texts" if wrong else None

    def memo() -> str | None:
        entries = Memo.load(cache).entries
        wrong = any(not isinstance(value, str) for value in entries.values())
        return "the memo gives no texts" if wrong else None

    step("reading", lambda: _read(cache, truth))
    step("verify", check)
    step("contracts", lambda: None if contracts_in(cache) is not None else "no list")
    step("the memo", memo)
    step("the ledger", ledger)
    step("repair", lambda: None if repair(space, progress=lambda _: None) else "no answer")
    step("reading after repair", lambda: _read(cache, truth))
    return bool(refused), problems


def _read(cache: Path, truth: Truth) -> str | None:
    """Ask for all rows; an error that opening collects is raised here."""
    spaces, errors = spaces_in(cache)
    if errors:
        raise errors[0]
    for space in spaces:
        json.dumps(space.environments, ensure_ascii=False).encode()
        held = space.find(truth.keys) >= 0
        if differing := truth.differing(space, held):
            return f"{differing} rows differ, and nothing is said"
    return None
