"""Repair: exactly the damaged rows go, what can be made again is made again, and nothing foreign is
deleted.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

import featcache
from featcache.cache.contract import FORMAT
from featcache.cache.space import Space
from featcache.cache.upkeep.merge import merge
from featcache.cache.upkeep.repair import repair
from tests.cache.test_shard import contract, rows, with_header
from tests.cache.test_space import make
from tests.cache.upkeep.tools import (
    FACTS,
    PARTS,
    VIEWS,
    KilledError,
    at_every_call,
    filled,
    findings,
    flip,
    header_of,
    key_in_row,
    places_of,
    quiet,
    repaired,
    served,
)
from tests.conftest import everything_below

SEALED_OR_NOT = pytest.mark.parametrize("sealed", [False, True], ids=["shard", "sealed"])


def first_of(space: Space) -> Path:
    return min(space.path.glob("*.h5"))


def beside(space: Path) -> dict[str, bytes]:
    """The files beside the shards, less the locks."""
    return {name: (space / name).read_bytes() for name in ("contract.json", "origin.json")}


@pytest.mark.parametrize("part", PARTS)
@SEALED_OR_NOT
def test_exactly_the_damaged_rows_are_dropped(tmp_path: Path, part: str, sealed: bool) -> None:
    space, truth = filled(tmp_path, sealed=sealed)
    path = first_of(space)
    if part.startswith("index/") and not sealed:
        part = "checksums/keys"
    damaged = {key_in_row(path, 3)} if part in {*FACTS, *VIEWS} else set()
    n_rows = header_of(path).rows
    for place in places_of(path, part):
        flip(path, place)
    done = repaired(space.path)
    assert (done.dropped, done.kept, done.files) == (len(damaged), n_rows - len(damaged), 1)
    assert (done.aside, done.made) == ((), ())
    assert served(space.path, truth) == set(truth) - damaged
    assert not list(space.path.glob("*.partial"))
    again = repaired(space.path)
    assert (again.dropped, again.kept, again.files) == (0, 0, 0)


@SEALED_OR_NOT
def test_damage_in_many_places_drops_the_union_of_rows(tmp_path: Path, sealed: bool) -> None:
    space, truth = filled(tmp_path, sealed=sealed)
    path = first_of(space)
    hit = {"layer_00/mean": 1, "layer_02/cls": 1, "layer_00/cls": 5, "n_tokens": 0}
    damaged = {key_in_row(path, row) for row in hit.values()}
    for name, row in hit.items():
        extent = header_of(path).datasets[name]
        flip(path, extent.offset + row * (extent.n_bytes // extent.shape[0]) + 1)
    flip(path, places_of(path, "gaps")[0])
    flip(path, places_of(path, "copy")[0])
    assert repaired(space.path).dropped == 3
    assert served(space.path, truth) == set(truth) - damaged


def test_a_shard_whose_rows_are_all_damaged_goes(tmp_path: Path) -> None:
    space, truth = filled(tmp_path)
    path = first_of(space)
    lost = {key_in_row(path, row) for row in range(7)}
    extent = header_of(path).datasets["layer_00/cls"]
    for row in range(7):
        flip(path, extent.offset + 10 * row)
    done = repaired(space.path)
    assert (done.dropped, done.kept) == (7, 0)
    assert served(space.path, truth) == set(truth) - lost
    assert not path.exists()


@pytest.mark.parametrize("cut", [1, 4096, 4097])
@SEALED_OR_NOT
def test_a_file_that_lost_its_end_keeps_the_rows_that_are_whole(
    tmp_path: Path, cut: int, sealed: bool
) -> None:
    space, truth = filled(tmp_path, sealed=sealed)
    path = first_of(space)
    path.write_bytes(path.read_bytes()[:-cut])
    assert repaired(space.path).dropped == 0
    assert served(space.path, truth) == set(truth)


def test_a_file_that_grew_loses_nothing(tmp_path: Path) -> None:
    space, truth = filled(tmp_path)
    with first_of(space).open("ab") as file:
        file.write(b"appended by somebody")
    assert repaired(space.path).dropped == 0
    assert served(space.path, truth) == set(truth)


def test_every_header_at_once_is_mended_from_its_copy(tmp_path: Path) -> None:
    space, truth = filled(tmp_path)
    before = beside(space.path)
    for path in space.path.glob("*.h5"):
        path.write_bytes(bytes(4096) + path.read_bytes()[4096:])
    for name in before:
        (space.path / name).unlink()
    done = repaired(space.path)
    assert (done.dropped, done.kept, done.files) == (0, 21, 3)
    assert done.made == ("contract.json", "origin.json")
    assert beside(space.path) == before
    assert served(space.path, truth) == set(truth)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b"\xff\xfe", b'{"format": 1}'])
@pytest.mark.parametrize(
    "names", [("contract.json",), ("origin.json",), ("contract.json", "origin.json")]
)
@SEALED_OR_NOT
def test_what_lies_beside_the_shards_is_made_again_identically(
    tmp_path: Path, names: tuple[str, ...], content: bytes | None, sealed: bool
) -> None:
    space, truth = filled(tmp_path, sealed=sealed)
    before = beside(space.path)
    for name in names:
        (space.path / name).unlink()
        if content is not None:
            (space.path / name).write_bytes(content)
    done = repaired(space.path)
    assert (done.made, done.dropped, done.files, done.aside) == (names, 0, 0, ())
    assert done.backbone == "models/tiny"
    assert beside(space.path) == before
    assert served(space.path, truth) == set(truth)


@pytest.mark.parametrize(
    ("name", "old", "new", "folder"),
    [
        ("contract.json", '"max_length": 48', '"max_length": 49', ""),
        ("contract.json", '"max_length": 48', '"max_length": 49', "renamed"),
        (
            "contract.json",
            '"format": 1',
            '"format": 3',
            "",
        ),  # renamed, it could not be told from a later version's
        ("origin.json", '"hidden_size": 5', '"hidden_size": 4', ""),
        ("origin.json", '"hidden_size": 5', '"hidden_size": 4', "renamed"),
    ],
)
def test_a_flipped_bit_that_leaves_valid_json_costs_no_shard(
    tmp_path: Path, name: str, old: str, new: str, folder: str
) -> None:
    """The shards and the folder's name say which contract it was; a folder that was renamed has its
    shards.
    """
    space, truth = filled(tmp_path)
    before = beside(space.path)
    path = space.path.rename(space.path.with_name(folder)) if folder else space.path
    (path / name).write_text(before[name].decode().replace(old, new, 1))
    done = repaired(path)
    assert (done.made, done.dropped, done.aside) == ((name,), 0, ())
    assert beside(path) == before
    assert served(path, truth) == set(truth)


def test_a_misplaced_shard_is_set_aside_and_stays_whole(tmp_path: Path) -> None:
    space, truth = filled(tmp_path)
    other = make(tmp_path / "other", contract(max_length=47))
    stray = other.add(rows(20, seed=9), {"written": "x"})
    for lost in (None, "contract.json"):  # the larger stray must not make the contract
        there = Path(shutil.copy(stray, space.path / "a-stray.h5"))
        if lost:
            (space.path / lost).unlink()
        done = repaired(space.path)
        assert done.dropped == 0
        (aside,) = done.aside
        assert Path(aside).read_bytes() == stray.read_bytes()
        assert not there.exists()
        assert served(space.path, truth) == set(truth)
    assert len(list(space.path.glob("*.damaged"))) == 2


def test_a_stray_alone_in_a_space_does_not_take_it_over(tmp_path: Path) -> None:
    space = make(tmp_path)
    other = make(tmp_path / "other", contract(max_length=47))
    shutil.copy(other.add(rows(), {"written": "x"}), space.path / "stray.h5")
    before = beside(space.path)
    assert len(repaired(space.path).aside) == 1
    assert beside(space.path) == before


def test_what_cannot_be_understood_is_set_aside_and_never_deleted_or_replaced(
    tmp_path: Path,
) -> None:
    space, truth = filled(tmp_path)
    kept = []
    for number, content in enumerate(
        (b"", b"somebody's notes", bytes(9000), b"\x93FEATC\r\n" + bytes(100))
    ):
        (space.path / "mine.h5").write_bytes(content)
        done = repaired(space.path)
        assert (done.dropped, done.files, len(done.aside)) == (0, 0, 1)
        kept.append((Path(done.aside[0]), content))
        assert len({path for path, _ in kept}) == number + 1
    for path, content in kept:
        assert path.read_bytes() == content
        assert path.name.endswith(".damaged")
    assert served(space.path, truth) == set(truth)


def test_a_folder_of_which_nothing_is_left_is_set_aside(tmp_path: Path) -> None:
    space, _ = filled(tmp_path)
    before = {}
    for path in (*space.path.glob("*.h5"), space.path / "contract.json"):
        path.write_bytes(os.urandom(50))
        before[path.name] = path.read_bytes()
    done = repair(space.path, progress=quiet)
    assert len(done.aside) == 4
    assert {
        path.name.removesuffix(".damaged"): path.read_bytes() for path in map(Path, done.aside)
    } == before
    assert done.backbone is None
    assert make(tmp_path).n_rows == 0, "the space can be filled anew"


@pytest.mark.parametrize("content", [None, b"{"])
def test_a_space_that_lost_its_last_row_and_its_origin_can_be_filled_anew(
    tmp_path: Path, content: bytes | None
) -> None:
    space, _ = filled(tmp_path, shards=1)
    first_of(space).write_bytes(b"nothing")
    (space.path / "origin.json").unlink()
    if content is not None:
        (space.path / "origin.json").write_bytes(content)
    assert len(repair(space.path, progress=quiet).aside) == (2 if content is None else 3)
    assert make(tmp_path).n_rows == 0


def test_a_wrong_contract_without_a_shard_that_says_better_is_set_aside(tmp_path: Path) -> None:
    space, _ = filled(tmp_path, shards=1)
    first_of(space).write_bytes(b"nothing")
    text = (space.path / "contract.json").read_text()
    (space.path / "contract.json").write_text(text.replace('"max_length": 48', '"max_length": 49'))
    assert len(repair(space.path, progress=quiet).aside) == 2
    assert make(tmp_path).n_rows == 0


def test_a_link_is_set_aside_and_its_target_stays(tmp_path: Path) -> None:
    space, truth = filled(tmp_path)
    target = tmp_path / "target.h5"
    target.write_bytes(first_of(space).read_bytes())
    (space.path / "link.h5").symlink_to(target)
    (aside,) = repaired(space.path).aside
    assert Path(aside).is_symlink()
    assert target.exists()
    assert served(space.path, truth) == set(truth)


def test_a_shard_of_a_later_version_is_left_and_the_others_are_repaired(tmp_path: Path) -> None:
    space, _ = filled(tmp_path)
    newer, damaged, _ = sorted(space.path.glob("*.h5"))
    newer.write_bytes(with_header(newer.read_bytes(), version=FORMAT + 1))
    before = newer.read_bytes()
    flip(damaged, places_of(damaged, "keys")[0])
    done = repair(space.path, progress=quiet)
    assert [(finding.kind, finding.file) for finding in done.left] == [("newer", str(newer))]
    assert done.dropped == 1
    assert newer.read_bytes() == before
    assert {finding.kind for finding in findings(space.path)} == {"newer"}


def test_a_space_of_a_later_version_is_left_alone_and_the_others_are_repaired(
    tmp_path: Path,
) -> None:
    space = make(tmp_path, contract(format=FORMAT))
    later = contract(format=FORMAT + 1)
    space.add(rows(), {"written": "x"})
    (space.path / "contract.json").write_text(later.to_json())
    (shard,) = space.path.glob("*.h5")
    shard.write_bytes(with_header(shard.read_bytes(), version=FORMAT + 1, contract=later.digest))
    path = space.path.rename(tmp_path / f"a-{later.digest[:12]}")
    damaged, truth = filled(tmp_path)
    flip(first_of(damaged), 40)
    before = everything_below(path)
    done = featcache.repair(cache=tmp_path)
    assert [[finding.kind for finding in each.left] for each in done] == [["newer"], []]
    assert everything_below(path) == before
    assert served(damaged.path, truth) == set(truth)


def test_hdf5_metadata_that_lie_are_made_again_and_cost_no_row(tmp_path: Path) -> None:
    """Only intent makes them: every checksum fits, and HDF5 readers are led elsewhere."""
    import xxhash

    space, truth = filled(tmp_path, shards=1)
    path = first_of(space)
    data = bytearray(path.read_bytes())
    place = data.index(b"n_tokens\0", 4096)
    data[place : place + 8] = b"n_tokenz"
    rest = xxhash.xxh3_64(b"".join(bytes(data[start:end]) for start, end in header_of(path).gaps()))
    path.write_bytes(with_header(bytes(data), rest=rest.hexdigest()))
    (finding,) = findings(space.path)
    assert (
        "it lacks n_tokens" in finding.what
        or "n_tokenz" in finding.what
        or "header" in finding.what
    )
    assert repaired(space.path).dropped == 0
    assert served(space.path, truth) == set(truth)


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "gone"), OSError(errno.ENOSPC, "full"), KilledError()], ids=str
)
@SEALED_OR_NOT
def test_a_repair_that_is_cut_short_loses_nothing_sound(
    tmp_path: Path, error: BaseException, sealed: bool
) -> None:
    space, truth = filled(tmp_path / "whole", sealed=sealed)
    lost = set()
    for path in sorted(space.path.glob("*.h5"))[:2]:
        lost.add(key_in_row(path, 3))
        flip(path, places_of(path, "layer_02/mean")[0])
    (space.path / "contract.json").unlink()
    (space.path / "zz-foreign.h5").write_bytes(b"somebody's")

    def prepare(number: int) -> Path:
        return Path(shutil.copytree(space.path, tmp_path / str(number) / space.name))

    def work(folder: Path) -> None:
        repair(folder, progress=quiet)

    for folder in at_every_call(prepare, work, error):
        repaired(folder)
        assert served(folder, truth) == set(truth) - lost
        assert [path.read_bytes() for path in folder.glob("*.damaged")] == [b"somebody's"]
        shutil.rmtree(folder)


def test_rows_that_a_killed_repair_has_saved_are_not_saved_twice(tmp_path: Path) -> None:
    space, truth = filled(tmp_path)
    path = first_of(space)
    flip(path, places_of(path, "layer_02/mean")[0])
    damaged = path.read_bytes()
    repaired(space.path)
    path.write_bytes(damaged)  # as if it had been killed before it removed the file
    assert repaired(space.path).kept == 0
    assert len(served(space.path, truth)) == Space.open(space.path).n_rows == 20


def test_repair_waits_for_writers(tmp_path: Path) -> None:
    space, _ = filled(tmp_path)
    told: list[str] = []

    def stop() -> None:
        told.append("waiting")
        raise InterruptedError

    with space.writing(), pytest.raises(InterruptedError):
        repair(space.path, progress=quiet, waiting=stop)
    assert told == ["waiting"]


def test_a_repaired_sealed_file_stays_sealed_and_is_found_by_its_index(tmp_path: Path) -> None:
    space, truth = filled(tmp_path, sealed=True)
    path = first_of(space)
    flip(path, places_of(path, "index/entries")[0])
    flip(path, places_of(path, "layer_00/mean")[0])
    assert repaired(space.path).dropped == 1
    (shard,) = Space.open(space.path).shards
    assert shard.sealed
    assert shard.path.name == "features.h5"
    merge(Space.open(space.path), progress=quiet)
    assert len(served(space.path, truth)) == 20
