"""Mislabelled rows: those that heads which never saw them confidently call something else.

Confident learning (Northcutt, Jiang and Chuang 2021, arXiv 1911.00068), by cleanlab: from
out-of-fold probabilities it estimates how many rows carry the label of another class, and takes so
many of those whose label has the lowest probability. Where classes shade into one another, that
count includes rows that are only hard. So of cleanlab's rows only those are listed whose label has
little of the probability. Tried with three mlps on the last four layers and on all: on ag_news
(4,999 rows, 3 % of labels flipped at random, five seeds) cleanlab's own list has 86 to 92 % of the
flipped rows at a precision of 45 to 49 %, this one 77 to 85 % at 64 to 67 %; on cola, which the
heads cannot learn, cleanlab lists 1,779 of 8,551 rows, this one 147; of 4,999 rows with random
labels 3,707 and none.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.durable import write_durably
from featcache.tasks.calibration import temperature

if TYPE_CHECKING:
    from featcache.features.folds import Fold
    from featcache.heads.setup import TrainingSetup
    from featcache.search.trial import Trial

Values = NDArray[np.float64]

NAME = "mislabelled.csv"
_COLUMNS = (
    "rank",
    "source",
    "row",
    "label",
    "predicted",
    "probability_of_label",
    "probability_of_predicted",
    "corrected",
    "text",
)
_N_HEADS = 3  # heads whose probabilities are averaged
# A label with less probability than this is probably wrong. Where a share s of the labels is
# flipped among C classes, heads that know the class for sure still give s / (C - 1) to another one,
# so that two classes need a wider bound.
_MAX_PROBABILITY, _MAX_PROBABILITY_OF_TWO = 0.065, 0.15


@dataclass(frozen=True)
class MislabelledCandidates:
    """K rows that are probably mislabelled, the most certain first.

    Attributes:
        rows: (K,) their places among the N rows.
        labels: (K,) the class numbers that they carry.
        predicted: (K,) the class numbers that the heads predict.
        label_probability: (K,) the probability of the label.
        predicted_probability: (K,) the probability of the predicted class.
        n_rows: How many rows were looked at.
        n_disagreeing: How many of these the heads call something else, surely or not.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    label_probability: Values
    predicted_probability: Values
    n_rows: int
    n_disagreeing: int

    def __len__(self) -> int:
        """Return K."""
        return len(self.rows)

    def sentence(self) -> str:
        """Say how many rows are listed, and how many are only hard.

        Returns:
            A sentence that begins in lower case, without a full stop.
        """
        n_listed, n_hard = len(self), self.n_disagreeing - len(self)
        rows = "1 row" if self.n_rows == 1 else f"{self.n_rows:,} rows"
        if self.heads_fail:
            return (
                f"no row is listed: the heads predict another class for {self.n_disagreeing:,} of "
                f"{rows}, too many to question the labels"
            )
        are = "is" if n_listed == 1 else "are"
        listed = (
            f"{n_listed:,} of {rows} ({n_listed / self.n_rows:.1%}) {are} probably labelled wrongly"
        )
        if n_hard <= 0:
            return listed
        hard = "1 more row is" if n_hard == 1 else f"{n_hard:,} more rows are"
        return f"{listed} ({hard} predicted otherwise, but not surely: probably hard, not wrong)"

    @property
    def heads_fail(self) -> bool:
        """Whether the heads call most rows something else: then the labels are not to blame."""
        return 2 * self.n_disagreeing > self.n_rows


def find_mislabelled(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.int64],
    *,
    max_probability: float | None = None,
) -> MislabelledCandidates:
    """Find rows whose label is probably wrong.

    Args:
        probabilities: (N, C) calibrated probabilities by heads that were not trained on the row.
        labels: (N,) class numbers; every class occurs.
        max_probability: A row is listed where its label has less probability than this [0.065; with
            two classes 0.15].

    Returns:
        The rows, those whose label is least likely first.
    """
    shares = np.asarray(probabilities, dtype=np.float64)
    shares = shares / shares.sum(axis=1, keepdims=True)
    own, best = shares[np.arange(len(labels)), labels], shares.argmax(axis=1)
    if max_probability is None:
        max_probability = max(_MAX_PROBABILITY, _MAX_PROBABILITY_OF_TWO / (shares.shape[1] - 1))
    rows = _rows_by_cleanlab(shares, labels)
    rows = rows[(own[rows] < max_probability) & (best[rows] != labels[rows])]
    rows = rows[np.lexsort((rows, own[rows]))]
    n_disagreeing = int((best != labels).sum())
    # Confident learning assumes that most rows of a class are labelled rightly.
    if 2 * n_disagreeing > len(labels):
        rows = rows[:0]
    return MislabelledCandidates(
        rows=rows,
        labels=labels[rows],
        predicted=best[rows],
        label_probability=own[rows],
        predicted_probability=shares[rows, best[rows]],
        n_rows=len(labels),
        n_disagreeing=n_disagreeing,
    )


def _rows_by_cleanlab(probabilities: Values, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Take as many rows with the least likely labels as cleanlab estimates to be mislabelled."""
    from cleanlab.filter import find_label_issues

    rows = find_label_issues(
        labels,
        probabilities,
        filter_by="low_self_confidence",
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    return np.asarray(rows, dtype=np.int64)


def average_probabilities(
    logits: Sequence[NDArray[np.floating]], labels: NDArray[np.int64]
) -> Values:
    """Average the calibrated probabilities of several heads, as their geometric mean.

    Args:
        logits: (N, C) of each head, for rows that it was not trained on.
        labels: (N,) class numbers, for the calibration.

    Returns:
        (N, C) calibrated probabilities.
    """
    log_probabilities = [_log_softmax(one / temperature(one, labels)) for one in logits]
    mean = np.mean(log_probabilities, axis=0)
    return np.exp(_log_softmax(mean / temperature(mean, labels)))


def best_heads(trials: Sequence[Trial], metric: str, count: int = _N_HEADS) -> list[Trial]:
    """Take the best heads on validation rows, each with another shape or view.

    Args:
        trials: The heads of a search; those that were dropped early are left out.
        metric: What they are compared by.
        count: How many heads at most.

    Returns:
        The best head first.
    """
    best: dict[tuple[object, object], Trial] = {}
    for trial in sorted(trials, key=lambda trial: -trial.validation[metric]):
        if not trial.dropped:
            best.setdefault((trial.candidate.factory or trial.head, trial.view), trial)
    return list(best.values())[:count]


def held_out_probabilities(
    trials: Sequence[Trial], setup: TrainingSetup, folds: tuple[Fold, ...]
) -> Values:
    """Predict all rows of a setup by heads that did not see them.

    Args:
        trials: Heads with the settings that a search found best.
        setup: The N rows.
        folds: Folds in which every row is held out once.

    Returns:
        (N, C) calibrated probabilities in the order of the setup's rows.
    """
    from featcache.search.refit import held_logits

    whole = replace(setup, folds=folds)
    order = np.argsort(np.concatenate([fold.held for fold in folds]))
    logits = [held_logits(trial, whole)[order] for trial in trials]
    return average_probabilities(logits, setup.part.labels)


def write_csv(
    folder: Path,
    candidates: MislabelledCandidates,
    *,
    sources: Sequence[str],
    rows: Sequence[int],
    texts: Sequence[str],
    classes: Sequence[Any],
) -> Path:
    """Write the list as `mislabelled.csv`, one row a line, for a person to go through.

    The column `corrected` is empty: it is for the right label.

    Args:
        folder: Where the file is written.
        candidates: The rows to list.
        sources: The file of each of the N rows that were looked at.
        rows: The number of each of the N rows in its file.
        texts: The text of each of the N rows.
        classes: The names of the classes.

    Returns:
        The path of the file.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for number, place in enumerate(candidates.rows):
        writer.writerow(
            [
                number + 1,
                sources[place],
                rows[place],
                classes[candidates.labels[number]],
                classes[candidates.predicted[number]],
                f"{candidates.label_probability[number]:.6f}",
                f"{candidates.predicted_probability[number]:.6f}",
                "",
                texts[place],
            ]
        )
    return write_durably(folder, NAME, stream.getvalue().encode())


def _log_softmax(logits: NDArray[np.floating]) -> Values:
    from scipy.special import log_softmax

    return np.asarray(log_softmax(np.asarray(logits, dtype=np.float64), axis=1))
