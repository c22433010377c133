"""States of a few texts computed now, kept nowhere; and what to say of states that are no numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.contract import Contract
from featcache.errors import BackboneError

if TYPE_CHECKING:
    from featcache.backbone.model import Backbone


def states_of(
    texts: Sequence[str],
    model: Backbone,
    contract: Contract,
    *,
    layers: Sequence[int],
    poolings: Sequence[str],
) -> NDArray[np.float32]:
    """Pooled states computed now, float32 (N, layers, poolings, H), in the order of `texts`;
    nothing is cached.

    Raises BackboneError where the model gives NaN or infinity for a text.
    """
    from featcache.backbone.batching import tokenize
    from featcache.backbone.forward import pooled_states

    tokens = tokenize(model.tokenizer, texts, max_length=contract.max_length)
    parts = list(pooled_states(model, tokens, layers=layers, poolings=poolings))
    states = np.concatenate([part.states for part in parts])
    order = np.concatenate([part.rows for part in parts])
    result = np.empty_like(states)
    result[order] = states
    bad = not_finite(result)
    if len(bad):
        raise not_finite_error(f"the text {texts[bad[0]][:40]!r}", contract)
    return result


def culprit(
    texts: Sequence[str], rows: NDArray[np.int64], model: Backbone, contract: Contract
) -> int:
    """Of rows that came out not finite, the first that does so alone: in a pack it may spoil its
    neighbours.
    """
    alone = replace(model, packed=False, compiled=None)
    for text, row in zip(texts, rows, strict=True):
        try:
            states_of([text], alone, contract, layers=contract.layers, poolings=contract.poolings)
        except BackboneError:
            return int(row)
    return int(rows[0])


def not_finite(states: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Rows in which some value is NaN or infinite."""
    if states.dtype == np.float16:  # made so because all of it is finite
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(~np.isfinite(states).all(axis=(1, 2, 3)))


def not_finite_error(place: str, contract: Contract) -> BackboneError:
    msg = f"the backbone gives NaN or infinity for {place} in {contract.dtype}"
    return BackboneError(
        msg, cure="Try --dtype float32; where that does it too, the weights are damaged."
    )
