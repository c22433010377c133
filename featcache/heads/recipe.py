"""How a head is trained, on what, and what is kept of it: plain data for all that train heads by
gradient descent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Metric = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]
"""(truth (N,), predictions (M, N)) -> scores (M,), higher is better."""


C_PATH = (0.001, 0.01, 0.1, 1.0)
"""Inverse regularisation strengths tried, in this order. On standardised MiniLM features 0.01, 0.1
and 1 were each the best of some view; larger ones were not tried, because the time grows with C and
the scores fall beyond the best.
"""


@dataclass(frozen=True)
class Recipe:
    """How one head is trained. max_epochs ends it; so do `patience` epochs without a higher
    validation score.

    Of epochs with one score that of the lower loss is kept; a falling loss alone is no reason to go
    on. Without patience (None) it runs to max_epochs whatever the scores, and is kept as it is
    then.
    balanced: errors weigh by the inverse of their class's frequency, as scikit-learn's
    `class_weight="balanced"`.
    focal: exponent of the focal loss (Lin et al., arXiv 1708.02002); 0 is cross-entropy.
    average_epochs: of the moving average of the weights, in epochs of all rows, however many an
    epoch draws.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    dropout: float = 0.1
    label_smoothing: float = 0.0
    balanced: bool = False
    focal: float = 0.0
    seed: int = 0
    max_epochs: int = 60
    patience: int | None = 8
    batch_size: int = 128
    average_epochs: float = 2.0  # 1 and 3 did as well; 0 is the weights as they are


@dataclass(frozen=True)
class Examples:
    """features: (N, H) float32 as cached; labels: (N,) class numbers."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class TrainingCurves:
    """One number an epoch: mean loss (nats) and the metric, on training rows (at most 1,024) and
    validation rows.
    """

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    train_score: list[float] = field(default_factory=list)
    validation_score: list[float] = field(default_factory=list)
