"""The sweep: every asked head on every view of the cached states, scored on training and validation rows.

A view is what a head sees: one (layer, pooling), or all layers' means side by side. Each trial keeps its
training score beside its validation score, and its curve, so that under- and overfitting can be seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.heads.network import Network
from featcache.heads.shape import HeadShape
from featcache.select.metrics import score, scores

if TYPE_CHECKING:
    from featcache.heads.train import Recipe

HEADS = ("linear", "mlp", "logreg")
_SMALLEST_BATCH, _LARGEST_BATCH, _STEPS_PER_EPOCH = 8, 128, 16
# AdamW on standardised features. Tried on ai_text (4,784 x 384, layers 3 and 6, and all layers' means): with 1e-3 and
# 3e-4, dropout 0.1 and 0.5, test scores of an mlp lie within a point of each other, 3e-4 in more epochs. A linear
# head takes larger steps well: with 3e-3 it ends within 0.7 points of 1e-3, on layer 3 in two thirds of the epochs.
_LEARNING_RATE = {"linear": 3e-3, "mlp": 1e-3}


@dataclass(frozen=True)
class View:
    """Layers and poolings whose states stand side by side, layer by layer."""

    layers: tuple[int, ...]
    poolings: tuple[str, ...]

    def __str__(self) -> str:
        first, last = self.layers[0], self.layers[-1]
        where = f"layer {first}" if first == last else f"layers {first}–{last}"
        return f"{where} {'+'.join(self.poolings)}"


@dataclass(frozen=True)
class Part:
    """Rows to train on or to score. rows: their positions in the cache; labels: class numbers; both (N,)."""

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Trial:
    """One head on one view. settings: what a refit needs (C, or epochs and learning rate). curve: see `curve_of`."""

    head: HeadShape
    view: View
    settings: dict[str, Any]
    train: dict[str, float]
    validation: dict[str, float]
    curve: dict[str, list[float]]
    n_parameters: int
    seconds: float
    predicted: NDArray[np.int64] = field(repr=False)

    def record(self) -> dict[str, Any]:
        """The trial as JSON, as `trials.jsonl` keeps it."""
        return {
            "head": self.head.kind,
            "depth": self.head.depth,
            "width": self.head.width,
            "layers": list(self.view.layers),
            "pooling": list(self.view.poolings),
            "settings": self.settings,
            "train": self.train,
            "validation": self.validation,
            "curve": self.curve,
            "n_parameters": self.n_parameters,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class Sweep:
    """What every trial of a search shares. gather: (view, rows) -> float32 features (N, inputs)."""

    gather: Callable[[View, NDArray[np.int64]], NDArray[np.float32]]
    train: Part
    validation: Part
    n_classes: int
    metric: str
    seed: int


def views_of(layers: Sequence[int], poolings: Sequence[str]) -> list[View]:
    """Every (layer, pooling), and all layers side by side (their means where there are means)."""
    single = [View((layer,), (pooling,)) for pooling in poolings for layer in layers]
    joined = [View(tuple(layers), (reference_pooling(poolings),))] if len(layers) > 1 else []
    return single + joined


def reference_view(layers: Sequence[int], poolings: Sequence[str]) -> View:
    """What everyone does: the last layer's mean."""
    return View((max(layers),), (reference_pooling(poolings),))


def reference_pooling(poolings: Sequence[str]) -> str:
    """The mean, or the first pooling where no mean is cached."""
    return "mean" if "mean" in poolings else poolings[0]


def shapes_of(heads: Sequence[str], depths: Sequence[int], widths: Sequence[int]) -> list[HeadShape]:
    """The heads to try, cheapest first. Depth 0 is the linear head whatever the widths."""
    shapes = [HeadShape(kind) for kind in ("logreg", "linear") if kind in heads]
    if "mlp" in heads:
        if 0 in depths and HeadShape("linear") not in shapes:
            shapes.append(HeadShape("linear"))
        shapes += [
            HeadShape("mlp", depth, width) for depth in sorted(set(depths)) if depth for width in sorted(set(widths))
        ]
    return shapes


def search(sweep: Sweep, views: Sequence[View], shapes: Sequence[HeadShape]) -> Iterator[Trial]:
    """Train every head on every view, view by view, so that only one view's features are in memory."""
    for view in views:
        features = sweep.gather(view, np.concatenate([sweep.train.rows, sweep.validation.rows]))
        train, held = features[: len(sweep.train.rows)], features[len(sweep.train.rows) :]
        for shape in shapes:
            started = time.perf_counter()
            fit = _logistic_trial if shape.kind == "logreg" else _network_trial
            trial = fit(sweep, view, shape, train, held)
            yield replace(trial, seconds=time.perf_counter() - started)


def refit(trial: Trial, sweep: Sweep) -> Network:
    """The trial's head trained on training and validation rows: the same C, or the same number of epochs."""
    rows = np.concatenate([sweep.train.rows, sweep.validation.rows])
    labels = np.concatenate([sweep.train.labels, sweep.validation.labels])
    features = sweep.gather(trial.view, rows)
    if trial.head.kind == "logreg":
        from featcache.heads.logistic import fit_logistic_path

        path = [trial.settings["c"]]
        return fit_logistic_path(features, labels, n_classes=sweep.n_classes, path=path)[0].network
    from featcache.heads.train import Examples, train_stack

    recipe = replace(recipe_for(trial.head, sweep.seed, len(rows)), max_epochs=trial.settings["epochs"])
    (trained,) = train_stack(
        Examples(features, labels),
        None,
        n_classes=sweep.n_classes,
        depth=trial.head.depth,
        width=trial.head.width,
        recipes=[recipe],
        metric=_metric(sweep),
    )
    return trained.network


def _logistic_trial(
    sweep: Sweep, view: View, shape: HeadShape, train: NDArray[np.float32], held: NDArray[np.float32]
) -> Trial:
    """Logistic regression with the C of the path that is best on validation; its curve runs over C."""
    from featcache.heads.logistic import fit_logistic_path

    fitted = fit_logistic_path(train, sweep.train.labels, n_classes=sweep.n_classes)
    scored = [
        (
            score(sweep.metric, sweep.train.labels, one.network.logits(train).argmax(axis=1), sweep.n_classes),
            score(sweep.metric, sweep.validation.labels, one.network.logits(held).argmax(axis=1), sweep.n_classes),
        )
        for one in fitted
    ]
    best = max(range(len(fitted)), key=lambda place: (scored[place][1], -fitted[place].c))
    curve = {
        "c": [one.c for one in fitted],
        "train_score": [round(train_score, 6) for train_score, _ in scored],
        "validation_score": [round(held_score, 6) for _, held_score in scored],
    }
    settings = {"c": fitted[best].c, "converged": fitted[best].converged}
    return _trial(sweep, view, shape, fitted[best].network, (train, held), settings, curve)


def _network_trial(
    sweep: Sweep, view: View, shape: HeadShape, train: NDArray[np.float32], held: NDArray[np.float32]
) -> Trial:
    """A head trained by gradient descent, stopped at its best validation score; its curve runs over epochs."""
    from featcache.heads.train import Examples, train_stack

    recipe = recipe_for(shape, sweep.seed, len(train))
    (trained,) = train_stack(
        Examples(train, sweep.train.labels),
        Examples(held, sweep.validation.labels),
        n_classes=sweep.n_classes,
        depth=shape.depth,
        width=shape.width,
        recipes=[recipe],
        metric=_metric(sweep),
    )
    curve = {name: [round(value, 6) for value in values] for name, values in vars(trained.curves).items()}
    settings = {"epochs": trained.epochs, "learning_rate": recipe.learning_rate, "dropout": recipe.dropout}
    return _trial(sweep, view, shape, trained.network, (train, held), settings, curve)


def _trial(
    sweep: Sweep,
    view: View,
    shape: HeadShape,
    network: Network,
    features: tuple[NDArray[np.float32], NDArray[np.float32]],
    settings: dict[str, Any],
    curve: dict[str, list[float]],
) -> Trial:
    train, held = (network.logits(part).argmax(axis=1) for part in features)
    return Trial(
        head=shape,
        view=view,
        settings=settings,
        train=scores(sweep.train.labels, train, sweep.n_classes),
        validation=scores(sweep.validation.labels, held, sweep.n_classes),
        curve=curve,
        n_parameters=network.n_parameters,
        seconds=0.0,
        predicted=held,
    )


def recipe_for(shape: HeadShape, seed: int, n_rows: int) -> Recipe:
    """How a linear or mlp head is trained on `n_rows` rows."""
    from featcache.heads.train import Recipe

    # Few rows in large batches are few steps: 150 rows in batches of 128 end after 60 epochs unconverged.
    batch_size = min(_LARGEST_BATCH, max(_SMALLEST_BATCH, n_rows // _STEPS_PER_EPOCH))
    return Recipe(learning_rate=_LEARNING_RATE[shape.kind], seed=seed, batch_size=batch_size)


def _metric(sweep: Sweep) -> Callable[[NDArray[np.int64], NDArray[np.int64]], float]:
    return partial(score, sweep.metric, n_classes=sweep.n_classes)
