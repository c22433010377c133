"""Sweeps over planted features, without a cache or a model: what a search has to find is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.heads.shape import HeadShape
from featcache.select.candidates import Candidates, base_recipe
from featcache.select.features import Room
from featcache.select.folds import one_fold
from featcache.select.search import Search
from featcache.select.sweep import Candidate, Part, Sweep, Trial
from featcache.select.views import View

ONE = View((0,), ("mean",))
LINEAR, LOGREG = HeadShape("linear"), HeadShape("logreg")
Features = Mapping[View, NDArray[np.floating[Any]]]


def mlp(depth: int, width: int) -> HeadShape:
    return HeadShape("mlp", depth, width)


def sweep_of(features: Features, labels: NDArray[np.int64], *, train: int, held: int, **options: Any) -> Sweep:
    """The first rows to train on, the next to validate on; what is behind them is for tests."""

    def gather(view: View, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return features[view][rows].astype(np.float32)

    settings: dict[str, Any] = {"metric": "accuracy", "seed": 0, "seeds": (0,), "folds": one_fold(train, held)}
    part = Part(np.arange(train + held), labels[: train + held])
    return Sweep(gather, part, n_classes=int(labels.max()) + 1, **{**settings, **options})


def grid(sweep: Sweep, views: Sequence[View], *heads: HeadShape, **recipe: Any) -> list[Candidate]:
    """recipe: what is other than usual."""
    base = base_recipe(len(sweep.folds[0].train), seed=sweep.seed)
    return [
        one if one.recipe is None else replace(one, recipe=replace(one.recipe, **recipe))
        for one in Candidates(tuple(views), heads, base).grid()
    ]


def searched(
    sweep: Sweep,
    candidates: Sequence[Candidate],
    *,
    limit: int = 1 << 30,
    out_of_time: Callable[[], bool] = lambda: False,
    **options: Any,
) -> list[Trial]:
    """limit: bytes of features that are kept in memory."""
    width = sweep.gather(candidates[0].view.parts()[0], np.arange(1)).shape[1]
    with Room(limit) as room:
        search = Search(sweep, width, room=room, watch=lambda _: None, out_of_time=out_of_time)
        return search.run(candidates, **options)
