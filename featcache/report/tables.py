"""The outcome of a fit as text: the sweep, the comparison, the verdict. Made for a terminal, kept as report.txt."""

from __future__ import annotations

import io
from collections.abc import Mapping

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from featcache.heads.shape import HeadShape
from featcache.select.floors import Floor
from featcache.select.outcome import FitResult, Rows, Scored
from featcache.select.sweep import Trial
from featcache.select.views import View

_INDENT = 11  # where the second column of all output begins
_TEXT_WIDTH = 110


def report_text(result: FitResult) -> str:
    """The whole report as plain text."""
    stream = io.StringIO()
    print_report(result, Console(file=stream, width=_width(result), no_color=True, highlight=False))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def print_report(result: FitResult, console: Console) -> None:
    """Sweep, comparison, verdict and where things were saved."""
    _line(console, "rows", f"{_rows(result.rows)} · {len(result.classes)} classes, largest {result.largest_share:.0%}")
    _line(console, "space", f"{result.space} · {len(result.trials)} heads tried in {result.seconds:.0f} s")
    console.print()
    _line(
        console, "sweep", f"{result.metric} of the best head of each kind, train beside validation ({_legend(result)})"
    )
    console.print(Padding(_sweep_table(result), (0, 0, 0, _INDENT)))
    console.print()
    console.print(Padding(_comparison_table(result), (0, 0, 0, _INDENT)))
    console.print()
    kind = f"{result.verdict.kind}: " if result.verdict.kind else ""
    gain = _gain(result)
    if gain:
        _line(console, "gain", gain)
    _line(console, "verdict", f"{kind}{result.verdict.why}.")
    below = _below_floor(result)
    if below:
        _line(console, "floor", below)
    _line(console, "saved", f"{result.bundle} · trials and curves in {result.folder}/trials.jsonl")
    _line(console, "next", f"featcache predict {result.bundle} DATA")


def _line(console: Console, head: str, text: str) -> None:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=_INDENT - 1)
    table.add_column(overflow="fold", max_width=_TEXT_WIDTH)
    table.add_row(Text(head, style="bold"), Text(text))
    console.print(table)


def _rows(rows: Rows) -> str:
    parts = f"{rows.train:,} train + {rows.validation:,} validation"
    test = f" · {rows.test:,} test" if rows.test else " · no test"
    return parts + test + (f" · {rows.dropped:,} dropped (text in a later part)" if rows.dropped else "")


def _sweep_table(result: FitResult) -> Table:
    """Views down, heads across; in each cell the training score beside the validation score."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("view", no_wrap=True)
    heads = list(dict.fromkeys(trial.head for trial in result.trials))
    for head in heads:
        table.add_column(str(head), no_wrap=True)
    cells: dict[tuple[View, HeadShape], Trial] = {}
    for trial in sorted(result.trials, key=lambda one: (not one.dropped, one.validation[result.metric])):
        cells[trial.view, trial.head] = trial  # of several recipes the best that was trained to its end
    cells[result.best.trial.view, result.best.trial.head] = result.best.trial
    for view in dict.fromkeys(trial.view for trial in result.trials):
        table.add_row(str(view), *(_cell(cells, view, head, result) for head in heads))
    return table


def _legend(result: FitResult) -> str:
    dropped = "" if not any(trial.dropped for trial in result.trials) else "; ~ dropped before its end"
    return f"▸ the choice{dropped}"


def _cell(cells: Mapping[tuple[View, HeadShape], Trial], view: View, head: HeadShape, result: FitResult) -> Text:
    trial = cells.get((view, head))
    if trial is None:
        return Text("·", style="dim")
    text = f"{_short(trial.train[result.metric])} {_short(trial.validation[result.metric])}"
    if trial is result.best.trial:
        return Text(f"{text} ▸", style="bold")
    return Text(text) if not trial.dropped else Text(f"{text} ~", style="dim")


def _comparison_table(result: FitResult) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(result.metric, overflow="fold")
    table.add_column("train", justify="right", no_wrap=True)
    table.add_column("validation", justify="right", no_wrap=True)
    table.add_column("test", no_wrap=True)
    table.add_column("accuracy", no_wrap=True)
    table.add_row("majority class", *_floor_cells(result.majority, result.metric))
    if result.tfidf is not None:
        table.add_row("TF-IDF", *_floor_cells(result.tfidf, result.metric))
    table.add_row(f"linear, {result.linear.trial.view}", *_head_cells(result.linear, result.metric))
    name = f"▸ {result.best.trial.head}, {result.best.trial.view}"
    table.add_row(Text(name, style="bold"), *_head_cells(result.best, result.metric))
    return table


def _gain(result: FitResult) -> str | None:
    if result.gain is None or result.best.trial is result.linear.trial:
        return None
    value, low, high = (100 * one for one in (result.gain.value, result.gain.low, result.gain.high))
    return f"{value:+.1f} points of {result.metric} on test over the linear head ({low:+.1f} … {high:+.1f})"


def _floor_cells(floor: Floor, metric: str) -> list[str]:
    test, accuracy = ("", "") if floor.test is None else (f"{floor.test[metric]:.3f}", f"{floor.test['accuracy']:.3f}")
    return [f"{floor.train[metric]:.3f}", f"{floor.validation[metric]:.3f}", test, accuracy]


def _head_cells(scored: Scored, metric: str) -> list[str]:
    test, accuracy = "", ""
    if scored.test is not None:
        one = scored.test[metric]
        test, accuracy = f"{one.value:.3f} ({one.low:.3f}–{one.high:.3f})", f"{scored.test['accuracy'].value:.3f}"
    return [f"{scored.trial.train[metric]:.3f}", f"{scored.trial.validation[metric]:.3f}", test, accuracy]


def _below_floor(result: FitResult) -> str | None:
    """What must always be said: a head that a bag of words beats."""
    if result.tfidf is None:
        return None
    part = "test" if result.best.test is not None and result.tfidf.test is not None else "validation"
    floor = (result.tfidf.test or result.tfidf.validation)[result.metric]
    below = []
    for name, scored in (("the linear head", result.linear), ("the choice", result.best)):
        value = scored.trial.validation[result.metric] if scored.test is None else scored.test[result.metric].value
        if value < floor:
            below.append(f"{name} ({value:.3f})")
    return f"{' and '.join(below)} stays below TF-IDF ({floor:.3f}) on {part} rows" if below else None


def _short(value: float) -> str:
    """`.976`: three places are what 1,000 rows can tell."""
    return f"{value:.3f}".removeprefix("0")


def _width(result: FitResult) -> int:
    heads = {str(trial.head) for trial in result.trials}
    return max(_TEXT_WIDTH + _INDENT, _INDENT + 20 + sum(max(13, len(head) + 2) for head in heads))
