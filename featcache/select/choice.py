"""The choice, on validation rows only: the simplest head that cannot be told apart from the best.

"Cannot be told apart": its paired difference to the best is at most one bootstrap standard error of that
difference (the one-standard-error rule of Breiman et al. 1984, in its paired form). With a hundred
candidates the top score is partly luck; among equals the smaller head is the better bet.
"""

from __future__ import annotations

from collections.abc import Sequence

from featcache.select.metrics import difference
from featcache.select.search import Sweep, Trial


def best_of(trials: Sequence[Trial], metric: str) -> Trial:
    """The highest validation score; of equals the smallest head."""
    return max(trials, key=lambda trial: (trial.validation[metric], -trial.n_parameters))


def choose(trials: Sequence[Trial], sweep: Sweep) -> Trial:
    """The trial with the fewest parameters among those within one paired standard error of the best."""
    best = best_of(trials, sweep.metric)
    return min(
        (trial for trial in trials if trial is best or _indistinct(trial, best, sweep)),
        key=lambda trial: (trial.n_parameters, -trial.validation[sweep.metric]),
    )


def _indistinct(trial: Trial, best: Trial, sweep: Sweep) -> bool:
    gap = difference(
        sweep.metric, sweep.validation.labels, best.predicted, trial.predicted, sweep.n_classes, seed=sweep.seed
    )
    return gap.value <= gap.standard_error
