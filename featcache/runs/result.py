"""What a fit found, as plain data: the content of `result.json`, of the printed table and of the
report.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from featcache.data.checks import Finding
from featcache.evidence.curves import MeasuredCurve
from featcache.evidence.floors import Floor
from featcache.evidence.verdict import Verdict
from featcache.search.rows import RowCounts, ShownRow
from featcache.search.scores import Calibration, RowPredictions, Scored
from featcache.search.trial import Trial
from featcache.tasks.breakdown import McNemar
from featcache.tasks.metrics import Difference


@dataclass(frozen=True)
class Mislabelled:
    """Rows of training and validation whose label is probably wrong. said: in a sentence; None
    where nobody looked.

    path: the list of all, within the run's folder; None where there are none.
    """

    count: int
    said: str | None
    path: str | None
    examples: list[ShownRow]


@dataclass(frozen=True)
class RunOrigin:
    """Where a run comes from. command: that repeats it, None for data given in Python. contract: of
    the space.
    """

    label: str
    created: str
    command: str | None
    backbone: str
    versions: dict[str, str]
    contract: dict[str, Any]


@dataclass(frozen=True)
class FitResult:
    """The outcome of `fit_heads`.

    best: the chosen head.  linear: the linear reference (logistic regression on the last layer's
    mean).
    gain: best less linear on the test rows, in the metric; None without test rows.  mcnemar: of the
    same two, by rows that only one of them gets right.  searched: how candidates were searched,
    folds and seeds; `compared` has the scores, by cross-validation over all rows, of heads that
    validation rows did not tell apart.
    test_read_before: other choices that were scored on the same test rows before, as the cache
    remembers them.
    answers, mistakes: row by row, and the most confident wrong ones.  verdict: None without
    `evidence`.  growth: score by training rows of the head that the verdict found best.  findings:
    what is wrong with the data.  mislabelled: rows whose label is probably wrong.
    signature: what the scores depend on; equal signatures on one machine give equal scores, but
    under a time limit.
    folder: where it all was written.
    """

    best: Scored
    linear: Scored
    majority: Floor
    tfidf: Floor | None
    gain: Difference | None
    mcnemar: McNemar | None
    calibration: Calibration
    answers: RowPredictions
    mistakes: list[ShownRow]
    verdict: Verdict | None
    growth: MeasuredCurve | None
    findings: list[Finding]
    mislabelled: Mislabelled
    metric: str
    classes: list[Any]
    largest_share: float
    rows: RowCounts
    searched: dict[str, Any]
    test_read_before: list[dict[str, str]]
    space: str
    signature: str
    trials: tuple[Trial, ...]
    seconds: float
    bundle: str
    folder: str
    origin: RunOrigin

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints and `result.json` keeps."""
        return {
            **asdict(self.origin),
            "best": self.best.to_json(),
            "linear": self.linear.to_json(),
            "floors": {
                "majority": asdict(self.majority),
                "tfidf": None if self.tfidf is None else asdict(self.tfidf),
            },
            "gain": None if self.gain is None else asdict(self.gain),
            "mcnemar": None if self.mcnemar is None else asdict(self.mcnemar),
            "calibration": asdict(self.calibration),
            "verdict": None if self.verdict is None else asdict(self.verdict),
            "learning_curve": None if self.growth is None else self.growth.to_json(),
            "reliability": {
                "part": self.answers.part,
                "bins": [asdict(one) for one in self.answers.reliability],
            },
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
