"""`featcache curves`: a table and a sentence for people, one object for programs, one sentence
where it cannot be.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import featcache
from tests.cli.test_commands import refused, write_csv
from tests.conftest import Run, everything_below
from tests.verbs.test_fit_predict import rated

TINY = (
    "--layers",
    "1,2",
    "--pool",
    "mean",
    "--views",
    "single",
    "--depths",
    "0,1",
    "--widths",
    "8",
)


@pytest.fixture(scope="session")
def cache(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("curves") / "cache"
    featcache.extract(rated(200, seed=4), backbone=encoder, cache=cache, dtype="float32")
    return cache


@pytest.fixture
def curves(run: Run, cache: Path, in_folder: Path) -> Any:
    data: dict[str, list[Any]] = {**rated(200, seed=4), "one": ["same"] * 200}
    write_csv(in_folder / "moods.csv", data)

    def call(*options: object) -> Any:
        return run("curves", "moods.csv", "--text", "text", "--cache", cache, *options)

    return call


def test_people_read_a_table_and_what_more_labels_would_give(curves: Any, in_folder: Path) -> None:
    before = everything_below(in_folder)
    told = curves("--label", "label", *TINY)
    assert told.exit_code == 0, told.stderr
    assert told.stdout.startswith("data       160 train + 40 validation · 2 classes · space ")
    assert "macro_f1 of logreg on layer 2 mean by training rows" in told.stdout
    assert "twice the labels would give about" in told.stdout
    assert "points of macro_f1" in told.stdout
    assert "mlp 1×8" in told.stdout
    assert "\x1b[" not in told.stdout
    assert all(line == line.rstrip() for line in told.stdout.splitlines())
    assert everything_below(in_folder) == before


def test_programs_read_one_object_and_the_same_again(curves: Any) -> None:
    first, again = (
        curves("--label", "label", *TINY, "--metric", "accuracy", "--json") for _ in range(2)
    )
    assert first.exit_code == 0, first.stderr
    found, same = (json.loads(one.stdout) for one in (first, again))
    found.pop("seconds")
    same.pop("seconds")
    assert found == same
    assert set(found) == {
        "label",
        "metric",
        "space",
        "rows",
        "classes",
        "learning_curve",
        "learning_curves",
        "capacity",
    }
    assert found["rows"] == {"train": 160, "validation": 40}
    assert found["learning_curve"] == found["learning_curves"][-1]
    assert [one["rows"] for one in found["learning_curve"]["points"]] == [40, 80, 160]
    assert [one["depth"] for one in found["capacity"]["heads"]] == [0, 1]


def test_python_takes_tables_and_texts_of_a_test_are_left_out(cache: Path) -> None:
    data = rated(200, seed=4)
    test = {name: values[:50] for name, values in data.items()}
    test = {"text": [*test["text"], "never extracted"], "label": [*test["label"], data["label"][0]]}
    found = featcache.curves(
        data,
        label="label",
        test=test,
        text="text",
        cache=cache,
        layers="2",
        pool="mean",
        views="single",
        heads="logreg",
        depths=(0,),
        widths=(8,),
    )
    assert sum(found.rows) == 150
    assert [curve.about for curve in found.learning_curves] == [
        "logreg on layer 2 mean"
    ]  # the reference is the best there is


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--label", "mood"), ("'mood'",)),
        (("--label", "one"), ("has one class only",)),
        (("--label", "label", "--depths", "9"), ("a depth is 0 to 8",)),
        (("--label", "label", "--heads", "forest"), ("there is no head 'forest'",)),
        (("--label", "label", "--views", "all"), ("there is no view 'all'",)),
        (("--label", "label", "--layers", "7"), ("7",)),
        (("--label", "label", "--split", "0.5"), ("0.5",)),
    ],
    ids=" ".join,
)
def test_a_wrong_option_is_one_sentence(
    curves: Any, options: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    refused(curves(*options), 2, *parts)


def test_rows_that_are_not_cached_are_named_with_the_command(run: Run, in_folder: Path) -> None:
    write_csv(in_folder / "moods.csv", rated(200, seed=4))
    told = run("curves", "moods.csv", "--text", "text", "--label", "label", "--cache", "none")
    refused(told, 3, "featcache extract")
