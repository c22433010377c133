"""Texts as sets of shingles: the different runs of five characters of their words in
small letters.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

LENGTH = 5  # characters
_SPACE = 32


@dataclass(frozen=True)
class Shingles:
    """Of N texts the hashes of their shingles, those of text n from bounds[n] to bounds[n + 1], in
    their order.

    Texts are taken in small letters, with one space for all that is between words. One of fewer
    than five characters is a single shingle, and so is one without any word (as it is written). Two
    different shingles have the same hash of 32 bits once in four thousand million pairs.
    """

    hashes: NDArray[np.uint32]
    bounds: NDArray[np.int64]
    _sets: dict[int, NDArray[np.uint32]] = field(default_factory=dict)

    @classmethod
    def of(cls, texts: Sequence[str]) -> Shingles:
        if not texts:
            return cls(np.empty(0, dtype=np.uint32), np.zeros(1, dtype=np.int64))
        codes, starts = _plain([text.lower() for text in texts])
        hashes = np.zeros(max(0, len(codes) - LENGTH + 1), dtype=np.uint64)
        for place in range(LENGTH):  # Horner's scheme; products wrap around at 2^64
            hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + codes[place : place + len(hashes)]
        hashes ^= hashes >> np.uint64(29)
        hashes *= np.uint64(0xBF58476D1CE4E5B9)
        short = np.flatnonzero(np.diff(starts) < LENGTH)
        counts = np.maximum(np.diff(starts) - LENGTH + 1, 1)
        inside = np.zeros(
            len(hashes) + LENGTH, dtype=np.int64
        )  # windows that do not reach into the next text
        for_long = np.diff(starts) >= LENGTH
        np.add.at(inside, starts[:-1][for_long], 1)
        np.add.at(inside, starts[1:][for_long] - LENGTH + 1, -1)
        bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        found = np.empty(bounds[-1], dtype=np.uint32)
        alone = np.zeros(len(found), dtype=np.bool_)
        alone[bounds[short]] = True
        found[~alone] = (hashes >> np.uint64(32)).astype(np.uint32)[
            np.cumsum(inside)[: len(hashes)] > 0
        ]
        for text in short.tolist():
            kept = codes[starts[text] : starts[text + 1]]
            raw = kept.tobytes() if len(kept) else texts[text].encode("utf-8", "surrogatepass")
            found[bounds[text]] = zlib.crc32(raw)
        return cls(found, bounds)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(N,) shingles of each text, repeated ones counted."""
        return np.diff(self.bounds)

    def sample(self, text: int, every: int) -> NDArray[np.uint32]:
        """About one in `every` of a text's shingles, for all texts the same ones."""
        mine = self.hashes[self.bounds[text] : self.bounds[text + 1]]
        return mine if every == 1 else mine[mine < (1 << 32) // every]

    def similarity(self, one: int, other: int) -> float:
        """The Jaccard similarity of two texts' sets of shingles: shared ones over all of both."""
        mine, theirs = self._set(one), self._set(other)
        shared = len(np.intersect1d(mine, theirs, assume_unique=True))
        return shared / (len(mine) + len(theirs) - shared)

    def _set(self, text: int) -> NDArray[np.uint32]:
        if text not in self._sets:
            self._sets[text] = np.unique(self.hashes[self.bounds[text] : self.bounds[text + 1]])
        return self._sets[text]


def _plain(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Character codes of the texts laid end to end, one space between words and none at the ends;
    where each starts.
    """
    codes = np.frombuffer(
        "".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32
    ).copy()
    starts = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64)
    known = np.unique(codes)
    between = known[[not (chr(code).isalnum() or code == ord("_")) for code in known.tolist()]]
    space = np.isin(codes, between)
    codes[space] = _SPACE
    ends = np.zeros(len(codes) + 1, dtype=np.bool_)
    ends[starts[1:]] = True
    codes, starts = _without(space & (np.append(space[1:], False) | ends[1:]), codes, starts)
    opens = np.zeros(len(codes) + 1, dtype=np.bool_)
    opens[starts[:-1]] = True
    codes, starts = _without((codes == _SPACE) & opens[:-1], codes, starts)
    return codes.astype(np.uint64), starts


def _without(
    gone: NDArray[np.bool_], codes: NDArray[np.uint32], starts: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    before = np.concatenate([[0], np.cumsum(~gone)]).astype(np.int64)
    return codes[~gone], before[starts]
