"""Planted cases: features and labels of which is known why the subject stops where it stops.

Each is drawn anew for every seed. `expected` is the cause that was planted; where another is true
as well, the verdict may put it first, but has to list this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.evidence.verdict import Verdict
from featcache.verbs.diagnose import diagnose

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """features, labels: as `diagnose` takes them. options: of its subject. also: causes that may
    come first.
    """

    expected: str
    features: Array | Mapping[tuple[int, str], Array]
    labels: NDArray[np.int64]
    options: dict[str, Any] = field(default_factory=dict)
    also: tuple[str, ...] = ()

    def judged(self, seed: int = 0) -> Verdict:
        return diagnose(self.features, self.labels, metric="accuracy", seed=seed, **self.options)

    def right(self, verdict: Verdict) -> bool:
        """Whether the planted cause is first, or listed behind one that is true as well."""
        listed = [one.kind for one in verdict.causes]
        return verdict.kind == self.expected or (
            verdict.kind in self.also and self.expected in listed
        )


def two_clouds(
    generator: np.random.Generator, labels: NDArray[np.int64], inputs: int, apart: float
) -> Array:
    """Two classes, so many standard deviations from the middle in five dimensions together:
    Phi(apart) can be right.
    """
    x = generator.standard_normal((len(labels), inputs))
    x[:, :5] += apart * (2 * labels - 1)[:, None] / np.sqrt(5)
    return x


def xor(seed: int) -> Case:
    """Two features of which neither tells anything by itself, among noise."""
    generator = np.random.default_rng(seed)
    bits = generator.integers(0, 2, (400, 2))
    noise = generator.standard_normal((400, 14))
    x = np.concatenate([2 * bits - 1 + 0.3 * generator.standard_normal((400, 2)), noise], axis=1)
    return Case("capacity", x, bits[:, 0] ^ bits[:, 1])


def one_middle_layer(seed: int) -> Case:
    """Seven layers, signal in the third alone."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, 500)
    views = {(layer, "mean"): generator.standard_normal((500, 24)) for layer in range(7)}
    views[3, "mean"] = two_clouds(generator, labels, 24, 1.8)
    return Case("features", views, labels)


def last_token_at_padding(seed: int) -> Case:
    """The last position of a padded batch: the state of padding, but for the few longest texts."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, 500)
    lengths = generator.integers(3, 20, 500)
    mean, last = (two_clouds(generator, labels, 24, 1.8) for _ in range(2))
    padding = generator.standard_normal(24) + 0.05 * generator.standard_normal((500, 24))
    read = np.where((lengths == lengths.max())[:, None], last, padding)
    return Case("features", {(2, "last"): read, (2, "mean"): mean}, labels, {"view": (2, "last")})


def tiny_rate(seed: int) -> Case:
    """A linear head at a learning rate of 1e-6."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, 500)
    return Case("not-converged", two_clouds(generator, labels, 24, 1.8), labels, {"lr": 1e-6})


def huge_dimension(seed: int) -> Case:
    """One dimension ten thousand times as large as the others, and no standardisation."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, 500)
    x = two_clouds(generator, labels, 24, 1.8)
    x[:, 7] *= 1e4
    return Case("unscaled", x, labels, {"scale": False})


def huge_dimension_by_descent(seed: int) -> Case:
    """The same for a head that is trained by gradient descent."""
    case = huge_dimension(seed)
    return Case(
        "unscaled",
        case.features,
        case.labels,
        {"scale": False, "lr": 1e-3},
        ("not-converged", "overfits"),
    )


def random_labels(seed: int) -> Case:
    generator = np.random.default_rng(seed)
    views = {(layer, "mean"): generator.standard_normal((400, 24)) for layer in range(3)}
    return Case("no-signal", views, generator.integers(0, 2, 400))


def few_rows(seed: int, rows: int = 200) -> Case:
    """A linear task in 60 dimensions: 200 rows leave 0.82, 2,000 rows 0.95."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((rows, 60))
    labels = (
        x @ generator.standard_normal(60) / np.sqrt(60) + 0.1 * generator.standard_normal(rows) > 0
    ).astype(np.int64)
    return Case("data-limited", x, labels, also=("backbone",))


def big_head(seed: int) -> Case:
    """Two hidden layers of 256 on 200 rows, every fifth of them labelled wrongly."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, 200)
    x = two_clouds(generator, labels, 30, 2.2)
    noisy = labels ^ (generator.random(200) < 0.2)
    return Case(
        "overfits",
        x,
        noisy.astype(np.int64),
        {"head": "mlp 2×256"},
        ("data-limited", "features", "capacity"),
    )


def easy(seed: int) -> Case:
    """Every layer holds the same: with noise of their own, three side by side would truly be better
    than one.
    """
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, 600)
    x = generator.standard_normal((600, 24))
    x[:, :3] += 3.0 * np.eye(3)[labels]
    views = {(layer, "mean"): x + 0.1 * generator.standard_normal(x.shape) for layer in range(3)}
    return Case("fits", views, labels)


def weak_everywhere(seed: int) -> Case:
    """Every layer holds the same little: 0.66 can be right."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, 1200)
    x = two_clouds(generator, labels, 24, 0.4)
    views = {(layer, "mean"): x + 0.1 * generator.standard_normal(x.shape) for layer in range(3)}
    return Case("backbone", views, labels, also=("data-limited",))


CASES: dict[str, Callable[[int], Case]] = {
    one.__name__: one
    for one in (
        xor,
        one_middle_layer,
        last_token_at_padding,
        tiny_rate,
        huge_dimension,
        huge_dimension_by_descent,
        random_labels,
        few_rows,
        big_head,
        easy,
        weak_everywhere,
    )
}
