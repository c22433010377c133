"""Figures of the search: which layer holds the signal, and what depth and width give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from featcache.report.charts import (
    LEGEND,
    Figure,
    Spec,
    cell_text,
    chart,
    f3,
    gap_layers,
    interval_of,
    names_axis,
    ramp,
    range_of,
    tall,
    tip,
)
from featcache.runs.head_records import TrialRecord
from featcache.runs.run import Run

_LAYERS_WITH_TEXT = 13  # two digits fit into a cell of 23 pixels: 13 of them on a phone

BestByView = Mapping[tuple[int, str], TrialRecord]


def figure_layers(run: Run) -> Figure | None:
    """Draw the best head on each layer and pooling alone; None where no head reads one alone."""
    best, metric = best_by_view(run.trials, run.metric), run.metric
    if not best:
        return None
    top = max(best.values(), key=lambda trial: trial.validation[metric])
    usual = None
    if run.linear.view.single:
        usual = best.get((run.linear.view.layers[0], run.linear.view.poolings[0]))
    beside = ""
    if usual is not None and usual is not top:
        beside = f"; {usual.view}, what is usually used, {usual.validation[metric]:.3f}"
    rows = []
    for (layer, pooling), trial in sorted(best.items(), key=lambda placed: placed[0]):
        rows.append(
            (
                str(layer),
                pooling,
                str(trial.shape),
                f3(trial.validation[metric]),
                interval_of(trial),
                f3(trial.train[metric]),
            )
        )
    return Figure(
        "layers",
        "Which layer holds the signal",
        f"The best single view is {top.view} with {metric} {top.validation[metric]:.3f} "
        f"on validation rows ({top.shape}){beside}.",
        "Validation score of the best head on each layer and pooling alone; the best is outlined.",
        _layers_chart(best, top, metric),
        ("layer", "pooling", "best head", "validation", "95 % interval", "train"),
        tuple(rows),
    )


def _layers_chart(best: BestByView, top: TrialRecord, metric: str) -> Spec:
    layers = {layer for layer, _ in best}
    poolings = list(dict.fromkeys(pooling for _, pooling in best))
    x = {
        "field": "layer",
        "type": "ordinal",
        "title": "layer",
        "axis": {"labelAngle": 0, "labelOverlap": True},
    }
    y = names_axis(poolings, field="pooling")
    roomy = len(layers) <= _LAYERS_WITH_TEXT
    tooltip = [
        tip("layer", "layer"),
        tip("pooling", "pooling"),
        tip("head", "best head"),
        tip("score", "validation", ".3f"),
        tip("low", "from", ".3f"),
        tip("high", "to", ".3f"),
        tip("train", "train", ".3f"),
        tip("note", "training"),
    ]
    domain = range_of([trial.validation[metric] for trial in best.values()])
    outline = {"condition": {"test": "datum.top", "value": "@train"}, "value": None}
    cell: Spec = {
        "mark": {"type": "rect", "cornerRadius": 3},
        "encoding": {
            "x": x,
            "y": y,
            "color": ramp("score", None if roomy else metric, domain=domain),
            "tooltip": tooltip,
            "stroke": outline,
            "strokeWidth": {"value": 3},
        },
    }
    values = _layer_values(best, top, metric)
    height = tall(len(poolings), 44)
    if not roomy:
        return chart(values, [cell], height=height + LEGEND)
    text = cell_text({"field": "score", "format": ".2f"}, x, y, "score")
    return chart(values, [cell, text], height=height)


def _layer_values(best: BestByView, top: TrialRecord, metric: str) -> list[Spec]:
    return [
        {
            "layer": layer,
            "pooling": pooling,
            "score": trial.validation[metric],
            "train": trial.train[metric],
            "head": str(trial.shape),
            "low": trial.ends[0],
            "high": trial.ends[1],
            "top": trial is top,
            "note": "given up before its end" if trial.dropped else "trained to its end",
        }
        for (layer, pooling), trial in best.items()
    ]


def figure_shapes(run: Run) -> Figure | None:
    """Draw score against depth and width: the best head of each shape, train beside validation."""
    best, metric = best_by_shape(run.trials, run.metric), run.metric
    if not best:
        return None
    ordered = sorted(
        best, key=lambda trial: (trial.shape.depth, trial.shape.width or 0, str(trial.shape))
    )
    top = max(ordered, key=lambda trial: trial.validation[metric])
    return Figure(
        "shapes",
        "Depth and width",
        f"The best of {len(ordered)} shapes of head on validation rows is {top.name}: {metric} "
        f"{top.validation[metric]:.3f}, and {top.train[metric]:.3f} on training rows.",
        "The best head of each shape, whatever it reads. Filled: validation, with its 95 % "
        "interval where it is known; hollow: training rows. A wide gap is overfitting, a low "
        "pair is a head too small or blind.",
        _shapes_chart(ordered, metric),
        ("head", "reads", "validation", "95 % interval", "train", "parameters"),
        tuple(
            (
                str(trial.shape),
                str(trial.view),
                f3(trial.validation[metric]),
                interval_of(trial),
                f3(trial.train[metric]),
                f"{trial.n_parameters:,}",
            )
            for trial in ordered
        ),
    )


def _shapes_chart(trials: Sequence[TrialRecord], metric: str) -> Spec:
    values = [
        {
            "name": str(trial.shape),
            "view": str(trial.view),
            "validation": trial.validation[metric],
            "train": trial.train[metric],
            "parameters": trial.n_parameters,
            "low": trial.ends[0],
            "high": trial.ends[1],
        }
        for trial in trials
    ]
    tooltip = [
        tip("name", "head"),
        tip("view", "on"),
        tip("validation", "validation", ".3f"),
        tip("low", "from", ".3f"),
        tip("high", "to", ".3f"),
        tip("train", "train", ".3f"),
        tip("parameters", "parameters", ","),
    ]
    y = names_axis([str(trial.shape) for trial in trials])
    return chart(values, gap_layers(y, metric, tooltip), height=tall(len(values), 34))


def best_by_view(trials: Iterable[TrialRecord], metric: str) -> dict[tuple[int, str], TrialRecord]:
    """Return the best head on validation rows for each single layer and pooling.

    A head that was given up before its end counts, too: halving drops most views early, and what
    such a head has reached is the least that its view can give.

    Args:
        trials: All heads of a run.
        metric: What they are compared in.

    Returns:
        Heads by (layer, pooling).
    """
    best: dict[tuple[int, str], TrialRecord] = {}
    for trial in trials:
        if trial.view.single:
            place = trial.view.layers[0], trial.view.poolings[0]
            known = best.get(place)
            if known is None or trial.validation[metric] > known.validation[metric]:
                best[place] = trial
    return best


def best_by_shape(trials: Iterable[TrialRecord], metric: str) -> list[TrialRecord]:
    """Return the best head of each shape; one that was trained to its end, where there is one."""
    best: dict[str, TrialRecord] = {}
    for trial in trials:
        known = best.get(str(trial.shape))
        if known is None or _rank(trial, metric) > _rank(known, metric):
            best[str(trial.shape)] = trial
    return list(best.values())


def _rank(trial: TrialRecord, metric: str) -> tuple[bool, float]:
    return not trial.dropped, trial.validation[metric]
