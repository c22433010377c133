"""The causes that experiments reveal: what limits a subject, and what removing it would gain.

Each cause has an experiment that tells it apart from the others:

    not-converged  other training raises the held-out score, and the training score does not fall
    unscaled       standardised features raise the held-out score
    overfits       other training raises the held-out score, and the training score falls
    features       heads of the same kind on other layers and poolings are better
    capacity       deeper heads are better
    data-limited   the learning curve of the best head still rises
    backbone       even the best head is poor, or a bag of words beats it
    no-signal      the best head is no better than guessing
    fits           none of these

A gain counts from two standard errors and one point on; from one error on where there is other
evidence for its cause: dimensions of uneven size, or a gap between training and held-out scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from featcache.evidence.cross_fit import (
    STANDARD_ERRORS,
    CrossFittedChoice,
    Gain,
    gain_of_predictions,
    gain_over,
)

if TYPE_CHECKING:
    from featcache.evidence.experiments import Evidence

_CHANCE_LEVEL = 0.01  # from this p-value on the best head may be guessing
# Matthews correlation: 1 is perfect and 0 guessing, whatever the shares of the classes. For two
# classes of one size 2/3 means that 83 % are right.
_POOR_CORRELATION = 2 / 3
_UNEVEN_RATIO = 10.0  # from this ratio of scales on, states are hard to learn from as they are
# From this gap between training and held-out scores on, a head is said to know its rows by heart.
_MEMORISED_GAP = 0.1


@dataclass(frozen=True)
class CauseFound:
    """A cause that has no command yet.

    Attributes:
        kind: One of `verdict.KINDS`.
        gain: What removing it would gain; None where no experiment can say.
        why: As in `verdict.Cause`.
        choice: The heads that show it; the best of them would remove it.
    """

    kind: str
    gain: Gain | None
    why: str
    choice: CrossFittedChoice


def find_causes(evidence: Evidence, *, n_left_out: int) -> list[CauseFound]:
    """Find everything that limits the subject.

    Args:
        evidence: The experiments on the subject.
        n_left_out: Rows that the experiments did not use. Where there are any, the learning curve
            does not say what more labels would give.

    Returns:
        At least one cause: first those with a known gain, the largest first.
    """
    best = evidence.everything
    if evidence.p_value >= _CHANCE_LEVEL:
        return [CauseFound("no-signal", None, _describe_guessing(evidence), best)]
    causes = [*_find_training(evidence), *_find_features_and_capacity(evidence)]
    if not n_left_out:
        causes += _find_rising_curve(evidence)
    causes += _find_too_few_rows(evidence)
    causes.sort(key=_negative_gain)
    if _correlation(evidence) < _POOR_CORRELATION or _below_words(evidence):
        why = _describe_backbone(evidence, something_helps=bool(causes))
        causes.append(CauseFound("backbone", None, why, best))
    if not causes:
        why = "nothing that was tried is better by more than noise"
        causes.append(CauseFound("fits", None, why, evidence.base))
    return causes


def describe_head(choice: CrossFittedChoice) -> str:
    """Name the best head of a choice with the view that it sees.

    Args:
        choice: The heads.

    Returns:
        For example `mlp 2×256 on layers 0–6 mean`.
    """
    return f"{choice.best.head} on {choice.best.view}"


def describe_recipe(choice: CrossFittedChoice) -> str:
    """Say how the best head of a choice is trained.

    Args:
        choice: The heads.

    Returns:
        A noun phrase.
    """
    recipe = choice.best.candidate.recipe
    if recipe is None:
        return "logistic regression, which is trained until it converges"
    return f"a learning rate of {recipe.learning_rate:g} and {recipe.max_epochs} epochs"


# -- training --------------------------------------------------------------------------------------


def _find_training(evidence: Evidence) -> list[CauseFound]:
    """Find what is wrong with how the subject is trained."""
    causes = _find_recipe(evidence)
    if evidence.subject.best.view.scaled:
        return causes
    gain = gain_over(evidence.scaled, evidence.subject, evidence.setup)
    if not gain.is_significant(_errors_needed(evidence.uneven > _UNEVEN_RATIO)):
        return causes
    # A rate or a penalty that suits unscaled states better is no cause of its own, unless it is
    # worth more than scaling them.
    least = gain.value + gain.standard_error
    causes = [cause for cause in causes if cause.gain and cause.gain.value > least]
    why = (
        f"standardised states (the largest dimension is {evidence.uneven:,.0f} times the usual one)"
    )
    return [*causes, CauseFound("unscaled", gain, why, evidence.scaled)]


def _find_recipe(evidence: Evidence) -> list[CauseFound]:
    """Find whether other training or more regularisation helps; the better one of each kind."""
    subject = evidence.subject
    # A subject that knows its rows by heart overfits, so less certainty is needed about the gain.
    memorised = subject.train - subject.score > _MEMORISED_GAP
    choices = [evidence.regularised]
    if evidence.trained is not None:
        choices.append(evidence.trained)
    best: dict[str, CauseFound] = {}
    for choice in choices:
        gain = gain_over(choice, subject, evidence.setup)
        kind = "overfits" if choice.train < subject.train else "not-converged"
        if not gain.is_significant(_errors_needed(kind == "overfits" and memorised)):
            continue
        if kind in best and not _is_larger(gain, best[kind].gain):
            continue
        why = describe_recipe(choice)
        if choice is evidence.regularised:
            why = f"more regularisation ({describe_head(choice)})"
        best[kind] = CauseFound(kind, gain, why, choice)
    return list(best.values())


def _is_larger(gain: Gain, other: Gain | None) -> bool:
    """Compare two gains by their values alone."""
    return other is None or gain.value > other.value


def _errors_needed(has_other_evidence: bool) -> float:  # noqa: FBT001 - its name says what it is
    """Standard errors that a gain must exceed: fewer where its cause shows in another way too."""
    return 1.0 if has_other_evidence else STANDARD_ERRORS


# -- features and capacity -------------------------------------------------------------------------


def _find_features_and_capacity(evidence: Evidence) -> list[CauseFound]:
    """Find whether other views or larger heads help.

    Each is first compared alone with the base. Where only both together help, each is worth what it
    adds to the other.
    """
    views = "other layers and poolings"
    larger = "more hidden layers" if evidence.base.best.head.depth else "hidden layers"
    features = _find_alone_or_added(
        evidence, "features", views, alone=evidence.views, other=evidence.larger
    )
    capacity = _find_alone_or_added(
        evidence, "capacity", larger, alone=evidence.larger, other=evidence.views
    )
    return [*features, *capacity]


def _find_alone_or_added(
    evidence: Evidence,
    kind: str,
    why: str,
    *,
    alone: CrossFittedChoice,
    other: CrossFittedChoice,
) -> list[CauseFound]:
    """Find a cause that helps by itself, or together with another one."""
    setup, base, everything = evidence.setup, evidence.base, evidence.everything
    gain = gain_over(alone, base, setup)
    if gain.is_significant():
        return [CauseFound(kind, gain, f"{why} ({describe_head(alone)})", alone)]
    added = gain_over(everything, other, setup)
    both = gain_over(everything, base, setup)
    if added.is_significant() and both.is_significant() and added.value >= both.value / 2:
        return [CauseFound(kind, added, f"{why} as well ({describe_head(everything)})", everything)]
    return []


# -- labels ----------------------------------------------------------------------------------------


def _find_rising_curve(evidence: Evidence) -> list[CauseFound]:
    """Find whether the learning curve has risen beyond noise and is likely to go on rising."""
    measured = evidence.learning_curve
    if measured.curve is None:
        return []
    quarter, whole = measured.points[-3], measured.points[-1]
    rise = gain_of_predictions(whole.predicted, quarter.predicted, evidence.setup)
    doubling = measured.curve.doubling
    gain = Gain(doubling.value, doubling.standard_error)
    # A gap between training and held-out scores is what more rows would close.
    has_gap = whole.train - whole.score.value > _MEMORISED_GAP / 2
    if rise.is_significant() and gain.is_significant(_errors_needed(has_gap)):
        return [CauseFound("data-limited", gain, "twice the labels", evidence.everything)]
    return []


def _find_too_few_rows(evidence: Evidence) -> list[CauseFound]:
    """Find whether rows are too few for a learning curve and the best head knows them by heart."""
    measured = evidence.learning_curve
    whole = measured.points[-1]
    if measured.curve is not None or whole.train - whole.score.value <= _MEMORISED_GAP:
        return []
    why = (
        f"{whole.rows:,} training rows are too few for a learning curve, and the best head scores "
        f"{whole.train:.3f} on them but {whole.score.value:.3f} on held-out rows"
    )
    return [CauseFound("data-limited", None, why, evidence.everything)]


# -- the backbone ----------------------------------------------------------------------------------


def _correlation(evidence: Evidence) -> float:
    """Matthews correlation of the best head on held-out rows."""
    setup = evidence.setup
    return setup.task.score("mcc", setup.truth, evidence.everything.predicted[0])


def _below_words(evidence: Evidence) -> bool:
    """Whether a bag of words is significantly better than the best head."""
    if evidence.words is None:
        return False
    best = evidence.everything.predicted
    return gain_of_predictions(evidence.words, best, evidence.setup).is_significant()


def _describe_backbone(evidence: Evidence, *, something_helps: bool) -> str:
    """Say how poor the best head is."""
    best, setup = evidence.everything, evidence.setup
    start = "even with all of this" if something_helps else "nothing that was tried helps, and"
    if _below_words(evidence) and evidence.words is not None:
        words = setup.task.score(setup.metric, setup.truth, evidence.words)
        return f"{start} the best head ({best.score:.3f}) stays below a bag of words ({words:.3f})"
    correlation = _correlation(evidence)
    return f"{start} the best head scores {best.score:.3f} (Matthews correlation {correlation:.2f})"


def _describe_guessing(evidence: Evidence) -> str:
    """Say that the best head is no better than guessing."""
    best = evidence.everything
    return (
        f"the best of {len(best.trials)} heads scores {best.score:.3f}, and "
        f"{evidence.shuffled:.3f} when it is trained on shuffled labels: it is no better than "
        f"guessing (p = {evidence.p_value:.3f})"
    )


def _negative_gain(cause: CauseFound) -> float:
    """Sort causes by their gain, the largest first; those without a known gain come last."""
    return -cause.gain.value if cause.gain else 0.0
