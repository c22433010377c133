"""Rows of a call: how many each part has, and those that a person should look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RowCounts:
    """How many rows each part has. dropped: rows of training or validation whose text is in a later
    part.
    """

    train: int
    validation: int
    test: int
    dropped: int


@dataclass(frozen=True)
class ShownRow:
    """A row that a person should look at. probability: that the head gives to `predicted`; row:
    counted from 1.
    """

    text: str
    label: Any
    predicted: Any
    probability: float
    source: str
    row: int | None
