"""gc: what is shown is what goes, nothing else, and a collection that is cut short leaves a valid
space.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

import featcache
from featcache.cache.identity import CONTRACT
from featcache.cache.space import Space
from featcache.cache.upkeep.gc import Removal, collect, leftovers, unused_rows, whole_space
from featcache.cache.upkeep.repair import repair
from featcache.errors import InputError, SpaceChoiceError
from featcache.verbs.upkeep import removals
from tests.cache.test_shard import contract, rows
from tests.cache.test_space import make
from tests.cache.upkeep.tools import (
    KilledError,
    at_every_call,
    filled,
    findings,
    keys_of,
    quiet,
    served,
    truth_of,
)
from tests.conftest import everything_below

SEALED_OR_NOT = pytest.mark.parametrize("sealed", [False, True], ids=["shards", "sealed"])
PARTIAL = f"shard-{'0' * 32}.h5-{'1' * 32}.partial"


def aged(path: Path, seconds: float) -> Path:
    then = time.time() - seconds
    os.utime(path, (then, then))
    return path


def take(removal: Removal | None) -> None:
    assert removal is not None
    collect(removal, progress=quiet)


@SEALED_OR_NOT
def test_rows_that_are_not_in_the_data_go_and_the_others_stay(tmp_path: Path, sealed: bool) -> None:
    space, truth = filled(tmp_path, sealed=sealed)
    keep = list(truth)[2:16:3]
    removal = unused_rows(space, keys_of(keep), "not in the data")
    assert removal is not None
    assert (removal.what, removal.rows) == ("rows", 16)
    before = space.n_bytes
    take(removal)
    assert findings(space.path) == ()
    assert served(space.path, truth) == set(keep)
    assert Space.open(space.path).n_rows == len(keep)
    assert space.reopened().n_bytes < before
    assert unused_rows(space.reopened(), keys_of(keep), "") is None


def test_shards_without_unused_rows_are_not_written_anew(tmp_path: Path) -> None:
    space, truth = filled(tmp_path)
    first = space.shards[0]
    keep = [bytes(key) for key in first.read("keys")]
    take(unused_rows(space, keys_of(keep), ""))
    assert [path.name for path in space.path.glob("*.h5")] == [first.path.name]
    assert served(space.path, truth) == set(keep)


@SEALED_OR_NOT
def test_a_space_of_which_nothing_is_used_goes_whole(tmp_path: Path, sealed: bool) -> None:
    space, _ = filled(tmp_path / "cache", sealed=sealed)
    removal = unused_rows(space, rows(seed=99).keys, "")
    assert removal is not None
    assert (removal.what, removal.rows) == ("space", 21)
    take(removal)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("by_rows", [False, True])
def test_what_came_in_after_it_was_shown_stays(tmp_path: Path, by_rows: bool) -> None:
    space, truth = filled(tmp_path)
    removal = unused_rows(space, rows(seed=99).keys, "") if by_rows else whole_space(space, "")
    space.add(rows(seed=7), {"written": "x"})
    take(removal)
    assert served(space.path, truth | truth_of(rows(seed=7))) == set(truth_of(rows(seed=7)))
    assert findings(space.path) == ()


def test_a_space_with_everything_in_it_goes_and_its_neighbour_stays(tmp_path: Path) -> None:
    space, _ = filled(tmp_path)
    other = make(tmp_path, contract(max_length=47))
    other.add(rows(), {"written": "x"})
    (space.path / PARTIAL).write_bytes(b"half")
    with space.writing() as (_, claims):
        assert len(list(claims.slices(rows().keys, 100, quiet))) == 1
        (space.path / "claims" / ("dead" * 8)).write_bytes(bytes(16))
    before = everything_below(other.path)
    take(whole_space(space, "named"))
    assert [path.name for path in tmp_path.iterdir()] == [other.name]
    assert everything_below(other.path) == before


def test_files_that_are_not_ours_keep_the_folder(tmp_path: Path) -> None:
    space, _ = filled(tmp_path)
    (space.path / "notes.txt").write_text("mine")
    take(whole_space(space, "named"))
    assert [path.name for path in space.path.iterdir()] == ["notes.txt"]


def test_only_old_leftovers_of_our_own_naming_go(tmp_path: Path) -> None:
    space, truth = filled(tmp_path)
    (space.path / "mine.h5").write_bytes(b"somebody's")
    repair(space.path, progress=quiet)
    old = [space.path / PARTIAL, tmp_path / f"memo.json-{'2' * 32}.partial"]
    for path in old:
        path.write_bytes(b"half")
        aged(path, 3700)
    others = [
        space.path / PARTIAL.replace("1", "3"),
        tmp_path / "film.mkv.partial",
        tmp_path / "photos" / "x.damaged",
    ]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"not yours")
        if path.parent != space.path:
            aged(path, 9999)
    found = leftovers(tmp_path)
    assert {(removal.path, removal.reason, removal.bytes) for removal in found} == {
        (tmp_path, "1 unfinished file of a killed writer", 4),
        (space.path, "1 unfinished file of a killed writer", 4),
        (space.path, "1 file set aside by repair", 10),
    }
    for removal in found:
        take(removal)
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in others)
    assert not list(space.path.glob("*.damaged"))
    assert leftovers(tmp_path) == []
    assert served(space.path, truth) == set(truth)


def test_a_folder_of_which_all_was_set_aside_goes_with_it(tmp_path: Path) -> None:
    space, _ = filled(tmp_path / "cache")
    for path in (*space.path.glob("*.h5"), space.path / CONTRACT):
        path.write_bytes(b"nothing")
    repair(space.path, progress=quiet)
    for removal in leftovers(tmp_path / "cache"):
        take(removal)
    assert not (tmp_path / "cache").exists()


def test_a_leftover_that_is_finished_meanwhile_is_no_error(tmp_path: Path) -> None:
    space, _ = filled(tmp_path)
    path = space.path / PARTIAL
    path.write_bytes(b"half")
    aged(path, 9999)
    (removal,) = leftovers(tmp_path)
    path.rename(space.path / "done.txt")
    take(removal)
    assert (space.path / "done.txt").exists()


def test_a_collection_waits_for_writers(tmp_path: Path) -> None:
    space, truth = filled(tmp_path)

    def stop() -> None:
        raise InterruptedError

    for removal in (whole_space(space, ""), unused_rows(space, keys_of(list(truth)[:3]), "")):
        assert removal is not None
        with space.writing(), pytest.raises(InterruptedError):
            collect(removal, progress=quiet, waiting=stop)
    assert served(space.path, truth) == set(truth)


@pytest.mark.parametrize("error", [OSError(5, "gone"), KilledError()], ids=str)
@SEALED_OR_NOT
def test_a_collection_of_rows_that_is_cut_short_leaves_a_valid_space(
    tmp_path: Path, error: BaseException, sealed: bool
) -> None:
    space, truth = filled(tmp_path / "whole", sealed=sealed)
    keep = list(truth)[::2]

    def prepare(number: int) -> Path:
        return Path(shutil.copytree(space.path, tmp_path / str(number) / space.name))

    def work(folder: Path) -> None:
        take(unused_rows(Space.open(folder), keys_of(keep), ""))

    for folder in at_every_call(prepare, work, error):
        assert findings(folder) == ()
        assert served(folder, truth) >= set(keep)
        if unused_rows(Space.open(folder), keys_of(keep), "") is not None:
            work(folder)
        assert served(folder, truth) == set(keep)
        shutil.rmtree(folder)


@pytest.mark.parametrize("error", [OSError(5, "gone"), KilledError()], ids=str)
def test_a_removal_of_a_space_that_is_cut_short_leaves_a_valid_space_or_none(
    tmp_path: Path, error: BaseException
) -> None:
    space, truth = filled(tmp_path / "whole")

    def prepare(number: int) -> Path:
        return Path(shutil.copytree(space.path, tmp_path / str(number) / space.name))

    for folder in at_every_call(
        prepare, lambda folder: take(whole_space(Space.open(folder), "")), error
    ):
        if (folder / CONTRACT).exists() and (folder / "origin.json").exists():
            assert served(folder, truth) <= set(truth)
            assert findings(folder) == ()
            take(whole_space(Space.open(folder), ""))
        assert not list(folder.glob("*.h5"))
        assert make(folder.parent).n_rows == 0, "the space can be filled anew"
        shutil.rmtree(folder)


# -- the verb: what may go -------------------------------------------------------------------------


def test_without_a_condition_only_leftovers_are_shown(tmp_path: Path) -> None:
    space, _ = filled(tmp_path)
    assert removals(cache=tmp_path) == []
    (space.path / PARTIAL).write_bytes(b"half")
    aged(space.path / PARTIAL, 9999)
    assert [removal.what for removal in removals(cache=tmp_path)] == ["leftovers"]
    assert removals(cache=tmp_path / "nothing") == []


def test_spaces_are_chosen_by_name_and_by_age(tmp_path: Path) -> None:
    old, _ = filled(tmp_path)  # written in January 2026
    new = make(tmp_path, contract(max_length=47))
    new.add(rows(), {"written": "2999-01-01T00:00:00+00:00"})
    bare = make(tmp_path, contract(max_length=46))
    bare.add(rows(), {"written": "2026-01-01"})  # no time zone: written by other hands
    assert [removal.path for removal in removals([new.name], cache=tmp_path)] == [new.path]
    assert [removal.path for removal in removals([new.name, new.name], cache=tmp_path)] == [
        new.path
    ]
    by_age = removals(cache=tmp_path, older_than_days=1)
    assert {removal.path for removal in by_age} == {old.path, bare.path}
    assert {removal.reason for removal in by_age} == {
        "last written 2026-01-03",
        "last written 2026-01-01",
    }
    assert removals([new.name], cache=tmp_path, older_than_days=1) == []
    assert removals(cache=tmp_path, older_than_days=1e15) == []
    with pytest.raises(InputError, match="--older-than nan"):
        removals(cache=tmp_path, older_than_days=float("nan"))
    with pytest.raises(SpaceChoiceError, match="has no space 'huge'"):
        removals(["huge"], cache=tmp_path)


def test_a_damaged_space_keeps_nobody_from_clearing_up_the_others(tmp_path: Path) -> None:
    space, _ = filled(tmp_path)
    other = make(tmp_path, contract(max_length=47))
    other.add(rows(), {"written": "2026-01-01T00:00:00+00:00"})
    (space.path / CONTRACT).write_text("{")
    assert [removal.path for removal in removals(cache=tmp_path, older_than_days=1)] == [other.path]
    assert featcache.verify(other.name, cache=tmp_path)[0].findings == ()
