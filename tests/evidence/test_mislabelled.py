"""Mislabelled rows: planted ones are found, hard ones are left alone, and the list is a file that a
person can read.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from featcache.data.keys import row_keys
from featcache.data.read import read
from featcache.evidence.mislabelled import (
    average_probabilities,
    best_heads,
    find_mislabelled,
    held_out_probabilities,
    write_csv,
)
from featcache.features.folds import folds_of
from tests.search.planted import LINEAR, LOGREG, ONE, grid, mlp, searched, sweep_of


def task(
    n_rows: int, n_classes: int, share: float, *, clear: float, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Features of classes `clear` standard deviations apart, true labels, given ones, and which
    were flipped.
    """
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, n_classes, n_rows)
    centres = np.eye(n_classes, 8) * clear
    features = (centres[truth] + generator.standard_normal((n_rows, 8))).astype(np.float32)
    flipped = np.zeros(n_rows, dtype=np.bool_)
    flipped[generator.choice(n_rows, round(share * n_rows), replace=False)] = True
    given = np.where(flipped, (truth + generator.integers(1, n_classes, n_rows)) % n_classes, truth)
    return features, truth, given, flipped


def posterior(features: NDArray[np.float32], n_classes: int, clear: float) -> NDArray[np.float64]:
    """What nobody can know better: the true probabilities of the classes."""
    logits = clear * features[:, :n_classes].astype(np.float64)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("n_classes", "share"), [(2, 0.01), (2, 0.1), (4, 0.01), (4, 0.03), (4, 0.1)]
)
def test_flipped_labels_are_found_by_true_probabilities(n_classes: int, share: float) -> None:
    features, _, given, flipped = task(3000, n_classes, share, clear=4.0, seed=n_classes)
    found = find_mislabelled(posterior(features, n_classes, 4.0), given)
    assert flipped[found.rows].sum() >= 0.75 * flipped.sum()
    assert flipped[found.rows].mean() >= 0.6
    assert (found.labels == given[found.rows]).all()
    assert (found.predicted != found.labels).all()
    assert (np.diff(found.label_probability) >= 0).all()
    assert (found.predicted_probability > found.label_probability).all()


def test_heads_that_never_saw_the_rows_find_them_too() -> None:
    features, truth, given, flipped = task(900, 3, 0.03, clear=5.0, seed=0)
    sweep = sweep_of({ONE: features}, given, train=700, held=200)
    trials = searched(sweep, grid(sweep, [ONE], LOGREG, mlp(1, 16), max_epochs=20))
    folds = folds_of(row_keys([str(row) for row in range(900)]), given.tolist(), 5, seed=0)
    probabilities = held_out_probabilities(trials, sweep, folds)
    assert probabilities.shape == (900, 3)
    assert probabilities.sum(axis=1) == pytest.approx(1.0)
    assert (probabilities.argmax(axis=1) == truth).mean() > 0.97  # each at its own row again
    found = find_mislabelled(probabilities, given)
    assert flipped[found.rows].mean() >= 0.6
    assert flipped[found.rows].sum() >= 0.75 * flipped.sum()


@pytest.mark.parametrize("clear", [0.0, 1.0])
def test_hard_rows_and_random_labels_are_not_called_wrong(clear: float) -> None:
    features, _, given, _ = task(2000, 2, 0.0, clear=clear, seed=1)
    found = find_mislabelled(posterior(features, 2, clear), given)
    assert found.n_disagreeing >= 400  # cannot be told from the features
    assert len(found) <= 0.03 * 2000
    assert 4 * len(found) <= len(
        find_mislabelled(posterior(features, 2, clear), given, max_probability=1.0)
    )  # cleanlab's own list
    assert ("probably hard, not wrong" if clear else "no row is listed") in found.sentence()


def test_heads_that_know_nothing_of_many_classes_doubt_no_label() -> None:
    """With 60 classes the probability of each label is small, whether it is right or not."""
    generator = np.random.default_rng(0)
    labels = np.arange(600) % 60
    found = find_mislabelled(generator.dirichlet(np.full(60, 0.3), size=600), labels)
    assert len(found) == 0
    assert found.n_disagreeing > 550
    assert "no row is listed" in found.sentence()


def test_the_best_few_are_different_heads_that_were_trained_to_their_end() -> None:
    features, _, given, _ = task(300, 2, 0.0, clear=1.0, seed=2)
    sweep = sweep_of({ONE: features}, given, train=200, held=100)
    trials = searched(sweep, grid(sweep, [ONE], LOGREG, LINEAR, mlp(1, 8), mlp(2, 8), max_epochs=5))
    scored = [
        replace(trial, validation={"accuracy": score}, ended=ended)
        for trial, score, ended in zip(
            trials, (0.7, 0.9, 0.8, 0.95), ("done", "done", "done", "dropped at 3"), strict=True
        )
    ]
    again = replace(scored[1], validation={"accuracy": 0.85})  # another recipe of the same head
    assert best_heads([*scored, again], "accuracy") == [scored[1], scored[2], scored[0]]
    assert best_heads([*scored, again], "accuracy", 1) == [scored[1]]


def test_several_heads_are_more_certain_of_what_they_agree_on() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 500)
    heads = [3.0 * np.eye(3)[labels] + generator.standard_normal((500, 3)) * 2 for _ in range(3)]
    rows = np.arange(500)
    losses = [
        -np.log(average_probabilities(some, labels)[rows, labels]).mean()
        for some in (heads[:1], heads)
    ]
    assert losses[1] < 0.7 * losses[0]


def test_few_rows_and_rare_classes_are_no_error() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    probabilities = 0.8 * np.eye(3)[labels] + 0.2 / 3
    found = find_mislabelled(probabilities, labels)
    assert len(found) == 0
    assert found.sentence() == "0 of 6 rows (0.0%) are probably labelled wrongly"


def test_the_list_is_a_csv_to_be_corrected(tmp_path: Path) -> None:
    labels = np.array([0, 1] * 50)
    probabilities = np.where(np.eye(2)[labels] > 0, 0.995, 0.005)
    labels[[4, 7]] = 1 - labels[[4, 7]]
    found = find_mislabelled(probabilities, labels)
    texts = [f'row {row}, "quoted"\nin two lines' for row in range(100)]
    path = write_csv(
        tmp_path,
        found,
        sources=["a.csv"] * 100,
        rows=range(1, 101),
        texts=texts,
        classes=["ham", "spam"],
    )
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert path.name == "mislabelled.csv"
    assert [line["row"] for line in lines] == ["5", "8"]
    assert [(line["label"], line["predicted"]) for line in lines] == [
        ("spam", "ham"),
        ("ham", "spam"),
    ]
    assert [line["text"] for line in lines] == [texts[4], texts[7]]
    assert {line["corrected"] for line in lines} == {""}
    assert read(path).n_rows == 2  # by our own strict reader, too
    assert float(lines[0]["probability_of_label"]) < 0.01
