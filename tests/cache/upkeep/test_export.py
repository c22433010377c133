"""Export: what NumPy and plain h5py read is what the space gives, in the order of the data."""

from __future__ import annotations

import contextlib
import errno
import json
from pathlib import Path
from unittest import mock

import h5py
import numpy as np
import pytest

import featcache
import featcache.durable
from featcache.cache.columns import CachedRows
from featcache.cache.space import Space
from featcache.data.keys import row_keys
from featcache.errors import CacheMissError, ContractError, DamageError, InputError, MachineError
from tests.cache.test_shard import rows
from tests.cache.test_space import make
from tests.cache.upkeep.tools import VIEWS, FailingDisk, flip, places_of
from tests.conftest import everything_below

TEXTS = ["a cat", "a dog", "the mat", "a house", "blue", "red", "never again"]


@pytest.fixture
def space(tmp_path: Path) -> Space:
    made = make(tmp_path / "cache")
    for seed, half in enumerate((TEXTS[:4], TEXTS[4:])):
        part = rows(len(half), seed=seed)
        made.add(
            CachedRows(row_keys(half), part.n_tokens, part.truncated, part.features),
            {"written": "x"},
        )
    return made.reopened()


def expected(
    space: Space, texts: list[str], view: str
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return space.gather(space.find(row_keys(texts)), layer=int(view[6:8]), pooling=view[9:])


@pytest.mark.parametrize("merged", [False, True])
def test_numpy_files_hold_the_rows_of_the_data_in_their_order_with_repeats(
    tmp_path: Path, space: Space, merged: bool
) -> None:
    if merged:
        featcache.merge(cache=tmp_path / "cache")
        space = space.reopened()
    data = ["red", "a cat", "red", "the mat"]
    out = tmp_path / "features"
    files = featcache.export(cache=tmp_path / "cache", out=out, data={"text": data})
    views = {f"{view.replace('/', '-')}.npy" for view in VIEWS}
    assert {path.name for path in files} == {
        "contract.json",
        "keys.npy",
        "n_tokens.npy",
        "truncated.npy",
        *views,
    }
    assert sorted(out.iterdir()) == sorted(files)
    for view in VIEWS:
        path = out / f"{view.replace('/', '-')}.npy"
        for got in (np.load(path), np.load(path, mmap_mode="r")):
            assert got.dtype == np.float16
            np.testing.assert_array_equal(got, expected(space, data, view))
    np.testing.assert_array_equal(np.load(out / "keys.npy"), row_keys(data))
    tokens, truncated = space.token_counts(space.find(row_keys(data)))
    np.testing.assert_array_equal(np.load(out / "n_tokens.npy"), tokens)
    np.testing.assert_array_equal(np.load(out / "truncated.npy"), truncated)
    assert json.loads((out / "contract.json").read_text()) == json.loads(space.contract.to_json())


def test_hdf5_is_one_plain_file(tmp_path: Path, space: Space) -> None:
    data = TEXTS[::-1] + TEXTS[:2]
    (path,) = featcache.export(
        cache=tmp_path / "cache", out=tmp_path / "sub" / "features.h5", data={"text": data}
    )
    with h5py.File(path, "r") as file:
        assert file.userblock_size == 0
        for view in VIEWS:
            np.testing.assert_array_equal(file[view][:], expected(space, data, view))
        np.testing.assert_array_equal(file["keys"][:], row_keys(data))
        assert json.loads(file.attrs["contract"])["max_length"] == 48
        assert set(file) == {"keys", "n_tokens", "truncated", "layer_00", "layer_02"}


def test_without_data_every_different_row_is_written_once(tmp_path: Path, space: Space) -> None:
    part = rows(4, seed=5)
    space.add(
        CachedRows(row_keys(TEXTS[:4]), part.n_tokens, part.truncated, part.features),
        {"written": "x"},
    )
    featcache.export(cache=tmp_path / "cache", out=tmp_path / "out")
    assert {bytes(key) for key in np.load(tmp_path / "out" / "keys.npy")} == {
        bytes(key) for key in row_keys(TEXTS)
    }
    assert len(np.load(tmp_path / "out" / "layer_02-cls.npy")) == 7


@pytest.mark.parametrize(
    ("layers", "pool", "views"),
    [
        ("last", "mean", {"layer_02-mean"}),
        ([0], None, {"layer_00-mean", "layer_00-cls"}),
        ("0,2", ["cls"], {"layer_00-cls", "layer_02-cls"}),
    ],
)
def test_layers_and_poolings_can_be_chosen(
    tmp_path: Path,
    space: Space,
    layers: str | list[int],
    pool: str | list[str] | None,
    views: set[str],
) -> None:
    featcache.export(
        space.name, cache=tmp_path / "cache", out=tmp_path / "out", layers=layers, pool=pool
    )
    assert {path.stem for path in (tmp_path / "out").glob("layer*")} == views


def test_layers_and_poolings_that_are_not_there_are_refused(tmp_path: Path, space: Space) -> None:
    assert space.n_rows == 7
    for layers, pool in (("1", None), ("all", "max")):
        with pytest.raises(ContractError, match="has no"):
            featcache.export(
                cache=tmp_path / "cache", out=tmp_path / "no", layers=layers, pool=pool
            )
    assert not (tmp_path / "no").exists()


def test_a_view_that_needs_32_bits_somewhere_has_them_everywhere(
    tmp_path: Path, space: Space
) -> None:
    part = rows(1, seed=5)
    part.features["layer_02/mean"][0, 0] = 1e6
    space.add(
        CachedRows(row_keys(["huge"]), part.n_tokens, part.truncated, part.features),
        {"written": "x"},
    )
    featcache.export(
        cache=tmp_path / "cache", out=tmp_path / "out", data={"text": ["blue", "huge"]}
    )
    assert np.load(tmp_path / "out" / "layer_02-mean.npy").dtype == np.float32
    assert np.load(tmp_path / "out" / "layer_02-mean.npy")[1, 0] == 1e6
    assert np.load(tmp_path / "out" / "layer_02-cls.npy").dtype == np.float16


def test_rows_that_are_not_cached_are_counted_with_the_command_that_adds_them(
    tmp_path: Path, space: Space
) -> None:
    with pytest.raises(
        CacheMissError, match=f"2 of 3 rows are not in space {space.name}"
    ) as caught:
        featcache.export(
            cache=tmp_path / "cache", out=tmp_path / "out", data={"text": ["new", "blue", "newer"]}
        )
    assert "featcache extract DATA --backbone models/tiny" in caught.value.cure
    assert not (tmp_path / "out").exists()


def test_a_space_without_rows_is_said_to_have_none(tmp_path: Path) -> None:
    make(tmp_path / "cache")
    for kind in ("numpy", "hdf5"):
        with pytest.raises(CacheMissError, match="holds no rows"):
            featcache.export(cache=tmp_path / "cache", out=tmp_path / "out", kind=kind)


@pytest.mark.parametrize("kind", ["numpy", "hdf5"])
def test_what_is_there_already_is_not_touched(tmp_path: Path, space: Space, kind: str) -> None:
    assert space.n_rows == 7
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("mine")
    before = everything_below(tmp_path)
    for out in ("file", "folder"):
        with pytest.raises(InputError, match=f"{out} exists already"):
            featcache.export(cache=tmp_path / "cache", out=tmp_path / out, kind=kind)
    assert everything_below(tmp_path) == before


def test_an_empty_folder_serves_numpy_and_not_hdf5(tmp_path: Path, space: Space) -> None:
    assert space.n_rows == 7
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="exists already"):
        featcache.export(cache=tmp_path / "cache", out=tmp_path / "out", kind="hdf5")
    featcache.export(cache=tmp_path / "cache", out=tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 8


@pytest.mark.parametrize("kind", ["numpy", "hdf5"])
def test_damage_is_an_error_and_leaves_nothing_half_written(
    tmp_path: Path, space: Space, kind: str
) -> None:
    path = space.shards[0].path
    flip(path, places_of(path, "layer_02/cls")[0])
    with pytest.raises(DamageError, match="layer_02/cls"):
        featcache.export(cache=tmp_path / "cache", out=tmp_path / "out", kind=kind)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["numpy", "hdf5"])
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, space: Space, kind: str) -> None:
    assert space.n_rows == 7
    out, failed, at = tmp_path / "out", True, 0
    while failed:
        disk = FailingDisk(at, OSError(errno.ENOSPC, "full"))
        with mock.patch.object(featcache.durable, "os", disk), contextlib.suppress(MachineError):
            featcache.export(cache=tmp_path / "cache", out=out, kind=kind)
        failed, at = disk.failed, at + 1
        if failed and out.is_dir():
            out.rmdir()  # an empty folder is in nobody's way
        elif failed and out.exists():  # it is whole, and only its folder could not be synced
            with h5py.File(out, "r") as file:
                assert len(file["keys"]) == 7
            out.unlink()
    assert at > 10
    assert out.exists()


def test_an_unknown_pooling_is_refused_before_anything_is_written(
    tmp_path: Path, space: Space
) -> None:
    with pytest.raises(InputError, match="pooling 'median'"):
        featcache.export(space.name, cache=tmp_path / "cache", out=tmp_path / "out", pool="median")
    assert not (tmp_path / "out").exists()
