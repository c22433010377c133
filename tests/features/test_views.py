"""Which views there are, and which candidates: nothing twice, nothing too wide, the plain ones
always there.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from featcache.features.views import VIEWS, View, reference_view, views_of
from featcache.search.candidates import (
    DROPOUTS,
    LEARNING_RATES,
    SEARCHES,
    TRIALS,
    WEIGHT_DECAYS,
    Candidates,
    base_recipe,
    shapes_of,
)
from tests.search.planted import LINEAR, LOGREG, mlp

LAYERS = st.sets(st.integers(0, 99), min_size=1, max_size=60).map(sorted)
POOLINGS = st.lists(st.sampled_from(["mean", "cls", "last", "max"]), min_size=1, unique=True)
KINDS = st.lists(st.sampled_from(VIEWS), min_size=1, unique=True)


@given(layers=LAYERS, poolings=POOLINGS, width=st.integers(1, 8192), kinds=KINDS)
def test_views_are_of_what_there_is_and_no_two_are_alike(
    layers: list[int], poolings: list[str], width: int, kinds: list[str]
) -> None:
    views = views_of(layers, poolings, width, kinds)
    assert len(set(views)) == len(views)
    first = "mean" if "mean" in poolings else poolings[0]
    for view in views:
        assert set(view.layers) <= set(layers)
        assert list(view.layers) == sorted(set(view.layers))
        assert set(view.poolings) <= set(poolings)
        if not view.single:
            assert view.layers[-1] == layers[-1]
        if len(view.layers) > 1:
            assert view.poolings == (first,)
    singles = {View((layer,), (pooling,)) for layer in layers for pooling in poolings}
    assert {view for view in views if view.single} == (singles if "single" in kinds else set())
    assert sum(view.mixed for view in views) == ("mix" in kinds and len(layers) > 1)
    if "mix" in kinds and len(layers) > 1:
        (mix,) = [view for view in views if view.mixed]
        assert len(mix.layers) == min(len(layers), max(2, 8192 // width))
    assert (View((layers[-1],), tuple(poolings)) in views) == (
        ("poolings" in kinds and 1 < len(poolings) <= max(2, 8192 // width))
        or ("single" in kinds and len(poolings) == 1)
    )


@given(layers=LAYERS, width=st.integers(1, 8192))
def test_layers_side_by_side_are_as_many_as_8192_inputs_hold(layers: list[int], width: int) -> None:
    """But two at least; evenly spaced; and the last four beside them, where there are more than
    five.
    """
    views = views_of(layers, ["mean"], width, ["layers"])
    if len(layers) == 1:
        assert views == []
        return
    spread = views[0]
    assert len(spread.layers) == min(len(layers), max(2, 8192 // width))
    assert len(spread.layers) * width <= max(8192, 2 * width)
    assert spread.layers[0] == layers[0]
    places = [layers.index(layer) for layer in spread.layers]
    steps = {after - before for before, after in pairwise(places)}
    assert max(steps) - min(steps) <= 1
    four = View(tuple(layers[-4:]), ("mean",))
    assert (four in views) == ((len(layers) > 5 and 4 * width <= 8192) or spread == four)
    assert len(views) <= 2


@pytest.mark.parametrize(
    ("view", "name"),
    [
        (View((3,), ("mean",)), "layer 3 mean"),
        (View((2, 3, 4), ("mean",)), "layers 2–4 mean"),
        (View((0, 4, 6), ("cls",)), "layers 0,4,6 cls"),
        (View((6,), ("mean", "cls")), "layer 6 mean+cls"),
        (View((0, 1), ("mean",), mixed=True), "mix of layers 0–1 mean"),
    ],
)
def test_a_view_is_named_by_what_it_holds(view: View, name: str) -> None:
    assert str(view) == name


def test_the_reference_is_the_last_layer_s_mean_or_its_first_pooling() -> None:
    assert reference_view([0, 3, 6], ["cls", "mean"]) == View((6,), ("mean",))
    assert reference_view([0, 3], ["last", "max"]) == View((3,), ("last",))


# -- candidates ------------------------------------------------------------------------------------


def candidates(n_layers: int = 3, seed: int = 0, widths: tuple[int, ...] = (64, 256)) -> Candidates:
    views = views_of(range(n_layers), ["mean", "cls"], 32)
    heads = shapes_of(["linear", "mlp", "logreg"], [1, 2], widths, mlp(1, 1))
    return Candidates(tuple(views), tuple(heads), base_recipe(500, seed=seed))


@settings(max_examples=40)
@given(
    n_layers=st.integers(1, 30),
    seed=st.integers(0, 99),
    search=st.sampled_from(["halving", "random", "grid"]),
    count=st.sampled_from([None, 1, 5, 100, 128, 300]),
)
def test_as_many_candidates_as_were_asked_for_and_none_twice(
    n_layers: int, seed: int, search: str, count: int | None
) -> None:
    given_space = candidates(n_layers, seed)
    found = given_space.asked_for(search, count)
    assert len(set(found)) == len(found)
    grid = given_space.grid()
    if search == "grid":
        assert len(found) == (len(grid) if count is None else min(count, len(grid)))
        assert set(found) <= set(grid)
    else:
        assert len(found) == (count or TRIALS)
    assert found == given_space.asked_for(search, count)
    for one in found:
        assert (one.recipe is None) == (one.head == LOGREG)
        assert not (one.view.mixed and one.head == LOGREG)
        assert one.view in given_space.views
        assert one.head in given_space.heads


def test_the_usual_search_is_the_grid_filled_up_with_draws() -> None:
    grid, found = candidates().grid(), candidates().asked_for("halving", None)
    assert len(grid) == 9 * 6 - 1 < TRIALS == len(found)
    assert found[: len(grid)] == grid
    for one in found[len(grid) :]:
        assert one.recipe is not None
        assert LEARNING_RATES[0] <= one.recipe.learning_rate <= LEARNING_RATES[1]
        assert WEIGHT_DECAYS[0] <= one.recipe.weight_decay <= WEIGHT_DECAYS[1]
        assert one.recipe.dropout in (DROPOUTS if one.head.depth else (one.recipe.dropout,))
    drawn = {one.recipe.learning_rate for one in found[len(grid) :] if one.recipe}
    assert len(drawn) == len(found) - len(grid)


@pytest.mark.parametrize("count", [1, 2, 6, 20, 50])
def test_few_trials_are_not_all_of_the_simplest_head_on_the_first_layers(count: int) -> None:
    given_space = candidates(25)
    found = given_space.asked_for("halving", count)
    assert len(found) == len(set(found)) == count
    simplest = [one.view for one in found if one.head == LINEAR]
    assert [view for view in given_space.views if view.single][-1] in simplest
    assert count == 1 or {one.head for one in found} != {LINEAR}


@pytest.mark.parametrize("search", ["halving", "grid"])
def test_of_a_grid_that_is_too_large_the_simplest_head_is_tried_on_every_single_view(
    search: str,
) -> None:
    given_space = candidates(25)
    found = given_space.asked_for(search, TRIALS)
    assert len(given_space.grid()) > TRIALS == len(found)
    assert {one.view for one in found if one.head == LINEAR} >= {
        view for view in given_space.views if view.single
    }
    assert {one.head for one in found} == set(given_space.heads)
    without = replace(
        given_space, heads=tuple(mlp(depth, width) for depth in (2, 1) for width in (8, 4))
    )
    assert {one.view for one in without.asked_for(search, 60) if one.head == mlp(1, 4)} >= {
        view for view in given_space.views if view.single
    }


def test_another_seed_draws_others() -> None:
    assert candidates(seed=0).asked_for("random", 20) != candidates(seed=1).asked_for("random", 20)
    assert candidates(25, seed=0).asked_for("grid", 99) != candidates(25, seed=1).asked_for(
        "grid", 99
    )


def factory(n_inputs: int, n_classes: int) -> nn.Module:
    return nn.Linear(n_inputs, n_classes)


@pytest.mark.parametrize("search", [one for one in SEARCHES if one != "optuna"])
def test_heads_that_are_code_are_tried_by_every_search_on_views_that_are_not_mixed(
    search: str,
) -> None:
    given_space = replace(candidates(), heads=(), factories=(factory,))
    found = given_space.asked_for(search, 8)
    assert len(found) == 8
    assert all(
        one.factory is factory and one.head.kind == "custom" and not one.view.mixed for one in found
    )


@pytest.mark.parametrize(
    ("n_rows", "size"), [(1, 8), (100, 8), (500, 31), (2048, 128), (10**6, 128)]
)
def test_few_rows_come_in_small_batches(n_rows: int, size: int) -> None:
    assert base_recipe(n_rows, seed=0).batch_size == size
