"""`featcache report`: where the page goes, what is printed, and which exit code refuses what."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.test_commands import refused
from tests.conftest import Run, everything_below
from tests.report.example import write_made


@pytest.fixture
def runs(in_folder: Path) -> list[Path]:
    return [
        write_made(in_folder / "runs" / name, ["a", "b"]).relative_to(in_folder)
        for name in ("one", "two")
    ]


def test_one_run_has_its_page_in_its_folder(run: Run, runs: list[Path]) -> None:
    told = run("report", runs[0])
    assert told.exit_code == 0, told.stderr
    assert told.stdout.startswith("report     runs/one/report.html · 1 run, ")
    assert (runs[0] / "report.html").read_text("utf-8").startswith("<!doctype html>")


def test_several_runs_have_one_page_here(run: Run, runs: list[Path]) -> None:
    told = run("report", *runs, "--json")
    assert told.exit_code == 0, told.stderr
    found = json.loads(told.stdout)
    assert found["report"] == "report.html"
    assert found["runs"] == ["runs/one", "runs/two"]
    assert found["bytes"] == Path("report.html").stat().st_size
    assert run("report", *runs, "--out", "all.html").stdout.startswith(
        "report     all.html · 2 runs, "
    )


def test_a_refusal_writes_nothing(run: Run, runs: list[Path], in_folder: Path) -> None:
    before = everything_below(in_folder)
    refused(
        run("report", runs[0], "runs"), 2, "runs is not a run", "featcache report runs/one runs/two"
    )
    refused(run("report", "nowhere"), 2, "nowhere is not a run")
    refused(run("report", *runs, "--out", "runs"), 2, "runs is a folder")
    refused(run("report", *runs, "--out", "none/all.html"), 2, "the folder none is not there")
    assert everything_below(in_folder) == before
    shutil.copyfile(runs[0] / "trials.jsonl", runs[1] / "result.json")
    before = everything_below(in_folder)
    refused(run("report", *runs), 4, "runs/two/result.json is not what a run writes")
    assert everything_below(in_folder) == before
