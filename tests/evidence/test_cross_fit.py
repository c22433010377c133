"""Arms: what choosing among heads gives on rows that had no part in the choice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from featcache.evidence.cross_fit import Gain, cross_fit, gain_over, permutation_test
from featcache.heads.setup import TrainingSetup
from featcache.search.trial import Trial
from tests.search.planted import LOGREG, ONE, grid, searched, sweep_of

ROWS = 600


@pytest.fixture(scope="module")
def world() -> tuple[TrainingSetup, Trial]:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, ROWS)
    sweep = sweep_of(
        {ONE: generator.standard_normal((ROWS, 3))}, labels, train=ROWS // 2, held=ROWS // 2
    )
    return sweep, searched(sweep, grid(sweep, [ONE], LOGREG))[0]


def answering(world: tuple[TrainingSetup, Trial], right: np.ndarray, **changes: Any) -> Trial:
    """A trial that is right on these held rows, (V,) or (S, V)."""
    sweep, trial = world
    predicted = np.atleast_2d(np.where(right, sweep.truth, 1 - sweep.truth))
    score = {"accuracy": float(np.mean(right))}
    return replace(trial, predicted=predicted, validation=score, train=score, **changes)


def test_of_forty_guesses_the_best_looks_good_and_its_arm_does_not(
    world: tuple[TrainingSetup, Trial],
) -> None:
    generator = np.random.default_rng(1)
    looks, arms = [], []
    for _ in range(20):
        guesses = [answering(world, generator.random(ROWS // 2) < 0.5) for _ in range(40)]
        looks.append(max(one.validation["accuracy"] for one in guesses))
        arms.append(cross_fit(guesses, world[0]).score)
    assert np.mean(looks) > 0.55
    assert abs(np.mean(arms) - 0.5) < 3 * np.std(arms) / np.sqrt(20)


def test_a_head_that_is_better_is_found_by_all_groups(world: tuple[TrainingSetup, Trial]) -> None:
    generator = np.random.default_rng(2)
    heads = [
        answering(world, generator.random(ROWS // 2) < share) for share in (0.5, 0.5, 0.8, 0.5)
    ]
    arm = cross_fit(heads, world[0])
    assert arm.best is heads[2]
    np.testing.assert_array_equal(arm.predicted, heads[2].predicted)
    assert arm.score == pytest.approx(heads[2].validation["accuracy"])


def test_an_effect_is_the_paired_difference_with_its_error(
    world: tuple[TrainingSetup, Trial],
) -> None:
    """30 of 300 rows more, all of them rows that the other has wrong: sqrt(p (1 - p) / n) of p =
    0.1.
    """
    right = np.arange(ROWS // 2) < 180
    arms = [
        cross_fit([answering(world, one)], world[0]) for one in (right, np.arange(ROWS // 2) < 150)
    ]
    found = gain_over(arms[0], arms[1], world[0])
    assert found.value == pytest.approx(0.1)
    assert found.standard_error == pytest.approx(np.sqrt(0.1 * 0.9 / 300), rel=0.1)
    assert gain_over(arms[1], arms[0], world[0]).value == pytest.approx(-0.1)


def test_seeds_that_differ_widen_the_error(world: tuple[TrainingSetup, Trial]) -> None:
    steady = np.tile(np.arange(ROWS // 2) < 180, (2, 1))
    moving = np.stack([np.arange(ROWS // 2) < 210, np.arange(ROWS // 2) < 150])
    other = cross_fit([answering(world, np.arange(ROWS // 2) < 120)], world[0])
    errors = [
        gain_over(cross_fit([answering(world, one)], world[0]), other, world[0]).standard_error
        for one in (steady, moving)
    ]
    assert errors[1] > 2 * errors[0]


def test_heads_of_one_seed_stand_beside_heads_of_two(world: tuple[TrainingSetup, Trial]) -> None:
    one = answering(world, np.arange(ROWS // 2) < 120)
    two = answering(world, np.tile(np.arange(ROWS // 2) < 240, (2, 1)))
    arm = cross_fit([one, two], world[0])
    assert arm.predicted.shape == (2, ROWS // 2)
    assert arm.best is two


def test_a_gain_counts_from_a_point_and_two_errors_on() -> None:
    assert Gain(0.03, 0.014).is_significant()
    assert not Gain(0.03, 0.016).is_significant()
    assert not Gain(0.009, 0.001).is_significant()
    assert Gain(0.03, 0.02).is_significant(1.0)


def test_the_simplest_head_within_a_point_of_the_best(world: tuple[TrainingSetup, Trial]) -> None:
    def head(right: int, n_parameters: int, epochs: int) -> Trial:
        return answering(
            world,
            np.arange(ROWS // 2) < right,
            n_parameters=n_parameters,
            settings={"epochs": epochs},
        )

    best, close, quick, small = (
        head(240, 90, 9),
        head(238, 50, 9),
        head(238, 50, 3),
        head(230, 10, 1),
    )
    assert cross_fit([best, close, quick, small], world[0]).simplest(world[0]) is quick


def test_chance_knows_guessing_from_a_little_signal(world: tuple[TrainingSetup, Trial]) -> None:
    generator = np.random.default_rng(3)
    p_value, guessed = permutation_test(
        cross_fit([answering(world, generator.random(ROWS // 2) < 0.5)], world[0]), world[0]
    )
    assert p_value > 0.05
    assert guessed == pytest.approx(0.5, abs=0.02)
    p_value, _ = permutation_test(
        cross_fit([answering(world, np.arange(ROWS // 2) < 195)], world[0]), world[0]
    )
    assert p_value < 0.001


def test_one_class_for_all_rows_is_guessing(world: tuple[TrainingSetup, Trial]) -> None:
    sweep, _ = world
    p_value, _ = permutation_test(cross_fit([answering(world, sweep.truth == 1)], sweep), sweep)
    assert p_value == 0.5
