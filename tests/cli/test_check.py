"""`featcache check`: what it prints, its one JSON object, its exit codes, and data that other verbs
refuse.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import featcache
from featcache.data.checks import KINDS
from featcache.errors import InputError, LeakError
from tests.cli.test_commands import refused, write_csv
from tests.conftest import Run, everything_below, sentences
from tests.data.checks.planted import as_columns, two_topics


@pytest.fixture
def leaking(in_folder: Path) -> Path:
    """train.csv and test.csv: 6 test texts are in train, `nn` opens 40 of one class, 3 texts have
    two labels.
    """
    texts, labels = two_topics(200)
    marked = [row for row, label in enumerate(labels) if label == "sports"][:40]
    texts = ["nn" + text if row in marked else text for row, text in enumerate(texts)]
    write_csv(
        in_folder / "test.csv", as_columns([*texts[300:], *texts[:6]], [*labels[300:], *labels[:6]])
    )
    write_csv(
        in_folder / "train.csv",
        as_columns([*texts[:300], *texts[1:6:2]], [*labels[:300], *["sports"] * 3]),
    )
    return in_folder


def test_findings_are_blocks_with_place_effect_and_cure(run: Run, leaking: Path) -> None:
    told = run("check", "train.csv", "--test", "test.csv", "--label", "label")
    assert (told.exit_code, told.stderr) == (0, "")
    blocks = told.stdout.split("\n\n")
    assert blocks[0].splitlines() == [
        "label      label",
        "rows       303 train + 106 test · 2 classes",
        "cut texts  not checked (give --backbone MODEL)",
    ]
    assert blocks[1].startswith(
        "LEAK       shared-text: 6 test rows of 106 (5.7 %) have texts that are in train too"
    )
    assert "\n           effect: " in blocks[1]
    assert "\n           · test.csv, row 101 (sports): “nn" in blocks[1]
    assert "\n           cure: Take these texts out of train" in blocks[1]
    assert any(
        one.startswith("LEAK       leak-start: 40 texts start with “nn”: 40 sports, 0 others")
        for one in blocks
    )
    torn = "note       conflicting-labels: 3 texts have more than one label (9 rows)"
    assert any(one.startswith(torn) for one in blocks)
    assert blocks[-1].startswith("found      ")
    assert "\x1b" not in told.stdout
    assert all(line == line.rstrip() and len(line) <= 121 for line in told.stdout.splitlines())
    assert sorted(path.name for path in leaking.iterdir()) == [
        "test.csv",
        "train.csv",
    ]  # nothing is written


@pytest.mark.usefixtures("leaking")
def test_json_is_one_object_that_python_gives_too(run: Run) -> None:
    told = run("check", "train.csv", "--test", "test.csv", "--label", "label", "--json")
    assert told.exit_code == 0, told.stderr
    result = json.loads(told.stdout)
    assert list(result) == ["label", "rows", "classes", "leaks", "findings", "limit", "seconds"]
    assert result["rows"] == {"train": 303, "test": 106}
    assert result["classes"] == ["markets", "sports"]
    assert result["leaks"] == sum(one["leak"] for one in result["findings"])
    assert {one["kind"] for one in result["findings"]} <= set(KINDS)
    same = featcache.check("train.csv", test="test.csv", label="label").to_json()
    assert {**same, "seconds": 0} == {**result, "seconds": 0}


@pytest.mark.usefixtures("leaking")
def test_strict_tells_the_findings_and_then_exits_with_2(run: Run) -> None:
    told = run("check", "train.csv", "--test", "test.csv", "--label", "label", "--strict", "--json")
    assert told.exit_code == 2
    assert json.loads(told.stdout)["leaks"] >= 2
    assert "error: the data give labels or test rows away: 6 test rows of 106" in told.stderr
    assert "leave out --strict" in told.stderr
    with pytest.raises(LeakError, match="6 test rows"):
        featcache.check("train.csv", test="test.csv", label="label", strict=True)


def test_strict_lets_data_without_leaks_pass(run: Run, in_folder: Path) -> None:
    texts, labels = two_topics(60)
    write_csv(in_folder / "clean.csv", as_columns([*texts, texts[0]], [*labels, labels[0]]))
    told = run("check", "clean.csv", "--label", "label", "--strict")
    assert told.exit_code == 0, told.stderr
    assert "note       repeated-text: 1 row of train" in told.stdout
    assert "found      1 finding, no leak" in told.stdout


def test_data_that_fit_heads_refuses_are_findings(run: Run, in_folder: Path) -> None:
    (in_folder / "odd.csv").write_text(
        "text,y\n,1\nhello there,\nso what,1\nwell then,1\n", "utf-8"
    )
    told = run("check", "odd.csv", "--label", "y", "--json")
    assert told.exit_code == 0, told.stderr
    found = {one["kind"]: one for one in json.loads(told.stdout)["findings"]}
    assert set(found) == {"empty-text", "missing-label", "one-class"}
    assert found["missing-label"]["examples"] == ["odd.csv, row 2: “hello there”"]
    assert found["empty-text"]["examples"] == ["odd.csv, row 1 (1): “”"]
    skipped = run("check", "odd.csv", "--label", "y", "--json", "--skip-empty")
    assert "empty-text" not in {one["kind"] for one in json.loads(skipped.stdout)["findings"]}


def test_labels_of_two_types_are_a_finding(run: Run, in_folder: Path) -> None:
    (in_folder / "mixed.jsonl").write_text(
        '{"text": "a b", "y": 1}\n{"text": "c d", "y": "x"}\n', "utf-8"
    )
    result = json.loads(run("check", "mixed.jsonl", "--label", "y", "--json").stdout)
    assert result["findings"][0]["kind"] == "odd-label"
    assert "int and str" in result["findings"][0]["what"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("train.csv", "--label", "stars"), ("no column 'stars'", "'text', 'label'", "--label")),
        (("train.csv", "--label", "label", "--text", "body"), ("no column 'body'", "--text")),
        (("none.csv", "--label", "label"), ("none.csv does not exist",)),
        (("empty.csv", "--label", "label"), ("empty.csv is empty",)),
        (
            ("train.csv", "--label", "label", "--max-length", "8"),
            ("--max-length 8", "--backbone MODEL"),
        ),
        (("train.csv", "--label", "label", "--backbone", "./none"), ("./none does not exist",)),
    ],
    ids=lambda one: one[0] if isinstance(one, tuple) else None,
)
def test_what_cannot_be_read_is_one_sentence_with_the_cure(
    run: Run, leaking: Path, arguments: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    (leaking / "empty.csv").touch()
    refused(run("check", *arguments), 2, *parts)


def test_several_labels_are_one_object_by_label(run: Run, in_folder: Path) -> None:
    texts, labels = two_topics(30)
    write_csv(in_folder / "two.csv", {**as_columns(texts, labels), "rare": ["x"] + ["y"] * 59})
    told = run("check", "two.csv", "--label", "label", "--label", "rare", "--json")
    results = json.loads(told.stdout)
    assert list(results) == ["label", "rare"]
    assert "imbalance" in {one["kind"] for one in results["rare"]["findings"]}
    assert "imbalance" not in {one["kind"] for one in results["label"]["findings"]}
    assert (
        run("check", "two.csv", "--label", "label", "--label", "rare").stdout.count("\nfound      ")
        == 2
    )
    from_python = featcache.check_labels("two.csv", labels=["label", "rare"])
    objects = {label: {**result.to_json(), "seconds": 0} for label, result in from_python.items()}
    assert objects == {label: {**result, "seconds": 0} for label, result in results.items()}
    with pytest.raises(InputError, match="no label is named"):
        featcache.check_labels("two.csv", labels=[])
    with pytest.raises(InputError, match="check_labels"):
        featcache.check("two.csv", label=["label", "rare"])  # type: ignore[arg-type]


# -- cut texts -------------------------------------------------------------------------------------


@pytest.fixture
def long_texts(in_folder: Path) -> dict[str, list[Any]]:
    """20 texts of 3 words and 4 of 60; the tiny encoder reads 48 tokens, two of them its own."""
    short = [" ".join(one.split()[:3]) for one in sentences(60, seed=3) if len(one.split()) > 3][
        :20
    ]
    data = as_columns(short, ["a", "b"] * 10)
    for number in range(4):
        data["text"].append(
            " ".join(sentences(40, seed=50 + number, longest=3)).split(" ", 60)[0] + " the cat" * 30
        )
        data["label"].append("a")
    write_csv(in_folder / "long.csv", data)
    return data


def test_a_backbone_says_what_is_cut_and_no_model_runs(
    run: Run, encoder: Path, long_texts: dict[str, list[Any]]
) -> None:
    for options, limit in (((), 48), (("--max-length", "10"), 10)):
        told = run(
            "check", "long.csv", "--label", "label", "--backbone", encoder, "--json", *options
        )
        assert told.exit_code == 0, told.stderr
        result = json.loads(told.stdout)
        assert result["limit"] == f"the tokenizer of {encoder} at {limit} tokens"
        (cut,) = [one for one in result["findings"] if one["kind"] == "cut-text"]
        whole = sum(len(text.split()) + 2 for text in long_texts["text"][20:])
        assert cut["count"] == 4
        assert (
            f"cut at {limit} tokens: {100 * (1 - 4 * limit / whole):.0f} % of their tokens "
            "are never seen" in cut["what"]
        )
    refused(
        run("check", "long.csv", "--label", "label", "--backbone", encoder, "--max-length", "2"),
        2,
        "no room",
    )
    refused(
        run("check", "long.csv", "--label", "label", "--backbone", encoder, "--max-length", "99"),
        2,
        "limit of 48",
    )


def test_a_space_that_holds_all_texts_says_what_is_cut(
    run: Run, encoder: Path, long_texts: dict[str, list[Any]], in_folder: Path
) -> None:
    space = featcache.extract(long_texts, backbone=encoder, cache="cache", dtype="float32").space
    before = everything_below(in_folder)
    result = json.loads(run("check", "long.csv", "--label", "label", "--json").stdout)
    assert result["limit"] == f"space {space} at 48 tokens"
    (cut,) = [one for one in result["findings"] if one["kind"] == "cut-text"]
    assert cut["count"] == 4
    assert "about" in cut["what"]
    assert everything_below(in_folder) == before
    write_csv(
        in_folder / "more.csv",
        as_columns([*long_texts["text"], "a new one"], [*long_texts["label"], "b"]),
    )
    assert (
        json.loads(run("check", "more.csv", "--label", "label", "--json").stdout)["limit"] is None
    )


def test_a_process_of_its_own_writes_findings_to_a_pipe(leaking: Path) -> None:
    command = [sys.executable, "-m", "featcache", "check", "train.csv", "--label", "label"]
    done = subprocess.run(command, cwd=leaking, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("label      label\n")
