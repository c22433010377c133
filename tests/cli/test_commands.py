"""The command line as its users meet it: sentences, exit codes, stdout for data and stderr for
talk.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import featcache
from featcache.errors import MachineError
from featcache.progress import Silent
from tests.conftest import Run, everything_below, save_encoder, sentences
from tests.verbs.test_fit_predict import rated


def write_csv(path: Path, data: dict[str, list[Any]]) -> Path:
    import csv

    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(data)
        writer.writerows(zip(*data.values(), strict=True))
    return path


COMMANDS = (
    "demo",
    "extract",
    "fit-heads",
    "predict",
    "ls",
    "info",
    "explain-miss",
    "verify",
    "repair",
    "merge",
    "gc",
    "export",
)
QUICK = ("--heads", "logreg", "--layers", "1,2", "--pool", "mean", "--no-evidence")


@pytest.fixture
def data(in_folder: Path) -> Path:
    return write_csv(in_folder / "moods.csv", rated(150, seed=4)).relative_to(in_folder)


@pytest.fixture
def cached(run: Run, data: Path, encoder: Path) -> Path:
    result = run("extract", data, "--backbone", encoder, "--dtype", "float32")
    assert result.exit_code == 0, result.stderr
    return data


def refused(result: Any, code: int, *parts: str) -> None:
    """One sentence on stderr with the given parts and a cure, the right exit code, no traceback,
    empty stdout.
    """
    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith(("error: ", "Usage: ")), result.stderr
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part in result.stderr, result.stderr


def test_the_main_job_in_two_commands_and_a_prediction(run: Run, data: Path, encoder: Path) -> None:
    extracted = run("extract", data, "--backbone", encoder, "--json")
    assert extracted.exit_code == 0, extracted.stderr
    facts = json.loads(extracted.stdout)
    assert set(facts) == {
        "space",
        "path",
        "rows",
        "unique",
        "hits",
        "computed",
        "tokens",
        "truncated",
        "seconds",
        "load_seconds",
        "compile_seconds",
        "wait_seconds",
        "texts_per_second",
        "tokens_per_second",
        "layers",
        "poolings",
        "hidden_size",
        "dtype",
        "attention",
        "why_padded",
        "compiled",
        "why_not_compiled",
        "device",
    }
    assert (facts["rows"], facts["unique"], facts["computed"]) == (150, 150, 150)
    fitted = run("fit-heads", data, "--label", "label", *QUICK, "--json")
    assert fitted.exit_code == 0, fitted.stderr
    result = json.loads(fitted.stdout)
    assert set(result) >= {"best", "linear", "floors", "verdict", "trials", "seconds", "bundle"}
    assert result["bundle"] == "runs/moods-label/bundle"
    told = run("predict", result["bundle"], "--text", "happy cat", "--text", "awful plot")
    assert told.exit_code == 0, told.stderr
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    assert [set(line) for line in lines] == [{"label", "probabilities"}] * 2
    assert set(lines[0]["probabilities"]) == {"positive", "negative"}


def test_people_get_sentences_and_the_next_command(run: Run, data: Path, encoder: Path) -> None:
    extracted = run("extract", data, "--backbone", encoder)
    assert "150 rows, 150 different" in extracted.stdout
    assert f"featcache fit-heads {data} --label COLUMN" in extracted.stdout
    again = run("extract", data, "--backbone", encoder)
    assert "nothing to compute, 150 found in the cache" in again.stdout
    fitted = run("fit-heads", data, "--label", "label", *QUICK)
    for part in (
        "layer 2 mean",
        "majority class",
        "TF-IDF",
        "layers        1",
        "featcache predict runs/moods-label/bundle",
    ):
        assert part in fitted.stdout
    assert fitted.stdout == Path("runs/moods-label/report.txt").read_text()


def test_predict_reads_files_stdin_and_options_alike(run: Run, cached: Path) -> None:
    run("fit-heads", cached, "--label", "label", *QUICK)
    bundle = "runs/moods-label/bundle"
    texts = rated(150, seed=4)["text"][:3]
    write_csv(Path("new.csv"), {"text": texts})
    by_option = run(
        "predict", bundle, *[part for text in texts for part in ("--text", text)]
    ).stdout
    assert run("predict", bundle, "new.csv").stdout == by_option
    assert run("predict", bundle, "-", stdin="\n".join(texts) + "\n").stdout == by_option
    assert run("predict", bundle, "new.csv", "--json").stdout == by_option
    assert len(by_option.splitlines()) == 3


def test_a_template_is_remembered_by_the_bundle(run: Run, data: Path, encoder: Path) -> None:
    template = "the film was {text}"
    assert run("extract", data, "--backbone", encoder, "--template", template).exit_code == 0
    missing = run("fit-heads", data, "--label", "label", *QUICK)
    refused(
        missing, 3, "150 of 150 texts of moods.csv are not in", "--template, give the same here"
    )
    assert run("fit-heads", data, "--label", "label", "--template", template, *QUICK).exit_code == 0
    bundle = Path("runs/moods-label/bundle")
    assert json.loads((bundle / "head.json").read_text())["template"] == template
    told = run("predict", bundle, data)
    assert told.exit_code == 0, told.stderr
    assert len(told.stdout.splitlines()) == 150


def test_a_dry_run_writes_nothing(run: Run, data: Path, encoder: Path, in_folder: Path) -> None:
    before = everything_below(in_folder)
    told = run("extract", data, "--backbone", encoder, "--dry-run")
    assert told.exit_code == 0, told.stderr
    assert "0 found, 150 to compute" in told.stdout
    planned = json.loads(run("extract", data, "--backbone", encoder, "--dry-run", "--json").stdout)
    assert (planned["misses"], planned["hits"]) == (150, 0)
    assert everything_below(in_folder) == before


def test_ls_and_info_say_what_is_there(run: Run, cached: Path, encoder: Path) -> None:
    listed = run("ls")
    assert [
        word in listed.stdout
        for word in ("tiny-bert-", "150", "0–2", "mean cls", "float32", "today")
    ] == [True] * 6
    (space,) = json.loads(run("ls", "--json").stdout)["spaces"]
    assert (space["rows"], space["layers"], space["poolings"]) == (150, [0, 1, 2], ["mean", "cls"])
    told = run("info")
    for part in (
        str(encoder),
        "150 rows in 1 shard",
        "cut at 48 tokens on the right",
        "bert, 2 layers × 32",
        "torch ",
    ):
        assert part in told.stdout
    assert json.loads(run("info", space["space"], "--json").stdout)["contract"]["max_length"] == 48
    assert cached.exists()


def test_an_empty_folder_is_no_error_for_ls_and_one_for_info(run: Run, in_folder: Path) -> None:
    told = run("ls")
    assert told.exit_code == 0
    assert "no feature space in cache; make one: featcache extract" in told.stdout
    refused(run("info"), 2, "there is no feature space in cache", "featcache extract")
    assert list(in_folder.iterdir()) == []


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "options", "parts"),
    [
        ("missing.csv", None, (), ("missing.csv does not exist", "Check the path")),
        ("empty.csv", b"", (), ("empty.csv is empty",)),
        ("header.csv", b"text,label\n", (), ("header.csv holds no rows",)),
        (
            "latin.csv",
            b"text\nok\ncaf\xe9\n",
            (),
            ("latin.csv, line 3: byte 0xe9 is not utf-8", "windows-1252"),
        ),
        (
            "open.csv",
            b'text\nok\n"cat\n',
            (),
            ("open.csv, line 3: a quote is opened and never closed", '("")'),
        ),
        (
            "wide.csv",
            b"text,n\ncat,1\ndog,1,2\n",
            (),
            ("wide.csv, line 3: 3 fields where the header has 2",),
        ),
        ("bad.jsonl", b'{"text": "cat"}\n{"text": \n', (), ("bad.jsonl, line 2",)),
        ("cut.parquet", b"PAR1xxxx", (), ("cut.parquet is not a Parquet file",)),
        ("texts.txt", b"cat\n", (), ("texts.txt has an ending that names no known format",)),
        ("cols.csv", b"a,b\ncat,dog\n", (), ("the columns 'a', 'b'", "--text COLUMN")),
        ("cols.csv", b"a,b\ncat,dog\n", ("--text", "c"), ("has no column 'c'", "'a', 'b'")),
        (
            "gaps.csv",
            b"text,n\ncat,1\n,2\n  ,3\n",
            (),
            ("2 texts are empty or missing: gaps.csv, rows 2, 3",),
        ),
        (
            "ok.csv",
            b"text\ncat\n",
            ("--template", "{title}"),
            ("names the column 'title'", "'text'"),
        ),
        (
            "ok.csv",
            b"text\ncat\n",
            ("--encoding", "klingon"),
            ("there is no encoding called 'klingon'",),
        ),
        ("nobody/nothing", None, (), ("the hub gave no such data set", "need a network")),
    ],
)
def test_bad_data_is_one_sentence_with_the_cure(
    run: Run,
    in_folder: Path,
    encoder: Path,
    name: str,
    content: bytes | None,
    options: tuple[str, ...],
    parts: tuple[str, ...],
) -> None:
    if content is not None:
        (in_folder / name).write_bytes(content)
    before = everything_below(in_folder)
    refused(run("extract", name, "--backbone", encoder, *options), 2, *parts)
    assert everything_below(in_folder) == before
    assert not (in_folder / "cache").exists()


def test_skip_empty_goes_on_without_the_rows(run: Run, in_folder: Path, encoder: Path) -> None:
    (in_folder / "gaps.csv").write_text("text,n\ncat,1\n,2\ndog,3\n")
    told = run("extract", "gaps.csv", "--backbone", encoder, "--skip-empty", "--json")
    assert json.loads(told.stdout)["rows"] == 2


def _without(name: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for path in folder.glob(name):
            path.unlink()

    return spoil


def _pickled(folder: Path) -> None:
    import torch

    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("spoil", "parts"),
    [
        (_without("tokenizer*"), ("has no tokenizer", "tokenizer.save_pretrained")),
        (_without("model*"), ("holds no weights",)),
        (_without("config.json"), ("has no config.json",)),
        (_pickled, ("only as a pickle", "--allow-pickle")),
        (shutil.rmtree, ("does not exist",)),
    ],
    ids=["no tokenizer", "no weights", "no config", "pickled", "no folder"],
)
def test_a_bad_model_folder_is_one_sentence_with_the_cure(
    run: Run,
    data: Path,
    encoder: Path,
    in_folder: Path,
    spoil: Callable[[Path], None],
    parts: tuple[str, ...],
) -> None:
    folder = Path(shutil.copytree(encoder, in_folder / "model"))
    spoil(folder)
    refused(run("extract", data, "--backbone", folder), 2, *parts)
    assert not (in_folder / "cache").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (("fit-heads", "moods.csv"), 2, ("Missing option '--label'",)),
        (
            ("fit-heads", "moods.csv", "--label", "stars"),
            2,
            ("no column 'stars'", "'text', 'label'"),
        ),
        (("fit-heads", "moods.csv", "--label", "text"), 2, ("Say which one with --text",)),
        (
            ("fit-heads", "moods.csv", "--label", "label", "--template", "{text} {label}"),
            2,
            ("give every label away",),
        ),
        (
            ("fit-heads", "moods.csv", "--label", "label", "--depths", "x"),
            2,
            ("is not a list of whole numbers",),
        ),
        (
            ("fit-heads", "moods.csv", "--label", "label", "--split", "1/2/3"),
            2,
            ("not two or three shares",),
        ),
        (
            ("fit-heads", "moods.csv", "--label", "label", "--space", "none"),
            2,
            ("has no space 'none'",),
        ),
        (
            ("fit-heads", "moods.csv", "--label", "label", "--cache", "none"),
            3,
            ("150 of 150 texts", "extract"),
        ),
        (
            ("fit-heads", "moods.csv", "more.csv", "--label", "label"),
            3,
            ("1 of 1 texts of more.csv",),
        ),
        (("extract", "moods.csv"), 2, ("Missing option '--backbone'",)),
        (("extract", "moods.csv", "--backbone", "m", "--max-length", "0"), 2, ("--max-length",)),
        (("predict", "nothing", "--text", "cat"), 2, ("nothing is not a bundle",)),
        (("predict", "nothing"), 2, ("is not a bundle",)),
        (("tell",), 2, ("No such command 'tell'",)),
        (("extract", "moods.csv", "--backbon", "m"), 2, ("--backbone",)),
    ],
)
def test_bad_use_is_one_sentence_with_the_cure(
    run: Run,
    cached: Path,
    in_folder: Path,
    arguments: tuple[str, ...],
    code: int,
    parts: tuple[str, ...],
) -> None:
    write_csv(
        in_folder / "more.csv", {"text": ["the new river ran quickly"], "label": ["positive"]}
    )
    before = everything_below(in_folder)
    refused(run(*arguments), code, *parts)
    assert everything_below(in_folder) == before
    assert cached.exists()


def test_predict_wants_texts_in_exactly_one_way(run: Run, cached: Path) -> None:
    run("fit-heads", cached, "--label", "label", *QUICK)
    bundle = "runs/moods-label/bundle"
    refused(run("predict", bundle), 2, "give texts in one way")
    refused(run("predict", bundle, cached, "--text", "cat"), 2, "give texts in one way")
    refused(run("predict", bundle, "-", stdin=""), 2, "stdin holds no text")
    refused(run("predict", bundle, "--text", " "), 2, "1 text is empty or missing: --text, row 1")


def test_a_named_backbone_is_checked_even_when_no_text_needs_it(
    run: Run, cached: Path, in_folder: Path
) -> None:
    run("fit-heads", cached, "--label", "label", *QUICK)
    other = save_encoder(in_folder / "tiny-bert", seed=3)
    bundle = "runs/moods-label/bundle"
    refused(
        run("predict", bundle, cached, "--backbone", other),
        3,
        "is not the one this head was trained on",
    )
    refused(
        run("predict", bundle, cached, "--backbone", "./nowhere"),
        2,
        "does not exist",
        "--backbone FOLDER",
    )
    assert run("predict", bundle, cached).exit_code == 0


def test_stdin_is_read_in_the_given_encoding(run: Run, cached: Path) -> None:
    run("fit-heads", cached, "--label", "label", *QUICK)
    told = subprocess.run(
        [sys.executable, "-m", "featcache", "predict", "runs/moods-label/bundle", "-"],
        input=b"ok\ncaf\xe9\n",
        capture_output=True,
        check=False,
    )
    assert told.returncode == 2
    assert b"stdin, line 2: byte 0xe9 is not utf-8" in told.stderr


def test_a_cure_can_be_pasted(run: Run, cached: Path, in_folder: Path) -> None:
    """The command of a miss, run as it stands, makes the next try succeed: templates, poolings, odd
    names and all.
    """
    import shlex

    assert cached.exists()
    write_csv(
        in_folder / "two words.csv",
        {"a": ["cat"] * 3 + ["dog"] * 3, "n": [1, 2, 3, 4, 5, 6], "y": [*"xyxyxy"]},
    )
    write_csv(in_folder / "b.csv", {"a": ["mat", "rug"], "n": [7, 8], "y": ["x", "y"]})
    wanted = (
        "fit-heads",
        "two words.csv",
        "b.csv",
        "--label",
        "y",
        "--template",
        "{a} {n} on",
        *QUICK[:2],
        "--no-evidence",
        "--pool",
        "max",
    )
    for _ in range(3):
        told = run(*wanted)
        if told.exit_code == 0:
            break
        assert told.exit_code == 3, told.stderr
        (cure,) = [
            line.split(": ", 1)[1]
            for line in told.stderr.splitlines()
            if ": featcache extract" in line
        ]
        done = run(*shlex.split(cure)[1:])
        assert done.exit_code == 0, (cure, done.stderr)
    assert told.exit_code == 0, told.stderr


def test_the_text_is_no_label_beside_others(run: Run, cached: Path) -> None:
    refused(
        run("fit-heads", cached, "--label", "label", "--label", "text"),
        2,
        "Say which one with --text",
    )


@pytest.mark.parametrize("seed", ["-1", "99999999999999999999"])
def test_a_seed_that_cannot_be_one_is_refused(run: Run, cached: Path, seed: str) -> None:
    refused(run("fit-heads", cached, "--label", "label", "--seed", seed), 2, "--seed")


def test_an_out_that_is_a_file_is_refused_before_the_sweep(
    run: Run, cached: Path, in_folder: Path
) -> None:
    (in_folder / "taken").write_text("mine")
    refused(
        run("fit-heads", cached, "--label", "label", "--out", "taken"), 2, "is a file", "--out DIR"
    )
    assert (in_folder / "taken").read_text() == "mine"


def test_semicolons_are_not_taken_for_one_column(run: Run, in_folder: Path, encoder: Path) -> None:
    (in_folder / "excel.csv").write_text("text;label\ncat;1\n")
    refused(
        run("extract", "excel.csv", "--backbone", encoder),
        2,
        "looks separated by ';'",
        "Save it with commas",
    )


def test_a_pipe_that_is_closed_early_is_no_failure(cached: Path) -> None:
    assert cached.exists()
    command = f"{sys.executable} -m featcache info | head -1; echo ${{PIPESTATUS[0]}}"
    told = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)  # noqa: S607 - any bash
    assert told.stdout.splitlines()[-1] == "0"
    assert told.stderr == ""


def test_strict_makes_a_shared_text_an_error(run: Run, cached: Path, in_folder: Path) -> None:
    rows = rated(150, seed=4)
    write_csv(in_folder / "test.csv", {name: values[:10] for name, values in rows.items()})
    options = (cached, "--test", "test.csv", "--label", "label", *QUICK)
    refused(
        run("fit-heads", *options, "--strict"),
        2,
        "10 rows of moods.csv hold texts that are in test.csv too",
    )
    told = run("fit-heads", *options)
    assert told.exit_code == 0
    assert "10 rows of moods.csv hold texts that are in test.csv too: not trained on" in told.stderr
    assert "10 dropped" in told.stdout


def test_a_damaged_shard_is_exit_code_4_and_names_the_file(
    run: Run, cached: Path, in_folder: Path
) -> None:
    (shard,) = in_folder.glob("cache/*/*.h5")
    shard.write_bytes(shard.read_bytes()[:-100])
    refused(
        run("fit-heads", cached, "--label", "label"),
        4,
        shard.name,
        "is damaged: it has",
        "featcache extract",
    )
    refused(run("ls"), 4, shard.name)
    shard.unlink()
    assert "tiny-bert" in run("ls").stdout


def test_a_bundle_of_another_backbone_is_exit_code_3(
    run: Run, cached: Path, in_folder: Path
) -> None:
    run("fit-heads", cached, "--label", "label", *QUICK)
    other = save_encoder(in_folder / "tiny-bert", seed=3)
    told = run(
        "predict", "runs/moods-label/bundle", "--text", "an unseen river", "--backbone", other
    )
    refused(told, 3, "is not the one this head was trained on: its weights differ", "--backbone")


def test_debug_shows_the_traceback(run: Run) -> None:
    result = run("--debug", "info")
    assert result.exception is not None
    assert type(result.exception).__name__ == "SpaceChoiceError"


# -- the machine fails -----------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB."""
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("mounting a small disk takes root on Linux")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount") or "mount"
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "none", disk], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this sandbox forbids mounting")
    yield disk
    subprocess.run([shutil.which("umount") or "umount", disk], check=True)


def test_a_disk_that_is_too_small_is_said_before_the_pass(
    run: Run, encoder: Path, small_disk: Path
) -> None:
    data = write_csv(Path("texts.csv"), {"text": sentences(4000, seed=5)})
    told = run("extract", data, "--backbone", encoder, "--cache", small_disk / "cache")
    refused(told, 1, "4,000 texts need 1.8 MiB in", "where 1.0 MiB are free", "--layers last")
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_during_the_pass_ends_it_and_keeps_what_was_finished(
    encoder: Path, small_disk: Path
) -> None:
    class Neighbour(Silent):
        """Takes all space that is left as soon as the first shard is written."""

        def milestone(self, message: str) -> None:  # noqa: ARG002 - the protocol's
            handle = os.open(small_disk / "other", os.O_WRONLY | os.O_CREAT)
            facts = os.statvfs(small_disk)
            os.posix_fallocate(handle, 0, facts.f_bavail * facts.f_frsize)
            os.close(handle)

    cache, texts = small_disk / "cache", sentences(1000, seed=5)
    with pytest.raises(
        MachineError, match="could not be written: No space left on device"
    ) as caught:
        featcache.extract(texts, backbone=encoder, cache=cache, shard_rows=50, progress=Neighbour())
    assert "What was finished before is kept" in caught.value.cure
    assert not list(cache.glob("*/*.partial"))
    assert [one.findings for one in featcache.verify(cache=cache)] == [()]
    (small_disk / "other").unlink()
    assert featcache.extract(texts, backbone=encoder, cache=cache).hits in range(50, 1000, 50)


def test_ctrl_c_while_heads_are_fitted_writes_nothing(cached: Path, in_folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "featcache",
        "fit-heads",
        str(cached),
        "--label",
        "label",
        "--depths",
        "1,2,3,4",
    ]
    process = subprocess.Popen(
        command, cwd=in_folder, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    time.sleep(2.5)
    process.send_signal(signal.SIGINT)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 130, talk
    assert "Traceback" not in talk
    assert not (in_folder / "runs").exists()


# -- help ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(run: Run, command: str) -> None:
    from featcache.cli import main

    told = run(command, "--help")
    assert told.exit_code == 0
    assert f"featcache {command}" in told.stdout
    found = main.get_command(click.Context(main), command)
    assert found is not None
    for parameter in found.params:
        if parameter.param_type_name == "option":
            assert getattr(parameter, "help", None), f"{command} {parameter.name} has no help"


def test_the_group_lists_every_command(run: Run) -> None:
    told = run("--help").stdout
    for command in COMMANDS:
        assert f"  {command}" in told
