"""A short form of the honesty simulation; `benchmarks/honesty.py` runs it in full."""

from __future__ import annotations

from tests.search.honesty import Gap, measured


def test_the_reported_score_is_true_and_one_chosen_on_test_rows_is_too_high() -> None:
    found = measured(30)
    assert found.holds, found
    assert found.runs == 30
    assert found.by_test.mean > found.honest.mean + 0.03
    assert 0.55 < found.honest.true < 0.8


def test_a_gap_is_the_mean_difference_with_its_standard_error() -> None:
    gap = Gap.of([0.5, 0.7, 0.9], [0.4, 0.7, 0.7])
    assert (round(gap.mean, 9), round(gap.standard_error, 9)) == (0.1, round(0.1 / 3**0.5, 9))
    assert (round(gap.reported, 9), round(gap.true, 9)) == (0.7, 0.6)
