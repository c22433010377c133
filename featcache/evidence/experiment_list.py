"""The list of experiments in a verdict: what was tried, what it scored, and what it gained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featcache.evidence.causes import describe_head
from featcache.evidence.cross_fit import CrossFittedChoice, gain_of_predictions, gain_over
from featcache.evidence.verdict import Experiment

if TYPE_CHECKING:
    from featcache.evidence.experiments import Evidence

_N_CURVE_POINTS = 3  # of the learning curve, the largest ones


def list_experiments(evidence: Evidence) -> tuple[Experiment, ...]:
    """List the experiments on a subject for people to read.

    Args:
        evidence: The experiments.

    Returns:
        The subject first, then what was tried with it, the learning curve, and the baselines.
    """
    return (
        *_training_experiments(evidence),
        *_head_experiments(evidence),
        *_curve_experiments(evidence),
        *_baseline_experiments(evidence),
    )


def _training_experiments(evidence: Evidence) -> list[Experiment]:
    """List the subject, and the subject trained otherwise."""
    subject = evidence.subject
    experiments = [_scored("subject", "as it is", subject.score, subject.train)]
    tried: list[tuple[str, str, CrossFittedChoice]] = []
    if evidence.trained is not None:
        tried.append(("trained", "other learning rates, and longer", evidence.trained))
    if subject.best.view.scaled:
        tried.append(("unscaled", "not standardised", evidence.scaled))
    else:
        tried.append(("scaled", "standardised", evidence.scaled))
    what = "more regularisation, smaller C, stopped early"
    tried.append(("held-back", what, evidence.regularised))
    for name, description, choice in tried:
        gain = gain_over(choice, subject, evidence.setup)
        experiments.append(
            Experiment(
                name,
                description,
                choice.score,
                choice.train,
                gain.value,
                gain.standard_error,
                against="the subject",
            )
        )
    return experiments


def _head_experiments(evidence: Evidence) -> list[Experiment]:
    """List heads on other views, larger heads, and all of them."""
    against = "the subject"
    if evidence.base.predicted is not evidence.subject.predicted:
        against = "the subject with what helped above"
    tried = (
        ("views", "other layers and poolings", evidence.views),
        ("larger", "deeper and wider", evidence.larger),
        ("everything", "all of it", evidence.everything),
    )
    experiments = []
    for name, what, choice in tried:
        gain = gain_over(choice, evidence.base, evidence.setup)
        experiments.append(
            Experiment(
                name,
                f"{what}: {describe_head(choice)}",
                choice.score,
                choice.train,
                gain.value,
                gain.standard_error,
                against,
            )
        )
    return experiments


def _curve_experiments(evidence: Evidence) -> list[Experiment]:
    """List the last points of the learning curve, and what it says of twice the labels."""
    measured = evidence.learning_curve
    experiments = []
    for point in measured.points[-_N_CURVE_POINTS:]:
        what = f"{measured.about} trained on {point.rows:,} rows"
        experiments.append(_scored(f"rows-{point.rows}", what, point.score.value, point.train))
    if measured.curve is not None:
        doubling = measured.curve.doubling
        experiments.append(
            Experiment(
                "rows-twice",
                "twice the labels, by the curve through these",
                measured.points[-1].score.value + doubling.value,
                None,
                doubling.value,
                doubling.standard_error,
                against="all rows",
            )
        )
    return experiments


def _baseline_experiments(evidence: Evidence) -> list[Experiment]:
    """List shuffled labels, guessing, and a bag of words where there are texts."""
    setup, about = evidence.setup, evidence.learning_curve.about
    experiments = [
        _scored("shuffled", f"{about} trained on shuffled labels", evidence.shuffled),
        _scored("guessing", "guessing with the same shares of classes", evidence.guessed),
    ]
    if evidence.words is not None:
        gain = gain_of_predictions(evidence.words, evidence.everything.predicted, setup)
        experiments.append(
            Experiment(
                "words",
                "a bag of words",
                setup.task.score(setup.metric, setup.truth, evidence.words),
                None,
                gain.value,
                gain.standard_error,
                against="the best of all",
            )
        )
    return experiments


def _scored(name: str, what: str, value: float, train: float | None = None) -> Experiment:
    """Make an experiment that is not compared with another."""
    return Experiment(name, what, value, train, None, None, None)
