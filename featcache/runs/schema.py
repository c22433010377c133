"""The schema of a run's folder: `result.json`, and a line of `trials.jsonl`.

Each class is one JSON object, written and read by this definition; `docs/schemas/` has the same as
JSON Schema. A field without a default is always there. A default is what the field means in runs
of early versions, which did not write it; `UNSET` fields are left out where they say nothing.

Format 1 is what `fit-heads` wrote before there was a number, so a run without one is read alike. A
new field with a default needs no new number; a field that goes or changes its meaning does.
`predictions.parquet` is described in `predictions.py`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from featcache.runs.evidence_records import (
    CurveRecord,
    FindingRecord,
    FloorsRecord,
    MislabelledRecord,
    ReliabilityRecord,
    RowRecord,
    VerdictRecord,
)
from featcache.runs.head_records import (
    ScoredRecord,
    check_details,
)
from featcache.runs.records import (
    CalibrationRecord,
    Count,
    GainRecord,
    JsonRecord,
    LabelValue,
    McNemarRecord,
    Number,
)

FORMAT = 1


class RowCountsRecord(JsonRecord, frozen=True, kw_only=True):
    """How many rows each part has; `dropped` are those whose text stands in a later part, too."""

    train: Count
    validation: Count
    test: Count
    dropped: Count


class FinalistRecord(JsonRecord, frozen=True, kw_only=True):
    """A head that was compared in folds, what it reads, and its score there."""

    head: str
    view: str
    score: Number


class SearchRecord(JsonRecord, frozen=True, kw_only=True):
    """How candidates were searched and chosen; see `fit_heads` for the options."""

    search: str = "search"
    trials: Count | None = None
    seconds: Number | None = None
    cv: Count | None = None
    balance: str = "none"
    focal: Number = 0.0
    thresholds: bool = False
    seeds: tuple[Count, ...] = ()
    compared: tuple[FinalistRecord, ...] = ()


class RunRecord(JsonRecord, frozen=True, kw_only=True):
    """The content of `result.json`, and what `fit-heads --json` prints.

    Attributes:
        format: Of this file; 0 where a version before the number wrote it.
        label: The column of labels.
        created: When, in UTC.
        command: That repeats the run; None for data given in Python, left out by early versions.
        backbone: The model's folder or hub id.
        versions: Of the libraries that scores depend on.
        contract: What the features depend on; see `docs/cache-format.md`.
        best: The chosen head.
        linear: The linear reference: logistic regression on the last layer's mean.
        floors: What a head must beat.
        gain: Of the choice over the linear reference; None without test rows.
        mcnemar: Of the same two.
        calibration: Of the choice.
        verdict: What limits the linear reference; None where no experiments were made.
        learning_curve: Of the head that the verdict found best; None as the verdict.
        reliability: Bins of the choice's probabilities.
        mistakes: The most confident wrong predictions.
        mislabelled: Rows of training and validation whose label is probably wrong.
        findings: What is wrong with the data; None where nobody looked.
        metric: That the choice was made by.
        classes: Labels, in the order of the outputs.
        rows: Sizes of the parts.
        search: How candidates were searched.
        test_read_before: Other choices that were scored on these test rows before.
        space: The folder of the features in the cache.
        signature: What the scores depend on, in one line.
        trials: How many heads were tried.
        seconds: Time that all of it took.
        bundle: The folder of the head.
    """

    format: Count = 0
    label: str | None = None
    created: str | None = None
    command: str | UnsetType | None = UNSET
    backbone: str | None = None
    versions: dict[str, Any] = msgspec.field(default_factory=dict)
    contract: dict[str, Any] = msgspec.field(default_factory=dict)
    best: ScoredRecord
    linear: ScoredRecord
    floors: FloorsRecord
    gain: GainRecord | None = None
    mcnemar: McNemarRecord | None = None
    calibration: CalibrationRecord | None = None
    verdict: VerdictRecord | None
    learning_curve: CurveRecord | None = None
    reliability: ReliabilityRecord | None = None
    mistakes: tuple[RowRecord, ...] = ()
    mislabelled: MislabelledRecord | None = None
    findings: tuple[FindingRecord, ...] | None = None
    metric: str
    classes: tuple[LabelValue, ...]
    rows: RowCountsRecord
    search: SearchRecord = SearchRecord()
    test_read_before: tuple[dict[str, Any], ...] = ()
    space: str
    signature: str | None = None
    trials: Count | None = None
    seconds: Number
    bundle: str | None = None

    def __post_init__(self) -> None:
        """Check that the parts belong together. Raises ValueError where they do not."""
        floors = [self.floors.majority, self.floors.tfidf]
        for scores in (self.best, self.linear, *floors):
            if scores is not None:
                check_metric(self.metric, scores.train, scores.validation, scores.test)
        if (self.best.test is None) != (self.linear.test is None):
            msg = "only one of the two heads has test scores"
            raise ValueError(msg)
        for scored in (self.best, self.linear):
            check_details(scored.details, len(self.classes))


def check_metric(metric: str, *scores: dict[str, Any] | None) -> None:
    """Raise ValueError where scores lack the metric of the run; None stands for no scores."""
    for by_name in scores:
        if by_name is not None and metric not in by_name:
            msg = f"a score in {metric} is missing"
            raise ValueError(msg)
