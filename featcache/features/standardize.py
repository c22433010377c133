"""Standardisation with training statistics: each dimension to mean 0 and standard deviation 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A dimension that varies less than this share of its size holds rounding, not signal: the first
# token of a causal model and [CLS] of layer 0 are the same for every text.
_CONSTANT = 1e-4
# At a time: NumPy holds a float64 copy of what it takes the deviation of; the numbers are the same
_COLUMNS = 256


@dataclass(frozen=True)
class Standardization:
    """mean and std, (H,) each; std is 1 where a dimension is constant."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @classmethod
    def of(cls, features: NDArray[np.float32]) -> Standardization:
        """Statistics of training features (N, H), summed in float64."""
        mean = features.mean(axis=0, dtype=np.float64)
        blocks = range(0, features.shape[1], _COLUMNS)
        std = np.concatenate(
            [features[:, at : at + _COLUMNS].std(axis=0, dtype=np.float64) for at in blocks]
        )
        constant = std <= _CONSTANT * np.maximum(np.abs(mean), 1e-3)
        return cls(mean.astype(np.float32), np.where(constant, 1.0, std).astype(np.float32))

    @classmethod
    def none(cls, n_inputs: int) -> Standardization:
        """What leaves features as they are."""
        return cls(np.zeros(n_inputs, dtype=np.float32), np.ones(n_inputs, dtype=np.float32))

    @classmethod
    def joined(cls, scales: Sequence[Standardization]) -> Standardization:
        """Statistics of features side by side."""
        return cls(
            np.concatenate([one.mean for one in scales]),
            np.concatenate([one.std for one in scales]),
        )

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardised features (N, H)."""
        return (features - self.mean) / self.std
