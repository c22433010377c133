"""Cures: the command that a verdict names, for each kind of verdict.

The commands are handed in by name, because the table of all commands is above this room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featcache.evidence.verdict import KINDS
from featcache.runs.command import Command

_ROWS = ("validation", "test", "text", "template", "encoding", "skip_empty", "cache")
_SPACE = (*_ROWS, "backbone", "space")


def cures_of_arrays(commands: Mapping[str, Command]) -> dict[str, str]:
    """Write a command for each kind of verdict on arrays, whose files nobody knows.

    Args:
        commands: Commands by name.

    Returns:
        A command for each of KINDS; `{head}` stands for options that the verdict fills in.
    """
    fit_heads = commands["fit-heads"].cure("DATA", {"labels": ["COLUMN"]})
    return dict.fromkeys(KINDS, fit_heads + " {head}") | {
        "fits": fit_heads,
        "data-limited": commands["curves"].cure("DATA", {"label": "COLUMN"}),
        "backbone": commands["extract"].cure("DATA", {"backbone": "ANOTHER"}),
        "no-signal": commands["check"].cure("DATA", {"labels": ["COLUMN"]}),
    }


def cures_of_fit(
    commands: Mapping[str, Command],
    values: Mapping[str, Any],
    label: str,
    folder: Path,
    *,
    has_depth: bool,
) -> dict[str, str]:
    """Write a command for each kind of verdict on a run, which reads the same rows.

    Args:
        commands: Commands by name.
        values: The arguments of the call, by keyword.
        label: The column that the verdict is about.
        folder: The run's folder.
        has_depth: Whether heads with hidden layers were tried, so that the bundle may have one.

    Returns:
        A command for each of KINDS; `{head}` stands for options that the verdict fills in.
    """

    def line(name: str, keywords: Sequence[str], **more: Any) -> str:
        kept = {keyword: values[keyword] for keyword in keywords}
        return commands[name].cure(values["train"], kept | more)

    bundle = commands["predict"].cure([folder / "bundle", "DATA"], {})
    choice = ("layers", "pooling", "metric", "balance")
    cures = dict.fromkeys(KINDS, bundle) | {  # the bundle has what helps already
        "data-limited": line("curves", (*_SPACE, *choice), label=label),
        "backbone": line("extract", _ROWS, backbone="ANOTHER"),
        "no-signal": line("check", _ROWS, labels=[label]),
    }
    if not has_depth:
        fit_heads = line("fit-heads", (*_SPACE, "split", "metric"), labels=[label])
        cures["capacity"] = fit_heads + " {head}"
    return cures
