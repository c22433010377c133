"""The model card of a bundle: what the head is, what it was trained on, how well it does, what it
is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featcache.evidence.verdict import Verdict
from featcache.runs.result import FitResult


def model_card(result: FitResult, description: Mapping[str, Any]) -> str:
    """Markdown for people who find the bundle without its history."""
    trial = result.best.trial
    view = f"{str(trial.head).capitalize()} on {trial.view} of the frozen backbone `{description['backbone']}`"
    parts = f"{result.rows.train:,} to fit, {result.rows.validation:,} to choose, then on both"
    before = "Train and validation scores are of the head before it was refitted on both."
    if result.searched["cv"] is not None:
        parts = f"chosen by {result.searched['cv']} folds, then fitted on all"
        before = "Train and validation scores are of the heads of the folds, before it was fitted on all rows."
    lines = [
        f"# A head for `{description['label']}`",
        "",
        f"{view} (space `{result.space}`).",
        "",
        f"- classes: {', '.join(map(str, result.classes))}",
        f"- trained on {result.rows.train + result.rows.validation:,} rows ({parts})",
        f"- template: `{description['template'] or 'the text as it is'}`",
        "",
        "| | train | validation | test (95 % interval) |",
        "| --- | --- | --- | --- |",
    ]
    for name in trial.validation:
        test = "—"
        if result.best.test is not None:
            one = result.best.test[name]
            test = f"{one.value:.3f} ({one.low:.3f}–{one.high:.3f})"
        lines.append(
            f"| {name} | {trial.train[name]:.3f} | {trial.validation[name]:.3f} | {test} |"
        )
    lines += [
        "",
        f"{before} {_sentence(result.verdict)}",
        "",
        f"The head takes features of exactly this backbone and is refused others. {_probabilities(description)}",
        "",
        f"`{result.signature}`",
        "",
    ]
    return "\n".join(lines)


def _sentence(verdict: Verdict | None) -> str:
    return "" if verdict is None else f"{verdict.why[0].upper()}{verdict.why[1:]}."


def _probabilities(description: Mapping[str, Any]) -> str:
    temperature, offsets = description["temperature"], description["offsets"]
    said = ["Its probabilities are not calibrated."]
    if temperature != 1.0:
        said = [f"Its probabilities are calibrated: logits are divided by {temperature:.3g}."]
    if offsets is not None:
        shifts = zip(description["classes"], offsets, strict=True)
        listed = ", ".join(f"{name} {offset:+.3g}" for name, offset in shifts)
        said.append(
            f"Before the label is chosen, logits are shifted ({listed}): it may not be the most probable one."
        )
    return " ".join(said)
