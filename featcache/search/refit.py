"""Training a chosen candidate once more, as long as its trial found best, on the rows that are
wanted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featcache.features.budget import MemoryBudget
from featcache.features.folds import Fold
from featcache.features.matrices import FoldFeatures, raw_features
from featcache.heads.candidate import Candidate
from featcache.heads.kinds.custom import CustomHead, train_custom
from featcache.heads.kinds.runners import epoch_rows, logistic_path
from featcache.heads.network import Network
from featcache.heads.recipe import Examples
from featcache.heads.setup import TrainingSetup
from featcache.heads.stack import Architecture
from featcache.heads.train import StackRows, StackTraining
from featcache.search.trial import Trial


def refit(trial: Trial, sweep: TrainingSetup) -> Network | CustomHead:
    """The trial's head trained on training and validation rows: the same C, or the same number of
    epochs.
    """
    return _fitted(trial.candidate, trial.settings, sweep, np.arange(len(sweep.part.rows)))


def held_logits(trial: Trial, sweep: TrainingSetup) -> NDArray[np.float32]:
    """Logits (V, C) of the sweep's validation rows, fold by fold, each by a head that was trained
    on the others.
    """
    found = []
    for fold in sweep.folds:
        head = _fitted(trial.candidate, trial.settings, sweep, fold.train)
        found.append(
            head.logits(raw_features(sweep.source, trial.view, sweep.part.rows[fold.held]))
        )
    return np.concatenate(found)


def _fitted(
    candidate: Candidate, settings: dict[str, Any], sweep: TrainingSetup, places: NDArray[np.int64]
) -> Network | CustomHead:
    """places: of the rows to train on, among the sweep's rows."""
    labels, recipe = sweep.part.labels[places], candidate.recipe
    if recipe is not None:
        recipe = replace(recipe, max_epochs=settings["epochs"], seed=sweep.seed)
        if candidate.factory is not None:
            examples = Examples(
                raw_features(sweep.source, candidate.view, sweep.part.rows[places]), labels
            )
            head, _, _ = train_custom(
                candidate.factory,
                examples,
                None,
                n_classes=sweep.task.n_outputs,
                recipe=recipe,
                metric=sweep.score,
            )
            return head
    with MemoryBudget() as room:
        view = FoldFeatures(sweep.source, sweep.part.rows, Fold(places, places[:0]), room).view(
            candidate.view
        )
        if recipe is None:
            return (
                logistic_path(view.train.numpy(), labels, sweep)
                .fit(settings["c"])
                .network(view.scales)
            )
        n_mixed = len(view.scales) if candidate.view.mixed else 0
        architecture = Architecture(
            candidate.head, view.train.shape[-1], sweep.task.n_outputs, n_mixed
        )
        seen, rows = (
            StackRows([view.train], torch.from_numpy(labels)),
            epoch_rows(labels, sweep.balance, sweep.task),
        )
        training = StackTraining(
            architecture, seen, None, [(0, recipe)], metric=sweep.score, seed=recipe.seed, rows=rows
        )
        training.advance(recipe.max_epochs)
        return training.trained(0).network(view.scales)
