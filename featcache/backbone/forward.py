"""The forward pass: from tokens to pooled states of several layers, one batch at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcache.backbone.attention import PackLayout, laid_out
from featcache.backbone.batching import Tokens, longest_first, padded
from featcache.backbone.blocks import run
from featcache.backbone.budget import Budget
from featcache.backbone.model import Backbone
from featcache.backbone.packed import inputs_of, packed_mode
from featcache.backbone.pooling import POOL, pool_packed
from featcache.errors import BackboneError, DoesNotFitError


@dataclass(frozen=True)
class Pooled:
    """The result of a batch.

    Attributes:
        rows: Numbers of the rows, (B,).
        states: Their states, float32 (B, layers, poolings, H).
    """

    rows: NDArray[np.int64]
    states: NDArray[np.float32]


@dataclass(frozen=True)
class _Request:
    """The views to compute: poolings of layers."""

    layers: Sequence[int]
    poolings: Sequence[str]


def pooled_states(
    backbone: Backbone,
    tokens: Tokens,
    *,
    layers: Sequence[int],
    poolings: Sequence[str],
    token_budget: int | None = None,
) -> Generator[Pooled, None, None]:
    """Run the backbone over all rows, longest first, and yield pooled states batch by batch.

    Layers above the highest one that is needed are not computed. When memory runs out, the token
    budget is halved for good and the same rows are tried again.

    Args:
        backbone: The backbone.
        tokens: Tokens of all rows.
        layers: Layer numbers: 0 is the embedding output, the last is after the model's final norm.
        poolings: Names of poolings.
        token_budget: Tokens of a batch; None: what the backbone's own budget finds.

    Yields:
        Pooled: Rows and their states.

    Raises:
        DoesNotFitError: A single row does not fit into memory.
        BackboneError: The tokenizer makes tokens that the model does not know.
    """
    _check_vocabulary(backbone, tokens)
    lengths = tokens.lengths
    budget = backbone.budget if token_budget is None else Budget((token_budget,), fixed=True)
    if backbone.compiled is not None:
        budget = Budget((backbone.compiled.n_tokens,), fixed=True)
    order, request = longest_first(lengths), _Request(layers, poolings)
    states_of = _packed_states if backbone.packed else _padded_states
    start = 0
    with packed_mode(backbone.model) if backbone.packed else contextlib.nullcontext():
        while start < len(order):
            rows = _batch(lengths, order[start:], budget.tokens, packed=backbone.packed)
            try:
                with budget.measured(int(lengths[rows].sum())):
                    states = states_of(backbone, tokens, rows, request).cpu().numpy()
            except RuntimeError as error:
                if not _ran_out_of_memory(error):
                    raise
                if len(rows) == 1:
                    raise _does_not_fit(int(rows[0]), int(lengths[rows[0]])) from error
                budget.halve()
                continue
            yield Pooled(rows, states)
            start += len(rows)


def _does_not_fit(row: int, n_tokens: int) -> DoesNotFitError:
    """The error for a row that does not even fit alone."""
    error = DoesNotFitError(
        f"a text of {n_tokens:,} tokens alone does not fit into memory",
        cure="Use --max-length, --dtype bfloat16 or a smaller model.",
    )
    error.row = row
    return error


def _ran_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory; on CPUs only the message says so."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def halved(states: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
    """Round states to float16 if all of them stay finite.

    torch casts many times as fast as NumPy.

    Args:
        states: States, float32, of any shape.

    Returns:
        The states as float16, or unchanged.
    """
    half = torch.from_numpy(states).to(torch.float16)
    return half.numpy() if bool(torch.isfinite(half).all()) else states


def _batch(
    lengths: NDArray[np.int64], order: NDArray[np.int64], budget: int, *, packed: bool
) -> NDArray[np.int64]:
    """The next rows, at least one: as many as have `budget` tokens together, with any padding."""
    next_lengths = lengths[order[:budget]]  # a row has a token or more
    if packed:
        used = np.cumsum(next_lengths)
    else:
        used = next_lengths[0] * np.arange(1, len(next_lengths) + 1)
    return order[: max(1, int(np.searchsorted(used, budget, side="right")))]


def _check_vocabulary(backbone: Backbone, tokens: Tokens) -> None:
    """Refuse tokens that the model does not know, before an accelerator fails for good on one."""
    model: Any = backbone.model
    try:
        n_known = int(model.get_input_embeddings().weight.shape[0])
    except (NotImplementedError, AttributeError):  # inputs are embedded in a way of the model's own
        return
    highest = int(tokens.ids.max(initial=0))
    if highest >= n_known:
        msg = f"the tokenizer makes token {highest}, and the model knows {n_known} tokens"
        raise BackboneError(
            msg, cure="Use the tokenizer that the model was trained with, saved in the same folder."
        )


def _padded_states(
    backbone: Backbone, tokens: Tokens, rows: NDArray[np.int64], request: _Request
) -> Tensor:
    """Pooled states of a padded batch, float32 (B, layers, poolings, H)."""
    ids, mask = padded(tokens, rows, backbone.padding)
    attention_mask = torch.from_numpy(mask).to(backbone.device)
    input_ids = torch.from_numpy(ids).to(backbone.device)
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask, **backbone.settings}

    def pool(hidden: Tensor) -> Tensor:  # (B, T, H) -> (B, poolings, H)
        return torch.stack([POOL[name](hidden, attention_mask) for name in request.poolings], dim=1)

    return _pooled(backbone, inputs, request, pool)


def _packed_states(
    backbone: Backbone, tokens: Tokens, rows: NDArray[np.int64], request: _Request
) -> Tensor:
    """Pooled states of a packed batch, float32 (B, layers, poolings, H)."""
    texts = [tokens.row(row) for row in rows.tolist()]
    layout = PackLayout(tuple(map(len, texts)))

    def pool(hidden: Tensor) -> Tensor:  # (1, T, H) -> (B, poolings, H)
        return pool_packed(hidden[0], layout.groups, request.poolings)

    if backbone.compiled is not None and layout.n_tokens >= backbone.compiled.min_tokens:
        states = backbone.compiled.states(backbone, texts)
        return torch.stack([pool(states[layer]) for layer in request.layers], dim=1)
    with laid_out(layout):
        return _pooled(backbone, inputs_of(backbone, texts), request, pool)


def _pooled(
    backbone: Backbone, inputs: dict[str, Any], request: _Request, pool: Callable[[Tensor], Tensor]
) -> Tensor:
    """Pooled states, float32 (B, layers, poolings, H); each layer is pooled as it appears."""
    pooled: dict[int, Tensor] = {}

    def take(layer: int, hidden: Tensor) -> None:
        pooled[layer] = pool(hidden)

    with torch.inference_mode():
        run(
            backbone.model,
            backbone.blocks,
            inputs,
            {layer: partial(take, layer) for layer in request.layers},
        )
        return torch.stack([pooled[layer] for layer in request.layers], dim=1)
