"""Stacks of heads on several views against each head alone, their optimiser, losses and dropout
against torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.nn import functional

from featcache.features.standardize import Standardization
from featcache.heads.adamw import AdamW
from featcache.heads.recipe import Metric, Recipe
from featcache.heads.shape import HeadShape
from featcache.heads.stack import Architecture, Dropout, Losses
from featcache.heads.train import StackRows, StackTraining
from featcache.tasks.metrics import scores_of_many

N_CLASSES, N_INPUTS, N_MIXED = 3, 11, 4
METRIC: Metric = partial(scores_of_many, "macro_f1", n_classes=N_CLASSES)
SHAPES = [
    HeadShape("linear"),
    HeadShape("mlp", 1, 7),
    HeadShape("mlp", 3, 7),
    HeadShape("mlp", 1, 7, "relu", layer_norm=True),
    HeadShape("mlp", 2, 7, "silu"),
    HeadShape("mlp", 3, 7, "gelu", residual=True),
    HeadShape("mlp", 3, 7, "relu", layer_norm=True, residual=True),
]
# Everything that a head may have of its own. 150 rows in batches of 30 are 5 steps an epoch.
RECIPES = [
    Recipe(learning_rate=1e-2, weight_decay=0.0, seed=0),
    Recipe(learning_rate=1e-3, weight_decay=0.5, seed=1, label_smoothing=0.1, average_epochs=0.0),
    Recipe(learning_rate=3e-3, weight_decay=0.01, seed=2, balanced=True),
    Recipe(learning_rate=5e-3, weight_decay=0.1, seed=3, focal=2.0, patience=2),
    Recipe(
        learning_rate=2e-2,
        weight_decay=0.02,
        seed=4,
        label_smoothing=0.2,
        balanced=True,
        focal=0.5,
        max_epochs=6,
    ),
    Recipe(learning_rate=4e-3, weight_decay=0.01, seed=2),
]
RECIPES = [
    replace(one, dropout=0.0, batch_size=30, max_epochs=min(10, one.max_epochs)) for one in RECIPES
]
VIEW_OF = [0, 0, 1, 2, 2, 2]


@dataclass(frozen=True)
class Task:
    """Three views of one set of rows: raw (in), or (L, N, in) where layers are mixed, and as heads
    see them.
    """

    scales: list[list[Standardization]]
    raw: list[list[np.ndarray]]
    train: StackRows
    held: StackRows


def task(
    n_mixed: int = 0, *, dtype: torch.dtype = torch.float64, n_rows: int = 210, n_train: int = 150
) -> Task:
    """Unequal classes whose means lie apart, more on some views than on others."""
    generator = np.random.default_rng(0)
    labels = generator.choice(N_CLASSES, n_rows, p=[0.6, 0.3, 0.1])
    raw, scales, seen = [], [], []
    for view in range(3):
        layers = []
        for layer in range(n_mixed or 1):
            x = generator.standard_normal((n_rows, N_INPUTS)) * (2 + layer) + 5 * layer
            x[:, :N_CLASSES] += (1 + view + layer) * np.eye(N_CLASSES)[labels]
            layers.append(x.astype(np.float32))
        of_view = [Standardization.of(x[:n_train]) for x in layers]
        standardized = [
            torch.from_numpy(s.apply(x)).to(dtype) for s, x in zip(of_view, layers, strict=True)
        ]
        raw.append(layers)
        scales.append(of_view)
        seen.append(torch.stack(standardized) if n_mixed else standardized[0])
    truth = torch.from_numpy(labels)
    train, held = (
        StackRows([x[..., part, :] for x in seen], truth[part])
        for part in (slice(n_train), slice(n_train, None))
    )
    return Task(scales, raw, train, held)


def one_view(seen: StackRows, view: int) -> StackRows:
    return StackRows([seen.views[view]], seen.labels)


def training(
    given: Task,
    shape: HeadShape,
    heads: Sequence[tuple[int, Recipe]],
    n_mixed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> StackTraining:
    """With the seed 9 for the order of rows, whatever the heads' own."""
    architecture = Architecture(shape, N_INPUTS, N_CLASSES, n_mixed)
    return StackTraining(
        architecture, given.train, given.held, heads, metric=METRIC, seed=9, dtype=dtype
    )


def alone(given: Task, shape: HeadShape, head: int, n_mixed: int, epochs: int) -> StackTraining:
    view = VIEW_OF[head]
    single = replace(given, train=one_view(given.train, view), held=one_view(given.held, view))
    found = training(single, shape, [(0, RECIPES[head])], n_mixed)
    found.advance(epochs)
    return found


def same_head(together: StackTraining, head: int, single: StackTraining, held: StackRows) -> None:
    mine, theirs = together.trained(head), single.trained(0)
    assert mine.epochs == theirs.epochs
    np.testing.assert_allclose(mine.mixing, theirs.mixing, atol=1e-8, rtol=0)
    for one, other in zip(mine.arrays, theirs.arrays, strict=True):
        assert one.dtype == np.float64
        np.testing.assert_allclose(one, other, atol=1e-8, rtol=0)
    for name, values in vars(mine.curves).items():
        np.testing.assert_allclose(values, getattr(theirs.curves, name), atol=1e-8, rtol=0)
    np.testing.assert_array_equal(together.predicted[head], single.predicted[0])
    np.testing.assert_array_equal(
        together.predictions(held)[head], single.predictions(one_view(held, VIEW_OF[head]))[0]
    )


@pytest.mark.parametrize("n_mixed", [0, N_MIXED])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_heads_on_several_views_end_as_each_does_alone(shape: HeadShape, n_mixed: int) -> None:
    """In float64, up to 50 steps; two of them leave before the others do."""
    given_task = task(n_mixed)
    together = training(given_task, shape, list(zip(VIEW_OF, RECIPES, strict=True)), n_mixed)
    together.advance(10)
    assert len(together.curves[4].train_loss) == 6
    assert together.running == []
    for head in range(len(RECIPES)):
        same_head(together, head, alone(given_task, shape, head, n_mixed, 10), given_task.held)


@pytest.mark.parametrize("n_mixed", [0, N_MIXED])
@pytest.mark.parametrize("gone", [{0, 1}, {1, 3, 4}, {0, 2, 3, 4, 5}])
def test_heads_that_are_dropped_change_nothing_for_the_others(gone: set[int], n_mixed: int) -> None:
    """Also where a view loses all of its heads, and in portions of epochs."""
    given_task, shape = task(n_mixed), HeadShape("mlp", 2, 7, layer_norm=True)
    together = training(given_task, shape, list(zip(VIEW_OF, RECIPES, strict=True)), n_mixed)
    together.advance(1)
    together.advance(3)
    together.drop(gone)
    assert set(together.running) == set(range(len(RECIPES))) - gone
    together.advance(5)
    together.advance(10)
    for head in range(len(RECIPES)):
        same_head(
            together,
            head,
            alone(given_task, shape, head, n_mixed, 3 if head in gone else 10),
            given_task.held,
        )


@pytest.mark.parametrize("n_mixed", [0, N_MIXED])
def test_a_head_with_a_rate_of_nought_stays_as_it_began(n_mixed: int) -> None:
    given_task, shape = task(n_mixed), HeadShape("mlp", 1, 7)
    still = replace(RECIPES[2], learning_rate=0.0)
    together = training(given_task, shape, [(0, RECIPES[0]), (1, still), (2, RECIPES[4])], n_mixed)
    began = [value[0] for value in together.architecture.initial([still], torch.float64)]
    together.advance(10)
    found = together.trained(1)
    if n_mixed:
        np.testing.assert_array_equal(found.mixing, torch.softmax(began.pop(0), dim=0).numpy())
    for mine, value in zip(found.arrays, began, strict=True):
        np.testing.assert_array_equal(mine, value.numpy().T)
    assert not np.array_equal(together.trained(0).arrays[0], began[0].numpy().T)


# -- what is saved ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n_mixed", [0, N_MIXED])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_network_saved_predicts_what_the_training_does(shape: HeadShape, n_mixed: int) -> None:
    """On features as cached, standardisation and mixing folded in; rows that are all but level may
    fall either way.
    """
    given_task = task(n_mixed, dtype=torch.float32, n_rows=600)
    heads = [(view, replace(RECIPES[2], dropout=0.2, learning_rate=2e-2)) for view in range(3)]
    together = training(given_task, shape, heads, n_mixed, torch.float32)
    together.advance(8)
    predicted = together.predictions(given_task.held)
    for head, (view, _) in enumerate(heads):
        network = together.trained(head).network(given_task.scales[view])
        assert (network.activation, network.layer_norm, network.residual) == (
            shape.activation,
            shape.layer_norm,
            shape.residual,
        )
        logits = network.logits(np.concatenate(given_task.raw[view], axis=1)[150:])
        ordered = np.sort(logits, axis=1)
        clear = ordered[:, -1] - ordered[:, -2] > 1e-3
        assert clear.mean() > 0.95
        np.testing.assert_array_equal(logits.argmax(axis=1)[clear], predicted[head][clear])
        assert len(set(predicted[head].tolist())) > 1
    share = together.trained(0).mixing
    assert share.sum() == pytest.approx(1.0 if n_mixed else 0.0)
    assert len(share) == n_mixed


@pytest.mark.parametrize(
    "shape", [HeadShape("linear"), HeadShape("mlp", 3, 5, layer_norm=True)], ids=str
)
def test_parameters_are_counted_as_they_are(shape: HeadShape) -> None:
    architecture = Architecture(shape, N_INPUTS, N_CLASSES, N_MIXED)
    parameters = architecture.initial([Recipe()], torch.float32)
    assert architecture.n_parameters == sum(value.numel() for value in parameters)


def test_heads_begin_as_torch_s_linear_layers_do() -> None:
    """Uniform within one over the root of the inputs; the same seed, the same weights, whoever is
    beside it.
    """
    architecture = Architecture(HeadShape("mlp", 1, 64), 100, 3)
    weight, bias, second, _ = architecture.initial(
        [Recipe(seed=5), Recipe(seed=6), Recipe(seed=5)], torch.float32
    )
    assert weight.shape == (3, 64, 100)
    assert 0.0995 < float(weight.abs().max()) <= 0.1
    assert float(weight.mean()) == pytest.approx(0, abs=2e-3)
    assert 0.11 < float(second.abs().max()) <= 0.125
    assert torch.equal(weight[0], weight[2])
    assert torch.equal(bias[0], bias[2])
    assert not torch.equal(weight[0], weight[1])


def test_products_in_bfloat16_score_as_those_in_float32() -> None:
    """Within 0.3 points; weights, gradients' sums and losses stay in float32."""
    given_task = task(dtype=torch.float32, n_rows=3000, n_train=1000)
    sides = (given_task.train, given_task.held)
    train, held = (
        StackRows([x.to(torch.bfloat16) for x in seen.views], seen.labels) for seen in sides
    )
    half = replace(given_task, train=train, held=held)
    recipes = [
        replace(RECIPES[0], learning_rate=rate, seed=seed)
        for rate in (1e-2, 3e-3)
        for seed in (0, 1)
    ]
    heads = [(2, recipe) for recipe in recipes]
    best = []
    for one in (given_task, half):
        found = training(one, HeadShape("mlp", 2, 32), heads, dtype=torch.float32)
        found.advance(10)
        assert {value.dtype for value in map(torch.from_numpy, found.trained(0).arrays)} == {
            torch.float32
        }
        best.append([score for score, _ in found.best_score])
    assert min(best[0]) > 0.6
    assert best[0] != best[1]  # else nothing was rounded
    np.testing.assert_allclose(best[1], best[0], atol=3e-3)


# -- the optimiser ---------------------------------------------------------------------------------


def drawn(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("keeping", [False, True])
def test_each_head_is_moved_as_by_an_adamw_of_torch_of_its_own(keeping: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    recipes = [
        Recipe(learning_rate=rate, weight_decay=decay, average_epochs=0.0)
        for rate, decay in ((1e-2, 0.3), (1e-4, 0.0), (3e-2, 0.01))
    ]
    values = [drawn(generator, 3, 4, 5), drawn(generator, 3, 4)]
    singles = [[value[head].clone().requires_grad_() for value in values] for head in range(3)]
    theirs = [
        torch.optim.AdamW(single, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        for single, recipe in zip(singles, recipes, strict=True)
    ]
    ours, heads = AdamW(values, recipes, steps_per_epoch=7), [0, 1, 2]
    for step in range(30):
        gradients = [drawn(generator, 3, 4, 5) * 10.0**-step, drawn(generator, 3, 4)]
        if keeping and step == 12:
            heads = [0, 2]
            ours.keep(heads, [recipes[head] for head in heads])
        ours.update([gradient[heads] for gradient in gradients])
        for head in range(3):
            for value, gradient in zip(singles[head], gradients, strict=True):
                value.grad = gradient[head].clone()
            theirs[head].step()
    for place, head in enumerate(heads):
        for mine, average, other in zip(ours.parameters, ours.average, singles[head], strict=True):
            torch.testing.assert_close(mine[place], other.detach(), atol=1e-12, rtol=1e-9)
            torch.testing.assert_close(average[place], other.detach(), atol=1e-12, rtol=1e-9)


def test_the_average_is_the_mean_of_the_first_steps_and_then_moves() -> None:
    """Of heads with horizons of their own: two epochs of 4 steps, and none at all."""
    generator = torch.Generator().manual_seed(0)
    recipes = [Recipe(average_epochs=2.0), Recipe(average_epochs=0.0)]
    ours = AdamW([drawn(generator, 2, 3)], recipes, steps_per_epoch=4)
    path = []
    for _ in range(8):
        ours.update([drawn(generator, 2, 3)])
        path.append(ours.parameters[0].clone())
        torch.testing.assert_close(ours.average[0][0], torch.stack(path).mean(dim=0)[0])
        torch.testing.assert_close(ours.average[0][1], path[-1][1])
    before = ours.average[0][0].clone()
    ours.update([drawn(generator, 2, 3)])
    torch.testing.assert_close(ours.average[0][0], before + (ours.parameters[0][0] - before) / 8)


# -- losses ----------------------------------------------------------------------------------------


def focal(logits: Tensor, target: Tensor, weight: Tensor, exponent: float) -> Tensor:
    """Row by row, as in the paper (Lin et al., equation 5), with the weighted mean of torch's
    cross-entropy.
    """
    rows = []
    for row, truth in zip(logits, target.tolist(), strict=True):
        p = torch.softmax(row, dim=0)[truth]
        rows.append(-weight[truth] * (1 - p) ** exponent * torch.log(p))
    return torch.stack(rows).sum() / weight[target].sum()


@settings(deadline=None)  # torch's first steps take long
@given(seed=st.integers(0, 1000), n_rows=st.integers(1, 20), n_classes=st.integers(2, 5))
def test_losses_are_torch_s_cross_entropy_and_the_focal_loss_of_its_paper(
    seed: int, n_rows: int, n_classes: int
) -> None:
    """With their gradients, of heads side by side; balanced weights are scikit-learn's."""
    generator = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(n_classes), generator.integers(0, n_classes, 20)])
    counts = torch.bincount(torch.from_numpy(labels))
    target = torch.from_numpy(generator.choice(labels, n_rows))
    balanced = torch.from_numpy(
        compute_class_weight("balanced", classes=np.arange(n_classes), y=labels)
    )
    even = torch.ones(n_classes, dtype=torch.float64)
    recipes = [
        Recipe(),
        Recipe(label_smoothing=0.1),
        Recipe(balanced=True),
        Recipe(label_smoothing=0.3, balanced=True),
        Recipe(focal=2.0),
        Recipe(focal=0.7, balanced=True),
    ]
    logits = torch.from_numpy(
        3 * generator.standard_normal((len(recipes), n_classes, n_rows))
    ).requires_grad_()
    expected = []
    for head, recipe in enumerate(recipes):
        rows, weight = logits[head].t(), balanced if recipe.balanced else even
        if recipe.focal:
            expected.append(focal(rows, target, weight, recipe.focal))
        else:
            expected.append(
                functional.cross_entropy(
                    rows, target, weight=weight, label_smoothing=recipe.label_smoothing
                )
            )
    (theirs,) = torch.autograd.grad(torch.stack(expected).sum(), logits)
    found = Losses(recipes, counts, torch.float64)(logits, target)
    (ours,) = torch.autograd.grad(found.sum(), logits)
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-9, rtol=1e-7)
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-6)
    plain = Losses(recipes[:1], counts, torch.float64)(logits[:1], target)
    torch.testing.assert_close(plain, found[:1])


def test_a_certain_row_has_a_focal_loss_and_gradient_that_are_finite() -> None:
    logits = torch.tensor([[[200.0], [0.0]], [[0.0], [200.0]]], requires_grad=True)
    losses = Losses([Recipe(focal=0.5), Recipe(focal=0.5)], torch.tensor([1, 1]), torch.float32)
    found = losses(logits, torch.tensor([0]))
    found.sum().backward()  # type: ignore[no-untyped-call]  # torch's
    assert found.tolist() == pytest.approx([0.0, 200.0])
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())


# -- dropout ---------------------------------------------------------------------------------------


def test_dropout_keeps_its_rates_and_leaves_expectations_as_they_are() -> None:
    rates = [0.0, 0.1, 0.5, 0.25]
    hidden = torch.full((4, 500, 401), 3.0)
    found = Dropout(rates, torch.Generator().manual_seed(0), torch.float32)(hidden)
    assert torch.equal(found[0], hidden[0])
    for head, rate in enumerate(rates):
        lost = float((found[head] == 0).float().mean())
        assert lost == pytest.approx(rate, abs=0.5 / 256 + 5 * np.sqrt(0.25 / 200_500))
        assert float(found[head].mean()) == pytest.approx(3.0, rel=0.01)
        assert len(np.unique(found[head].numpy())) == (2 if rate else 1)
    for lower, higher in (
        (1, 3),
        (3, 2),
    ):  # one draw for all: who loses more loses what the others lose, too
        assert bool((found[higher][found[lower] == 0] == 0).all())


def test_dropout_is_drawn_anew_at_every_call_and_by_the_generator_s_seed() -> None:
    hidden = torch.ones(1, 20, 31)
    first, again = (
        Dropout([0.5], torch.Generator().manual_seed(3), torch.float32) for _ in range(2)
    )
    one, two = first(hidden), first(hidden)
    assert not torch.equal(one, two)
    assert torch.equal(again(hidden), one)
    assert torch.equal(Dropout([0.0], torch.Generator(), torch.float32)(hidden), hidden)
