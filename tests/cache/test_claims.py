"""Claims: several writers share the rows of a space, and a dead one's share is free."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import featcache.durable
from featcache.cache.claims import Claims
from featcache.cache.columns import CachedRows
from featcache.cache.space import Space
from featcache.errors import MachineError
from tests.cache.test_shard import contract, rows
from tests.cache.test_space import ORIGIN, make
from tests.cache.upkeep.tools import FailingDisk, quiet, served, truth_of


def pick(part: CachedRows, chosen: NDArray[np.int64]) -> CachedRows:
    features = {name: states[chosen] for name, states in part.features.items()}
    return CachedRows(part.keys[chosen], part.n_tokens[chosen], part.truncated[chosen], features)


def test_a_writer_alone_gets_every_row_once_in_slices(tmp_path: Path) -> None:
    space, part = make(tmp_path), rows(23)
    with space.writing() as (now, claims):
        got = []
        for mine, elsewhere in claims.slices(part.keys, 10, quiet):
            assert elsewhere == 0
            got.append(mine.tolist())
            now.add(pick(part, mine), {"written": "x"})
    assert [len(numbers) for numbers in got] == [10, 10, 3]
    assert sorted(row for numbers in got for row in numbers) == list(range(23))
    assert served(space.path, truth_of(part)) == set(truth_of(part))
    assert [path.name for path in (space.path / "claims").iterdir()] == ["lock"]


def test_slices_grow_from_a_small_first_one(tmp_path: Path) -> None:
    space, part = make(tmp_path), rows(100)
    with space.writing() as (_, claims):
        sizes = [len(mine) for mine, _ in claims.slices(part.keys, 40, quiet, first=2)]
    assert sizes == [2, 16, 40, 40, 2]


def test_two_writers_share_the_rows_without_overlap(tmp_path: Path) -> None:
    space, part = make(tmp_path), rows(30)
    with space.writing() as (_, first), space.writing() as (_, second):
        told: list[int] = []
        sides = [first.slices(part.keys, 7, told.append), second.slices(part.keys, 7, told.append)]
        done: list[list[int]] = [[], []]
        elsewhere = [0, 0]
        open_ = [0, 1]
        while open_:
            for side in tuple(open_):
                step = next(sides[side], None)
                if step is None:
                    open_.remove(side)
                    continue
                mine, finished = step
                elsewhere[side] += finished
                done[side] += mine.tolist()
                if len(mine):
                    space.add(pick(part, mine), {"written": "x"})
    assert sorted(done[0] + done[1]) == list(range(30))
    assert all(done)
    assert [len(done[side]) + elsewhere[side] for side in (0, 1)] == [30, 30]
    assert served(space.path, truth_of(part)) == set(truth_of(part))
    assert space.reopened().n_rows == 30


def test_a_writer_waits_for_what_another_has_in_hand_and_says_so_once(tmp_path: Path) -> None:
    space, part = make(tmp_path), rows(8)
    told: list[int] = []
    with space.writing() as (_, first):
        held = first.slices(part.keys, 5, quiet)
        mine, _ = next(held)
        with space.writing() as (_, second):
            others = second.slices(part.keys, 5, told.append)
            rest, _ = next(others)
            assert sorted([*mine, *rest]) == list(range(8))
            space.add(pick(part, rest), {"written": "x"})
            assert [len(next(others)[0]) for _ in range(3)] == [0, 0, 0]
            assert told == [5]
            space.add(pick(part, mine), {"written": "x"})
            assert [finished for _, finished in others] == [5]


def claimed_in(space: Space) -> set[bytes]:
    """The keys in the claim files of a space, read as bytes."""
    files = [path for path in (space.path / "claims").iterdir() if path.name != "lock"]
    data = b"".join(path.read_bytes() for path in files)
    return {data[start : start + 16] for start in range(0, len(data), 16)}


def test_a_writer_may_claim_ahead_and_rows_stay_claimed_until_they_are_on_the_disk(
    tmp_path: Path,
) -> None:
    space, part = make(tmp_path), rows(20)
    written: list[NDArray[np.int64]] = []
    with space.writing() as (now, first), space.writing() as (_, second):
        ahead = first.slices(part.keys, 6, quiet, first=2, on_disk=lambda: len(written))
        taken = [next(ahead)[0] for _ in range(3)]
        assert [numbers.tolist() for numbers in taken] == [
            [0, 1],
            [2, 3, 4, 5, 6, 7],
            [8, 9, 10, 11, 12, 13],
        ]
        in_hand = [part.keys[row].tobytes() for row in range(14)]
        assert claimed_in(space) == set(in_hand), "none of the three is written"
        now.add(pick(part, taken[0]), {"written": "x"})
        written.append(taken[0])
        other, finished = next(second.slices(part.keys, 100, quiet))
        assert (other.tolist(), finished) == (list(range(14, 20)), 2), (
            "what is claimed ahead is not another's"
        )
        now.add(pick(part, other), {"written": "x"})
        assert [finished for _, finished in ahead] == [6]
        assert claimed_in(space) >= set(in_hand[2:]), "they are yielded and not yet written"


def test_a_slice_is_given_up_only_after_its_shard_has_its_name(tmp_path: Path) -> None:
    space, part = make(tmp_path), rows(9)
    written: list[NDArray[np.int64]] = []
    with space.writing() as (now, claims):
        for mine, _ in claims.slices(part.keys, 2, quiet, on_disk=lambda: len(written)):
            on_disk = {
                key.tobytes() for shard in space.reopened().shards for key in shard.read("keys")
            }
            before = {key.tobytes() for key in part.keys[: mine[-1] + 1]}
            assert before == on_disk | claimed_in(space), "a row is in a shard or in a claim"
            if mine[0] % 4 == 2:  # two slices are behind by now
                for one in (mine - 2, mine):
                    now.add(pick(part, one), {"written": "x"})
                    written.append(one)


def test_a_writer_that_has_ended_gets_no_more_slices(tmp_path: Path) -> None:
    """Its thread may be at it still."""
    space, part = make(tmp_path), rows(9)
    with space.writing() as (_, claims):
        slices = claims.slices(part.keys, 2, quiet)
        next(slices)
    assert list(slices) == []
    assert [path.name for path in (space.path / "claims").iterdir()] == ["lock"]


def test_a_writer_that_gives_up_frees_its_share(tmp_path: Path) -> None:
    space, part = make(tmp_path), rows(8)
    space.add(rows(seed=5), {"written": "x"})
    with space.writing() as (_, second):

        def give_up() -> None:
            with space.writing() as (_, first):
                assert len(next(first.slices(part.keys, 8, quiet))[0]) == 8
                assert len(next(second.slices(part.keys, 8, quiet))[0]) == 0
                raise RuntimeError

        with pytest.raises(RuntimeError):
            give_up()
        assert len(next(second.slices(part.keys, 8, quiet))[0]) == 8


def test_a_killed_writer_s_share_is_free_at_once(tmp_path: Path) -> None:
    space, part = make(tmp_path), rows(8)
    code = (
        "import sys, time, pathlib, numpy\n"
        "from featcache.cache.space import Space\n"
        "keys = numpy.frombuffer(bytes.fromhex(sys.argv[2]), numpy.uint8).reshape(-1, 16)\n"
        "with Space.open(pathlib.Path(sys.argv[1])).writing() as (_, claims):\n"
        "    for mine, _ in claims.slices(keys, 6, print):\n"
        "        print(len(mine), flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(space.path), part.keys.tobytes().hex()]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other, space.writing() as (_, claims):
        assert other.stdout is not None
        assert other.stdout.readline() == b"6\n"
        assert len(next(claims.slices(part.keys, 8, quiet))[0]) == 2
        other.kill()
        other.wait()
        assert len(next(claims.slices(part.keys, 8, quiet))[0]) == 8
        assert len(list((space.path / "claims").iterdir())) == 2, "the dead one's file is gone"


@pytest.mark.parametrize("moment", ["open", "unlink"])
def test_a_writer_that_ends_while_another_chooses_disturbs_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Its file goes between two calls of the one that looks at it."""
    space, part = make(tmp_path), rows(8)
    with space.writing() as (_, second):
        with space.writing() as (_, first):
            next(first.slices(part.keys, 3, quiet))
            (ending,) = [path for path in (space.path / "claims").iterdir() if path.name != "lock"]
        ending.write_bytes(part.keys[:3].tobytes())
        real, remove = getattr(os, moment), os.unlink

        def after_it_ended(path: Any, *arguments: Any) -> Any:
            if Path(path) == ending and ending.exists():
                remove(ending)
            return real(path, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(os, moment, after_it_ended)
            assert len(next(second.slices(part.keys, 8, quiet))[0]) == 8


# -- places that cannot be written to --------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_can_be_read_and_says_what_writing_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    space, part = make(tmp_path), rows()
    space.add(part, {"written": "x"})
    monkeypatch.setattr(fcntl, "flock", refuse)
    for context in (space.writing, space.alone):
        with (
            pytest.raises(MachineError, match="file system without file locks") as caught,
            context(),
        ):
            pass
        assert "Reading works" in caught.value.cure
        assert "local disk" in caught.value.cure
    assert served(space.path, truth_of(part)) == set(truth_of(part))
    with pytest.raises(MachineError, match="file system without file locks"):
        Space.create(tmp_path, "other", contract(max_length=40), ORIGIN)
    assert not list(tmp_path.glob("other*/*.json"))


def test_a_folder_that_is_read_only_can_be_read_and_says_what_writing_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests may run as root, whom permissions do not stop: the answer of a read-only disk is
    played.
    """
    space, part = make(tmp_path), rows()
    space.add(part, {"written": "x"})
    real = os.open

    def read_only(path: Any, flags: int, *rest: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and str(path).startswith(str(tmp_path)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, flags, *rest)

    monkeypatch.setattr(os, "open", read_only)
    assert served(space.path, truth_of(part)) == set(truth_of(part))
    for context in (space.writing, space.alone):
        with (
            pytest.raises(MachineError, match="cannot be written: Read-only file system") as caught,
            context(),
        ):
            pass
        assert "choose another --cache" in caught.value.cure
    with pytest.raises(MachineError, match="Read-only file system"):
        space.add(part, {})


def test_claims_that_cannot_be_written_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, part = make(tmp_path), rows()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Claims(space.path, set()) as claims, monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(MachineError, match="claims cannot be written: No space left"):
            next(claims.slices(part.keys, 3, quiet))


# -- two that make the same space ------------------------------------------------------------------


@pytest.mark.parametrize("at", range(1, 9))
def test_a_writer_that_starts_while_another_makes_the_space_takes_nothing_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """At each call of the one that makes the space, another is there already, makes it too and
    writes a row.
    """

    class Overtaken(FailingDisk):
        def __getattr__(self, name: str) -> Any:
            got = super().__getattr__(name)

            def call(*arguments: Any, **named: Any) -> Any:
                if self.calls == at:
                    self.calls += 1
                    told = subprocess.run(
                        [sys.executable, "-c", OTHER, str(tmp_path)],
                        check=False,
                        capture_output=True,
                        text=True,
                    )
                    assert told.returncode == 0, told.stderr
                return got(*arguments, **named)

            return call if callable(got) else got

    monkeypatch.setattr(featcache.durable, "os", Overtaken(10**9, OSError()))
    space = make(tmp_path)
    monkeypatch.undo()
    with space.writing() as (now, _):
        now.add(rows(seed=1), {"written": "x"})
    truth = truth_of(rows(seed=0), rows(seed=1))
    assert served(space.path, truth) == set(truth)


OTHER = """
import sys, pathlib
from tests.cache.test_space import make
from tests.cache.test_shard import rows
with make(pathlib.Path(sys.argv[1])).writing() as (space, _):
    space.add(rows(seed=0), {"written": "x"})
"""
