"""Learning curves: parts of the rows that are nested and fair, and predictions that keep their
word.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from featcache.evidence.learning_curve import LearningCurve, fit_learning_curve
from featcache.tasks.strata import part_of


@settings(deadline=None, max_examples=100)
@given(data=st.data(), n_classes=st.integers(2, 5), seed=st.integers(0, 99))
def test_parts_are_nested_and_have_every_class(
    data: st.DataObject, n_classes: int, seed: int
) -> None:
    labels = np.array(
        [
            *range(n_classes),
            *data.draw(st.lists(st.integers(0, n_classes - 1), min_size=20, max_size=80)),
        ]
    )
    places = np.arange(len(labels)) * 3 + 7
    smaller = data.draw(st.integers(n_classes, len(labels) - 1))
    larger = data.draw(st.integers(smaller, len(labels)))
    small, large = (part_of(places, labels, count, seed=seed) for count in (smaller, larger))
    assert len(small) == smaller
    assert len(set(large.tolist())) == larger
    assert set(small.tolist()) <= set(large.tolist()) <= set(places.tolist())
    assert set(labels[(small - 7) // 3].tolist()) == set(range(n_classes))


def test_parts_have_the_classes_in_their_shares_and_another_seed_gives_other_rows() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    places = np.arange(1000)
    one, other = (part_of(places, labels, 200, seed=seed) for seed in (0, 1))
    assert np.abs(np.bincount(labels[one]) - [120, 60, 20]).max() <= 1
    assert set(one.tolist()) != set(other.tolist())
    with pytest.raises(ValueError, match="2 rows are not between 3 classes and 1000 rows"):
        part_of(places, labels, 2, seed=0)


SIZES = (62, 125, 250, 500, 1000)


def curve(
    limit: float, scale: float, rate: float, *, seed: int, noise: float = 0.1
) -> tuple[LearningCurve, float]:
    """What is fitted to four draws a size of a planted law, and a score measured with twice the
    rows.
    """
    generator = np.random.default_rng(seed)

    def score(rows: int) -> float:
        return float(limit - scale * rows**-rate + noise * generator.normal() * rows**-0.5)

    found = fit_learning_curve(
        SIZES, np.array([[score(rows) for _ in range(4)] for rows in SIZES]), pool=10 * SIZES[-1]
    )
    assert found is not None
    return found, score(2 * SIZES[-1])


def planted() -> list[tuple[LearningCurve, float]]:
    laws = [(0.95, 1.0, 0.5), (0.8, 1.5, 0.4), (0.99, 2.0, 0.6), (0.7, 0.05, 0.3), (0.9, 0.6, 0.2)]
    return [curve(*law, seed=seed) for law in laws for seed in range(20)]


def test_predictions_of_planted_laws_hold_as_often_as_they_say() -> None:
    cases = planted()
    inside = [
        interval.low <= truth <= interval.high
        for interval, truth in ((found.at(2 * SIZES[-1]), truth) for found, truth in cases)
    ]
    assert np.mean(inside) >= 0.9


def test_a_flat_curve_promises_little_and_a_steep_one_more() -> None:
    flat, _ = curve(0.8, 0.0, 0.5, seed=0)
    steep, _ = curve(0.95, 2.0, 0.4, seed=0)
    assert abs(flat.doubling.value) < 0.01
    assert steep.doubling.low > 0.005
    assert flat.doubling.low < 0 < flat.doubling.high
    at_twice, at_last = (steep.at(rows, measured=False).value for rows in (2000, 1000))
    assert steep.doubling.value == pytest.approx(at_twice - at_last, abs=2e-3)


def test_doubt_grows_beyond_the_last_size_and_no_score_is_above_one() -> None:
    found, _ = curve(1.0, 1.0, 0.5, seed=3)
    sizes, dense = zip(*found.dense(), strict=True)
    assert (sizes[0], sizes[-1]) == (62, 2000)
    widths = {size: one.high - one.low for size, one in zip(sizes, dense, strict=True)}
    far = found.at(64_000, measured=False)
    assert widths[2000] > min(widths.values())
    assert far.high - far.low > widths[2000]
    assert far.high <= 1.0


def test_a_single_draw_of_each_size_is_enough_for_a_wide_guess() -> None:
    sizes = np.array([50, 100, 200, 400])
    found = fit_learning_curve(sizes.tolist(), (0.9 - sizes**-0.5)[:, None])
    assert found is not None
    doubling = found.doubling
    assert doubling.low < 400**-0.5 - 800**-0.5 < doubling.high
    assert 0.002 < doubling.standard_error < 0.02


def test_draws_that_agree_do_not_make_a_score_certain() -> None:
    """Heads that call everything by one class score alike, until one day they do not."""
    sizes, scores = [100, 200, 400, 800], np.full((4, 3), 0.7)
    sure, doubted = (fit_learning_curve(sizes, scores, held_error=error) for error in (0.0, 0.01))
    assert sure is not None
    assert doubted is not None
    widths = [one.high - one.low for one in (sure.at(1600), doubted.at(1600))]
    assert widths[0] < 0.01 <= widths[1] < 0.03
    assert doubted.at(1600).value == pytest.approx(0.7, abs=0.005)


def test_two_sizes_are_no_curve_and_missing_draws_are_left_out() -> None:
    scores: NDArray[np.float64] = np.array([[0.5, 0.52], [0.6, np.nan]])
    assert fit_learning_curve([10, 20], scores) is None
    assert fit_learning_curve([10, 20, 40], np.vstack([scores, [np.nan, np.nan]])) is None
    found = fit_learning_curve([40, 10, 20], np.vstack([[0.7, np.nan], scores]))
    assert found is not None
    assert found.rows == (10, 20, 40)
    assert found.at(40, measured=False).value == pytest.approx(0.7, abs=0.02)
