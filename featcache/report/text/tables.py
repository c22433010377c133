"""The tables of the terminal: the top of the sweep, and the choice beside what it has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from featcache.evidence.floors import Floor
from featcache.features.views import View
from featcache.heads.shape import HeadShape
from featcache.report.text.numbers import short, with_interval
from featcache.runs.result import FitResult
from featcache.search.scores import Scored
from featcache.search.trial import Trial

_TOP = 8  # views of the sweep that are shown; all are in trials.jsonl

Cells = Mapping[tuple[View, HeadShape], Trial]


def top_views(result: FitResult) -> list[View]:
    """Return the views whose best head does best, in the order of the search.

    The view of the choice is one of them, whatever its score.
    """
    best: dict[View, float] = {}
    for trial in result.trials:
        best[trial.view] = max(best.get(trial.view, -1.0), trial.validation[result.metric])
    best[result.best.trial.view] = 2.0
    top = set(sorted(best, key=lambda view: -best[view])[:_TOP])
    return [view for view in dict.fromkeys(trial.view for trial in result.trials) if view in top]


def sweep_table(result: FitResult, views: Sequence[View]) -> Table:
    """Return views down, heads across; each cell has the training and the validation score."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("view", no_wrap=True)
    heads = list(dict.fromkeys(trial.head for trial in result.trials))
    for head in heads:
        table.add_column(str(head), no_wrap=True)
    cells = _best_by_cell(result)
    for view in views:
        table.add_row(str(view), *(_cell(cells, view, head, result) for head in heads))
    return table


def legend(result: FitResult) -> str:
    """Say what the signs in the table of the sweep mean."""
    if any(trial.dropped for trial in result.trials):
        return "▸ the choice; ~ dropped before its end"
    return "▸ the choice"


def comparison_table(result: FitResult) -> Table:
    """Return the floors, the linear reference and the choice, part by part."""
    metric = result.metric
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(metric, overflow="fold")
    table.add_column("train", justify="right", no_wrap=True)
    table.add_column("validation", justify="right", no_wrap=True)
    table.add_column("test", no_wrap=True)
    table.add_column("accuracy", no_wrap=True)
    table.add_row("majority class", *_floor_cells(result.majority, metric))
    if result.tfidf is not None:
        table.add_row("TF-IDF", *_floor_cells(result.tfidf, metric))
    table.add_row(f"linear, {result.linear.trial.view}", *_head_cells(result.linear, metric))
    name = f"▸ {result.best.trial.head}, {result.best.trial.view}"
    table.add_row(Text(name, style="bold"), *_head_cells(result.best, metric))
    return table


def _best_by_cell(result: FitResult) -> Cells:
    """Return the best of several recipes; one that was trained to its end, where there is one."""
    cells: dict[tuple[View, HeadShape], Trial] = {}
    rising = sorted(
        result.trials, key=lambda trial: (not trial.dropped, trial.validation[result.metric])
    )
    for trial in rising:
        cells[trial.view, trial.head] = trial
    cells[result.best.trial.view, result.best.trial.head] = result.best.trial
    return cells


def _cell(cells: Cells, view: View, head: HeadShape, result: FitResult) -> Text:
    trial = cells.get((view, head))
    if trial is None:
        return Text("·", style="dim")
    text = f"{short(trial.train[result.metric])} {short(trial.validation[result.metric])}"
    if trial is result.best.trial:
        return Text(f"{text} ▸", style="bold")
    return Text(f"{text} ~", style="dim") if trial.dropped else Text(text)


def _floor_cells(floor: Floor, metric: str) -> list[str]:
    cells = [f"{floor.train[metric]:.3f}", f"{floor.validation[metric]:.3f}"]
    if floor.test is None:
        return [*cells, "", ""]
    return [*cells, f"{floor.test[metric]:.3f}", f"{floor.test['accuracy']:.3f}"]


def _head_cells(scored: Scored, metric: str) -> list[str]:
    trial = scored.trial
    cells = [f"{trial.train[metric]:.3f}", f"{trial.validation[metric]:.3f}"]
    if scored.test is None:
        return [*cells, "", ""]
    return [*cells, with_interval(scored.test[metric]), f"{scored.test['accuracy'].value:.3f}"]
