"""Texts that are nearly the same: a word changed, a sentence added, other case or punctuation.

Two texts count as near duplicates where at least `SIMILAR` of their shingles (the different runs of five characters
of their words in small letters) are shared: |A ∩ B| / |A ∪ B| (Jaccard). In a text message of 15 words one other word
leaves about 0.8. Candidates come from MinHash signatures in bands (A. Broder, 1997; locality-sensitive hashing of
`datasketch`); each is verified on the shingles themselves, so none is told that is not one, and of pairs at the limit
about one in 2,000 is missed (one in 50 in the short form).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featcache.data.checks.findings import EXAMPLES, Finding, Pool, counted, percent, shown
from featcache.data.checks.shingles import Shingles

if TYPE_CHECKING:
    from datasketch import MinHash

SIMILAR = 0.8
_ROWS = 5  # of a band: at a similarity of 0.5 a band agrees for one pair in 32
_BANDS, _QUICK_BANDS = 20, 10
# Signatures of long texts are made of a part of their shingles, the same part for all, so that two groups are
# needed. A text of 250 different shingles has near duplicates of 200 to 312: from 200 on (and some less, for repeated
# shingles count here) all are in the group of long ones too.
_LONG, _FROM = 250, 180
_SIGNED = 150  # shingles of a long text that its signature is made of, about
_CANDIDATES = 100  # that are verified for one text
_QUICK_TEXTS = 20_000
_QUICK_CHARACTERS = 8_000_000


@dataclass
class _Twins:
    """For texts of one part: those with a near duplicate, and one such pair each."""

    within: dict[int, int] = field(default_factory=dict)
    before: dict[int, int] = field(default_factory=dict)


def near_duplicates(pool: Pool, *, quick: bool) -> Iterator[Finding]:
    """Texts with a near duplicate in an earlier part, and texts with one earlier in their own part.

    Texts that are the same letter for letter are one text here. quick: at most 20,000 texts of 8 million characters,
    drawn with a fixed seed.
    """
    first = _drawn(pool) if quick else pool.first
    sets = Shingles.of([pool.texts[row] for row in first])
    part = pool.part[first]
    twins = [_Twins() for _ in pool.names]
    sizes = sets.sizes
    bands = _QUICK_BANDS if quick else _BANDS
    short, long_ = np.flatnonzero(sizes < _LONG), np.flatnonzero(sizes >= _FROM)
    if len(short):
        _search(short, sets, part, twins, bands, 1)
    if (sizes[long_] >= _LONG).any():
        _search(long_, sets, part, twins, bands, max(1, round(float(sizes[long_].mean()) / _SIGNED)))
    looked = "" if len(first) == len(pool.first) else f" of {len(first):,} looked at"
    for number in range(len(pool.names) - 1, -1, -1):
        total = int((part == number).sum())
        if twins[number].before:
            yield _shared(pool, first, twins[number].before, number, total, looked)
        if twins[number].within:
            yield _within(pool, first, twins[number].within, number, total, looked)


def _drawn(pool: Pool) -> NDArray[np.int64]:
    order = np.random.default_rng(0).permutation(len(pool.first))[:_QUICK_TEXTS]
    lengths = np.fromiter((len(pool.texts[pool.first[one]]) for one in order), dtype=np.int64, count=len(order))
    kept = order[: int(np.searchsorted(np.cumsum(lengths), _QUICK_CHARACTERS)) + 1]
    return pool.first[np.sort(kept)]


def _search(
    rows: NDArray[np.int64],
    sets: Shingles,
    part: NDArray[np.int64],
    twins: Sequence[_Twins],
    bands: int,
    every: int,
) -> None:
    """Go through texts in their order, and look each up among those before it. every: the share of shingles signed."""
    from datasketch import MinHash, MinHashLSH

    blank = MinHash(num_perm=bands * _ROWS, hashfunc=int)
    index = MinHashLSH(num_perm=bands * _ROWS, params=(bands, _ROWS))
    for row in rows.tolist():
        found = twins[part[row]]
        signature: MinHash = blank.copy()
        signature.update_batch(sets.sample(row, every).tolist())
        for other in sorted(index.query(signature))[:_CANDIDATES]:
            there = found.within if part[other] == part[row] else found.before
            if row not in there and sets.similarity(row, other) >= SIMILAR:
                there[row] = other
        index.insert(row, signature, check_duplication=False)


def _shared(
    pool: Pool, first: NDArray[np.int64], pairs: dict[int, int], number: int, total: int, looked: str
) -> Finding:
    name, count = pool.names[number], len(pairs)
    earlier = " or ".join(pool.names[:number])
    return Finding(
        "near-duplicate-shared", count, total,
        f"{counted(count, f'{name} text')} of {total:,}{looked} ({percent(count, total)}) "
        f"{'is' if count == 1 else 'are'} nearly the same as one of {earlier}{_torn(pool, first, pairs)}",
        f"a head answers these nearly from memory: they can lift the {name} score by up to {percent(count, total)} "
        "of the rows",
        f"Take them out of {earlier}, or split so that versions of a text stay together.",
        leak=True,
        examples=_pairs(pool, first, pairs),
    )  # fmt: skip


def _within(
    pool: Pool, first: NDArray[np.int64], pairs: dict[int, int], number: int, total: int, looked: str
) -> Finding:
    name, count = pool.names[number], len(pairs)
    effect = "there is less to learn from than the rows say"
    if len(pool.names) == 1:
        effect += ", and a split, which keeps only equal texts together, puts some of them on both sides"
    elif name != "train":
        effect = f"a score on {name} counts them several times, and its interval is too narrow"
    return Finding(
        "near-duplicate", count, total,
        f"{counted(count, f'{name} text')} of {total:,}{looked} ({percent(count, total)}) "
        f"{'is' if count == 1 else 'are'} nearly the same as an earlier one{_torn(pool, first, pairs)}",
        effect,
        "Keep one of each, or give --validation and --test files in which none of them is.",
        leak=False,
        examples=_pairs(pool, first, pairs),
    )  # fmt: skip


def _torn(pool: Pool, first: NDArray[np.int64], pairs: dict[int, int]) -> str:
    """How many pairs have two labels, as a phrase; nothing where none has."""
    count = sum(pool.labels[first[one]] != pool.labels[first[other]] for one, other in pairs.items())
    return f", {count:,} of them under another label" if count else ""


def _pairs(pool: Pool, first: NDArray[np.int64], pairs: dict[int, int]) -> tuple[str, ...]:
    return tuple(
        f"{pool.example(int(first[one]))} ~ {pool.place(int(first[other]))} ({pool.labels[first[other]]}): "
        f"{shown(pool.texts[first[other]])}"
        for one, other in sorted(pairs.items())[:EXAMPLES]
    )
