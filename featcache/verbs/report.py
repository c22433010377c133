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
    """Write one self-contained HTML page about run folders, beside one another where there are
    several; its place.

    out: the file; by default report.html, in the folder of a single run, in the current folder
    otherwise.
    Raises InputError where a folder is no run or `out` cannot be a file, DamageError where a run's
    file is damaged, MachineError where the page cannot be written. Nothing is written then.
    """
    given = [Path(runs)] if isinstance(runs, str | os.PathLike) else [Path(one) for one in runs]
    folders = list(dict.fromkeys(given))
    if not folders:
        msg = "no run is named"
        raise InputError(
            msg, cure="Name one or several run folders: featcache report runs/reviews-stars."
        )
    place = (
        Path(out) if out is not None else folders[0] / REPORT if len(folders) == 1 else Path(REPORT)
    )
    found = [read_run(folder) for folder in folders]
    _check_place(place)
    return write_report_page(found, place)


def _check_place(place: Path) -> None:
    if place.is_dir() or not place.name:
        msg = f"{place} is a folder, so the page cannot be written there"
        raise InputError(msg, cure=f"Name a file: --out {place / REPORT}.")
    if not place.parent.is_dir():
        msg = f"the folder {place.parent} is not there"
        raise InputError(msg, cure="Make it first, or choose another place: --out FILE.")
    if not os.access(place.parent, os.W_OK):
        msg = f"the folder {place.parent} cannot be written"
        raise MachineError(msg, cure="Choose a place that can be written: --out FILE.")
