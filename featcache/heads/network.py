"""A trained head as plain arrays: linear layers with an activation between them. Needs NumPy and
SciPy only.

Every head that is not code ends here, whoever trained it (PyTorch or scikit-learn), so that there
is one way to score, save and serve it. Standardisation is folded into the first layer: a network
takes features as cached. `Head` is the face that these share with heads that are code
(`custom.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from featcache.features.standardize import Standardization
from featcache.heads.shape import ACTIVATIONS
from featcache.tasks.single_label import softmax

_EPSILON = 1e-5  # of layer norm, as in torch.nn.LayerNorm


class Head(Protocol):
    """What the verbs ask of a trained head; it takes features as cached."""

    @property
    def depth(self) -> int:
        """Hidden layers; 0 for linear heads and for those that are code."""

    @property
    def n_inputs(self) -> int:
        """Width of the features."""

    @property
    def n_parameters(self) -> int:
        """Trained numbers."""

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of N rows of features (N, in) for C classes, (N, C). Raises ValueError for another
        width.
        """

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Softmax of the logits, (N, C); rows add up to 1."""


@dataclass(frozen=True)
class Network:
    """weights[i]: (in, out); biases[i]: (out,). Depth is the number of hidden layers: one layer is
    depth 0.

    Hidden layer i is z = h @ weights[i] + biases[i]; with `layer_norm` z is normalised over its
    width, without learned gain and bias, which are rarely worth having ("LayerNorm-simple", Xu et
    al. 2019, arXiv 1911.07013); a = activation(z). With `residual`, from the second hidden layer
    on, h becomes h + a, else a.
    Raises ValueError for an activation that is not of ACTIVATIONS.
    """

    weights: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]
    activation: str = "gelu"
    layer_norm: bool = False
    residual: bool = False

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            msg = f"there is no activation {self.activation!r}; choose of {', '.join(ACTIVATIONS)}"
            raise ValueError(msg)

    @property
    def depth(self) -> int:
        return len(self.weights) - 1

    @property
    def n_inputs(self) -> int:
        return int(self.weights[0].shape[0])

    @property
    def n_parameters(self) -> int:
        return sum(array.size for array in (*self.weights, *self.biases))

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of N rows of features (N, in) for C classes, (N, C). Raises ValueError for another
        width.
        """
        check_width(features, self.n_inputs)
        hidden = features
        for layer, (weight, bias) in enumerate(
            zip(self.weights[:-1], self.biases[:-1], strict=True)
        ):
            raw = hidden @ weight + bias
            active = _activated(_normalised(raw) if self.layer_norm else raw, self.activation)
            # The input of the first layer has another width, so there is nothing to add there.
            hidden = hidden + active if self.residual and layer > 0 else active
        return (hidden @ self.weights[-1] + self.biases[-1]).astype(np.float32)

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Softmax of the logits, (N, C); rows add up to 1."""
        return softmax(self.logits(features))


def folded(
    weights: Sequence[NDArray[np.floating]],
    biases: Sequence[NDArray[np.floating]],
    scale: Standardization,
    *,
    activation: str = "gelu",
    layer_norm: bool = False,
    residual: bool = False,
) -> Network:
    """The network on raw features that equals one on standardised features.

    (x - mean) / std @ W + b = x @ (W / std) + (b - mean / std @ W), worked out in float64. It
    concerns the first product alone, so what comes after it may be anything.
    """
    first = weights[0].astype(np.float64) / scale.std[:, None].astype(np.float64)
    bias = biases[0].astype(np.float64) - scale.mean.astype(np.float64) @ first
    return Network(
        (first.astype(np.float32), *(weight.astype(np.float32) for weight in weights[1:])),
        (bias.astype(np.float32), *(bias.astype(np.float32) for bias in biases[1:])),
        activation,
        layer_norm,
        residual,
    )


def check_width(features: NDArray[np.float32], n_inputs: int) -> None:
    """Raises ValueError unless features are (N, n_inputs)."""
    if features.ndim != 2 or features.shape[1] != n_inputs:
        msg = f"features of shape {features.shape} where (N, {n_inputs}) is expected"
        raise ValueError(msg)


def _normalised(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row (N, width) to mean 0 and standard deviation 1 over its width, as torch's
    layer_norm.
    """
    centred = x - x.mean(axis=1, keepdims=True)
    variance = np.square(centred).mean(axis=1, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + np.float32(_EPSILON)), dtype=np.float32)


def _activated(x: NDArray[np.float32], activation: str) -> NDArray[np.float32]:
    if activation == "relu":
        return np.maximum(x, np.float32(0.0))
    return _gelu(x) if activation == "gelu" else _silu(x)


def _gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The exact GELU of PyTorch's default, x * Phi(x) (Hendrycks and Gimpel, arXiv 1606.08415)."""
    from scipy.special import erf

    return np.asarray(x * 0.5 * (1.0 + erf(x / np.sqrt(np.float32(2.0)))), dtype=np.float32)


def _silu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """X * sigmoid(x), of the same paper; SciPy's sigmoid does not overflow for large negative x."""
    from scipy.special import expit

    return np.asarray(x * expit(x), dtype=np.float32)
