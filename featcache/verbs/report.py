"""Verb: one HTML page about one run or several."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from featcache.errors import InputError, MachineError
from featcache.report.page import write_report_page
from featcache.runs.folder import REPORT
from featcache.runs.run import read_run


def write_report(
    runs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str] | None = None,
) -> Path:
    """Write one self-contained HTML page about a run, or about several runs side by side.

    Nothing is written if an error is raised.

    Args:
        runs: The run's folder, or several folders; repeated ones count once.
        out: The file; by default report.html, in the folder of a single run, or in the current
            folder for several.

    Returns:
        The file that was written.

    Raises:
        InputError: A folder is not a run, or `out` cannot be a file.
        DamageError: A file of a run is damaged.
        MachineError: The page cannot be written.
    """
    paths = [runs] if isinstance(runs, str | os.PathLike) else runs
    folders = list(dict.fromkeys(map(Path, paths)))
    if not folders:
        msg = "no run is named"
        cure = "Name one or several run folders: featcache report runs/reviews-stars."
        raise InputError(msg, cure=cure)
    page = Path(REPORT)
    if out is not None:
        page = Path(out)
    elif len(folders) == 1:
        page = folders[0] / REPORT
    contents = [read_run(folder) for folder in folders]
    _check_page(page)
    return write_report_page(contents, page)


def _check_page(page: Path) -> None:
    """Refuse a place where the page cannot be written."""
    if page.is_dir() or not page.name:
        msg = f"{page} is a folder, so the page cannot be written there"
        raise InputError(msg, cure=f"Name a file: --out {page / REPORT}.")
    if not page.parent.is_dir():
        msg = f"the folder {page.parent} is not there"
        raise InputError(msg, cure="Make it first, or choose another place: --out FILE.")
    if not os.access(page.parent, os.W_OK):
        msg = f"the folder {page.parent} cannot be written"
        raise MachineError(msg, cure="Choose a place that can be written: --out FILE.")
