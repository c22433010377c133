"""Labels that can be read off a few characters: a fixed start or end, one token, markup, spaces and
signs.

What tells a leak from signal? A word such as "football" goes with the class Sports because texts
about sports hold it; that is what a head shall learn. Three things are told here that a topic does
not bring about:

- A *start or end* of the text that is nearly all of one class, while the same words elsewhere are not ("Here is"
  opens 739 machine texts and no human one, and stands inside texts of both).
- *Signs and spaces* between words, markup, letters glued to a capital: they come from how files were made. With
  digits or a sign of money they are told as a hint and no leak: numbers and prices are content.
- A *word*, or letters inside words, only where it is purer and more frequent than words of a topic mostly are.
  Measured on spam, news, reviews and machine-written text, the widest word with a lower bound of purity of 95 % stands
  in 18 % of its class ("article"): told from `_WORD_COVERAGE` on, or, where it is purer still, from `_PURE_COVERAGE`
  on. As the topic may still bring it about ("album"), it is a hint, and a leak only where it nearly is the label.

`guard` says what is no chance. All the same each of these may be signal, and the sentences say so.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from featcache.data.checks.findings import EXAMPLES, Finding, Pool
from featcache.data.checks.patterns import (
    Family,
    ends,
    family,
    glued,
    grams,
    markup,
    shapes,
    signs,
    starts,
    words,
)
from featcache.wording import counted, named, percent

_LEAST = 20  # texts with a pattern
_MOST = 5  # findings of starts, of ends, and of what stands anywhere
_QUICK_CHARACTERS = 1_500_000  # that the families of the whole text look at in the short form
_MOST_CHARACTERS = 60_000_000  # that anything looks at: some GB of memory
_GRAM_CHARACTERS = 2_500_000  # that characters in a row are looked for in: 0.9 s
_LONGEST = 24  # characters that are told of a pattern
_PURITY = 0.9
_COVERAGE = 0.02
_SIGN_PURITY = 0.93
_SIGN_COVERAGE = 0.04
# Purity above the class's share: signs are also style, and most texts of a large class have some
_SIGN_GAIN = 0.2
_WORD_PURITY = 0.95
_WORD_COVERAGE = 0.25
_PURE = 0.985
_PURE_COVERAGE = 0.05
_LABEL = 0.95
_NEW = (
    0.5  # a pattern is told beside another when at least so many of its texts are not the other's
)
_LONGER = 0.8  # a longer start is told instead of a shorter one that has at most so many more texts
_NEARLY = 0.95  # a pattern grows by a character that so many of its texts have there
_TOPIC_ODDS = (
    3.0  # odds of the class, where the start of a text stands elsewhere: from here on it is content
)
_FEW = 5


@dataclass(frozen=True)
class _Clue:
    """A pattern that passed. texts: those that have it; number: of its class; find: where it is in
    a text.

    name: the pattern; words: the pattern as the verb and object of a sentence; rank: lower ones are
    told first.
    """

    kind: str
    words: str
    texts: NDArray[np.int64]
    number: int
    hits: int
    strength: float
    leak: bool
    find: Callable[[str], tuple[int, int] | None]
    name: str
    rank: int


@dataclass(frozen=True)
class _Texts:
    """The U different texts of a pool, each with the class of its first row."""

    pool: Pool
    rows: NDArray[np.int64]
    texts: list[str]
    numbers: NDArray[np.int64]

    @classmethod
    def of(cls, pool: Pool, most: int) -> _Texts:
        """most: characters; where there are more, texts are drawn with a fixed seed until they have
        so many.
        """
        rows = pool.first
        order = np.random.default_rng(0).permutation(len(rows))
        lengths = np.fromiter(
            (len(pool.texts[rows[one]]) for one in order), dtype=np.int64, count=len(rows)
        )
        rows = np.sort(rows[order[: int(np.searchsorted(np.cumsum(lengths), most)) + 1]])
        return cls(pool, rows, [pool.texts[row] for row in rows], pool.numbers[rows])

    @cached_property
    def lowered(self) -> list[str]:
        return [text.lower() for text in self.texts]

    def family(self, find: Callable[[str], set[str]]) -> Family:
        return family(self.texts, self.numbers, len(self.pool.classes), find, _LEAST)


def label_leaks(pool: Pool, *, quick: bool) -> Iterator[Finding]:
    """What of the texts goes with one class and is hardly what they are about.

    quick: starts and ends of all texts; words, markup and signs of at most `_QUICK_CHARACTERS`
    characters; no characters inside words.
    """
    if len(pool.classes) < 2 or len(pool.first) < 2 * _LEAST:
        return
    whole = _Texts.of(pool, _MOST_CHARACTERS)
    inside = _Texts.of(pool, _QUICK_CHARACTERS) if quick else whole
    groups = (
        (whole, _at_edges(whole, "leak-start", starts)),
        (whole, _at_edges(whole, "leak-end", ends)),
        (inside, [*_markup(inside), *_glued(inside), *_signs(inside), *_words(inside)]),
    )
    told = ""
    for texts, clues in groups:
        for clue in _strongest(clues):
            told += clue.words
            yield _finding(texts, clue)
    if not quick:
        some = _Texts.of(pool, _GRAM_CHARACTERS)
        for clue in _strongest(_grams(some)):
            if clue.name not in told:
                yield _finding(some, clue)


# -- starts and ends -------------------------------------------------------------------------------


def _at_edges(texts: _Texts, kind: str, find: Callable[[str], set[str]]) -> list[_Clue]:
    found = texts.family(find)
    told = np.flatnonzero(found.occurrences.told(purity=_PURITY, coverage=_COVERAGE))
    at_start = kind == "leak-start"
    clues, seen = [], set()
    for pattern in _by_strength(found, told):
        longest = _longest(found, pattern, told, at_start=at_start)
        if longest in seen:
            continue
        seen.add(longest)
        name, having = found.names[longest], found.having(longest)
        if _is_topic(texts, name, having, int(found.occurrences.top[longest]), at_start=at_start):
            continue
        words_ = f"{'start' if at_start else 'end'} with {_quoted(name)}"
        clues.append(_clue(found, longest, kind, words_, _edge(name, at_start=at_start)))
    return clues


def _longest(found: Family, pattern: int, told: NDArray[np.int64], *, at_start: bool) -> int:
    """The longest of the told starts (or ends) that go on from this one and have nearly as many
    texts.
    """
    name, support = found.names[pattern], found.occurrences.support
    longer = [
        other
        for other in told.tolist()
        if (found.names[other].startswith(name) if at_start else found.names[other].endswith(name))
        and support[other] >= _LONGER * support[pattern]
    ]
    return int(max(longer, key=lambda other: len(found.names[other])))


def _is_topic(
    texts: _Texts, name: str, having: NDArray[np.int64], number: int, *, at_start: bool
) -> bool:
    """Whether the words of a start (or end) go with the class elsewhere in texts too."""
    if not any(sign.isalpha() for sign in name) or (at_start and _is_glued(texts, name, having)):
        return False
    bare = _completed(texts, name, having, at_start=at_start).strip()
    before, after = (r"\b" if bare[:1].isalnum() else ""), (r"\b" if bare[-1:].isalnum() else "")
    pattern = re.compile(before + re.escape(bare.lower()) + after)
    mine, small = set(having.tolist()), bare.lower()
    elsewhere = [
        place
        for place, text in enumerate(
            texts.lowered
        )  # plain search first: it is a hundred times faster
        if small in text and place not in mine and pattern.search(text)
    ]
    if len(elsewhere) < _FEW:
        return False
    counts = np.bincount(texts.numbers[elsewhere], minlength=len(texts.pool.classes))[None]
    sizes = np.bincount(texts.numbers, minlength=len(texts.pool.classes))
    return _lift(counts[0], sizes, number) >= _TOPIC_ODDS


def _completed(texts: _Texts, name: str, having: NDArray[np.int64], *, at_start: bool) -> str:
    """A start (or end) with the rest of the word that it cuts, as most of its texts have it."""
    inside = re.compile(r"\w*" if name[-1].isalnum() else "") if at_start else re.compile(r"\w*\Z")
    rests: Counter[str] = Counter()
    for place in having.tolist():
        text = texts.texts[place]
        if at_start:
            match = inside.match(text, len(name))
        else:
            match = inside.search(text[: -len(name)][-_LONGEST:]) if name[0].isalnum() else None
        rests[match[0] if match else ""] += 1
    rest = rests.most_common(1)[0][0]
    return name + rest if at_start else rest + name


def _lift(counts: NDArray[np.int64], sizes: NDArray[np.int64], number: int) -> float:
    """Odds of a class among some texts, against its odds among all; half a text is added on both
    sides.
    """
    here = (counts[number] + 0.5) / (counts.sum() - counts[number] + 0.5)
    return float(here / (sizes[number] / max(1, sizes.sum() - sizes[number])))


def _is_glued(texts: _Texts, name: str, having: NDArray[np.int64]) -> bool:
    """Whether small letters at the start run into a capital, as no word does."""
    if not name[-1].islower():
        return False
    n_capitals = sum(
        texts.texts[place][len(name) : len(name) + 1].isupper() for place in having.tolist()
    )
    return bool(2 * n_capitals > len(having))


# -- anywhere --------------------------------------------------------------------------------------


def _markup(texts: _Texts) -> list[_Clue]:
    found = texts.family(markup)
    told = found.occurrences.told(purity=_PURITY, coverage=_COVERAGE)
    return [
        _clue(
            found,
            one,
            "leak-token",
            f"hold {_quoted(found.names[one])}",
            _matcher(re.escape(found.names[one])),
        )
        for one in _by_strength(found, np.flatnonzero(told))
    ]


def _glued(texts: _Texts) -> list[_Clue]:
    found = texts.family(glued)
    told = found.occurrences.told(purity=_PURITY, coverage=_COVERAGE)
    return [
        _clue(
            found,
            one,
            "leak-characters",
            f"have {_quoted(found.names[one])} glued to a word with a capital",
            _matcher(rf"\b{found.names[one]}(?=[A-Z])\w*"),
        )
        for one in _by_strength(found, np.flatnonzero(told))
    ]


def _signs(texts: _Texts) -> list[_Clue]:
    found = texts.family(signs)
    told = found.occurrences.told(purity=_SIGN_PURITY, coverage=_SIGN_COVERAGE, gain=_SIGN_GAIN)
    return [
        _clue(
            found,
            one,
            "leak-characters",
            f"hold {_in_words(found.names[one])}",
            _shape(found.names[one]),
            leak=not _is_content(found.names[one]),
            rank=1,
        )
        for one in _by_strength(found, np.flatnonzero(told))
    ]


def _words(texts: _Texts) -> list[_Clue]:
    found = texts.family(words)
    told = found.occurrences.told(purity=_WORD_PURITY, coverage=_WORD_COVERAGE)
    told |= found.occurrences.told(purity=_PURE, coverage=_PURE_COVERAGE)
    return [
        _clue(
            found,
            one,
            "leak-token",
            f"hold the word {_quoted(found.names[one])}",
            _matcher(rf"(?i)\b{re.escape(found.names[one])}\b"),
            leak=_is_label(found, one),
            rank=2,
        )
        for one in _by_strength(found, np.flatnonzero(told))
    ]


def _grams(texts: _Texts) -> list[_Clue]:
    """Characters in a row, inside words too, by the measure of words: a topic brings about many
    that are less pure.
    """
    found = texts.family(grams)
    told = found.occurrences.told(purity=_WORD_PURITY, coverage=_WORD_COVERAGE)
    told |= found.occurrences.told(purity=_PURE, coverage=_PURE_COVERAGE)
    clues = []
    for one in _by_strength(found, np.flatnonzero(told)):
        name = _extended(texts, found.names[one], found.having(one))
        words_, find = f"hold {_quoted(name)}", _matcher(re.escape(found.names[one]))
        leak = _is_label(found, one) or not (_is_content(name) or name.replace(" ", "").isalpha())
        clues.append(_clue(found, one, "leak-characters", words_, find, leak=leak, name=name))
    return clues


def _is_label(found: Family, pattern: int) -> bool:
    """Whether a pattern alone answers for its class with a balanced accuracy of `_LABEL`."""
    occurrences = found.occurrences
    number, hits = int(occurrences.top[pattern]), int(occurrences.hits()[pattern])
    n_others = int(occurrences.sizes.sum() - occurrences.sizes[number])
    wrong = (int(occurrences.support[pattern]) - hits) / max(1, n_others)
    return bool((hits / occurrences.sizes[number] + 1 - wrong) / 2 >= _LABEL)


def _extended(texts: _Texts, name: str, having: NDArray[np.int64]) -> str:
    """The longest run of characters around a pattern that nearly all of its texts have."""
    mine = [texts.texts[place] for place in having.tolist()]
    grown = True
    while grown and len(name) < _LONGEST:
        grown = False
        for at_end in (True, False):
            near = Counter(
                sign
                for text in mine
                for sign in {
                    text[match.end() : match.end() + 1]
                    if at_end
                    else text[max(0, match.start() - 1) : match.start()]
                    for match in re.finditer(re.escape(name), text)
                }
            )
            sign, count = near.most_common(1)[0] if near else ("", 0)
            if sign and count >= _NEARLY * len(mine):
                name, grown = (name + sign if at_end else sign + name), True
    return name


def _is_content(shape: str) -> bool:
    """Digits and signs of money are what a text says."""
    return any(sign.isdigit() or unicodedata.category(sign) == "Sc" for sign in shape)


def _in_words(shape: str) -> str:
    """`“:” right before a capital` for `:A`."""
    letters = {"a": "a small letter", "A": "a capital", "9": "a digit"}
    before = letters.get(shape[0]) if len(shape) > 1 else None
    after = letters.get(shape[-1])
    inner = _quoted(shape[1 if before else 0 : -1 if after else None])
    if before and after:
        return f"{inner} right between {before} and {after}"
    return (
        f"{inner} right before {after}"
        if after
        else f"{inner} right after {before}"
        if before
        else inner
    )


# -- which are told, and how -----------------------------------------------------------------------


def _by_strength(found: Family, told: NDArray[np.int64]) -> list[int]:
    order = np.argsort(-found.occurrences.strength()[told], kind="stable") if len(told) else told
    return [int(one) for one in told[order]]


def _clue(
    found: Family,
    pattern: int,
    kind: str,
    words_: str,
    find: Callable[[str], tuple[int, int] | None],
    *,
    leak: bool = True,
    name: str | None = None,
    rank: int = 0,
) -> _Clue:
    occurrences = found.occurrences
    return _Clue(
        kind,
        words_,
        found.having(pattern),
        int(occurrences.top[pattern]),
        int(occurrences.hits()[pattern]),
        float(occurrences.strength()[pattern]),
        leak,
        find,
        found.names[pattern] if name is None else name,
        rank,
    )


def _strongest(clues: Sequence[_Clue]) -> list[_Clue]:
    """At most a few, the strongest first, and none whose texts others have told mostly.

    Markup and glued letters come before signs, which are a part of them, and words last.
    """
    kept: list[_Clue] = []
    seen: set[int] = set()
    for clue in sorted(clues, key=lambda one: (not one.leak, one.rank, -one.strength)):
        mine = set(clue.texts.tolist())
        if len(kept) < _MOST and len(mine - seen) >= _NEW * len(mine):
            kept.append(clue)
            seen |= mine
    return kept


def _finding(texts: _Texts, clue: _Clue) -> Finding:
    pool, count = texts.pool, len(clue.texts)
    name = named(pool.classes[clue.number])
    size = int((texts.numbers == clue.number).sum())
    looked = "" if len(texts.rows) == len(pool.first) else f" of {len(texts.rows):,} looked at"
    verb = clue.words
    cure = (
        "If texts to come will not have it, take it out of these before extracting"
        f"{'' if clue.kind in ('leak-start', 'leak-end') else ' (or repair how the file was made)'}; "
        "else leave it: it is signal."
    )
    examples = []
    for place in clue.texts[texts.numbers[clue.texts] == clue.number][:EXAMPLES]:
        row = int(texts.rows[place])
        examples.append(pool.example(row, clue.find(pool.texts[row])))
    others = count - clue.hits
    return Finding(
        clue.kind,
        count,
        len(texts.rows),
        f"{counted(count, 'text')}{looked} {verb}: {clue.hits:,} {name}, {others:,} other"
        f"{'' if others == 1 else 's'} (purity {percent(clue.hits, count)}, {percent(clue.hits, size)} of {name})",
        f"a head can answer {name} to these without understanding them, so a score on such rows may promise too much"
        if clue.leak
        else f"this alone says {name}; it may be signal (a word of the topic, a number, a price) or a leak: look at it",
        cure,
        clue.leak,
        tuple(examples),
    )


def _quoted(name: str) -> str:
    return "“" + "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in name) + "”"


def _edge(name: str, *, at_start: bool) -> Callable[[str], tuple[int, int] | None]:
    return lambda text: (0, len(name)) if at_start else (len(text) - len(name), len(text))


def _matcher(pattern: str) -> Callable[[str], tuple[int, int] | None]:
    compiled = re.compile(pattern)

    def find(text: str) -> tuple[int, int] | None:
        match = compiled.search(text)
        return None if match is None else match.span()

    return find


def _shape(name: str) -> Callable[[str], tuple[int, int] | None]:
    def find(text: str) -> tuple[int, int] | None:
        place = shapes(text).find(name)
        return None if place < 0 else (place, place + len(name))

    return find
