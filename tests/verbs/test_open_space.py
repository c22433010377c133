"""Reading features from Python: arrays for texts, and batches that are read when they are asked
for.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import featcache
from featcache.errors import CacheMissError, ContractError, InputError
from featcache.features.opened import FeatureSpace
from tests.conftest import sentences

TEXTS = sentences(60, seed=1)


@pytest.fixture(scope="module")
def space(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> FeatureSpace:
    cache = tmp_path_factory.mktemp("batches") / "cache"
    featcache.extract(TEXTS, backbone=encoder, cache=cache, shard_rows=17)
    return featcache.open_space(cache=cache)


@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_hold_every_row_once_and_are_what_features_gives(
    space: FeatureSpace, shuffle: bool
) -> None:
    texts = [*TEXTS[5:40], TEXTS[7]]
    expected = space.features(texts, layer=2, pooling="cls")
    batches = list(space.batches(texts, layer=2, pooling="cls", batch_size=10, shuffle=shuffle))
    assert [len(one["row"]) for one in batches] == [10, 10, 10, 6]
    rows = np.concatenate([one["row"] for one in batches])
    assert (rows.tolist() != list(range(36))) is shuffle
    assert sorted(rows.tolist()) == list(range(36))
    np.testing.assert_array_equal(
        np.concatenate([one["features"] for one in batches]), expected[rows]
    )


def test_the_order_is_the_seed_s(space: FeatureSpace) -> None:
    def order(seed: int) -> list[int]:
        found = space.batches(TEXTS, layer=0, pooling="mean", shuffle=True, seed=seed)
        return [int(row) for one in found for row in one["row"]]

    assert order(1) == order(1) != order(2)


def test_without_texts_all_rows_of_the_space_come_once(space: FeatureSpace) -> None:
    batches = list(space.batches(layer=1, pooling="mean", batch_size=7))
    found = np.concatenate([one["features"] for one in batches])
    expected = space.features(TEXTS, layer=1, pooling="mean")
    np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(expected, axis=0))


def test_what_cannot_be_read_is_said_before_the_first_batch(space: FeatureSpace) -> None:
    with pytest.raises(CacheMissError, match="1 of 2 texts are not in space"):
        space.batches(["an unseen river", TEXTS[0]], layer=1, pooling="mean")
    with pytest.raises(ContractError, match="has no max of layer 1"):
        space.batches(TEXTS, layer=1, pooling="max")
    with pytest.raises(InputError, match="batch_size 0 is not a number of rows"):
        space.batches(TEXTS, layer=1, pooling="mean", batch_size=0)


def test_a_copied_and_a_moved_cache_stay_valid(
    space: FeatureSpace, encoder: Path, tmp_path: Path
) -> None:
    import shutil

    copy = shutil.copytree(space.space.path.parent, tmp_path / "copy")
    moved = copy.rename(tmp_path / "moved")
    assert featcache.extract(TEXTS, backbone=encoder, cache=moved).hits == len(TEXTS)
    assert [one.findings for one in featcache.verify(cache=moved)] == [()]
