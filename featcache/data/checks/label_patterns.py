"""A pattern of characters that goes with one label, and the texts that such patterns are sought in.

`edge_patterns` and `inner_patterns` search; `label_leaks` chooses what is reported and writes the
sentences.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from featcache.data.checks.findings import Pool
from featcache.data.checks.patterns import Family, family
from featcache.wording import printable

LEAST_TEXTS = 20  # texts with a pattern
LONGEST = 24  # characters of a pattern that are shown
PURITY = 0.9
COVERAGE = 0.02

Locate = Callable[[str], tuple[int, int] | None]


@dataclass(frozen=True)
class LabelPattern:
    """A pattern that goes with one class.

    Attributes:
        kind: The kind of finding, such as `leak-start`.
        name: The pattern.
        phrase: Verb and object of a sentence about a text that has it, such as `start with “a”`.
        texts: Places of the texts that have it.
        number: Number of its class.
        hits: How many of its texts have the class.
        strength: Standard deviations above what the class's share gives.
        leak: Whether it is hardly what the texts are about.
        locate: Gives start and end of the pattern in a text.
        rank: Patterns of a lower rank are reported first.
    """

    kind: str
    name: str
    phrase: str
    texts: NDArray[np.int64]
    number: int
    hits: int
    strength: float
    leak: bool
    locate: Locate
    rank: int


@dataclass(frozen=True)
class DifferentTexts:
    """The U different texts of a pool, or a sample of them, each with the class of its first row.

    Attributes:
        pool: Where they come from.
        rows: The row of each text in the pool, (U,).
        texts: The texts.
        numbers: The number of each text's class, (U,).
    """

    pool: Pool
    rows: NDArray[np.int64]
    texts: list[str]
    numbers: NDArray[np.int64]

    @classmethod
    def of(cls, pool: Pool, n_characters: int) -> DifferentTexts:
        """Take the texts of a pool, or draw some with a fixed seed up to `n_characters`."""
        rows = pool.first
        order = np.random.default_rng(0).permutation(len(rows))
        lengths = [len(pool.texts[row]) for row in rows[order]]
        n_kept = int(np.searchsorted(np.cumsum(lengths), n_characters)) + 1
        rows = np.sort(rows[order[:n_kept]])
        return cls(pool, rows, [pool.texts[row] for row in rows], pool.numbers[rows])

    @cached_property
    def lowered(self) -> list[str]:
        """The texts in small letters."""
        return [text.lower() for text in self.texts]

    def family(self, find: Callable[[str], set[str]]) -> Family:
        """Count the patterns that `find` sees in each text."""
        return family(self.texts, self.numbers, len(self.pool.classes), find, LEAST_TEXTS)


def label_pattern(
    patterns: Family,
    pattern: int,
    kind: str,
    phrase: str,
    locate: Locate,
    *,
    leak: bool = True,
    name: str | None = None,
    rank: int = 0,
) -> LabelPattern:
    """Describe a pattern of a family; see `LabelPattern` for the arguments.

    Args:
        patterns: The family.
        pattern: Its number in the family.
        kind: The kind of finding.
        phrase: Verb and object of a sentence.
        locate: Gives start and end of the pattern in a text.
        leak: Whether it is hardly what the texts are about.
        name: What is shown instead of the pattern itself.
        rank: Patterns of a lower rank are reported first.

    Returns:
        The pattern with its texts and figures.
    """
    occurrences = patterns.occurrences
    return LabelPattern(
        kind=kind,
        name=patterns.names[pattern] if name is None else name,
        phrase=phrase,
        texts=patterns.having(pattern),
        number=int(occurrences.top[pattern]),
        hits=int(occurrences.hits()[pattern]),
        strength=float(occurrences.strength()[pattern]),
        leak=leak,
        locate=locate,
        rank=rank,
    )


def by_strength(patterns: Family, chosen: NDArray[np.bool_]) -> list[int]:
    """Numbers of the chosen patterns, the strongest first.

    Args:
        patterns: A family of P patterns.
        chosen: Which of them, (P,).

    Returns:
        Their numbers.
    """
    numbers = np.flatnonzero(chosen)
    if not len(numbers):
        return []
    order = np.argsort(-patterns.occurrences.strength()[numbers], kind="stable")
    strongest: list[int] = numbers[order].tolist()
    return strongest


def quoted(name: str) -> str:
    """A pattern in quotes, with invisible signs as escapes."""
    return f"“{printable(name, keep='')}”"


def matcher(pattern: str) -> Locate:
    """Make a function that locates the first match of a regular expression."""
    compiled = re.compile(pattern)

    def locate(text: str) -> tuple[int, int] | None:
        match = compiled.search(text)
        return None if match is None else match.span()

    return locate
