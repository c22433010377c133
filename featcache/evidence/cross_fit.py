"""Arms of an experiment: sets of heads, scored on rows that had no part in choosing among them.

The best of forty heads on some validation rows is there partly by luck, so its score is no evidence
that any of the forty is good. Here the held rows are dealt into groups, and the best head for a
group is chosen on the others (cross-fitting): the score of an arm is that of "try these and take
the best", without the luck. Differences between arms are then paired differences on the same rows,
and 0 is what they are around where there is nothing to gain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featcache.heads.setup import TrainingSetup
from featcache.search.trial import Trial
from featcache.tasks.metrics import Classes

STANDARD_ERRORS, LEAST = (
    2.0,
    0.01,
)  # from where on a gain counts: beyond noise, and a point at least
_GROUPS = 5
_ROUNDING = 1e-9  # all that the scores of one class for every row differ by
_PERMUTATIONS = 500


@dataclass(frozen=True)
class CrossFittedChoice:
    """Heads and what choosing among them gives.

    trials: the heads.  best: the one that is best on all held rows, for words.  predicted: (S, V)
    classes of the held rows, of the head that the other groups chose.  score: its metric.  train:
    the metric of `best` on training rows.
    """

    trials: tuple[Trial, ...]
    best: Trial
    predicted: Classes = field(repr=False)
    score: float
    train: float

    def simplest(self, sweep: TrainingSetup) -> Trial:
        """The smallest head within a point of the best on all held rows; of one size that of the
        shortest training.
        """
        best = max(trial.validation[sweep.metric] for trial in self.trials)
        close = [trial for trial in self.trials if trial.validation[sweep.metric] >= best - LEAST]
        return min(
            close,
            key=lambda one: (
                one.n_parameters,
                one.settings.get("epochs", 0),
                -one.validation[sweep.metric],
            ),
        )


@dataclass(frozen=True)
class Effect:
    """What one arm has more than another, in the metric (0.01 is a point), with its standard error.

    The error is of the held rows and, where heads were trained with several seeds, of these.
    """

    value: float
    standard_error: float

    def beyond(self, errors: float = STANDARD_ERRORS, least: float = LEAST) -> bool:
        """Whether it is at least so large and more than so many standard errors."""
        return self.value >= least and self.value > errors * self.standard_error


def arm_of(trials: Sequence[Trial], sweep: TrainingSetup) -> CrossFittedChoice:
    """The arm of some trials of a sweep, each of one seed or of all."""
    runs = max(len(trial.predicted) for trial in trials)
    predicted = np.stack(
        [np.broadcast_to(trial.predicted, (runs, len(sweep.truth))) for trial in trials]
    )
    group = np.random.default_rng(sweep.seed).permutation(len(sweep.truth)) % _GROUPS
    by_group = _scores_without(predicted, group, sweep)  # (M, G)
    chosen = by_group.argmax(axis=0)
    mixed = np.take_along_axis(predicted, chosen[group][None, None], axis=0)[0]
    score = float(sweep.score(sweep.truth, mixed).mean())
    best = trials[int(by_group.mean(axis=1).argmax())]
    return CrossFittedChoice(tuple(trials), best, mixed, score, best.train[sweep.metric])


def effect(mine: CrossFittedChoice, theirs: CrossFittedChoice, sweep: TrainingSetup) -> Effect:
    """How much better one arm is than another."""
    return effect_of_classes(mine.predicted, theirs.predicted, sweep)


def effect_of_classes(mine: Classes, theirs: Classes, sweep: TrainingSetup) -> Effect:
    """How much better some classes of the held rows are than others; each (V,), or (S, V) of
    several runs.
    """
    found = sweep.task.difference(sweep.metric, sweep.truth, mine, theirs, seed=sweep.seed)
    variances = [found.standard_error**2]
    for runs in (mine, theirs):
        scored = sweep.score(sweep.truth, np.atleast_2d(runs))
        variances.append(float(np.var(scored, ddof=1)) / len(scored) if len(scored) > 1 else 0.0)
    return Effect(found.value, math.sqrt(sum(variances)))


def chance(arm: CrossFittedChoice, sweep: TrainingSetup) -> tuple[float, float]:
    """How likely guessing would score as high as an arm, and what guessing with its shares of
    classes scores.

    The score is held to those of its predictions in random order (after Ojala and Garriga 2010,
    JMLR 11, who train anew). Rows of different folds are held back from heads that saw each other's
    labels, so scores of cross-validation vary more than that: of 120 drawn data sets with random
    labels the plain test finds 5 unlikely at 0.01. With twice the variance 0.3 % of 985 (200 rows,
    five folds) are below 0.01, and 3.5 % below 0.05.
    """
    generator = np.random.default_rng(sweep.seed)
    given = arm.predicted[0]
    shuffled = np.stack([generator.permutation(given) for _ in range(_PERMUTATIONS)])
    scores = sweep.score(sweep.truth, shuffled)
    reached = float(sweep.score(sweep.truth, given[None])[0])
    spread = math.sqrt(2.0) * float(scores.std(ddof=1))
    away = (reached - float(scores.mean())) / spread if spread > _ROUNDING else 0.0
    return 0.5 * math.erfc(away / math.sqrt(2.0)), float(scores.mean())


def _scores_without(
    predicted: NDArray[np.int64], group: NDArray[np.int64], sweep: TrainingSetup
) -> NDArray[np.float64]:
    """The metric (M, G) of each head on the rows outside each group, mean over runs. predicted: (M,
    S, V).
    """
    found = np.empty((len(predicted), _GROUPS))
    for number, runs in enumerate(predicted):
        found[number] = sweep.task.score_without(sweep.metric, sweep.truth, runs, group, _GROUPS)
    return found
