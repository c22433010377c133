"""Several runs on the same test rows: paired differences, or why there can be none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.runs.predictions import Predictions
from featcache.runs.run import Run
from featcache.tasks.metrics import METRICS, Difference, difference

_SEED = 0  # of the bootstrap: the same runs give the same page
MOST_PAIRS = 45  # of 10 runs; of more, each is held against the first of its group


@dataclass(frozen=True)
class Pair:
    """Two runs, by their numbers, on the same rows. gain: score of `run` less that of `rival`, in
    the metric.
    """

    run: int
    rival: int
    metric: str
    part: str
    n_rows: int
    gain: Difference

    @property
    def clear(self) -> bool:
        """Whether the 95 % interval leaves zero out."""
        return self.gain.low > 0 or self.gain.high < 0


@dataclass(frozen=True)
class Unpaired:
    """Two runs of one label that cannot be compared, and why."""

    run: int
    rival: int
    why: str


def compare(runs: Sequence[Run]) -> tuple[list[Pair], list[Unpaired]]:
    """Paired differences of all runs that have the same label and the same rows to be compared on.

    Runs of different labels are not held against each other; of the others that cannot be, it is
    said why.
    """
    numbers = [
        (mine, theirs) for theirs in range(len(runs)) for mine in range(theirs + 1, len(runs))
    ]
    numbers = [(mine, theirs) for mine, theirs in numbers if _same_label(runs[mine], runs[theirs])]
    if len(numbers) > MOST_PAIRS:
        first: dict[str | None, int] = {}
        for number, run in enumerate(runs):
            first.setdefault(run.result.label, number)
        numbers = [
            (mine, theirs) for mine, theirs in numbers if theirs == first[runs[theirs].result.label]
        ]
    pairs: list[Pair] = []
    unpaired: list[Unpaired] = []
    for mine, theirs in numbers:
        found = _paired(runs[mine], runs[theirs])
        if isinstance(found, str):
            unpaired.append(Unpaired(mine, theirs, found))
        else:
            gain, metric, part, n_rows = found
            pairs.append(Pair(mine, theirs, metric, part, n_rows, gain))
    return pairs, unpaired


def _same_label(mine: Run, theirs: Run) -> bool:
    """Early runs do not name their label: those with the same classes may have the same."""
    if mine.result.label is None or theirs.result.label is None:
        return set(mine.classes) == set(theirs.classes)
    return mine.result.label == theirs.result.label


def _paired(mine: Run, theirs: Run) -> tuple[Difference, str, str, int] | str:
    one, other = mine.predictions, theirs.predictions
    if one is None or other is None:
        missing = [str(run.folder) for run in (mine, theirs) if run.predictions is None]
        return f"{' and '.join(missing)} kept no predictions (an early version wrote it)"
    if set(mine.classes) != set(theirs.classes):
        return "their classes differ"
    if one.part != other.part:
        return f"one is scored on {one.part} rows, the other on {other.part} rows"
    numbers = np.array([mine.classes.index(name) for name in theirs.classes], dtype=np.int64)
    same = _order(one, one.label), _order(other, numbers[other.label])
    if len(one.keys) != len(other.keys) or not np.array_equal(
        one.keys[same[0]], other.keys[same[1]]
    ):
        common = len({bytes(key) for key in one.keys} & {bytes(key) for key in other.keys})
        return (
            f"they are scored on different {one.part} rows "
            f"({len(one.keys):,} and {len(other.keys):,}; {common:,} texts in both)"
        )
    truth = one.label[same[0]]
    if not np.array_equal(truth, numbers[other.label][same[1]]):
        return f"their {one.part} rows have the same texts with other labels"
    metric = mine.metric if mine.metric == theirs.metric and mine.metric in METRICS else "macro_f1"
    gain = difference(
        metric,
        truth,
        one.best[same[0]],
        numbers[other.best][same[1]],
        len(mine.classes),
        seed=_SEED,
    )
    return gain, metric, one.part, len(truth)


def _order(rows: Predictions, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows by key, and rows of one text by label."""
    return np.lexsort((labels, *rows.keys.T[::-1]))
