"""Labels that the length of a text tells: by a threshold, or because many texts of a class are
equally long.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from featcache.data.checks.findings import Finding, Pool
from featcache.data.checks.occurrences import Occurrences
from featcache.wording import named, percent

_LEAST = 40  # texts
_TOLD = 0.8  # balanced accuracy of one threshold: a half is chance
_LEAK = 0.95
_EQUAL = 20  # texts of one length


def length_leaks(pool: Pool) -> Iterator[Finding]:
    """The best threshold of characters for a class against the others, and lengths that nearly only
    one class has.
    """
    if len(pool.classes) < 2 or len(pool.first) < _LEAST:
        return
    rows = pool.first
    numbers = pool.numbers[rows]
    lengths = np.fromiter((len(pool.texts[row]) for row in rows), dtype=np.int64, count=len(rows))
    yield from _threshold(pool, rows, numbers, lengths)
    yield from _equal(pool, rows, numbers, lengths)


def _threshold(
    pool: Pool, rows: NDArray[np.int64], numbers: NDArray[np.int64], lengths: NDArray[np.int64]
) -> Iterator[Finding]:
    told = [(*_best_cut(lengths, numbers == number), number) for number in range(len(pool.classes))]
    score, cut, longer, number = max(told)
    if score < _TOLD:
        return
    name = named(pool.classes[number])
    hit = (lengths > cut) if longer else (lengths <= cut)
    right = int((hit & (numbers == number)).sum())
    side = "longer than" if longer else "of at most"
    leak = score >= _LEAK
    where = rows[hit & (numbers == number)]
    yield Finding(
        "leak-length",
        int(hit.sum()),
        len(rows),
        f"texts {side} {cut:,} characters: {right:,} of {int(hit.sum()):,} are {name}, "
        f"{percent(right, int((numbers == number).sum()))} of all {name} (balanced accuracy "
        f"of this rule {score:.2f})",
        "length alone tells the label: a head that learns it fails where texts are cut or "
        "collected otherwise"
        if leak
        else f"length alone tells {name} better than chance; it may be signal, and is one "
        f"where {name} is written so",
        "Look whether the classes were collected or cut differently; compare scores on texts "
        "of equal length.",
        leak=leak,
        examples=pool.examples(where),
    )


def _best_cut(lengths: NDArray[np.int64], mine: NDArray[np.bool_]) -> tuple[float, int, bool]:
    """The threshold with the highest balanced accuracy, and whether the class is above it."""
    n_mine, n_others = int(mine.sum()), int((~mine).sum())
    if min(n_mine, n_others) < _EQUAL:
        return 0.0, 0, True
    order = np.argsort(lengths, kind="stable")
    below_mine = np.cumsum(mine[order]) / n_mine
    below_others = np.cumsum(~mine[order]) / n_others
    last = np.append(np.diff(lengths[order]) > 0, False)  # a threshold lies between two lengths
    gap = np.where(last, below_others - below_mine, 0.0)
    place = int(np.argmax(np.abs(gap)))
    return float((1 + abs(gap[place])) / 2), int(lengths[order][place]), bool(gap[place] > 0)


def _equal(
    pool: Pool, rows: NDArray[np.int64], numbers: NDArray[np.int64], lengths: NDArray[np.int64]
) -> Iterator[Finding]:
    values, which, support = np.unique(lengths, return_inverse=True, return_counts=True)
    counts = np.zeros((len(values), len(pool.classes)), dtype=np.int64)
    np.add.at(counts, (which, numbers), 1)
    kept = np.flatnonzero(support >= _EQUAL)
    found = Occurrences(
        counts[kept], np.bincount(numbers, minlength=len(pool.classes)), len(values)
    )
    told = np.flatnonzero(found.significant(purity=0.9, coverage=0.05))
    if not len(told):
        return
    one = int(told[np.argmax(found.strength()[told])])
    length, name = int(values[kept[one]]), named(pool.classes[int(found.top[one])])
    hits, total = int(found.hits()[one]), int(found.support[one])
    yield Finding(
        "leak-length",
        total,
        len(rows),
        f"{total:,} texts are exactly {length:,} characters long: {hits:,} of them {name} "
        f"({percent(hits, total)})",
        f"the length alone says {name}, which in texts to come it will not",
        "Look how these were made or cut off; collect or cut all classes in one way.",
        leak=True,
        examples=pool.examples(rows[(lengths == length) & (numbers == found.top[one])]),
    )
