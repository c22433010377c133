"""Temperature against a fine grid, calibration error against a plain loop, planted overconfidence
recovered.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from featcache.tasks.calibration import expected_calibration_error, temperature
from featcache.tasks.single_label import softmax


def calibrated(n_rows: int, n_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, C), and true classes drawn by the probabilities that they give."""
    generator = np.random.default_rng(seed)
    logits = 2 * generator.standard_normal((n_rows, n_classes))
    below = softmax(logits).cumsum(axis=1) < generator.random((n_rows, 1))
    return logits, below.sum(axis=1).clip(0, n_classes - 1)


def brute_force_error(probabilities: np.ndarray, truth: np.ndarray, n_bins: int) -> float:
    total = 0.0
    for number in range(n_bins):
        rows = [
            (row.max(), row.argmax() == label)
            for row, label in zip(probabilities, truth, strict=True)
            if number / n_bins < row.max() <= (number + 1) / n_bins
        ]
        if rows:
            confidence, right = (np.mean(column) for column in zip(*rows, strict=True))
            total += len(rows) / len(truth) * abs(right - confidence)
    return total


@pytest.mark.parametrize("factor", [1 / 3, 1.0, 3.0])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_planted_overconfidence_is_recovered(factor: float, n_classes: int) -> None:
    logits, truth = calibrated(8000, n_classes)
    assert temperature(factor * logits, truth) == pytest.approx(factor, rel=0.07)


def test_the_temperature_mends_the_error_on_other_rows() -> None:
    logits, truth = calibrated(8000, 4)
    logits *= 3
    found = temperature(logits[:4000], truth[:4000])
    before = expected_calibration_error(softmax(logits[4000:]), truth[4000:])
    after = expected_calibration_error(softmax(logits[4000:] / found), truth[4000:])
    assert before > 0.1
    assert after < 0.03


@settings(max_examples=30)  # 61 log losses each
@given(seed=st.integers(0, 1000), n_rows=st.integers(1, 30), factor=st.floats(0.1, 5))
def test_no_temperature_on_a_grid_has_a_lower_loss(seed: int, n_rows: int, factor: float) -> None:
    logits, truth = calibrated(n_rows, 3, seed)
    logits *= factor
    found = temperature(logits, truth)
    assert 0.05 <= found <= 20
    if (logits.argmax(axis=1) == truth).all():
        assert found == 1.0
        return
    grid = np.geomspace(0.05, 20, 60)
    lowest = min(log_loss(truth, softmax(logits / t), labels=range(3)) for t in [1.0, *grid])
    assert log_loss(truth, softmax(logits / found), labels=range(3)) <= lowest + 1e-4


@pytest.mark.parametrize(
    ("logits", "truth"),
    [([], []), ([[2, 1]], [0]), ([[2, 1], [0, 5]], [0, 1]), ([[1, 1], [1, 1]], [0, 1])],
    ids=["no rows", "one row, right", "all right", "nothing to tell"],
)
def test_what_has_no_best_temperature_stays_as_it_is(
    logits: list[list[float]], truth: list[int]
) -> None:
    assert (
        temperature(
            np.array(logits, dtype=np.float32).reshape(-1, 2), np.array(truth, dtype=np.int64)
        )
        == 1.0
    )


def test_logits_that_mislead_end_at_the_highest_temperature() -> None:
    assert temperature(np.array([[9.0, 0.0], [9.0, 0.0]]), np.array([1, 1])) == pytest.approx(
        20, rel=0.01
    )


@given(
    seed=st.integers(0, 1000),
    n_rows=st.integers(1, 40),
    n_bins=st.integers(1, 20),
    n_classes=st.integers(2, 5),
)
def test_the_error_is_that_of_a_plain_loop(
    seed: int, n_rows: int, n_bins: int, n_classes: int
) -> None:
    logits, truth = calibrated(n_rows, n_classes, seed)
    probabilities = softmax(logits)
    found = expected_calibration_error(probabilities, truth, n_bins=n_bins)
    assert found == pytest.approx(brute_force_error(probabilities, truth, n_bins))


@given(
    confidence=st.lists(st.integers(5, 10), min_size=1, max_size=20),
    n_bins=st.sampled_from([1, 2, 5, 10]),
)
def test_a_confidence_on_an_edge_belongs_to_the_bin_below(
    confidence: list[int], n_bins: int
) -> None:
    highest = np.array(confidence) / 10
    probabilities = np.stack([highest, 1 - highest], axis=1)
    truth = np.arange(len(highest)) % 2
    found = expected_calibration_error(probabilities, truth, n_bins=n_bins)
    assert found == pytest.approx(brute_force_error(probabilities, truth, n_bins))


def test_a_worked_example_of_the_error() -> None:
    """0.9, 0.9 with one right; 0.6 right: 2/3 * |0.5 - 0.9| + 1/3 * |1 - 0.6| = 0.4."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    assert math.isclose(expected_calibration_error(probabilities, np.array([0, 1, 1])), 0.4)
