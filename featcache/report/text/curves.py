"""Learning curves and capacity as text: two small tables and a sentence."""

from __future__ import annotations

from rich.padding import Padding
from rich.table import Table

from featcache.console import INDENT, Console, plain_text, print_line
from featcache.evidence.capacity import CapacityPoint
from featcache.evidence.curves import MeasuredCurve
from featcache.tasks.metrics import Interval


def curves_text(
    learning_curves: tuple[MeasuredCurve, ...], view: str, capacity: tuple[CapacityPoint, ...]
) -> str:
    """All of it as plain text."""
    return plain_text(lambda console: print_curves(learning_curves, view, capacity, console))


def print_curves(
    learning_curves: tuple[MeasuredCurve, ...],
    view: str,
    capacity: tuple[CapacityPoint, ...],
    console: Console,
) -> None:
    """Each head's learning curve, then heads by their size."""
    for curve in learning_curves:
        print_learning_curve(curve, console)
        console.print()
    print_capacity(view, learning_curves[0].metric, capacity, console)


def print_learning_curve(curve: MeasuredCurve, console: Console) -> None:
    """Print the score of a head by training rows, and what twice the labels would give."""
    print_line(
        console,
        "rows",
        f"{curve.metric} of {curve.about} by training rows (95 % interval over validation rows)",
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in ("rows", "draws", "train", "validation"):
        table.add_column(head, justify="left" if head == "validation" else "right")
    for point in curve.points:
        table.add_row(
            f"{point.rows:,}", str(point.draws), f"{point.train:.3f}", _with_interval(point.score)
        )
    console.print(Padding(table, (0, 0, 0, INDENT)))
    print_line(console, "more", curve.sentence())


def print_capacity(
    view: str, metric: str, heads: tuple[CapacityPoint, ...], console: Console
) -> None:
    """Heads of every size on one view, train beside validation."""
    print_line(
        console, "capacity", f"{metric} of heads on {view} by their size, train beside validation"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("head")
    table.add_column("parameters", justify="right")
    table.add_column("train", justify="right")
    table.add_column("validation")
    table.add_column("over linear, points")
    for one in heads:
        gain = (
            ""
            if one.gain is None
            else f"{100 * one.gain.value:+z.1f} ± {100 * one.gain.standard_error:.1f}"
        )
        name = f"mlp {one.depth}×{one.width}" if one.depth else "linear"
        table.add_row(
            name, f"{one.n_parameters:,}", f"{one.train:.3f}", _with_interval(one.score), gain
        )
    console.print(Padding(table, (0, 0, 0, INDENT)))


def _with_interval(score: Interval) -> str:
    return f"{score.value:.3f} ({score.low:.3f}–{score.high:.3f})"
