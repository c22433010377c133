"""The verdict: one sentence on what limits the linear reference, with the numbers it rests on.

Decided here from the sweep's own trials, as paired differences on validation rows: `features` where the same
kind of head on another layer, pooling or on all layers is better, `capacity` where a deeper head is better
than the best linear one. A gain counts from two standard errors on. Where neither gains, `kind` is None:
telling a good fit from missing data, weak features or no signal takes experiments beyond this sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from featcache.select.choice import best_of
from featcache.select.metrics import Difference, difference
from featcache.select.sweep import Sweep, Trial

_STANDARD_ERRORS = 2.0
_LINEAR = ("linear", "logreg")  # a head that is code may be anything


@dataclass(frozen=True)
class Verdict:
    """kind: the largest cause found, or None. why: one sentence with numbers. cure: a command, or None."""

    kind: str | None
    why: str
    cure: str | None


def judge(reference: Trial, trials: Sequence[Trial], sweep: Sweep, *, cure: str) -> Verdict:
    """The verdict on `reference`. cure: the command that uses the head that was chosen instead."""
    linear = best_of([reference, *(trial for trial in trials if trial.head.kind in _LINEAR)], sweep.metric)
    deepest = best_of([linear, *trials], sweep.metric)
    causes: list[tuple[float, str, str]] = []
    for kind, better, worse, place in (
        ("features", linear, reference, f"{linear.head} on {linear.view}"),
        ("capacity", deepest, linear, f"{deepest.head} on {deepest.view}"),
    ):
        gain = _gain(better, worse, sweep)
        if gain.value > _STANDARD_ERRORS * gain.standard_error:
            causes.append((gain.value, kind, f"{place} gives {_points(gain)} points over {_subject(worse, reference)}"))
    fit = (
        f"the linear head on {reference.view} has {sweep.metric} {reference.train[sweep.metric]:.3f} on training rows "
        f"and {reference.validation[sweep.metric]:.3f} on validation rows"
    )
    if not causes:
        gain = _gain(deepest, reference, sweep)
        why = f"{fit}; no layer, pooling or deeper head tried is better beyond noise (at best {_points(gain)} points)"
        return Verdict(None, why, None)
    causes.sort(reverse=True)
    return Verdict(causes[0][1], f"{fit}; " + "; ".join(sentence for _, _, sentence in causes), cure)


def _gain(better: Trial, worse: Trial, sweep: Sweep) -> Difference:
    return difference(sweep.metric, sweep.truth, better.predicted, worse.predicted, sweep.n_classes, seed=sweep.seed)


def _points(gain: Difference) -> str:
    return f"{100 * gain.value:+.1f} ± {100 * gain.standard_error:.1f}"


def _subject(worse: Trial, reference: Trial) -> str:
    return "it" if worse is reference else f"{worse.head} on {worse.view}"
