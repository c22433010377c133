"""`featcache fit-heads` by its options: several labels, searches, and one clear sentence for each
that is wrong.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import featcache
from featcache.bundles.bundle import read_bundle
from tests.cli.test_commands import refused, write_csv
from tests.conftest import Run, everything_below
from tests.verbs.test_fit_predict import rated

TINY = (
    "--heads",
    "logreg,linear",
    "--layers",
    "1,2",
    "--pool",
    "mean",
    "--views",
    "single",
    "--search",
    "grid",
    "--no-evidence",
)


@pytest.fixture(scope="session")
def cache(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("cli") / "cache"
    featcache.extract(rated(150, seed=4), backbone=encoder, cache=cache, dtype="float32")
    return cache


@pytest.fixture
def fit(run: Run, cache: Path, in_folder: Path) -> Any:
    """`featcache fit-heads moods.csv …` with two labels to choose from."""
    data: dict[str, list[Any]] = {**rated(150, seed=4)}
    data["long"] = ["yes" if len(text.split()) > 5 else "no" for text in data["text"]]
    data["rare"] = ["x" if row % 20 == 0 else "y" for row in range(150)]
    data["one"] = ["same"] * 150
    write_csv(in_folder / "moods.csv", data)

    def call(*options: object) -> Any:
        return run("fit-heads", "moods.csv", "--text", "text", "--cache", cache, *options)

    return call


def test_several_labels_are_one_object_by_label_and_a_bundle_each(fit: Any) -> None:
    told = fit("--label", "label", "--label", "long", *TINY, "--json")
    assert told.exit_code == 0, told.stderr
    found = json.loads(told.stdout)
    assert list(found) == ["label", "long"]
    assert [found[name]["bundle"] for name in found] == [
        "runs/moods-label/bundle",
        "runs/moods-long/bundle",
    ]
    for name, result in found.items():
        assert read_bundle(Path(result["bundle"]))[1].label == name
        alone = json.loads(fit("--label", name, *TINY, "--json").stdout)
        assert set(alone) == set(result)
        assert alone["best"] == result["best"]
    assert "label      long" in told.stderr


def test_people_read_a_report_for_each_label(fit: Any) -> None:
    told = fit("--label", "label", "--label", "long", *TINY, "--out", "both")
    assert told.exit_code == 0, told.stderr
    first, second = told.stdout.split("\nlabel      long\n")
    assert first == "label      label\n" + Path("both/label/report.txt").read_text()
    assert second == Path("both/long/report.txt").read_text()


def test_a_second_choice_on_the_same_test_rows_is_said(fit: Any) -> None:
    assert "on these test rows before" not in fit("--label", "long", *TINY, "--seed", "3").stderr
    told = fit(
        "--label",
        "long",
        *TINY[:2],
        "--layers",
        "0",
        "--search",
        "grid",
        "--seed",
        "3",
        "--no-evidence",
        "--json",
    )
    assert "another choice was scored on these test rows before" in told.stderr
    (before,) = json.loads(told.stdout)["test_read_before"]
    assert before["run"] == "runs/moods-long"


def test_options_of_the_search_are_told_in_the_result(fit: Any) -> None:
    told = fit(
        "--label",
        "label",
        "--heads",
        "mlp",
        "--depths",
        "2",
        "--widths",
        "8",
        "--layers",
        "2",
        "--pool",
        "mean",
        "--views",
        "single",
        "--search",
        "random",
        "--trials",
        "3",
        "--seeds",
        "2",
        "--cv",
        "3",
        "--time",
        "600",
        "--balance",
        "oversample",
        "--focal",
        "1.5",
        "--thresholds",
        "--activation",
        "silu",
        "--layer-norm",
        "--residual",
        "--metric",
        "mcc",
        "--no-evidence",
        "--json",
    )
    assert told.exit_code == 0, told.stderr
    result = json.loads(told.stdout)
    assert (
        result["search"].items()
        >= {
            "search": "random",
            "trials": 3,
            "seconds": 600.0,
            "cv": 3,
            "balance": "oversample",
            "focal": 1.5,
            "thresholds": True,
            "seeds": [0, 1],
        }.items()
    )
    assert (result["metric"], result["trials"]) == ("mcc", 3)
    best = result["best"]
    assert (best["head"], best["activation"], best["layer_norm"], best["residual"]) == (
        "mlp",
        "silu",
        True,
        True,
    )
    assert best["settings"]["focal"] == 1.5
    assert len(result["calibration"]["offsets"]) == 2


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--seed", "-1"), ("Invalid value for '--seed'",)),
        (("--seeds", "0"), ("0 seeds are not between 1 and 20", "--seeds 3")),
        (("--seeds", "many"), ("Invalid value for '--seeds'",)),
        (("--cv", "1"), ("1 folds are not between 2 and 50", "--cv 5")),
        (("--trials", "0"), ("0 trials are no trial", "--trials 1")),
        (("--time", "0"), ("0.0 seconds are no time", "--time 60")),
        (("--focal", "-1"), ("the focal exponent -1.0 is not between 0 and 10", "--focal 2")),
        (
            ("--views", "single,every"),
            ("there is no view 'every'", "single, layers, poolings, mix"),
        ),
        (("--search", "annealing"), ("Invalid value for '--search'", "'halving'")),
        (("--balance", "smote"), ("Invalid value for '--balance'", "'oversample'")),
        (("--activation", "tanh"), ("Invalid value for '--activation'", "'gelu'")),
        (("--depths", "9", "--heads", "mlp"), ("a depth is 0 to 8",)),
        (
            ("--heads", "logreg", "--views", "mix"),
            ("nothing is left to try", "`mix` needs several layers, and no logreg"),
        ),
    ],
    ids=" ".join,
)
def test_a_wrong_option_is_one_sentence_with_the_cure(
    fit: Any, in_folder: Path, options: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    before = everything_below(in_folder)
    refused(fit("--label", "label", *options), 2, *parts)
    assert everything_below(in_folder) == before


@pytest.mark.parametrize(
    ("label", "parts"),
    [
        (
            "rare",
            ("the class 'x' has ", "different texts, and each of 10 folds needs one", "--cv "),
        ),
        ("one", ("has one class only",)),
    ],
)
def test_a_label_that_cannot_be_fitted_is_said_before_another_is(
    fit: Any, in_folder: Path, label: str, parts: tuple[str, ...]
) -> None:
    """More folds than a class has texts, say: nothing is half-written."""
    before = everything_below(in_folder)
    refused(fit("--label", label, "--cv", "10"), 2, *parts)
    refused(fit("--label", "label", "--label", label, "--cv", "10", *TINY), 2, *parts)
    assert everything_below(in_folder) == before


def test_ctrl_c_ends_the_threads_of_a_search_within_a_second_or_two(
    fit: Any, cache: Path, in_folder: Path
) -> None:
    """They train one large stack, which takes half a minute: it is not brought to an end first."""
    assert fit("--help").exit_code == 0
    command = [
        sys.executable,
        "-m",
        "featcache",
        "fit-heads",
        "moods.csv",
        "--label",
        "label",
        "--text",
        "text",
        "--cache",
        str(cache),
        "--search",
        "random",
        "--trials",
        "120",
        "--heads",
        "mlp",
        "--depths",
        "3",
        "--widths",
        "256",
        "--layers",
        "2",
        "--views",
        "single",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    process = subprocess.Popen(
        command, cwd=in_folder, stderr=subprocess.PIPE, text=True, env=environment
    )
    time.sleep(6)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 130, talk
    assert time.monotonic() - started < 6
    assert not (in_folder / "runs").exists()
