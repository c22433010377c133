"""The evidence about one label: findings in its data, floors, a verdict, mislabelled rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from featcache.data.checks import Finding, Truncation, check_parts, leak_error, leaks
from featcache.evidence import mislabelled
from featcache.evidence.curves import MeasuredCurve
from featcache.evidence.experiments import run_experiments
from featcache.evidence.floors import Floor, floors
from featcache.evidence.judging import judge
from featcache.evidence.mislabelled import MislabelledCandidates
from featcache.evidence.verdict import Verdict
from featcache.features.budget import MemoryBudget
from featcache.progress import Progress, Stage
from featcache.search.problem import LabelProblem
from featcache.search.sweep import Selection

_N_EXPERIMENTS = 4  # stages that `run_experiments` reports


@dataclass(frozen=True)
class LabelEvidence:
    """What was found out about a label beside the scores of its heads.

    Attributes:
        findings: What is wrong with the data.
        majority: The scores of the majority class.
        tfidf: The scores of a bag of words; None where the texts hold no word.
        verdict: What limits the linear reference; None where no experiments were made.
        learning_curve: That of the head that the verdict found best; None like the verdict.
        mislabelled: Rows that are probably mislabelled; None where nobody looked.
    """

    findings: list[Finding]
    majority: Floor
    tfidf: Floor | None
    verdict: Verdict | None
    learning_curve: MeasuredCurve | None
    mislabelled: MislabelledCandidates | None


def findings_of(problem: LabelProblem, progress: Progress, *, strict: bool) -> list[Finding]:
    """Run the quick checks on the rows of a label; leaks are shown as warnings.

    Near duplicates on two sides raise nothing where the sides were drawn here: nobody can mend that
    in a file.

    Args:
        problem: The label and its rows.
        progress: Where warnings are shown.
        strict: Whether a leak is an error.

    Returns:
        What is wrong with the data.

    Raises:
        LeakError: Labels or test rows are given away, under `strict`.
    """
    parts = list(zip(("train", "validation", "test"), problem.parts.present(), strict=False))
    positions = [problem.space.find(part.keys) for _, part in parts]
    n_tokens, cut = problem.space.token_counts(np.concatenate(positions))
    truncated = Truncation(problem.space.contract.max_length, n_tokens, cut)
    findings = check_parts(parts, truncated=truncated, label=problem.label, quick=True)
    origins = {origin for _, part in parts[1:] for origin in part.origins}
    has_files = bool(origins - set(problem.parts.train.origins))
    refused = [
        finding for finding in findings if has_files or finding.kind != "near-duplicate-shared"
    ]
    error = leak_error(refused)
    if strict and error is not None:
        raise error
    for finding in leaks(findings):
        progress.note(f"warning    {finding.what}")
    return findings


def evidence_of(
    problem: LabelProblem,
    selection: Selection,
    findings: list[Finding],
    cures: Mapping[str, str] | None,
    progress: Progress,
) -> LabelEvidence:
    """Measure the floors, run the experiments for a verdict, and look for mislabelled rows.

    Args:
        problem: The label and its rows.
        selection: The outcome of its sweep.
        findings: What is wrong with its data.
        cures: A command for each kind of verdict; None for floors alone.
        progress: Where the experiments are shown.

    Returns:
        All of it.
    """
    texts = [part.texts for part in problem.parts.present()]
    majority, tfidf = floors(texts, problem.numbers, problem.task)
    if cures is None:
        return LabelEvidence(findings, majority, tfidf, None, None, None)
    verdict, learning_curve = _verdict(problem, cures, progress)
    candidates = _mislabelled(problem, selection, progress)
    return LabelEvidence(findings, majority, tfidf, verdict, learning_curve, candidates)


def _verdict(
    problem: LabelProblem, cures: Mapping[str, str], progress: Progress
) -> tuple[Verdict, MeasuredCurve]:
    """Judge the linear reference, by experiments on rows of training and validation."""
    subject = problem.reference
    setup, n_left_out = problem.for_verdict()
    with Stage(progress, "verdict", _N_EXPERIMENTS) as stage, MemoryBudget() as budget:
        evidence = run_experiments(
            subject,
            setup,
            problem.views,
            room=budget,
            texts=problem.answered("chosen on").texts,
            watch=lambda what: stage.advance(1, what),
        )
    name = f"linear head on {subject.view}"
    verdict = judge(evidence, cures, subject=name, n_left_out=n_left_out)
    return verdict, evidence.learning_curve


def _mislabelled(
    problem: LabelProblem, selection: Selection, progress: Progress
) -> MislabelledCandidates | None:
    """Find mislabelled rows of training and validation; None where the rows cannot be folded."""
    folds = problem.folds()
    if not folds:
        return None
    progress.note("looking for rows that are labelled wrongly")
    trials = mislabelled.best_heads(selection.trials, problem.wanted.metric) or [selection.chosen]
    probabilities = mislabelled.held_out_probabilities(trials, problem.sweep, folds)
    return mislabelled.find_mislabelled(probabilities, problem.sweep.part.labels)
