"""Parts of which charts are made: Vega-Lite as plain dicts, and numbers as people read them.

Colours stand as words that begin with @, which `page.js` replaces by those of the light or the dark
palette. Whatever comes from the user is data of a specification, never a name of a field or an
expression.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featcache.runs.head_records import TrialRecord

Spec = dict[str, Any]

SLANTED, LEGEND = 56, 48  # pixels of slanted names below an axis, of a legend above it
_AXIS = 46  # of an axis with its title
# Black on a colour reads better than white from this relative luminance on (WCAG 2.2, 1.4.3), and
# then at least 4.58:1.
_BLACK_FROM = 0.179


@dataclass(frozen=True)
class Figure:
    """A chart and what stands for it where it cannot be seen.

    title: its heading.  says: one sentence with its main numbers, its text alternative.  reads: how
    to read it, for its caption.  columns, rows: the numbers drawn, as a table.
    """

    key: str
    title: str
    says: str
    reads: str
    spec: Spec
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def chart(values: list[Spec], layer: list[Spec], *, height: int) -> Spec:
    size = {"type": "fit", "contains": "padding"}
    kept = [one for one in layer if _drawable(one, values)]
    return {
        "data": {"values": values},
        "width": "container",
        "height": height,
        "autosize": size,
        "layer": kept,
    }


def _drawable(layer: Spec, values: list[Spec]) -> bool:
    """Whether there is anything to draw: of intervals that no value has, not even a scale can be
    made.
    """
    across = (
        layer.get("encoding", {}).get("x", {}).get("field"),
        layer.get("encoding", {}).get("y", {}).get("field"),
    )
    return "low" not in across or any(one.get("low") is not None for one in values)


def tall(n_rows: int, step: int) -> int:
    """Pixels for so many rows and the axis below them."""
    return step * n_rows + _AXIS


def names_axis(names: Sequence[str], *, field: str = "name", title: str | None = None) -> Spec:
    """Rows with names, in this order. Not as a `sort`, of which Vega-Lite makes an expression:
    names are the user's.
    """
    return {
        "field": field,
        "type": "nominal",
        "title": title,
        "scale": {"domain": list(names)},
        "axis": {"grid": False, "domain": False, "ticks": False, "labelPadding": 8},
    }


def score_axis(field: str, title: str) -> Spec:
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "scale": {"zero": False, "padding": 12},
        "axis": {"tickCount": 5},
    }


def tip(field: str, title: str, form: str | None = None) -> Spec:
    kind = "nominal" if form is None else "quantitative"
    return {"field": field, "type": kind, "title": title} | (
        {} if form is None else {"format": form}
    )


def range_of(scores: Sequence[float]) -> list[float]:
    """From where to where colours tell scores apart: one view that holds nothing must not make all
    others look alike.

    Below the lower quartile less 1.5 times the distance of the quartiles (Tukey 1977) all is one
    colour.
    """
    lower, upper = np.percentile(scores, [25, 75])
    low, high = max(min(scores), float(lower - 1.5 * (upper - lower))), max(scores)
    return [low, high] if high - low > 1e-6 else [low - 0.01, high]


def ramp(field: str, legend: str | None, *, domain: list[float]) -> Spec:
    scale: Spec = {"range": "ramp", "domain": domain, "clamp": True, "zero": False}
    shown = (
        None
        if legend is None
        else {"title": legend, "orient": "top", "gradientLength": 140, "tickCount": 3}
    )
    return {"field": field, "type": "quantitative", "scale": scale, "legend": shown}


def cell_text(text: Spec, x: Spec, y: Spec, coloured_by: str) -> Spec:
    """Numbers in the cells of a heat map: black or white, whichever reads better on the cell's
    colour.
    """
    bright = f"luminance(scale('color', datum['{coloured_by}'])) > {_BLACK_FROM}"
    return {
        "mark": {"type": "text", "fontSize": 12, "fontWeight": 500},
        "encoding": {
            "x": x,
            "y": y,
            "text": {**text, "type": "quantitative"},
            "color": {"condition": {"test": bright, "value": "#000000"}, "value": "#ffffff"},
        },
    }


def gap_layers(y: Spec, title: str, tooltip: list[Spec]) -> list[Spec]:
    """Train beside validation in rows with names, with the gap between them."""
    return [
        {
            "mark": {"type": "rule", "color": "@axis", "strokeWidth": 1},
            "encoding": {"x": score_axis("train", title), "x2": {"field": "validation"}, "y": y},
        },
        {
            "mark": {"type": "rule", "color": "@validation", "strokeWidth": 4, "opacity": 0.45},
            "encoding": {"x": score_axis("low", title), "x2": {"field": "high"}, "y": y},
        },
        {
            "mark": {
                "type": "point",
                "filled": False,
                "size": 80,
                "color": "@train",
                "strokeWidth": 2,
                "opacity": 1,
            },
            "encoding": {"x": score_axis("train", title), "y": y, "tooltip": tooltip},
        },
        {
            "mark": {
                "type": "point",
                "filled": True,
                "size": 90,
                "color": "@validation",
                "opacity": 1,
            },
            "encoding": {"x": score_axis("validation", title), "y": y, "tooltip": tooltip},
        },
    ]


def parts_colour() -> Spec:
    return {
        "field": "part",
        "type": "nominal",
        "sort": ["validation", "train"],
        "scale": {"domain": ["validation", "train"], "range": ["@validation", "@train"]},
        "legend": {"orient": "top", "title": None, "symbolType": "stroke"},
    }


def parts_dash() -> Spec:
    return {
        "field": "part",
        "type": "nominal",
        "scale": {"domain": ["validation", "train"], "range": [[1, 0], [5, 3]]},
    }


def wrapped(name: str) -> str:
    """In at most three lines of like length where one is more than a phone has room for beside the
    chart.
    """
    lines = textwrap.wrap(name, 24, max_lines=3, placeholder=" …")
    for width in range(12, 24):
        narrower = textwrap.wrap(name, width, max_lines=3, placeholder=" …")
        if len(narrower) <= len(lines) and sum(map(len, narrower)) >= sum(map(len, lines)):
            return "\n".join(narrower)
    return "\n".join(lines) or name


def distinct(names: Sequence[str]) -> list[str]:
    """The names, numbered where they would be one row."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


# -- numbers for people ----------------------------------------------------------------------------


def f3(value: float) -> str:
    return f"{value:.3f}"


def span(low: float | None, high: float | None) -> str:
    """`0.854–0.883`, or nothing."""
    return "" if low is None or high is None else f"{low:.3f}–{high:.3f}"


def points(gain: float | None, error: float | None) -> str:
    """`+10.6 ± 1.0`: a share as points."""
    if gain is None:
        return "—"
    return f"{100 * gain:+z.1f}" + ("" if error is None else f" ± {100 * error:.1f}")


def interval_of(trial: TrialRecord) -> str:
    """`0.854–0.883`, or nothing where the interval is not known."""
    return span(*trial.ends)


def share_of(count: int, total: float) -> str:
    return f"{100 * count / max(1, total):.1f} %"
