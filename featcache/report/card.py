"""The model card of a bundle: what the head is, what it learned from, how well it does."""

from __future__ import annotations

from featcache.bundles.description import Description
from featcache.report.sentences import as_sentence
from featcache.runs.result import FitResult


def model_card(result: FitResult, description: Description) -> str:
    """Return Markdown for people who find the bundle without its history.

    Args:
        result: What the fit found.
        description: Of the bundle.

    Returns:
        The text of the bundle's README.md.
    """
    trial, rows = result.best.trial, result.rows
    head = f"{str(trial.head).capitalize()} on {trial.view}"
    parts = f"{rows.train:,} to fit, {rows.validation:,} to choose, then on both"
    before = "Train and validation scores are of the head before it was refitted on both."
    if result.searched["cv"] is not None:
        parts = f"chosen by {result.searched['cv']} folds, then fitted on all"
        before = (
            "Train and validation scores are of the heads of the folds, before it was fitted on "
            "all rows."
        )
    verdict = "" if result.verdict is None else as_sentence(result.verdict.why)
    lines = [
        f"# A head for `{description.label}`",
        "",
        f"{head} of the frozen backbone `{description.backbone}` (space `{result.space}`).",
        "",
        f"- classes: {', '.join(map(str, result.classes))}",
        f"- trained on {rows.train + rows.validation:,} rows ({parts})",
        f"- template: `{description.template or 'the text as it is'}`",
        "",
        *_score_table(result),
        "",
        f"{before} {verdict}",
        "",
        "The head takes features of exactly this backbone and is refused others. "
        + _probabilities(description),
        "",
        f"`{result.signature}`",
        "",
    ]
    return "\n".join(lines)


def _score_table(result: FitResult) -> list[str]:
    """Return the lines of a table: a metric a line, by part."""
    trial, test = result.best.trial, result.best.test
    lines = ["| | train | validation | test (95 % interval) |", "| --- | --- | --- | --- |"]
    for metric, validation in trial.validation.items():
        on_test = "—"
        if test is not None:
            score = test[metric]
            on_test = f"{score.value:.3f} ({score.low:.3f}–{score.high:.3f})"
        lines.append(f"| {metric} | {trial.train[metric]:.3f} | {validation:.3f} | {on_test} |")
    return lines


def _probabilities(description: Description) -> str:
    """Say how far the head's probabilities can be believed."""
    said = ["Its probabilities are not calibrated."]
    if description.temperature != 1.0:
        temperature = f"{description.temperature:.3g}"
        said = [f"Its probabilities are calibrated: logits are divided by {temperature}."]
    if description.offsets is not None:
        shifts = zip(description.classes, description.offsets, strict=True)
        listed = ", ".join(f"{name} {offset:+.3g}" for name, offset in shifts)
        said.append(
            f"Before the label is chosen, logits are shifted ({listed}): "
            "it may not be the most probable one."
        )
    return " ".join(said)
