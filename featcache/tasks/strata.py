"""A part of the rows, with every class in nearly its share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def part_of(
    places: NDArray[np.int64], labels: NDArray[np.int64], count: int, *, seed: int
) -> NDArray[np.int64]:
    """`count` of the training places, in their order, every class in nearly its share.

    places: (N,) of rows; labels: (N,) their class numbers.  Each class has two rows in the part, if
    it has as many and the part has room for it (one, if only for this).  With one seed a smaller
    part lies within a larger one.
    Raises ValueError for a count that is not between the number of classes and N.
    """
    classes, own = np.unique(labels, return_inverse=True)
    if not len(classes) <= count <= len(places):
        msg = f"{count} rows are not between {len(classes)} classes and {len(places)} rows"
        raise ValueError(msg)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(places))
    rank = np.empty(len(places), dtype=np.int64)  # of each row within its class, in the order drawn
    size = np.bincount(own)
    for number in range(len(classes)):
        mine = order[own[order] == number]
        rank[mine] = np.arange(len(mine))
    # The first of each class come first of all, then the second, then by shares: row k of n comes
    # at (k + u) / n, u one number for each class. That order depends on the seed alone, so that
    # parts of it are nested.
    offset = generator.uniform(0.05, 0.95, len(classes))
    due = (rank + offset[own]) / size[own]
    due = np.where(rank < 2, rank - 2.0, due)
    chosen = np.lexsort((order, due))[:count]
    return np.asarray(places[np.sort(chosen)], dtype=np.int64)
