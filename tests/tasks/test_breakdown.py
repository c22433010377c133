"""A prediction taken apart, against scikit-learn and against counting by hand."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from featcache.tasks.breakdown import confusion_matrix, mcnemar, per_class, probability_scores
from featcache.tasks.single_label import softmax


def rows(n_rows: int, n_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True classes, and probabilities that lean towards them."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, n_classes, n_rows)
    logits = generator.standard_normal((n_rows, n_classes)) + np.eye(n_classes)[truth]
    return truth, softmax(logits)


def test_two_classes_are_scored_by_the_second_s_probability() -> None:
    truth, probabilities = rows(90, 2)
    assert probability_scores(truth, probabilities) == {
        "log_loss": pytest.approx(oracle.log_loss(truth, probabilities), abs=1e-6),
        "roc_auc": pytest.approx(oracle.roc_auc_score(truth, probabilities[:, 1]), abs=1e-6),
    }


def test_several_classes_are_scored_one_against_the_rest() -> None:
    truth, probabilities = rows(90, 4)
    assert probability_scores(truth, probabilities) == {
        "log_loss": pytest.approx(oracle.log_loss(truth, probabilities), abs=1e-6),
        "roc_auc": pytest.approx(
            oracle.roc_auc_score(truth, probabilities, multi_class="ovr"), abs=1e-6
        ),
    }


@given(seed=st.integers(0, 1000), n_rows=st.integers(1, 12), n_classes=st.integers(2, 5))
def test_scores_of_probabilities_are_what_their_definitions_say(
    seed: int, n_rows: int, n_classes: int
) -> None:
    """Also where classes are missing from the truth. The area is the share of pairs in the right
    order.
    """
    truth, probabilities = rows(n_rows, n_classes, seed)
    areas = []
    for number in [1] if n_classes == 2 else sorted(set(truth)):
        scored = probabilities[:, number]
        pairs = [
            above > below
            for above, below in product(scored[truth == number], scored[truth != number])
        ]
        areas += [np.mean(pairs)] if pairs else []
    found = probability_scores(truth, probabilities)
    assert found["log_loss"] == pytest.approx(
        -np.mean(np.log(probabilities[np.arange(n_rows), truth])), abs=1e-6
    )
    assert found["roc_auc"] == (pytest.approx(np.mean(areas), abs=1e-6) if areas else None)


def test_one_true_class_has_a_log_loss_and_no_area() -> None:
    assert probability_scores(np.array([1, 1]), np.array([[0.5, 0.5], [0.5, 0.5]])) == {
        "log_loss": pytest.approx(math.log(2), abs=1e-6),
        "roc_auc": None,
    }


def test_a_certain_error_has_a_finite_log_loss() -> None:
    found = probability_scores(np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert found["log_loss"] == pytest.approx(-math.log(2.0**-52) / 2, abs=1e-3)


@given(pairs=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_classes_are_described_as_in_scikit_learn_s_report(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = (np.array(column, dtype=np.int64) for column in zip(*pairs, strict=True))
    report = oracle.classification_report(
        truth,
        predicted,
        labels=range(4),
        target_names=list("abcd"),
        output_dict=True,
        zero_division=0,
    )
    for one in per_class(truth, predicted, ["a", "b", "c", "d"]):
        expected = report[one["class"]]
        assert one["precision"] == pytest.approx(expected["precision"], abs=1e-6)
        assert one["recall"] == pytest.approx(expected["recall"], abs=1e-6)
        assert one["f1"] == pytest.approx(expected["f1-score"], abs=1e-6)
        assert one["support"] == expected["support"]
    assert (
        confusion_matrix(truth, predicted, 4)
        == oracle.confusion_matrix(truth, predicted, labels=range(4)).tolist()
    )


@pytest.mark.parametrize(
    ("only_mine", "only_theirs", "p_value"),
    [
        (0, 0, 1.0),
        (1, 1, 1.0),
        (5, 0, 2 * 0.5**5),
        (0, 5, 2 * 0.5**5),
        (1, 7, 2 * 9 * 0.5**8),
        (59, 86, 2 * sum(math.comb(145, k) for k in range(60)) / 2**145),
    ],
)
def test_mcnemar_is_the_toss_of_a_coin_for_rows_that_one_alone_has_right(
    only_mine: int, only_theirs: int, p_value: float
) -> None:
    both, neither = 7, 4
    mine = np.repeat([0, 1, 0, 1], [only_mine, only_theirs, both, neither])
    theirs = np.repeat([1, 0, 0, 2], [only_mine, only_theirs, both, neither])
    found = mcnemar(np.zeros(len(mine), dtype=np.int64), mine, theirs)
    assert (found.only_mine, found.only_theirs) == (only_mine, only_theirs)
    assert found.p_value == pytest.approx(p_value)


def test_everything_goes_into_json_as_it_is() -> None:
    truth, probabilities = rows(30, 3)
    predicted = probabilities.argmax(axis=1)
    everything = [
        probability_scores(truth, probabilities),
        per_class(truth, predicted, [False, 1, "x"]),
        confusion_matrix(truth, predicted, 3),
        asdict(mcnemar(truth, predicted, truth)),
    ]
    assert json.loads(json.dumps(everything)) == everything
