"""A trained head as plain arrays: linear layers with GELU between them. Needs NumPy only.

Every head ends here, whoever trained it (PyTorch or scikit-learn), so that there is one way to score,
save and serve it. Standardisation is folded into the first layer: a network takes features as cached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.heads.standardize import Standardization


@dataclass(frozen=True)
class Network:
    """weights[i]: (in, out); biases[i]: (out,). Depth is the number of hidden layers: one layer is depth 0."""

    weights: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]

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
        """Scores of N rows of features (N, in) for C classes, (N, C). Raises ValueError for another width."""
        if features.ndim != 2 or features.shape[1] != self.n_inputs:  # noqa: PLR2004 - rows and columns
            msg = f"features of shape {features.shape} where (N, {self.n_inputs}) is expected"
            raise ValueError(msg)
        hidden = features
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = _gelu(hidden @ weight + bias)
        return (hidden @ self.weights[-1] + self.biases[-1]).astype(np.float32)

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Softmax of the logits, (N, C); rows add up to 1."""
        return softmax(self.logits(features))


def folded(
    weights: Sequence[NDArray[np.floating]], biases: Sequence[NDArray[np.floating]], scale: Standardization
) -> Network:
    """The network on raw features that equals one on standardised features.

    (x - mean) / std @ W + b = x @ (W / std) + (b - mean / std @ W), worked out in float64.
    """
    first = weights[0].astype(np.float64) / scale.std[:, None].astype(np.float64)
    bias = biases[0].astype(np.float64) - scale.mean.astype(np.float64) @ first
    return Network(
        (first.astype(np.float32), *(weight.astype(np.float32) for weight in weights[1:])),
        (bias.astype(np.float32), *(bias.astype(np.float32) for bias in biases[1:])),
    )


def softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Softmax over the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    raised = np.exp(shifted)
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True), dtype=np.float64)


def _gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The exact GELU of PyTorch's default, x * Phi(x) (Hendrycks and Gimpel, arXiv 1606.08415)."""
    from scipy.special import erf

    return np.asarray(x * 0.5 * (1.0 + erf(x / np.sqrt(np.float32(2.0)))), dtype=np.float32)
