"""Patterns anywhere in a text that go with one class: markup, glued letters, signs, words, runs.

- *Markup, letters glued to a capital, signs and spaces* between words come from how files were
  made. With digits or a sign of money they are a hint and no leak: numbers and prices are content.
- A *word*, or a run of characters, counts only where it is purer and more frequent than words of a
  topic mostly are. Measured on spam, news, reviews and machine-written text, the widest word with a
  lower bound of purity of 95 % stands in 18 % of its class ("article"). So it is reported from
  `_WORD_COVERAGE` on or, where it is purer still, from `_PURE_COVERAGE` on. As the topic may still
  bring it about ("album"), it is a hint, and a leak only where it nearly is the label.
"""

from __future__ import annotations

import re
import unicodedata
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
    matcher,
    quoted,
)
from featcache.data.checks.patterns import Family, glued, grams, markup, shapes, signs, words

_SIGN_PURITY = 0.93
_SIGN_COVERAGE = 0.04
# Purity above the class's share: signs are also style, and most texts of a large class have some.
_SIGN_GAIN = 0.2
_WORD_PURITY = 0.95
_WORD_COVERAGE = 0.25
_PURE = 0.985
_PURE_COVERAGE = 0.05
_LABEL = 0.95  # balanced accuracy from which on a pattern is the label
_NEARLY_ALL = 0.95  # of a pattern's texts have a character beside it: the pattern grows by it
_SHAPES_IN_WORDS = {"a": "a small letter", "A": "a capital", "9": "a digit"}


def inner_patterns(texts: DifferentTexts) -> list[LabelPattern]:
    """Find markup, glued letters, signs and words that give a class away."""
    return [*_markup(texts), *_glued(texts), *_signs(texts), *_words(texts)]


def runs_of_characters(texts: DifferentTexts) -> list[LabelPattern]:
    """Find runs of characters, inside words too, that give a class away.

    They are measured as words are: a topic brings about many runs that are less pure.
    """
    runs = texts.family(grams)
    patterns = []
    for run in by_strength(runs, _significant_as_words(runs)):
        name = _extended(texts, runs.names[run], runs.having(run))
        letters_only = name.replace(" ", "").isalpha()
        leak = _is_label(runs, run) or not (_is_content(name) or letters_only)
        locate, phrase = matcher(re.escape(runs.names[run])), f"hold {quoted(name)}"
        pattern = label_pattern(runs, run, "leak-characters", phrase, locate, leak=leak, name=name)
        patterns.append(pattern)
    return patterns


def _markup(texts: DifferentTexts) -> list[LabelPattern]:
    tags = texts.family(markup)
    significant = tags.occurrences.significant(purity=PURITY, coverage=COVERAGE)
    patterns = []
    for tag in by_strength(tags, significant):
        name = tags.names[tag]
        locate = matcher(re.escape(name))
        patterns.append(label_pattern(tags, tag, "leak-token", f"hold {quoted(name)}", locate))
    return patterns


def _glued(texts: DifferentTexts) -> list[LabelPattern]:
    letters = texts.family(glued)
    significant = letters.occurrences.significant(purity=PURITY, coverage=COVERAGE)
    patterns = []
    for number in by_strength(letters, significant):
        name = letters.names[number]
        phrase = f"have {quoted(name)} glued to a word with a capital"
        locate = matcher(rf"\b{name}(?=[A-Z])\w*")
        patterns.append(label_pattern(letters, number, "leak-characters", phrase, locate))
    return patterns


def _signs(texts: DifferentTexts) -> list[LabelPattern]:
    between = texts.family(signs)
    significant = between.occurrences.significant(
        purity=_SIGN_PURITY, coverage=_SIGN_COVERAGE, gain=_SIGN_GAIN
    )
    patterns = []
    for number in by_strength(between, significant):
        shape = between.names[number]
        pattern = label_pattern(
            between,
            number,
            "leak-characters",
            f"hold {_in_words(shape)}",
            _shape(shape),
            leak=not _is_content(shape),
            rank=1,
        )
        patterns.append(pattern)
    return patterns


def _words(texts: DifferentTexts) -> list[LabelPattern]:
    vocabulary = texts.family(words)
    patterns = []
    for number in by_strength(vocabulary, _significant_as_words(vocabulary)):
        word = vocabulary.names[number]
        pattern = label_pattern(
            vocabulary,
            number,
            "leak-token",
            f"hold the word {quoted(word)}",
            matcher(rf"(?i)\b{re.escape(word)}\b"),
            leak=_is_label(vocabulary, number),
            rank=2,
        )
        patterns.append(pattern)
    return patterns


def _significant_as_words(patterns: Family) -> NDArray[np.bool_]:
    """Whether each pattern is purer and more frequent than words of a topic mostly are, (P,)."""
    occurrences = patterns.occurrences
    frequent = occurrences.significant(purity=_WORD_PURITY, coverage=_WORD_COVERAGE)
    return frequent | occurrences.significant(purity=_PURE, coverage=_PURE_COVERAGE)


def _is_label(patterns: Family, pattern: int) -> bool:
    """Whether a pattern alone answers for its class with a balanced accuracy of `_LABEL`."""
    occurrences = patterns.occurrences
    number, hits = int(occurrences.top[pattern]), int(occurrences.hits()[pattern])
    n_others = int(occurrences.sizes.sum() - occurrences.sizes[number])
    wrong = (int(occurrences.support[pattern]) - hits) / max(1, n_others)
    return bool((hits / occurrences.sizes[number] + 1 - wrong) / 2 >= _LABEL)


def _extended(texts: DifferentTexts, name: str, having: NDArray[np.int64]) -> str:
    """The longest run of characters around a pattern that nearly all of its texts have."""
    those = [texts.texts[place] for place in having.tolist()]
    while len(name) < LONGEST:
        grown = name
        for at_end in (True, False):
            sign = _common_neighbour(those, grown, at_end=at_end)
            grown = grown + sign if at_end else sign + grown
        if grown == name:
            break
        name = grown
    return name


def _common_neighbour(texts: list[str], name: str, *, at_end: bool) -> str:
    """The character beside a pattern in nearly all texts; an empty string where there is none."""
    n_texts: Counter[str] = Counter()
    for text in texts:
        neighbours = set()
        for match in re.finditer(re.escape(name), text):
            place = match.end() if at_end else match.start() - 1
            neighbours.add(text[place : place + 1] if place >= 0 else "")
        n_texts.update(neighbours)
    sign, count = n_texts.most_common(1)[0] if n_texts else ("", 0)
    return sign if count >= _NEARLY_ALL * len(texts) else ""


def _is_content(shape: str) -> bool:
    """Whether digits or signs of money are in it, which are what a text says."""
    return any(sign.isdigit() or unicodedata.category(sign) == "Sc" for sign in shape)


def _in_words(shape: str) -> str:
    """Say `“:” right before a capital` for `:A`."""
    before = _SHAPES_IN_WORDS.get(shape[0]) if len(shape) > 1 else None
    after = _SHAPES_IN_WORDS.get(shape[-1])
    inner = shape[1:] if before else shape
    inner = quoted(inner[:-1] if after else inner)
    if before and after:
        return f"{inner} right between {before} and {after}"
    if after:
        return f"{inner} right before {after}"
    return f"{inner} right after {before}" if before else inner


def _shape(name: str) -> Locate:
    def locate(text: str) -> tuple[int, int] | None:
        place = shapes(text).find(name)
        return None if place < 0 else (place, place + len(name))

    return locate
