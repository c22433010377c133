"""Classes of unequal size: errors that weigh by class, or an epoch's rows drawn so that all classes
are as frequent.

`weights` leaves the rows as they are and weighs their loss (Recipe.balanced, scikit-learn's
"balanced"). `oversample` repeats rows of the smaller classes until each has as many as the largest,
`undersample` leaves out rows of the larger ones until each has as few as the smallest; both draw
anew for every epoch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BALANCES = ("none", "weights", "oversample", "undersample")
DRAWN = ("oversample", "undersample")


def epoch_size(labels: NDArray[np.int64], balance: str) -> int:
    """Rows of an epoch."""
    sizes = np.bincount(labels)
    sizes = sizes[sizes > 0]
    each = {"oversample": sizes.max(), "undersample": sizes.min()}.get(balance)
    return len(labels) if each is None else int(each) * len(sizes)


def drawn_rows(
    labels: NDArray[np.int64], balance: str, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Places of an epoch's rows among `labels` (N,), shuffled.

    Oversampling takes every row at least once; undersampling takes no row twice.
    """
    if balance not in DRAWN:
        return generator.permutation(len(labels))
    groups = [np.flatnonzero(labels == one) for one in np.unique(labels)]
    sizes = [len(group) for group in groups]
    if balance == "undersample":
        drawn = [generator.choice(group, min(sizes), replace=False) for group in groups]
    else:
        drawn = [
            np.concatenate([group, generator.choice(group, max(sizes) - len(group))])
            for group in groups
        ]
    return generator.permutation(np.concatenate(drawn))
