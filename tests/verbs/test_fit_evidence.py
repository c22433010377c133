"""What fit-heads leaves behind beside a head: verdict, findings, doubted labels, answers, the page,
the command.
"""

from __future__ import annotations

import csv
import inspect
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score

import featcache
from featcache.data.keys import row_keys
from featcache.errors import LeakError
from featcache.evidence.verdict import KINDS
from featcache.runs.cures import cures_of_fit
from featcache.runs.result import FitResult
from featcache.verbs.options import BY_NAME
from tests.cli.test_commands import write_csv
from tests.conftest import Run
from tests.verbs.test_fit_predict import rated

TRAIN, TEST = rated(300, seed=1), rated(120, seed=2)


@pytest.fixture(scope="module")
def cache(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("evidence") / "cache"
    for data in (TRAIN, TEST):
        featcache.extract(data, backbone=encoder, cache=cache, dtype="float32")
    return cache


@pytest.fixture(scope="module")
def run_of_files(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[FitResult, Path]:
    """A run of files, with 6 labels of training rows turned over."""
    folder = tmp_path_factory.mktemp("files")
    labels = list(TRAIN["label"])
    for row in range(0, 300, 50):
        labels[row] = next(name for name in sorted(set(labels)) if name != labels[row])
    write_csv(folder / "train.csv", {**TRAIN, "label": labels})
    write_csv(folder / "test.csv", TEST)
    result = featcache.fit_heads(
        folder / "train.csv",
        test=folder / "test.csv",
        label="label",
        cache=cache,
        heads="logreg,mlp",
        depths=(1,),
        widths=(8,),
        layers="1,2",
        pool="mean",
        search="grid",
        out=folder / "run",
    )
    return result, folder


def test_a_fit_ends_in_a_verdict_about_the_linear_reference(
    run_of_files: tuple[FitResult, Path],
) -> None:
    result, folder = run_of_files
    written = json.loads((folder / "run" / "result.json").read_text())
    assert result.verdict is not None
    assert set(written["verdict"]) == {"kind", "why", "cure", "causes", "experiments", "subject"}
    assert written["verdict"]["kind"] == result.verdict.kind
    assert result.verdict.why[:40] in " ".join((folder / "run" / "report.txt").read_text().split())
    assert (folder / "run" / "report.html").stat().st_size < 3_000_000
    assert result.verdict.kind in KINDS
    assert result.verdict.subject == "linear head on layer 2 mean"
    assert written["learning_curve"]["points"][-1]["rows"] <= 300
    assert len(written["verdict"]["experiments"]) > 8


def test_answers_are_kept_row_by_row(run_of_files: tuple[FitResult, Path]) -> None:
    """They give the scores once more, and their keys are those of the test texts."""
    result, folder = run_of_files
    table = pq.read_table(folder / "run" / "predictions.parquet")
    assert table.schema.metadata[b"part"] == b"test"
    label, best, linear = (table[name].to_numpy() for name in ("label", "best", "linear"))
    assert [result.classes[one] for one in label] == TEST["label"]
    for given, scored in ((best, result.best), (linear, result.linear)):
        assert scored.test is not None
        assert accuracy_score(label, given) == pytest.approx(
            scored.test["accuracy"].value, abs=1e-6
        )
    assert table["key"].to_pylist() == [bytes(key) for key in row_keys(TEST["text"])]
    predictor = featcache.load_bundle(result.bundle, cache=result_cache(result))
    said = predictor.predict(TEST["text"][:20])
    np.testing.assert_allclose(
        [max(one.probabilities.values()) for one in said],
        table["confidence"].to_numpy()[:20],
        atol=2e-3,
    )


def result_cache(result: FitResult) -> str:
    assert result.origin.command is not None
    words = shlex.split(result.origin.command)
    return words[words.index("--cache") + 1]


def test_mistakes_are_the_most_confident_wrong_answers(
    run_of_files: tuple[FitResult, Path],
) -> None:
    result, folder = run_of_files
    wrong = [(text, label) for text, label in zip(TEST["text"], TEST["label"], strict=True)]
    for one in result.mistakes:
        assert one.predicted != one.label
        assert (one.text, one.label) in wrong
        assert one.source == str(folder / "test.csv")
        assert TEST["text"][(one.row or 0) - 1] == one.text
    sure = [one.probability for one in result.mistakes]
    assert sure == sorted(sure, reverse=True)
    n_wrong = int((result.answers.best != result.answers.truth).sum())
    assert len(result.mistakes) == min(20, n_wrong)


def test_labels_that_were_turned_over_are_listed_with_their_rows(
    run_of_files: tuple[FitResult, Path],
) -> None:
    result, folder = run_of_files
    with (folder / "run" / "mislabelled.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert len(listed) == result.mislabelled.count
    turned = {row + 1 for row in range(0, 300, 50)}
    found = {int(one["row"]) for one in listed}
    assert len(turned & found) >= 4
    for one in listed:
        assert one["text"] == TRAIN["text"][int(one["row"]) - 1]
        assert one["source"] == str(folder / "train.csv")
        assert one["label"] != one["predicted"]


def test_the_command_of_a_run_repeats_it(
    run_of_files: tuple[FitResult, Path], run: Run, in_folder: Path
) -> None:
    result, _ = run_of_files
    assert result.origin.command is not None
    words = shlex.split(result.origin.command)
    words[words.index("--out") + 1] = str(in_folder / "again")
    told = run(*words[1:], "--no-evidence")
    assert told.exit_code == 0, told.stderr
    again = json.loads((in_folder / "again" / "result.json").read_text())
    assert again["signature"] == result.signature
    assert again["best"]["test"] == json.loads(json.dumps(result.to_json()))["best"]["test"]


def test_cures_are_commands_that_read_the_same_rows(
    encoder: Path, in_folder: Path, run: Run
) -> None:
    """The texts' column, which nobody could guess, a template, the cache and files with spaces go
    along.
    """
    data = rated(150, seed=11)
    columns = {
        "body": data["text"],
        "note": [f"row {row} a" for row in range(150)],
        "my label": data["label"],
    }
    write_csv(in_folder / "my data.csv", columns)
    template = "{body} ({note})"
    reading: dict[str, Any] = {"template": template, "cache": "there"}
    featcache.extract(in_folder / "my data.csv", backbone=encoder, dtype="float32", **reading)
    options = shlex.join(["--template", template, "--cache", "there", "--label", "my label"])
    asked = {
        name: one.default for name, one in inspect.signature(featcache.fit_heads).parameters.items()
    }
    cures = cures_of_fit(
        BY_NAME,
        {**asked, "train": [Path("my data.csv")], **reading},
        "my label",
        Path("my run"),
        has_depth=True,
    )
    assert shlex.split(cures["fits"]) == ["featcache", "predict", "my run/bundle", "DATA"]
    for kind, extra in (
        ("no-signal", []),
        ("data-limited", ["--heads", "logreg", "--depths", "0", "--layers", "2"]),
    ):
        words = shlex.split(cures[kind])
        assert set(words[3:]) == set(shlex.split(options))
        told = run(*words[1:], *extra, "--json")
        assert told.exit_code == 0, told.stderr
        assert sum(json.loads(told.stdout)["rows"].values()) == 150
    words = shlex.split(cures["backbone"].replace("ANOTHER", str(encoder)))
    told = run(*words[1:], "--dtype", "float32", "--json")
    assert json.loads(told.stdout)["hits"] == 150, told.stderr
    assert (
        cures_of_fit(BY_NAME, {**asked, "train": data}, "y", Path("r"), has_depth=True)["no-signal"]
        == "featcache check DATA --label y"
    )


def test_without_evidence_a_run_has_no_verdict_and_says_nothing_of_it(
    cache: Path, tmp_path: Path
) -> None:
    result = featcache.fit_heads(
        TRAIN,
        label="label",
        cache=cache,
        heads="logreg",
        layers="2",
        pool="mean",
        split="0.8/0.2",
        evidence=False,
        out=tmp_path / "run",
    )
    assert result.verdict is None
    assert result.origin.command is None  # the data were given in Python
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    assert written["verdict"] is None
    assert written["learning_curve"] is None
    assert written["reliability"]["part"] == "validation"
    assert "verdict" not in (tmp_path / "run" / "report.txt").read_text()
    assert not (tmp_path / "run" / "report.html").exists()
    page = featcache.write_report(tmp_path / "run")
    told = page.read_text("utf-8")
    assert "no experiments were made" in told.lower()
    assert "There is no verdict." in told
    assert "Labels that may be wrong" not in told  # nobody looked


def test_answers_of_validation_rows_are_by_heads_that_did_not_see_them(
    cache: Path, tmp_path: Path
) -> None:
    result = featcache.fit_heads(
        TRAIN,
        label="label",
        cache=cache,
        heads="logreg",
        layers="2",
        pool="mean",
        split="0.8/0.2",
        evidence=False,
        out=tmp_path / "run",
    )
    assert result.answers.part == "validation"
    score = accuracy_score(result.answers.truth, result.answers.best)
    assert score == pytest.approx(result.best.trial.validation["accuracy"], abs=0.02)
    table = pq.read_table(tmp_path / "run" / "predictions.parquet")
    keys = {
        bytes(key): label
        for key, label in zip(row_keys(TRAIN["text"]), TRAIN["label"], strict=True)
    }
    assert [keys[key] for key in table["key"].to_pylist()] == [
        result.classes[one] for one in table["label"].to_pylist()
    ]


def test_strict_refuses_labels_that_a_prefix_gives_away(encoder: Path, tmp_path: Path) -> None:
    data = rated(300, seed=7)
    classes = sorted(set(data["label"]))
    data["text"] = [
        f"## {text}" if label == classes[0] and row % 2 else text
        for row, (text, label) in enumerate(zip(data["text"], data["label"], strict=True))
    ]
    featcache.extract(data, backbone=encoder, cache=tmp_path / "cache", dtype="float32")
    options: dict[str, Any] = {
        "label": "label",
        "cache": tmp_path / "cache",
        "heads": "logreg",
        "layers": "2",
        "pool": "mean",
        "evidence": False,
        "out": tmp_path / "run",
    }
    with pytest.raises(LeakError, match="##") as caught:
        featcache.fit_heads(data, strict=True, **options)
    assert "--strict" in caught.value.cure
    assert not (tmp_path / "run").exists()
    found = [one for one in featcache.fit_heads(data, **options).findings if one.leak]
    assert any("##" in one.what for one in found)
