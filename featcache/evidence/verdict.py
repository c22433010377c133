"""The verdict: why a head stops where it stops, decided by experiments on the cache.

Each cause has an experiment that tells it apart from the others:

    not-converged  training otherwise raises the score of held rows, and that of training rows does not fall
    unscaled       standardised features raise it
    overfits       training otherwise raises the score of held rows, and that of training rows falls
    features       heads of the same kind on other layers and poolings are better
    capacity       deeper heads are better
    data-limited   the learning curve of the best head still rises
    backbone       even the best head that was tried is poor, or a bag of words beats it
    no-signal      the best head is no better than guessing
    fits           none of these

A gain counts from two standard errors and one point on (`arms.Effect`); from one error on where its
cause can be seen
otherwise, too: uneven states, a gap between training rows and others. Causes are ranked by what
each is worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from featcache.evidence.cross_fit import (
    STANDARD_ERRORS,
    CrossFittedChoice,
    Effect,
    effect,
    effect_of_classes,
)
from featcache.search.trial import Trial

if TYPE_CHECKING:
    from featcache.evidence.experiments import Evidence

KINDS = (
    "fits",
    "not-converged",
    "unscaled",
    "features",
    "capacity",
    "overfits",
    "data-limited",
    "backbone",
    "no-signal",
)
_GUESSING = 0.01  # from this p-value on the best head may be guessing
# Matthews correlation: 1 is perfect and 0 guessing, whatever the classes' shares. Two classes of
# one size: 83 % right.
_POOR = 2 / 3
_UNEVEN = 10.0  # from this ratio of scales on, states are hard to learn from as they are
# Between the scores of training rows and of others, from which on a head may be said to know its
# rows by heart
_GAP = 0.1


@dataclass(frozen=True)
class Cause:
    """One thing that limits the subject. points: what mending it is worth, a share of 1 (0.031 is
    3.1 points), with its standard error; None where no experiment can say. why: what would give
    them, or a clause. cure: a command, or None.
    """

    kind: str
    points: float | None
    standard_error: float | None
    why: str
    cure: str | None


@dataclass(frozen=True)
class Experiment:
    """An arm, for people. score, train: the metric on held and on training rows. gain: over what
    `against` names.
    """

    name: str
    what: str
    score: float
    train: float | None
    gain: float | None
    standard_error: float | None
    against: str | None


@dataclass(frozen=True)
class Verdict:
    """kind: the first cause, of KINDS.  why: one sentence with the numbers.  cure: a command, or
    None.

    causes: all that were found, by what each is worth, those whose worth is not known last.
    experiments: what it rests on.  subject: the head it is about, in words.
    """

    kind: str
    why: str
    cure: str | None
    causes: tuple[Cause, ...]
    experiments: tuple[Experiment, ...]
    subject: str


def judge(
    evidence: Evidence, cures: Mapping[str, str], *, subject: str, left_out: int = 0
) -> Verdict:
    """The verdict on a subject, which is called so.

    cures: a command for each kind, where `{head}` stands for the options of the best head of an
    arm.  left_out: rows that there are beside those of the experiments, so that their learning
    curve does not say what more would give.
    """
    found = _causes(evidence, left_out)
    causes = tuple(
        Cause(
            one.kind,
            None if one.gain is None else one.gain.value,
            None if one.gain is None else one.gain.standard_error,
            one.why,
            _cure(cures, one),
        )
        for one in found
    )
    metric, own = evidence.sweep.metric, evidence.subject
    fit = f"the {subject} has {metric} {own.train:.3f} on the rows it was trained on and {own.score:.3f} on others"
    fit += f" ({left_out:,} rows were left out)" if left_out else ""
    clauses = [
        f"{one.why} would give {_points(one.gain)} points" if one.gain else one.why for one in found
    ]
    why = "; ".join([fit, *clauses, *_ruled_out(evidence, {one.kind for one in causes})])
    return Verdict(causes[0].kind, why, causes[0].cure, causes, _told(evidence), subject)


@dataclass(frozen=True)
class _Found:
    """A cause before it has a cure. arm: whose best head would mend it."""

    kind: str
    gain: Effect | None
    why: str
    arm: CrossFittedChoice


def _causes(evidence: Evidence, left_out: int) -> list[_Found]:
    """By what each is worth; those of unknown worth last."""
    best = evidence.everything
    if evidence.p_value >= _GUESSING:
        why = (
            f"choosing among {len(best.trials)} heads gives {best.score:.3f} there, training on shuffled labels "
            f"{evidence.shuffled:.3f}: guessing does as well (p = {evidence.p_value:.3f})"
        )
        return [_Found("no-signal", None, why, best)]
    found = [*_of_training(evidence), *_features_and_capacity(evidence)]
    more = None if left_out else _of_more_labels(evidence)
    if more is not None:
        found.append(_Found("data-limited", more, "twice the labels", best))
    whole = evidence.growth.sizes[-1]
    if evidence.growth.curve is None and whole.train - whole.score.value > _GAP:
        why = (
            f"{whole.rows:,} training rows are too few for a learning curve, and the best head knows them "
            f"({whole.train:.3f}) better than others ({whole.score.value:.3f})"
        )
        found.append(_Found("data-limited", None, why, best))
    found.sort(key=lambda one: -one.gain.value if one.gain else 0.0)
    if _skill(evidence) < _POOR or _below_words(evidence):
        found.append(_Found("backbone", None, _poor(evidence, helped=bool(found)), best))
    return found or [
        _Found("fits", None, "nothing that was tried is better by more than noise", evidence.base)
    ]


def _of_training(evidence: Evidence) -> list[_Found]:
    """What is wrong with how the subject is trained.

    Where its states are not standardised and that is what is wrong, a rate or a penalty that suits
    them better is no cause of its own unless it is worth more.
    """
    sweep, subject = evidence.sweep, evidence.subject
    fixes = [evidence.held_back, *([] if evidence.trained is None else [evidence.trained])]
    # A head that knows its own rows by heart and not others overfits: that holding it back helps
    # need not be certain.
    by_heart = subject.train - subject.score > _GAP
    best: dict[str, _Found] = {}
    for arm in fixes:
        gain, kind = (
            effect(arm, subject, sweep),
            "overfits" if arm.train < subject.train else "not-converged",
        )
        why = f"holding it back more ({_named(arm)})" if arm is evidence.held_back else _recipe(arm)
        known = best[kind].gain if kind in best else None
        if gain.beyond(_errors(kind == "overfits" and by_heart)) and (
            known is None or gain.value > known.value
        ):
            best[kind] = _Found(kind, gain, why, arm)
    found = list(best.values())
    if not subject.best.view.scaled:
        gain = effect(evidence.scaled, subject, sweep)
        if gain.beyond(_errors(evidence.uneven > _UNEVEN)):
            found = [
                one
                for one in found
                if one.gain and one.gain.value > gain.value + gain.standard_error
            ]
            why = f"standardised states ({_uneven(evidence)})"
            found.append(_Found("unscaled", gain, why, evidence.scaled))
    return found


def _errors(seen: bool) -> float:  # noqa: FBT001 - says itself what it is
    """Standard errors from which a gain counts. seen: whether its cause can be seen otherwise, too."""
    return 1.0 if seen else STANDARD_ERRORS


def _uneven(evidence: Evidence) -> str:
    return f"the largest dimension is {evidence.uneven:,.0f} times the usual one"


def _of_more_labels(evidence: Evidence) -> Effect | None:
    """What twice the labels would give, if the curve has risen beyond noise up to here and is
    likely to go on.
    """
    growth, sweep = evidence.growth, evidence.sweep
    if growth.curve is None:
        return None
    quarter, whole = growth.sizes[-3], growth.sizes[-1]
    risen = effect_of_classes(whole.predicted, quarter.predicted, sweep)
    doubling = Effect(growth.curve.doubling.value, growth.curve.doubling.standard_error)
    # Rows that are known better than others are what more rows mend.
    errors = _errors(whole.train - whole.score.value > _GAP / 2)
    return doubling if risen.beyond() and doubling.beyond(errors) else None


def _features_and_capacity(evidence: Evidence) -> list[_Found]:
    """Each alone over the base; where only both together help, each is worth what it adds to the
    other.
    """
    sweep, base = evidence.sweep, evidence.base
    both = effect(evidence.everything, base, sweep)
    deeper = "more hidden layers" if base.best.head.depth else "hidden layers"
    found: list[_Found] = []
    for kind, mine, other, words in (
        ("features", evidence.views, evidence.larger, "other layers and poolings"),
        ("capacity", evidence.larger, evidence.views, deeper),
    ):
        alone = effect(mine, base, sweep)
        added = effect(evidence.everything, other, sweep)
        if alone.beyond():
            found.append(_Found(kind, alone, f"{words} ({_named(mine)})", mine))
        elif added.beyond() and both.beyond() and added.value >= both.value / 2:
            arm = evidence.everything
            found.append(_Found(kind, added, f"{words} as well ({_named(arm)})", arm))
    return found


def _skill(evidence: Evidence) -> float:
    best = evidence.everything
    return evidence.sweep.task.score("mcc", evidence.sweep.truth, best.predicted[0])


def _below_words(evidence: Evidence) -> bool:
    if evidence.words is None:
        return False
    return effect_of_classes(evidence.words, evidence.everything.predicted, evidence.sweep).beyond()


def _poor(evidence: Evidence, *, helped: bool) -> str:
    best, sweep = evidence.everything, evidence.sweep
    still = "even with all of it " if helped else "nothing tried helps, and "
    if _below_words(evidence) and evidence.words is not None:
        words = sweep.task.score(sweep.metric, sweep.truth, evidence.words)
        return f"{still}the best head ({best.score:.3f}) stays below a bag of words ({words:.3f})"
    return (
        f"{still}the best head has {best.score:.3f} (Matthews correlation {_skill(evidence):.2f})"
    )


def _ruled_out(evidence: Evidence, found: set[str]) -> list[str]:
    """What is not wrong, for who would try it next."""
    if found & {"no-signal"}:
        return []
    words = {
        # Logistic regression says so itself; what knows its rows by heart has nothing left to
        # converge to.
        "not-converged": "converged"
        if evidence.subject.best.settings.get("converged", True)
        else None,
        "overfits": "more regularisation does not help",
        "features": "no other layer or pooling is better" if _other_views(evidence) else None,
        "capacity": "no larger head is better",
    }
    said = [text for kind, text in words.items() if text and kind not in found]
    growth = evidence.growth.sentence()
    if "data-limited" not in found and growth:
        said.append(growth)
    return [", ".join(said)] if said else []


def _other_views(evidence: Evidence) -> bool:
    """Whether there were any: features may be given of one layer and pooling."""
    own = evidence.subject.best.view.standardised()
    return any(trial.view.standardised() != own for trial in evidence.views.trials)


def _told(evidence: Evidence) -> tuple[Experiment, ...]:
    sweep, subject, base, growth = evidence.sweep, evidence.subject, evidence.base, evidence.growth
    all_of_it = evidence.everything

    def compared(
        name: str, what: str, arm: CrossFittedChoice, against: CrossFittedChoice, over: str
    ) -> Experiment:
        gain = effect(arm, against, sweep)
        return Experiment(name, what, arm.score, arm.train, gain.value, gain.standard_error, over)

    def plain(name: str, what: str, value: float, train: float | None = None) -> Experiment:
        return Experiment(name, what, value, train, None, None, None)

    first = "the subject"
    then = first if base.predicted is subject.predicted else "the subject with what helped above"
    told = [plain("subject", "as it is", subject.score, subject.train)]
    if evidence.trained is not None:
        told.append(
            compared(
                "trained", "other learning rates, and longer", evidence.trained, subject, first
            )
        )
    scaled = subject.best.view.scaled
    name, what = ("unscaled", "not standardised") if scaled else ("scaled", "standardised")
    told += [
        compared(name, what, evidence.scaled, subject, first),
        compared(
            "held-back",
            "more regularisation, smaller C, stopped early",
            evidence.held_back,
            subject,
            first,
        ),
        compared(
            "views",
            f"other layers and poolings: {_named(evidence.views)}",
            evidence.views,
            base,
            then,
        ),
        compared(
            "larger", f"deeper and wider: {_named(evidence.larger)}", evidence.larger, base, then
        ),
        compared("everything", f"all of it: {_named(all_of_it)}", all_of_it, base, then),
    ]
    told += [
        plain(
            f"rows-{size.rows}",
            f"{growth.about} trained on {size.rows:,} rows",
            size.score.value,
            size.train,
        )
        for size in growth.sizes[-3:]
    ]
    if growth.curve is not None:
        twice, value = growth.curve.doubling, growth.sizes[-1].score.value
        what = "twice the labels, by the curve through these"
        told.append(
            Experiment(
                "rows-twice",
                what,
                value + twice.value,
                None,
                twice.value,
                twice.standard_error,
                "all rows",
            )
        )
    told.append(plain("shuffled", f"{growth.about} trained on shuffled labels", evidence.shuffled))
    told.append(plain("guessing", "guessing with the same shares of classes", evidence.guessed))
    if evidence.words is not None:
        value = sweep.task.score(sweep.metric, sweep.truth, evidence.words)
        gain = effect_of_classes(evidence.words, all_of_it.predicted, sweep)
        told.append(
            Experiment(
                "words",
                "a bag of words",
                value,
                None,
                gain.value,
                gain.standard_error,
                "the best of all",
            )
        )
    return tuple(told)


def _recipe(arm: CrossFittedChoice) -> str:
    recipe = arm.best.candidate.recipe
    if recipe is None:
        return "logistic regression, which is trained to its end,"
    return f"a learning rate of {recipe.learning_rate:g} and {recipe.max_epochs} epochs"


def _named(arm: CrossFittedChoice) -> str:
    return f"{arm.best.head} on {arm.best.view}"


def _points(gain: Effect) -> str:
    return f"{100 * gain.value:+z.1f} ± {100 * gain.standard_error:.1f}"


def _cure(cures: Mapping[str, str], found: _Found) -> str | None:
    command = cures.get(found.kind)
    return None if command is None else command.replace("{head}", _options(found.arm.best))


def _options(trial: Trial) -> str:
    """The options of `fit-heads` that try this head."""
    head, view = trial.head, trial.view
    shape = (
        f"--heads {head.kind}"
        if not head.depth
        else f"--heads mlp --depths {head.depth} --widths {head.width}"
    )
    return f"{shape} --layers {','.join(map(str, view.layers))} --pool {','.join(view.poolings)}"
