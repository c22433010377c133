"""The outcome of a fit, put together of what the search and the evidence found."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from featcache.bundles.description import Description
from featcache.data.texts import TextOptions
from featcache.evidence.label import LabelEvidence
from featcache.evidence.mislabelled import NAME as LIST_OF_SUSPECTS
from featcache.evidence.mislabelled import MislabelledCandidates
from featcache.progress import Progress
from featcache.runs.folder import signature_of
from featcache.runs.ledger import LedgerEntry, earlier_choices, enter, test_name
from featcache.runs.result import FitResult, Mislabelled, RunOrigin
from featcache.search.finalise import Read
from featcache.search.problem import LabelProblem
from featcache.search.rows import ShownRow
from featcache.search.scores import RowPredictions
from featcache.search.sweep import Selection
from featcache.search.trial import Trial

_SHOWN = 20  # mistakes, and rows that may be labelled wrongly, that a report shows


def record_test_read(
    problem: LabelProblem, chosen: Trial, folder: Path, progress: Progress
) -> list[LedgerEntry]:
    """Record beside the space that a choice is scored on its test rows.

    Args:
        problem: The label and its rows.
        chosen: The trial that was chosen.
        folder: The run's folder.
        progress: Where a warning is shown when other choices were scored on the same rows before.

    Returns:
        These other choices.
    """
    if problem.parts.test is None:
        return []
    choice = {
        "head": str(chosen.head),
        "view": str(chosen.view),
        "seed": problem.sweep.seed,
        **chosen.settings,
    }
    entry = LedgerEntry(
        test=test_name(problem.parts.test.keys, problem.numbers[2]),
        label=problem.label,
        choice=json.dumps(choice, sort_keys=True, ensure_ascii=False),
        when=_now(),
        run=str(folder),
    )
    earlier = earlier_choices(problem.space.path, entry)
    if not enter(problem.space.path, entry):
        what = "that these test rows were read is not recorded"
        progress.note(f"warning    the cache is read-only: {what}")
    if earlier:
        others = "another choice was"
        if len(earlier) > 1:
            others = f"{len(earlier)} other choices were"
        rule = "whoever reports the best of them has chosen on test"
        progress.note(f"warning    {others} scored on these test rows before: {rule}")
    return earlier


def result_of(
    problem: LabelProblem,
    selection: Selection,
    read: Read,
    evidence: LabelEvidence,
    *,
    earlier: list[LedgerEntry],
    command: str | None,
    folder: Path,
    seconds: float,
) -> FitResult:
    """Put the result of a fit together.

    Args:
        problem: The label and its rows.
        selection: The outcome of its sweep.
        read: The scores of the choice and of the linear reference.
        evidence: What else was found out.
        earlier: Other choices that were scored on the same test rows before.
        command: The command that repeats the run; None for data that were passed in Python.
        folder: The run's folder.
        seconds: How long the fit took.

    Returns:
        The result.
    """
    parts, classes, options = problem.parts, problem.classes, problem.wanted
    counts = [parts.train.labels.count(label) for label in classes]
    return FitResult(
        best=read.best,
        linear=read.linear,
        majority=evidence.majority,
        tfidf=evidence.tfidf,
        gain=read.gain,
        mcnemar=read.mcnemar,
        calibration=read.calibration,
        answers=read.answers,
        mistakes=_mistakes(problem, read.answers),
        verdict=evidence.verdict,
        learning_curve=evidence.learning_curve,
        findings=evidence.findings,
        mislabelled=_mislabelled(problem, evidence.mislabelled),
        metric=options.metric,
        classes=classes,
        largest_share=max(counts) / len(parts.train.labels),
        rows=problem.rows,
        searched={
            **options.told(),
            "compared": [asdict(finalist) for finalist in selection.compared],
        },
        test_read_before=[asdict(entry) for entry in earlier],
        space=problem.space.name,
        signature=signature_of(problem.space.name, selection.chosen, parts, options),
        trials=tuple(selection.trials),
        seconds=seconds,
        bundle=str(folder / "bundle"),
        folder=str(folder),
        origin=_origin(problem, command),
    )


def description_of(result: FitResult, reading: TextOptions) -> Description:
    """Describe the chosen head for its bundle.

    Args:
        result: The result of the fit.
        reading: How its texts were read.

    Returns:
        The description.
    """
    trial, origin = result.best.trial, result.origin
    return Description(
        head=trial.head.kind,
        classes=result.classes,
        label=origin.label,
        layers=list(trial.view.layers),
        pooling=list(trial.view.poolings),
        contract=origin.contract,
        space=result.space,
        backbone=origin.backbone,
        template=reading.template,
        text=reading.text,
        scores=result.to_json()["best"],
        versions=origin.versions,
        temperature=result.calibration.temperature,
        offsets=result.calibration.offsets,
    )


def _origin(problem: LabelProblem, command: str | None) -> RunOrigin:
    packages = ("featcache", "numpy", "scikit-learn", "torch")
    return RunOrigin(
        label=problem.label,
        created=_now(),
        command=command,
        backbone=problem.space.origin.backbone,
        versions={name: version(name) for name in packages},
        contract=json.loads(problem.space.contract.to_json()),
    )


def _mislabelled(problem: LabelProblem, candidates: MislabelledCandidates | None) -> Mislabelled:
    if candidates is None:
        return Mislabelled(0, None, None, [])
    columns = (candidates.rows, candidates.predicted, candidates.predicted_probability)
    rows = [
        problem.row("chosen on", int(place), int(predicted), float(probability))
        for place, predicted, probability in zip(*columns, strict=True)
    ]
    path = LIST_OF_SUSPECTS if rows else None
    return Mislabelled(len(rows), candidates.sentence(), path, rows[:_SHOWN])


def _mistakes(problem: LabelProblem, answers: RowPredictions) -> list[ShownRow]:
    """List the most confident wrong predictions."""
    return [
        problem.row(
            answers.part, int(place), int(answers.best[place]), float(answers.confidence[place])
        )
        for place in answers.mistakes(_SHOWN)
    ]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
