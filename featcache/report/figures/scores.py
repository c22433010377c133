"""Figures of scores: the choice beside what it has to beat, and what each experiment gained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from featcache.report.charts import (
    Figure,
    Spec,
    chart,
    distinct,
    f3,
    names_axis,
    points,
    score_axis,
    span,
    tall,
    tip,
    wrapped,
)
from featcache.runs.evidence_records import ExperimentRecord
from featcache.runs.records import ScoreRecord
from featcache.runs.run import Run


@dataclass(frozen=True)
class _Row:
    """A model and its scores, one row of the figure."""

    name: str
    score: ScoreRecord
    train: float
    validation: float


def figure_scores(run: Run) -> Figure:
    """Draw the choice beside the linear reference and the floors."""
    part, metric = run.part, run.metric
    rows = _score_rows(run)
    best = rows[-1]
    others = ", ".join(f"{row.name} {row.score.value:.3f}" for row in rows[:-1])
    return Figure(
        "scores",
        "Where it stands",
        f"{metric} on {part} rows: {best.name} {best.score.value:.3f}; {others}.",
        f"{metric} on {part} rows; bars are 95 % intervals. Floors have none.",
        _scores_chart(rows, metric, part),
        ("model", part, "95 % interval", "train", "validation"),
        tuple(
            (
                row.name,
                f3(row.score.value),
                span(*row.score.ends),
                f3(row.train),
                f3(row.validation),
            )
            for row in rows
        ),
    )


def _score_rows(run: Run) -> list[_Row]:
    """Return floors and heads; the choice comes last."""
    part, metric, floors = run.part, run.metric, run.result.floors
    rows: list[_Row] = []
    for name, floor in (("majority class", floors.majority), ("TF-IDF", floors.tfidf)):
        if floor is not None:
            scores = floor.test if part == "test" and floor.test is not None else floor.validation
            score = ScoreRecord(value=scores[metric])
            rows.append(_Row(name, score, floor.train[metric], floor.validation[metric]))
    heads = [("linear head", run.linear)]
    if not run.is_linear:
        heads.append(("the choice", run.best))
    for name, scored in heads:
        score = ScoreRecord(value=scored.validation[metric])
        if scored.test is not None:
            score = scored.test[metric]
        rows.append(_Row(name, score, scored.train[metric], scored.validation[metric]))
    return rows


def _scores_chart(rows: Sequence[_Row], metric: str, part: str) -> Spec:
    values = [
        {
            "name": row.name,
            "value": row.score.value,
            "low": row.score.ends[0],
            "high": row.score.ends[1],
            "train": row.train,
            "validation": row.validation,
            "choice": row is rows[-1],
        }
        for row in rows
    ]
    colour = {"condition": {"test": "datum.choice", "value": "@validation"}, "value": "@muted"}
    y = names_axis([row.name for row in rows])
    title = f"{metric} on {part} rows"
    tooltip = [
        tip("name", "model"),
        tip("value", part, ".3f"),
        tip("low", "from", ".3f"),
        tip("high", "to", ".3f"),
        tip("train", "train", ".3f"),
        tip("validation", "validation", ".3f"),
    ]
    interval = {
        "mark": {"type": "rule", "strokeWidth": 3, "opacity": 0.55},
        "encoding": {
            "x": score_axis("low", title),
            "x2": {"field": "high"},
            "y": y,
            "color": colour,
        },
    }
    dot = {
        "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1},
        "encoding": {
            "x": score_axis("value", title),
            "y": y,
            "color": colour,
            "tooltip": tooltip,
        },
    }
    text = {
        "mark": {"type": "text", "dy": -12, "fontWeight": 600, "color": "@ink"},
        "encoding": {
            "x": {"field": "value", "type": "quantitative"},
            "y": y,
            "text": {"field": "value", "format": ".3f"},
        },
    }
    return chart(values, [interval, dot, text], height=tall(len(values), 40))


def figure_experiments(experiments: Sequence[ExperimentRecord]) -> Figure | None:
    """Draw what each experiment of the verdict gained; None where none has a gain."""
    gained = [experiment for experiment in experiments if experiment.gain is not None]
    if not gained:
        return None
    top = max(gained, key=lambda experiment: experiment.gain or 0.0)
    worth = points(top.gain, top.standard_error)
    return Figure(
        "experiments",
        "What the experiments gained",
        f"{len(gained)} experiments; the largest gain is {worth} points, by {top.what}.",
        "Bars reach two standard errors to each side; what crosses zero may be noise.",
        _experiments_chart(gained),
        ("experiment", "points", "against"),
        tuple(
            (
                experiment.what,
                points(experiment.gain, experiment.standard_error),
                experiment.against or "the subject",
            )
            for experiment in gained
        ),
    )


def _experiments_chart(gained: Sequence[ExperimentRecord]) -> Spec:
    names = distinct([wrapped(experiment.what) for experiment in gained])
    values = []
    for name, experiment in zip(names, gained, strict=True):
        gain, error = experiment.gain or 0.0, experiment.standard_error
        values.append(
            {
                "name": name,
                "points": 100 * gain,
                "against": experiment.against or "the subject",
                "low": 100 * (gain - 2 * (error or 0.0)),
                "high": 100 * (gain + 2 * (error or 0.0)),
                "clear": error is not None and abs(gain) > 2 * error,
            }
        )
    colour = {"condition": {"test": "datum.clear", "value": "@validation"}, "value": "@muted"}
    y = names_axis(names)
    y["axis"] |= {"labelExpr": "split(datum.label, '\\n')", "labelLineHeight": 14}
    title = "points gained"
    signed = {"tickCount": 6, "labelExpr": "datum.value == 0 ? '0' : format(datum.value, '+.1~f')"}
    tooltip = [
        tip("name", "experiment"),
        tip("points", "points", "+.1f"),
        tip("low", "from", "+.1f"),
        tip("high", "to", "+.1f"),
        tip("against", "against"),
    ]
    zero = {
        "mark": {"type": "rule", "color": "@axis"},
        "encoding": {"x": {"datum": 0, "type": "quantitative"}},
    }
    interval = {
        "mark": {"type": "rule", "strokeWidth": 3, "opacity": 0.55},
        "encoding": {
            "x": {"field": "low", "type": "quantitative", "title": title, "axis": signed},
            "x2": {"field": "high"},
            "y": y,
            "color": colour,
        },
    }
    dot = {
        "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
        "encoding": {
            "x": {"field": "points", "type": "quantitative", "title": title},
            "y": y,
            "color": colour,
            "tooltip": tooltip,
        },
    }
    most_lines = max(name.count("\n") for name in names)
    step = max(30, 24 + 14 * most_lines)
    return chart(values, [zero, interval, dot], height=tall(len(values), step))
