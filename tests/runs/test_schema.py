"""A run's folder is read as its schema says, whoever wrote it: records, or one sentence."""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from featcache import schema
from featcache.errors import DamageError, FormatError, InputError
from featcache.report.page import render
from featcache.runs.head_records import TrialRecord
from featcache.runs.run import read_run
from featcache.runs.schema import FORMAT, RunRecord
from tests.faults.malformed import IMPOSTORS, mutations_of
from tests.report.example import enrich, write_made

MAKE = Path(__file__).parents[2] / "docs" / "schemas" / "make.py"
REFUSED = (DamageError, FormatError, InputError)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every part."""
    return enrich(write_made(tmp_path_factory.mktemp("run") / "made", ["a", "b", "c"]))


def test_the_published_schema_is_that_of_the_classes() -> None:
    made = runpy.run_path(str(MAKE))
    assert made["PLACE"].read_text("utf-8") == made["schema_text"]()


def test_a_record_is_written_as_it_was_read(whole: Path) -> None:
    raw = json.loads((whole / "result.json").read_text("utf-8"))
    record = schema.convert(raw, RunRecord)
    written = json.loads(json.dumps(schema.fields_of(record)))
    assert schema.convert(written, RunRecord) == record
    assert set(raw) <= set(written)
    assert written["best"] == raw["best"]
    assert written["learning_curve"] == raw["learning_curve"]


def test_a_run_of_a_later_format_says_so(whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    (folder / "result.json").write_text(json.dumps({"format": FORMAT + 1, "new": True}))
    with pytest.raises(FormatError, match=f"format {FORMAT + 1}"):
        read_run(folder)


def test_every_mutation_of_the_result_is_refused_or_drawn(whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    result = json.loads((folder / "result.json").read_text("utf-8"))
    for name in ("trials.jsonl", "predictions.parquet"):
        (folder / name).unlink()
    n_refused = 0
    # Every fifth: 27 kinds of mutation for each value, so that each kind meets many values.
    for number, (name, data) in enumerate(list(mutations_of(result))[::5]):
        (folder / "result.json").write_bytes(data)
        try:
            run = read_run(folder)
        except REFUSED as error:
            n_refused += 1
            assert error.cure, name
            assert len(error.what.splitlines()) == 1, name
        else:
            if number % 10 == 0:  # a page takes 30 ms
                render([run]).encode()
    assert n_refused > 500


def test_every_mutation_of_a_trial_is_refused_or_read(whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    first, *_ = (folder / "trials.jsonl").read_text("utf-8").splitlines()
    (folder / "predictions.parquet").unlink()
    for name, data in mutations_of(json.loads(first)):
        (folder / "trials.jsonl").write_bytes(data)
        try:
            trials = read_run(folder).trials
        except REFUSED as error:
            assert len(error.what.splitlines()) == 1, name
        else:
            assert all(isinstance(trial, TrialRecord) and trial.name for trial in trials), name


@pytest.mark.parametrize("name", ["result.json", "trials.jsonl", "predictions.parquet"])
@pytest.mark.parametrize("put", IMPOSTORS.values(), ids=IMPOSTORS.keys())
def test_what_is_no_file_is_not_opened(
    whole: Path, tmp_path: Path, name: str, put: Callable[[Path], None]
) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    (folder / name).unlink()
    put(folder / name)
    with pytest.raises(REFUSED):
        read_run(folder)
