"""Records of the evidence about a fit: floors, verdict, learning curve, rows to look at."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from featcache.runs.records import (
    Count,
    JsonRecord,
    LabelValue,
    Number,
    Share,
)


class FloorRecord(JsonRecord, frozen=True, kw_only=True):
    """Scores, by metric, of a model that a head must beat; `test` is None without test rows."""

    train: dict[str, Number]
    validation: dict[str, Number]
    test: dict[str, Number] | None = None


class FloorsRecord(JsonRecord, frozen=True, kw_only=True):
    """The majority class, and a bag of words, which is None where the texts hold no word."""

    majority: FloorRecord
    tfidf: FloorRecord | None = None


class CauseRecord(JsonRecord, frozen=True, kw_only=True):
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


class ExperimentRecord(JsonRecord, frozen=True, kw_only=True):
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


class VerdictRecord(JsonRecord, frozen=True, kw_only=True):
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


class CurvePointRecord(JsonRecord, frozen=True, kw_only=True):
    """The mean score of heads trained on `rows` rows, with its interval, beside that on these."""

    rows: Count
    mean: Number
    low: Number | None = None
    high: Number | None = None
    train: Number | None = None


class FitPointRecord(JsonRecord, frozen=True, kw_only=True):
    """A point of the curve that was fitted through the measured ones, with its interval."""

    rows: Count
    value: Number
    low: Number
    high: Number


class DoublingRecord(JsonRecord, frozen=True, kw_only=True):
    """What twice the training rows would give, in the metric."""

    value: Number
    standard_error: Number | None = None


class CurveRecord(JsonRecord, frozen=True, kw_only=True):
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


class BinRecord(JsonRecord, frozen=True, kw_only=True):
    """Rows of like confidence: its mean, the share that is right, and how many they are."""

    confidence: Share
    accuracy: Share
    rows: Count


class ReliabilityRecord(JsonRecord, frozen=True, kw_only=True):
    """Calibration bin by bin; `part` names the rows it was counted on."""

    part: str
    bins: tuple[BinRecord, ...]


class RowRecord(JsonRecord, frozen=True, kw_only=True):
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


class MislabelledRecord(JsonRecord, frozen=True, kw_only=True):
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


class FindingRecord(JsonRecord, frozen=True, kw_only=True):
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
