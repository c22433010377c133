"""Rows whose label is probably wrong: those that heads which never saw them confidently call
something else.

Confident learning (Northcutt, Jiang and Chuang 2021, arXiv 1911.00068), by cleanlab: from
out-of-fold probabilities it estimates how many rows carry the label of another class, and takes so
many of those whose label has the lowest probability. Where classes shade into one another that
count takes in rows that are only hard, so of cleanlab's rows those alone are listed whose label has
little of the probability. Tried with three mlps on the last four layers and on
all: on ag_news (4,999 rows, 3 % of labels flipped at random, five seeds) cleanlab's own list has 86
to 92 % of the flipped rows at a precision of 45 to 49 %, this one 77 to 85 % at 64 to 67 %; on
cola, which the heads cannot do, cleanlab lists 1,779 of 8,551 rows, this one 147; of 4,999 rows
with random labels 3,707 and none.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
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
FEW = 3  # heads whose probabilities are taken together
# A label with less than so much probability is probably wrong. Where a share s of labels is flipped
# among C classes, heads that know the class for sure still give s / (C - 1) to another one, so that
# two classes need a wider bound.
_DOUBT, _DOUBT_OF_TWO = 0.065, 0.15


@dataclass(frozen=True)
class MislabelledCandidates:
    """Rows that are probably mislabelled, the most certain first; all (K,).

    rows: their places.  given: class numbers that they carry; predicted: what the heads say.  own:
    the probability of the given class; probability: that of the predicted one.  n_rows: how many
    were looked at; disagree: how many of these the heads call something else, surely or not.
    """

    rows: NDArray[np.int64]
    given: NDArray[np.int64]
    predicted: NDArray[np.int64]
    own: Values
    probability: Values
    n_rows: int
    disagree: int

    def __len__(self) -> int:
        return len(self.rows)

    def sentence(self) -> str:
        """What the list is, and what it is not."""
        count, hard = len(self), self.disagree - len(self)
        rows = f"{self.n_rows:,} row{'s' if self.n_rows != 1 else ''}"
        if self.unknowing:
            return f"no row is listed: the heads predict {self.disagree:,} of {rows} otherwise, too many to doubt labels"
        are = "is" if count == 1 else "are"
        what = f"{count:,} of {rows} ({count / self.n_rows:.1%}) {are} probably labelled wrongly"
        if hard <= 0:
            return what
        others = "1 more is" if hard == 1 else f"{hard:,} more are"
        return f"{what} ({others} predicted otherwise, not surely enough: a hard row is not a wrong one)"

    @property
    def unknowing(self) -> bool:
        """Whether the heads call most rows something else: then it is not the labels that are
        wrong.
        """
        return 2 * self.disagree > self.n_rows


def suspects(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], *, doubt: float | None = None
) -> MislabelledCandidates:
    """Rows whose label is probably wrong.

    probabilities: (N, C) by heads that were not trained on the row, calibrated.  labels: (N,) class
    numbers, each class there.  doubt: a row is listed where its label has less probability than
    this [0.065; of two classes 0.15].
    """
    shares = np.asarray(probabilities, dtype=np.float64)
    shares = shares / shares.sum(axis=1, keepdims=True)
    own, best = shares[np.arange(len(labels)), labels], shares.argmax(axis=1)
    found = _by_cleanlab(shares, labels)
    if doubt is None:
        doubt = max(_DOUBT, _DOUBT_OF_TWO / (shares.shape[1] - 1))
    kept = found[(own[found] < doubt) & (best[found] != labels[found])]
    kept = kept[np.lexsort((kept, own[kept]))]
    n_other = int((best != labels).sum())
    if 2 * n_other > len(
        labels
    ):  # confident learning takes most rows of a class to be labelled rightly
        kept = kept[:0]
    return MislabelledCandidates(
        kept, labels[kept], best[kept], own[kept], shares[kept, best[kept]], len(labels), n_other
    )


def _by_cleanlab(probabilities: Values, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """As many rows of the lowest probability of their label as cleanlab estimates to carry a wrong
    one.
    """
    from cleanlab.filter import find_label_issues

    found = find_label_issues(
        labels,
        probabilities,
        filter_by="low_self_confidence",
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    return np.asarray(found, dtype=np.int64)


def pooled(logits: Sequence[NDArray[np.floating]], labels: NDArray[np.int64]) -> Values:
    """Calibrated probabilities (N, C) of several heads together: the geometric mean of each one's.

    logits: of each head, (N, C), for rows that it was not trained on.  labels: (N,).
    """
    logs = [_log_softmax(one / temperature(one, labels)) for one in logits]
    mean = np.mean(logs, axis=0)
    return _softmax(mean / temperature(mean, labels))


def best_few(trials: Sequence[Trial], metric: str, count: int = FEW) -> list[Trial]:
    """The best heads on validation rows, each of another shape or on another view, none of them
    dropped early.
    """
    found: dict[tuple[object, object], Trial] = {}
    for trial in sorted(trials, key=lambda one: -one.validation[metric]):
        if not trial.dropped:
            found.setdefault((trial.candidate.factory or trial.head, trial.view), trial)
    return list(found.values())[:count]


def held_out(trials: Sequence[Trial], sweep: TrainingSetup, folds: tuple[Fold, ...]) -> Values:
    """Probabilities (N, C) of all rows of a sweep by heads that did not see them, in the order of
    its rows.

    trials: heads with the settings that a search found best.  folds: in which every row is held
    back once.
    """
    from dataclasses import replace

    from featcache.search.refit import held_logits

    whole = replace(sweep, folds=folds)
    order = np.argsort(np.concatenate([fold.held for fold in folds]))
    return pooled([held_logits(trial, whole)[order] for trial in trials], sweep.part.labels)


def write_csv(
    folder: Path,
    found: MislabelledCandidates,
    *,
    sources: Sequence[str],
    rows: Sequence[int],
    texts: Sequence[str],
    classes: Sequence[Any],
) -> Path:
    """The list as `mislabelled.csv`, one row a line, to be gone through by a person.

    sources, rows, texts: of all N rows that were looked at: the file, the row's number there, its
    text.
    classes: their names.
    Columns: rank, source, row, label, predicted, probability_of_label, probability_of_predicted,
    corrected (empty, for the right label), text.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        [
            "rank",
            "source",
            "row",
            "label",
            "predicted",
            "probability_of_label",
            "probability_of_predicted",
            "corrected",
            "text",
        ]
    )
    for rank, (place, given, predicted, own, probability) in enumerate(
        zip(found.rows, found.given, found.predicted, found.own, found.probability, strict=True),
        start=1,
    ):
        numbers = (f"{own:.6f}", f"{probability:.6f}")
        writer.writerow(
            [
                rank,
                sources[place],
                rows[place],
                classes[given],
                classes[predicted],
                *numbers,
                "",
                texts[place],
            ]
        )
    return write_durably(folder, NAME, stream.getvalue().encode())


def _log_softmax(logits: NDArray[np.floating]) -> Values:
    from scipy.special import log_softmax

    return np.asarray(log_softmax(np.asarray(logits, dtype=np.float64), axis=1))


def _softmax(logits: NDArray[np.floating]) -> Values:
    return np.exp(_log_softmax(logits))
