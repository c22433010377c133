"""What a check of data tells: findings, and the rows of all parts laid end to end that the checks
look at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.data.keys import first_of_each
from featcache.data.labels import Label
from featcache.data.parts import LabelledRows
from featcache.errors import LeakError
from featcache.wording import named, shown

EXAMPLES = 3  # of each finding; a file can have thousands


@dataclass(frozen=True)
class Finding:
    """One thing about the data that a score depends on.

    kind: a fixed short name (`checks.KINDS` has all).  count: rows (or texts, as `what` says) that
    show it, of `total`.  what, effect, cure: a sentence each: what was found, what it does to the
    score, what to do.
    leak: whether a score on these data can be had without understanding the text.  examples: at
    most three, each with its file and row.
    """

    kind: str
    count: int
    total: int
    what: str
    effect: str
    cure: str
    leak: bool
    examples: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "examples": list(self.examples)}


def leaks(findings: Sequence[Finding]) -> list[Finding]:
    """The findings that give labels or test rows away."""
    return [one for one in findings if one.leak]


def leak_error(findings: Sequence[Finding]) -> LeakError | None:
    """What `--strict` raises for findings; None where none of them is a leak."""
    found = leaks(findings)
    if not found:
        return None
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    cure = "\n".join(dict.fromkeys(one.cure for one in found[:EXAMPLES]))
    return LeakError(
        f"the data give labels or test rows away: {found[0].what}{more}",
        cure=f"{cure}\nOr leave out --strict.",
    )


@dataclass(frozen=True)
class Pool:
    """The N rows of all parts, end to end. names: of the parts; part: (N,) the number of each row's
    part.
    """

    names: tuple[str, ...]
    part: NDArray[np.int64]
    texts: list[str]
    labels: list[Label]
    keys: NDArray[np.uint8]
    origins: list[str]
    rows: list[int] | None

    @classmethod
    def of(cls, parts: Sequence[tuple[str, LabelledRows]]) -> Pool:
        every = [rows for _, rows in parts]
        numbered = all(rows.numbers is not None for rows in every)
        return cls(
            tuple(name for name, _ in parts),
            np.repeat(np.arange(len(parts)), [len(rows.texts) for rows in every]),
            [text for rows in every for text in rows.texts],
            [label for rows in every for label in rows.labels],
            np.concatenate([np.empty((0, 16), dtype=np.uint8), *(rows.keys for rows in every)]),
            [origin for rows in every for origin in rows.origins],
            [number for rows in every for number in rows.numbers or []] if numbered else None,
        )

    def with_text(self) -> Pool:
        """Its rows that are not empty: what holds nothing repeats nothing."""
        kept = [row for row, text in enumerate(self.texts) if text.strip()]
        if len(kept) == self.n_rows:
            return self
        return Pool(
            self.names,
            self.part[kept],
            [self.texts[row] for row in kept],
            [self.labels[row] for row in kept],
            self.keys[kept],
            [self.origins[row] for row in kept],
            None if self.rows is None else [self.rows[row] for row in kept],
        )

    @property
    def n_rows(self) -> int:
        return len(self.texts)

    @cached_property
    def _grouped(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return first_of_each(self.keys)

    @property
    def first(self) -> NDArray[np.int64]:
        """(U,) the first row of each different text."""
        return self._grouped[0]

    @property
    def group(self) -> NDArray[np.int64]:
        """(N,) which of the U different texts a row has."""
        return self._grouped[1]

    @cached_property
    def classes(self) -> list[Label]:
        """The labels in their order, those of all parts."""
        return sorted(set(self.labels), key=lambda one: (str(type(one)), one))

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """(N,) the place of each row's label in `classes`."""
        places = {one: number for number, one in enumerate(self.classes)}
        return np.array([places[one] for one in self.labels], dtype=np.int64)

    def place(self, row: int) -> str:
        """`train.csv, row 12`, or only the file where rows have no numbers."""
        return (
            self.origins[row] if self.rows is None else f"{self.origins[row]}, row {self.rows[row]}"
        )

    def example(self, row: int, around: tuple[int, int] | None = None) -> str:
        """A row as one line: place, label, and its text, shortened around the characters that
        matter.
        """
        return f"{self.place(row)} ({self.labels[row]}): {shown(self.texts[row], around)}"

    def examples(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[str, ...]:
        return tuple(self.example(int(row)) for row in rows[:EXAMPLES])


def by_class(pool: Pool, rows: NDArray[np.int64], most: int = 4) -> str:
    """`104 human, 0 machine`: how some rows spread over the classes, all of them where they are
    few.
    """
    counts = Counter(pool.labels[row] for row in rows.tolist())
    told = (
        [(label, counts.get(label, 0)) for label in pool.classes]
        if len(pool.classes) <= most
        else []
    )
    told = sorted(told or counts.items(), key=lambda one: -one[1])
    shown_ = ", ".join(f"{count:,} {named(label, 'of ')}" for label, count in told[:most])
    return shown_ + (f" and {len(told) - most} more classes" if len(told) > most else "")
