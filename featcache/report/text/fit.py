"""The outcome of a fit as text: the sweep's top, the comparison, the layers, the verdict.

Made for a terminal, kept as report.txt; the page beside it says the same with pictures.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from rich.padding import Padding

from featcache.console import INDENT, TEXT_WIDTH, Console, plain_text, print_line
from featcache.evidence.verdict import Verdict
from featcache.report.sentences import below_floor, gain_clause
from featcache.report.text.layers import print_layers
from featcache.report.text.numbers import points_with_error
from featcache.report.text.tables import comparison_table, legend, sweep_table, top_views
from featcache.runs.result import FitResult
from featcache.search.rows import RowCounts
from featcache.search.scores import Scored
from featcache.wording import counted

_FEW_LEAKS = 2  # that stand beside the scores; the page has all


def report_text(result: FitResult) -> str:
    """Return the whole report as plain text."""
    return plain_text(lambda console: print_report(result, console), _width(result))


def print_report(result: FitResult, console: Console) -> None:
    """Print sweep, comparison, layers, verdict and where things were saved."""
    classes = f"{len(result.classes)} classes, largest {result.largest_share:.0%}"
    heads = f"{len(result.trials)} heads tried in {result.seconds:.0f} s"
    print_line(console, "rows", f"{_rows(result.rows)} · {classes}")
    print_line(console, "space", f"{result.space} · {heads}")
    console.print()
    what = f"{result.metric} of the best head of each kind, train beside validation"
    print_line(console, "sweep", f"{what} ({legend(result)})")
    views = top_views(result)
    console.print(Padding(sweep_table(result, views), (0, 0, 0, INDENT)))
    n_more = len({trial.view for trial in result.trials}) - len(views)
    if n_more > 0:
        print_line(console, "", f"… and {counted(n_more, 'more view')} in trials.jsonl")
    console.print()
    console.print(Padding(comparison_table(result), (0, 0, 0, INDENT)))
    console.print()
    print_layers(result, console)
    for head, text in _lines(result):
        print_line(console, head, text)


def _lines(result: FitResult) -> Iterator[tuple[str, str]]:
    """Yield what stands below the tables: what a line is about, and its text."""
    following = shlex.join(["featcache", "predict", result.bundle, "DATA"])
    gain, floor = _gain(result), _below_floor(result)
    if gain:
        yield "gain", gain
    if result.verdict is not None:
        yield from _verdict(result.verdict, following)
    if floor:
        yield "floor", floor
    yield from _about_data(result)
    report = "" if result.verdict is None else f" · report {result.folder}/report.html"
    yield "saved", f"{result.bundle}{report}"
    yield "next", following


def _verdict(verdict: Verdict, following: str) -> Iterator[tuple[str, str]]:
    """Yield the verdict, its causes where there are several, and a cure that is not `following`."""
    yield "verdict", f"{verdict.kind}: {verdict.why}."
    if len(verdict.causes) > 1:
        causes = []
        for cause in verdict.causes:
            worth = ""
            if cause.points is not None:
                worth = f" {points_with_error(cause.points, cause.standard_error)}"
            causes.append(f"{cause.kind}{worth}")
        yield "causes", f"{' · '.join(causes)} (points)"
    if verdict.cure and verdict.cure != following:
        yield "cure", verdict.cure


def _about_data(result: FitResult) -> Iterator[tuple[str, str]]:
    """Yield what a person should look at."""
    if result.mislabelled.count:
        yield "labels", f"{result.mislabelled.said}: {result.folder}/{result.mislabelled.path}"
    leaks = [finding.what for finding in result.findings if finding.leak]
    for what in leaks[:_FEW_LEAKS]:
        yield "leak", what
    n_more, n_others = len(leaks[_FEW_LEAKS:]), len(result.findings) - len(leaks)
    rest = [counted(n_more, "more leak")] if n_more else []
    rest += [counted(n_others, "other finding")] if n_others else []
    if rest:
        yield "data", f"{' and '.join(rest)}: `featcache check` tells all"


def _rows(rows: RowCounts) -> str:
    """Return the sizes of the parts on one line."""
    sizes = [f"{rows.train:,} train + {rows.validation:,} validation"]
    sizes.append(f"{rows.test:,} test" if rows.test else "no test")
    if rows.dropped:
        sizes.append(f"{rows.dropped:,} dropped (text in a later part)")
    return " · ".join(sizes)


def _gain(result: FitResult) -> str | None:
    """Say what the choice gains, unless it is the linear reference or there are no test rows."""
    gain = result.gain
    if gain is None or result.best.trial is result.linear.trial:
        return None
    return gain_clause(result.metric, gain.value, gain.low, gain.high)


def _below_floor(result: FitResult) -> str | None:
    """Say which heads a bag of words beats; a finding that is always stated."""
    if result.tfidf is None:
        return None
    on_test = result.best.test is not None and result.tfidf.test is not None
    floor = (result.tfidf.test or result.tfidf.validation)[result.metric]
    heads = [("the linear head", _score(result.linear, result.metric))]
    if result.best.trial is not result.linear.trial:
        heads.append(("the choice", _score(result.best, result.metric)))
    return below_floor(heads, floor, "test" if on_test else "validation")


def _score(scored: Scored, metric: str) -> float:
    """Return a head's score on test rows, on validation rows where there are none."""
    return scored.trial.validation[metric] if scored.test is None else scored.test[metric].value


def _width(result: FitResult) -> int:
    """Return how many characters the table of the sweep needs."""
    heads = {str(trial.head) for trial in result.trials}
    return max(TEXT_WIDTH + INDENT, INDENT + 20 + sum(max(13, len(head) + 2) for head in heads))
