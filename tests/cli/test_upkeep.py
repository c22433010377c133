"""verify, repair, merge, gc, export, ls and info from the command line: sentences, JSON, exit
codes.
"""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featcache
from tests.cache.test_shard import with_header
from tests.cache.upkeep.tools import flip, header_of
from tests.cli.test_commands import refused, write_csv
from tests.conftest import Run, everything_below, sentences

TEXTS = sentences(60, seed=8)


@pytest.fixture(scope="session")
def made(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a cache of 60 rows in three shards."""
    folder = tmp_path_factory.mktemp("made")
    write_csv(folder / "texts.csv", {"text": TEXTS})
    featcache.extract(
        TEXTS, backbone=encoder, cache=folder / "cache", dtype="float32", shard_rows=20
    )
    return folder


@pytest.fixture
def space(run: Run, made: Path, in_folder: Path) -> Path:
    """A fresh copy of it as the current folder; the space's folder."""
    assert callable(run)
    shutil.copytree(made, in_folder, dirs_exist_ok=True)
    (folder,) = (in_folder / "cache").glob("tiny-*")
    return folder


def told(result: Any) -> Any:
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout)


def spoil_rows(space: Path) -> None:
    """Damage rows 0, 4 and 9 of one shard in different parts, and another shard's header."""
    first, second, _ = sorted(space.glob("*.h5"))
    for name, row in (("layer_01/cls", 0), ("keys", 4), ("layer_02/mean", 9)):
        extent = header_of(first).datasets[name]
        flip(first, extent.offset + row * (extent.n_bytes // extent.shape[0]))
    flip(second, 50)


def test_damage_is_found_repaired_and_computed_again(run: Run, space: Path, encoder: Path) -> None:
    opened = featcache.open_space()
    before = opened.features(TEXTS, layer=2, pooling="mean").copy()
    del opened
    spoil_rows(space)
    found = run("verify")
    assert found.exit_code == 4
    assert "60 rows in 3 files: 2 wrong" in found.stdout
    assert "(3 rows)" in found.stdout
    assert f"error: 2 damaged files in {space.name}" in found.stderr
    assert f"`featcache repair {space.name}`" in found.stderr
    repaired = run("repair")
    assert repaired.exit_code == 0, repaired.stderr
    assert "3 rows dropped, 37 rows of 2 damaged files saved" in repaired.stdout
    (command,) = [
        line.split("computed by: ")[1]
        for line in repaired.stdout.splitlines()
        if "computed by" in line
    ]
    words = [word.replace("DATA", "texts.csv") for word in shlex.split(command)[1:]]
    assert str(encoder) in words
    assert run("verify").exit_code == 0
    done = told(run(*words, "--json"))
    assert (done["computed"], done["hits"], done["path"]) == (
        3,
        57,
        str(Path("cache") / space.name),
    )
    assert run("verify").exit_code == 0
    np.testing.assert_allclose(
        featcache.open_space().features(TEXTS, layer=2, pooling="mean"), before, atol=2e-3
    )


def test_verify_and_repair_tell_the_same_in_json(run: Run, space: Path) -> None:
    sound = told(run("verify", "--json"))
    assert set(sound) == {"cache", "sound", "seconds", "spaces"}
    assert sound["sound"] is True
    (one,) = sound["spaces"]
    assert set(one) == {"space", "path", "rows", "files", "bytes", "unfinished", "findings"}
    assert (one["space"], one["rows"], one["files"], one["findings"]) == (space.name, 60, 3, [])
    spoil_rows(space)
    found = run("verify", space.name[:-2], "--json")
    assert found.exit_code == 4
    facts = json.loads(found.stdout)
    assert facts["sound"] is False
    assert sorted(finding["rows"] for finding in facts["spaces"][0]["findings"]) == [0, 3]
    assert {finding["kind"] for finding in facts["spaces"][0]["findings"]} == {"damage"}
    (repaired,) = told(run("repair", "--json"))["spaces"]
    assert (repaired["dropped"], repaired["kept"], repaired["files"]) == (3, 37, 2)
    assert (repaired["aside"], repaired["made"], repaired["left"]) == ([], [], [])
    assert repaired["command"].startswith("featcache extract DATA --backbone ")
    assert run("repair").stdout == f"{space.name} nothing to repair\n"


def test_a_sample_finds_what_is_everywhere(run: Run, space: Path) -> None:
    assert "rows drawn at random (1% of each file)" in run("verify", "--sample").stdout
    assert "5 rows of each file drawn at random" in run("verify", "--sample", "5").stdout
    first = min(space.glob("*.h5"))
    extent = header_of(first).datasets["layer_00/cls"]
    for row in range(20):
        flip(first, extent.offset + row * (extent.n_bytes // 20))
    for sample in ("0.05", "1", "7", "100000"):
        assert run("verify", "--sample", sample).exit_code == 4, sample
    for sample in ("0", "nan", "inf", "some"):
        refused(run("verify", f"--sample={sample}"), 2, "such as 0.01")


@pytest.mark.parametrize("command", ["verify", "repair", "merge", "export"])
def test_a_space_that_is_not_there_is_named(run: Run, space: Path, command: str) -> None:
    refused(run(command, "huge"), 2, "has no space 'huge'", space.name)
    refused(
        run(command, "--cache", "nothing"),
        2,
        "there is no feature space in nothing",
        "featcache extract",
    )
    assert not Path("nothing").exists()


def test_gc_of_a_space_that_is_not_there_is_refused_and_of_nothing_is_nothing(
    run: Run, space: Path
) -> None:
    refused(run("gc", "huge"), 2, "has no space 'huge'", space.name)
    assert run("gc", "--cache", "nothing").stdout == "nothing to remove\n"


def test_a_later_version_is_exit_code_3_and_stays_untouched(run: Run, space: Path) -> None:
    path = min(space.glob("*.h5"))
    path.write_bytes(with_header(path.read_bytes(), version=3))
    (space / "lock").touch()
    before = everything_below(space)
    for command in ("verify", "repair"):
        result = run(command)
        assert result.exit_code == 3, result.output
        assert "was written in format 3" in result.stderr
        assert "Upgrade" in result.stderr
        assert everything_below(space) == before


def test_what_repair_sets_aside_it_names_and_gc_removes_when_told(run: Run, space: Path) -> None:
    (space / "notes.h5").write_text("not a shard")
    assert run("verify").exit_code == 4
    repaired = run("repair")
    assert repaired.exit_code == 0
    assert "set aside" in repaired.stdout
    assert f"{space.name}/notes.h5.damaged" in repaired.stdout
    assert run("verify").exit_code == 0
    shown = run("gc")
    assert "1 file set aside by repair" in shown.stdout
    assert "nothing was removed; add --yes to remove this" in shown.stdout
    assert (space / "notes.h5.damaged").read_text() == "not a shard"
    assert "removed    11 B" in run("gc", "--yes").stdout
    assert not (space / "notes.h5.damaged").exists()


def test_lost_contracts_are_made_again(run: Run, space: Path) -> None:
    before = {name: (space / name).read_bytes() for name in ("contract.json", "origin.json")}
    for name in before:
        (space / name).write_bytes(b"{")
    assert run("verify").exit_code == 4
    refused(run("ls"), 4, "contract.json", "repair")
    assert "contract.json made again from the shards" in run("repair").stdout
    assert {name: (space / name).read_bytes() for name in before} == before
    assert run("verify").exit_code == 0


def test_merge_makes_one_file_and_says_so(run: Run, space: Path) -> None:
    features = featcache.open_space().features(TEXTS, layer=1, pooling="cls").copy()
    merged = run("merge")
    assert merged.exit_code == 0, merged.stderr
    assert "3 files became one: 60 rows, " in merged.stdout
    assert [path.name for path in space.glob("*.h5")] == ["features.h5"]
    assert "is sealed already: 60 rows" in run("merge").stdout
    assert "60 rows in one sealed file" in run("info").stdout
    (one,) = told(run("ls", "--json"))["spaces"]
    assert (one["rows"], one["shards"], one["sealed"]) == (60, 1, True)
    np.testing.assert_array_equal(
        featcache.open_space().features(TEXTS, layer=1, pooling="cls"), features
    )
    (again,) = told(run("merge", "--json"))["spaces"]
    assert set(again) == {"space", "path", "rows", "repeats", "files", "bytes"}
    assert again["files"] == 0


def test_merge_refuses_damage_and_names_the_repair(run: Run, space: Path) -> None:
    spoil_rows(space)
    (space / "lock").touch()
    before = everything_below(space)
    refused(run("merge"), 4, "is damaged", f"featcache repair {space.name}")
    assert everything_below(space) == before


def test_info_counts_files_of_both_kinds(run: Run, space: Path, encoder: Path) -> None:
    run("merge")
    write_csv(Path("more.csv"), {"text": ["the new river ran quickly"]})
    assert run("extract", "more.csv", "--backbone", encoder, "--dtype", "float32").exit_code == 0
    assert f"cache/{space.name} · 61 rows in one sealed file and 1 shard" in run("info").stdout


def test_gc_shows_first_and_removes_rows_when_told(run: Run, space: Path) -> None:
    write_csv(Path("used.csv"), {"text": TEXTS[10:30]})
    before = everything_below(Path())
    shown = run("gc", "--unused-by", "used.csv")
    assert shown.exit_code == 0, shown.stderr
    assert "rows of " in shown.stdout
    assert "40 rows, " in shown.stdout
    assert "not in the data" in shown.stdout
    assert everything_below(Path()) == before
    (removal,) = told(run("gc", "--unused-by", "used.csv", "--json"))["removals"]
    assert set(removal) == {"what", "path", "reason", "rows", "bytes"}
    assert (removal["what"], removal["rows"]) == ("rows", 40)
    done = told(run("gc", space.name, "--unused-by", "used.csv", "--yes", "--json"))
    assert done["removed"] is True
    assert featcache.open_space().has(TEXTS).tolist() == [10 <= place < 30 for place in range(60)]
    assert run("verify").exit_code == 0
    assert run("gc", "--unused-by", "used.csv").stdout == "nothing to remove\n"


def test_gc_removes_old_and_named_spaces_whole(run: Run, space: Path) -> None:
    assert run("gc", "--older-than", "1", "--yes").stdout == "nothing to remove\n"
    assert f"space      cache/{space.name} · 60 rows, " in run("gc", "--older-than", "0").stdout
    refused(run("gc", "--older-than", "nan"), 2, "--older-than")
    assert space.exists()
    assert run("gc", space.name, space.name, "--yes").exit_code == 0
    assert not space.exists()


def test_export_writes_what_was_asked_and_lists_it(run: Run, space: Path) -> None:
    write_csv(Path("some.csv"), {"text": [TEXTS[5], TEXTS[2], TEXTS[5]]})
    done = run(
        "export", "--data", "some.csv", "--layers", "last", "--pool", "mean", "--out", "features"
    )
    assert done.exit_code == 0, done.stderr
    assert "wrote      features/layer_02-mean.npy" in done.stdout
    expected = featcache.open_space().features(
        [TEXTS[5], TEXTS[2], TEXTS[5]], layer=2, pooling="mean"
    )
    np.testing.assert_array_equal(np.load("features/layer_02-mean.npy"), expected)
    refused(
        run("export", "--data", "some.csv", "--out", "features"),
        2,
        "features exists already",
        "--out",
    )
    facts = told(run("export", space.name, "--out", "all.h5", "--json"))
    assert set(facts) == {"files", "bytes"}
    assert facts == {"files": ["all.h5"], "bytes": Path("all.h5").stat().st_size}
    assert told(run("export", "--format", "hdf5", "--json"))["files"] == [f"{space.name}.h5"]
    write_csv(Path("new.csv"), {"text": [TEXTS[5], "never seen red house"]})
    refused(
        run("export", "--data", "new.csv", "--out", "no"),
        3,
        "1 of 2 rows are not in space",
        "featcache extract",
    )
    refused(run("export", "--layers", "7", "--out", "no"), 2, "the model has layers 0")
    refused(run("export", "--pool", "max", "--out", "no"), 3, "has no max of layer 0")
    assert not Path("no").exists()


def test_the_recompute_command_adds_to_exactly_this_space(
    run: Run, encoder: Path, in_folder: Path
) -> None:
    """Also where the model's own defaults would lead to another space beside it."""
    write_csv(in_folder / "a.csv", {"text": TEXTS[:8]})
    base = ("extract", "a.csv", "--backbone", encoder, "--dtype", "float32", "--max-length", "9")
    for options in (
        ("--layers", "2"),
        ("--pool", "mean,last"),
        ("--pool", "mean,cls"),  # without it, the space of mean and last would be used
        ("--layers", "0,2", "--pool", "max"),
    ):
        assert told(run(*base, *options, "--json"))["computed"] == 8
    for one in told(run("ls", "--json"))["spaces"]:
        (shard,) = Path(one["path"]).glob("*.h5")
        flip(shard, header_of(shard).datasets["keys"].offset)
    for one in told(run("repair", "--json"))["spaces"]:
        words = [word.replace("DATA", "a.csv") for word in shlex.split(one["command"])[1:]]
        again = told(run(*words, "--json"))
        assert (again["path"], again["computed"]) == (one["path"], 1)


def test_ls_tells_of_a_space_in_many_files(run: Run, encoder: Path) -> None:
    data = write_csv(Path("many.csv"), {"text": sentences(130, seed=8)})
    assert run("extract", data, "--backbone", encoder, "--shard-rows", "1").exit_code == 0
    told = run("ls").stdout
    assert "has 130 files; `featcache merge tiny-bert" in told
    assert run("merge").exit_code == 0
    assert "files;" not in run("ls").stdout
