"""The reliability diagram: how often the head is right where it says it is so sure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from featcache.report.charts import Figure, Spec, chart, tip
from featcache.runs.evidence_records import BinRecord, ReliabilityRecord


def figure_reliability(
    reliability: ReliabilityRecord, before: float | None, after: float | None
) -> Figure | None:
    """Draw confidence against accuracy, bin by bin.

    Args:
        reliability: The bins.
        before: Expected calibration error of the head as it was trained, where it is known.
        after: The same after calibration.

    Returns:
        The figure, or None where no bin holds a row.
    """
    bins = [single for single in reliability.bins if single.rows]
    if not bins:
        return None
    error = ""
    if before is not None and after is not None:
        error = f" Expected calibration error {100 * after:.1f} %"
        error += f" (before calibration {100 * before:.1f} %)."
    n_rows = sum(single.rows for single in bins)
    gap = sum(single.rows * abs(single.confidence - single.accuracy) for single in bins) / n_rows
    rows = []
    for single in bins:
        says, right = f"{100 * single.confidence:.1f} %", f"{100 * single.accuracy:.1f} %"
        rows.append((says, right, f"{single.rows:,}"))
    return Figure(
        "calibration",
        "Can its probabilities be believed",
        f"On {n_rows:,} {reliability.part} rows, what it says and how often it is right differ by "
        f"{100 * gap:.1f} points on average.{error}",
        "Points on the dashed line are as right as they say; larger points are more rows.",
        _reliability_chart(bins),
        ("says", "is right", "rows"),
        tuple(rows),
    )


def _reliability_chart(bins: Sequence[BinRecord]) -> Spec:
    values = [
        {"confidence": single.confidence, "accuracy": single.accuracy, "rows": single.rows}
        for single in bins
    ]
    lowest = min(min(single.confidence, single.accuracy) for single in bins)
    start = math.floor(10 * lowest) / 10
    scale = {"domain": [start, 1], "nice": False, "zero": False}
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
    at = {"field": "at", "type": "quantitative", "scale": scale}
    diagonal: Spec = {
        "data": {"values": [{"at": start}, {"at": 1}]},
        "mark": {"type": "line", "color": "@muted", "strokeDash": [4, 4], "strokeWidth": 1.5},
        "encoding": {"x": at, "y": at},
    }
    line: Spec = {
        "mark": {"type": "line", "color": "@validation", "strokeWidth": 1.5},
        "encoding": {"x": x, "y": y},
    }
    size = {
        "field": "rows",
        "type": "quantitative",
        "legend": None,
        "scale": {"range": [30, 320], "zero": True},
    }
    tooltip = [
        tip("confidence", "says", ".1%"),
        tip("accuracy", "is right", ".1%"),
        tip("rows", "rows", ","),
    ]
    dot: Spec = {
        "mark": {
            "type": "point",
            "filled": True,
            "color": "@validation",
            "opacity": 1,
            "clip": False,
        },
        "encoding": {"x": x, "y": y, "size": size, "tooltip": tooltip},
    }
    return chart(values, [diagonal, line, dot], height=260)
