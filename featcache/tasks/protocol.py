"""The protocol of a task: everything that depends on what a head predicts.

Heads return outputs, (N, n_outputs); a task turns labels into targets to train on, outputs into
predictions and probabilities, and predictions into scores. Search, evidence, runs and report ask a
task and never count classes themselves. `single_label.py` is the one task that there is; several
labels a row, numbers and ordered classes are further files of the same form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featcache.tasks.breakdown import McNemar
from featcache.tasks.calibration import Bin
from featcache.tasks.metrics import Difference, Interval

Outputs = NDArray[np.floating[Any]]
"""(N, n_outputs) numbers of a head, one row of them for each row of features."""
Targets = NDArray[np.int64]
"""(N,) labels as numbers; predictions have the same form, or (S, N) for S runs on the same rows."""
Values = NDArray[np.float64]


class Task(Protocol):
    """What a head predicts, and how its predictions are made and scored."""

    @property
    def n_outputs(self) -> int:
        """Numbers that a head returns for each row."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that predictions are scored by; higher is better in each."""

    # -- labels --------------------------------------------------------------------------------

    def encode(self, labels: Sequence[Any]) -> Targets:
        """Turn N labels into targets, (N,)."""

    def decode(self, targets: Targets) -> list[Any]:
        """Turn N targets or predictions back into labels, each in its own type."""

    # -- from outputs to predictions -----------------------------------------------------------

    def decide(self, outputs: Outputs, offsets: Sequence[float] | None = None) -> Targets:
        """Predict from outputs.

        Args:
            outputs: (..., n_outputs) of a head.
            offsets: One number for each output, tuned by `thresholds`; None for none.

        Returns:
            (...) predictions.
        """

    def probabilities(self, outputs: Outputs, temperature: float = 1.0) -> Values:
        """Turn outputs (N, n_outputs) into probabilities (N, n_outputs).

        Args:
            outputs: Of a head.
            temperature: Outputs are divided by it (see `temperature`).

        Returns:
            Probabilities; they do not follow the offsets of a decision.
        """

    def confidence(self, probabilities: Values, predictions: Targets) -> Values:
        """Look up how probable each prediction is: (N,) of probabilities (N, n_outputs)."""

    # -- calibration and thresholds ------------------------------------------------------------

    def temperature(self, outputs: Outputs, targets: Targets) -> float:
        """Find the temperature at which the outputs of held-out rows are calibrated best."""

    def thresholds(self, outputs: Outputs, targets: Targets) -> list[float]:
        """Tune an offset for each output on held-out rows."""

    def calibration_error(self, probabilities: Values, targets: Targets) -> float:
        """Measure how far confidence and accuracy lie apart, 0 to 1."""

    def reliability(self, probabilities: Values, targets: Targets) -> list[Bin]:
        """Sort rows into bins of confidence, with the share of each that is right."""

    # -- scores --------------------------------------------------------------------------------

    def scores(self, targets: Targets, predictions: Targets) -> dict[str, float]:
        """Score predictions (N,) by every metric, rounded to 6 places."""

    def score(self, metric: str, targets: Targets, predictions: Targets) -> float:
        """Score predictions (N,) by one metric."""

    def score_runs(self, metric: str, targets: Targets, predictions: Targets) -> Values:
        """Score P predictions (P, N) of the same rows by one metric, (P,)."""

    def score_without(
        self, metric: str, targets: Targets, predictions: Targets, groups: Targets, n_groups: int
    ) -> Values:
        """Score S runs on the rows outside of each group.

        Args:
            metric: Name of the metric.
            targets: (N,).
            predictions: (S, N).
            groups: (N,) number of each row's group, from 0.
            n_groups: How many groups there are.

        Returns:
            (G,) the mean over runs for each group that is left out.
        """

    def interval(
        self, metric: str, targets: Targets, predictions: Targets, *, seed: int
    ) -> Interval:
        """Score predictions (N,) or runs (S, N), with the 95 % interval over resampled rows."""

    def difference(
        self, metric: str, targets: Targets, predictions: Targets, rival: Targets, *, seed: int
    ) -> Difference:
        """Score predictions against a rival's on the same rows, resampled in pairs."""

    def compare_rows(self, targets: Targets, predictions: Targets, rival: Targets) -> McNemar:
        """Test whether predictions and a rival's are right equally often."""

    @property
    def intervals_are_cheap(self) -> bool:
        """Whether intervals can be made for hundreds of heads: they grow with the classes."""

    # -- a prediction taken apart --------------------------------------------------------------

    def probability_scores(
        self, targets: Targets, probabilities: Values
    ) -> dict[str, float | None]:
        """Score probabilities by log loss (nats) and area under the ROC curve."""

    def per_class(self, targets: Targets, predictions: Targets) -> list[dict[str, Any]]:
        """Score each class: precision, recall, F1 and rows."""

    def confusion(self, targets: Targets, predictions: Targets) -> list[list[int]]:
        """Count the rows of each pair of target (row) and prediction (column)."""

    # -- rows: strata, balance, floors ---------------------------------------------------------

    def part_of(
        self, places: NDArray[np.int64], targets: Targets, count: int, *, seed: int
    ) -> NDArray[np.int64]:
        """Draw `count` of some rows, every stratum in nearly its share.

        Args:
            places: (N,) of the rows.
            targets: (N,) theirs.
            count: How many are drawn.
            seed: Of the draw; with one seed a smaller part lies within a larger one.

        Returns:
            (count,) places, in their order.
        """

    def epoch_size(self, targets: Targets, balance: str) -> int:
        """Count the rows of an epoch under a way of balancing classes."""

    def drawn_rows(
        self, targets: Targets, balance: str, generator: np.random.Generator
    ) -> NDArray[np.int64]:
        """Draw an epoch's rows: their places among `targets`, shuffled."""

    @property
    def fewest_rows(self) -> int:
        """Training rows below which a learning curve is not measured."""

    def majority(self, targets: Targets, n_rows: int) -> Targets:
        """Predict for `n_rows` rows what is right most often on training rows, (n_rows,)."""
