"""What a search finds where the answer is known: an XOR, noise, and a class that is rare."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from featcache.features.views import View
from featcache.heads.setup import LabelledPositions, TrainingSetup
from featcache.search import finalise as last
from featcache.search.finalise import finished
from featcache.search.refit import held_logits
from featcache.search.selection import choose
from featcache.search.trial import Trial
from featcache.tasks.single_label import softmax
from tests.search.planted import LINEAR, LOGREG, ONE, grid, mlp, searched, sweep_of


def test_an_xor_of_two_features_is_solved_by_a_hidden_layer_and_by_nothing_less() -> None:
    """Among six dimensions of noise. Neither feature tells anything of the class by itself."""
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 2, (1000, 2))
    labels = bits[:, 0] ^ bits[:, 1]
    x = np.concatenate(
        [
            2 * bits - 1 + 0.3 * generator.standard_normal((1000, 2)),
            generator.standard_normal((1000, 6)),
        ],
        axis=1,
    )
    sweep = sweep_of({ONE: x}, labels, train=500, held=250)
    trials = searched(sweep, grid(sweep, [ONE], LOGREG, LINEAR, mlp(1, 16)))
    logreg, linear, deep = (trial.validation["accuracy"] for trial in trials)
    assert max(logreg, linear) < 0.6
    assert deep > 0.95
    final = finished(choose(trials, sweep), sweep, thresholds=False)
    assert final.trial.head == mlp(1, 16)
    found, _, _ = last.tested(final, sweep, LabelledPositions(np.arange(750, 1000), labels[750:]))
    assert found.intervals["accuracy"].value > 0.95


def test_on_random_labels_the_test_interval_covers_chance() -> None:
    """However well the best of a dozen heads looks on validation rows."""
    covered, looks = [], []
    for seed in range(6):
        generator = np.random.default_rng(seed)
        views = [View((layer,), ("mean",)) for layer in range(4)]
        labels = generator.integers(0, 2, 260)
        features = {view: generator.standard_normal((260, 6)) for view in views}
        sweep = sweep_of(features, labels, train=100, held=60, seed=seed, seeds=(seed,))
        trials = searched(sweep, grid(sweep, views, LOGREG, LINEAR, mlp(1, 8), max_epochs=10))
        chosen = choose(trials, sweep)
        looks.append(max(trial.validation["accuracy"] for trial in trials))
        found, _, _ = last.tested(
            finished(chosen, sweep, thresholds=False),
            sweep,
            LabelledPositions(np.arange(160, 260), labels[160:]),
        )
        one = found.intervals["accuracy"]
        covered.append(one.low <= 0.5 <= one.high)
    assert sum(covered) >= 5
    assert np.mean(looks) > 0.57


def rare(balance: str, *, focal: float = 0.0) -> tuple[TrainingSetup, list[Trial], np.ndarray]:
    """One row in twenty is of a class that overlaps with the other; recall of it on the validation
    rows, by head.
    """
    generator = np.random.default_rng(0)
    labels = (generator.random(1500) < 0.05).astype(np.int64)
    x = generator.standard_normal((1500, 8))
    x[:, 0] += 1.5 * labels
    sweep = sweep_of({ONE: x}, labels, train=700, held=800, metric="macro_f1", balance=balance)
    recipe = {
        "balanced": balance == "weights",
        "focal": focal,
        "learning_rate": 1e-2,
        "max_epochs": 30,
        "patience": 30,
    }
    trials = searched(sweep, grid(sweep, [ONE], LOGREG, LINEAR, mlp(1, 8), **recipe))
    truth = sweep.truth == 1
    return sweep, trials, np.array([trial.predicted[0][truth].mean() for trial in trials])


@pytest.mark.parametrize("balance", ["weights", "oversample", "undersample"])
def test_balancing_finds_more_of_a_rare_class(balance: str) -> None:
    """Whichever head, and by each of the three ways; the refit balances as the search did."""
    _, _, plain = rare("none")
    _, trials, found = rare(balance)
    assert plain.max() < 0.2
    assert found[:2].min() > 0.5
    assert found[2] > plain[2] + 0.1  # of few rows a hidden layer learns slowly
    assert [trial.settings.get("balanced") for trial in trials] == [
        None,
        balance == "weights",
        balance == "weights",
    ]


def test_a_path_is_walked_to_its_end_however_long_it_is() -> None:
    """Found where learning curves had six C and never tried the last two: a search knew the usual
    four alone.
    """
    labels = np.random.default_rng(0).integers(0, 2, 200)
    features = {ONE: np.random.default_rng(1).standard_normal((200, 4)) + labels[:, None]}
    sweep, path = (
        sweep_of(features, labels, train=100, held=100),
        (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0),
    )
    (trial,) = searched(sweep, [replace(one, path=path) for one in grid(sweep, [ONE], LOGREG)])
    assert trial.curve["c"] == list(path)


def test_a_focal_loss_claims_less() -> None:
    """Rows that are right count little, so there is little to gain from being surer of them."""
    trials, sure = {}, {}
    for focal in (0.0, 3.0):
        sweep, trials[focal], _ = rare("none", focal=focal)
        equally_long = [replace(trial, settings={"epochs": 20}) for trial in trials[focal][1:]]
        sure[focal] = [
            softmax(held_logits(trial, sweep)).max(axis=1).mean() for trial in equally_long
        ]
    assert [trial.settings.get("focal") for trial in trials[3.0]] == [None, 3.0, 3.0]
    assert np.array_equal(
        trials[3.0][0].predicted, trials[0.0][0].predicted
    )  # scikit-learn's is as it is
    for plain, focused in zip(sure[0.0], sure[3.0], strict=True):
        assert focused < plain - 0.1


@pytest.mark.parametrize("balance", ["none", "weights", "oversample", "undersample"])
def test_the_refit_balances_as_the_search_did(balance: str) -> None:
    generator = np.random.default_rng(0)
    labels = (generator.random(1200) < 0.05).astype(np.int64)
    x = generator.standard_normal((1200, 8))
    x[:, 0] += 1.5 * labels
    sweep = sweep_of({ONE: x}, labels, train=500, held=200, metric="macro_f1", balance=balance)
    recipes = {"balanced": balance == "weights", "learning_rate": 1e-2}
    for trial in searched(sweep, grid(sweep, [ONE], LOGREG, LINEAR, **recipes)):
        final = finished(trial, sweep, thresholds=False)
        _, _, logits = last.tested(
            final, sweep, LabelledPositions(np.arange(700, 1200), labels[700:])
        )
        recall = final.classes(logits)[labels[700:] == 1].mean()
        assert recall < 0.2 if balance == "none" else recall > 0.35


def test_thresholds_raise_macro_f1_where_a_class_is_rare() -> None:
    generator = np.random.default_rng(0)
    labels = (generator.random(4000) < 0.06).astype(np.int64)
    x = generator.standard_normal((4000, 4))
    x[:, 0] += 1.7 * labels
    sweep = sweep_of({ONE: x}, labels, train=800, held=800, metric="macro_f1")
    (trial,) = searched(sweep, grid(sweep, [ONE], LOGREG))
    test, scores = LabelledPositions(np.arange(1600, 4000), labels[1600:]), []
    for thresholds in (False, True):
        final = finished(trial, sweep, thresholds=thresholds)
        found, calibration, logits = last.tested(final, sweep, test)
        assert (calibration.offsets is not None) == thresholds
        np.testing.assert_array_equal(logits, final.head.logits(x[1600:].astype(np.float32)))
        shifted = logits + np.array(calibration.offsets or [0.0, 0.0])
        np.testing.assert_array_equal(final.classes(logits), shifted.argmax(axis=1))
        scores.append(found.intervals["macro_f1"].value)
    assert scores[1] > scores[0] + 0.03


def test_a_dear_head_has_to_be_better_than_luck() -> None:
    """The simplest of those within one standard error of the best; 4 rows of 200 are luck, 40 are
    not.
    """
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 500)
    sweep = sweep_of({ONE: generator.standard_normal((500, 5))}, labels, train=300, held=200)
    (trial,) = searched(sweep, grid(sweep, [ONE], LOGREG))

    def scoring(right: int, n_parameters: int) -> Trial:
        given = np.where(np.arange(200) < right, sweep.truth, 1 - sweep.truth)
        return replace(
            trial,
            predicted=given[None],
            validation={"accuracy": right / 200},
            n_parameters=n_parameters,
        )

    # Of the rows on which two heads differ, some are right by either: the difference has a spread.
    cheap, dear = scoring(150, 10), scoring(154, 1000)
    mixed = cheap.predicted.copy()
    mixed[0, 100:140], mixed[0, 150:190] = 1 - sweep.truth[100:140], sweep.truth[150:190]
    cheap = replace(cheap, predicted=mixed)
    assert choose([dear, cheap], sweep) is cheap
    assert choose([cheap, scoring(190, 1000)], sweep).n_parameters == 1000
    assert choose([dear, scoring(154, 500), scoring(100, 1)], sweep).n_parameters == 500
