"""README.md is run as it stands: the two commands and the Python example, on a tiny model of that
name.
"""

from __future__ import annotations

import re
import shlex
from functools import partial
from pathlib import Path

import pytest

import featcache
from tests.cli.test_commands import write_csv
from tests.conftest import Run, save_encoder
from tests.verbs.test_fit_predict import rated

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def reviews(in_folder: Path) -> Path:
    """What a reader of the README has: a file of reviews and a model."""
    data = rated(60, seed=3)
    data["text"].append("Never again.")
    data["label"].append("negative")
    write_csv(in_folder / "reviews.csv", {"text": data["text"], "stars": data["label"]})
    save_encoder(in_folder / "models" / "distilbert", num_hidden_layers=4)
    return in_folder


def test_the_two_commands_work_as_written(run: Run, reviews: Path) -> None:
    commands = blocks("")[0].splitlines()
    assert [command.split()[:2] for command in commands] == [
        ["featcache", "extract"],
        ["featcache", "fit-heads"],
    ]
    for command in commands:
        quick = ("--trials", "12") if "fit-heads" in command else ()
        told = run(*shlex.split(command)[1:], *quick)
        assert told.exit_code == 0, told.stderr
    assert (reviews / "runs" / "reviews-stars" / "bundle" / "head.json").exists()


def test_the_python_example_works_as_written(
    reviews: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But with a tenth of the heads."""
    monkeypatch.setattr(featcache, "fit_heads", partial(featcache.fit_heads, trials=12))
    (example,) = blocks("python")
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)  # noqa: S102 - our own page
    assert names["features"].shape == (1, 32)  # type: ignore[attr-defined]  # the example's names are its own
    assert "Interval(" in capsys.readouterr().out
    assert (reviews / "runs" / "reviews-stars").exists()


def test_no_placeholder_is_left() -> None:
    assert not re.search(r"@[A-Z]+@", README)


def test_the_commands_that_ci_runs_are_marked() -> None:
    assert re.findall(r"<!-- run: (\w+) -->", README) == ["demo", "test"]
