"""Learning curves and capacity as text: two small tables and a sentence."""

from __future__ import annotations

from rich.padding import Padding
from rich.table import Table

from featcache.console import INDENT, Console, plain_text, print_line
from featcache.evidence.capacity import CapacityPoint
from featcache.evidence.curves import MeasuredCurve
from featcache.report.text.numbers import points_with_error, with_interval


def growth_text(
    growths: tuple[MeasuredCurve, ...], view: str, capacity: tuple[CapacityPoint, ...]
) -> str:
    """All of it as plain text."""
    return plain_text(lambda console: print_curves(growths, view, capacity, console))


def print_curves(
    growths: tuple[MeasuredCurve, ...],
    view: str,
    capacity: tuple[CapacityPoint, ...],
    console: Console,
) -> None:
    """Each head's learning curve, then heads by their size."""
    for growth in growths:
        print_growth(growth, console)
        console.print()
    print_capacity(view, growths[0].metric, capacity, console)


def print_growth(growth: MeasuredCurve, console: Console) -> None:
    """A head's score by training rows, and what twice the labels would give."""
    print_line(
        console,
        "rows",
        f"{growth.metric} of {growth.about} by training rows (95 % interval over validation rows)",
    )
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in ("rows", "draws", "train", "validation"):
        table.add_column(head, justify="left" if head == "validation" else "right")
    for size in growth.points:
        table.add_row(
            f"{size.rows:,}", str(size.draws), f"{size.train:.3f}", with_interval(size.score)
        )
    console.print(Padding(table, (0, 0, 0, INDENT)))
    print_line(console, "more", growth.sentence())


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
