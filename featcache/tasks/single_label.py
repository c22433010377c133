"""One class of several for each row: the task of `protocol.Task` that featcache began with.

Targets are class numbers, outputs are logits, (N, C), and the class of the highest logit is
predicted. All scores are functions of the confusion matrix (`metrics.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.tasks import balance as balancing
from featcache.tasks import breakdown, calibration, metrics, strata, thresholds
from featcache.tasks.breakdown import McNemar
from featcache.tasks.calibration import Bin
from featcache.tasks.metrics import Difference, Interval
from featcache.tasks.protocol import Outputs, Targets, Values

# A learning curve's smallest size: heads on fewer rows are guesses.
_FEWEST_ROWS, _ROWS_PER_CLASS = 32, 4
_CHEAP_CLASSES = 50  # with a hundred and more, an interval takes a tenth of a second


@dataclass(frozen=True)
class SingleLabel:
    """One of `classes` for each row.

    Attributes:
        classes: Labels in the order of the outputs, each in its own type.
    """

    classes: tuple[Any, ...]

    @property
    def n_outputs(self) -> int:
        """One logit for each class."""
        return len(self.classes)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that predictions are scored by."""
        return tuple(metrics.METRICS)

    def encode(self, labels: Sequence[Any]) -> Targets:
        """Turn N labels into class numbers, (N,)."""
        numbers = {label: number for number, label in enumerate(self.classes)}
        return np.array([numbers[label] for label in labels], dtype=np.int64)

    def decode(self, targets: Targets) -> list[Any]:
        """Turn N class numbers back into labels."""
        return [self.classes[number] for number in targets]

    def decide(self, outputs: Outputs, offsets: Sequence[float] | None = None) -> Targets:
        """Predict the class of the highest logit, after the offsets where there are some."""
        shifted = outputs if offsets is None else outputs + np.asarray(offsets)
        return np.asarray(shifted.argmax(axis=-1), dtype=np.int64)

    def probabilities(self, outputs: Outputs, temperature: float = 1.0) -> Values:
        """Turn logits into probabilities (N, C): their softmax, divided by the temperature."""
        return softmax(outputs / temperature)

    def confidence(self, probabilities: Values, predictions: Targets) -> Values:
        """Look up the probability (N,) of each predicted class."""
        return np.take_along_axis(probabilities, predictions[:, None], axis=1)[:, 0]

    def temperature(self, outputs: Outputs, targets: Targets) -> float:
        """Find the temperature of the lowest log loss on held-out rows."""
        return calibration.temperature(outputs, targets)

    def thresholds(self, outputs: Outputs, targets: Targets) -> list[float]:
        """Tune an offset for each class on held-out rows, for macro-F1."""
        return [float(offset) for offset in thresholds.tuned_offsets(outputs, targets)]

    def calibration_error(self, probabilities: Values, targets: Targets) -> float:
        """Measure the expected calibration error, 0 to 1."""
        return calibration.expected_calibration_error(probabilities, targets)

    def reliability(self, probabilities: Values, targets: Targets) -> list[Bin]:
        """Sort rows into bins by the probability of their likeliest class."""
        return calibration.reliability(probabilities, targets)

    def scores(self, targets: Targets, predictions: Targets) -> dict[str, float]:
        """Score predictions (N,) by every metric, rounded to 6 places."""
        return metrics.scores(targets, predictions, self.n_outputs)

    def score(self, metric: str, targets: Targets, predictions: Targets) -> float:
        """Score predictions (N,) by one metric."""
        return metrics.score(metric, targets, predictions, self.n_outputs)

    def score_runs(self, metric: str, targets: Targets, predictions: Targets) -> Values:
        """Score P predictions (P, N) of the same rows by one metric, (P,)."""
        return metrics.scores_of_many(metric, targets, predictions, self.n_outputs)

    def score_without(
        self, metric: str, targets: Targets, predictions: Targets, groups: Targets, n_groups: int
    ) -> Values:
        """Score S runs (S, N) on the rows outside of each group, (G,)."""
        return metrics.scores_without(
            metric, targets, predictions, groups, n_groups=n_groups, n_classes=self.n_outputs
        )

    def interval(
        self, metric: str, targets: Targets, predictions: Targets, *, seed: int
    ) -> Interval:
        """Score predictions (N,) or runs (S, N), with the 95 % interval over resampled rows."""
        return metrics.interval(metric, targets, predictions, self.n_outputs, seed=seed)

    def difference(
        self, metric: str, targets: Targets, predictions: Targets, rival: Targets, *, seed: int
    ) -> Difference:
        """Score predictions against a rival's on the same rows, resampled in pairs."""
        return metrics.difference(metric, targets, predictions, rival, self.n_outputs, seed=seed)

    def compare_rows(self, targets: Targets, predictions: Targets, rival: Targets) -> McNemar:
        """Test whether predictions and a rival's are right equally often."""
        return breakdown.mcnemar(targets, predictions, rival)

    @property
    def intervals_are_cheap(self) -> bool:
        """Whether intervals can be made for hundreds of heads."""
        return len(self.classes) <= _CHEAP_CLASSES

    def probability_scores(
        self, targets: Targets, probabilities: Values
    ) -> dict[str, float | None]:
        """Score probabilities by log loss (nats) and area under the ROC curve."""
        return breakdown.probability_scores(targets, probabilities)

    def per_class(self, targets: Targets, predictions: Targets) -> list[dict[str, Any]]:
        """Score each class: precision, recall, F1 and rows."""
        return breakdown.per_class(targets, predictions, self.classes)

    def confusion(self, targets: Targets, predictions: Targets) -> list[list[int]]:
        """Count the rows of each pair of true (row) and predicted (column) class."""
        return breakdown.confusion_matrix(targets, predictions, self.n_outputs)

    def part_of(
        self, places: NDArray[np.int64], targets: Targets, count: int, *, seed: int
    ) -> NDArray[np.int64]:
        """Draw `count` of some rows, every class in nearly its share."""
        return strata.part_of(places, targets, count, seed=seed)

    def epoch_size(self, targets: Targets, balance: str) -> int:
        """Count the rows of an epoch under a way of balancing classes."""
        return balancing.epoch_size(targets, balance)

    def drawn_rows(
        self, targets: Targets, balance: str, generator: np.random.Generator
    ) -> NDArray[np.int64]:
        """Draw an epoch's rows: their places among `targets`, shuffled."""
        return balancing.drawn_rows(targets, balance, generator)

    @property
    def fewest_rows(self) -> int:
        """At least 32 training rows, and 4 for each class."""
        return max(_FEWEST_ROWS, _ROWS_PER_CLASS * self.n_outputs)

    def majority(self, targets: Targets, n_rows: int) -> Targets:
        """Predict the most frequent class (the first of equals) for each of `n_rows` rows."""
        return np.full(n_rows, np.bincount(targets).argmax(), dtype=np.int64)


def softmax(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Softmax over the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    raised = np.exp(shifted)
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True), dtype=np.float64)
