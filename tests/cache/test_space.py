"""Spaces: rows found by key over many shards, under one contract."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.cache.columns import CachedRows
from featcache.cache.contract import Contract
from featcache.cache.folder import contracts_in, folder_name, spaces_in
from featcache.cache.index import KeyIndex
from featcache.cache.memo import Memo
from featcache.cache.origin import BackboneOrigin
from featcache.cache.space import Space
from featcache.errors import CacheMissError, ContractError, DamageError
from featcache.features.serving import widest
from tests.cache.test_shard import contract, rows

ORIGIN = BackboneOrigin("models/tiny", 5, 2, 48)


def make(cache: Path, what: Contract | None = None) -> Space:
    return Space.create(cache, "tiny", what or contract(), ORIGIN)


def test_a_space_is_named_after_the_model_and_its_contract(tmp_path: Path) -> None:
    assert make(tmp_path).name == f"tiny-{contract().digest[:12]}"


@pytest.mark.parametrize(
    ("backbone", "name"),
    [
        ("models/distilbert", "distilbert"),
        ("org/model-v1.5/", "model-v1.5"),
        ("a b*c", "a-b-c"),
        ("/", "backbone"),
    ],
)
def test_a_folder_name_is_safe(backbone: str, name: str) -> None:
    assert folder_name(backbone) == name


def test_rows_are_found_over_several_shards(tmp_path: Path) -> None:
    space = make(tmp_path)
    parts = [rows(seed=seed) for seed in range(3)]
    for part in parts:
        space.add(part, {"written": "x"})
    space = space.reopened()
    keys = np.concatenate([part.keys for part in parts])
    expected = np.concatenate([part.features["layer_02/cls"] for part in parts]).astype(np.float16)
    order = np.random.default_rng(1).permutation(len(keys))
    positions = space.find(keys[order])
    assert (positions >= 0).all()
    np.testing.assert_array_equal(space.gather(positions, layer=2, pooling="cls"), expected[order])
    tokens, truncated = space.token_counts(positions)
    np.testing.assert_array_equal(tokens, np.concatenate([part.n_tokens for part in parts])[order])
    np.testing.assert_array_equal(
        truncated, np.concatenate([part.truncated for part in parts])[order]
    )
    assert space.n_rows == 21


def test_a_key_written_twice_serves_the_first_shard_by_name(tmp_path: Path) -> None:
    space = make(tmp_path)
    first, second = rows(seed=0), rows(seed=1)
    twin = CachedRows(first.keys, second.n_tokens, second.truncated, second.features)
    paths = {space.add(part, {"written": "x"}): part for part in (first, twin)}
    served = paths[min(paths)]
    space = space.reopened()
    got = space.gather(space.find(first.keys), layer=0, pooling="mean")
    np.testing.assert_array_equal(got, served.features["layer_00/mean"].astype(np.float16))


@given(
    held=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=20),
    asked=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=20),
)
def test_the_index_agrees_with_a_dictionary(
    held: list[tuple[int, int]], asked: list[tuple[int, int]]
) -> None:
    """Keys of few different halves, so that many share their first 8 bytes."""

    def keys(pairs: list[tuple[int, int]]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
        raw = b"".join(high.to_bytes(8, "big") + low.to_bytes(8, "big") for high, low in pairs)
        return np.frombuffer(raw, dtype=np.uint8).reshape(len(pairs), 16)

    places: dict[tuple[int, int], int] = {}
    for place, pair in enumerate(held):
        places.setdefault(pair, place)
    assert KeyIndex.build(keys(held)).find(keys(asked)).tolist() == [
        places.get(pair, -1) for pair in asked
    ]


def test_asking_for_a_layer_that_is_not_there_says_what_is(tmp_path: Path) -> None:
    space = make(tmp_path)
    with pytest.raises(
        ContractError, match="has no mean of layer 1; it holds layers 0, 2 and mean, cls"
    ):
        space.gather(np.array([0]), layer=1, pooling="mean")


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "c" * 64},
        {"tokenizer": "c" * 64},
        {"config": {"model_type": "roberta"}},
        {"code": "d" * 64},
        {"special_tokens": False},
        {"max_length": 47},
        {"truncation_side": "left"},
        {"dtype": "bfloat16"},
        {"quantization": "int8"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_field_of_the_contract_makes_another_space(
    tmp_path: Path, change: dict[str, str]
) -> None:
    space, other = make(tmp_path), replace(contract(), **change)  # type: ignore[arg-type]  # fields of any type
    assert not space.contract.holds(other)
    assert widest(contracts_in(tmp_path), other) is None
    assert make(tmp_path, other).path != space.path
    (field,) = contract().differences(other)
    assert field == next(iter(change)).replace("config", "config.model_type")


@pytest.mark.parametrize(
    ("asked", "hit"),
    [
        ({"layers": (2,)}, True),
        ({"poolings": ("cls",)}, True),
        ({"layers": (0,), "poolings": ("mean",)}, True),
        ({"layers": (0, 1)}, False),
        ({"poolings": ("mean", "max")}, False),
    ],
)
def test_a_subset_of_layers_and_poolings_is_a_hit(
    tmp_path: Path, asked: dict[str, tuple[int, ...]], hit: bool
) -> None:
    space = make(tmp_path)
    found = widest(contracts_in(tmp_path), replace(contract(), **asked))  # type: ignore[arg-type]  # as above
    assert (found == space.path) is hit


def test_a_contract_survives_its_json(tmp_path: Path) -> None:
    assert make(tmp_path).contract == contract()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"weights": 3}', "\x00\x01"])
def test_a_garbled_contract_is_damage(tmp_path: Path, text: str) -> None:
    space = make(tmp_path)
    (space.path / "contract.json").write_text(text)
    with pytest.raises(DamageError, match="not a contract that can be read") as caught:
        Space.open(space.path)
    assert caught.value.exit_code == 4
    healthy = make(tmp_path, contract(max_length=47))
    spaces, damaged = spaces_in(tmp_path)
    assert [space.name for space in spaces] == [healthy.name]
    assert [str(space.path) in error.what for error in damaged] == [True]
    assert list(contracts_in(tmp_path)) == [healthy.path]


def test_a_shard_of_another_contract_is_refused(tmp_path: Path) -> None:
    space, other = make(tmp_path), make(tmp_path, contract(max_length=47))
    path = other.add(rows(), {"written": "x"})
    path.rename(space.path / path.name)
    with pytest.raises(DamageError, match="written under another contract"):
        Space.open(space.path)


def test_a_folder_of_the_right_name_with_another_contract_is_refused(tmp_path: Path) -> None:
    space, other = make(tmp_path), make(tmp_path, contract(max_length=47))
    (space.path / "contract.json").write_bytes((other.path / "contract.json").read_bytes())
    with pytest.raises(ContractError, match="max_length is 47 there and 48 here"):
        make(tmp_path)


def test_a_missing_space_is_named(tmp_path: Path) -> None:
    with pytest.raises(CacheMissError, match="is not a feature space"):
        Space.open(tmp_path / "nothing")


HOLDER = """
import sys, time, pathlib
from featcache.cache.space import Space
space, released = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
with getattr(Space.open(space), sys.argv[3])():
    print("held", flush=True)
    sys.stdin.readline()
    time.sleep(0.1)
    released.touch()
"""


@contextlib.contextmanager
def hold(space: Space, what: str, released: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run another process inside `space.writing()` or `space.alone()` until it reads a line.

    It makes the file `released` while it still holds the lock: whoever has to wait for the lock
    finds that file, however busy the machine is.
    """
    command = [sys.executable, "-c", HOLDER, str(space.path), str(released), what]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield holder


def let_go(holder: subprocess.Popen[bytes]) -> None:
    """Tell a process of `hold` to leave the space."""
    assert holder.stdin is not None
    holder.stdin.write(b"\n")


@pytest.mark.parametrize(
    ("first", "second", "waits"),
    [
        ("writing", "writing", False),
        ("writing", "alone", True),
        ("alone", "writing", True),
        ("alone", "alone", True),
    ],
)
def test_writers_work_side_by_side_and_upkeep_alone(
    tmp_path: Path, first: str, second: str, waits: bool
) -> None:
    space = make(tmp_path)
    released = tmp_path / "released"
    n_calls = 0
    with hold(space, first, released) as holder:

        def waiting() -> None:
            nonlocal n_calls
            n_calls += 1
            let_go(holder)

        with getattr(space, second)(waiting):
            assert n_calls == int(waits)
            assert released.exists() is waits
        if not waits:
            let_go(holder)
    assert holder.returncode == 0


def test_a_killed_writer_leaves_no_lock_and_its_leftovers_are_removed(tmp_path: Path) -> None:
    space = make(tmp_path)
    space.add(rows(), {"written": "x"})
    with hold(space, "writing", tmp_path / "released") as holder:
        (space.path / "shard-dead.h5-1.partial").write_bytes(b"half")
        with space.writing():
            assert list(space.path.glob("*.partial")), "a living writer's unfinished file stays"
        holder.kill()
    with space.writing():
        assert not list(space.path.glob("*.partial"))
    assert space.reopened().n_rows == 7


def test_a_first_run_that_fails_leaves_no_empty_space(tmp_path: Path) -> None:
    space = make(tmp_path / "cache")
    with pytest.raises(RuntimeError), space.writing():
        raise RuntimeError
    assert not (tmp_path / "cache").exists()


def test_a_damaged_memo_is_made_again(tmp_path: Path) -> None:
    for text in ("", "[1]", '{"a": 1}', "{"):
        (tmp_path / "memo.json").write_text(text)
        memo = Memo.load(tmp_path)
        assert memo.get("a") is None
        memo.put("a", "b")
        memo.save(tmp_path)
        assert Memo.load(tmp_path).get("a") == "b"
