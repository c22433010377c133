"""What of a text is looked at for leaks: its start and end, its words, its markup, the signs
between words.

Every family gives, for each text, a set of strings. The signs between words (`signs`) are written
with letters as `a` and `A` and digits as `9`, so that `.A` stands for every full stop that a
capital follows without a space.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.data.checks.occurrences import Occurrences

GRAM = 4
END_LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24)  # characters of a start or an end
_WORD = re.compile(r"\w+")
_MARKUP = re.compile(
    r"<[^<>\s]{1,24}>?|\[[^\[\]\s]{1,24}\]|\{[^{}\s]{1,24}\}|\b\w*_\w+|&\w{2,8};|&?#\d+;|\\[nrt](?![a-z])"
)
_SIGNS = re.compile(r"(?=(\w?[^\w]{1,6}\w?))")
_GLUED = re.compile(r"\b([a-z]{2,3})(?=[A-Z])")


def starts(text: str) -> set[str]:
    """The first characters, in several lengths."""
    return {text[:length] for length in END_LENGTHS if length <= len(text)}


def ends(text: str) -> set[str]:
    """The last characters, in several lengths."""
    return {text[-length:] for length in END_LENGTHS if length <= len(text)}


def words(text: str) -> set[str]:
    """Words without their case."""
    return set(_WORD.findall(text.lower()))


def markup(text: str) -> set[str]:
    """Tags, names in brackets, names with underscores, entities, escapes."""
    return set(_MARKUP.findall(text))


def glued(text: str) -> set[str]:
    """Two or three small letters before a capital in one word: what is left where a break was lost
    ("nnThe").
    """
    return set(_GLUED.findall(text))


def signs(text: str) -> set[str]:
    """Signs and spaces between words with the letter before and after: `a.A`, ` " A`."""
    return set(_SIGNS.findall(shapes(text)))


def grams(text: str) -> set[str]:
    """Every four characters in a row."""
    return {text[place : place + GRAM] for place in range(len(text) - GRAM + 1)}


def shapes(text: str) -> str:
    """A text, character for character, with `a` and `A` for letters and `9` for digits."""
    return text.translate(_SHAPES)


class _Shapes(dict[int, int]):
    """A table for str.translate that is filled as characters are met."""

    def __missing__(self, code: int) -> int:
        sign = chr(code)
        shape = (
            "A" if sign.isupper() else "a" if sign.isalpha() else "9" if sign.isdigit() else sign
        )
        self[code] = ord(shape)
        return self[code]


_SHAPES = _Shapes()


@dataclass(frozen=True)
class Family:
    """The patterns of one kind that at least a few texts have, and the texts of each.

    texts: (M,) numbers of texts, those of pattern p from bounds[p] to bounds[p + 1].
    """

    names: list[str]
    texts: NDArray[np.int64]
    bounds: NDArray[np.int64]
    occurrences: Occurrences

    def having(self, pattern: int) -> NDArray[np.int64]:
        return self.texts[self.bounds[pattern] : self.bounds[pattern + 1]]


def family(
    texts: Sequence[str],
    numbers: NDArray[np.int64],
    n_classes: int,
    find: Callable[[str], Iterable[str]],
    least: int,
) -> Family:
    """Count the patterns that `find` sees in T texts of the classes `numbers` (T,); those of
    `least` texts are kept.
    """
    known: dict[str, int] = {}
    found: list[int] = []
    sizes = np.empty(len(texts), dtype=np.int64)
    for place, text in enumerate(texts):
        before = len(found)
        found += [known.setdefault(pattern, len(known)) for pattern in find(text)]
        sizes[place] = len(found) - before
    patterns = np.array(found, dtype=np.int64)
    owners = np.repeat(np.arange(len(texts)), sizes)
    support = np.bincount(patterns, minlength=len(known))
    names = list(known)
    # By name, for the order in which a set gives strings differs from process to process.
    kept = np.array(
        sorted(np.flatnonzero(support >= least).tolist(), key=names.__getitem__), dtype=np.int64
    )
    places = np.full(len(known), -1, dtype=np.int64)
    places[kept] = np.arange(len(kept))
    mine = places[patterns] >= 0 if known else np.zeros(0, dtype=np.bool_)
    patterns, owners = places[patterns[mine]], owners[mine]
    order = np.argsort(patterns, kind="stable")
    counts = np.zeros((len(kept), n_classes), dtype=np.int64)
    np.add.at(counts, (patterns, numbers[owners]), 1)
    return Family(
        [names[one] for one in kept],
        owners[order],
        np.concatenate([[0], np.cumsum(support[kept])]).astype(np.int64),
        Occurrences(counts, np.bincount(numbers, minlength=n_classes), len(known)),
    )
