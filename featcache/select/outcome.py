"""What a fit found, as plain data: the content of `result.json`, of the printed table and of the report."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.data.checks import Finding
from featcache.heads.calibration import Bin
from featcache.select.breakdown import McNemar
from featcache.select.floors import Floor
from featcache.select.metrics import Difference, Interval
from featcache.select.sizes import Growth
from featcache.select.sweep import Trial
from featcache.select.verdict import Verdict


@dataclass(frozen=True)
class Tested:
    """A head on the test rows, read once. intervals: of each metric.

    probabilities: log loss (nats) and area under the ROC curve, of calibrated probabilities.  per_class: precision,
    recall, F1 and rows of each class.  confusion: counts, rows are the truth.
    """

    intervals: dict[str, Interval]
    probabilities: dict[str, float | None]
    per_class: list[dict[str, Any]]
    confusion: list[list[int]]


@dataclass(frozen=True)
class Scored:
    """A trial with its scores everywhere. tested: of the head refitted on training and validation rows."""

    trial: Trial
    tested: Tested | None

    @property
    def test(self) -> dict[str, Interval] | None:
        """Each metric on the test rows with its interval, or None without test rows."""
        return None if self.tested is None else self.tested.intervals

    def to_json(self) -> dict[str, Any]:
        record = self.trial.record()
        del record["curve"], record["seconds"], record["ended"]
        if self.tested is None:
            return {**record, "test": None}
        test = {name: asdict(one) for name, one in self.tested.intervals.items()}
        rest = {name: value for name, value in vars(self.tested).items() if name != "intervals"}
        return {**record, "test": test, "test_details": rest}


@dataclass(frozen=True)
class Calibration:
    """temperature: logits are divided by it. The errors are expected calibration errors (0 to 1), before and after.

    Those of validation rows are of heads that were not trained on them; the temperature was found there.
    offsets: added to the logits before a label is chosen, where thresholds were asked for.
    """

    temperature: float
    validation_before: float
    validation_after: float
    test_before: float | None
    test_after: float | None
    offsets: list[float] | None


@dataclass(frozen=True)
class Answers:
    """What the choice and the linear reference say of each row that they are scored on.

    part: "test", or "validation" without test rows; then of heads that were trained on the others.  truth, best,
    linear: (N,) class numbers.  probabilities: (N, C) of the choice, calibrated.  reliability: these against the truth.
    """

    part: str
    truth: NDArray[np.int64] = field(repr=False)
    best: NDArray[np.int64] = field(repr=False)
    linear: NDArray[np.int64] = field(repr=False)
    probabilities: NDArray[np.float64] = field(repr=False)
    reliability: list[Bin]

    @property
    def confidence(self) -> NDArray[np.float64]:
        """(N,) probability of the class that was given."""
        return np.take_along_axis(self.probabilities, self.best[:, None], axis=1)[:, 0]

    def mistakes(self, most: int) -> NDArray[np.int64]:
        """Places of the wrong ones, the most confident first."""
        wrong = np.flatnonzero(self.best != self.truth)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")][:most]


@dataclass(frozen=True)
class Row:
    """A row that a person should look at. probability: that the head gives to `predicted`; row: counted from 1."""

    text: str
    label: Any
    predicted: Any
    probability: float
    source: str
    row: int | None


@dataclass(frozen=True)
class Mislabelled:
    """Rows of training and validation whose label is probably wrong. said: in a sentence; None where nobody looked.

    path: the list of all, within the run's folder; None where there are none.
    """

    count: int
    said: str | None
    path: str | None
    examples: list[Row]


@dataclass(frozen=True)
class Origin:
    """Where a run comes from. command: that repeats it, None for data given in Python. contract: of the space."""

    label: str
    created: str
    command: str | None
    backbone: str
    versions: dict[str, str]
    contract: dict[str, Any]


@dataclass(frozen=True)
class Rows:
    """How many rows each part has. dropped: rows of training or validation whose text is in a later part."""

    train: int
    validation: int
    test: int
    dropped: int


@dataclass(frozen=True)
class FitResult:
    """The outcome of `fit_heads`.

    best: the chosen head.  linear: the linear reference (logistic regression on the last layer's mean).
    gain: best less linear on the test rows, in the metric; None without test rows.  mcnemar: of the same two, by
    rows that only one of them gets right.  searched: how candidates were searched, folds and seeds; `compared` has the
    scores, by cross-validation over all rows, of heads that validation rows did not tell apart.
    test_read_before: other choices that were scored on the same test rows before, as the cache remembers them.
    answers, mistakes: row by row, and the most confident wrong ones.  verdict: None without `evidence`.  growth: score
    by training rows of the head that the verdict found best.  findings: what is wrong with the data.  mislabelled: rows
    whose label is probably wrong.
    signature: what the scores depend on; equal signatures on one machine give equal scores, but under a time limit.
    folder: where it all was written.
    """

    best: Scored
    linear: Scored
    majority: Floor
    tfidf: Floor | None
    gain: Difference | None
    mcnemar: McNemar | None
    calibration: Calibration
    answers: Answers
    mistakes: list[Row]
    verdict: Verdict | None
    growth: Growth | None
    findings: list[Finding]
    mislabelled: Mislabelled
    metric: str
    classes: list[Any]
    largest_share: float
    rows: Rows
    searched: dict[str, Any]
    test_read_before: list[dict[str, str]]
    space: str
    signature: str
    trials: tuple[Trial, ...]
    seconds: float
    bundle: str
    folder: str
    origin: Origin

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints and `result.json` keeps."""
        return {
            **asdict(self.origin),
            "best": self.best.to_json(),
            "linear": self.linear.to_json(),
            "floors": {"majority": asdict(self.majority), "tfidf": None if self.tfidf is None else asdict(self.tfidf)},
            "gain": None if self.gain is None else asdict(self.gain),
            "mcnemar": None if self.mcnemar is None else asdict(self.mcnemar),
            "calibration": asdict(self.calibration),
            "verdict": None if self.verdict is None else asdict(self.verdict),
            "learning_curve": None if self.growth is None else self.growth.to_json(),
            "reliability": {"part": self.answers.part, "bins": [asdict(one) for one in self.answers.reliability]},
            "mistakes": [asdict(one) for one in self.mistakes],
            "mislabelled": asdict(self.mislabelled),
            "findings": [one.to_json() for one in self.findings],
            "metric": self.metric,
            "classes": self.classes,
            "rows": asdict(self.rows),
            "search": self.searched,
            "test_read_before": self.test_read_before,
            "space": self.space,
            "signature": self.signature,
            "trials": len(self.trials),
            "seconds": round(self.seconds, 3),
            "bundle": self.bundle,
        }
