"""Sources: rows by their position, as what a head takes of them.

A source hides where a head's inputs come from. `CachedStates` (in `cached.py`) reads a space of the
cache, `ArraySource` holds arrays of the user's own, `TextSource` a list of texts. What has to be
learned from training rows before a head can use them (a mean, a vocabulary) is no part of a source:
it is fitted anew in each fold, by `matrices.py` for arrays and by the head itself for texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from featcache.features.views import View

Inputs = TypeVar("Inputs", covariant=True)  # noqa: PLC0105 - the usual name says more than Inputs_co


class Source(Protocol[Inputs]):
    """Rows by their position, as what a head takes of them."""

    def gather(self, view: View, rows: NDArray[np.int64]) -> Inputs:
        """Read some rows.

        Args:
            view: What is read of each row.
            rows: (N,) positions of the rows in the source.

        Returns:
            N inputs, in the order of `rows`.
        """


class DenseSource(Source[NDArray[np.float32]], Protocol):
    """A source of states: arrays (N, width) for a view of one layer and one pooling."""

    @property
    def width(self) -> int:
        """Numbers that a row has in one layer and pooling."""


class ArraySource:
    """Arrays in memory, one for each single view, whose rows belong together."""

    def __init__(self, arrays: Mapping[View, NDArray[np.float32]]) -> None:
        """Keep the arrays as they are.

        Args:
            arrays: (N, width) for each view of one layer and one pooling, all of one shape.
        """
        self._arrays = arrays

    @property
    def width(self) -> int:
        """Numbers that a row has in one layer and pooling."""
        return int(next(iter(self._arrays.values())).shape[1])

    def gather(self, view: View, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read some rows of one view, (N, width)."""
        return self._arrays[view][rows]


class TextSource:
    """Texts in memory, for heads that read the words themselves."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Keep the texts.

        Args:
            texts: One for each row, as rendered by the template.
        """
        self._texts = texts

    def gather(self, view: View, rows: NDArray[np.int64]) -> list[str]:  # noqa: ARG002 - a text has one view
        """Read some rows: N texts."""
        return [self._texts[row] for row in rows]
