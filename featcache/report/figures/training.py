"""Figures of training: loss and score over epochs, or over C for logistic regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from featcache.report.charts import Figure, Spec, chart, parts_colour, parts_dash, tip
from featcache.runs.head_records import TrialRecord

_PARTS = ("train", "validation")

Line = Sequence[float | None]


def figures_training(trial: TrialRecord, metric: str, key: str) -> list[Figure]:
    """Draw the loss and the score of one head.

    Args:
        trial: The head with its curve.
        metric: The metric of its scores.
        key: Names the figures on the page.

    Returns:
        A figure for each of the two that the curve has.
    """
    over_c = "c" in trial.curve
    longest = max((len(line) for line in trial.curve.values()), default=0)
    steps: Line = trial.curve["c"] if over_c else range(1, 1 + longest)
    across = "C (less regularisation to the right)" if over_c else "epoch"
    found = []
    for what, title in (("score", metric), ("loss", "loss")):
        lines = {part: trial.curve.get(f"{part}_{what}", ()) for part in _PARTS}
        values = _values(steps, lines)
        if not values:
            continue
        last = {part: line[-1] for part, line in lines.items() if line}
        ends = " and ".join(f"{_number(value, 3)} on {part} rows" for part, value in last.items())
        figure = Figure(
            f"{key}-{what}",
            "Loss" if what == "loss" else f"Score ({title})",
            f"{title} of {trial.name} ends at {ends}.",
            "",
            _training_chart(values, steps, title, across, over_c=over_c),
            (across.split(" ", maxsplit=1)[0], *_PARTS),
            tuple(_table_row(place, step, lines) for place, step in enumerate(steps)),
        )
        found.append(figure)
    return found


def _values(steps: Line, lines: Mapping[str, Line]) -> list[Spec]:
    """Return a value for each step of each part; what is no number is left out."""
    return [
        {"step": step, "value": value, "part": part}
        for part, line in lines.items()
        for step, value in zip(steps, line, strict=False)
        if step is not None and value is not None
    ]


def _table_row(place: int, step: float | None, lines: Mapping[str, Line]) -> tuple[str, ...]:
    cells = ["" if step is None else f"{step:g}"]
    cells += [_number(line[place], 4) if place < len(line) else "" for line in lines.values()]
    return tuple(cells)


def _number(value: float | None, places: int) -> str:
    """Return a number, or `nan` for a loss that was none."""
    return "nan" if value is None else f"{value:.{places}f}"


def _training_chart(
    values: list[Spec], steps: Line, title: str, across: str, *, over_c: bool
) -> Spec:
    x: dict[str, Any] = {"field": "step", "type": "quantitative", "title": across}
    if over_c:
        ticks = [step for step in steps if step is not None]
        x |= {"scale": {"type": "log"}, "axis": {"values": ticks, "format": "~g"}}
    else:
        x |= {"axis": {"tickMinStep": 1, "format": "d"}, "scale": {"zero": False}}
    y = {"field": "value", "type": "quantitative", "title": title, "scale": {"zero": False}}
    tooltip = [
        tip("part", "rows"),
        tip("step", "C" if over_c else "epoch"),
        tip("value", title, ".4f"),
    ]
    point = {"size": 26, "filled": True}
    line: Spec = {
        "mark": {"type": "line", "strokeWidth": 2, "point": point},
        "encoding": {
            "x": x,
            "y": y,
            "color": parts_colour(),
            "strokeDash": parts_dash(),
            "tooltip": tooltip,
        },
    }
    return chart(values, [line], height=200)
