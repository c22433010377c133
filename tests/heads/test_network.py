"""Networks of every shape against the same thing in torch, and the names of shapes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from featcache.features.standardize import Standardization
from featcache.heads.network import Head, Network, folded
from featcache.heads.shape import ACTIVATIONS, HeadShape

Arrays = list[NDArray[np.float64]]
Activation = Callable[[torch.Tensor], torch.Tensor]
ACTIVATE: dict[str, Activation] = {
    "gelu": functional.gelu,
    "relu": functional.relu,
    "silu": functional.silu,
}


def drawn(
    depth: int, n_inputs: int = 11, width: int = 7, n_classes: int = 3
) -> tuple[Arrays, Arrays]:
    generator = np.random.default_rng(depth)
    sizes = [n_inputs, *[width] * depth, n_classes]
    weights = [generator.standard_normal(shape) for shape in pairwise(sizes)]
    return weights, [generator.standard_normal(size) for size in sizes[1:]]


def in_torch(
    x: NDArray[np.floating],
    weights: Arrays,
    biases: Arrays,
    activation: str,
    *,
    layer_norm: bool,
    residual: bool,
) -> NDArray[np.float64]:
    """In float64, with torch's own layers."""
    hidden = torch.from_numpy(x.astype(np.float64))
    for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        z = functional.linear(hidden, torch.from_numpy(weight.T.copy()), torch.from_numpy(bias))
        if number == len(weights) - 1:
            return np.asarray(z.numpy())
        z = functional.layer_norm(z, z.shape[1:]) if layer_norm else z
        a = ACTIVATE[activation](z)
        hidden = hidden + a if residual and number >= 1 else a
    raise AssertionError


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("depth", range(9))
def test_every_shape_is_what_torch_makes_of_it(
    depth: int, activation: str, layer_norm: bool, residual: bool
) -> None:
    """Also with standardisation folded in: layer norm comes after the first product, so that stays
    exact.
    """
    weights, biases = drawn(depth)
    raw = np.random.default_rng(9).standard_normal((13, 11)).astype(np.float32) * 3 + 20
    scale = Standardization.of(raw)
    options = {"layer_norm": layer_norm, "residual": residual}
    expected = in_torch(scale.apply(raw), weights, biases, activation, **options)
    head = folded(weights, biases, scale, activation=activation, **options)
    size = np.abs(expected).max()
    np.testing.assert_allclose(head.logits(raw), expected, atol=1e-4 * size)
    plain = Network(
        tuple(weight.astype(np.float32) for weight in weights),
        tuple(bias.astype(np.float32) for bias in biases),
        activation,
        **options,
    )
    found = plain.logits(scale.apply(raw))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5 * size)
    assert (plain.depth, plain.n_inputs) == (depth, 11)


def test_a_shape_matters() -> None:
    """Each of the options changes what a deep network says, so that the comparison above is one."""
    weights, biases = drawn(3)
    x = np.random.default_rng(0).standard_normal((5, 11)).astype(np.float32)
    arrays = (
        tuple(one.astype(np.float32) for one in weights),
        tuple(one.astype(np.float32) for one in biases),
    )
    made = [Network(*arrays, "gelu"), Network(*arrays, "relu"), Network(*arrays, "silu")]
    made += [Network(*arrays, layer_norm=True), Network(*arrays, residual=True)]
    said = [one.logits(x) for one in made]
    assert not any(np.allclose(said[i], said[j], atol=1e-2) for i in range(5) for j in range(i))


def test_large_values_overflow_nowhere() -> None:
    x = np.array([[-1e4], [1e4]], np.float32)
    for activation, expected in (("silu", [0.0, 1e4]), ("relu", [0.0, 1e4]), ("gelu", [0.0, 1e4])):
        ones, zeros = np.ones((1, 1), np.float32), np.zeros(1, np.float32)
        head = Network((ones, ones), (zeros, zeros), activation)
        np.testing.assert_allclose(head.logits(x)[:, 0], expected)


def test_a_constant_row_is_normalised_to_zeros() -> None:
    """Width 1, too: its deviation is 0, and the small number under the root keeps it from dividing
    by that.
    """
    ones, zeros = np.ones((1, 1), np.float32), np.zeros(1, np.float32)
    head = Network((ones, ones), (zeros, zeros), layer_norm=True)
    assert head.logits(np.full((2, 1), 5, np.float32)).tolist() == [[0.0], [0.0]]


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(ValueError, match="no activation 'tanh'; choose of gelu, relu, silu"):
        Network((np.ones((4, 2), np.float32),), (np.zeros(2, np.float32),), "tanh")


def test_a_network_has_the_face_of_a_head() -> None:
    head: Head = Network((np.ones((4, 2), np.float32),), (np.zeros(2, np.float32),))
    assert (head.depth, head.n_inputs, head.n_parameters) == (0, 4, 10)
    assert head.probabilities(np.ones((1, 4), np.float32)).tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        (HeadShape("logreg"), "logreg"),
        (HeadShape("linear", residual=True), "linear"),
        (HeadShape("mlp", 2, 256), "mlp 2×256"),
        (
            HeadShape("mlp", 2, 256, "relu", layer_norm=True, residual=True),
            "mlp 2×256 relu norm residual",
        ),
        (HeadShape("mlp", 1, 8, layer_norm=True), "mlp 1×8 norm"),
        (HeadShape("mlp", 4, 8, "silu", residual=True), "mlp 4×8 silu residual"),
    ],
)
def test_a_shape_is_named_by_what_is_not_the_default(shape: HeadShape, name: str) -> None:
    assert str(shape) == name
