"""What a head that was chosen scores: on test rows, row by row, and how sure it may be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.search.trial import Trial
from featcache.tasks.calibration import Bin
from featcache.tasks.metrics import Interval


@dataclass(frozen=True)
class Tested:
    """A head on the test rows, read once. intervals: of each metric.

    probabilities: log loss (nats) and area under the ROC curve, of calibrated probabilities.
    per_class: precision, recall, F1 and rows of each class.  confusion: counts, rows are the
    truth.
    """

    intervals: dict[str, Interval]
    probabilities: dict[str, float | None]
    per_class: list[dict[str, Any]]
    confusion: list[list[int]]


@dataclass(frozen=True)
class Scored:
    """A trial with its scores everywhere. tested: of the head refitted on training and validation
    rows.
    """

    trial: Trial
    tested: Tested | None

    @property
    def test(self) -> dict[str, Interval] | None:
        """Each metric on the test rows with its interval, or None without test rows."""
        return None if self.tested is None else self.tested.intervals


@dataclass(frozen=True)
class Calibration:
    """temperature: logits are divided by it. The errors are expected calibration errors (0 to 1),
    before and after.

    Those of validation rows are of heads that were not trained on them; the temperature was found
    there.
    offsets: added to the logits before a label is chosen, where thresholds were asked for.
    """

    temperature: float
    validation_before: float
    validation_after: float
    test_before: float | None
    test_after: float | None
    offsets: list[float] | None


@dataclass(frozen=True)
class RowPredictions:
    """What the choice and the linear reference say of each row that they are scored on.

    part: "test", or "validation" without test rows; then of heads that were trained on the others.
    truth, best,
    linear: (N,) class numbers.  probabilities: (N, C) of the choice, calibrated.
    confidence: (N,) that of the predicted class.  reliability:
    these against the truth.
    """

    part: str
    truth: NDArray[np.int64] = field(repr=False)
    best: NDArray[np.int64] = field(repr=False)
    linear: NDArray[np.int64] = field(repr=False)
    probabilities: NDArray[np.float64] = field(repr=False)
    confidence: NDArray[np.float64] = field(repr=False)
    reliability: list[Bin]

    def mistakes(self, most: int) -> NDArray[np.int64]:
        """Places of the wrong ones, the most confident first."""
        wrong = np.flatnonzero(self.best != self.truth)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")][:most]
