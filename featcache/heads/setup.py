"""What a sweep is about: its rows and folds, what is tried on them, and what became of it. Plain
data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.features.folds import Fold
from featcache.features.source import DenseSource
from featcache.tasks.protocol import Task


@dataclass(frozen=True)
class LabelledPositions:
    """Rows to train on or to score. rows: their positions in the cache; labels: class numbers; both
    (N,).
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class TrainingSetup:
    """What every trial of a search shares.

    source: what heads see of each row, by its position.
    task: what is predicted, and how it is scored.
    part: training and validation rows together.  folds: one, or those of a cross-validation, whose
    validation rows are all rows.
    seeds: each candidate is trained with each of them.  balance: see `heads.balance`.
    """

    source: DenseSource
    part: LabelledPositions
    folds: tuple[Fold, ...]
    task: Task
    metric: str
    seed: int
    seeds: tuple[int, ...]
    balance: str = "none"

    @property
    def truth(self) -> NDArray[np.int64]:
        """Classes of the validation rows of all folds, (V,), fold by fold."""
        return np.concatenate([self.part.labels[fold.held] for fold in self.folds])

    def score(
        self, truth: NDArray[np.int64], predictions: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Score P predictions (P, N) of the same rows by the metric of the search, (P,)."""
        return self.task.score_runs(self.metric, truth, predictions)
