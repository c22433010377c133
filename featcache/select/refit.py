"""Training a chosen candidate once more, as long as its trial found best, on the rows that are wanted."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featcache.heads.custom import CustomHead, train_custom
from featcache.heads.network import Network
from featcache.heads.recipe import Examples
from featcache.heads.stack import Architecture
from featcache.heads.standardize import Standardization
from featcache.heads.train import Seen, Training
from featcache.select.features import raw_features
from featcache.select.metrics import scores_of_many
from featcache.select.runners import epoch_rows, logistic_path
from featcache.select.sweep import Candidate, Sweep, Trial


def refit(trial: Trial, sweep: Sweep) -> Network | CustomHead:
    """The trial's head trained on training and validation rows: the same C, or the same number of epochs."""
    return _fitted(trial.candidate, trial.settings, sweep, np.arange(len(sweep.part.rows)))


def held_logits(trial: Trial, sweep: Sweep) -> NDArray[np.float32]:
    """Logits (V, C) of the sweep's validation rows, fold by fold, each by a head that was trained on the others."""
    found = []
    for fold in sweep.folds:
        head = _fitted(trial.candidate, trial.settings, sweep, fold.train)
        found.append(head.logits(raw_features(sweep, trial.view, sweep.part.rows[fold.held])))
    return np.concatenate(found)


def _fitted(
    candidate: Candidate, settings: dict[str, Any], sweep: Sweep, places: NDArray[np.int64]
) -> Network | CustomHead:
    """places: of the rows to train on, among the sweep's rows."""
    rows, labels = sweep.part.rows[places], sweep.part.labels[places]
    recipe = candidate.recipe
    if recipe is None:
        return _logistic(candidate, settings["c"], sweep, rows, labels)
    recipe = replace(recipe, max_epochs=settings["epochs"], seed=sweep.seed)
    metric = partial(scores_of_many, sweep.metric, n_classes=sweep.n_classes)
    if candidate.factory is not None:
        examples = Examples(raw_features(sweep, candidate.view, rows), labels)
        head, _, _ = train_custom(
            candidate.factory, examples, None, n_classes=sweep.n_classes, recipe=recipe, metric=metric
        )
        return head
    states = [sweep.gather(part, rows) for part in candidate.view.parts()]
    scales = [Standardization.of(one) for one in states]
    parts = [torch.from_numpy(scale.apply(one)) for scale, one in zip(scales, states, strict=True)]
    mixed = candidate.view.mixed
    view = torch.stack(parts) if mixed else torch.cat(parts, dim=1)
    architecture = Architecture(candidate.head, view.shape[-1], sweep.n_classes, len(parts) if mixed else 0)
    seen = Seen([view], torch.from_numpy(labels))
    training = Training(
        architecture, seen, None, [(0, recipe)], metric=metric, seed=recipe.seed, rows=epoch_rows(labels, sweep.balance)
    )
    training.advance(recipe.max_epochs)
    return training.trained(0).network(scales)


def _logistic(
    candidate: Candidate, c: float, sweep: Sweep, rows: NDArray[np.int64], labels: NDArray[np.int64]
) -> Network | CustomHead:
    states = raw_features(sweep, candidate.view, rows)
    scale = Standardization.of(states)
    path = logistic_path(scale.apply(states), labels, sweep)
    return path.fit(c).network([scale])
