"""Merge: the same rows in one file that opens at once, whatever interrupts it and whoever reads
meanwhile.
"""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.cache import belonging
from featcache.cache import index as index_module
from featcache.cache.columns import CachedRows
from featcache.cache.index import SealedIndex, sealed_arrays
from featcache.cache.naming import SEALED
from featcache.cache.origin import BackboneOrigin
from featcache.cache.shard import Shard
from featcache.cache.space import Space
from featcache.cache.upkeep import merge as merge_module
from featcache.cache.upkeep import rewrite
from featcache.cache.upkeep.merge import Merged, merge
from featcache.errors import CacheMissError, DamageError, MachineError
from tests.cache.test_shard import rows
from tests.cache.test_space import make
from tests.cache.upkeep.tools import (
    FACTS,
    VIEWS,
    KilledError,
    at_every_call,
    filled,
    findings,
    flip,
    header_of,
    keys_of,
    places_of,
    quiet,
    served,
    truth_of,
)
from tests.conftest import everything_below


def merged(space: Space) -> Merged:
    """Merge a space; afterwards it has to be one sound, sealed file."""
    done = merge(space, progress=quiet)
    assert [path.name for path in space.path.glob("*.h5")] == [SEALED]
    assert findings(space.path) == ()
    assert done.bytes == (space.path / SEALED).stat().st_size
    return done


def test_every_row_is_bit_for_bit_what_it_was(tmp_path: Path) -> None:
    space, truth = filled(tmp_path)
    keys = keys_of(list(truth))
    tokens, truncated = space.token_counts(space.find(keys))
    done = merged(space)
    assert (done.rows, done.repeats, done.files) == (21, 0, 3)
    assert served(space.path, truth) == set(truth)
    now = space.reopened()
    for before, after in zip((tokens, truncated), now.token_counts(now.find(keys)), strict=True):
        np.testing.assert_array_equal(before, after)
    assert now.last_written == "2026-01-03T00:00:00+00:00"
    assert [facts["rows"] for facts in now.environments] == [21]


def test_sealed_and_new_files_merge_again_and_once_sealed_nothing_is_done(tmp_path: Path) -> None:
    space, truth = filled(tmp_path, sealed=True)
    before = (space.path / SEALED).read_bytes()
    assert merged(space).files == 0
    assert (space.path / SEALED).read_bytes() == before
    for seed in (7, 8):
        space.add(rows(seed=seed), {"written": "x"})
        truth |= truth_of(rows(seed=seed))
        assert served(space.path, truth) == set(truth)
    done = merged(space)
    assert (done.rows, done.files) == (35, 3)
    assert served(space.path, truth) == set(truth)


def test_a_space_without_rows_is_left_alone(tmp_path: Path) -> None:
    assert merge(make(tmp_path), progress=quiet).files == 0


@pytest.mark.parametrize("sealed", [False, True])
def test_of_repeated_rows_those_stay_that_were_served(tmp_path: Path, sealed: bool) -> None:
    space, truth = filled(tmp_path, sealed=sealed)
    first = rows(seed=0)
    space.add(
        CachedRows(first.keys, first.n_tokens, first.truncated, rows(seed=5).features),
        {"written": "x"},
    )
    space = space.reopened()
    views = [tuple(view.split("/")) for view in VIEWS]
    keys = keys_of(list(truth))
    before = [
        space.gather(space.find(keys), layer=int(layer[-2:]), pooling=pooling)
        for layer, pooling in views
    ]
    done = merged(space)
    assert (done.rows, done.repeats) == (21, 7)
    now = space.reopened()
    for expected, (layer, pooling) in zip(before, views, strict=True):
        np.testing.assert_array_equal(
            now.gather(now.find(keys), layer=int(layer[-2:]), pooling=pooling), expected
        )


def test_rows_of_either_width_merge_without_rounding(tmp_path: Path) -> None:
    space = make(tmp_path)
    small, large = rows(seed=0), rows(seed=1)
    large.features["layer_02/mean"][2, 3] = 70_000.123
    for part in (small, large):
        space.add(part, {"written": "x"})
    merged(space)
    space = space.reopened()
    dtypes = {view: space.shards[0].header.datasets[view].dtype.name for view in VIEWS}
    assert dtypes == {**dict.fromkeys(VIEWS, "float16"), "layer_02/mean": "float32"}
    for part, exact in ((small, False), (large, True)):
        for view in VIEWS:
            expected = part.features[view]
            got = space.gather(space.find(part.keys), layer=int(view[6:8]), pooling=view[9:])
            as_stored = (
                expected if exact and view == "layer_02/mean" else expected.astype(np.float16)
            )
            np.testing.assert_array_equal(got, as_stored)


@pytest.mark.parametrize("part", [*FACTS, *VIEWS, "header", "gaps"])
def test_a_damaged_shard_is_refused_and_nothing_is_changed(tmp_path: Path, part: str) -> None:
    space, _ = filled(tmp_path)
    path = max(space.path.glob("*.h5"))
    with space.writing():  # makes the lock files
        pass
    flip(path, places_of(path, part)[0])
    before = everything_below(tmp_path)
    with pytest.raises(DamageError, match="damaged") as caught:
        merge(space, progress=quiet)
    assert path.name in caught.value.what
    assert "repair" in caught.value.cure
    assert everything_below(tmp_path) == before


def test_a_disk_that_is_too_small_is_said_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, truth = filled(tmp_path)
    monkeypatch.setattr(merge_module, "free_bytes", lambda _: 100)
    with pytest.raises(MachineError, match=r"needs .* beside it, and 100 B are free"):
        merge(space, progress=quiet)
    assert served(space.path, truth) == set(truth)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "gone"), KilledError()], ids=str
)
def test_a_merge_that_is_cut_short_loses_nothing(tmp_path: Path, error: BaseException) -> None:
    space, truth = filled(tmp_path / "whole", sealed=True)
    for seed in (7, 8):
        space.add(rows(seed=seed), {"written": "x"})
        truth |= truth_of(rows(seed=seed))

    def prepare(number: int) -> Path:
        return Path(shutil.copytree(space.path, tmp_path / str(number) / space.name))

    def work(folder: Path) -> None:
        merge(Space.open(folder), progress=quiet)

    for folder in at_every_call(prepare, work, error):
        assert findings(folder) == ()
        assert served(folder, truth) == set(truth)
        if isinstance(error, OSError):
            assert not list(folder.glob("*.partial"))
        merged(Space.open(folder))
        assert served(folder, truth) == set(truth)
        shutil.rmtree(folder)


def test_a_sealed_file_goes_only_when_the_new_one_reads_back_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing memory or disk is played by a byte that changes after the file was written."""
    space, truth = filled(tmp_path, sealed=True)
    space.add(rows(seed=7), {"written": "x"})
    truth |= truth_of(rows(seed=7))
    for part in ("layer_00/cls", "index/entries", "header"):

        def spoiling(*arguments: object, part: str = part, **named: object) -> Path:
            path = rewrite.write_rows(*arguments, **named)  # type: ignore[arg-type]  # passed through
            flip(path, places_of(path, part)[0])
            return path

        monkeypatch.setattr(merge_module, "write_rows", spoiling)
        before = {path.name: path.read_bytes() for path in space.path.glob("*.h5")}
        with pytest.raises(MachineError, match="reads back otherwise"):
            merge(space, progress=quiet)
        assert {path.name: path.read_bytes() for path in space.path.glob("*.h5")} == before
        assert served(space.path, truth) == set(truth)


def test_a_reader_that_opened_before_reads_on(tmp_path: Path) -> None:
    for sealed in (False, True):
        space, truth = filled(tmp_path / str(sealed), sealed=sealed)
        space.add(rows(seed=7), {"written": "x"})
        reader = space.reopened()
        merged(space)
        keys = keys_of(list(truth))
        got = reader.gather(reader.find(keys), layer=2, pooling="cls")
        np.testing.assert_array_equal(
            got, np.array([states["layer_02/cls"] for states in truth.values()])
        )


@pytest.mark.parametrize("found_before", [False, True])
def test_a_reader_of_more_files_than_it_may_hold_open_is_right_or_told_to_start_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found_before: bool
) -> None:
    monkeypatch.setattr(belonging, "_HELD", 2)
    space, truth = filled(tmp_path)
    assert served(space.path, truth) == set(truth)
    reader = space.reopened()
    keys = keys_of(list(truth))
    positions = reader.find(keys) if found_before else np.arange(21)
    merged(space)
    with pytest.raises(CacheMissError, match="was removed while it was being read") as caught:
        reader.gather(positions, layer=2, pooling="cls")
    assert "Run the same command again" in caught.value.cure
    if not found_before:
        with pytest.raises(CacheMissError, match="was removed"):
            reader.find(keys)


def test_more_files_than_are_held_open_merge(tmp_path: Path) -> None:
    space, truth = filled(tmp_path, shards=131)
    assert merged(space).files == 131
    assert served(space.path, truth) == set(truth)


# -- the index -------------------------------------------------------------------------------------


def crowded_keys(n: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """`n` different keys in random order, a third of which share their first 8 bytes, blocks of
    them included.
    """
    generator = np.random.default_rng(n)
    keys = np.zeros((n, 16), np.uint8)
    keys[:, :8] = generator.integers(0, 256, (n, 8))
    keys[: n // 3, :8] = 0x7F
    keys[n // 3 : n // 2, :8] = 0xFF
    keys[:, 12:] = np.arange(n, dtype=">u4")[:, None].view(np.uint8).reshape(n, 4)
    return keys[generator.permutation(n)]


@pytest.mark.parametrize("n", [1, 2, 511, 512, 513, 1024, 1025, 3000])
def test_a_sealed_index_finds_every_key_and_no_other(tmp_path: Path, n: int) -> None:
    keys = crowded_keys(n)
    views = {view: np.full((n, 1), 0.5, np.float32) for view in VIEWS}
    views["layer_00/mean"] = np.arange(n, dtype=np.float32)[:, None] % 1024
    space = Space.create(
        tmp_path, "tiny", make(tmp_path / "x").contract, BackboneOrigin("m", 1, 2, 48)
    )
    for half in (slice(0, (n + 1) // 2), slice((n + 1) // 2, n)):
        if len(keys[half]):
            part = CachedRows(
                keys[half],
                np.full(len(keys[half]), 3, np.uint32),
                np.zeros(len(keys[half]), np.bool_),
                {name: states[half] for name, states in views.items()},
            )
            space.add(part, {"written": "x"})
    merged(space)
    space = space.reopened()
    positions = space.find(keys)
    assert sorted(positions) == list(range(n))
    np.testing.assert_array_equal(
        space.gather(positions, layer=0, pooling="mean"), views["layer_00/mean"]
    )
    for change in (
        (15, 0x80),
        (8, 1),
        (0, 1),
        (7, 1),
    ):  # after, between and before others with the same first half
        others = keys.copy()
        others[:, change[0]] ^= change[1]
        known = {bytes(key) for key in keys}
        expected = [bytes(key) in known for key in others]
        assert (space.find(others) >= 0).tolist() == expected
    assert space.find(np.empty((0, 16), np.uint8)).tolist() == []


@settings(deadline=None, max_examples=200)
@given(
    held=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=30),
    asked=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), max_size=12),
    block=st.integers(1, 5),
    seed=st.integers(0, 9),
)
def test_a_sealed_index_agrees_with_a_dictionary(
    held: set[tuple[int, int]], asked: list[tuple[int, int]], block: int, seed: int
) -> None:
    """Blocks of few entries, so that equal first halves go over several of them."""

    def keys(pairs: list[tuple[int, int]]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
        return keys_of(
            [high.to_bytes(8, "big") + low.to_bytes(8, "big") for high, low in pairs] or [b""]
        )

    order = [sorted(held)[place] for place in np.random.default_rng(seed).permutation(len(held))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_module, "BLOCK", block)
        found = SealedIndex(*sealed_arrays(keys(order)), ValueError).find(keys(asked))
    assert found.tolist() == [order.index(pair) if pair in held else -1 for pair in asked]


def test_a_damaged_block_of_the_index_is_an_error_and_never_a_miss(tmp_path: Path) -> None:
    n = 1500
    keys = crowded_keys(n)
    space = Space.create(
        tmp_path, "tiny", make(tmp_path / "x").contract, BackboneOrigin("m", 1, 2, 48)
    )
    views = {view: np.ones((n, 1), np.float32) for view in VIEWS}
    space.add(
        CachedRows(keys, np.ones(n, np.uint32), np.zeros(n, np.bool_), views), {"written": "x"}
    )
    merged(space)
    path = space.path / SEALED
    good = path.read_bytes()
    extents = header_of(path).datasets
    entries = np.asarray(Shard.open(path).read("index/entries")).copy()
    for block in range(3):
        flip(path, extents["index/entries"].offset + block * 512 * 24 + 24 * 100 + 2)
        for row in range(0, n, 50):
            key = entries[row, :2].astype(">u8").view(np.uint8).reshape(1, 16)
            try:
                found = Space.open(space.path).find(key)
            except DamageError as error:
                assert f"block {block} of its index" in error.what  # either is right
            else:
                assert found.tolist() == [entries[row, 2]]
        with pytest.raises(DamageError, match=f"block {block} of its index"):
            Space.open(space.path).find(keys)
        path.write_bytes(good)
    for name in ("index/first", "index/checksums"):
        flip(path, extents[name].offset)
        with pytest.raises(DamageError, match=f"{name} does not match"):
            Space.open(space.path).find(keys[:1])
        path.write_bytes(good)
