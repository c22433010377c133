"""Rows drawn for an epoch: which classes, how often, and nothing made up."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from featcache.tasks.balance import BALANCES, drawn_rows

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=60)


@example(labels=[0] * 40 + [1] * 25, balance="undersample", seed=0)
@example(labels=[0] * 40 + [1] * 25, balance="oversample", seed=0)
@given(labels=LABELS, balance=st.sampled_from(BALANCES), seed=st.integers(0, 99))
def test_what_is_drawn_follows_its_rule(labels: list[int], balance: str, seed: int) -> None:
    truth = np.array(labels, dtype=np.int64)
    sizes = np.bincount(truth)
    there = sizes[sizes > 0]
    rows = drawn_rows(truth, balance, np.random.default_rng(seed))
    times = np.bincount(rows, minlength=len(truth))
    assert len(times) == len(truth)
    drawn = np.bincount(truth[rows], minlength=len(sizes))
    if balance == "oversample":
        assert times.min() >= 1
        assert (drawn[sizes > 0] == there.max()).all()
    elif balance == "undersample":
        assert times.max() == 1
        assert (drawn[sizes > 0] == there.min()).all()
    else:
        assert (times == 1).all()
    assert (drawn[sizes == 0] == 0).all()


@given(labels=LABELS, balance=st.sampled_from(BALANCES), seed=st.integers(0, 99))
def test_the_same_seed_draws_the_same_rows(labels: list[int], balance: str, seed: int) -> None:
    truth = np.array(labels, dtype=np.int64)
    first, again = (
        drawn_rows(truth, balance, np.random.default_rng(seed)).tolist() for _ in range(2)
    )
    assert first == again


def test_rows_are_shuffled_and_drawn_anew() -> None:
    """Batches of one class only would undo what balancing is for."""
    truth = np.repeat([0, 1], [90, 30])
    generator = np.random.default_rng(0)
    for balance in BALANCES:
        first, second = (drawn_rows(truth, balance, generator) for _ in range(2))
        assert 0.2 < truth[first[: len(first) // 2]].mean() / truth[first].mean() < 1.8
        assert not np.array_equal(first, second)
    left_out = [
        set(range(90)) - set(drawn_rows(truth, "undersample", generator).tolist()) for _ in range(2)
    ]
    assert left_out[0] != left_out[1]
