"""The choice, on validation rows only: the simplest head that cannot be told apart from the best.

"Cannot be told apart": its paired difference to the best is at most one bootstrap standard error of
that difference (the one-standard-error rule of Breiman et al. 1984, in its paired form). With a
hundred candidates the top score is partly luck; among equals the smaller head is the better bet.
"""

from __future__ import annotations

from collections.abc import Sequence

from featcache.heads.setup import TrainingSetup
from featcache.search.trial import Trial


def best_of(trials: Sequence[Trial], metric: str) -> Trial:
    """The highest validation score; of equals the smallest head."""
    return max(trials, key=lambda trial: (trial.validation[metric], -trial.n_parameters))


def indistinct(trials: Sequence[Trial], sweep: TrainingSetup) -> list[Trial]:
    """The best trial and those within one paired standard error of it, the simplest (fewest
    parameters) first.

    Heads that were dropped before their end are not among them: a refit would train them as little.
    """
    kept = [trial for trial in trials if not trial.dropped]
    best = best_of(kept, sweep.metric)
    simplest_first = sorted(
        kept, key=lambda trial: (trial.n_parameters, -trial.validation[sweep.metric])
    )
    return [trial for trial in simplest_first if trial is best or _is_close(trial, best, sweep)]


def choose(trials: Sequence[Trial], sweep: TrainingSetup) -> Trial:
    """The simplest of the best."""
    return indistinct(trials, sweep)[0]


def _is_close(trial: Trial, best: Trial, sweep: TrainingSetup) -> bool:
    gap = sweep.task.difference(
        sweep.metric, sweep.truth, best.predicted, trial.predicted, seed=sweep.seed
    )
    return gap.value <= gap.standard_error
