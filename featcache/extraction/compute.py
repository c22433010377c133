"""States of a few texts, computed now and kept nowhere; errors for states that are not finite."""

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
    """Compute the pooled states of texts without caching them.

    Args:
        texts: N texts, as the backbone is given them.
        model: The backbone.
        contract: Gives the maximum length, and the dtype for messages.
        layers: Layer numbers.
        poolings: Names of poolings.

    Returns:
        States, float32 (N, layers, poolings, H), in the order of `texts`.

    Raises:
        BackboneError: The model gives NaN or infinity for a text.
    """
    from featcache.backbone.batching import tokenize
    from featcache.backbone.forward import pooled_states

    tokens = tokenize(model.tokenizer, texts, max_length=contract.max_length)
    batches = list(pooled_states(model, tokens, layers=layers, poolings=poolings))
    longest_first = np.concatenate([batch.states for batch in batches])
    rows = np.concatenate([batch.rows for batch in batches])
    states = np.empty_like(longest_first)
    states[rows] = longest_first
    bad = not_finite(states)
    if len(bad):
        raise not_finite_error(f"the text {texts[bad[0]][:40]!r}", contract)
    return states


def culprit(
    texts: Sequence[str], rows: NDArray[np.int64], model: Backbone, contract: Contract
) -> int:
    """Find the first text that is not finite on its own; in a pack it may spoil its neighbours.

    Args:
        texts: N texts whose states came out not finite.
        rows: Their numbers, (N,).
        model: The backbone.
        contract: The contract.

    Returns:
        The number of that text; of the first one where none is to blame alone.
    """
    alone = replace(model, packed=False, compiled=None)
    for text, row in zip(texts, rows, strict=True):
        try:
            states_of([text], alone, contract, layers=contract.layers, poolings=contract.poolings)
        except BackboneError:
            return int(row)
    return int(rows[0])


def not_finite(states: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Find the rows in which some value is NaN or infinite.

    Args:
        states: States, (N, layers, poolings, H).

    Returns:
        Row numbers, ascending.
    """
    if states.dtype == np.float16:  # `halved` makes float16 only where everything is finite
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(~np.isfinite(states).all(axis=(1, 2, 3)))


def not_finite_error(place: str, contract: Contract) -> BackboneError:
    """Say which text has states that are not finite.

    Args:
        place: The text, or where it stands.
        contract: Gives the dtype.

    Returns:
        The error, to be raised.
    """
    msg = f"the backbone gives NaN or infinity for {place} in {contract.dtype}"
    cure = "Try --dtype float32; where that does it too, the weights are damaged."
    return BackboneError(msg, cure=cure)
