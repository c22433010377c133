"""What a fit found, in memory: what the terminal, the model card and `result.json` are made of.

`schema.py` says how it is written; the numbers' own rooms say what they mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from featcache.data.checks import Finding
from featcache.evidence.curves import MeasuredCurve
from featcache.evidence.floors import Floor
from featcache.evidence.verdict import Verdict
from featcache.runs import schema
from featcache.runs.head_records import ScoredRecord
from featcache.runs.records import record_of
from featcache.runs.schema import RunRecord
from featcache.search.rows import RowCounts, ShownRow
from featcache.search.scores import Calibration, RowPredictions, Scored
from featcache.search.trial import Trial
from featcache.tasks.breakdown import McNemar
from featcache.tasks.metrics import Difference


@dataclass(frozen=True)
class Mislabelled:
    """Rows of training and validation whose label is probably wrong.

    Attributes:
        count: How many.
        said: One sentence about them; None where nobody looked.
        path: The list of all, within the run's folder; None where there are none.
        examples: The most certain ones.
    """

    count: int
    said: str | None
    path: str | None
    examples: list[ShownRow]


@dataclass(frozen=True)
class RunOrigin:
    """Where a run comes from.

    Attributes:
        label: The column of labels.
        created: When, in UTC.
        command: That repeats the run; None for data given in Python.
        backbone: The model's folder or hub id.
        versions: Of the libraries that scores depend on.
        contract: Of the space: what the features depend on.
    """

    label: str
    created: str
    command: str | None
    backbone: str
    versions: dict[str, str]
    contract: dict[str, Any]


@dataclass(frozen=True)
class FitResult:
    """The outcome of `fit_heads`.

    Attributes:
        best: The chosen head.
        linear: The linear reference: logistic regression on the last layer's mean.
        majority: Scores of the majority class.
        tfidf: Scores of a bag of words; None where the texts hold no word.
        gain: Best less linear on the test rows, in the metric; None without test rows.
        mcnemar: Of the same two, by the rows that only one of them gets right.
        calibration: Of the choice.
        answers: Predictions row by row.
        mistakes: The most confident wrong ones.
        verdict: What limits the linear reference; None without `evidence`.
        learning_curve: Score by training rows of the head that the verdict found best.
        findings: What is wrong with the data.
        mislabelled: Rows whose label is probably wrong.
        metric: That the choice was made by.
        classes: Labels, in the order of the outputs.
        largest_share: Of the most frequent class, among the training rows.
        rows: Sizes of the parts.
        searched: How candidates were searched, folds and seeds; `compared` has the scores, by
            cross-validation over all rows, of heads that validation rows did not tell apart.
        test_read_before: Other choices that were scored on the same test rows before, as the cache
            remembers them.
        space: The folder of the features in the cache.
        signature: What the scores depend on. Equal signatures on one machine give equal scores,
            but under a time limit.
        trials: Every head that was tried.
        seconds: Time that all of it took.
        bundle: The folder of the head.
        folder: Where all of it was written.
        origin: Where the run comes from.
    """

    best: Scored
    linear: Scored
    majority: Floor
    tfidf: Floor | None
    gain: Difference | None
    mcnemar: McNemar | None
    calibration: Calibration
    answers: RowPredictions
    mistakes: list[ShownRow]
    verdict: Verdict | None
    learning_curve: MeasuredCurve | None
    findings: list[Finding]
    mislabelled: Mislabelled
    metric: str
    classes: list[Any]
    largest_share: float
    rows: RowCounts
    searched: dict[str, Any]
    test_read_before: list[dict[str, str]]
    space: str
    signature: str
    trials: tuple[Trial, ...]
    seconds: float
    bundle: str
    folder: str
    origin: RunOrigin

    def to_record(self) -> RunRecord:
        """Return the content of `result.json`."""
        return record_of(
            RunRecord,
            {
                **vars(self),
                **vars(self.origin),
                "format": schema.FORMAT,
                "best": ScoredRecord.of(self.best),
                "linear": ScoredRecord.of(self.linear),
                "floors": {"majority": self.majority, "tfidf": self.tfidf},
                "learning_curve": None
                if self.learning_curve is None
                else self.learning_curve.to_json(),
                "reliability": {
                    "part": self.answers.part,
                    "bins": self.answers.reliability,
                },
                "search": self.searched,
                "trials": len(self.trials),
                "seconds": round(self.seconds, 3),
            },
        )

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints and `result.json` keeps."""
        content: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self.to_record()))
        return content
