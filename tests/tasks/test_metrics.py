"""Metrics against scikit-learn, intervals against worked examples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from featcache.evidence.floors import bag_of_words, floors
from featcache.tasks.metrics import METRICS, difference, interval, score, scores, scores_of_many
from featcache.tasks.single_label import SingleLabel

ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


@given(rows=ROWS)
def test_every_metric_agrees_with_scikit_learn(rows: list[tuple[int, int]]) -> None:
    truth, predicted = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    found = {name: score(name, truth, predicted, 4) for name in METRICS}
    assert found["accuracy"] == pytest.approx(oracle.accuracy_score(truth, predicted))
    assert found["macro_f1"] == pytest.approx(
        oracle.f1_score(truth, predicted, average="macro", zero_division=0)
    )
    weighted = oracle.f1_score(truth, predicted, average="weighted", zero_division=0)
    assert found["weighted_f1"] == pytest.approx(weighted)
    # scikit-learn divides by zero for a single class and calls it 0 as well.
    with np.errstate(all="ignore"):
        expected = (
            oracle.matthews_corrcoef(truth, predicted)
            if len(set(truth) | set(predicted)) > 1
            else 0.0
        )
    assert found["mcc"] == pytest.approx(expected, abs=1e-9)
    assert scores(truth, predicted, 4) == {name: round(value, 6) for name, value in found.items()}


@pytest.mark.parametrize("metric", METRICS)
@given(rows=ROWS, n_heads=st.integers(0, 4), seed=st.integers(0, 9))
def test_many_predictions_are_scored_as_one_by_one(
    metric: str, rows: list[tuple[int, int]], n_heads: int, seed: int
) -> None:
    truth = np.array([row for row, _ in rows], dtype=np.int64)
    predicted = np.random.default_rng(seed).integers(0, 4, (n_heads, len(truth)))
    found = scores_of_many(metric, truth, predicted, 4)
    assert found.tolist() == [score(metric, truth, one, 4) for one in predicted]


def test_many_predictions_of_many_classes_are_scored_in_pieces() -> None:
    """30 confusion matrices of 1,000 classes would be 240 MB at once."""
    truth = np.arange(1000, dtype=np.int64)
    predicted = np.stack(
        [np.where(truth < 10 * number, truth, (truth + 1) % 1000) for number in range(30)]
    )
    assert scores_of_many("accuracy", truth, predicted, 1000) == pytest.approx(np.arange(30) / 100)


def test_an_interval_of_accuracy_is_the_binomial_one() -> None:
    """80 of 100 right: the bootstrap's standard error is sqrt(.8 * .2 / 100) = .04."""
    truth = np.zeros(100, dtype=np.int64)
    predicted = np.array([0] * 80 + [1] * 20)
    found = interval("accuracy", truth, predicted, 2, seed=0)
    assert found.value == 0.8
    assert found.low == pytest.approx(0.8 - 1.96 * 0.04, abs=0.012)
    assert found.high == pytest.approx(0.8 + 1.96 * 0.04, abs=0.012)


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    """Two predictions that disagree on 5 of 100 rows: the error of the difference comes from these
    5 alone.
    """
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


@pytest.mark.parametrize("metric", METRICS)
def test_a_difference_is_that_of_rows_drawn_one_by_one(metric: str) -> None:
    """The multinomial against plain resampling, of two heads of three runs each."""
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 200)
    mine, theirs = (np.where(generator.random((3, 200)) < right, truth, 0) for right in (0.8, 0.6))
    plain = []
    for _ in range(1000):
        rows = generator.integers(0, 200, 200)
        first, second = (
            scores_of_many(metric, truth[rows], runs[:, rows], 3).mean() for runs in (mine, theirs)
        )
        plain.append(first - second)
    found = difference(metric, truth, mine, theirs, 3, seed=0)
    assert found.standard_error == pytest.approx(np.std(plain, ddof=1), rel=0.1)
    assert [found.low, found.high] == pytest.approx(np.percentile(plain, [2.5, 97.5]), abs=0.01)


@pytest.mark.parametrize("metric", METRICS)
def test_one_run_repeated_is_that_run(metric: str) -> None:
    generator = np.random.default_rng(0)
    truth, first, second = generator.integers(0, 3, (3, 80))
    thrice = np.stack([first] * 3)
    assert interval(metric, truth, thrice, 3, seed=0) == interval(metric, truth, first, 3, seed=0)
    assert difference(metric, truth, thrice, second, 3, seed=0) == difference(
        metric, truth, first, second, 3, seed=0
    )


def test_runs_are_averaged_within_each_resample() -> None:
    """Two runs, right on one half of the rows each: on any resample their mean accuracy is one
    half.
    """
    truth = np.zeros(100, dtype=np.int64)
    first = np.repeat([0, 1], 50)
    found = interval("accuracy", truth, np.stack([first, 1 - first]), 2, seed=0)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)
    alone = difference("accuracy", truth, np.stack([first, 1 - first]), first, 2, seed=0)
    assert alone.value == 0
    assert alone.standard_error == pytest.approx(0.05, rel=0.1)


def test_many_classes_are_resampled_in_pieces() -> None:
    """1,000 classes would need 8 GB at once."""
    truth = np.arange(1000, dtype=np.int64)
    found = interval("accuracy", truth, truth, 1000, seed=0)
    assert (found.value, found.low, found.high) == (1, 1, 1)


def test_the_majority_floor_is_the_most_frequent_training_class() -> None:
    assert SingleLabel((0, 1, 2)).majority(np.array([2, 1, 1, 2, 1]), 3).tolist() == [1, 1, 1]


def test_the_bag_of_words_floor_is_scikit_learn_s_pipeline() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = ["good film", "fine film", "good plot", "bad film", "awful plot", "bad book"]
    labels = np.array([1, 1, 1, 0, 0, 0])
    held = ["good book", "awful film", "fine plot"]
    peer = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10.0)
    )
    found = bag_of_words(texts, labels, [held, texts])
    assert found is not None
    assert found[0].tolist() == peer.fit(texts, labels).predict(held).tolist()


def test_texts_without_words_have_no_bag_of_words_floor() -> None:
    labels = np.array([0, 1])
    constant, words = floors([["!", "?"], [".", ","]], [labels, labels], SingleLabel((0, 1)))
    assert words is None
    assert constant.validation["accuracy"] == 0.5
    assert constant.test is None
