"""The verdict: what limits a head, and what its experiments say, as plain data.

`experiments.py` runs the experiments, `causes.py` finds the causes in them, and `judging.py` puts
the result into words. Runs and reports only read what is here.
"""

from __future__ import annotations

from dataclasses import dataclass

KINDS = (
    "fits",
    "not-converged",
    "unscaled",
    "features",
    "capacity",
    "overfits",
    "data-limited",
    "backbone",
    "no-signal",
)


@dataclass(frozen=True)
class Cause:
    """One thing that limits the subject of a verdict.

    Attributes:
        kind: One of KINDS.
        points: What removing it would gain, as a share of 1 (0.031 is 3.1 points); None where no
            experiment can say.
        standard_error: The error of `points`; None with them.
        why: What would bring the gain; without `points` a sentence that says what was seen. Without
            a full stop.
        cure: A command that helps, or None.
    """

    kind: str
    points: float | None
    standard_error: float | None
    why: str
    cure: str | None


@dataclass(frozen=True)
class Experiment:
    """One experiment on a subject, for people to read.

    Attributes:
        name: A short name, such as `views`.
        what: What was tried, in words.
        score: The metric on held-out rows.
        train: The metric on training rows; None where there is no such number.
        gain: The score less that of what `against` names; None where nothing is compared.
        standard_error: The error of `gain`; None with it.
        against: What the score is compared with, in words; None with `gain`.
    """

    name: str
    what: str
    score: float
    train: float | None
    gain: float | None
    standard_error: float | None
    against: str | None


@dataclass(frozen=True)
class Verdict:
    """What limits a head, with the evidence.

    Attributes:
        kind: The kind of the first cause, one of KINDS.
        why: The reasons with their numbers: sentences, without the last full stop.
        cure: The command of the first cause, or None.
        causes: All causes that were found: first those with a known gain, the largest first.
        experiments: The experiments that the verdict rests on.
        subject: The head that the verdict is about, in words.
    """

    kind: str
    why: str
    cure: str | None
    causes: tuple[Cause, ...]
    experiments: tuple[Experiment, ...]
    subject: str
