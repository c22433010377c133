"""Texts that are nearly the same: a word changed, a sentence added, other case or punctuation.

Measured by the share of their shingles (the different runs of five characters of their words in
small letters) that two texts have in common: |A ∩ B| / |A ∪ B| (Jaccard). Near duplicates share 0.8
where one of them is short; in a text message of 15 words one other word leaves about 0.8, and
sentences that only begin alike come close to it. Texts of 250 characters and more never come close
by chance: for these 0.65 is enough, which is two or three other words in ten.

Candidates come from MinHash signatures in bands (A. Broder, 1997; locality-sensitive hashing of
`datasketch`); each is verified on the shingles themselves, so none is told that is not one. Of
pairs that lie just at the limit one in 2,800 (long texts: 110) is missed, in the short form one in
50 (long texts: 11), of closer ones far fewer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featcache.data.checks.findings import EXAMPLES, Finding, Pool
from featcache.data.checks.shingles import Shingles
from featcache.wording import counted, percent, shown

if TYPE_CHECKING:
    from datasketch import MinHash

SIMILAR, LONG_SIMILAR = 0.8, 0.65


@dataclass(frozen=True)
class _Bands:
    """Of signatures. rows: values of a band; two texts are candidates where all values of some band
    agree.
    """

    count: int
    quick: int
    rows: int


_OF_SHORT, _OF_LONG = _Bands(20, 10, 5), _Bands(24, 12, 4)
# Signatures of long texts are made of a part of their shingles, the same part for all, so that two
# groups are needed. A short one of 250 shingles has near duplicates of 200 and more: from 200 on
# (and some less, for repeated shingles count here) all are in the group of long ones too.
LONG, _FROM = 250, 180
_SIGNED = 150  # shingles of a long text that its signature is made of, about
_CANDIDATES = 100  # that are verified for one text
# The most that is looked at: an index of 100,000 texts takes about 12 s and 600 MB.
_TEXTS, _QUICK_TEXTS = 100_000, 20_000
_CHARACTERS, _QUICK_CHARACTERS = 60_000_000, 8_000_000


@dataclass
class _Twins:
    """For texts of one part: those with a near duplicate, and one such pair each."""

    within: dict[int, int] = field(default_factory=dict)
    before: dict[int, int] = field(default_factory=dict)


def near_duplicates(pool: Pool, *, quick: bool) -> Iterator[Finding]:
    """Texts with a near duplicate in an earlier part, and texts with one earlier in their own part.

    Texts that are the same letter for letter are one text here. Looked at are at most 100,000 texts
    of 60 million characters (quick: 20,000 of 8 million), drawn with a fixed seed where there are
    more.
    """
    first = (
        _drawn(pool, _QUICK_TEXTS, _QUICK_CHARACTERS)
        if quick
        else _drawn(pool, _TEXTS, _CHARACTERS)
    )
    sets = Shingles.of([pool.texts[row] for row in first])
    part = pool.part[first]
    twins = [_Twins() for _ in pool.names]
    sizes = sets.sizes
    short, long_ = np.flatnonzero(sizes < LONG), np.flatnonzero(sizes >= _FROM)
    if len(short):
        _search(
            short,
            sets,
            part,
            twins,
            (_OF_SHORT.quick if quick else _OF_SHORT.count, _OF_SHORT.rows),
            1,
        )
    if (sizes[long_] >= LONG).any():
        every = max(1, round(float(sizes[long_].mean()) / _SIGNED))
        _search(
            long_,
            sets,
            part,
            twins,
            (_OF_LONG.quick if quick else _OF_LONG.count, _OF_LONG.rows),
            every,
        )
    looked = "" if len(first) == len(pool.first) else " looked at"
    for number in range(len(pool.names) - 1, -1, -1):
        total = int((part == number).sum())
        if twins[number].before:
            yield _shared(pool, first, twins[number].before, number, total, looked)
        if twins[number].within:
            yield _within(pool, first, twins[number].within, number, total, looked)


def _drawn(pool: Pool, most: int, characters: int) -> NDArray[np.int64]:
    order = np.random.default_rng(0).permutation(len(pool.first))[:most]
    lengths = np.fromiter(
        (len(pool.texts[pool.first[one]]) for one in order), dtype=np.int64, count=len(order)
    )
    kept = order[: int(np.searchsorted(np.cumsum(lengths), characters)) + 1]
    return pool.first[np.sort(kept)]


def _search(
    rows: NDArray[np.int64],
    sets: Shingles,
    part: NDArray[np.int64],
    twins: Sequence[_Twins],
    bands: tuple[int, int],
    every: int,
) -> None:
    """Go through texts in their order, and look each up among those before it.

    bands: how many, and their rows.  every: one shingle in so many is signed.
    """
    from datasketch import MinHash, MinHashLSH

    blank = MinHash(num_perm=bands[0] * bands[1], hashfunc=int)
    index = MinHashLSH(num_perm=bands[0] * bands[1], params=bands)
    sizes = sets.sizes
    for row in rows.tolist():
        found = twins[part[row]]
        signature: MinHash = blank.copy()
        signature.update_batch(sets.sample(row, every).tolist())
        for other in sorted(index.query(signature))[:_CANDIDATES]:
            there = found.within if part[other] == part[row] else found.before
            limit = LONG_SIMILAR if min(sizes[row], sizes[other]) >= LONG else SIMILAR
            if row not in there and sets.similarity(row, other) >= limit:
                there[row] = other
        index.insert(row, signature, check_duplication=False)


def _shared(
    pool: Pool,
    first: NDArray[np.int64],
    pairs: dict[int, int],
    number: int,
    total: int,
    looked: str,
) -> Finding:
    name, count = pool.names[number], len(pairs)
    earlier = " or ".join(pool.names[:number])
    return Finding(
        "near-duplicate-shared",
        count,
        total,
        f"{counted(count, f'{name} text')} of {total:,}{looked} ({percent(count, total)}) "
        f"{'is' if count == 1 else 'are'} nearly the same as one of "
        f"{earlier}{_torn(pool, first, pairs)}",
        f"a head answers these nearly from memory: they can lift the {name} score by up to "
        f"{percent(count, total)} "
        "of the rows",
        f"Take them out of {earlier}, or split so that versions of a text stay together.",
        leak=True,
        examples=_pairs(pool, first, pairs),
    )


def _within(
    pool: Pool,
    first: NDArray[np.int64],
    pairs: dict[int, int],
    number: int,
    total: int,
    looked: str,
) -> Finding:
    name, count = pool.names[number], len(pairs)
    effect = "there is less to learn from than the rows say"
    if len(pool.names) == 1:
        effect += (
            ", and a split, which keeps only equal texts together, puts some of them on both sides"
        )
    elif name != "train":
        effect = f"a score on {name} counts them several times, and its interval is too narrow"
    return Finding(
        "near-duplicate",
        count,
        total,
        f"{counted(count, f'{name} text')} of {total:,}{looked} ({percent(count, total)}) "
        f"{'is' if count == 1 else 'are'} nearly the same as an earlier "
        f"one{_torn(pool, first, pairs)}",
        effect,
        "Keep one of each, or give --validation and --test files in which none of them is.",
        leak=False,
        examples=_pairs(pool, first, pairs),
    )


def _torn(pool: Pool, first: NDArray[np.int64], pairs: dict[int, int]) -> str:
    """How many pairs have two labels, as a phrase; nothing where none has."""
    count = sum(
        pool.labels[first[one]] != pool.labels[first[other]] for one, other in pairs.items()
    )
    if not count:
        return ""
    return f", {count:,} of them under another label" if len(pairs) > 1 else ", under another label"


def _pairs(pool: Pool, first: NDArray[np.int64], pairs: dict[int, int]) -> tuple[str, ...]:
    return tuple(
        f"{pool.example(int(first[one]))} ~ {pool.place(int(first[other]))} "
        f"({pool.labels[first[other]]}): "
        f"{shown(pool.texts[first[other]])}"
        for one, other in sorted(pairs.items())[:EXAMPLES]
    )
