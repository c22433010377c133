"""Cures: the command that a verdict names, for each kind of verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featcache.evidence.verdict import KINDS
from featcache.runs.command import Command
from featcache.verbs.options import CHECK, CURVES, EXTRACT, FIT_HEADS, PREDICT

_LABEL = {"labels": ["COLUMN"]}
CURES = dict.fromkeys(KINDS, FIT_HEADS.cure("DATA", _LABEL) + " {head}") | {
    "fits": FIT_HEADS.cure("DATA", _LABEL),
    "data-limited": CURVES.cure("DATA", {"label": "COLUMN"}),
    "backbone": EXTRACT.cure("DATA", {"backbone": "ANOTHER"}),
    "no-signal": CHECK.cure("DATA", _LABEL),
}
"""For features that were passed in Python, whose files nobody knows."""


def cures_of_fit(
    values: Mapping[str, Any], label: str, folder: Path, *, has_depth: bool
) -> dict[str, str]:
    """Write a command for each kind of verdict.

    Args:
        values: The arguments of the call, by keyword.
        label: The column that the verdict is about.
        folder: The run's folder.
        has_depth: Whether heads with hidden layers were tried, so that the bundle may have one.

    Returns:
        A command for each of KINDS; `{head}` stands for options that the verdict fills in.
    """
    rows = ("validation", "test", "text", "template", "encoding", "skip_empty", "cache")
    space = (*rows, "backbone", "space")

    def line(command: Command, keywords: Sequence[str], **more: Any) -> str:
        kept = {keyword: values[keyword] for keyword in keywords}
        return command.cure(values["train"], kept | more)

    bundle = PREDICT.cure([folder / "bundle", "DATA"], {})
    cures = dict.fromkeys(KINDS, bundle) | {  # the bundle has what helps already
        "data-limited": line(
            CURVES, (*space, "layers", "pooling", "metric", "balance"), label=label
        ),
        "backbone": line(EXTRACT, rows, backbone="ANOTHER"),
        "no-signal": line(CHECK, rows, labels=[label]),
    }
    if not has_depth:
        cures["capacity"] = line(FIT_HEADS, (*space, "split", "metric"), labels=[label]) + " {head}"
    return cures
