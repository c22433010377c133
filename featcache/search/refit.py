"""Training a chosen candidate once more, as long as its trial found best, on the rows that are
wanted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featcache.features.matrices import raw_features
from featcache.heads.kinds import kind_of
from featcache.heads.module import CustomHead
from featcache.heads.network import Network
from featcache.heads.setup import TrainingSetup
from featcache.search.trial import Trial


def refit(trial: Trial, sweep: TrainingSetup) -> Network | CustomHead:
    """The trial's head trained on training and validation rows: the same C, or the same number of
    epochs.
    """
    return kind_of(trial.head).refit(
        trial.candidate, trial.settings, sweep, np.arange(len(sweep.part.rows))
    )


def held_logits(trial: Trial, sweep: TrainingSetup) -> NDArray[np.float32]:
    """Logits (V, C) of the sweep's validation rows, fold by fold, each by a head that was trained
    on the others.
    """
    found = []
    for fold in sweep.folds:
        head = kind_of(trial.head).refit(trial.candidate, trial.settings, sweep, fold.train)
        found.append(
            head.logits(raw_features(sweep.source, trial.view, sweep.part.rows[fold.held]))
        )
    return np.concatenate(found)
