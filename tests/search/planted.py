"""Sweeps over planted features, without a cache or a model: what a search has to find is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.features.budget import MemoryBudget
from featcache.features.folds import one_fold
from featcache.features.source import ArraySource
from featcache.features.views import View
from featcache.heads.candidate import Candidate
from featcache.heads.setup import LabelledPositions, TrainingSetup
from featcache.heads.shape import HeadShape
from featcache.search.candidates import Candidates, base_recipe
from featcache.search.search import Search
from featcache.search.trial import Trial
from featcache.tasks.single_label import SingleLabel

ONE = View((0,), ("mean",))
LINEAR, LOGREG = HeadShape("linear"), HeadShape("logreg")
Features = Mapping[View, NDArray[np.floating[Any]]]


def mlp(depth: int, width: int) -> HeadShape:
    return HeadShape("mlp", depth, width)


def sweep_of(
    features: Features, labels: NDArray[np.int64], *, train: int, held: int, **options: Any
) -> TrainingSetup:
    """The first rows to train on, the next to validate on; what is behind them is for tests."""

    source = ArraySource({view: array.astype(np.float32) for view, array in features.items()})
    settings: dict[str, Any] = {
        "metric": "accuracy",
        "seed": 0,
        "seeds": (0,),
        "folds": one_fold(train, held),
    }
    task = SingleLabel(tuple(range(int(labels.max()) + 1)))
    part = LabelledPositions(np.arange(train + held), labels[: train + held])
    return TrainingSetup(source, part, task=task, **{**settings, **options})


def grid(
    sweep: TrainingSetup, views: Sequence[View], *heads: HeadShape, **recipe: Any
) -> list[Candidate]:
    """recipe: what is other than usual."""
    base = base_recipe(len(sweep.folds[0].train), seed=sweep.seed)
    return [
        one if one.recipe is None else replace(one, recipe=replace(one.recipe, **recipe))
        for one in Candidates(tuple(views), heads, base).grid()
    ]


def searched(
    sweep: TrainingSetup,
    candidates: Sequence[Candidate],
    *,
    limit: int = 1 << 30,
    out_of_time: Callable[[], bool] = lambda: False,
    **options: Any,
) -> list[Trial]:
    """limit: bytes of features that are kept in memory."""
    with MemoryBudget(limit) as room:
        search = Search(sweep, room=room, watch=lambda _: None, out_of_time=out_of_time)
        return search.run(candidates, **options)
