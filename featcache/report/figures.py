"""The figures of the page: what is drawn of a run, with its numbers and a sentence beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from featcache.report.charts import (
    LEGEND,
    SLANTED,
    Figure,
    Spec,
    cell_text,
    chart,
    distinct,
    f3,
    gap_layers,
    interval_of,
    names_axis,
    parts_colour,
    parts_dash,
    points,
    ramp,
    range_of,
    score_axis,
    share_of,
    span,
    tall,
    tip,
    wrapped,
)
from featcache.runs.run import Run
from featcache.runs.schema import (
    ClassRecord,
    CurveRecord,
    ExperimentRecord,
    ReliabilityRecord,
    ScoreRecord,
    TrialRecord,
)

MOST_CLASSES = (
    30  # whose confusion can be read as a matrix; of more, the most confused pairs are drawn
)
_CLASSES_WITH_COUNTS = 12
_LAYERS_WITH_TEXT = 13  # two digits fit into a cell of 23 pixels: 13 of them on a phone
_PAIRS = 20


def figure_scores(run: Run) -> Figure:
    """The choice beside the linear reference and the floors."""
    part, metric = run.part, run.metric
    entries: list[tuple[str, ScoreRecord, float, float]] = []
    floors = run.result.floors
    for name, floor in (("majority class", floors.majority), ("TF-IDF", floors.tfidf)):
        if floor is not None:
            scores = floor.test if part == "test" and floor.test is not None else floor.validation
            entries.append(
                (
                    name,
                    ScoreRecord(value=scores[metric]),
                    floor.train[metric],
                    floor.validation[metric],
                )
            )
    heads = [("linear head", run.linear)]
    if not run.is_linear:
        heads.append(("the choice", run.best))
    for name, scored in heads:
        score = ScoreRecord(value=scored.validation[metric])
        if scored.test is not None:
            score = scored.test[metric]
        entries.append((name, score, scored.train[metric], scored.validation[metric]))
    values = [
        {
            "name": name,
            "value": score.value,
            "low": score.ends[0],
            "high": score.ends[1],
            "train": train,
            "validation": validation,
            "choice": name == heads[-1][0],
        }
        for name, score, train, validation in entries
    ]
    colour = {"condition": {"test": "datum.choice", "value": "@validation"}, "value": "@muted"}
    y = names_axis([str(value["name"]) for value in values])
    tooltip = [
        tip("name", "model"),
        tip("value", part, ".3f"),
        tip("low", "from", ".3f"),
        tip("high", "to", ".3f"),
        tip("train", "train", ".3f"),
        tip("validation", "validation", ".3f"),
    ]
    spec = chart(
        values,
        [
            {
                "mark": {"type": "rule", "strokeWidth": 3, "opacity": 0.55},
                "encoding": {
                    "x": score_axis("low", f"{metric} on {part} rows"),
                    "x2": {"field": "high"},
                    "y": y,
                    "color": colour,
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1},
                "encoding": {
                    "x": score_axis("value", f"{metric} on {part} rows"),
                    "y": y,
                    "color": colour,
                    "tooltip": tooltip,
                },
            },
            {
                "mark": {"type": "text", "dy": -12, "fontWeight": 600, "color": "@ink"},
                "encoding": {
                    "x": {"field": "value", "type": "quantitative"},
                    "y": y,
                    "text": {"field": "value", "format": ".3f"},
                },
            },
        ],
        height=tall(len(values), 40),
    )
    best = entries[-1]
    others = ", ".join(f"{name} {score.value:.3f}" for name, score, *_ in entries[:-1])
    return Figure(
        "scores",
        "Where it stands",
        f"{metric} on {part} rows: {best[0]} {best[1].value:.3f}; {others}.",
        f"{metric} on {part} rows; bars are 95 % intervals. Floors have none.",
        spec,
        ("model", part, "95 % interval", "train", "validation"),
        tuple(
            (name, f3(score.value), span(*score.ends), f3(train), f3(validation))
            for name, score, train, validation in entries
        ),
    )


def figure_experiments(experiments: Sequence[ExperimentRecord]) -> Figure | None:
    """What each experiment of the verdict gained."""
    told = [one for one in experiments if one.gain is not None]
    if not told:
        return None
    values = [
        {
            "name": name,
            "points": 100 * (one.gain or 0.0),
            "against": one.against or "the subject",
            "low": 100 * ((one.gain or 0.0) - 2 * (one.standard_error or 0.0)),
            "high": 100 * ((one.gain or 0.0) + 2 * (one.standard_error or 0.0)),
            "clear": one.standard_error is not None
            and abs(one.gain or 0.0) > 2 * one.standard_error,
        }
        for name, one in zip(distinct([wrapped(one.what) for one in told]), told, strict=True)
    ]
    colour = {"condition": {"test": "datum.clear", "value": "@validation"}, "value": "@muted"}
    y = names_axis([str(value["name"]) for value in values])
    y["axis"] |= {"labelExpr": "split(datum.label, '\\n')", "labelLineHeight": 14}
    title = "points gained"
    signed = {"tickCount": 6, "labelExpr": "datum.value == 0 ? '0' : format(datum.value, '+.1~f')"}
    tooltip = [
        tip("name", "experiment"),
        tip("points", "points", "+.1f"),
        tip("low", "from", "+.1f"),
        tip("high", "to", "+.1f"),
        tip("against", "against"),
    ]
    spec = chart(
        values,
        [
            {
                "mark": {"type": "rule", "color": "@axis"},
                "encoding": {"x": {"datum": 0, "type": "quantitative"}},
            },
            {
                "mark": {"type": "rule", "strokeWidth": 3, "opacity": 0.55},
                "encoding": {
                    "x": {"field": "low", "type": "quantitative", "title": title, "axis": signed},
                    "x2": {"field": "high"},
                    "y": y,
                    "color": colour,
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
                "encoding": {
                    "x": {"field": "points", "type": "quantitative", "title": title},
                    "y": y,
                    "color": colour,
                    "tooltip": tooltip,
                },
            },
        ],
        height=tall(
            len(values), max(30, 24 + 14 * max(str(one["name"]).count("\n") for one in values))
        ),
    )
    top = max(told, key=lambda one: one.gain or 0.0)
    return Figure(
        "experiments",
        "What the experiments gained",
        f"{len(told)} experiments; the largest gain is {points(top.gain, top.standard_error)} points, by {top.what}.",
        "Bars reach two standard errors to each side; what crosses zero may be noise.",
        spec,
        ("experiment", "points", "against"),
        tuple(
            (one.what, points(one.gain, one.standard_error), one.against or "the subject")
            for one in told
        ),
    )


def figure_layers(run: Run) -> Figure | None:
    """The best head on each single view."""
    best = best_by_view(run.trials, run.metric)
    if not best:
        return None
    metric = run.metric
    top = max(best.values(), key=lambda trial: trial.validation[metric])
    values = [
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
    layers = sorted({layer for layer, _ in best})
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
    colour = ramp(
        "score",
        None if roomy else metric,
        domain=range_of([trial.validation[metric] for trial in best.values()]),
    )
    layer: list[Spec] = [
        {
            "mark": {"type": "rect", "cornerRadius": 3},
            "encoding": {
                "x": x,
                "y": y,
                "color": colour,
                "tooltip": tooltip,
                "stroke": {"condition": {"test": "datum.top", "value": "@train"}, "value": None},
                "strokeWidth": {"value": 3},
            },
        },
    ]
    if roomy:
        layer.append(cell_text({"field": "score", "format": ".2f"}, x, y, "score"))
    spec = chart(values, layer, height=tall(len(poolings), 44) + (0 if roomy else LEGEND))
    linear = run.linear
    known = (
        best.get((linear.view.layers[0], linear.view.poolings[0])) if linear.view.single else None
    )
    beside = ""
    if known is not None and known is not top:
        beside = f"; {known.view}, what is usually used, {known.validation[metric]:.3f}"
    return Figure(
        "layers",
        "Which layer holds the signal",
        f"The best single view is {top.view} with {metric} {top.validation[metric]:.3f} on validation rows "
        f"({top.shape}){beside}.",
        "Validation score of the best head on each layer and pooling alone; the best is outlined.",
        spec,
        ("layer", "pooling", "best head", "validation", "95 % interval", "train"),
        tuple(
            (
                str(layer),
                pooling,
                str(trial.shape),
                f3(trial.validation[metric]),
                interval_of(trial),
                f3(trial.train[metric]),
            )
            for (layer, pooling), trial in sorted(best.items(), key=lambda one: one[0])
        ),
    )


def figure_shapes(run: Run) -> Figure | None:
    """Score against depth and width: the best head of each shape, train beside validation."""
    best = best_by_shape(run.trials, run.metric)
    if not best:
        return None
    metric = run.metric
    ordered = sorted(
        best, key=lambda trial: (trial.shape.depth, trial.shape.width or 0, str(trial.shape))
    )
    names = [str(trial.shape) for trial in ordered]
    values = [
        {
            "name": name,
            "view": str(trial.view),
            "validation": trial.validation[metric],
            "train": trial.train[metric],
            "parameters": trial.n_parameters,
            "low": trial.ends[0],
            "high": trial.ends[1],
        }
        for name, trial in zip(names, ordered, strict=True)
    ]
    y = names_axis([str(value["name"]) for value in values])
    title = f"{metric}"
    tooltip = [
        tip("name", "head"),
        tip("view", "on"),
        tip("validation", "validation", ".3f"),
        tip("low", "from", ".3f"),
        tip("high", "to", ".3f"),
        tip("train", "train", ".3f"),
        tip("parameters", "parameters", ","),
    ]
    spec = chart(values, gap_layers(y, title, tooltip), height=tall(len(values), 34))
    deepest = max(ordered, key=lambda trial: trial.validation[metric])
    return Figure(
        "shapes",
        "Depth and width",
        f"The best of {len(ordered)} shapes of head on validation rows is {deepest.name}: {metric} "
        f"{deepest.validation[metric]:.3f}, and {deepest.train[metric]:.3f} on training rows.",
        "The best head of each shape, whatever it reads. Filled: validation, with its 95 % interval where it is "
        "known; hollow: training rows. A wide gap is overfitting, a low pair is a head too small or blind.",
        spec,
        ("head", "reads", "validation", "95 % interval", "train", "parameters"),
        tuple(
            (
                str(one.shape),
                str(one.view),
                f3(one.validation[metric]),
                interval_of(one),
                f3(one.train[metric]),
                f"{one.n_parameters:,}",
            )
            for one in ordered
        ),
    )


def figures_training(trial: TrialRecord, metric: str, key: str) -> list[Figure]:
    """Loss and score over epochs, or over C for logistic regression."""
    over_c = "c" in trial.curve
    steps = (
        trial.curve["c"]
        if over_c
        else range(1, 1 + max((len(one) for one in trial.curve.values()), default=0))
    )
    if not len(steps):
        return []
    across = "C (less regularisation to the right)" if over_c else "epoch"
    found = []
    for what, title in (("score", metric), ("loss", "loss")):
        lines = {part: trial.curve.get(f"{part}_{what}", ()) for part in ("train", "validation")}
        values = [
            {"step": step, "value": value, "part": part}
            for part, line in lines.items()
            for step, value in zip(steps, line, strict=False)
            if value is not None
        ]
        if not values:
            continue
        x: Spec = {"field": "step", "type": "quantitative", "title": across}
        x |= (
            {"scale": {"type": "log"}, "axis": {"values": list(steps), "format": "~g"}}
            if over_c
            else {"axis": {"tickMinStep": 1, "format": "d"}, "scale": {"zero": False}}
        )
        spec = chart(
            values,
            [
                {
                    "mark": {
                        "type": "line",
                        "strokeWidth": 2,
                        "point": {"size": 26, "filled": True},
                    },
                    "encoding": {
                        "x": x,
                        "y": {
                            "field": "value",
                            "type": "quantitative",
                            "title": title,
                            "scale": {"zero": False},
                        },
                        "color": parts_colour(),
                        "strokeDash": parts_dash(),
                        "tooltip": [
                            tip("part", "rows"),
                            tip("step", "C" if over_c else "epoch"),
                            tip("value", title, ".4f"),
                        ],
                    },
                },
            ],
            height=200,
        )
        last = {part: line[-1] for part, line in lines.items() if len(line)}
        ends = " and ".join(f"{value:.3f} on {part} rows" for part, value in last.items())
        found.append(
            Figure(
                f"{key}-{what}",
                "Loss" if what == "loss" else f"Score ({title})",
                f"{title} of {trial.name} ends at {ends}.",
                "",
                spec,
                (across.split(" ", maxsplit=1)[0], "train", "validation"),
                tuple(
                    (
                        f"{step:g}",
                        *(
                            f"{line[place]:.4f}" if place < len(line) else ""
                            for line in lines.values()
                        ),
                    )
                    for place, step in enumerate(steps)
                ),
            )
        )
    return found


def figure_learning(curve: CurveRecord, metric: str) -> Figure:
    """Score against number of rows, the fitted curve and what twice the rows would give."""
    values: list[Spec] = [
        {
            "kind": "point",
            "rows": one.rows,
            "value": one.mean,
            "low": one.low,
            "high": one.high,
            "train": one.train,
        }
        for one in curve.points
    ]
    values += [
        {
            "kind": "fit",
            "rows": point.rows,
            "value": point.value,
            "low": point.low,
            "high": point.high,
        }
        for point in curve.fit or ()
    ]
    x = {
        "field": "rows",
        "type": "quantitative",
        "title": "training rows",
        "scale": {"type": "log", "nice": False},
        "axis": {"format": ",", "values": [one.rows for one in curve.points], "labelOverlap": True},
    }
    y = score_axis("value", metric)
    only = {
        "fit": [{"filter": "datum.kind == 'fit'"}],
        "point": [{"filter": "datum.kind == 'point'"}],
    }
    tooltip = [
        tip("rows", "rows", ","),
        tip("value", "validation", ".3f"),
        tip("low", "from", ".3f"),
        tip("high", "to", ".3f"),
        tip("train", "train", ".3f"),
    ]
    fitted: list[Spec] = [
        {
            "transform": only["fit"],
            "mark": {"type": "area", "color": "@validation", "opacity": 0.16},
            "encoding": {"x": x, "y": score_axis("low", metric), "y2": {"field": "high"}},
        },
        {
            "transform": only["fit"],
            "mark": {"type": "line", "color": "@validation", "strokeWidth": 1.5},
            "encoding": {"x": x, "y": y},
        },
    ]
    spec = chart(
        values,
        [
            *(fitted if curve.fit else []),  # of no values not even a scale can be made
            {
                "transform": only["point"],
                "mark": {"type": "rule", "color": "@validation", "strokeWidth": 2},
                "encoding": {"x": x, "y": score_axis("low", metric), "y2": {"field": "high"}},
            },
            {
                "transform": [*only["point"], {"filter": "isValid(datum.train)"}],
                "mark": {
                    "type": "point",
                    "filled": False,
                    "size": 60,
                    "color": "@train",
                    "strokeWidth": 2,
                    "opacity": 1,
                },
                "encoding": {"x": x, "y": score_axis("train", metric), "tooltip": tooltip},
            },
            {
                "transform": only["point"],
                "mark": {
                    "type": "point",
                    "filled": True,
                    "size": 80,
                    "color": "@validation",
                    "opacity": 1,
                },
                "encoding": {"x": x, "y": y, "tooltip": tooltip},
            },
        ],
        height=260,
    )
    last = curve.points[-1]
    says = f"With {last.rows:,} rows {curve.about} has {metric} {last.mean:.3f} on validation rows"
    if curve.doubling is not None:
        says += f"; twice the rows would give about {points(curve.doubling.value, curve.doubling.standard_error)} points"
    return Figure(
        "learning",
        "Would more labels help",
        f"{says}.",
        "Filled: validation, mean and interval over seeds; hollow: training rows. "
        + (
            "The line is the fitted curve with its uncertainty, drawn on to twice the rows."
            if curve.fit
            else "There are too few rows for a curve."
        ),
        spec,
        ("training rows", "validation", "interval", "train"),
        tuple(
            (
                f"{one.rows:,}",
                f3(one.mean),
                span(one.low, one.high),
                "" if one.train is None else f3(one.train),
            )
            for one in curve.points
        ),
    )


def figure_confusion(counts: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """The confusion matrix of the test rows; of many classes the pairs most often taken for one
    another.
    """
    total, right = int(counts.sum()), int(np.trace(counts))
    pairs = _confused(counts)
    worst = "no row is wrong"
    if pairs:
        count, truth, given = pairs[0]
        worst = f"most often {classes[truth]} is taken for {classes[given]} ({count:,} of {int(counts[truth].sum()):,})"
    says = f"{right:,} of {total:,} test rows are right; {worst}."
    columns = ("truth", "predicted", "rows", "share of the truth")
    shown = [(count, truth, given) for count, truth, given in pairs[: 3 * _PAIRS]]
    rows = tuple(
        (classes[truth], classes[given], f"{count:,}", share_of(count, counts[truth].sum()))
        for count, truth, given in shown
    )
    if len(classes) > MOST_CLASSES:
        top = pairs[:_PAIRS]
        values: list[Spec] = [
            {
                "pair": f"{classes[truth]} → {classes[given]}",
                "rows": count,
                "truth": classes[truth],
                "given": classes[given],
                "share": count / max(1, int(counts[truth].sum())),
            }
            for count, truth, given in top
        ]
        y = names_axis([str(value["pair"]) for value in values], field="pair")
        spec = chart(
            values,
            [
                {
                    "mark": {
                        "type": "bar",
                        "color": "@validation",
                        "cornerRadiusEnd": 3,
                        "height": {"band": 0.6},
                    },
                    "encoding": {
                        "x": {
                            "field": "rows",
                            "type": "quantitative",
                            "title": "test rows",
                            "axis": {"tickMinStep": 1},
                        },
                        "y": y,
                        "tooltip": [
                            tip("truth", "truth"),
                            tip("given", "predicted"),
                            tip("rows", "rows", ","),
                            tip("share", "of the truth", ".1%"),
                        ],
                    },
                }
            ],
            height=tall(len(values), 24),
        )
        reads = f"The {len(top)} pairs of {len(classes)} classes that are confused most: truth → predicted."
        return Figure("confusion", "What is taken for what", says, reads, spec, columns, rows)
    few = len(classes) <= _CLASSES_WITH_COUNTS
    sums = np.maximum(counts.sum(axis=1), 1)
    values = [
        {
            "truth": classes[truth],
            "given": classes[given],
            "rows": int(counts[truth, given]),
            "share": float(counts[truth, given] / sums[truth]),
        }
        for truth in range(len(classes))
        for given in range(len(classes))
    ]
    y = names_axis(classes, field="truth", title="truth")
    x = {
        "field": "given",
        "type": "nominal",
        "title": "predicted",
        "scale": {"domain": list(classes)},
        "axis": {"labelAngle": -40, "labelLimit": 90, "orient": "bottom"},
    }
    layer: list[Spec] = [
        {
            "mark": {"type": "rect", "cornerRadius": 2},
            "encoding": {
                "x": x,
                "y": y,
                "color": ramp("share", None if few else "share of the truth", domain=[0, 1]),
                "tooltip": [
                    tip("truth", "truth"),
                    tip("given", "predicted"),
                    tip("rows", "rows", ","),
                    tip("share", "of the truth", ".1%"),
                ],
            },
        },
    ]
    if few:
        layer.append(cell_text({"field": "rows", "format": ","}, x, y, "share"))
    spec = chart(
        values,
        layer,
        height=tall(len(classes), 36 if few else 17) + SLANTED + (0 if few else LEGEND),
    )
    reads = (
        "Each row is a true class; colour is its share, numbers are test rows."
        if few
        else "Each row is a true class; colour is its share of predictions."
    )
    return Figure("confusion", "What is taken for what", says, reads, spec, columns, rows)


def figure_reliability(
    found: ReliabilityRecord, before: float | None, after: float | None
) -> Figure | None:
    """How often the head is right where it says it is so sure."""
    bins = [one for one in found.bins if one.rows]
    if not bins:
        return None
    values = [
        {"confidence": one.confidence, "accuracy": one.accuracy, "rows": one.rows} for one in bins
    ]
    lowest = min(min(one.confidence, one.accuracy) for one in bins)
    domain = [math.floor(10 * lowest) / 10, 1]
    scale = {"domain": domain, "nice": False, "zero": False}
    x = {
        "field": "confidence",
        "type": "quantitative",
        "title": "says (probability)",
        "scale": scale,
        "axis": {"format": ".0%", "tickCount": 6},
    }
    y = {
        "field": "accuracy",
        "type": "quantitative",
        "title": "is right",
        "scale": scale,
        "axis": {"format": ".0%"},
    }
    spec = chart(
        values,
        [
            {
                "data": {"values": [{"at": domain[0]}, {"at": 1}]},
                "mark": {
                    "type": "line",
                    "color": "@muted",
                    "strokeDash": [4, 4],
                    "strokeWidth": 1.5,
                },
                "encoding": {
                    axis: {"field": "at", "type": "quantitative", "scale": scale}
                    for axis in ("x", "y")
                },
            },
            {
                "mark": {"type": "line", "color": "@validation", "strokeWidth": 1.5},
                "encoding": {"x": x, "y": y},
            },
            {
                "mark": {
                    "type": "point",
                    "filled": True,
                    "color": "@validation",
                    "opacity": 1,
                    "clip": False,
                },
                "encoding": {
                    "x": x,
                    "y": y,
                    "size": {
                        "field": "rows",
                        "type": "quantitative",
                        "legend": None,
                        "scale": {"range": [30, 320], "zero": True},
                    },
                    "tooltip": [
                        tip("confidence", "says", ".1%"),
                        tip("accuracy", "is right", ".1%"),
                        tip("rows", "rows", ","),
                    ],
                },
            },
        ],
        height=260,
    )
    told = ""
    if before is not None and after is not None:
        told = f" Expected calibration error {100 * after:.1f} % (before calibration {100 * before:.1f} %)."
    n_rows = sum(one.rows for one in bins)
    gap = sum(one.rows * abs(one.confidence - one.accuracy) for one in bins) / n_rows
    return Figure(
        "calibration",
        "Can its probabilities be believed",
        f"On {n_rows:,} {found.part} rows, what it says and how often it is right differ by "
        f"{100 * gap:.1f} points on average.{told}",
        "Points on the dashed line are as right as they say; larger points are more rows.",
        spec,
        ("says", "is right", "rows"),
        tuple(
            (f"{100 * one.confidence:.1f} %", f"{100 * one.accuracy:.1f} %", f"{one.rows:,}")
            for one in bins
        ),
    )


def figure_classes(scores: Sequence[ClassRecord], names: Sequence[str]) -> Figure:
    """F1 of each class between its precision and recall, the worst first."""
    ordered = sorted(zip(names, scores, strict=True), key=lambda named: named[1].f1)
    shown = ordered[:MOST_CLASSES]
    values = [
        {
            "name": name,
            "f1": one.f1,
            "precision": one.precision,
            "recall": one.recall,
            "rows": one.support,
        }
        for name, one in shown
    ]
    y = names_axis([str(value["name"]) for value in values])
    title = "F1"
    spec = chart(
        values,
        [
            {
                "mark": {"type": "rule", "strokeWidth": 3, "color": "@validation", "opacity": 0.45},
                "encoding": {
                    "x": score_axis("precision", title),
                    "x2": {"field": "recall"},
                    "y": y,
                },
            },
            {
                "mark": {
                    "type": "point",
                    "filled": True,
                    "size": 80,
                    "color": "@validation",
                    "opacity": 1,
                },
                "encoding": {
                    "x": score_axis("f1", title),
                    "y": y,
                    "tooltip": [
                        tip("name", "class"),
                        tip("f1", "F1", ".3f"),
                        tip("precision", "precision", ".3f"),
                        tip("recall", "recall", ".3f"),
                        tip("rows", "test rows", ","),
                    ],
                },
            },
        ],
        height=tall(len(shown), 30 if len(shown) <= 12 else 20),
    )
    (worst_name, worst), (finest_name, finest) = ordered[0], ordered[-1]
    fewer = (
        "" if len(shown) == len(ordered) else f" The {len(shown)} worst of {len(ordered)} classes."
    )
    return Figure(
        "classes",
        "Class by class",
        f"F1 runs from {worst.f1:.3f} ({worst_name}, {worst.support:,} test rows) to {finest.f1:.3f} ({finest_name}).",
        f"The dot is F1; the bar reaches from precision to recall.{fewer}",
        spec,
        ("class", "precision", "recall", "F1", "test rows"),
        tuple(
            (name, f3(one.precision), f3(one.recall), f3(one.f1), f"{one.support:,}")
            for name, one in ordered
        ),
    )


# -- choosing what to draw -------------------------------------------------------------------------


def best_by_view(trials: Iterable[TrialRecord], metric: str) -> dict[tuple[int, str], TrialRecord]:
    """Of each single layer and pooling the head with the best validation score, by (layer,
    pooling).

    One that was given up before its end counts, too: halving drops most views early, and what such
    a head has reached is the least that its view can give.
    """
    found: dict[tuple[int, str], TrialRecord] = {}
    for trial in trials:
        if trial.view.single:
            place = trial.view.layers[0], trial.view.poolings[0]
            known = found.get(place)
            if known is None or trial.validation[metric] > known.validation[metric]:
                found[place] = trial
    return found


def best_by_shape(trials: Iterable[TrialRecord], metric: str) -> list[TrialRecord]:
    """Of each shape of head its best on validation rows; one that was trained to its end, where
    there is one.
    """
    found: dict[str, TrialRecord] = {}
    for trial in trials:
        known = found.get(str(trial.shape))
        if known is None or _rank(trial, metric) > _rank(known, metric):
            found[str(trial.shape)] = trial
    return list(found.values())


def _rank(trial: TrialRecord, metric: str) -> tuple[bool, float]:
    return not trial.dropped, trial.validation[metric]


def _confused(counts: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """(rows, truth, given) of all pairs that occur, the most frequent first."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    found = [
        (int(wrong[truth, given]), int(truth), int(given)) for truth, given in np.argwhere(wrong)
    ]
    return sorted(found, key=lambda one: (-one[0], one[1], one[2]))
