"""What the records of a run have in common: bounded numbers, and scores with their intervals."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

# No score, count or time is as large, and a hundred times as much is still a number.
Number = Annotated[float, Meta(ge=-1e15, le=1e15)]


Share = Annotated[float, Meta(ge=0, le=1)]


Count = Annotated[int, Meta(ge=0, le=2**40)]


Layer = Annotated[int, Meta(ge=0, le=9999)]


LabelValue = str | int | float | bool


Record = TypeVar("Record")


class JsonRecord(msgspec.Struct, frozen=True, kw_only=True):
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


class ScoreRecord(JsonRecord, frozen=True, kw_only=True):
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


class McNemarRecord(JsonRecord, frozen=True, kw_only=True):
    """How many test rows only the choice, or only the linear head, gets right.

    Attributes:
        only_mine: Rows that only the choice gets right.
        only_theirs: Rows that only the linear head gets right.
        p_value: Of the exact two-sided test.
    """

    only_mine: Count
    only_theirs: Count
    p_value: Number


class CalibrationRecord(JsonRecord, frozen=True, kw_only=True):
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


class IntervalRecord(JsonRecord, frozen=True, kw_only=True):
    """A 95 % interval."""

    low: Number
    high: Number
