"""The outcome of a fit as text: the sweep's top, the comparison, the layers, the verdict.

Made for a terminal, kept as report.txt; the page beside it says the same with pictures.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

from rich.color import Color
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from featcache.console import INDENT, TEXT_WIDTH, Console, plain_text, print_line
from featcache.evidence.floors import Floor
from featcache.evidence.verdict import Verdict
from featcache.features.views import View
from featcache.heads.shape import HeadShape
from featcache.runs.result import FitResult
from featcache.search.rows import RowCounts
from featcache.search.scores import Scored
from featcache.search.trial import Trial

_FEW_LEAKS = 2  # that are told beside the scores; the page has all
_TOP = 8  # views of the sweep that are shown; all are in trials.jsonl
_LAYERS_A_LINE = 17  # of the heat map, 6 characters each
# From low to high, dark to light, as colour-blind safe as one hue is; written on in white or black.
_RAMP = (
    (31, 45, 61),
    (31, 67, 102),
    (42, 106, 163),
    (75, 148, 210),
    (140, 192, 238),
    (217, 235, 255),
)


def report_text(result: FitResult) -> str:
    """The whole report as plain text."""
    return plain_text(lambda console: print_report(result, console), _width(result))


def print_report(result: FitResult, console: Console) -> None:
    """Sweep, comparison, verdict and where things were saved."""
    print_line(
        console,
        "rows",
        f"{_rows(result.rows)} · {len(result.classes)} classes, largest {result.largest_share:.0%}",
    )
    print_line(
        console,
        "space",
        f"{result.space} · {len(result.trials)} heads tried in {result.seconds:.0f} s",
    )
    console.print()
    print_line(
        console,
        "sweep",
        f"{result.metric} of the best head of each kind, train beside validation ({_legend(result)})",
    )
    views = _top_views(result)
    console.print(Padding(_sweep_table(result, views), (0, 0, 0, INDENT)))
    more = len({trial.view for trial in result.trials}) - len(views)
    if more > 0:
        print_line(console, "", f"… and {more} more view{'' if more == 1 else 's'} in trials.jsonl")
    console.print()
    console.print(Padding(_comparison_table(result), (0, 0, 0, INDENT)))
    console.print()
    _print_layers(result, console)
    following = shlex.join(["featcache", "predict", result.bundle, "DATA"])
    for head, text in (
        ("gain", _gain(result)),
        *_verdict(result.verdict, following),
        ("floor", _below_floor(result)),
        *_about_data(result),
        (
            "saved",
            result.bundle
            + ("" if result.verdict is None else f" · report {result.folder}/report.html"),
        ),
        ("next", following),
    ):
        if text:
            print_line(console, head, text)


def _verdict(verdict: Verdict | None, following: str) -> Iterator[tuple[str, str | None]]:
    if verdict is None:
        return
    yield "verdict", f"{verdict.kind}: {verdict.why}."
    ranked = _ranked(verdict)
    yield "causes", ranked and f"{ranked} (points)"
    yield "cure", None if verdict.cure == following else verdict.cure


def _about_data(result: FitResult) -> Iterator[tuple[str, str]]:
    """What a person should look at."""
    if result.mislabelled.count:
        yield "labels", f"{result.mislabelled.said}: {result.folder}/{result.mislabelled.path}"
    leaks = [finding.what for finding in result.findings if finding.leak]
    yield from (("leak", what) for what in leaks[:_FEW_LEAKS])
    more, others = len(leaks[_FEW_LEAKS:]), len(result.findings) - len(leaks)
    rest = [f"{more} more leak{'' if more == 1 else 's'}"] if more else []
    rest += [f"{others} other finding{'' if others == 1 else 's'}"] if others else []
    if rest:
        yield "data", f"{' and '.join(rest)}: `featcache check` tells all"


def _rows(rows: RowCounts) -> str:
    parts = f"{rows.train:,} train + {rows.validation:,} validation"
    test = f" · {rows.test:,} test" if rows.test else " · no test"
    return (
        parts
        + test
        + (f" · {rows.dropped:,} dropped (text in a later part)" if rows.dropped else "")
    )


def _top_views(result: FitResult) -> list[View]:
    """The views whose best head does best, in the order of the search; that of the choice is one of
    them.
    """
    best: dict[View, float] = {}
    for trial in result.trials:
        best[trial.view] = max(best.get(trial.view, -1.0), trial.validation[result.metric])
    best[result.best.trial.view] = 2.0
    top = set(sorted(best, key=lambda view: -best[view])[:_TOP])
    return [view for view in dict.fromkeys(trial.view for trial in result.trials) if view in top]


def _sweep_table(result: FitResult, views: Sequence[View]) -> Table:
    """Views down, heads across; in each cell the training score beside the validation score."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("view", no_wrap=True)
    heads = list(dict.fromkeys(trial.head for trial in result.trials))
    for head in heads:
        table.add_column(str(head), no_wrap=True)
    cells: dict[tuple[View, HeadShape], Trial] = {}
    for trial in sorted(
        result.trials, key=lambda one: (not one.dropped, one.validation[result.metric])
    ):
        cells[trial.view, trial.head] = (
            trial  # of several recipes the best that was trained to its end
        )
    cells[result.best.trial.view, result.best.trial.head] = result.best.trial
    for view in views:
        table.add_row(str(view), *(_cell(cells, view, head, result) for head in heads))
    return table


def _legend(result: FitResult) -> str:
    dropped = (
        "" if not any(trial.dropped for trial in result.trials) else "; ~ dropped before its end"
    )
    return f"▸ the choice{dropped}"


def _cell(
    cells: Mapping[tuple[View, HeadShape], Trial], view: View, head: HeadShape, result: FitResult
) -> Text:
    trial = cells.get((view, head))
    if trial is None:
        return Text("·", style="dim")
    text = f"{_short(trial.train[result.metric])} {_short(trial.validation[result.metric])}"
    if trial is result.best.trial:
        return Text(f"{text} ▸", style="bold")
    return Text(text) if not trial.dropped else Text(f"{text} ~", style="dim")


def _print_layers(result: FitResult, console: Console) -> None:
    """Validation score of the best head on each layer and pooling alone; the deeper the colour, the
    less.
    """
    best: dict[tuple[int, str], float] = {}
    for trial in result.trials:
        if trial.view.single:
            place = trial.view.layers[0], trial.view.poolings[0]
            best[place] = max(best.get(place, -1.0), trial.validation[result.metric])
    layers = sorted({layer for layer, _ in best})
    if len(best) < 2:
        return
    poolings = list(dict.fromkeys(pooling for _, pooling in best))
    low, high = _ends(list(best.values()))
    for start in range(0, len(layers), _LAYERS_A_LINE):
        shown = layers[start : start + _LAYERS_A_LINE]
        line = Text("layers".ljust(INDENT), style="bold")
        line.append("".join(f"{layer:>4}  " for layer in shown), style="not bold")
        console.print(line)
        for pooling in poolings:
            line = Text(f"  {pooling}".ljust(INDENT))
            for layer in shown:
                value = best.get((layer, pooling))
                text = "·" if value is None else _short(value)
                line.append(f"{text:>5} ", style="" if value is None else _shade(value, low, high))
            console.print(line)
    console.print()


def _ends(scores: list[float]) -> tuple[float, float]:
    """From where to where colours tell scores apart; see `charts.range_of`."""
    ordered = sorted(scores)
    lower, upper = ordered[len(ordered) // 4], ordered[(3 * len(ordered)) // 4]
    return max(ordered[0], lower - 1.5 * (upper - lower)), ordered[-1]


def _shade(value: float, low: float, high: float) -> Style:
    share = min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 1.0
    red, green, blue = _RAMP[round(share * (len(_RAMP) - 1))]
    dark = 0.299 * red + 0.587 * green + 0.114 * blue < 128
    ink = 255 if dark else 0  # by its number: what a terminal calls white and black may be greys
    return Style(color=Color.from_rgb(ink, ink, ink), bgcolor=Color.from_rgb(red, green, blue))


def _ranked(verdict: Verdict) -> str | None:
    """Several causes with the points that each is worth; one is the verdict itself."""
    if len(verdict.causes) < 2:
        return None
    return " · ".join(
        f"{cause.kind}{_worth(cause.points, cause.standard_error)}" for cause in verdict.causes
    )


def _worth(points: float | None, error: float | None) -> str:
    if points is None:
        return ""
    return f" {100 * points:+z.1f}" + ("" if error is None else f" ± {100 * error:.1f}")


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
    return f"{value:+z.1f} points of {result.metric} on test over the linear head ({low:+z.1f} … {high:+z.1f})"


def _floor_cells(floor: Floor, metric: str) -> list[str]:
    test, accuracy = (
        ("", "")
        if floor.test is None
        else (f"{floor.test[metric]:.3f}", f"{floor.test['accuracy']:.3f}")
    )
    return [f"{floor.train[metric]:.3f}", f"{floor.validation[metric]:.3f}", test, accuracy]


def _head_cells(scored: Scored, metric: str) -> list[str]:
    test, accuracy = "", ""
    if scored.test is not None:
        one = scored.test[metric]
        test, accuracy = (
            f"{one.value:.3f} ({one.low:.3f}–{one.high:.3f})",
            f"{scored.test['accuracy'].value:.3f}",
        )
    return [
        f"{scored.trial.train[metric]:.3f}",
        f"{scored.trial.validation[metric]:.3f}",
        test,
        accuracy,
    ]


def _below_floor(result: FitResult) -> str | None:
    """What must always be said: a head that a bag of words beats."""
    if result.tfidf is None:
        return None
    part = (
        "test" if result.best.test is not None and result.tfidf.test is not None else "validation"
    )
    floor = (result.tfidf.test or result.tfidf.validation)[result.metric]
    below = []
    for name, scored in (("the linear head", result.linear), ("the choice", result.best)):
        value = (
            scored.trial.validation[result.metric]
            if scored.test is None
            else scored.test[result.metric].value
        )
        if value < floor:
            below.append(f"{name} ({value:.3f})")
    return (
        f"{' and '.join(below)} stays below TF-IDF ({floor:.3f}) on {part} rows" if below else None
    )


def _short(value: float) -> str:
    """`.976`: three places are what 1,000 rows can tell."""
    return f"{value:.3f}".removeprefix("0")


def _width(result: FitResult) -> int:
    heads = {str(trial.head) for trial in result.trials}
    return max(TEXT_WIDTH + INDENT, INDENT + 20 + sum(max(13, len(head) + 2) for head in heads))
