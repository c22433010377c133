"""A run's folder: its name, and what is written there."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from featcache.bundles.bundle import save_bundle
from featcache.bundles.description import Description
from featcache.data.parts import LabelledRows, Parts
from featcache.durable import make_folder, write_durably
from featcache.errors import InputError, MachineError
from featcache.evidence.mislabelled import NAME as LIST_OF_SUSPECTS
from featcache.evidence.mislabelled import MislabelledCandidates, write_csv
from featcache.heads.network import Network
from featcache.heads.setup import TrainingSetup
from featcache.runs import predictions
from featcache.runs.head_records import TrialRecord
from featcache.runs.predictions import encode_predictions
from featcache.runs.records import IntervalRecord
from featcache.runs.result import FitResult
from featcache.search.options import SearchOptions
from featcache.search.trial import Trial

if TYPE_CHECKING:
    from featcache.heads.module import CustomHead


RESULT = "result.json"
TRIALS = "trials.jsonl"
REPORT = "report.html"  # made of the other files, by `report/`


def check_out(out: str | os.PathLike[str] | None) -> None:
    """A folder that cannot be written is worth knowing before the sweep, not after it."""
    place = Path(out or "runs")
    existing = next(folder for folder in (place, *place.absolute().parents) if folder.exists())
    if not existing.is_dir():
        msg = f"{existing} is a file, so no run can be kept in {place}"
        raise InputError(msg, cure="Choose a folder: --out DIR.")
    if not os.access(existing, os.W_OK):
        msg = f"the folder {existing} cannot be written"
        raise MachineError(msg, cure="Choose a folder that can be written: --out DIR.")


def signature_of(space: str, trial: Trial, parts: Parts, wanted: SearchOptions) -> str:
    """Return what the scores depend on, in one line that can be printed beside a score."""
    named = {
        "space": space,
        "head": str(trial.head).replace(" ", "-"),
        "view": str(trial.view).replace(" ", "-"),
        "recipe": hashlib.sha256(json.dumps(trial.settings, sort_keys=True).encode()).hexdigest()[
            :12
        ],
        "rows": _sum_of(parts),
        "metric": wanted.metric,
        "search": hashlib.sha256(repr(wanted.told()).encode()).hexdigest()[:12],
        "seed": wanted.seeds[0],
        "version": version("featcache"),
    }
    return "|".join(f"{name}:{value}" for name, value in named.items())


def _sum_of(parts: Parts) -> str:
    """12 hex digits for the texts and labels of all parts, in their order."""
    rows = b"".join(part.keys.tobytes() + repr(part.labels).encode() for part in parts.present())
    return hashlib.sha256(rows).hexdigest()[:12]


def run_folders(
    out: str | os.PathLike[str] | None, source: str, labels: Sequence[str]
) -> list[Path]:
    """A folder for each label: the one asked for, or `runs/<data>-<label>`; numbered where it is
    taken.

    Of several labels, a folder asked for holds one for each.
    """
    if out is not None and len(labels) == 1:
        return [Path(out)]
    stem = Path(source.split(", ", maxsplit=1)[0].split(":", maxsplit=1)[0]).name.split(".")[0]
    found: list[Path] = []
    for label in labels:
        name = _name(label) or "label"
        place = (
            Path("runs") / (_name(f"{stem}-{label}") or "run") if out is None else Path(out) / name
        )
        folder, number = place, 2
        while folder in found or (out is None and folder.exists()):
            folder, number = place.with_name(f"{place.name}-{number}"), number + 1
        found.append(folder)
    return found


def _name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")


def write_run(
    folder: Path,
    result: FitResult,
    head: Network | CustomHead,
    description: Description,
    *,
    answered: LabelledRows,
    doubted: MislabelledCandidates | None,
    chosen_on: LabelledRows,
    sweep: TrainingSetup,
    card: str,
    text: str,
) -> None:
    """Write all files of a run but its page, which is made of these; an earlier page goes.

    Args:
        folder: The run's folder; it may hold an earlier run.
        result: What the fit found.
        head: The chosen head, refitted.
        description: Of the head, for its bundle.
        answered: The rows of `result.answers`.
        doubted: Rows of `chosen_on` that are probably labelled wrongly; None where nobody looked.
        chosen_on: Rows of training and validation.
        sweep: What the trials were tried on.
        card: The bundle's README.md.
        text: The content of `report.txt`.

    Raises:
        MachineError: The folder cannot be made, or the disk refuses.
    """
    make_folder(folder, "--out")
    lines = b"".join(msgspec.json.encode(line) + b"\n" for line in _trial_records(result, sweep))
    write_durably(folder, TRIALS, lines)
    save_bundle(folder / "bundle", head, description, card)
    write_durably(folder, "report.txt", text.encode())
    write_durably(folder, predictions.NAME, encode_predictions(result.answers, answered.keys))
    _write_mislabelled(folder, doubted, chosen_on, result.classes)
    content = msgspec.json.encode(result.to_record())
    write_durably(folder, RESULT, msgspec.json.format(content, indent=2))
    (folder / REPORT).unlink(missing_ok=True)


def _write_mislabelled(
    folder: Path,
    doubted: MislabelledCandidates | None,
    rows: LabelledRows,
    classes: Sequence[Any],
) -> None:
    """Write the list of mislabelled rows; without any, that of an earlier run goes."""
    if doubted is None or not len(doubted):
        (folder / LIST_OF_SUSPECTS).unlink(missing_ok=True)
        return
    write_csv(
        folder,
        doubted,
        sources=rows.origins,
        rows=rows.numbers or [0] * len(rows.texts),
        texts=rows.texts,
        classes=classes,
    )


def _trial_records(result: FitResult, sweep: TrainingSetup) -> Iterator[TrialRecord]:
    """Yield the trials, with intervals of those trained to their end unless classes are many."""
    for trial in result.trials:
        if trial.dropped or not sweep.task.intervals_are_cheap:
            yield TrialRecord.of(trial)
            continue
        score = sweep.task.interval(sweep.metric, sweep.truth, trial.predicted, seed=sweep.seed)
        yield TrialRecord.of(trial, IntervalRecord(low=score.low, high=score.high))
