"""A prediction taken apart: by probability, by class, by confusion, and row by row against a rival.

What a chosen head is described by, once, beside the metrics it was chosen with (`metrics.py`).
Everything here is plain data or a dataclass of plain data, and goes into JSON as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.tasks.metrics import Classes, Values, confusion

_BINARY = 2


def probability_scores(truth: Classes, probabilities: Values) -> dict[str, float | None]:
    """Log loss (nats) and area under the ROC curve, by scikit-learn, rounded to 6 places.

    truth: (N,), N >= 1.  probabilities: (N, C), rows add up to 1; one of 0 counts as 2e-16 in the
    log loss.
    roc_auc: of the second of two classes; of several the mean, one class against the rest, over the
    classes that occur in `truth`. None where all rows are of one class.
    """
    from sklearn.metrics import log_loss, roc_auc_score

    n_classes = probabilities.shape[1]
    occurs = np.unique(truth)
    area = None
    if len(occurs) > 1:
        scored = np.array([1]) if n_classes == _BINARY else occurs
        # A column a class: scikit-learn's own one-against-rest refuses a truth that lacks one of
        # the classes.
        area = float(roc_auc_score(truth[:, None] == scored, probabilities[:, scored]))
    loss = float(log_loss(truth, probabilities, labels=np.arange(n_classes)))
    return {"log_loss": round(loss, 6), "roc_auc": None if area is None else round(area, 6)}


def per_class(truth: Classes, predicted: Classes, classes: Sequence[Any]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support (true rows) of each class, in the order of `classes`, their
    labels.

    truth, predicted: (N,) class numbers.  A share that is not defined (nothing predicted, nothing
    true) is 0.
    """
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(
        truth, predicted, labels=np.arange(len(classes)), zero_division=0
    )
    return [
        {
            "class": name,
            "precision": round(float(precision), 6),
            "recall": round(float(recall), 6),
            "f1": round(float(f1), 6),
            "support": int(support),
        }
        for name, precision, recall, f1, support in zip(classes, *columns, strict=True)
    ]


def confusion_matrix(truth: Classes, predicted: Classes, n_classes: int) -> list[list[int]]:
    """Counts, C lists of C: rows are the truth, columns the prediction."""
    counts: NDArray[np.int64] = confusion(truth, predicted, n_classes).astype(np.int64)
    return [[int(count) for count in row] for row in counts]


@dataclass(frozen=True)
class McNemar:
    """only_mine, only_theirs: rows that only one of two predictions has right. p_value: two-sided,
    exact.
    """

    only_mine: int
    only_theirs: int
    p_value: float


def mcnemar(truth: Classes, mine: Classes, theirs: Classes) -> McNemar:
    """Whether two predictions (N,) of the same rows are right equally often (McNemar 1947, the
    exact form).

    If they are, each row that one has right and the other has not is a toss of a coin. 1.0 without
    such rows.
    """
    from scipy.stats import binomtest

    right, rivals = mine == truth, theirs == truth
    only_mine, only_theirs = int((right & ~rivals).sum()), int((rivals & ~right).sum())
    tosses = only_mine + only_theirs
    p_value = float(binomtest(only_mine, tosses, 0.5).pvalue) if tosses else 1.0
    return McNemar(only_mine, only_theirs, p_value)
