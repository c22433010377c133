"""What a page says of one run: its figures and sentences, ready to be laid out. Nothing here knows
HTML.
"""

from __future__ import annotations

from dataclasses import dataclass

from featcache.report import figures
from featcache.report.charts import Figure, f3, span
from featcache.runs.record import NO_VERDICT, Run, Trial, Verdict

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
    top: list[Trial]
    compared: list[tuple[str, str, str]]
    reproducible: str
    n_findings: int
    leaks: int


def content_of(run: Run, number: int = 1, title: str | None = None) -> Content:
    """Everything the page says of a run. title: what it is called beside others, its folder's name
    by default.
    """
    reliability = None
    if run.reliability is not None:
        before, after = (
            run.calibration.get(f"{run.reliability.part}_{when}") for when in ("before", "after")
        )
        reliability = figures.figure_reliability(run.reliability, before, after)
    best = run.best
    return Content(
        run=run,
        number=number,
        title=title or run.folder.absolute().name or str(run.folder),
        facts=_facts(run),
        headline=_headline(run.verdict),
        summary=_summary(run),
        gain=_gain(run),
        below_floor=_below_floor(run),
        scores=figures.figure_scores(run),
        experiments=figures.figure_experiments(run.verdict.experiments),
        layers=figures.figure_layers(run),
        shapes=figures.figure_shapes(run),
        training=_training(run),
        learning=None
        if run.learning_curve is None
        else figures.figure_learning(run.learning_curve, run.metric),
        confusion=None
        if best.confusion is None
        else figures.figure_confusion(best.confusion, run.classes),
        calibration=reliability,
        calibration_told=_calibration(run),
        classes=figures.figure_classes(best.per_class) if best.per_class else None,
        choice=_choice(run),
        top=sorted(
            run.trials,
            key=lambda trial: (trial.dropped, -trial.validation[run.metric]),
        )[:_TOP],
        compared=[(head, view, f3(score)) for head, view, score in run.search.compared],
        reproducible=_reproducible(run),
        n_findings=len(run.findings or ()),
        leaks=sum(one.leak for one in run.findings or ()),
    )


def _headline(verdict: Verdict) -> str:
    if verdict == NO_VERDICT:
        return "There is no verdict."
    return _HEADLINES.get(verdict.kind or "", "No single limit was found.")


def _facts(run: Run) -> list[tuple[str, str]]:
    rows = run.rows
    counts = f"{rows['train']:,} train · {rows['validation']:,} validation · "
    counts += f"{rows['test']:,} test" if rows.get("test") else "no test rows"
    if rows.get("dropped"):
        counts += f" · {rows['dropped']:,} dropped (their text is in a later part)"
    facts = [] if run.label is None else [("label", run.label)]
    facts += [("run", str(run.folder)), ("space", run.space)]
    if "backbone" in run.facts:
        facts.append(("backbone", run.facts["backbone"]))
    facts += [("rows", counts), ("classes", f"{len(run.classes):,}")]
    if "created" in run.facts:
        facts.append(("made", run.facts["created"][:16].replace("T", " ")))
    facts.append(("took", f"{run.seconds:,.0f} s"))
    return facts


def _summary(run: Run) -> str:
    best, metric, part = run.best, run.metric, run.part
    value = f3(best.trial.validation[metric])
    if best.test is not None:
        one = best.test[metric]
        value = (
            f"{f3(one.value)} ({span(one.low, one.high)})" if one.low is not None else f3(one.value)
        )
    return f"{best.trial.name}: {metric} {value} on {part} rows"


def _gain(run: Run) -> str | None:
    if run.gain is None or run.best.trial.name == run.linear.trial.name:
        return None
    one = run.gain
    said = (
        f"{100 * one.value:+z.1f} points of {run.metric} over the linear head on the same test rows"
    )
    if one.low is not None and one.high is not None:
        said += f" ({100 * one.low:+z.1f} … {100 * one.high:+z.1f})"
    if run.mcnemar is not None:
        said += (
            f". {run.mcnemar.only_mine:,} rows are right only by the choice, {run.mcnemar.only_theirs:,} only by the "
            f"linear head (McNemar, exact: p = {run.mcnemar.p_value:.2g})"
        )
    return f"{said}."


def _below_floor(run: Run) -> str | None:
    if run.tfidf is None:
        return None
    floor = (run.tfidf.test if run.part == "test" and run.tfidf.test else run.tfidf.validation)[
        run.metric
    ]
    below = []
    for name, scored in (("the linear head", run.linear), ("the choice", run.best)):
        value = (
            scored.trial.validation[run.metric]
            if scored.test is None
            else scored.test[run.metric].value
        )
        if value < floor and not (
            name == "the choice" and run.best.trial.name == run.linear.trial.name
        ):
            below.append(f"{name} ({value:.3f})")
    if not below:
        return None
    said = " and ".join(below)
    stays = "stays" if len(below) == 1 else "stay"
    return f"{said[0].upper()}{said[1:]} {stays} below a bag of words: TF-IDF has {floor:.3f} on {run.part} rows."


def _training(run: Run) -> list[Training]:
    """Of the choice first, then of the best head of each other shape."""
    chosen = run.best.trial
    known = [one for one in run.trials if one.shape == chosen.shape and one.view == chosen.view]
    exact = [one for one in known if one.settings == chosen.settings] or known
    shown = [(f"The choice: {chosen.name}", exact[0])] if exact else []
    for trial in figures.best_by_shape(run.trials, run.metric):
        if trial.shape != chosen.shape:
            note = f" ({trial.ended})" if trial.dropped else ""
            shown.append((f"{trial.name}{note}", trial))
    found = [
        Training(what, figures.figures_training(trial, run.metric, f"training{number}"))
        for number, (what, trial) in enumerate(shown)
    ]
    return [one for one in found if one.figures]


def _calibration(run: Run) -> list[str]:
    found, said = run.calibration, []
    if "temperature" in found:
        said.append(f"Logits are divided by {found['temperature']:.3g}, found on validation rows.")
    for part in ("validation", "test"):
        before, after = found.get(f"{part}_before"), found.get(f"{part}_after")
        if before is not None and after is not None:
            said.append(
                f"Expected calibration error on {part} rows: {100 * before:.1f} % before, {100 * after:.1f} % after."
            )
    if run.thresholds:
        said.append(
            "Labels are chosen by thresholds that were tuned on validation rows for macro-F1."
        )
    return said


def _choice(run: Run) -> list[str]:
    search = run.search
    how = _SEARCHES.get(search.how, search.how)
    dropped = sum(trial.dropped for trial in run.trials)
    given_up = f"; {dropped:,} of them were given up for better ones" if dropped else ""
    said = [f"{run.n_trials:,} heads were tried by {how}{given_up}."]
    if search.seconds is not None:
        said.append(
            f"The search was given {search.seconds:g} s, so the result depends on the machine."
        )
    on = f"{run.rows['validation']:,} validation rows"
    if search.cv is not None:
        on = f"{search.cv} folds over training and validation rows"
    said.append(
        f"Chosen by {run.metric} on {on}: the simplest head that the best does not beat by more than one standard "
        "error."
    )
    if search.seeds:
        said.append(
            f"Seed{'' if len(search.seeds) == 1 else 's'} of each: {', '.join(map(str, search.seeds))}."
        )
    if search.balance != "none":
        said.append(f"Classes were balanced by {search.balance}.")
    if search.focal:
        said.append(f"Focal loss with exponent {search.focal:g}.")
    if run.part == "test":
        said.append(
            "The choice and the linear head were then fitted on training and validation rows together, and the test "
            "rows were read once."
        )
    else:
        said.append(
            "There are no test rows: scores on validation rows, which the choice was made on, are too good."
        )
    return said


def _reproducible(run: Run) -> str:
    if run.command is not None:
        return "The same command on the same files and cache gives the same scores on one machine."
    if run.knows_command:
        return "The data were given in Python, so there is no command; the same call gives the same scores on one machine."
    return "An early version wrote this run and did not keep its command."
