"""explain-miss: which field differs from which space, or which texts are new; and the cure that
then works.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import featcache
from featcache.verbs.explain_miss import Explanation, explain_miss
from tests.conftest import Run, everything_below, save_decoder, save_encoder, sentences

TEXTS = sentences(12, seed=3)


def write(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path.relative_to(path.parent)


@pytest.fixture
def data(in_folder: Path) -> Path:
    return write(in_folder / "texts.jsonl", TEXTS)


@pytest.fixture
def backbone(in_folder: Path, encoder: Path) -> Path:
    return Path(shutil.copytree(encoder, in_folder / "models" / "tiny")).relative_to(in_folder)


@pytest.fixture
def cached(run: Run, data: Path, backbone: Path) -> str:
    """A cache with one space of the texts; its name."""
    done = run("extract", data, "--backbone", backbone, "--dtype", "float32", "--json")
    assert done.exit_code == 0, done.stderr
    return str(json.loads(done.stdout)["space"])


def told(run: Run, *arguments: object) -> dict[str, Any]:
    """The explanation as JSON; the sentences must come without an error, too, and nothing may be
    written.
    """
    before = everything_below(Path())
    result = run("explain-miss", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    assert everything_below(Path()) == before
    facts: dict[str, Any] = json.loads(result.stdout)
    assert set(facts) == {field.name for field in dataclasses.fields(Explanation)}
    return facts


def said(run: Run, *arguments: object) -> str:
    result = run("explain-miss", *arguments)
    assert result.exit_code == 0, result.stderr
    assert max(map(len, result.stdout.splitlines())) < 250
    return str(result.stdout)


def extracted(run: Run, command: str) -> dict[str, Any]:
    """What a command that was printed does when it is pasted."""
    words = shlex.split(command)
    assert words[0] == "featcache"
    result = run(*words[1:], "--json")
    assert result.exit_code == 0, result.stderr
    facts: dict[str, Any] = json.loads(result.stdout)
    return facts


def test_all_found(run: Run, data: Path, backbone: Path, cached: str) -> None:
    asked = (data, "--backbone", backbone, "--dtype", "float32")
    facts = told(run, *asked)
    assert (facts["space"], facts["unique"], facts["hits"], facts["new"]) == (cached, 12, 12, 0)
    assert facts["contract"]["dtype"] == "float32"
    assert f"all of them are in {cached}: nothing misses" in said(run, *asked)


def test_new_texts_are_counted_and_the_first_ones_shown(
    run: Run, in_folder: Path, backbone: Path, cached: str
) -> None:
    more = write(
        in_folder / "more.jsonl",
        [*TEXTS, "a new one", f"  {TEXTS[4]}\n", f" {TEXTS[5]}", "a new one"],
    )
    asked = (more, "--backbone", backbone, "--dtype", "float32")
    facts = told(run, *asked)
    assert (facts["space"], facts["rows"], facts["hits"], facts["new"]) == (cached, 16, 12, 3)
    assert facts["stripped"] == 2
    assert facts["examples"][0] == {"source": "more.jsonl", "row": 13, "text": "a new one"}
    text = said(run, *asked)
    for part in (
        "12 texts found, 3 new",
        "more.jsonl, row 13: 'a new one'",
        "row 14",
        "and 1 more",
        "2 of them are cached without the white space around it",
    ):
        assert part in text
    assert facts["command"] in text
    assert extracted(run, facts["command"])["computed"] == 3


@pytest.mark.parametrize(
    ("option", "field", "there", "asked"),
    [
        (("--max-length", "7"), "max_length", 48, 7),
        (("--dtype", "bfloat16"), "dtype", "float32", "bfloat16"),
        (("--pool", "mean,max"), "poolings", ["mean", "cls"], ["mean", "max"]),
    ],
    ids=str,
)
def test_an_option_that_differs_is_named_with_both_values_and_the_cure_hits(
    run: Run,
    data: Path,
    backbone: Path,
    cached: str,
    option: tuple[str, str],
    field: str,
    there: Any,
    asked: Any,
) -> None:
    arguments = (
        data,
        "--backbone",
        backbone,
        *(() if option[0] == "--dtype" else ("--dtype", "float32")),
        *option,
    )
    facts = told(run, *arguments)
    assert (facts["space"], facts["hits"], facts["new"]) == (None, 0, 12)
    (nearest,) = facts["others"]
    assert (nearest["space"], nearest["held"]) == (cached, 12)
    assert nearest["differences"] == [{"field": field, "there": there, "asked": asked}]
    text = said(run, *arguments)
    for part in (
        "holds all 12 texts",
        field,
        "→",
        f"finds 12 texts in {cached}",
        nearest["command"],
        facts["command"],
    ):
        assert part in text
    by_option = extracted(run, nearest["command"])
    assert (by_option["space"], by_option["hits"], by_option["computed"]) == (cached, 12, 0)
    anew = extracted(run, facts["command"])
    assert (anew["hits"], anew["computed"]) == (0, 12)


def test_layers_are_named_only_where_the_space_lacks_some(
    run: Run, data: Path, backbone: Path
) -> None:
    run("extract", data, "--backbone", backbone, "--layers", "0,2")
    facts = told(run, data, "--backbone", backbone)
    assert facts["others"][0]["differences"] == [
        {"field": "layers", "there": [0, 2], "asked": [0, 1, 2]}
    ]
    assert facts["others"][0]["options"] == ["--layers", "0,2"]
    assert "layers  0,2 → 0–2" in said(run, data, "--backbone", backbone)
    fewer = told(run, data, "--backbone", backbone, "--layers", "2", "--max-length", "9")
    assert [each["field"] for each in fewer["others"][0]["differences"]] == ["max_length"]


def test_same_name_other_weights_is_said_in_these_words(
    run: Run, data: Path, backbone: Path, cached: str
) -> None:
    elsewhere = save_encoder(Path("other") / "tiny", seed=1)
    (nearest,) = told(run, data, "--backbone", elsewhere, "--dtype", "float32")["others"]
    assert (nearest["space"], nearest["same_name"], nearest["same_place"]) == (cached, True, False)
    assert (nearest["options"], nearest["command"]) == (None, None)
    (difference,) = nearest["differences"]
    assert difference["field"] == "weights"
    assert len(difference["there"]) == 64
    text = said(run, data, "--backbone", elsewhere, "--dtype", "float32")
    assert "same name, other weights" in text
    assert f"{difference['there'][:12]}… → {difference['asked'][:12]}…" in text
    assert difference["there"] not in text
    assert f"featcache extract texts.jsonl --backbone {elsewhere} --dtype float32" in text
    shutil.copytree(elsewhere, backbone, dirs_exist_ok=True)
    text = said(run, data, "--backbone", backbone, "--dtype", "float32")
    assert "same name, other weights: the files in that place have changed" in text


def test_a_key_of_the_configuration_is_named(
    run: Run, data: Path, backbone: Path, cached: str
) -> None:
    config = json.loads((backbone / "config.json").read_text())
    (backbone / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 0.5}))
    arguments = (data, "--backbone", backbone, "--dtype", "float32")
    (nearest,) = told(run, *arguments)["others"]
    expected = {"field": "config.layer_norm_eps", "there": config["layer_norm_eps"], "asked": 0.5}
    assert (nearest["space"], nearest["differences"]) == (cached, [expected])
    text = said(run, *arguments)
    assert "same weights, other config" in text
    assert "config.layer_norm_eps  1e-12 → 0.5" in text
    assert "the model's files differ; compute them" in text


def test_nearest_is_first_and_another_model_is_called_so(
    run: Run, data: Path, backbone: Path, cached: str
) -> None:
    run("extract", data, "--backbone", save_decoder(Path("llama")), "--dtype", "float32")
    shorter = ("--max-length", "9", "--dtype", "float32")
    run("extract", write(Path.cwd() / "some.jsonl", TEXTS[:5]), "--backbone", backbone, *shorter)
    facts = told(run, data, "--backbone", backbone, "--dtype", "float32", "--max-length", "20")
    assert [(one["held"], len(one["differences"]) > 1) for one in facts["others"]] == [
        (12, False),
        (5, False),
        (12, True),
    ]
    assert facts["others"][0]["space"] == cached
    text = said(run, data, "--backbone", backbone, "--dtype", "float32", "--max-length", "20")
    assert "another model" in text
    assert "more fields (--json has them all)" in text


def test_a_space_that_serves_but_holds_less_than_another_points_to_it(
    run: Run, in_folder: Path, data: Path, backbone: Path, cached: str
) -> None:
    few = write(in_folder / "few.jsonl", TEXTS[:2])
    run("extract", few, "--backbone", backbone, "--dtype", "float32", "--max-length", "9")
    facts = told(run, data, "--backbone", backbone, "--dtype", "float32", "--max-length", "9")
    assert (facts["hits"], facts["new"]) == (2, 10)
    assert f"--max-length 48 finds 12 texts in {cached}" in said(
        run, data, "--backbone", backbone, "--dtype", "float32", "--max-length", "9"
    )
    assert extracted(run, facts["others"][0]["command"])["hits"] == 12


def test_no_cache_and_an_empty_one(run: Run, data: Path, backbone: Path) -> None:
    assert told(run, data, "--backbone", backbone)["others"] == []
    assert "there is no folder cache yet" in said(run, data, "--backbone", backbone)
    assert not Path("cache").exists()
    Path("cache").mkdir()
    text = said(run, data, "--backbone", backbone)
    assert "no feature space in cache yet" in text
    assert f"featcache extract texts.jsonl --backbone {backbone}" in text


def test_damaged_spaces_are_told_of_and_left_out(
    run: Run, data: Path, backbone: Path, cached: str
) -> None:
    run("extract", data, "--backbone", backbone, "--dtype", "float32", "--max-length", "9")
    (Path("cache") / cached / "contract.json").write_text("{")
    facts = told(run, data, "--backbone", backbone, "--dtype", "float32", "--max-length", "9")
    assert (facts["hits"], facts["others"]) == (12, [])
    assert cached in facts["damaged"][0]
    assert "damaged" in said(
        run, data, "--backbone", backbone, "--dtype", "float32", "--max-length", "9"
    )


def test_the_serving_space_itself_can_be_damaged(
    run: Run, data: Path, backbone: Path, cached: str
) -> None:
    (Path("cache") / cached / "origin.json").write_text("{")
    facts = told(run, data, "--backbone", backbone, "--dtype", "float32")
    assert (facts["space"], facts["serving_damaged"]) == (None, True)
    assert "the space that serves this is damaged (below)" in said(
        run, data, "--backbone", backbone, "--dtype", "float32"
    )


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("texts.jsonl", "--backbone", "models/tinny"), "models/tinny"),
        (("texts.jsonl", "--backbone", "models/tiny", "--text", "body"), "has no column 'body'"),
        (
            ("texts.jsonl", "--backbone", "models/tiny", "--max-length", "49"),
            "above the model's limit",
        ),
        (("missing.jsonl", "--backbone", "models/tiny"), "missing.jsonl does not exist"),
    ],
)
@pytest.mark.usefixtures("data", "backbone")
def test_bad_use_is_refused_as_by_extract(run: Run, arguments: tuple[str, ...], what: str) -> None:
    result = run("explain-miss", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert what in result.stderr


def test_options_of_reading_stay_in_the_commands(run: Run, in_folder: Path, backbone: Path) -> None:
    (in_folder / "two words.csv").write_text("id,body\n1,the cat sat\n2,\n")
    reading = ("--template", "not {body}", "--skip-empty", "--cache", "my cache")
    facts = told(run, "two words.csv", "--backbone", backbone, *reading)
    done = extracted(run, facts["command"])
    assert (done["rows"], done["computed"], done["path"].split("/")[0]) == (1, 1, "my cache")
    again = told(run, "two words.csv", "--backbone", backbone, *reading)
    assert (again["new"], again["space"]) == (0, done["space"])


def test_python_has_the_same_words_and_loads_no_model(encoder: Path, tmp_path: Path) -> None:
    featcache.extract({"text": TEXTS}, backbone=encoder, cache=tmp_path, dtype="float32")
    explained = explain_miss(
        {"text": [*TEXTS, "new"]}, backbone=encoder, cache=tmp_path, dtype="float32"
    )
    assert (explained.hits, explained.new, explained.examples[0].text) == (12, 1, "new")
    assert explained.command.startswith("featcache extract DATA --backbone")
    code = (
        "import sys, featcache\n"
        "told = featcache.explain_miss({'text': ['x']}, backbone=sys.argv[1], "
        "cache=sys.argv[2], max_length=9)\n"
        "assert told.space is None and len(told.others) == 1, told\n"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'a model was loaded'"
    )
    subprocess.run([sys.executable, "-c", code, str(encoder), str(tmp_path)], check=True)
