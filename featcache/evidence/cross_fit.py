"""Cross-fitted choices: sets of heads, scored on rows that had no part in choosing among them.

The best of forty heads on some validation rows is there partly by luck, so its score is no evidence
that any of the forty is good. Here the held-out rows are dealt into groups, and the head that
predicts a group is chosen on the other groups (cross-fitting). The score of such a choice is that
of "try these heads and take the best", without the luck. Differences between two choices are paired
differences on the same rows, and lie around 0 where there is nothing to gain.
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

STANDARD_ERRORS = 2.0  # a gain of fewer standard errors is taken for noise
MINIMUM_GAIN = 0.01  # a gain of less than a point is not worth mentioning
_N_GROUPS = 5
_ROUNDING = 1e-9  # scores that differ by no more than this are equal
_N_PERMUTATIONS = 500


@dataclass(frozen=True)
class CrossFittedChoice:
    """Heads, and the score that choosing the best among them gives.

    Attributes:
        trials: The heads.
        best: The trial with the highest score on the held-out rows; used only in messages.
        predicted: (S, V) predicted classes of the held-out rows, for each of S seeds. Each row is
            predicted by the head that was chosen on the groups of the other rows.
        score: The metric of `predicted`, mean over seeds.
        train: The metric of `best` on its training rows.
    """

    trials: tuple[Trial, ...]
    best: Trial
    predicted: Classes = field(repr=False)
    score: float
    train: float

    def simplest(self, setup: TrainingSetup) -> Trial:
        """Find the smallest head within a point of the best; of equal sizes the one trained least.

        Args:
            setup: The setup that the trials were trained in; gives the metric.

        Returns:
            One of `trials`.
        """
        highest = max(trial.validation[setup.metric] for trial in self.trials)
        lowest = highest - MINIMUM_GAIN
        close = [trial for trial in self.trials if trial.validation[setup.metric] >= lowest]

        def complexity(trial: Trial) -> tuple[int, int, float]:
            epochs = trial.settings.get("epochs", 0)
            return trial.n_parameters, epochs, -trial.validation[setup.metric]

        return min(close, key=complexity)


@dataclass(frozen=True)
class Gain:
    """How much more one choice or prediction scores than another on the same held-out rows.

    Attributes:
        value: The difference in the metric; 0.01 is a point.
        standard_error: Its error from the choice of the held-out rows and, where heads were trained
            with several seeds, from the seeds.
    """

    value: float
    standard_error: float

    def is_significant(
        self, n_errors: float = STANDARD_ERRORS, minimum: float = MINIMUM_GAIN
    ) -> bool:
        """Check that the gain is at least `minimum` and more than `n_errors` errors above zero.

        Args:
            n_errors: How many standard errors the gain has to exceed.
            minimum: The smallest gain that counts, in the unit of the metric.

        Returns:
            True if both hold.
        """
        return self.value >= minimum and self.value > n_errors * self.standard_error


def cross_fit(trials: Sequence[Trial], setup: TrainingSetup) -> CrossFittedChoice:
    """Choose among heads for each group of held-out rows, by their scores on the other groups.

    Args:
        trials: M heads, each trained with one seed or with all S of them.
        setup: The setup that they were trained in.

    Returns:
        The heads with the predictions and the score of the choice.
    """
    n_held = len(setup.truth)
    n_seeds = max(len(trial.predicted) for trial in trials)
    predicted = np.stack(
        [np.broadcast_to(trial.predicted, (n_seeds, n_held)) for trial in trials]
    )  # (M, S, V)
    group = np.random.default_rng(setup.seed).permutation(n_held) % _N_GROUPS  # (V,)
    scores = _scores_outside_groups(predicted, group, setup)  # (M, G)
    chosen = scores.argmax(axis=0)  # (G,)
    mixed = np.take_along_axis(predicted, chosen[group][None, None], axis=0)[0]  # (S, V)
    score = float(setup.score(setup.truth, mixed).mean())
    best = trials[int(scores.mean(axis=1).argmax())]
    return CrossFittedChoice(tuple(trials), best, mixed, score, best.train[setup.metric])


def gain_over(choice: CrossFittedChoice, baseline: CrossFittedChoice, setup: TrainingSetup) -> Gain:
    """Measure how much better one choice is than another.

    Args:
        choice: The choice whose gain is measured.
        baseline: The choice that it is compared with.
        setup: The setup of both.

    Returns:
        The difference of their scores with its standard error.
    """
    return gain_of_predictions(choice.predicted, baseline.predicted, setup)


def gain_of_predictions(predicted: Classes, baseline: Classes, setup: TrainingSetup) -> Gain:
    """Measure how much better some predictions of the held-out rows are than others.

    Args:
        predicted: (V,) predicted classes, or (S, V) those of several seeds.
        baseline: (V,) or (S, V) predicted classes that they are compared with.
        setup: Gives the true classes and the metric.

    Returns:
        The difference of their scores with its standard error.
    """
    paired = setup.task.difference(setup.metric, setup.truth, predicted, baseline, seed=setup.seed)
    variance = paired.standard_error**2
    for runs in (predicted, baseline):
        variance += _variance_of_mean(np.atleast_2d(runs), setup)
    return Gain(paired.value, math.sqrt(variance))


def permutation_test(choice: CrossFittedChoice, setup: TrainingSetup) -> tuple[float, float]:
    """Test whether guessing would score as high as a choice.

    The score is compared with the scores of the same predictions in random order (after Ojala and
    Garriga 2010, JMLR 11, who train anew). Rows of different folds are predicted by heads that saw
    each other's labels, so scores of cross-validation vary more than those: of 120 data sets with
    random labels the plain test calls 5 significant at 0.01. With twice the variance 0.3 % of 985
    data sets (200 rows, five folds) are below 0.01, and 3.5 % below 0.05.

    Args:
        choice: The choice whose first seed is tested.
        setup: Gives the true classes and the metric.

    Returns:
        The p-value, and the score of guessing with the shares of the predicted classes.
    """
    generator = np.random.default_rng(setup.seed)
    predicted = choice.predicted[0]
    shuffled = np.stack([generator.permutation(predicted) for _ in range(_N_PERMUTATIONS)])
    guesses = setup.score(setup.truth, shuffled)
    score = setup.score(setup.truth, predicted[None])[0]
    guessed = float(guesses.mean())
    spread = math.sqrt(2.0) * float(guesses.std(ddof=1))
    n_errors = (float(score) - guessed) / spread if spread > _ROUNDING else 0.0
    return 0.5 * math.erfc(n_errors / math.sqrt(2.0)), guessed


def _variance_of_mean(predicted: Classes, setup: TrainingSetup) -> float:
    """Variance of the mean score over the seeds of (S, V) predictions; 0 for a single seed."""
    scores = setup.score(setup.truth, predicted)
    if len(scores) == 1:
        return 0.0
    return float(np.var(scores, ddof=1)) / len(scores)


def _scores_outside_groups(
    predicted: NDArray[np.int64], group: NDArray[np.int64], setup: TrainingSetup
) -> NDArray[np.float64]:
    """Score each head on the rows outside each group, mean over seeds.

    Args:
        predicted: (M, S, V) predicted classes.
        group: (V,) the group of each held-out row.
        setup: Gives the true classes and the metric.

    Returns:
        (M, G) scores.
    """
    scores = np.empty((len(predicted), _N_GROUPS))
    for number, runs in enumerate(predicted):  # runs: (S, V)
        scores[number] = setup.task.score_without(setup.metric, setup.truth, runs, group, _N_GROUPS)
    return scores
