"""Search by Optuna: candidates where earlier ones did well (TPE, Bergstra et al. 2011), asked for
some at a time.

Optuna's ask-and-tell face leaves the training to us: those asked for together are trained as
stacks.
"""

from __future__ import annotations

from dataclasses import replace

from featcache.errors import InputError
from featcache.heads.candidate import Candidate
from featcache.search.candidates import (
    DROPOUTS,
    LEARNING_RATES,
    SMOOTHINGS,
    WEIGHT_DECAYS,
    Candidates,
    fits,
)
from featcache.search.search import Search
from featcache.search.trial import Trial

_ASKED = 16


def search_with_optuna(
    search: Search, candidates: Candidates, count: int, *, metric: str, seed: int
) -> list[Trial]:
    """`count` trials, or as many as there is time for; a candidate that was asked for twice is
    trained once.

    Raises InputError where Optuna is not installed, or where there are custom heads, whose training
    it cannot vary.
    """
    try:
        import optuna
    except ImportError as error:
        msg = "a search with Optuna needs Optuna"
        raise InputError(
            msg, cure="Install it: pip install 'featcache[optuna]', or use --search halving."
        ) from error
    if candidates.factories:
        msg = "a search with Optuna cannot take custom heads"
        raise InputError(msg, cure="Use search='halving' with them.")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    )
    pairs = {
        f"{head} on {view}": (view, head)
        for head in candidates.heads
        for view in candidates.views
        if fits(view, head)
    }
    found: dict[Candidate, Trial] = {}
    n_asked = 0
    while n_asked < count and not search.out_of_time():
        asked = []
        for _ in range(min(_ASKED, count - n_asked)):
            one = study.ask()
            view, head = pairs[one.suggest_categorical("head", list(pairs))]
            dropout = one.suggest_categorical("dropout", DROPOUTS)
            recipe = replace(
                candidates.base,
                learning_rate=one.suggest_float("learning_rate", *LEARNING_RATES, log=True),
                weight_decay=one.suggest_float("weight_decay", *WEIGHT_DECAYS, log=True),
                dropout=dropout if head.depth else candidates.base.dropout,
                label_smoothing=one.suggest_categorical("label_smoothing", SMOOTHINGS),
            )
            asked.append((one, candidates.candidate(view, head, recipe)))
        n_asked += len(asked)
        new = list(dict.fromkeys(candidate for _, candidate in asked if candidate not in found))
        found |= {trial.candidate: trial for trial in search.run(new)}
        for one, candidate in asked:
            if candidate in found:
                study.tell(one, found[candidate].validation[metric])
            else:  # there was no time for it
                study.tell(one, state=optuna.trial.TrialState.FAIL)
    return list(found.values())
