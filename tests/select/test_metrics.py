"""Metrics against scikit-learn, intervals against worked examples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from featcache.select.floors import bag_of_words, floors, majority
from featcache.select.metrics import METRICS, difference, interval, score, scores

ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


@given(rows=ROWS)
def test_every_metric_agrees_with_scikit_learn(rows: list[tuple[int, int]]) -> None:
    truth, predicted = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    found = {name: score(name, truth, predicted, 4) for name in METRICS}
    assert found["accuracy"] == pytest.approx(oracle.accuracy_score(truth, predicted))
    assert found["macro_f1"] == pytest.approx(oracle.f1_score(truth, predicted, average="macro", zero_division=0))
    # scikit-learn divides by zero for a single class and calls it 0 as well.
    with np.errstate(all="ignore"):
        expected = oracle.matthews_corrcoef(truth, predicted) if len(set(truth) | set(predicted)) > 1 else 0.0
    assert found["mcc"] == pytest.approx(expected, abs=1e-9)
    assert scores(truth, predicted, 4) == {name: round(value, 6) for name, value in found.items()}


def test_an_interval_of_accuracy_is_the_binomial_one() -> None:
    """80 of 100 right: the bootstrap's standard error is sqrt(.8 * .2 / 100) = .04."""
    truth = np.zeros(100, dtype=np.int64)
    predicted = np.array([0] * 80 + [1] * 20)
    found = interval("accuracy", truth, predicted, 2, seed=0)
    assert found.value == 0.8
    assert found.low == pytest.approx(0.8 - 1.96 * 0.04, abs=0.012)
    assert found.high == pytest.approx(0.8 + 1.96 * 0.04, abs=0.012)


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    """Two predictions that disagree on 5 of 100 rows: the error of the difference comes from these 5 alone."""
    truth = np.zeros(100, dtype=np.int64)
    first, second = np.array([0] * 80 + [1] * 20), np.array([0] * 75 + [1] * 25)
    found = difference("accuracy", truth, first, second, 2, seed=0)
    assert found.value == pytest.approx(0.05)
    assert found.standard_error == pytest.approx(np.sqrt(0.05 * 0.95 / 100), rel=0.1)
    assert found.low >= 0.0


def test_a_prediction_does_not_differ_from_itself() -> None:
    truth = np.array([0, 1, 2, 1, 0])
    found = difference("macro_f1", truth, truth, truth, 3, seed=1)
    assert (found.value, found.low, found.high, found.standard_error) == (0, 0, 0, 0)


def test_many_classes_are_resampled_in_pieces() -> None:
    """1,000 classes would need 8 GB at once."""
    truth = np.arange(1000, dtype=np.int64)
    found = interval("accuracy", truth, truth, 1000, seed=0)
    assert (found.value, found.low, found.high) == (1, 1, 1)


def test_the_majority_floor_is_the_most_frequent_training_class() -> None:
    assert majority(np.array([2, 1, 1, 2, 1]), 3).tolist() == [1, 1, 1]


def test_the_bag_of_words_floor_is_scikit_learn_s_pipeline() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = ["good film", "fine film", "good plot", "bad film", "awful plot", "bad book"]
    labels = np.array([1, 1, 1, 0, 0, 0])
    held = ["good book", "awful film", "fine plot"]
    peer = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10.0))
    found = bag_of_words(texts, labels, [held, texts])
    assert found is not None
    assert found[0].tolist() == peer.fit(texts, labels).predict(held).tolist()


def test_texts_without_words_have_no_bag_of_words_floor() -> None:
    labels = np.array([0, 1])
    constant, words = floors([["!", "?"], [".", ","]], [labels, labels], 2)
    assert words is None
    assert constant.validation["accuracy"] == 0.5
    assert constant.test is None
