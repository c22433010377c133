"""Verify: no damage goes unseen, whatever it hits, and looking changes nothing."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import featcache
from featcache.cache.layout import INDEX
from featcache.cache.upkeep.repair import repair
from featcache.cache.upkeep.verify import verify
from featcache.errors import InputError, MachineError, SpaceChoiceError
from tests.cache.test_shard import contract, rows, with_header
from tests.cache.test_space import make
from tests.cache.upkeep.tools import (
    CHECKSUMS,
    FACTS,
    PARTS,
    VIEWS,
    filled,
    findings,
    flip,
    places_of,
    quiet,
)
from tests.conftest import everything_below


def test_a_sound_space_has_no_findings_and_is_counted(tmp_path: Path) -> None:
    for sealed, files in ((False, 3), (True, 1)):
        space, _ = filled(tmp_path / str(sealed), sealed=sealed)
        seen: list[int] = []
        checked = verify(space.path, progress=seen.append)
        assert (checked.findings, checked.rows, checked.files, checked.unfinished) == (
            (),
            21,
            files,
            0,
        )
        assert checked.bytes == sum(path.stat().st_size for path in space.path.glob("*.h5"))
        # The data and all between them are read once; the two headers are compared and not counted.
        assert sum(seen) == checked.bytes - 2 * 4096 * files


@pytest.mark.parametrize(
    ("part", "sealed"),
    [*((part, True) for part in PARTS), *((part, False) for part in PARTS if part not in INDEX)],
)
def test_a_flipped_byte_is_found_wherever_it_is(tmp_path: Path, part: str, sealed: bool) -> None:
    space, _ = filled(tmp_path, sealed=sealed)
    path = min(space.path.glob("*.h5"))
    good = path.read_bytes()
    for place in places_of(path, part):
        flip(path, place)
        before = everything_below(tmp_path)
        (finding,) = findings(space.path)
        assert (finding.kind, finding.file) == ("damage", str(path))
        assert finding.rows == (1 if part in {*FACTS, *VIEWS} else 0)
        assert {"header": "header", "copy": "copy of its header", "gaps": "between"}.get(
            part, part
        ) in finding.what
        assert everything_below(tmp_path) == before
        path.write_bytes(good)
    assert findings(space.path) == ()


def _make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no shard at all" * 1000),
        lambda path: path.write_bytes(path.read_bytes()[:20]),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path: path.write_bytes(path.read_bytes() + bytes(5000)),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: path.write_bytes(path.read_bytes() * 2),
        lambda path: (path.unlink(), path.symlink_to("contract.json")),
        lambda path: (path.unlink(), path.mkdir()),
        _make_pipe,
    ],
    ids=[
        "empty",
        "garbage",
        "stub",
        "header",
        "half",
        "cut",
        "longer",
        "page",
        "zeros",
        "twice",
        "link",
        "folder",
        "pipe",
    ],
)
@pytest.mark.parametrize("sealed", [False, True], ids=["shard", "sealed"])
@pytest.mark.parametrize("sample", [None, 2.0], ids=["all", "sample"])
def test_a_file_of_the_wrong_size_or_kind_is_found(
    tmp_path: Path, spoil: Callable[[Path], object], sealed: bool, sample: float | None
) -> None:
    space, _ = filled(tmp_path, sealed=sealed)
    path = min(space.path.glob("*.h5"))
    spoil(path)
    (finding,) = findings(space.path, sample)
    assert (finding.kind, finding.file) == ("damage", str(path))
    assert str(path) in finding.what


def test_all_that_is_wrong_with_a_file_is_told_at_once(tmp_path: Path) -> None:
    space, _ = filled(tmp_path)
    path = min(space.path.glob("*.h5"))
    for part in ("layer_00/mean", "checksums/layer_02/cls", "gaps", "header"):
        flip(path, places_of(path, part)[-1])
    (finding,) = findings(space.path)
    assert finding.rows == 1
    for part in (
        "the header does not match",
        "layer_00/mean",
        "checksums/layer_02/cls",
        "between its datasets",
    ):
        assert part in finding.what


@pytest.mark.parametrize("part", [*FACTS, *VIEWS, *CHECKSUMS])
def test_a_sample_of_all_rows_finds_a_damaged_row(tmp_path: Path, part: str) -> None:
    for sealed in (False, True):
        space, _ = filled(tmp_path / str(sealed), sealed=sealed)
        path = min(space.path.glob("*.h5"))
        assert findings(space.path, 1.0) == ()
        flip(path, places_of(path, part)[0])
        for sample in (1.0, 1000.0):
            (finding,) = findings(space.path, sample)
            assert (finding.file, finding.rows) == (str(path), 1)
            assert (
                part.removeprefix("checksums/")
                .replace("n_tokens", "keys")
                .replace("truncated", "keys")
                in finding.what
            )


def test_a_sample_draws_other_rows_each_time(tmp_path: Path) -> None:
    space, _ = filled(tmp_path)
    path = min(space.path.glob("*.h5"))
    flip(path, places_of(path, "layer_02/mean")[0])
    drawn = {bool(findings(space.path, sample)) for sample in [1 / 7, 2.0] * 60}
    assert drawn == {True, False}


@pytest.mark.parametrize("sample", [0.0, -1.0, float("nan"), float("inf")])
def test_a_sample_of_no_rows_is_refused(tmp_path: Path, sample: float) -> None:
    filled(tmp_path)
    with pytest.raises(InputError, match="--sample"):
        featcache.verify(cache=tmp_path, sample=sample)


@pytest.mark.parametrize("name", ["contract.json", "origin.json"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b"\xff\xfe", b'{"format": 1}'])
def test_a_lost_or_garbled_file_beside_the_shards_is_found(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    space, _ = filled(tmp_path)
    (space.path / name).unlink()
    if content is not None:
        (space.path / name).write_bytes(content)
    (finding,) = featcache.verify(cache=tmp_path)[0].findings
    assert (finding.kind, finding.rows) == ("damage", 0)
    assert name in finding.what


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("contract.json", '"max_length": 48', '"max_length": 49'),
        ("contract.json", '"a', '"b'),
        ("contract.json", '"format": 1', '"format": 3'),
        ("origin.json", '"hidden_size": 5', '"hidden_size": 4'),
    ],
)
def test_a_flipped_bit_that_leaves_valid_json_is_found(
    tmp_path: Path, name: str, old: str, new: str
) -> None:
    space, _ = filled(tmp_path)
    text = (space.path / name).read_text()
    assert old in text
    (space.path / name).write_text(text.replace(old, new, 1))
    (finding,) = findings(space.path)
    assert (finding.kind, finding.rows) == ("damage", 0)
    assert name in finding.what


def test_a_shard_of_another_space_is_named(tmp_path: Path) -> None:
    space, _ = filled(tmp_path)
    other = make(tmp_path / "other", contract(max_length=47))
    shutil.copy(other.add(rows(), {"written": "x"}), space.path / "stray.h5")
    (finding,) = findings(space.path)
    assert (finding.kind, finding.rows, finding.file) == ("damage", 7, str(space.path / "stray.h5"))
    assert "another contract" in finding.what


def test_a_file_of_a_later_version_is_no_damage(tmp_path: Path) -> None:
    space, _ = filled(tmp_path)
    path = min(space.path.glob("*.h5"))
    path.write_bytes(with_header(path.read_bytes(), version=3))
    (finding,) = findings(space.path)
    assert (finding.kind, finding.file) == ("newer", str(path))
    flip(path, 40)  # its copy still says what it is
    (finding,) = findings(space.path)
    assert (finding.kind, finding.file) == ("newer", str(path))


def test_a_file_that_the_disk_does_not_give_is_named_and_the_others_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, _ = filled(tmp_path)
    first, second, _ = sorted(space.path.glob("*.h5"))
    flip(second, places_of(second, "keys")[0])
    flip(first, 40)
    pread, bad = os.pread, first.stat().st_ino

    def failing(handle: int, size: int, place: int) -> bytes:
        if os.fstat(handle).st_ino == bad and place > 5000:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(handle, size, place)

    monkeypatch.setattr(os, "pread", failing)
    kinds = {finding.file: finding.kind for finding in findings(space.path)}
    assert kinds == {str(first): "machine", str(second): "damage"}


@pytest.mark.parametrize("name", ["contract.json", "origin.json"])
def test_what_the_disk_does_not_give_is_no_damage_and_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    space, _ = filled(tmp_path)
    with space.alone():  # makes the lock file
        pass
    before, open_ = everything_below(tmp_path), os.open

    def failing(path: Any, *rest: Any) -> int:
        if Path(path).name == name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return open_(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing)
        (finding,) = findings(space.path)
        assert finding.kind == "machine"
        with pytest.raises(MachineError, match=f"{name} cannot be read"):
            repair(space.path, progress=quiet)
    assert everything_below(tmp_path) == before


def test_unfinished_files_are_counted_and_no_damage(tmp_path: Path) -> None:
    space, _ = filled(tmp_path)
    (space.path / "shard-x.h5-1.partial").write_bytes(b"half")
    checked = verify(space.path, progress=quiet)
    assert (checked.findings, checked.unfinished) == ((), 1)


def test_spaces_are_named_by_the_beginning_of_their_name(tmp_path: Path) -> None:
    first, _ = filled(tmp_path)
    second = make(tmp_path, contract(max_length=47))
    assert {verified.space for verified in featcache.verify(cache=tmp_path)} == {
        first.name,
        second.name,
    }
    assert [verified.space for verified in featcache.verify(first.name[:-3], cache=tmp_path)] == [
        first.name
    ]
    with pytest.raises(SpaceChoiceError, match="several spaces begin with 'tiny'"):
        featcache.verify("tiny", cache=tmp_path)
    with pytest.raises(SpaceChoiceError, match="has no space 'huge'"):
        featcache.verify("huge", cache=tmp_path)
    with pytest.raises(SpaceChoiceError, match="there is no feature space"):
        featcache.verify(cache=tmp_path / "nothing")
