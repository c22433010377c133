"""Figures of errors: what is taken for what, and how each class does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from featcache.report.charts import (
    LEGEND,
    SLANTED,
    Figure,
    Spec,
    cell_text,
    chart,
    f3,
    names_axis,
    ramp,
    score_axis,
    share_of,
    tall,
    tip,
)
from featcache.runs.head_records import ClassRecord

MOST_CLASSES = 30  # in a matrix that can be read; of more, the most confused pairs are drawn
_CLASSES_WITH_COUNTS = 12
_PAIRS = 20

Counts = NDArray[np.int64]


def figure_confusion(counts: Counts, classes: Sequence[str]) -> Figure:
    """Draw the confusion matrix; of many classes the pairs most often taken for one another.

    Args:
        counts: (C, C), rows are the truth.
        classes: Names of the C classes.

    Returns:
        The figure with its numbers as a table.
    """
    total, right = int(counts.sum()), int(np.trace(counts))
    pairs = _confused_pairs(counts)
    worst = "no row is wrong"
    if pairs:
        count, truth, predicted = pairs[0]
        n_rows = int(counts[truth].sum())
        worst = f"most often {classes[truth]} is taken for {classes[predicted]}"
        worst += f" ({count:,} of {n_rows:,})"
    rows = []
    for count, truth, predicted in pairs[: 3 * _PAIRS]:
        share = share_of(count, counts[truth].sum())
        rows.append((classes[truth], classes[predicted], f"{count:,}", share))
    if len(classes) > MOST_CLASSES:
        top = pairs[:_PAIRS]
        spec = _pairs_chart(counts, classes, top)
        reads = f"The {len(top)} pairs of {len(classes)} classes that are confused most: "
        reads += "truth → predicted."
    else:
        spec = _matrix_chart(counts, classes)
        reads = "Each row is a true class; colour is its share of predictions."
        if len(classes) <= _CLASSES_WITH_COUNTS:
            reads = "Each row is a true class; colour is its share, numbers are test rows."
    return Figure(
        "confusion",
        "What is taken for what",
        f"{right:,} of {total:,} test rows are right; {worst}.",
        reads,
        spec,
        ("truth", "predicted", "rows", "share of the truth"),
        tuple(rows),
    )


def _confused_pairs(counts: Counts) -> list[tuple[int, int, int]]:
    """Return (rows, truth, predicted) of all pairs that occur, the most frequent first."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    pairs = [
        (int(wrong[truth, predicted]), int(truth), int(predicted))
        for truth, predicted in np.argwhere(wrong)
    ]
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2]))


def _tooltip() -> list[Spec]:
    return [
        tip("truth", "truth"),
        tip("given", "predicted"),
        tip("rows", "rows", ","),
        tip("share", "of the truth", ".1%"),
    ]


def _pairs_chart(
    counts: Counts, classes: Sequence[str], pairs: Sequence[tuple[int, int, int]]
) -> Spec:
    values: list[Spec] = [
        {
            "pair": f"{classes[truth]} → {classes[predicted]}",
            "rows": count,
            "truth": classes[truth],
            "given": classes[predicted],
            "share": count / max(1, int(counts[truth].sum())),
        }
        for count, truth, predicted in pairs
    ]
    mark = {
        "type": "bar",
        "color": "@validation",
        "cornerRadiusEnd": 3,
        "height": {"band": 0.6},
    }
    x = {
        "field": "rows",
        "type": "quantitative",
        "title": "test rows",
        "axis": {"tickMinStep": 1},
    }
    y = names_axis([str(value["pair"]) for value in values], field="pair")
    bars: Spec = {"mark": mark, "encoding": {"x": x, "y": y, "tooltip": _tooltip()}}
    return chart(values, [bars], height=tall(len(values), 24))


def _matrix_chart(counts: Counts, classes: Sequence[str]) -> Spec:
    with_counts = len(classes) <= _CLASSES_WITH_COUNTS
    sums = np.maximum(counts.sum(axis=1), 1)
    values: list[Spec] = [
        {
            "truth": classes[truth],
            "given": classes[predicted],
            "rows": int(counts[truth, predicted]),
            "share": float(counts[truth, predicted] / sums[truth]),
        }
        for truth, predicted in np.ndindex(counts.shape)
    ]
    y = names_axis(classes, field="truth", title="truth")
    x = {
        "field": "given",
        "type": "nominal",
        "title": "predicted",
        "scale": {"domain": list(classes)},
        "axis": {"labelAngle": -40, "labelLimit": 90, "orient": "bottom"},
    }
    legend = None if with_counts else "share of the truth"
    cell: Spec = {
        "mark": {"type": "rect", "cornerRadius": 2},
        "encoding": {
            "x": x,
            "y": y,
            "color": ramp("share", legend, domain=[0, 1]),
            "tooltip": _tooltip(),
        },
    }
    if not with_counts:
        return chart(values, [cell], height=tall(len(classes), 17) + SLANTED + LEGEND)
    text = cell_text({"field": "rows", "format": ","}, x, y, "share")
    return chart(values, [cell, text], height=tall(len(classes), 36) + SLANTED)


def figure_classes(scores: Sequence[ClassRecord], names: Sequence[str]) -> Figure:
    """Draw F1 of each class between its precision and recall, the worst first.

    Args:
        scores: Of each class.
        names: Of the classes, in the same order.

    Returns:
        The figure with its numbers as a table.
    """
    ordered = sorted(zip(names, scores, strict=True), key=lambda named: named[1].f1)
    shown = ordered[:MOST_CLASSES]
    (worst_name, worst), (finest_name, finest) = ordered[0], ordered[-1]
    fewer = ""
    if len(shown) < len(ordered):
        fewer = f" The {len(shown)} worst of {len(ordered)} classes."
    return Figure(
        "classes",
        "Class by class",
        f"F1 runs from {worst.f1:.3f} ({worst_name}, {worst.support:,} test rows) "
        f"to {finest.f1:.3f} ({finest_name}).",
        f"The dot is F1; the bar reaches from precision to recall.{fewer}",
        _classes_chart(shown),
        ("class", "precision", "recall", "F1", "test rows"),
        tuple(
            (name, f3(score.precision), f3(score.recall), f3(score.f1), f"{score.support:,}")
            for name, score in ordered
        ),
    )


def _classes_chart(shown: Sequence[tuple[str, ClassRecord]]) -> Spec:
    values = [
        {
            "name": name,
            "f1": score.f1,
            "precision": score.precision,
            "recall": score.recall,
            "rows": score.support,
        }
        for name, score in shown
    ]
    y = names_axis([name for name, _ in shown])
    tooltip = [
        tip("name", "class"),
        tip("f1", "F1", ".3f"),
        tip("precision", "precision", ".3f"),
        tip("recall", "recall", ".3f"),
        tip("rows", "test rows", ","),
    ]
    bar: Spec = {
        "mark": {"type": "rule", "strokeWidth": 3, "color": "@validation", "opacity": 0.45},
        "encoding": {"x": score_axis("precision", "F1"), "x2": {"field": "recall"}, "y": y},
    }
    dot: Spec = {
        "mark": {
            "type": "point",
            "filled": True,
            "size": 80,
            "color": "@validation",
            "opacity": 1,
        },
        "encoding": {"x": score_axis("f1", "F1"), "y": y, "tooltip": tooltip},
    }
    step = 30 if len(shown) <= _CLASSES_WITH_COUNTS else 20
    return chart(values, [bar, dot], height=tall(len(shown), step))
