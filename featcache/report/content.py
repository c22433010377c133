"""What a page says of one run: its figures and sentences, ready to be laid out. Nothing here knows
HTML.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from featcache.report.charts import Figure, f3, span
from featcache.report.figures.calibration import figure_reliability
from featcache.report.figures.errors import figure_classes, figure_confusion
from featcache.report.figures.learning import figure_learning
from featcache.report.figures.scores import figure_experiments, figure_scores
from featcache.report.figures.training import figures_training
from featcache.report.figures.views import best_by_shape, figure_layers, figure_shapes
from featcache.report.sentences import as_sentence, below_floor, gain_clause
from featcache.runs.head_records import ScoredRecord, TrialRecord
from featcache.runs.records import CalibrationRecord
from featcache.runs.run import Run

_TOP = 12  # heads in the table of the search
_HEADLINES = {
    "fits": "It fits. Nothing that was tried does better.",
    "not-converged": "Training stops too early.",
    "unscaled": "The features are not on one scale.",
    "features": "Another layer or pooling holds more.",
    "capacity": "A deeper head holds more.",
    "overfits": "It learns the training rows by heart.",
    "data-limited": "More labels would help.",
    "backbone": "The frozen backbone is the limit.",
    "no-signal": "No better than on shuffled labels.",
}
_SEARCHES = {
    "halving": "successive halving",
    "grid": "trying all of them",
    "random": "random search",
    "optuna": "Optuna's TPE sampler",
}


@dataclass(frozen=True)
class Training:
    """Training curves of one head. what: which head it is."""

    what: str
    figures: list[Figure]


@dataclass(frozen=True)
class Content:
    """One run for the page. number: from 1, its anchor. facts: (name, value) for the lines below
    its title.
    """

    run: Run
    number: int
    title: str
    facts: list[tuple[str, str]]
    headline: str
    summary: str
    gain: str | None
    below_floor: str | None
    scores: Figure
    experiments: Figure | None
    layers: Figure | None
    shapes: Figure | None
    training: list[Training]
    learning: Figure | None
    confusion: Figure | None
    calibration: Figure | None
    calibration_told: list[str]
    classes: Figure | None
    choice: list[str]
    top: list[TrialRecord]
    compared: list[tuple[str, str, str]]
    reproducible: str
    read_before: list[str]
    contract: list[tuple[str, str]]
    versions: list[tuple[str, str]]
    n_findings: int
    leaks: int


def content_of(run: Run, number: int = 1, title: str | None = None) -> Content:
    """Everything the page says of a run. title: what it is called beside others, its folder's name
    by default.
    """
    result, details = run.result, run.best.details
    return Content(
        run=run,
        number=number,
        title=title or run.folder.absolute().name or str(run.folder),
        facts=_facts(run),
        headline=_headline(run),
        summary=_summary(run),
        gain=_gain(run),
        below_floor=_below_floor(run),
        scores=figure_scores(run),
        experiments=figure_experiments(run.verdict.experiments),
        layers=figure_layers(run),
        shapes=figure_shapes(run),
        training=_training(run),
        learning=None
        if result.learning_curve is None
        else figure_learning(result.learning_curve, run.metric),
        confusion=None
        if details.confusion is None
        else figure_confusion(np.array(details.confusion), run.classes),
        calibration=_reliability(run),
        calibration_told=_calibration(run),
        classes=figure_classes(details.per_class, run.classes) if details.per_class else None,
        choice=_choice(run),
        top=sorted(
            run.trials,
            key=lambda trial: (trial.dropped, -trial.validation[run.metric]),
        )[:_TOP],
        compared=[(one.head, one.view, f3(one.score)) for one in result.search.compared],
        reproducible=_reproducible(run),
        read_before=[_line(choice) for choice in result.test_read_before],
        contract=_named_values(result.contract),
        versions=_named_values(result.versions),
        n_findings=len(result.findings or ()),
        leaks=sum(finding.leak for finding in result.findings or ()),
    )


def _line(choice: Mapping[str, Any]) -> str:
    """Return an entry of the ledger as one line."""
    return ", ".join(f"{name} {value}" for name, value in choice.items())


def _named_values(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a JSON object as (name, value) for people; what is not a string is shown as JSON."""
    named = []
    for name, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        named.append((name, text))
    return named


def _reliability(run: Run) -> Figure | None:
    """Return the figure of calibration, if the run has its bins."""
    bins, errors = run.result.reliability, run.result.calibration or CalibrationRecord()
    if bins is None:
        return None
    if bins.part == "test":
        return figure_reliability(bins, errors.test_before, errors.test_after)
    return figure_reliability(bins, errors.validation_before, errors.validation_after)


def _headline(run: Run) -> str:
    if run.result.verdict is None:
        return "There is no verdict."
    return _HEADLINES.get(run.verdict.kind or "", "No single limit was found.")


def _facts(run: Run) -> list[tuple[str, str]]:
    result, rows = run.result, run.result.rows
    counts = f"{rows.train:,} train · {rows.validation:,} validation · "
    counts += f"{rows.test:,} test" if rows.test else "no test rows"
    if rows.dropped:
        counts += f" · {rows.dropped:,} dropped (their text is in a later part)"
    facts = [] if result.label is None else [("label", result.label)]
    facts += [("run", str(run.folder)), ("space", result.space)]
    if result.backbone is not None:
        facts.append(("backbone", result.backbone))
    facts += [("rows", counts), ("classes", f"{len(run.classes):,}")]
    if result.created is not None:
        facts.append(("made", result.created[:16].replace("T", " ")))
    facts.append(("took", f"{result.seconds:,.0f} s"))
    return facts


def _summary(run: Run) -> str:
    best, metric, part = run.best, run.metric, run.part
    value = f3(best.validation[metric])
    if best.test is not None:
        score = best.test[metric]
        interval = span(*score.ends)
        value = f"{f3(score.value)} ({interval})" if interval else f3(score.value)
    return f"{best.name}: {metric} {value} on {part} rows"


def _gain(run: Run) -> str | None:
    """Say what the choice gains, with McNemar's test of the same two heads."""
    gain, mcnemar = run.result.gain, run.result.mcnemar
    if gain is None or run.is_linear:
        return None
    said = gain_clause(run.metric, gain.value, *gain.ends)
    if mcnemar is not None:
        said += (
            f". {mcnemar.only_mine:,} rows are right only by the choice, "
            f"{mcnemar.only_theirs:,} only by the linear head "
            f"(McNemar, exact: p = {mcnemar.p_value:.2g})"
        )
    return f"{said}."


def _below_floor(run: Run) -> str | None:
    """Say which heads a bag of words beats."""
    tfidf = run.result.floors.tfidf
    if tfidf is None:
        return None
    scores = tfidf.test if run.part == "test" and tfidf.test else tfidf.validation
    heads = [("the linear head", _score(run.linear, run.metric))]
    if not run.is_linear:
        heads.append(("the choice", _score(run.best, run.metric)))
    clause = below_floor(heads, scores[run.metric], run.part)
    return None if clause is None else as_sentence(clause)


def _score(scored: ScoredRecord, metric: str) -> float:
    """Return a head's score on test rows, on validation rows where there are none."""
    return scored.validation[metric] if scored.test is None else scored.test[metric].value


def _training(run: Run) -> list[Training]:
    """Of the choice first, then of the best head of each other shape."""
    chosen = run.best
    known = [one for one in run.trials if one.shape == chosen.shape and one.view == chosen.view]
    exact = [one for one in known if one.settings == chosen.settings] or known
    shown = [(f"The choice: {chosen.name}", exact[0])] if exact else []
    for trial in best_by_shape(run.trials, run.metric):
        if trial.shape != chosen.shape:
            note = f" ({trial.ended})" if trial.dropped else ""
            shown.append((f"{trial.name}{note}", trial))
    found = [
        Training(what, figures_training(trial, run.metric, f"training{number}"))
        for number, (what, trial) in enumerate(shown)
    ]
    return [one for one in found if one.figures]


def _calibration(run: Run) -> list[str]:
    found, said = run.result.calibration or CalibrationRecord(), []
    if found.temperature is not None:
        said.append(f"Logits are divided by {found.temperature:.3g}, found on validation rows.")
    for part, before, after in (
        ("validation", found.validation_before, found.validation_after),
        ("test", found.test_before, found.test_after),
    ):
        if before is not None and after is not None:
            said.append(
                f"Expected calibration error on {part} rows: {100 * before:.1f} % before, "
                f"{100 * after:.1f} % after."
            )
    if found.offsets:
        said.append(
            "Labels are chosen by thresholds that were tuned on validation rows for macro-F1."
        )
    return said


def _choice(run: Run) -> list[str]:
    search = run.result.search
    n_trials = len(run.trials) if run.result.trials is None else run.result.trials
    how = _SEARCHES.get(search.search, search.search)
    dropped = sum(trial.dropped for trial in run.trials)
    given_up = f"; {dropped:,} of them were given up for better ones" if dropped else ""
    said = [f"{n_trials:,} heads were tried by {how}{given_up}."]
    if search.seconds is not None:
        said.append(
            f"The search was given {search.seconds:g} s, so the result depends on the machine."
        )
    on = f"{run.result.rows.validation:,} validation rows"
    if search.cv is not None:
        on = f"{search.cv} folds over training and validation rows"
    said.append(
        f"Chosen by {run.metric} on {on}: the simplest head that the best does not beat by more "
        "than one standard error."
    )
    if search.seeds:
        seeds = "Seed" if len(search.seeds) == 1 else "Seeds"
        said.append(f"{seeds} of each: {', '.join(map(str, search.seeds))}.")
    if search.balance != "none":
        said.append(f"Classes were balanced by {search.balance}.")
    if search.focal:
        said.append(f"Focal loss with exponent {search.focal:g}.")
    if run.part == "test":
        said.append(
            "The choice and the linear head were then fitted on training and validation rows "
            "together, and the test rows were read once."
        )
    else:
        said.append(
            "There are no test rows: scores on validation rows, which the choice was made on, "
            "are too good."
        )
    return said


def _reproducible(run: Run) -> str:
    if run.result.command:
        return "The same command on the same files and cache gives the same scores on one machine."
    if run.result.command is None:
        return (
            "The data were given in Python, so there is no command; the same call gives the same "
            "scores on one machine."
        )
    return "An early version wrote this run and did not keep its command."
