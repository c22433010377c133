"""What a fit found, as plain data: the content of `result.json`, of the printed table and of the report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from featcache.select.floors import Floor
from featcache.select.metrics import Difference, Interval
from featcache.select.search import Trial
from featcache.select.verdict import Verdict


@dataclass(frozen=True)
class Scored:
    """A trial with its scores everywhere. test: of the head refitted on training and validation rows."""

    trial: Trial
    test: dict[str, Interval] | None

    def to_json(self) -> dict[str, Any]:
        record = self.trial.record()
        del record["curve"], record["seconds"]
        return {**record, "test": None if self.test is None else {name: asdict(one) for name, one in self.test.items()}}


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
    gain: best less linear on the test rows, in the metric; None without test rows.  signature: what the
    scores depend on; equal signatures on one machine give equal scores.  folder: where it all was written.
    """

    best: Scored
    linear: Scored
    majority: Floor
    tfidf: Floor | None
    gain: Difference | None
    verdict: Verdict
    metric: str
    classes: list[Any]
    largest_share: float
    rows: Rows
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
            "verdict": asdict(self.verdict),
            "metric": self.metric,
            "classes": self.classes,
            "rows": asdict(self.rows),
            "space": self.space,
            "signature": self.signature,
            "trials": len(self.trials),
            "seconds": round(self.seconds, 3),
            "bundle": self.bundle,
        }
