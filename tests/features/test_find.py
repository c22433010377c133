"""Which space serves when several could: the widest of those that differ only in views."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import featcache
from featcache.cache.contract import Contract
from featcache.cache.space import Space
from featcache.data.keys import row_keys
from featcache.data.parts import LabelledRows
from featcache.errors import SpaceChoiceError
from featcache.features.find import find_space
from featcache.features.serving import widest_of_alike, widest_without_a_default
from featcache.progress import Silent
from tests.cache.test_shard import contract
from tests.conftest import sentences

TEXTS = sentences(20, seed=3)


def extract(backbone: Path, cache: Path, texts: list[str], **options: Any) -> str:
    """Extract texts; returns the name of the space."""
    options = {"dtype": "float32", **options}
    return featcache.extract(texts, backbone=backbone, cache=cache, **options).space


def find(cache: Path, texts: list[str] = TEXTS, **options: Any) -> Space:
    """Find the space that holds the texts."""
    parts = [LabelledRows(["rows.csv"] * len(texts), texts, row_keys(texts), ["a"] * len(texts))]
    request = {"backbone": None, "name": None, "layers": None, "pool": None, **options}
    return find_space(cache, parts, **request)


def test_the_widest_space_that_holds_all_rows_serves(encoder: Path, tmp_path: Path) -> None:
    narrow = extract(encoder, tmp_path, TEXTS, layers="2", pool="max")
    wide = extract(encoder, tmp_path, TEXTS[:9], layers="1,2", pool="mean,max")
    assert find(tmp_path).name == narrow, "the wide one does not hold all rows"
    assert find(tmp_path, TEXTS[:9]).name == wide
    assert extract(encoder, tmp_path, TEXTS, layers="1,2", pool="mean,max") == wide
    assert find(tmp_path).name == wide
    assert find(tmp_path, layers="2", pool="max").name == wide
    assert find(tmp_path, name=narrow).name == narrow


def test_spaces_that_differ_in_more_or_are_equally_wide_have_to_be_named(
    encoder: Path, tmp_path: Path
) -> None:
    mean = extract(encoder, tmp_path, TEXTS, layers="2", pool="mean")
    extract(encoder, tmp_path, TEXTS, layers="2", pool="max")
    with pytest.raises(SpaceChoiceError, match="they differ in poolings"):
        find(tmp_path)
    assert find(tmp_path, pool="mean").name == mean
    extract(encoder, tmp_path, TEXTS, layers="1,2", pool="mean", max_length=9)
    with pytest.raises(SpaceChoiceError, match="several spaces fit"):
        find(tmp_path, pool="mean")


class Notes(Silent):
    """Keeps the notes of a verb."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_without_pool_a_space_that_lacks_a_default_pooling_is_used_and_this_is_said(
    encoder: Path, tmp_path: Path
) -> None:
    notes = Notes()
    mean = extract(encoder, tmp_path, TEXTS[:9], pool="mean", progress=notes)
    assert notes.notes == []
    assert extract(encoder, tmp_path, TEXTS, progress=notes) == mean
    (note,) = notes.notes
    assert f"{mean} is used although it lacks the default pooling cls" in note
    assert "--pool mean,cls" in note
    assert find(tmp_path).name == mean
    both = extract(encoder, tmp_path, TEXTS[:5], pool="mean,cls", progress=notes)
    assert both != mean
    assert extract(encoder, tmp_path, TEXTS[:5], progress=notes) == both
    assert len(notes.notes) == 1, "a space with both poolings goes first and needs no note"


@pytest.mark.parametrize(
    "options", [{"pool": "max"}, {"pool": "mean", "layers": "1"}, {"pool": "mean", "max_length": 9}]
)
def test_a_space_that_lacks_more_than_one_default_pooling_is_not_used(
    encoder: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    other, notes = extract(encoder, tmp_path, TEXTS, **options), Notes()
    assert extract(encoder, tmp_path, TEXTS, progress=notes) != other
    assert notes.notes == []


def paths_of(*contracts: Contract) -> dict[Path, Contract]:
    return {Path(str(number)): one for number, one in enumerate(contracts)}


def test_only_spaces_that_are_alike_are_compared_by_width() -> None:
    wide = contract()
    narrow = replace(wide, layers=wide.layers[:1])
    assert widest_of_alike(paths_of(wide)) == Path("0")
    assert widest_of_alike(paths_of(narrow, wide)) == Path("1")
    assert widest_of_alike(paths_of(wide, replace(narrow, max_length=7))) is None
    assert widest_of_alike(paths_of(narrow, replace(wide, layers=wide.layers[1:]))) is None


def test_how_many_layers_are_needed_depends_on_the_poolings_of_the_space() -> None:
    """With fewer poolings "auto" means more layers, which need not include those for more."""
    requested = replace(contract(), layers=(0, 4, 8), poolings=("mean", "cls"))
    layers_for = {1: (0, 3, 5, 8), 2: (0, 4, 8)}.__getitem__
    one = replace(requested, layers=(0, 3, 5, 8), poolings=("mean",))
    two = replace(requested, poolings=("mean", "max"))
    assert widest_without_a_default(paths_of(one), requested, layers_for) == Path("0")
    assert widest_without_a_default(paths_of(two), requested, layers_for) == Path("0")
    other = replace(one, layers=(0, 4, 8))
    assert widest_without_a_default(paths_of(other), requested, layers_for) is None
