"""What a run's folder says, as frozen data: what pages are made of. `reading.py` fills it and
checks it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.evidence.verdict import Cause
from featcache.features.views import View
from featcache.heads.shape import HeadShape


@dataclass(frozen=True)
class Score:
    """A value with its 95 % interval, where there is one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Trial:
    """A head that was tried. train, validation: scores in each metric; interval: of the validation
    score, or None.

    curve: over epochs or C, in the run's metric.  ended: "done", "out of time" or "dropped at …".
    """

    shape: HeadShape
    view: View
    settings: Mapping[str, Any]
    train: Mapping[str, float]
    validation: Mapping[str, float]
    interval: tuple[float, float] | None
    curve: Mapping[str, Sequence[float]]
    ended: str
    n_parameters: int
    seconds: float

    @property
    def dropped(self) -> bool:
        """Whether it was given up before its end, so that its scores are those of a head half
        trained.
        """
        return self.ended.startswith("dropped")

    @property
    def name(self) -> str:
        return f"{self.shape}, {self.view}"


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class on the test rows. rows: how many it truly has."""

    name: str
    precision: float
    recall: float
    f1: float
    rows: int


@dataclass(frozen=True)
class Scored:
    """A head with its test scores (None without test rows). confusion: counts (C, C), rows are the
    truth.
    """

    trial: Trial
    test: Mapping[str, Score] | None
    per_class: tuple[ClassScore, ...]
    confusion: NDArray[np.int64] | None
    probabilities: Mapping[str, float | None]


@dataclass(frozen=True)
class Floor:
    """Scores, by metric, of a model that a head must beat."""

    train: Mapping[str, float]
    validation: Mapping[str, float]
    test: Mapping[str, float] | None


@dataclass(frozen=True)
class Experiment:
    """One experiment on the cache. score: on rows held back; gain: over what `against` says, with
    its error.
    """

    what: str
    score: float | None
    train: float | None
    gain: float | None
    standard_error: float | None
    against: str | None


@dataclass(frozen=True)
class Verdict:
    """What limits the subject, ranked causes first to last."""

    kind: str | None
    why: str
    cure: str | None
    subject: str | None
    causes: tuple[Cause, ...]
    experiments: tuple[Experiment, ...]


NO_VERDICT = Verdict(None, "no experiments were made for a verdict", None, None, (), ())


@dataclass(frozen=True)
class SizePoint:
    """The score with so many training rows: mean over draws of them, its interval; train: on the
    training rows.
    """

    rows: int
    mean: float
    low: float | None
    high: float | None
    train: float | None


@dataclass(frozen=True)
class LearningCurve:
    """Score against number of rows. fit: (rows, value, low, high); doubling: gain of twice the
    rows, its error.
    """

    about: str
    points: tuple[SizePoint, ...]
    fit: tuple[tuple[int, float, float, float], ...]
    doubling: tuple[float, float | None] | None


@dataclass(frozen=True)
class Bin:
    """Rows whose probability of the label given is alike. confidence: its mean; accuracy: share
    that is right.
    """

    confidence: float
    accuracy: float
    rows: int


@dataclass(frozen=True)
class Reliability:
    """Calibration, bin by bin. part: the rows it was counted on."""

    part: str
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Example:
    """A row with its text, its label and what the head says with what probability. row: its number
    in source.
    """

    text: str
    label: str
    predicted: str
    probability: float | None
    source: str | None
    row: int | None


@dataclass(frozen=True)
class Finding:
    """Something about the data. count of total rows; leak: whether scores are too good by it."""

    kind: str
    count: int
    total: int | None
    what: str
    effect: str
    cure: str
    leak: bool
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Mislabelled:
    """Rows whose label is doubted. said: a sentence about them.  path: the file of all, in the
    run's folder.
    """

    count: int
    said: str | None
    path: str | None
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Predictions:
    """Rows of one part with what was predicted. keys: (N, 16) uint8; label, best, linear: class
    numbers (N,).
    """

    part: str
    keys: NDArray[np.uint8]
    label: NDArray[np.int64]
    best: NDArray[np.int64]
    linear: NDArray[np.int64]


@dataclass(frozen=True)
class McNemar:
    """only_mine, only_theirs: test rows that only the choice, only the linear head has right.
    p_value: exact.
    """

    only_mine: int
    only_theirs: int
    p_value: float


@dataclass(frozen=True)
class Search:
    """How candidates were searched. compared: (head, view, score) of finalists that were compared
    in folds.
    """

    how: str
    seconds: float | None
    cv: int | None
    balance: str
    focal: float
    seeds: tuple[int, ...]
    compared: tuple[tuple[str, str, float], ...]


@dataclass(frozen=True)
class Run:
    """A run's folder.

    label: name of the column, or None where an early version wrote the run.  classes: names as they
    are shown.
    calibration: temperature and expected calibration errors by name.  thresholds: whether labels
    are chosen by them.
    read_before: earlier choices scored on the same test rows, a line each.  facts: backbone,
    created, signature and bundle, as far as they are known.  contract, versions: (name, value).
    command: None where the data were given in Python; knows_command: False where an early version
    wrote the run.
    """

    folder: Path
    label: str | None
    metric: str
    classes: tuple[str, ...]
    best: Scored
    linear: Scored
    majority: Floor
    tfidf: Floor | None
    gain: Score | None
    gain_error: float | None
    verdict: Verdict
    rows: Mapping[str, int]
    space: str
    seconds: float
    trials: tuple[Trial, ...]
    learning_curve: LearningCurve | None
    reliability: Reliability | None
    mistakes: tuple[Example, ...]
    findings: tuple[Finding, ...] | None
    mislabelled: Mislabelled | None
    predictions: Predictions | None
    mcnemar: McNemar | None
    calibration: Mapping[str, float]
    thresholds: bool
    search: Search
    n_trials: int
    read_before: tuple[str, ...]
    facts: Mapping[str, str]
    contract: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str], ...]
    command: str | None
    knows_command: bool

    @property
    def part(self) -> str:
        """The rows that scores are compared on."""
        return "test" if self.best.test is not None else "validation"
