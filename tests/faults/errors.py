"""Campaign `errors`: every call that writes fails in turn, during `featcache extract` from the
command line.

For each kind of call, each error and each n: the n-th such call fails, once or from then on. The
command has to end with exit code 1 and one sentence, what was finished before has to be there, and
the same command has to complete once the fault is gone. A refused reservation and a short write are
no failures: the command completes.
"""

from __future__ import annotations

import csv
import errno
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from tests.conftest import save_encoder, sentences
from tests.faults.calls import Call, watched
from tests.faults.children import Child, report, slices_of, tell, warm
from tests.faults.result import Result, Tally
from tests.faults.truth import Truth, temporaries

TEXTS, SHARD_ROWS, SLICE_ROWS, LIMIT = 16, 8, 8, 60.0
_FULL, _BROKEN, _READ_ONLY = errno.ENOSPC, errno.EIO, errno.EROFS
_SHORT = 0  # no error: a write that takes half of what it was given
_ERRORS = {
    "open": (_FULL, _BROKEN, _READ_ONLY),
    "mkdir": (_FULL, _BROKEN, _READ_ONLY),
    "rename": (_FULL, _BROKEN),
    "replace": (_FULL, _BROKEN),
    "write": (_FULL, _BROKEN, _SHORT),
    "pwrite": (_FULL, _BROKEN, _SHORT),
    "fsync": (_FULL, _BROKEN),
    "ftruncate": (_FULL, _BROKEN),
    "posix_fallocate": (_FULL, _BROKEN, errno.EOPNOTSUPP),
}
# A bad sector is met once, a file system stays read-only or without reservations; a full disk may
# do both.
_STAYING = {_BROKEN: (False,), _READ_ONLY: (True,), errno.EOPNOTSUPP: (True,)}
_HARMLESS = {_SHORT, errno.EOPNOTSUPP}
_UNWATCHED = (
    "memo.json"  # what is in it is only slow to find out again: failing to write it is no failure
)


@dataclass(frozen=True)
class Fault:
    """The n-th call of that name (from 1) fails with an error number; `stays`: and every one after
    it.
    """

    name: str
    code: int
    n: int
    stays: bool

    def __str__(self) -> str:
        what = errno.errorcode.get(self.code, "a short write")
        return f"{self.name} number {self.n}{' and later' if self.stays else ''}: {what}"


@dataclass
class _Saboteur:
    """Counts the calls of each name and lets those of the fault fail, after reporting them."""

    sender: Connection
    fault: Fault | None
    counts: Counter[str]
    last: str = ""

    def __call__(self, call: Call, go: Callable[[], Any]) -> Any:
        if not call.writes:
            return go()
        self.counts[call.name] += 1
        fault, number = self.fault, self.counts[call.name]
        before, self.last = self.last, call.path
        if (
            fault is None
            or call.name != fault.name
            or number < fault.n
            or (number > fault.n and not fault.stays)
        ):
            return go()
        tell(
            self.sender, failed=before if call.path == "." else call.path
        )  # a folder is synced for what is in it
        if fault.code != _SHORT:
            raise OSError(
                fault.code,
                os.strerror(fault.code),
                *([call.path] if call.name in {"open", "mkdir"} else []),
            )
        handle, data, *offset = call.arguments
        half = [memoryview(data)[: len(data) // 2 + 1]]
        # These are not replaced.
        return os.pwritev(handle, half, *offset) if offset else os.writev(handle, half)


def command(
    sender: Connection, arguments: Sequence[str], cache: Path, told: Path, fault: Fault | None
) -> None:
    """The command line in a child, what it prints going to a file."""
    handle = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    sys.stdout.flush()
    for stream in (1, 2):
        os.dup2(handle, stream)
    report(sender)
    slices_of(SLICE_ROWS)
    saboteur = _Saboteur(sender, fault, Counter())
    try:
        with watched(cache, saboteur):
            from featcache.cli import main

            main(list(arguments))
    finally:
        tell(sender, counts=dict(saboteur.counts))


@dataclass(frozen=True)
class _Desk:
    """What all trials share."""

    context: ForkServerContext
    folder: Path
    model: Path
    data: Path

    def run(self, cache: Path, fault: Fault | None) -> tuple[Child, str]:
        """One command, to its end or past its time: the child, and what it printed."""
        arguments = [
            "extract",
            str(self.data),
            "--backbone",
            str(self.model),
            "--cache",
            str(cache),
            "--dtype",
            "float32",
            "--shard-rows",
            str(SHARD_ROWS),
            "--layers",
            "last",
            "--pool",
            "mean",
        ]
        told = self.folder / "told"
        child = Child(self.context, command, arguments, cache, told, fault)
        child.finish(LIMIT)
        return child, told.read_text("utf-8", errors="replace")


def campaign(trials: int = 0, seed: int = 0) -> Result:
    """Every fault; where there are more than `trials` (and that is not 0), so many of them."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as scratch:
        folder, texts = Path(scratch), sentences(TEXTS)
        data = folder / "texts.csv"
        with data.open("w", newline="") as file:
            csv.writer(file).writerows([["text"], *([text] for text in texts)])
        desk = _Desk(warm(), folder, save_encoder(folder / "model"), data)
        peace, told = desk.run(folder / "peace", None)
        assert peace.exit_code == 0, told
        truth = Truth.of(folder / "peace", texts)
        counts = peace.facts[-1]["counts"]
        faults = [
            Fault(name, code, n, stays)
            for name, codes in _ERRORS.items()
            for code in codes
            for n in range(1, counts.get(name, 0) + 1)
            for stays in _STAYING.get(code, (False, True))
        ]
        # One more than there are calls: these must not strike, else some would have been left out.
        faults += [Fault(name, _BROKEN, counts.get(name, 0) + 1, stays=False) for name in _ERRORS]
        chosen = (
            faults
            if not trials or trials >= len(faults)
            else random.Random(seed).sample(faults, trials)
        )
        for number, fault in enumerate(chosen):
            trial = _Trial(desk, truth, folder / f"trial-{number}", fault, tally)
            trial.run(strikes=fault.n <= counts.get(fault.name, 0))
    return tally.result(
        "errors", len(chosen), "exit code 1, one sentence, 0 lost, rerun complete, for every call"
    )


@dataclass(frozen=True)
class _Trial:
    """One fault: the command that meets it, what it leaves, and the command again."""

    desk: _Desk
    truth: Truth
    cache: Path
    fault: Fault
    tally: Tally

    def wrong(self, what: str) -> None:
        self.tally.mistake(f"{self.fault}: {what}")

    def run(self, *, strikes: bool) -> None:
        child, told = self.desk.run(self.cache, self.fault)
        failed = [facts["failed"] for facts in child.facts if "failed" in facts]
        if bool(failed) != strikes:
            self.wrong(f"struck {failed}, which the calls of an undisturbed run do not explain")
        harmless = (
            not failed or self.fault.code in _HARMLESS or all(_UNWATCHED in text for text in failed)
        )
        self.tally.notes[
            "no such call" if not failed else "harmless" if harmless else "failing"
        ] += 1
        if self._ended(child, told):
            self._said(child.exit_code or 0, told, harmless=harmless)
        found = self.truth.check(self.cache)
        self.tally.lose(int((~found.held[self.truth.places(child.rows)]).sum()), str(self.fault))
        self.tally.notes["rows kept"] += int(found.held.sum())
        for problem in [*found.problems, *([f"{found.wrong} rows differ"] if found.wrong else [])]:
            self.wrong(problem)
        if not found.held.any() and list(self.cache.glob("*/contract.json")):
            self.wrong("an empty space is left")
        self._again()

    def _ended(self, child: Child, told: str) -> bool:
        """Whether it ended by itself; counts it where not."""
        code = child.exit_code or 0
        if code == -9:  # nobody else kills here: it was past its time
            self.tally.hang(f"{self.fault}: the command did not end")
        elif code < 0:
            self.tally.crash(f"{self.fault}: signal {-code}; {told[-300:]}")
        return code >= 0

    def _said(self, code: int, told: str, *, harmless: bool) -> None:
        if code != (0 if harmless else 1):
            self.wrong(f"exit code {code}: {told[-300:]}")
        if code and not harmless:
            sentences_told = [line for line in told.splitlines() if line.startswith("error: ")]
            if len(sentences_told) != 1 or os.strerror(self.fault.code) not in sentences_told[0]:
                self.wrong(f"not one sentence that names the error: {told[-300:]}")
        if "Traceback" in told:
            self.wrong(f"a traceback: {told[-300:]}")

    def _again(self) -> None:
        """The same command without the fault."""
        child, told = self.desk.run(self.cache, None)
        if self._ended(child, told) and child.exit_code:
            self.wrong(f"the second run ends with exit code {child.exit_code}: {told[-300:]}")
        found = self.truth.check(self.cache)
        self.tally.lose(int((~found.held).sum()), f"{self.fault}, second run")
        left = [f"{name} is left" for name in temporaries(self.cache)]
        for problem in [
            *found.problems,
            *left,
            *([f"{found.wrong} rows differ"] if found.wrong else []),
        ]:
            self.wrong(f"second run: {problem}")
