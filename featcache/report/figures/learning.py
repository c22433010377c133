"""The learning curve: score against number of rows, and what twice the rows would give."""

from __future__ import annotations

from featcache.report.charts import Figure, Spec, chart, f3, points, score_axis, span, tip
from featcache.runs.evidence_records import CurveRecord


def figure_learning(curve: CurveRecord, metric: str) -> Figure:
    """Draw the measured points and the curve fitted through them.

    Args:
        curve: The learning curve of a run.
        metric: The metric of its scores.

    Returns:
        The figure with its numbers as a table.
    """
    last = curve.points[-1]
    says = f"With {last.rows:,} rows {curve.about} has {metric} {last.mean:.3f} on validation rows"
    if curve.doubling is not None:
        gain = points(curve.doubling.value, curve.doubling.standard_error)
        says += f"; twice the rows would give about {gain} points"
    line = "There are too few rows for a curve."
    if curve.fit:
        line = "The line is the fitted curve with its uncertainty, drawn on to twice the rows."
    rows = []
    for point in curve.points:
        train = "" if point.train is None else f3(point.train)
        rows.append((f"{point.rows:,}", f3(point.mean), span(point.low, point.high), train))
    return Figure(
        "learning",
        "Would more labels help",
        f"{says}.",
        f"Filled: validation, mean and interval over seeds; hollow: training rows. {line}",
        _learning_chart(curve, metric),
        ("training rows", "validation", "interval", "train"),
        tuple(rows),
    )


def _learning_chart(curve: CurveRecord, metric: str) -> Spec:
    x = {
        "field": "rows",
        "type": "quantitative",
        "title": "training rows",
        "scale": {"type": "log", "nice": False},
        "axis": {
            "format": ",",
            "values": [point.rows for point in curve.points],
            "labelOverlap": True,
        },
    }
    # Of no values not even a scale can be made, so without a fit its layers are left out.
    layers = _fitted_layers(x, metric) if curve.fit else []
    return chart(_values(curve), [*layers, *_measured_layers(x, metric)], height=260)


def _values(curve: CurveRecord) -> list[Spec]:
    """Return the points that were measured, then those of the fit."""
    measured = [
        {
            "kind": "point",
            "rows": point.rows,
            "value": point.mean,
            "low": point.low,
            "high": point.high,
            "train": point.train,
        }
        for point in curve.points
    ]
    fitted = [
        {
            "kind": "fit",
            "rows": point.rows,
            "value": point.value,
            "low": point.low,
            "high": point.high,
        }
        for point in curve.fit or ()
    ]
    return [*measured, *fitted]


def _fitted_layers(x: Spec, metric: str) -> list[Spec]:
    only = [{"filter": "datum.kind == 'fit'"}]
    return [
        {
            "transform": only,
            "mark": {"type": "area", "color": "@validation", "opacity": 0.16},
            "encoding": {"x": x, "y": score_axis("low", metric), "y2": {"field": "high"}},
        },
        {
            "transform": only,
            "mark": {"type": "line", "color": "@validation", "strokeWidth": 1.5},
            "encoding": {"x": x, "y": score_axis("value", metric)},
        },
    ]


def _measured_layers(x: Spec, metric: str) -> list[Spec]:
    only = [{"filter": "datum.kind == 'point'"}]
    tooltip = [
        tip("rows", "rows", ","),
        tip("value", "validation", ".3f"),
        tip("low", "from", ".3f"),
        tip("high", "to", ".3f"),
        tip("train", "train", ".3f"),
    ]
    hollow = {
        "type": "point",
        "filled": False,
        "size": 60,
        "color": "@train",
        "strokeWidth": 2,
        "opacity": 1,
    }
    filled = {"type": "point", "filled": True, "size": 80, "color": "@validation", "opacity": 1}
    return [
        {
            "transform": only,
            "mark": {"type": "rule", "color": "@validation", "strokeWidth": 2},
            "encoding": {"x": x, "y": score_axis("low", metric), "y2": {"field": "high"}},
        },
        {
            "transform": [*only, {"filter": "isValid(datum.train)"}],
            "mark": hollow,
            "encoding": {"x": x, "y": score_axis("train", metric), "tooltip": tooltip},
        },
        {
            "transform": only,
            "mark": filled,
            "encoding": {"x": x, "y": score_axis("value", metric), "tooltip": tooltip},
        },
    ]
