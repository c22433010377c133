"""Score against rows and against the size of the head, on planted features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from featcache.evidence.capacity import measure_capacity
from featcache.evidence.curves import curve_sizes, measure_learning_curve
from featcache.features.folds import Fold
from featcache.heads.candidate import Candidate
from featcache.heads.setup import TrainingSetup
from featcache.search.candidates import base_recipe
from featcache.tasks.metrics import accuracy, confusion
from featcache.tasks.single_label import SingleLabel
from featcache.tasks.strata import part_of
from tests.search.planted import LINEAR, LOGREG, ONE, sweep_of


def linear_task(n_train: int, n_held: int, *, inputs: int = 40, seed: int = 0) -> TrainingSetup:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, n_train + n_held)
    features = (
        generator.standard_normal((n_train + n_held, inputs)) + 0.25 * (2 * labels - 1)[:, None]
    )
    return sweep_of({ONE: features}, labels, train=n_train, held=n_held)


def test_sizes_are_halves_of_halves() -> None:
    assert curve_sizes(1000, SingleLabel((0, 1)).fewest_rows) == (62, 125, 250, 500, 1000)
    assert curve_sizes(100_000, 32) == (1562, 3125, 6250, 12_500, 25_000, 50_000, 100_000)
    assert curve_sizes(1000, SingleLabel(tuple(range(50))).fewest_rows) == (250, 500, 1000)
    assert curve_sizes(20, 40) == (20,)


def test_more_rows_score_better_and_the_largest_size_is_all_of_them() -> None:
    sweep = linear_task(600, 500)
    measured = measure_learning_curve(Candidate(ONE, LOGREG, path=(0.1,)), sweep)
    assert [one.rows for one in measured.points] == [37, 75, 150, 300, 600]
    assert [one.draws for one in measured.points] == [6, 6, 4, 2, 1]
    means = [one.score.value for one in measured.points]
    assert means == sorted(means)
    assert means[-1] - means[0] > 0.02
    trains = [one.train for one in measured.points]
    assert trains[0] > trains[-1]  # few rows are learned by heart
    features = sweep.source.gather(ONE, np.arange(1100))
    scaled = (features - features[:600].mean(axis=0)) / features[:600].std(axis=0)
    oracle = LogisticRegression(C=0.1, max_iter=1000).fit(scaled[:600], sweep.part.labels[:600])
    assert means[-1] == pytest.approx(oracle.score(scaled[600:], sweep.truth), abs=0.005)
    assert measured.curve is not None
    assert "twice the labels would give about +" in str(measured.sentence())


def test_a_size_is_the_mean_of_its_draws_and_folds_are_pooled() -> None:
    """With two folds a draw's score is that of all held rows together, each by the head that did
    not see it.
    """
    sweep = linear_task(400, 0, inputs=8)
    folds = (Fold(np.arange(200), np.arange(200, 400)), Fold(np.arange(200, 400), np.arange(200)))
    measured = measure_learning_curve(
        Candidate(ONE, LOGREG, path=(1.0,)), replace(sweep, folds=folds), max_draws=2
    )
    assert [(one.rows, one.draws) for one in measured.points] == [(50, 2), (100, 2), (200, 1)]
    for one in measured.points:
        assert one.score.value == pytest.approx(np.mean(one.scores), abs=2e-6)
        assert one.score.low < one.score.value < one.score.high
    features, labels = sweep.source.gather(ONE, np.arange(400)), sweep.part.labels
    given = np.empty(400, dtype=np.int64)
    for fold in folds:
        mean, spread = features[fold.train].mean(axis=0), features[fold.train].std(axis=0)
        model = LogisticRegression(C=1.0).fit(
            (features[fold.train] - mean) / spread, labels[fold.train]
        )
        given[fold.held] = model.predict((features[fold.held] - mean) / spread)
    assert measured.points[-1].scores[0] == pytest.approx(
        float(accuracy(confusion(labels, given, 2))), abs=0.006
    )


def test_json_is_what_a_report_draws() -> None:
    measured = measure_learning_curve(
        Candidate(ONE, LINEAR, base_recipe(200, seed=0)),
        linear_task(200, 200),
        max_draws=2,
    )
    told = measured.to_json()
    assert set(told) == {"metric", "about", "points", "fit", "doubling"}
    assert [set(one) for one in told["points"]] == [{"rows", "mean", "low", "high", "train"}] * 3
    assert [one["rows"] for one in told["points"]] == [50, 100, 200]
    assert (told["fit"][0]["rows"], told["fit"][-1]["rows"]) == (50, 400)
    assert all(one["low"] <= one["value"] <= one["high"] for one in told["fit"])
    assert set(told["doubling"]) == {"value", "standard_error"}


def test_too_few_rows_are_said_with_how_many_it_takes() -> None:
    few = measure_learning_curve(Candidate(ONE, LOGREG), linear_task(64, 50))
    assert few.sentence() == "no learning curve: it takes 128 training rows"
    told = few.to_json()
    assert (told["fit"], told["doubling"]) == (None, None)
    assert len(told["points"]) == 2
    assert (
        measure_learning_curve(Candidate(ONE, LOGREG), linear_task(128, 50), max_draws=2).curve
        is not None
    )


def test_time_that_runs_out_leaves_the_small_sizes() -> None:
    seen: list[int] = []
    measured = measure_learning_curve(
        Candidate(ONE, LOGREG),
        linear_task(400, 100),
        out_of_time=lambda: len(seen) == 2,
        watch=seen.append,
    )
    assert [one.rows for one in measured.points] == seen == [50, 100]
    assert measured.curve is None
    none = measure_learning_curve(
        Candidate(ONE, LOGREG), linear_task(400, 100), out_of_time=lambda: True
    )
    assert none.points == ()


def test_hidden_layers_gain_on_xor_and_not_on_a_linear_task() -> None:
    generator = np.random.default_rng(0)
    features = generator.standard_normal((1100, 4))
    labels = (features[:, 0] * features[:, 1] > 0).astype(np.int64)
    heads = measure_capacity(
        ONE,
        sweep_of({ONE: features}, labels, train=800, held=300),
        depths=(0, 1),
        widths=(32,),
    )
    assert [(one.depth, one.width) for one in heads] == [(0, None), (1, 32)]
    linear, deeper = heads
    assert linear.gain is None
    assert deeper.gain is not None
    assert deeper.gain.low > 0.2
    assert deeper.score.value == pytest.approx(linear.score.value + deeper.gain.value, abs=1e-5)
    assert deeper.n_parameters > linear.n_parameters
    _, plain = measure_capacity(ONE, linear_task(400, 300), depths=(0, 1), widths=(16,))
    assert plain.gain is not None
    assert plain.gain.low < 0.02
    assert [
        one.depth for one in measure_capacity(ONE, linear_task(64, 50), depths=(1,), widths=(4,))
    ] == [1]


def test_parts_keep_held_rows_out() -> None:
    sweep = linear_task(300, 100)
    part = part_of(sweep.folds[0].train, sweep.part.labels[:300], 50, seed=1)
    assert part.max() < 300
