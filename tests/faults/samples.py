"""Small spaces made without a model, for the campaigns that are about bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache.columns import CachedRows
from featcache.cache.contract import Contract
from featcache.cache.origin import BackboneOrigin
from featcache.cache.space import Space
from tests.faults.truth import Truth

HIDDEN = 5
ORIGIN = BackboneOrigin("models/tiny", HIDDEN, 2, 48)
LAYERS, POOLINGS = (0, 2), ("mean", "cls")


def contract(**changes: Any) -> Contract:
    fields: dict[str, Any] = {
        "weights": "a" * 64,
        "config": {"model_type": "bert"},
        "tokenizer": "b" * 64,
        "code": None,
        "special_tokens": True,
        "max_length": 48,
        "truncation_side": "right",
        "dtype": "float32",
        "quantization": None,
        "layers": LAYERS,
        "poolings": POOLINGS,
    }
    return Contract(**{**fields, **changes})


def rows(n: int, seed: int, hidden: int = HIDDEN) -> CachedRows:
    """Rows of random states that float16 holds exactly, so that they may be compared bit by bit."""
    generator = np.random.default_rng(seed)
    names = [f"layer_{layer:02d}/{pooling}" for layer in LAYERS for pooling in POOLINGS]
    return CachedRows(
        keys=generator.integers(0, 256, (n, 16), dtype=np.uint8),
        n_tokens=generator.integers(1, 48, n).astype(np.uint32),
        truncated=generator.integers(0, 2, n).astype(np.bool_),
        features={
            name: generator.standard_normal((n, hidden)).astype(np.float16).astype(np.float32)
            for name in names
        },
    )


def create(cache: Path, **changes: Any) -> Space:
    return Space.create(cache, "tiny", contract(**changes), ORIGIN)


def truth_of(*parts: CachedRows) -> Truth:
    """What a space with these rows has to serve."""
    return Truth(
        np.concatenate([part.keys for part in parts]),
        np.concatenate([np.stack(list(part.features.values()), axis=1) for part in parts]),
        np.concatenate([part.n_tokens for part in parts]).astype(np.int64),
        tolerance=0.0,
    )
