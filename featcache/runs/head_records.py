"""Records of heads: every trial, and the scores of the two heads that were tested."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from featcache.features.views import View
from featcache.heads.shape import HeadShape
from featcache.runs.records import (
    Count,
    IntervalRecord,
    JsonRecord,
    LabelValue,
    Layer,
    Number,
    ScoreRecord,
    record_of,
)
from featcache.search.scores import Scored
from featcache.search.trial import Trial


class ClassRecord(JsonRecord, frozen=True, kw_only=True):
    """Scores of one class on the test rows; `support` rows truly have it."""

    label: LabelValue = msgspec.field(name="class")
    precision: Number
    recall: Number
    f1: Number
    support: Count


class DetailsRecord(JsonRecord, frozen=True, kw_only=True):
    """A head on the test rows, taken apart.

    Attributes:
        probabilities: Log loss in nats and area under the ROC curve, of calibrated probabilities.
        per_class: Scores of each class, in the order of the run's classes.
        confusion: Counts, C lists of C; rows are the truth.
    """

    probabilities: dict[str, Number | None] = msgspec.field(default_factory=dict)
    per_class: tuple[ClassRecord, ...] = ()
    confusion: tuple[tuple[Count, ...], ...] | None = None


class HeadRecord(JsonRecord, frozen=True, kw_only=True):
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
    curve: dict[str, tuple[Number | None, ...]] = msgspec.field(default_factory=dict)
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


def check_details(details: DetailsRecord, n_classes: int) -> None:
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
