"""What a fault campaign found, and the counting on the way there."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

_KEPT, _ALIKE = (
    60,
    2,
)  # problems told in words, and how many that differ in numbers only; all are counted


@dataclass(frozen=True)
class Result:
    """The figures of one campaign; all four of `lost`, `wrong`, `crashes` and `hangs` have to be
    zero.

    lost: acknowledged rows that were not found again.  wrong: rows with other values, and
    everything else that is not as promised.  crashes: processes ended by a signal that nobody sent.
    hangs: those past their time.
    notes: what else was counted, to see what the trials reached.  problems: the first few, in
    words.
    """

    campaign: str
    trials: int
    lost: int
    wrong: int
    crashes: int
    hangs: int
    seconds: float
    required: str
    notes: Mapping[str, int]
    problems: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return self.trials > 0 and not (self.lost or self.wrong or self.crashes or self.hangs)


@dataclass
class Tally:
    """Counts of a campaign that is running."""

    lost: int = 0
    wrong: int = 0
    crashes: int = 0
    hangs: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    _kinds: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)

    def lose(self, count: int, where: str) -> None:
        """`count` acknowledged rows are not there; nothing happens for 0."""
        self.lost += count
        if count:
            self.tell(f"{where}: {count} acknowledged rows are lost")

    def mistake(self, what: str, count: int = 1) -> None:
        self.wrong += count
        if count:
            self.tell(what)

    def crash(self, what: str) -> None:
        self.crashes += 1
        self.tell(what)

    def hang(self, what: str) -> None:
        self.hangs += 1
        self.tell(what)

    def tell(self, what: str) -> None:
        kind = re.sub(r"[0-9a-f]{8,}|[0-9]+", "#", what)
        self._kinds[kind] += 1
        if self._kinds[kind] <= _ALIKE and len(self.problems) < _KEPT:
            self.problems.append(what)

    def result(self, campaign: str, trials: int, required: str) -> Result:
        return Result(
            campaign=campaign,
            trials=trials,
            lost=self.lost,
            wrong=self.wrong,
            crashes=self.crashes,
            hangs=self.hangs,
            seconds=round(time.monotonic() - self.started, 1),
            required=required,
            notes=dict(self.notes),
            problems=tuple(self.problems),
        )
