"""Judging: from the experiments on a subject to a verdict in words, with commands that help.

Causes are ranked by what removing them would gain (`causes.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from featcache.evidence.causes import CauseFound, find_causes
from featcache.evidence.cross_fit import Gain
from featcache.evidence.experiment_list import list_experiments
from featcache.evidence.verdict import Cause, Verdict
from featcache.search.trial import Trial

if TYPE_CHECKING:
    from featcache.evidence.experiments import Evidence


def judge(
    evidence: Evidence, cures: Mapping[str, str], *, subject: str, n_left_out: int = 0
) -> Verdict:
    """Judge what limits a subject.

    Args:
        evidence: The experiments on the subject.
        cures: A command for each kind of cause, where `{head}` stands for the options that try the
            best head of the experiment.
        subject: The head in question, in words.
        n_left_out: Rows that the experiments did not use. Where there are any, the learning curve
            does not say what more labels would give.

    Returns:
        The verdict with all causes that were found.
    """
    causes = find_causes(evidence, n_left_out=n_left_out)
    sentences = [
        _describe_fit(evidence, subject, n_left_out),
        *_describe_gains(causes),
        *(cause.why for cause in causes if cause.gain is None),
        *_describe_ruled_out(evidence, {cause.kind for cause in causes}),
    ]
    return Verdict(
        kind=causes[0].kind,
        why=_join_sentences(sentences),
        cure=_cure_of(causes[0], cures),
        causes=tuple(_with_cure(cause, cures) for cause in causes),
        experiments=list_experiments(evidence),
        subject=subject,
    )


def _with_cure(cause: CauseFound, cures: Mapping[str, str]) -> Cause:
    """Complete a cause with the command that helps."""
    cure = _cure_of(cause, cures)
    if cause.gain is None:
        return Cause(cause.kind, None, None, cause.why, cure)
    return Cause(cause.kind, cause.gain.value, cause.gain.standard_error, cause.why, cure)


# -- sentences -------------------------------------------------------------------------------------


def _join_sentences(sentences: Sequence[str]) -> str:
    """Join sentences, without a full stop at the end; the first begins as it is given."""
    first, *rest = sentences
    return ". ".join([first, *(f"{sentence[0].upper()}{sentence[1:]}" for sentence in rest)])


def _describe_fit(evidence: Evidence, subject: str, n_left_out: int) -> str:
    """Say what the subject scores on training rows and on others."""
    scores = evidence.subject
    sentence = (
        f"the {subject} scores {scores.train:.3f} ({evidence.setup.metric}) on its training rows "
        f"and {scores.score:.3f} on held-out rows"
    )
    return f"{sentence} ({n_left_out:,} rows were left out)" if n_left_out else sentence


def _describe_gains(causes: Sequence[CauseFound]) -> list[str]:
    """Say what removing each cause would gain, in one sentence."""
    gains = [f"{_points(cause.gain)} points with {cause.why}" for cause in causes if cause.gain]
    if not gains:
        return []
    *others, last = gains
    listed = f"{', '.join(others)} and {last}" if others else last
    return [f"it would gain {listed}"]


def _describe_ruled_out(evidence: Evidence, kinds: set[str]) -> list[str]:
    """Say what is not wrong, so that nobody tries it next."""
    if "no-signal" in kinds:
        return []
    sentences: list[str] = []
    # Logistic regression reports itself whether it converged. A head that knows its rows by heart
    # has nothing left to converge to.
    if "not-converged" not in kinds and evidence.subject.best.settings.get("converged", True):
        sentences.append("its training converged")
    if "overfits" not in kinds:
        sentences.append("more regularisation does not help")
    if "features" not in kinds and _has_other_views(evidence):
        sentences.append("no other layer or pooling is better")
    if "capacity" not in kinds:
        sentences.append("no larger head is better")
    ruled_out = [", ".join(sentences)] if sentences else []
    if "data-limited" not in kinds:
        ruled_out.append(evidence.learning_curve.sentence())
    return ruled_out


def _has_other_views(evidence: Evidence) -> bool:
    """Whether other views were tried: features may have one layer and one pooling only."""
    own = evidence.subject.best.view.standardised()
    return any(trial.view.standardised() != own for trial in evidence.views.trials)


def _points(gain: Gain) -> str:
    """Write a gain in points with its standard error."""
    return f"{100 * gain.value:+z.1f} ± {100 * gain.standard_error:.1f}"


# -- commands --------------------------------------------------------------------------------------


def _cure_of(cause: CauseFound, cures: Mapping[str, str]) -> str | None:
    """Fill the options of the head that would help into the command for a cause."""
    command = cures.get(cause.kind)
    if command is None:
        return None
    return command.replace("{head}", _head_options(cause.choice.best))


def _head_options(trial: Trial) -> str:
    """Write the options of `fit-heads` that try the head of a trial."""
    head, view = trial.head, trial.view
    shape = f"--heads {head.kind}"
    if head.depth:
        shape = f"--heads mlp --depths {head.depth} --widths {head.width}"
    layers = ",".join(map(str, view.layers))
    return f"{shape} --layers {layers} --pool {','.join(view.poolings)}"
