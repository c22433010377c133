"""How rows spread over the classes: one class only, classes of unequal size, classes that training
lacks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from featcache.data.checks.findings import Finding, Pool
from featcache.wording import counted, percent

_RATIO = 2.0  # largest to rarest class: above it, accuracy says little about the rarest
_FEW = 10  # rows of a class: fewer leave none or one for validation and for test


def class_sizes(pool: Pool, label: str) -> Iterator[Finding]:
    """About the training part, and about labels of later parts that training lacks."""
    if not pool.n_rows:
        return
    counts = np.zeros((len(pool.names), len(pool.classes)), dtype=np.int64)
    np.add.at(counts, (pool.part, pool.numbers), 1)
    train, total = counts[0], int(counts[0].sum())
    there = np.flatnonzero(train)
    for number, name in enumerate(pool.names[1:], 1):
        strange = np.flatnonzero((counts[number] > 0) & (train == 0))
        if len(strange):
            rows = np.flatnonzero((pool.part == number) & np.isin(pool.numbers, strange))
            names = ", ".join(repr(pool.classes[one]) for one in strange[:4]) + (
                ", …" if len(strange) > 4 else ""
            )
            yield Finding(
                "unknown-class",
                len(rows),
                int(counts[number].sum()),
                f"{counted(len(rows), f'{name} row')} {'has' if len(rows) == 1 else 'have'} a "
                "label that no row of "
                f"{pool.names[0]} has: {names}",
                "no head can answer with a class that it has not seen: these rows are wrong; "
                "fit-heads refuses them",
                f"Add rows of these classes to {pool.names[0]}, or take them out of {name}.",
                leak=False,
                examples=pool.examples(rows),
            )
    if len(there) == 1:
        yield Finding(
            "one-class",
            total,
            total,
            f"all rows of {pool.names[0]} have one label in column {label!r}: "
            f"{pool.classes[there[0]]!r}",
            "there is nothing to tell apart, so no head can be fitted",
            "Name the right column with --label, or add rows of another class.",
            leak=False,
            examples=(),
        )
    if len(there) < 2:
        return
    yield from _rarest(pool, train)


def _rarest(
    pool: Pool, train: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
) -> Iterator[Finding]:
    there = np.flatnonzero(train)
    rarest, largest = int(there[np.argmin(train[there])]), int(np.argmax(train))
    total, rows, most = int(train.sum()), int(train[rarest]), int(train[largest])
    examples = pool.examples(np.flatnonzero((pool.part == 0) & (pool.numbers == rarest)))
    few = [one for one in there if train[one] < _FEW]
    if few:
        noun = "class has" if len(few) == 1 else "classes have"
        yield Finding(
            "rare-class",
            len(few),
            len(there),
            f"{len(few):,} {noun} fewer than {_FEW} rows; the rarest, "
            f"{pool.classes[rarest]!r}, has {rows:,}",
            "what a head does with so few rows is chance, and validation or test may hold "
            "none of them",
            "Collect more rows of these classes, join them with others, or take them out.",
            leak=False,
            examples=examples,
        )
    if most >= _RATIO * rows:
        yield Finding(
            "imbalance",
            rows,
            total,
            f"the rarest class, {pool.classes[rarest]!r}, has {rows:,} of {total:,} rows "
            f"({percent(rows, total)}); "
            f"{pool.classes[largest]!r} has {most / rows:.1f} times as many",
            f"always answering {pool.classes[largest]!r} is right on {percent(most, total)} "
            "of the rows, so accuracy "
            f"hides what happens to {pool.classes[rarest]!r}",
            "Read macro-F1 or MCC instead of accuracy (fit-heads chooses by macro-F1), and "
            "try --balance weights.",
            leak=False,
            examples=examples,
        )
