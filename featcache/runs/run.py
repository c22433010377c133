"""Reads back what a run left behind: `result.json`, `trials.jsonl` and `predictions.parquet`.

Needs neither the cache nor torch. Runs of early versions lack some parts; the schema says what
stands for them. A folder that is no run is bad input, a file that cannot be what a run wrote is
damage: each is one sentence that names the file.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from featcache import schema
from featcache.durable import NotAFileError, read_small
from featcache.errors import DamageError, FormatError, InputError
from featcache.runs import predictions
from featcache.runs.evidence_records import VerdictRecord
from featcache.runs.folder import RESULT, TRIALS
from featcache.runs.head_records import ScoredRecord, TrialRecord
from featcache.runs.predictions import Predictions, decode_predictions
from featcache.runs.schema import FORMAT, RunRecord, check_metric

_LARGEST = 512 << 20  # bytes of a file that is read whole; a run of 1,000 classes has 15 MB
_SHOWN_RUNS = 3  # that are named in a cure

_NO_VERDICT = VerdictRecord(why="no experiments were made for a verdict")


@dataclass(frozen=True)
class Run:
    """A run's folder and what its files say.

    Attributes:
        folder: Where it is.
        result: The content of `result.json`.
        trials: Every head that was tried; none in runs that kept none.
        predictions: Row by row; None in runs of early versions.
    """

    folder: Path
    result: RunRecord
    trials: tuple[TrialRecord, ...]
    predictions: Predictions | None

    @property
    def metric(self) -> str:
        """The metric that the choice was made by."""
        return self.result.metric

    @property
    def verdict(self) -> VerdictRecord:
        """What limits the linear reference; one without a kind where no experiments were made."""
        return self.result.verdict or _NO_VERDICT

    @property
    def best(self) -> ScoredRecord:
        """The chosen head."""
        return self.result.best

    @property
    def linear(self) -> ScoredRecord:
        """The linear reference."""
        return self.result.linear

    @property
    def is_linear(self) -> bool:
        """Whether the choice is the linear reference itself."""
        return self.best.name == self.linear.name

    @property
    def part(self) -> str:
        """The rows that scores are compared on."""
        return "test" if self.best.test is not None else "validation"

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; quoted where 1 and "1" would look alike, or a name is blank."""
        labels = self.result.classes
        names = tuple(str(label) for label in labels)
        if len(set(names)) == len(names) and all(name.strip() for name in names):
            return names
        return tuple(json.dumps(label, ensure_ascii=False) for label in labels)


def read_run(folder: Path) -> Run:
    """Read the run that a folder holds.

    Args:
        folder: The run's folder.

    Returns:
        The run.

    Raises:
        InputError: The folder holds no run.
        FormatError: A later featcache wrote the run.
        DamageError: One of its files is not what a run writes.
    """
    path = folder / RESULT
    if not _exists(path):
        _refuse(folder)
    result = _read_result(path)
    trials = _read_trials(folder / TRIALS, result.metric)
    return Run(folder, result, trials, _read_predictions(folder, len(result.classes)))


def _refuse(folder: Path) -> NoReturn:
    """Raise InputError for a folder without a result; names the runs below it, if there are any."""
    what = "it holds no result.json"
    if folder.is_file():
        what = "it is a file"
    elif not folder.exists():
        what = "there is no such folder"
    cure = "A run is a folder that `featcache fit-heads` wrote, such as runs/reviews-stars."
    inner = sorted(path.parent for path in folder.glob(f"*/{RESULT}"))
    if inner:
        shown = " ".join(str(run) for run in inner[:_SHOWN_RUNS])
        more = " …" if len(inner) > _SHOWN_RUNS else ""
        cure = f"Name the runs in it: featcache report {shown}{more}"
    msg = f"{folder} is not a run: {what}"
    raise InputError(msg, cure=cure)


class _Versioned(msgspec.Struct):
    """What is looked at first: a later format need not fit this schema."""

    format: int = 0


def _read_result(path: Path) -> RunRecord:
    data = _read(path)
    try:
        document = _finite(schema.parse(data))
        written = schema.convert(document, _Versioned).format
        if written <= FORMAT:
            return schema.convert(document, RunRecord)
    except schema.SchemaError as error:
        raise _damaged(path, str(error)) from error
    msg = f"{path} was written in format {written}; this featcache reads up to {FORMAT}"
    raise FormatError(msg, cure="Upgrade: pip install --upgrade featcache")


def _read_trials(path: Path, metric: str) -> tuple[TrialRecord, ...]:
    if not _exists(path):
        return ()
    trials = []
    for number, line in enumerate(_read(path).splitlines(), start=1):
        try:
            trial = schema.convert(_finite(schema.parse(line)), TrialRecord)
            check_metric(metric, trial.train, trial.validation)
        except ValueError as error:
            why = f"line {number} is not the record of a head: {error}"
            raise _damaged(path, why) from error
        trials.append(trial)
    return tuple(trials)


def _read_predictions(folder: Path, n_classes: int) -> Predictions | None:
    path = folder / predictions.NAME
    if not _exists(path):
        return None
    try:
        return decode_predictions(_read(path), n_classes)
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def _exists(path: Path) -> bool:
    """Return whether anything has this name, be it a link that leads nowhere."""
    return os.path.lexists(path)


def _read(path: Path) -> bytes:
    """Return the content of a regular file of bearable size."""
    try:
        return read_small(path, _LARGEST, follow=True)
    except NotAFileError as error:
        raise _damaged(path, str(error)) from error
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error


def _finite(value: Any) -> Any:
    """Return plain data with null for NaN and infinity, which early versions wrote as they are."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return value


def _damaged(path: Path, why: str) -> DamageError:
    msg = f"{path} is not what a run writes: {why}"
    return DamageError(msg, cure="Run the same `featcache fit-heads` again, or leave this run out.")
