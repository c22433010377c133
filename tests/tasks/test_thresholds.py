"""Offsets: never worse than none, the best there is for two classes, and a planted shift found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from featcache.tasks import thresholds
from featcache.tasks.metrics import score
from featcache.tasks.thresholds import macro_f1, tuned_offsets


def f1(truth: Any, predicted: Any) -> float:
    return float(f1_score(truth, predicted, average="macro", zero_division=0))


@st.composite
def cases(draw: st.DrawFn, *, n_classes: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Logits in float32, often level (multiples of 1/4) and often good, and any true classes."""
    n_rows, width = draw(st.integers(1, 40)), n_classes or draw(st.integers(2, 5))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    truth = generator.integers(0, draw(st.integers(1, width)), n_rows)
    logits = (
        generator.standard_normal((n_rows, width))
        + draw(st.sampled_from([0, 1, 3])) * np.eye(width)[truth]
    )
    if draw(st.booleans()):
        logits = np.round(4 * logits) / 4
    return logits.astype(np.float32), truth


@pytest.mark.parametrize("candidates", [3, 256])
@given(case=cases())
def test_offsets_never_score_lower_than_none(
    candidates: int, case: tuple[np.ndarray, np.ndarray]
) -> None:
    logits, truth = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thresholds, "_CANDIDATES", candidates)
        offsets = tuned_offsets(logits, truth)
    before, after = f1(truth, logits.argmax(axis=1)), f1(truth, (logits + offsets).argmax(axis=1))
    assert offsets.dtype == np.float64
    assert offsets.shape == (logits.shape[1],)
    assert offsets[0] == 0
    assert after >= before
    if after <= before + 1e-9:
        assert not offsets.any()


@given(case=cases(n_classes=2))
def test_two_classes_get_the_best_threshold_there_is(case: tuple[np.ndarray, np.ndarray]) -> None:
    logits, truth = case
    gaps = logits[:, 0].astype(np.float64) - logits[:, 1]
    highest = max(f1(truth, gaps < offset) for offset in [*gaps, gaps.max() + 1])
    assert f1(truth, (logits + tuned_offsets(logits, truth)).argmax(axis=1)) == pytest.approx(
        highest
    )


@given(case=cases())
def test_the_counts_macro_f1_is_that_of_the_sweep(case: tuple[np.ndarray, np.ndarray]) -> None:
    logits, truth = case
    n_classes = logits.shape[1]
    predicted = logits.argmax(axis=1)
    hits, given_, support = (
        np.bincount(rows, minlength=n_classes)
        for rows in (truth[truth == predicted], predicted, truth)
    )
    found = macro_f1(hits[None], given_[None], support)
    assert found.tolist() == pytest.approx([score("macro_f1", truth, predicted, n_classes)])


@given(case=cases())
def test_another_metric_may_be_asked(case: tuple[np.ndarray, np.ndarray]) -> None:
    """Accuracy, with each class's true rows as what it is a share of."""
    logits, truth = case
    offsets = tuned_offsets(
        logits, truth, metric=lambda hits, _given, support: hits.sum(axis=1) / support.sum()
    )
    assert np.mean((logits + offsets).argmax(axis=1) == truth) >= np.mean(
        logits.argmax(axis=1) == truth
    )


def shifted(n_rows: int, *, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Good logits of four classes, of which one is rare, the same with planted offsets, and the
    true classes.
    """
    generator = np.random.default_rng(seed)
    truth = generator.choice(4, n_rows, p=[0.4, 0.3, 0.25, 0.05])
    good = generator.standard_normal((n_rows, 4)) + 4 * np.eye(4)[truth]
    return good, good + np.array([0.0, 3.0, -1.0, -3.0]), truth


def test_planted_offsets_are_undone_and_hold_on_other_rows() -> None:
    _, logits, truth = shifted(1000, seed=0)
    offsets = tuned_offsets(logits, truth)
    assert offsets == pytest.approx([0.0, -3.0, 1.0, 3.0], abs=0.8)
    good, others, labels = shifted(4000, seed=1)
    before, after = f1(labels, others.argmax(axis=1)), f1(labels, (others + offsets).argmax(axis=1))
    assert before < 0.8
    assert after > f1(labels, good.argmax(axis=1)) - 0.02


def test_more_rows_than_candidates_lose_little(monkeypatch: pytest.MonkeyPatch) -> None:
    _, logits, truth = shifted(3000, seed=2)
    quick = f1(truth, (logits + tuned_offsets(logits, truth)).argmax(axis=1))
    monkeypatch.setattr(thresholds, "_CANDIDATES", 100_000)
    assert quick >= f1(truth, (logits + tuned_offsets(logits, truth)).argmax(axis=1)) - 0.005


def test_an_offset_lies_midway_between_the_rows_it_parts() -> None:
    """Both rows read as class 0; any offset of class 1 in (1, 2) parts them."""
    logits = np.array([[1.0, 0.0], [2.0, 0.0]])
    assert tuned_offsets(logits, np.array([1, 0])).tolist() == [0.0, 1.5]


@pytest.mark.parametrize("side", [0, 1])
def test_of_equally_good_offsets_the_nearest_to_none_is_taken(side: int) -> None:
    """Offsets of 1.5 and 3.5 both leave one row of four wrong, one of each class: (4/5
    + 2/3) / 2.
    """
    logits = np.zeros((4, 2))
    logits[:, side] = [1, 2, 3, 4]
    truth = np.array([1, 0, 1, 0]) if side == 0 else np.array([0, 1, 0, 1])
    assert tuned_offsets(logits, truth).tolist() == [0.0, 1.5 if side == 0 else -1.5]


def test_nothing_to_gain_leaves_the_logits_alone() -> None:
    logits = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert tuned_offsets(logits, np.array([0, 1, 2])).tolist() == [0.0, 0.0, 0.0]


@settings(max_examples=10)
@given(seed=st.integers(0, 100))
def test_the_order_of_the_rows_does_not_matter(seed: int) -> None:
    _, logits, truth = shifted(200, seed=seed)
    order = np.random.default_rng(seed).permutation(200)
    assert (
        tuned_offsets(logits[order], truth[order]).tolist() == tuned_offsets(logits, truth).tolist()
    )
