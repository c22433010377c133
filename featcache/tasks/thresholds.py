"""Decision thresholds: a number for each class, added to its logit before the highest is taken.

The highest probability is the best bet for accuracy. Macro-F1 weighs a class of ten rows as much as
one of a thousand and gains when rare classes are predicted more readily (Lipton et al. 2014, arXiv
1402.1892). Offsets are tuned on validation rows, class by class, until none gains. With the others
held, one class's offset changes the prediction of a row at one place only, its gap to the best
other class; so candidates between the gaps, counted cumulatively, are all that there is to try.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Counts = NDArray[np.int64]
CountMetric = Callable[[Counts, Counts, Counts], Values]
"""(hits (K, C), given (K, C), support (C,)) -> (K,): rows predicted rightly, predicted, and true of
each class.
"""

_CANDIDATES = (
    256  # a class and round; beyond, every so-manieth gap. Validation rows seldom tell more apart.
)
_ROUNDS = 10
_GAIN = 1e-12  # below it is rounding


def macro_f1(hits: Counts, given: Counts, support: Counts) -> Values:
    """Mean F1 over the classes that are true or predicted somewhere, as
    `select.metrics.macro_f1`.
    """
    size = given + support
    f1 = np.divide(2.0 * hits, size, out=np.zeros(size.shape), where=size > 0)
    return np.asarray(f1.sum(axis=-1) / (size > 0).sum(axis=-1))


def tuned_offsets(
    logits: NDArray[np.floating], truth: Counts, *, metric: CountMetric = macro_f1
) -> Values:
    """Offsets (C,), the first 0, for which argmax(logits + offsets) scores higher than
    argmax(logits); or zeros.

    logits: (N, C), finite, N >= 1.  truth: (N,) class numbers.  Coordinate ascent: it never ends
    lower than it begins; for two classes and up to 255 rows it ends at the highest score there is.
    Of equally good offsets it takes the one nearest to 0, and otherwise lies midway between two
    gaps, as far as it gets from either's row.
    """
    scaled = logits.astype(np.float64)
    n_classes = scaled.shape[1]
    support = np.bincount(truth, minlength=n_classes)

    def score(offsets: Values) -> float:
        predicted = (scaled + offsets).argmax(axis=1)
        hits = np.bincount(truth[predicted == truth], minlength=n_classes)
        return float(
            metric(hits[None], np.bincount(predicted, minlength=n_classes)[None], support)[0]
        )

    offsets = np.zeros(n_classes)
    best = score(offsets)
    for _ in range(_ROUNDS):
        before = best
        for number in range(n_classes):
            moved = offsets.copy()
            moved[number] = _best_offset(scaled, offsets, truth, number, metric)
            moved -= moved[0]  # to raise the first class is to lower all others
            # Counted once more from the moved logits: a row whose classes are level, or level but
            # for rounding, may fall to either side.
            value = score(moved)
            if value > best + _GAIN:
                offsets, best = moved, value
        if best == before:
            break
    return offsets


def _best_offset(
    scaled: Values, offsets: Values, truth: Counts, number: int, metric: CountMetric
) -> float:
    """The best offset of class `number`, the others' as they are."""
    n_classes = scaled.shape[1]
    others = scaled + offsets
    others[:, number] = -np.inf
    rival = others.argmax(axis=1)
    gaps = (
        others.max(axis=1) - scaled[:, number]
    )  # a row is of this class where the offset is above its gap
    points = _between(np.unique(gaps))
    turn = np.searchsorted(
        points, gaps, side="right"
    )  # the first point at which a row is of this class

    def turned(rows: NDArray[np.bool_] | slice, classes: Counts) -> Counts:
        """How many of `rows`, by class, have turned at each point, (K, C)."""
        cells = np.bincount(
            turn[rows] * n_classes + classes[rows], minlength=(len(points) + 1) * n_classes
        )
        return np.asarray(cells.reshape(-1, n_classes)[: len(points)].cumsum(axis=0))

    lost, missed = turned(slice(None), rival), turned(rival == truth, rival)
    given = np.bincount(rival, minlength=n_classes) - lost
    given[:, number] = lost.sum(axis=1)
    hits = np.bincount(rival[rival == truth], minlength=n_classes) - missed
    hits[:, number] = turned(truth == number, truth)[:, number]
    values = metric(hits, given, np.bincount(truth, minlength=n_classes))
    level = points[values >= values.max() - _GAIN]
    return float(level[np.abs(level).argmin()])


def _between(gaps: Values) -> Values:
    """Ascending offsets to try: midway between neighbours of the ascending `gaps`, beyond either
    end, and 0.
    """
    middles = np.concatenate([[gaps[0] - 1.0], (gaps[1:] + gaps[:-1]) / 2.0, [gaps[-1] + 1.0]])
    if len(middles) > _CANDIDATES:
        middles = middles[np.linspace(0, len(middles) - 1, _CANDIDATES).round().astype(np.int64)]
    return np.union1d(middles, [0.0])
