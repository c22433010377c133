"""Heads against torch.optim, against themselves trained alone, and against scikit-learn."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from featcache.features.standardize import Standardization
from featcache.heads.kinds import logreg as logistic
from featcache.heads.kinds.logreg import LogisticPath
from featcache.heads.network import Network, folded
from featcache.heads.recipe import Examples, Metric, Recipe
from featcache.heads.shape import HeadShape
from featcache.heads.train import train_stack
from featcache.tasks.metrics import scores_of_many
from featcache.tasks.single_label import softmax

METRIC: Metric = partial(scores_of_many, "macro_f1", n_classes=3)


def shaped(depth: int, width: int) -> HeadShape:
    return HeadShape("mlp", depth, width) if depth else HeadShape("linear")


def examples(n: int = 150, n_inputs: int = 11, seed: int = 0) -> Examples:
    """Three classes whose means lie apart along some of the inputs."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, n)
    features = generator.standard_normal((n, n_inputs)) * 3 + 5
    features[:, :3] += 12 * np.eye(3)[labels]
    return Examples(features.astype(np.float32), labels.astype(np.int64))


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 6])
def test_a_head_of_each_depth_learns(depth: int) -> None:
    ((network, head),) = train_stack(
        examples(),
        examples(seed=1),
        n_classes=3,
        shape=shaped(depth, 16),
        recipes=[Recipe(learning_rate=3e-3, batch_size=10)],
        metric=METRIC,
    )
    assert network.depth == depth
    assert [weight.shape for weight in network.weights] == [
        (a, b) for a, b in zip([11, *[16] * depth], [*[16] * depth, 3], strict=True)
    ]
    assert max(head.curves.validation_score) > 0.8
    assert head.curves.validation_score[head.epochs - 1] == max(head.curves.validation_score)


def test_heads_trained_together_equal_heads_trained_alone() -> None:
    """In float64, 50 steps, different rates, decays, seeds and dropout: to 1e-8."""
    recipes = [
        Recipe(
            learning_rate=1e-2, weight_decay=0.0, dropout=0.0, seed=0, max_epochs=10, batch_size=30
        ),
        Recipe(
            learning_rate=1e-3, weight_decay=0.1, dropout=0.0, seed=1, max_epochs=10, batch_size=30
        ),
        Recipe(
            learning_rate=3e-3, weight_decay=0.01, dropout=0.3, seed=2, max_epochs=10, batch_size=30
        ),
    ]
    train = partial(
        train_stack,
        examples(),
        None,
        n_classes=3,
        shape=shaped(2, 7),
        metric=METRIC,
        dtype=torch.float64,
    )
    together = train(recipes=recipes)
    # The batches are those of the first recipe's seed, so a head alone must see the same ones.
    for place, recipe in enumerate(recipes):
        _, alone = train(recipes=[recipes[0], recipe])[1]
        for mine, theirs in zip(together[place][1].arrays, alone.arrays, strict=True):
            assert mine.dtype == np.float64
            np.testing.assert_allclose(mine, theirs, atol=1e-8)


def test_the_optimiser_is_torch_s_adamw() -> None:
    """A linear head, one batch an epoch, no averaging: the same weights as torch.optim.AdamW after
    20 steps.
    """
    data = examples(n=60)
    recipe = Recipe(
        learning_rate=1e-2, weight_decay=0.3, max_epochs=20, batch_size=60, average_epochs=0.0
    )
    ((_, head),) = train_stack(
        data,
        None,
        n_classes=3,
        shape=HeadShape("linear"),
        recipes=[recipe],
        metric=METRIC,
        dtype=torch.float64,
    )
    scale = Standardization.of(data.features)
    x, y = torch.from_numpy(scale.apply(data.features)).double(), torch.from_numpy(data.labels)
    linear = torch.nn.Linear(11, 3, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    bound = 1 / np.sqrt(11)
    with torch.no_grad():
        linear.weight.copy_(
            (torch.rand((3, 11), generator=generator, dtype=torch.float64) * 2 - 1) * bound
        )
        linear.bias.copy_(
            (torch.rand((3,), generator=generator, dtype=torch.float64) * 2 - 1) * bound
        )
    optimizer = torch.optim.AdamW(linear.parameters(), lr=1e-2, weight_decay=0.3)
    for _ in range(20):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(linear(x), y).backward()  # type: ignore[no-untyped-call]  # torch's
        optimizer.step()
    np.testing.assert_allclose(head.arrays[0], linear.weight.detach().numpy().T, atol=1e-8)
    np.testing.assert_allclose(head.arrays[1], linear.bias.detach().numpy(), atol=1e-8)


def test_the_same_seed_gives_the_same_head_and_leaves_torch_s_own_stream_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train = partial(
        train_stack, examples(), examples(seed=1), n_classes=3, shape=shaped(1, 8), metric=METRIC
    )
    first, again, other = (train(recipes=[Recipe(seed=seed)])[0] for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    np.testing.assert_array_equal(first[0].weights[0], again[0].weights[0])
    assert first[1].curves == again[1].curves
    assert not np.array_equal(first[0].weights[0], other[0].weights[0])


def test_patience_ends_a_head_and_the_best_epoch_is_kept() -> None:
    noise, held = (
        Examples(examples(seed=s).features, np.random.default_rng(s).integers(0, 3, 150))
        for s in (0, 1)
    )
    recipe = Recipe(patience=3, learning_rate=1e-2)
    ((network, head),) = train_stack(
        noise, held, n_classes=3, shape=shaped(1, 64), recipes=[recipe], metric=METRIC
    )
    scores = head.curves.validation_score
    assert len(scores) == 1 + scores.index(max(scores)) + 3 < 60
    assert scores[head.epochs - 1] == max(scores)
    predicted = network.logits(held.features).argmax(axis=1)
    assert METRIC(held.labels, predicted[None]) == pytest.approx(
        head.curves.validation_score[head.epochs - 1]
    )


def test_curves_show_overfitting() -> None:
    """A wide head on random labels: training rises towards 1, validation stays at chance."""
    generator = np.random.default_rng(0)
    noise = [
        Examples(
            generator.standard_normal((90, 11)).astype(np.float32), generator.integers(0, 3, 90)
        )
        for _ in "ab"
    ]
    recipe = Recipe(learning_rate=1e-2, patience=60, dropout=0.0)
    ((_, head),) = train_stack(
        noise[0], noise[1], n_classes=3, shape=shaped(1, 128), recipes=[recipe], metric=METRIC
    )
    assert head.curves.train_score[-1] > 0.95
    assert head.curves.validation_score[-1] < 0.6
    assert head.curves.validation_loss[-1] > head.curves.train_loss[-1] + 1


def test_recipes_of_different_batch_sizes_are_refused() -> None:
    recipes = [Recipe(), Recipe(batch_size=7)]
    with pytest.raises(ValueError, match="one batch_size"):
        train_stack(
            examples(), None, n_classes=3, shape=HeadShape("linear"), recipes=recipes, metric=METRIC
        )


@pytest.mark.parametrize("n_classes", [2, 3])
def test_logistic_regression_is_scikit_learn_s(n_classes: int) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    data = examples(n=300)
    labels = data.labels % n_classes
    scale = Standardization.of(data.features)
    ours = LogisticPath(scale.apply(data.features), labels, n_classes=n_classes).fit(0.1)
    scaler = StandardScaler().fit(data.features)
    theirs = LogisticRegression(C=0.1, tol=1e-3).fit(scaler.transform(data.features), labels)
    held = examples(n=200, seed=1).features
    expected = theirs.predict_proba(scaler.transform(held))
    np.testing.assert_allclose(ours.network([scale]).probabilities(held), expected, atol=2e-3)
    assert (ours.predict(scale.apply(held)) == expected.argmax(axis=1)).mean() > 0.99
    assert ours.converged


def test_constant_columns_are_guarded() -> None:
    data = examples()
    data.features[:, 4] = 3.25
    data.features[:, 5] = 0.0
    data.features[:, 6] = 1000 + 1e-4 * np.random.default_rng(0).standard_normal(
        150
    )  # float16 noise
    scale = Standardization.of(data.features)
    assert scale.std[4:7].tolist() == [1.0, 1.0, 1.0]
    assert np.isfinite(scale.apply(data.features)).all()


def test_standardisation_folded_into_the_head_changes_no_logit() -> None:
    data, generator = examples(), np.random.default_rng(0)
    weights = [generator.standard_normal((11, 6)), generator.standard_normal((6, 3))]
    biases = [generator.standard_normal(6), generator.standard_normal(3)]
    scale = Standardization.of(data.features)

    def gelu(x: NDArray[np.floating]) -> NDArray[np.floating]:
        return np.asarray(torch.nn.functional.gelu(torch.from_numpy(x)))

    expected = gelu(scale.apply(data.features) @ weights[0] + biases[0]) @ weights[1] + biases[1]
    np.testing.assert_allclose(
        folded(weights, biases, scale).logits(data.features), expected, atol=1e-4
    )


def test_features_of_another_width_are_refused() -> None:
    head = Network((np.ones((4, 2), np.float32),), (np.zeros(2, np.float32),))
    with pytest.raises(ValueError, match=r"shape \(1, 5\) where \(N, 4\)"):
        head.logits(np.ones((1, 5), np.float32))


def test_softmax_survives_large_logits() -> None:
    np.testing.assert_allclose(
        softmax(np.array([[1e4, 0.0], [0.0, 0.0]])), [[1.0, 0.0], [0.5, 0.5]]
    )


def test_paths_in_several_threads_leave_the_warnings_of_the_process_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`warnings.catch_warnings` in each thread would end with the filters of another."""
    monkeypatch.setattr(logistic, "_MAX_ITERATIONS", 3)
    before = list(warnings.filters), warnings.showwarning
    train = examples()

    def converged(c: float) -> bool:
        return LogisticPath(train.features, train.labels, n_classes=3).fit(c).converged

    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(converged, [1.0] * 64))
    assert (list(warnings.filters), warnings.showwarning) == before
