"""Starts and ends of texts that are nearly all of one class while the same words elsewhere are not.

"Here is" opens 739 machine texts and no human one, and stands inside texts of both: a leak. A start
whose words go with the class wherever they stand is content, and not reported.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from featcache.data.checks.label_patterns import (
    COVERAGE,
    LONGEST,
    PURITY,
    DifferentTexts,
    LabelPattern,
    Locate,
    by_strength,
    label_pattern,
    quoted,
)
from featcache.data.checks.patterns import Family, ends, starts

# A longer start is preferred to a shorter one whose texts it nearly all has.
_LONGER = 0.8
# Odds of the class where the start of a text stands elsewhere: from here on it is content.
_TOPIC_ODDS = 3.0
_FEW_TEXTS = 5  # with the words elsewhere: fewer say nothing


def edge_patterns(texts: DifferentTexts, *, at_start: bool) -> list[LabelPattern]:
    """Find starts (or ends) of texts that give a class away, the strongest first.

    Args:
        texts: The texts to look at.
        at_start: Whether starts are sought rather than ends.

    Returns:
        The patterns.
    """
    edges = texts.family(starts if at_start else ends)
    significant = edges.occurrences.significant(purity=PURITY, coverage=COVERAGE)
    kind, verb = ("leak-start", "start") if at_start else ("leak-end", "end")
    patterns: dict[int, LabelPattern] = {}
    seen: set[int] = set()
    for pattern in by_strength(edges, significant):
        longest = _longest(edges, pattern, significant, at_start=at_start)
        if longest in seen:
            continue
        seen.add(longest)
        name = edges.names[longest]
        if _is_topic(texts, edges, longest, at_start=at_start):
            continue
        phrase = f"{verb} with {quoted(name)}"
        locate = _edge(len(name), at_start=at_start)
        patterns[longest] = label_pattern(edges, longest, kind, phrase, locate)
    return list(patterns.values())


def _longest(edges: Family, pattern: int, significant: NDArray[np.bool_], *, at_start: bool) -> int:
    """The longest significant start that goes on from this one and has nearly as many texts."""
    name, support = edges.names[pattern], edges.occurrences.support
    longest = pattern
    for other in np.flatnonzero(significant).tolist():
        longer = edges.names[other]
        goes_on = longer.startswith(name) if at_start else longer.endswith(name)
        common = support[other] >= _LONGER * support[pattern]
        if goes_on and common and len(longer) > len(edges.names[longest]):
            longest = other
    return longest


def _is_topic(texts: DifferentTexts, edges: Family, pattern: int, *, at_start: bool) -> bool:
    """Whether the words of a start (or end) go with the class elsewhere in texts too."""
    name, having = edges.names[pattern], edges.having(pattern)
    if not any(sign.isalpha() for sign in name):
        return False
    if at_start and _is_glued(texts, name, having):
        return False
    words = _completed(texts, name, having, at_start=at_start).strip().lower()
    elsewhere = _texts_with(texts, words, without=set(having.tolist()))
    if len(elsewhere) < _FEW_TEXTS:
        return False
    n_classes = len(texts.pool.classes)
    counts = np.bincount(texts.numbers[elsewhere], minlength=n_classes)
    sizes = np.bincount(texts.numbers, minlength=n_classes)
    return _lift(counts, sizes, int(edges.occurrences.top[pattern])) >= _TOPIC_ODDS


def _texts_with(texts: DifferentTexts, words: str, without: set[int]) -> list[int]:
    """Places of the texts that hold whole words in small letters, but for those in `without`."""
    before = r"\b" if words[:1].isalnum() else ""
    after = r"\b" if words[-1:].isalnum() else ""
    pattern = re.compile(before + re.escape(words) + after)
    places = []
    for place, text in enumerate(texts.lowered):
        # The plain search comes first: it is a hundred times faster.
        if words in text and place not in without and pattern.search(text):
            places.append(place)
    return places


def _completed(
    texts: DifferentTexts, name: str, having: NDArray[np.int64], *, at_start: bool
) -> str:
    """A start (or end) with the rest of the word that it cuts, as most of its texts have it."""
    complete = _rest_behind if at_start else _rest_before
    rests = Counter(complete(texts.texts[place], name) for place in having.tolist())
    rest = rests.most_common(1)[0][0]
    return name + rest if at_start else rest + name


def _rest_behind(text: str, name: str) -> str:
    """What follows a start until its last word is whole."""
    match = re.compile(r"\w*").match(text, len(name)) if name[-1].isalnum() else None
    return match[0] if match else ""


def _rest_before(text: str, name: str) -> str:
    """What precedes an end until its first word is whole."""
    match = re.search(r"\w*\Z", text[: -len(name)][-LONGEST:]) if name[0].isalnum() else None
    return match[0] if match else ""


def _lift(counts: NDArray[np.int64], sizes: NDArray[np.int64], number: int) -> float:
    """Odds of a class among some texts, over its odds among all; half a text is added to each."""
    here = (counts[number] + 0.5) / (counts.sum() - counts[number] + 0.5)
    return float(here / (sizes[number] / max(1, sizes.sum() - sizes[number])))


def _is_glued(texts: DifferentTexts, name: str, having: NDArray[np.int64]) -> bool:
    """Whether small letters at the start run into a capital, as in no word."""
    if not name[-1].islower():
        return False
    following = [texts.texts[place][len(name) : len(name) + 1] for place in having.tolist()]
    n_capitals = sum(sign.isupper() for sign in following)
    return bool(2 * n_capitals > len(following))


def _edge(length: int, *, at_start: bool) -> Locate:
    if at_start:
        return lambda text: (0, length)  # noqa: ARG005 - a `Locate` takes the text
    return lambda text: (len(text) - length, len(text))
