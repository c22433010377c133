"""Texts with nothing, or only one word, in them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from featcache.data.checks.findings import Finding, Pool, by_class
from featcache.wording import counted, percent


def short_texts(pool: Pool) -> Iterator[Finding]:
    """Rows whose text is empty (or white space), and rows of one word."""
    words = np.fromiter(
        (len(text.split(None, 2)) for text in pool.texts), dtype=np.int64, count=pool.n_rows
    )
    empty, single = np.flatnonzero(words == 0), np.flatnonzero(words == 1)
    if len(empty):
        yield Finding(
            "empty-text",
            len(empty),
            pool.n_rows,
            f"{counted(len(empty), 'text')} of {pool.n_rows:,} "
            f"{'is' if len(empty) == 1 else 'are'} empty or missing "
            f"({by_class(pool, empty)})",
            "extract and fit-heads refuse them: there is nothing in them to learn from",
            "Fill them in, or go on without them: --skip-empty.",
            leak=False,
            examples=pool.examples(empty),
        )
    if len(single):
        yield Finding(
            "one-word",
            len(single),
            pool.n_rows,
            f"{counted(len(single), 'text')} of {pool.n_rows:,} "
            f"({percent(len(single), pool.n_rows)}) "
            f"{'is' if len(single) == 1 else 'are'} one word only ({by_class(pool, single)})",
            "a single word says little: expect these rows to be answered by the larger class",
            "Look whether they were cut off or read from the wrong column (--text COLUMN).",
            leak=False,
            examples=pool.examples(single),
        )
