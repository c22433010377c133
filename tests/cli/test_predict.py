"""`featcache predict` with several bundles: which arguments are which, what is printed, what is
refused.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import featcache
from featcache.bundles.bundle import read_bundle, save_bundle
from featcache.features.standardize import Standardization
from featcache.heads.module import CustomHead
from featcache.heads.network import Network
from tests.cli.test_commands import refused, write_csv
from tests.conftest import Run
from tests.verbs.test_fit_predict import rated

MOOD, LONG = "runs/moods-mood/bundle", "runs/moods-long/bundle"
TEXTS = rated(150, seed=4)["text"][:3]


@pytest.fixture(scope="session")
def made(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cache, two runs and a file of texts."""
    folder = tmp_path_factory.mktemp("two")
    rows = rated(150, seed=4)
    data: dict[str, list[Any]] = {"text": rows["text"], "mood": rows["label"]}
    data["long"] = ["long" if len(text.split()) > 5 else "short" for text in rows["text"]]
    featcache.extract(data, backbone=encoder, cache=folder / "cache", dtype="float32", text="text")
    for label in ("mood", "long"):
        featcache.fit_heads(
            data,
            label=label,
            text="text",
            cache=folder / "cache",
            out=folder / "runs" / f"moods-{label}",
            heads="logreg",
            layers="1,2",
            pool="mean",
            evidence=False,
        )
    write_csv(folder / "new.csv", {"text": TEXTS, "n": [1, 2, 3]})
    return folder


@pytest.fixture
def here(made: Path, in_folder: Path) -> Path:
    shutil.copytree(made, in_folder, dirs_exist_ok=True)
    return in_folder


def changed(bundle: str, to: str, **changes: Any) -> str:
    head, description = read_bundle(Path(bundle))
    assert isinstance(head, Network)
    save_bundle(Path(to), head, replace(description, **changes), "# card")
    return to


def lines(told: Any) -> list[Any]:
    assert told.exit_code == 0, told.stderr
    return [json.loads(line) for line in told.stdout.splitlines()]


@pytest.mark.usefixtures("here")
def test_a_line_holds_what_each_bundle_says(run: Run) -> None:
    both = lines(run("predict", MOOD, LONG, "new.csv"))
    assert [list(line) for line in both] == [["mood", "long"]] * 3
    for label, bundle in (("mood", MOOD), ("long", LONG)):
        assert [line[label] for line in both] == lines(run("predict", bundle, "new.csv"))
    assert set(both[0]["mood"]) == {"label", "probabilities"}


@pytest.mark.usefixtures("here")
def test_texts_come_from_files_stdin_and_options_alike(run: Run) -> None:
    by_file = run("predict", MOOD, LONG, "new.csv").stdout
    assert run("predict", MOOD, LONG, "-", stdin="\n".join(TEXTS)).stdout == by_file
    options = [part for text in TEXTS for part in ("--text", text)]
    assert run("predict", MOOD, LONG, *options).stdout == by_file
    assert run("predict", *options, MOOD, LONG).stdout == by_file
    assert run("predict", MOOD, LONG, "new.csv", "--json").stdout == by_file


@pytest.mark.usefixtures("here")
def test_with_one_bundle_the_lines_are_what_they_were(run: Run) -> None:
    assert [set(line) for line in lines(run("predict", MOOD, "new.csv"))] == [
        {"label", "probabilities"}
    ] * 3


@pytest.mark.usefixtures("here")
def test_bundles_of_one_label_are_named_by_their_folders(run: Run) -> None:
    changed(MOOD, "runs/other/bundle")
    told = lines(run("predict", MOOD, LONG, "runs/other/bundle", "--text", TEXTS[0]))
    assert list(told[0]) == ["moods-mood/bundle", "long", "other/bundle"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((MOOD, LONG), ("give texts in one way",)),
        ((MOOD, LONG, "new.csv", "--text", "cat"), ("give texts in one way",)),
        ((MOOD, LONG, "-", "--text", "cat"), ("give texts in one way",)),
        ((MOOD, "runs/nothing", "--text", "cat"), ("runs/nothing is not a bundle", "fit-heads")),
        ((MOOD, "nothing.csv"), ("nothing.csv",)),
        ((MOOD, "new.csv", LONG, "new.csv"), ("new.csv is not a bundle",)),
        ((MOOD, MOOD, "new.csv"), ("is given twice",)),
        ((), ("Missing argument",)),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_is_neither_bundle_nor_data_is_told(
    run: Run, arguments: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    refused(run("predict", *arguments), 2, *parts)


@pytest.mark.usefixtures("here")
def test_bundles_that_need_other_texts_or_features_are_refused_in_one_sentence(run: Run) -> None:
    contract = json.loads((Path(LONG) / "head.json").read_text())["contract"]
    other = changed(LONG, "runs/a", contract={**contract, "weights": "0" * 64})
    refused(
        run("predict", MOOD, other, "new.csv"),
        2,
        "their backbones differ in weights",
        "for each of them",
    )
    other = changed(LONG, "runs/b", template="so: {text}")
    refused(
        run("predict", MOOD, other, "new.csv"),
        2,
        "their templates are",
        "'so: {text}'",
        "for each of them",
    )
    other = changed(LONG, "runs/c", text="words")
    refused(run("predict", MOOD, other, "new.csv"), 2, "'text' and 'words'", "--text-column")
    assert len(lines(run("predict", MOOD, other, "new.csv", "--text-column", "text"))) == 3
    assert len(lines(run("predict", MOOD, other, "--text", "cat"))) == 1


@pytest.mark.usefixtures("here")
def test_a_head_that_is_code_is_for_python_only(run: Run) -> None:
    import numpy as np
    from torch import nn

    network, description = read_bundle(Path(MOOD))
    ones = np.ones(network.n_inputs, np.float32)
    head = CustomHead(
        nn.Linear(network.n_inputs, 2), Standardization(ones, ones), "my.heads:wide", 2
    )
    save_bundle(Path("runs/code"), head, description, "# card")
    refused(
        run("predict", "runs/code", "new.csv"),
        2,
        "the head of runs/code is code, made by my.heads:wide",
        "featcache.load_bundle('runs/code', factory=...)",
    )


def test_the_help_says_what_offsets_do(run: Run) -> None:
    told = " ".join(run("predict", "--help").stdout.split())
    assert "BUNDLE... [DATA]" in told
    assert "the label need not be the class of the highest probability" in told
