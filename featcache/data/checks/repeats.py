"""The same text, letter for letter: in two parts, more than once in a part, under
different labels.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from featcache.data.checks.findings import EXAMPLES, Finding, Pool
from featcache.wording import counted, percent, shown


def shared_texts(pool: Pool) -> Iterator[Finding]:
    """For each two parts: rows of the later one (closer to the test) whose text is in the earlier
    one too.
    """
    for later in range(len(pool.names) - 1, 0, -1):
        for earlier in range(later):
            in_earlier = np.zeros(len(pool.first), dtype=np.bool_)
            in_earlier[pool.group[pool.part == earlier]] = True
            in_later = np.flatnonzero(pool.part == later)
            rows = in_later[in_earlier[pool.group[in_later]]]
            if len(rows):
                yield _shared(pool, rows, earlier, later, len(in_later))


def _shared(pool: Pool, rows: NDArray[np.int64], earlier: int, later: int, total: int) -> Finding:
    there, here = pool.names[earlier], pool.names[later]
    known = len(rows)
    return Finding(
        "shared-text",
        known,
        total,
        f"{counted(known, f'{here} row')} of {total:,} ({percent(known, total)}) "
        f"{'has a text' if known == 1 else 'have texts'} that {'is' if known == 1 else 'are'} "
        f"in {there} too",
        f"a head answers them from memory: this can lift the {here} score by up to "
        f"{percent(known, total)} of the rows",
        f"Take these texts out of {there} (fit-heads does so, and counts them) or out of {here}.",
        leak=True,
        examples=tuple(pool.example(int(row)) for row in rows[:EXAMPLES]),
    )


def repeated_texts(pool: Pool) -> Iterator[Finding]:
    """Rows of a part that repeat a text of an earlier row of that part."""
    for number, name in enumerate(pool.names):
        rows = np.flatnonzero(pool.part == number)
        _, first = np.unique(pool.group[rows], return_index=True)
        again = np.delete(rows, first)
        if not len(again):
            continue
        share = percent(len(again), len(rows))
        effect = (
            f"repeats give their texts more weight, and a split by row puts up to {share} of "
            "the rows on both sides "
            "(fit-heads splits by text)"
        )
        if name != "train":
            effect = (
                f"a score on {name} counts the same text several times, and its interval "
                "is too narrow"
            )
        yield Finding(
            "repeated-text",
            len(again),
            len(rows),
            f"{counted(len(again), 'row')} of {name} ({share}) "
            f"{'repeats' if len(again) == 1 else 'repeat'} "
            "the text of an earlier row",
            effect,
            "Keep one row of each text, or split by text as fit-heads does.",
            leak=False,
            examples=pool.examples(again),
        )


def conflicting_labels(pool: Pool) -> Iterator[Finding]:
    """Texts that stand with more than one label, over all parts. count and total are different
    texts.
    """
    pairs = (
        np.unique(np.stack([pool.group, pool.numbers], axis=1), axis=0)
        if pool.n_rows
        else np.empty((0, 2), int)
    )
    texts, labels = np.unique(pairs[:, 0], return_counts=True)
    torn = texts[labels > 1]
    if not len(torn):
        return
    rows = np.flatnonzero(np.isin(pool.group, torn))
    counts = np.zeros((len(pool.first), len(pool.classes)), dtype=np.int64)
    np.add.at(counts, (pool.group[rows], pool.numbers[rows]), 1)
    wrong = int(counts.sum() - counts.max(axis=1).sum())
    examples = []
    for text in torn[:EXAMPLES]:
        of_text = rows[pool.group[rows] == text]
        places = ", ".join(f"{pool.place(int(row))} ({pool.labels[row]})" for row in of_text[:4])
        examples.append(f"{places}: {shown(pool.texts[of_text[0]])}")
    count = len(torn)
    yield Finding(
        "conflicting-labels",
        count,
        len(pool.first),
        f"{counted(count, 'text')} {'has' if count == 1 else 'have'} more than one label "
        f"({len(rows):,} rows)",
        f"whatever is answered, at least {counted(wrong, 'row')} of these "
        f"{'is' if wrong == 1 else 'are'} wrong "
        f"({percent(wrong, pool.n_rows)} of all rows)",
        "Decide on one label for each of these texts, or take them out.",
        leak=False,
        examples=tuple(examples),
    )
