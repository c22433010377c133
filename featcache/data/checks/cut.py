"""Texts that are longer than the backbone reads: how many, and how much of them it never sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.data.checks.findings import Finding, Pool, by_class
from featcache.wording import counted, percent


@dataclass(frozen=True)
class Truncation:
    """What a tokenizer's limit does to N rows, in the order of the parts laid end to end.

    kept: (N,) tokens that the backbone is given.  cut: (N,) whether a row lost some.  whole: (N,)
    tokens of the whole text, or None where only the cache was asked, which remembers no more than
    that tokens were lost.
    """

    max_length: int
    kept: NDArray[np.int64]
    cut: NDArray[np.bool_]
    whole: NDArray[np.int64] | None = None


def cut_texts(pool: Pool, truncated: Truncation) -> Iterator[Finding]:
    """Rows that lose tokens, and the share of their tokens that is lost."""
    rows = np.flatnonzero(truncated.cut)
    if not len(rows):
        return
    lost, about = _lost(pool, truncated, rows)
    share = 1 - lost
    yield Finding(
        "cut-text",
        len(rows),
        pool.n_rows,
        f"{counted(len(rows), 'text')} of {pool.n_rows:,} ({percent(len(rows), pool.n_rows)}) "
        f"{'is' if len(rows) == 1 else 'are'} cut at {truncated.max_length:,} tokens: "
        f"{about}{percent(lost, 1)} of "
        f"their tokens {'is' if len(rows) == 1 else 'are'} never seen ({by_class(pool, rows)})",
        f"a head sees {about}{percent(share, 1)} of these texts; what tells the label may "
        "stand in the rest",
        "Extract with a larger --max-length where the model allows it, cut texts in pieces, "
        "or put first what matters.",
        leak=False,
        examples=pool.examples(rows[np.argsort(-_lengths(pool, rows), kind="stable")]),
    )


def _lost(pool: Pool, truncated: Truncation, rows: NDArray[np.int64]) -> tuple[float, str]:
    """The share of the cut rows' tokens that is lost, and "about " where it is an estimate.

    Without the whole counts, a cut text is taken to have as many tokens a character as the uncut
    ones.
    """
    kept = float(truncated.kept[rows].sum())
    if truncated.whole is not None:
        return 1 - kept / float(truncated.whole[rows].sum()), ""
    others = np.flatnonzero(~truncated.cut)
    characters = float(_lengths(pool, others).sum())
    rate = (
        float(truncated.kept[others].sum()) / characters if characters else 0.25
    )  # English has about four a token
    whole = np.maximum(_lengths(pool, rows) * rate, truncated.kept[rows] + 1)
    return 1 - kept / float(whole.sum()), "about "


def _lengths(pool: Pool, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.fromiter((len(pool.texts[row]) for row in rows), dtype=np.int64, count=len(rows))
