"""What a fit found, as plain data: the content of `result.json`, of the printed table and of the report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from featcache.select.breakdown import McNemar
from featcache.select.floors import Floor
from featcache.select.metrics import Difference, Interval
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
    verdict: Verdict
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

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints and `result.json` keeps."""
        return {
            "best": self.best.to_json(),
            "linear": self.linear.to_json(),
            "floors": {"majority": asdict(self.majority), "tfidf": None if self.tfidf is None else asdict(self.tfidf)},
            "gain": None if self.gain is None else asdict(self.gain),
            "mcnemar": None if self.mcnemar is None else asdict(self.mcnemar),
            "calibration": asdict(self.calibration),
            "verdict": asdict(self.verdict),
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
