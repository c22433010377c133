"""The sweep of one label: every candidate is tried, and one is chosen on validation rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from featcache.features.budget import MemoryBudget
from featcache.progress import Progress, Stage
from featcache.search.candidates import TRIALS, Candidates, base_recipe
from featcache.search.finalists import Compared, chosen_among
from featcache.search.problem import LabelProblem
from featcache.search.search import Search
from featcache.search.selection import indistinct
from featcache.search.tpe import search_with_optuna
from featcache.search.trial import Trial


@dataclass(frozen=True)
class Selection:
    """The outcome of a sweep.

    Attributes:
        trials: Every head that was tried.
        linear: The trial of the linear reference, which need not be one of these.
        chosen: The trial that was chosen.
        compared: Scores by folds of the heads that validation rows do not tell apart.
    """

    trials: list[Trial]
    linear: Trial
    chosen: Trial
    compared: list[Compared]


def run_sweep(problem: LabelProblem, progress: Progress) -> Selection:
    """Try all candidates of a label and choose one.

    Args:
        problem: The label, its rows and the search that was requested.
        progress: Where the sweep is shown.

    Returns:
        What was tried and what was chosen.
    """
    with MemoryBudget() as budget:
        trials, linear = _trials(problem, budget, progress)
        trials = trials or [linear]  # the time was too short for any other
        chosen, compared = _chosen(trials, problem, budget, progress)
    return Selection(trials, linear, chosen, compared)


def _trials(
    problem: LabelProblem, budget: MemoryBudget, progress: Progress
) -> tuple[list[Trial], Trial]:
    """Train all candidates, and the linear reference where it is none of them."""
    setup, options, reference = problem.sweep, problem.wanted, problem.reference
    offered = _candidates(problem)
    listed = offered.asked_for(options.search, options.trials)
    n_trials = options.trials or TRIALS
    deadline = None if options.seconds is None else time.monotonic() + options.seconds
    total = n_trials if options.search == "optuna" else len(listed)
    with Stage(progress, "sweep", total) as stage:
        search = Search(
            setup,
            room=budget,
            watch=lambda best: stage.reach(best.n_done, str(best)),
            out_of_time=lambda: deadline is not None and time.monotonic() > deadline,
        )
        if options.search == "optuna":
            trials = search_with_optuna(
                search, offered, n_trials, metric=options.metric, seed=setup.seed
            )
        else:
            halving = options.search == "halving"
            trials = search.run(listed, halving=halving, stays=reference.__eq__)
    linear = [trial for trial in trials if trial.candidate == reference]
    return trials, linear[0] if linear else search.run([reference], in_time=False)[0]


def _candidates(problem: LabelProblem) -> Candidates:
    setup, options = problem.sweep, problem.wanted
    recipe = base_recipe(
        setup.task.epoch_size(setup.part.labels[setup.folds[0].train], options.balance),
        seed=setup.seed,
        balanced=options.balance == "weights",
        focal=options.focal,
    )
    return Candidates(tuple(problem.views), options.heads, recipe, options.factories)


def _chosen(
    trials: Sequence[Trial], problem: LabelProblem, budget: MemoryBudget, progress: Progress
) -> tuple[Trial, list[Compared]]:
    """Choose on validation rows; heads that these do not tell apart are compared in folds.

    Not so where validation rows have a file of their own: they may be meant to differ from those of
    training.
    """
    options = problem.wanted
    finalists = indistinct(trials, problem.sweep)
    is_settled = len(finalists) == 1 or not problem.split
    if is_settled or options.cv is not None or options.seconds is not None:
        return finalists[0], []
    folds = problem.folds()
    if not folds:
        return finalists[0], []
    heads = f"{len(finalists)} heads that validation rows do not tell apart"
    progress.note(f"comparing {heads}, in {len(folds)} folds")
    return chosen_among(finalists, problem.sweep, folds, room=budget)
