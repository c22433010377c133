"""The schema of a run's folder: `result.json`, and a line of `trials.jsonl`.

Each class is one JSON object, written and read by this definition; `docs/schemas/` has the same as
JSON Schema. A field without a default is always there. A default is what the field means in runs
of early versions, which did not write it; `UNSET` fields are left out where they say nothing.

Format 1 is what `fit-heads` wrote before there was a number, so a run without one is read alike. A
new field with a default needs no new number; a field that goes or changes its meaning does.
`predictions.parquet` is described in `predictions.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from featcache.features.views import View
from featcache.heads.shape import HeadShape
from featcache.search.scores import Scored
from featcache.search.trial import Trial

FORMAT = 1

# No score, count or time is as large, and a hundred times as much is still a number.
Number = Annotated[float, Meta(ge=-1e15, le=1e15)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=2**40)]
Layer = Annotated[int, Meta(ge=0, le=9999)]
LabelValue = str | int | float | bool

Record = TypeVar("Record")


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON object of a run."""


def record_of(kind: type[Record], source: object) -> Record:
    """Turn a dataclass of a fit, or a dict, into the record of its fields.

    Args:
        kind: The record; each of its fields is an attribute of the source, or has a default.
        source: An object with these attributes.

    Returns:
        The record.
    """
    return msgspec.convert(source, kind, from_attributes=True)


class ScoreRecord(_Record, frozen=True, kw_only=True):
    """A score with its 95 % interval, where there is one."""

    value: Number
    low: Number | None = None
    high: Number | None = None

    @property
    def ends(self) -> tuple[float, float] | tuple[None, None]:
        """Both ends of the interval, or neither."""
        if self.low is None or self.high is None:
            return None, None
        return self.low, self.high


class GainRecord(ScoreRecord, frozen=True, kw_only=True):
    """The score of the choice less that of the linear head, on the same test rows."""

    standard_error: Number | None = None


class McNemarRecord(_Record, frozen=True, kw_only=True):
    """How many test rows only the choice, or only the linear head, gets right.

    Attributes:
        only_mine: Rows that only the choice gets right.
        only_theirs: Rows that only the linear head gets right.
        p_value: Of the exact two-sided test.
    """

    only_mine: Count
    only_theirs: Count
    p_value: Number


class CalibrationRecord(_Record, frozen=True, kw_only=True):
    """Temperature of the logits, and expected calibration errors before and after it.

    Attributes:
        temperature: Logits are divided by it for probabilities.
        validation_before: Error on validation rows, as the head was trained.
        validation_after: Error on validation rows, calibrated.
        test_before: Error on test rows, as the head was trained; None without test rows.
        test_after: Error on test rows, calibrated.
        offsets: One for each class, added to the logits before the label is chosen; None where no
            thresholds were asked for.
    """

    temperature: Number | None = None
    validation_before: Number | None = None
    validation_after: Number | None = None
    test_before: Number | None = None
    test_after: Number | None = None
    offsets: tuple[Number, ...] | None = None


class FloorRecord(_Record, frozen=True, kw_only=True):
    """Scores, by metric, of a model that a head must beat; `test` is None without test rows."""

    train: dict[str, Number]
    validation: dict[str, Number]
    test: dict[str, Number] | None = None


class FloorsRecord(_Record, frozen=True, kw_only=True):
    """The majority class, and a bag of words, which is None where the texts hold no word."""

    majority: FloorRecord
    tfidf: FloorRecord | None = None


class CauseRecord(_Record, frozen=True, kw_only=True):
    """One thing that limits the subject of a verdict.

    Attributes:
        kind: One of the verdict's kinds.
        points: What a cure is worth, as a share of 1; None where no experiment can say.
        standard_error: Of the points.
        why: What would give the points, or a clause.
        cure: A command.
    """

    kind: str
    points: Number | None = None
    standard_error: Number | None = None
    why: str
    cure: str | None = None


class ExperimentRecord(_Record, frozen=True, kw_only=True):
    """One experiment on the cache.

    Attributes:
        name: A fixed short name.
        what: The experiment in words.
        score: The metric on rows held back.
        train: The metric on the rows trained on.
        gain: Score less that of what `against` names.
        standard_error: Of the gain.
        against: What the gain is over.
    """

    name: str = ""
    what: str
    score: Number | None = None
    train: Number | None = None
    gain: Number | None = None
    standard_error: Number | None = None
    against: str | None = None


class VerdictRecord(_Record, frozen=True, kw_only=True):
    """What limits a head.

    Attributes:
        kind: The first cause, or None where no single limit was found.
        why: One sentence with the numbers.
        cure: A command.
        causes: All causes, by what each is worth.
        experiments: What the verdict rests on.
        subject: The head it is about, in words.
    """

    kind: str | None = None
    why: str
    cure: str | None = None
    causes: tuple[CauseRecord, ...] = ()
    experiments: tuple[ExperimentRecord, ...] = ()
    subject: str | None = None


class CurvePointRecord(_Record, frozen=True, kw_only=True):
    """The mean score of heads trained on `rows` rows, with its interval, beside that on these."""

    rows: Count
    mean: Number
    low: Number | None = None
    high: Number | None = None
    train: Number | None = None


class FitPointRecord(_Record, frozen=True, kw_only=True):
    """A point of the curve that was fitted through the measured ones, with its interval."""

    rows: Count
    value: Number
    low: Number
    high: Number


class DoublingRecord(_Record, frozen=True, kw_only=True):
    """What twice the training rows would give, in the metric."""

    value: Number
    standard_error: Number | None = None


class CurveRecord(_Record, frozen=True, kw_only=True):
    """Score by number of training rows.

    Attributes:
        metric: The metric of the scores.
        about: The head in words.
        points: What was measured; at least one.
        fit: The curve through the points up to twice the rows; None where points are too few.
        doubling: The gain of twice the rows; None where points are too few.
    """

    metric: str = ""
    about: str = "the head"
    points: Annotated[tuple[CurvePointRecord, ...], Meta(min_length=1)]
    fit: tuple[FitPointRecord, ...] | None = None
    doubling: DoublingRecord | None = None


class BinRecord(_Record, frozen=True, kw_only=True):
    """Rows of like confidence: its mean, the share that is right, and how many they are."""

    confidence: Share
    accuracy: Share
    rows: Count


class ReliabilityRecord(_Record, frozen=True, kw_only=True):
    """Calibration bin by bin; `part` names the rows it was counted on."""

    part: str
    bins: tuple[BinRecord, ...]


class RowRecord(_Record, frozen=True, kw_only=True):
    """A row that a person should look at.

    Attributes:
        text: The text as the backbone read it.
        label: The label that the row carries.
        predicted: What the head says.
        probability: What the head gives to `predicted`.
        source: The file.
        row: Its number there, from 1.
    """

    text: str
    label: LabelValue
    predicted: LabelValue
    probability: Number | None = None
    source: str | None = None
    row: Count | None = None


class MislabelledRecord(_Record, frozen=True, kw_only=True):
    """Rows whose label is probably wrong.

    Attributes:
        count: How many.
        said: One sentence about them; None where nobody looked.
        path: The list of all, within the run's folder; None where there are none.
        examples: The most certain ones.
    """

    count: Count
    said: str | None = None
    path: str | None = None
    examples: tuple[RowRecord, ...] = ()


class FindingRecord(_Record, frozen=True, kw_only=True):
    """Something about the data that scores depend on.

    Attributes:
        kind: A fixed short name.
        count: Rows that show it.
        total: Rows that were looked at.
        what: A sentence: what was found.
        effect: A sentence: what it does to the scores.
        cure: A sentence: what to do.
        leak: Whether scores can be had without understanding the text.
        examples: Some of the rows, a line each.
    """

    kind: str
    count: Count
    total: Count | None = None
    what: str
    effect: str = ""
    cure: str = ""
    leak: bool = False
    examples: tuple[str, ...] = ()


class RowCountsRecord(_Record, frozen=True, kw_only=True):
    """How many rows each part has; `dropped` are those whose text stands in a later part, too."""

    train: Count
    validation: Count
    test: Count
    dropped: Count


class FinalistRecord(_Record, frozen=True, kw_only=True):
    """A head that was compared in folds, what it reads, and its score there."""

    head: str
    view: str
    score: Number


class SearchRecord(_Record, frozen=True, kw_only=True):
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


class ClassRecord(_Record, frozen=True, kw_only=True):
    """Scores of one class on the test rows; `support` rows truly have it."""

    label: LabelValue = msgspec.field(name="class")
    precision: Number
    recall: Number
    f1: Number
    support: Count


class DetailsRecord(_Record, frozen=True, kw_only=True):
    """A head on the test rows, taken apart.

    Attributes:
        probabilities: Log loss in nats and area under the ROC curve, of calibrated probabilities.
        per_class: Scores of each class, in the order of the run's classes.
        confusion: Counts, C lists of C; rows are the truth.
    """

    probabilities: dict[str, Number | None] = {}
    per_class: tuple[ClassRecord, ...] = ()
    confusion: tuple[tuple[Count, ...], ...] | None = None


class IntervalRecord(_Record, frozen=True, kw_only=True):
    """A 95 % interval."""

    low: Number
    high: Number


class HeadRecord(_Record, frozen=True, kw_only=True):
    """A head, what it reads, and its scores by metric.

    Attributes:
        head: The kind of head.
        depth: Hidden layers.
        width: Of the hidden layers; None without any.
        activation: Between layers; left out without hidden layers, as the next two are.
        layer_norm: Whether each hidden layer is normalised.
        residual: Whether hidden layers are added to what they read.
        layers: Of the backbone, 0 is the embeddings.
        pooling: Poolings that are read, side by side.
        mixed: Whether the layers are averaged by learned weights.
        settings: What a refit needs: C, or epochs and the recipe.
        train: Scores on training rows.
        validation: Scores on validation rows.
        n_parameters: Numbers that the head learns.
    """

    head: str
    depth: Count
    width: Count | None
    activation: str | UnsetType = UNSET
    layer_norm: bool | UnsetType = UNSET
    residual: bool | UnsetType = UNSET
    layers: Annotated[tuple[Layer, ...], Meta(min_length=1)]
    pooling: tuple[str, ...]
    mixed: bool = False
    settings: dict[str, Any]
    train: dict[str, Number]
    validation: dict[str, Number]
    n_parameters: Count = 0

    @property
    def shape(self) -> HeadShape:
        """What the head looks like."""
        return HeadShape(
            self.head,
            self.depth,
            self.width,
            self.activation or "gelu",
            bool(self.layer_norm),
            bool(self.residual),
        )

    @property
    def view(self) -> View:
        """What the head reads."""
        return View(self.layers, self.pooling, self.mixed)

    @property
    def name(self) -> str:
        """The head in words: `mlp 2×256, layer 6 mean`."""
        return f"{self.shape}, {self.view}"


class TrialRecord(HeadRecord, frozen=True, kw_only=True):
    """A head that was tried: a line of `trials.jsonl`.

    Attributes:
        ended: "done", "out of time", or "dropped at" an epoch.
        curve: Over epochs, or over C, which then is one of the lines; null where a loss is no
            finite number.
        seconds: Time that its training took.
        interval: Of the validation score; left out where the head was dropped or classes are many.
    """

    ended: str = "done"
    curve: dict[str, tuple[Number | None, ...]] = {}
    seconds: Number = 0.0
    interval: IntervalRecord | UnsetType | None = UNSET

    @property
    def ends(self) -> tuple[float, float] | tuple[None, None]:
        """Both ends of the interval, or neither."""
        return (self.interval.low, self.interval.high) if self.interval else (None, None)

    @property
    def dropped(self) -> bool:
        """Whether it was given up before its end, so that its scores are of a head half trained."""
        return self.ended.startswith("dropped")

    @classmethod
    def of(cls, trial: Trial, interval: IntervalRecord | UnsetType = UNSET) -> TrialRecord:
        """Make the record of a trial.

        Args:
            trial: The trial.
            interval: Of its validation score, where that is known.

        Returns:
            The record.
        """
        return cls(
            **_head_fields(trial),
            ended=trial.ended,
            curve={name: tuple(values) for name, values in trial.curve.items()},
            seconds=round(trial.seconds, 3),
            interval=interval,
        )


class ScoredRecord(HeadRecord, frozen=True, kw_only=True):
    """A head with its scores on the test rows, both None or left out without test rows.

    Attributes:
        test: Each metric with its interval, of the head refitted on training and validation rows.
        test_details: The same predictions taken apart.
    """

    test: dict[str, ScoreRecord] | None = None
    test_details: DetailsRecord | UnsetType | None = UNSET

    @property
    def details(self) -> DetailsRecord:
        """The details of the test, empty where there are none."""
        return self.test_details or DetailsRecord()

    @classmethod
    def of(cls, scored: Scored) -> ScoredRecord:
        """Make the record of a head that was scored."""
        fields = _head_fields(scored.trial)
        if scored.tested is None:
            return cls(**fields)
        intervals = scored.tested.intervals
        return cls(
            **fields,
            test={name: record_of(ScoreRecord, value) for name, value in intervals.items()},
            test_details=record_of(DetailsRecord, scored.tested),
        )


def _head_fields(trial: Trial) -> dict[str, Any]:
    """Return the fields of `HeadRecord` for a trial."""
    head, view = trial.head, trial.view
    fields = {
        "head": head.kind,
        "depth": head.depth,
        "width": head.width,
        "layers": view.layers,
        "pooling": view.poolings,
        "mixed": view.mixed,
        "settings": trial.settings,
        "train": trial.train,
        "validation": trial.validation,
        "n_parameters": trial.n_parameters,
    }
    if head.depth:
        form = ("activation", "layer_norm", "residual")
        fields |= {name: getattr(head, name) for name in form}
    return fields


class RunRecord(_Record, frozen=True, kw_only=True):
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
    versions: dict[str, Any] = {}
    contract: dict[str, Any] = {}
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
            _check_details(scored.details, len(self.classes))


def check_metric(metric: str, *scores: dict[str, Any] | None) -> None:
    """Raise ValueError where scores lack the metric of the run; None stands for no scores."""
    for by_name in scores:
        if by_name is not None and metric not in by_name:
            msg = f"a score in {metric} is missing"
            raise ValueError(msg)


def _check_details(details: DetailsRecord, n_classes: int) -> None:
    """Raise ValueError where details are not of so many classes."""
    if details.per_class and len(details.per_class) != n_classes:
        msg = f"scores of {len(details.per_class)} classes for {n_classes}"
        raise ValueError(msg)
    rows = details.confusion
    if rows is None:
        return
    if len(rows) != n_classes or any(len(row) != n_classes for row in rows):
        msg = f"a confusion matrix that is not of {n_classes} classes"
        raise ValueError(msg)
