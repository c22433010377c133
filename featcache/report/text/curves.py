"""Learning curves and capacity as text: two small tables and a sentence."""

from __future__ import annotations

from rich.padding import Padding
from rich.table import Table

from featcache.console import INDENT, Console, plain_text, print_line
from featcache.evidence.capacity import CapacityPoint
from featcache.evidence.curves import MeasuredCurve
from featcache.report.text.numbers import points_with_error, with_interval


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
            f"{point.rows:,}", str(point.draws), f"{point.train:.3f}", with_interval(point.score)
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
    for head in heads:
        gain = ""
        if head.gain is not None:
            gain = points_with_error(head.gain.value, head.gain.standard_error)
        table.add_row(
            f"mlp {head.depth}×{head.width}" if head.depth else "linear",
            f"{head.n_parameters:,}",
            f"{head.train:.3f}",
            with_interval(head.score),
            gain,
        )
    console.print(Padding(table, (0, 0, 0, INDENT)))
