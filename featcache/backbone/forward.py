"""The forward pass: from tokens to pooled states of several layers, one batch at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featcache.backbone.batching import Tokens, longest_first, padded
from featcache.backbone.load import Backbone
from featcache.backbone.packed import hidden_states, packed_mode, parameters_of
from featcache.backbone.pooling import POOL, pool_packed
from featcache.errors import BackboneError, MachineError

# Tokens of one batch, padding included. On 2 CPU cores 1,024 to 4,096 are alike (16,384 loses a third); an
# accelerator needs more to be busy.
TOKEN_BUDGET = {"cpu": 2048, "mps": 16384, "cuda": 65536}
PACK_BUDGET = 2048  # tokens of a pack, on CPUs; the same within noise from 1,024 to 8,192


@dataclass(frozen=True)
class Pooled:
    """One batch's result. rows: (B,) numbers of the rows; states: float32 (B, layers, poolings, H)."""

    rows: NDArray[np.int64]
    states: NDArray[np.float32]


def pooled_states(
    backbone: Backbone,
    tokens: Tokens,
    *,
    layers: Sequence[int],
    poolings: Sequence[str],
    token_budget: int | None = None,
) -> Generator[Pooled, None, None]:
    """Run the backbone over all rows, longest first, and yield the pooled states batch by batch.

    Layer 0 is the embedding output; the last is after the model's final norm. When memory runs out, the
    token budget is halved and the same rows are tried again. Raises MachineError where a single row does
    not fit; BackboneError where the tokenizer makes tokens that the model does not know.
    """
    _check_vocabulary(backbone, tokens)
    budget = token_budget or (PACK_BUDGET if backbone.packed else TOKEN_BUDGET[backbone.device])
    order = longest_first(tokens.lengths)
    mode = packed_mode(backbone.model) if backbone.packed else contextlib.nullcontext()
    run = _packed_states if backbone.packed else _padded_states
    start = 0
    with mode:
        while start < len(order):
            rows = _batch(tokens.lengths, order[start:], budget, packed=backbone.packed)
            try:
                states = run(backbone, tokens, rows, layers, poolings)
            except torch.OutOfMemoryError as error:
                if len(rows) == 1:
                    msg = f"a text of {tokens.lengths[rows[0]]} tokens alone does not fit into memory"
                    raise MachineError(msg, cure="Use --max-length, --dtype bfloat16 or a smaller model.") from error
                budget //= 2
                continue
            yield Pooled(rows, states)
            start += len(rows)


def halved(states: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
    """States as float16 where all of them fit, as they are otherwise. torch casts many times as fast as NumPy."""
    half = torch.from_numpy(states).to(torch.float16)
    return half.numpy() if bool(torch.isfinite(half).all()) else states


def _batch(lengths: NDArray[np.int64], order: NDArray[np.int64], budget: int, *, packed: bool) -> NDArray[np.int64]:
    """The next rows, at least one: as many as have `budget` tokens together, padding included where there is any."""
    some = lengths[order[:budget]]  # a row has a token or more
    used = np.cumsum(some) if packed else some[0] * np.arange(1, len(some) + 1)
    return order[: max(1, int(np.searchsorted(used, budget, side="right")))]


def _check_vocabulary(backbone: Backbone, tokens: Tokens) -> None:
    """A tokenizer of another model would end in an IndexError, or poison an accelerator for the whole process."""
    model: Any = backbone.model
    try:
        n_known = int(model.get_input_embeddings().weight.shape[0])
    except (NotImplementedError, AttributeError):  # inputs are embedded in a way of the model's own
        return
    highest = int(tokens.ids.max(initial=0))
    if highest >= n_known:
        msg = f"the tokenizer makes token {highest}, and the model knows {n_known} tokens"
        raise BackboneError(msg, cure="Use the tokenizer that the model was trained with, saved in the same folder.")


def _padded_states(
    backbone: Backbone, tokens: Tokens, rows: NDArray[np.int64], layers: Sequence[int], poolings: Sequence[str]
) -> NDArray[np.float32]:
    ids, mask = padded(tokens, rows, backbone.padding)
    with torch.inference_mode():
        attention_mask = torch.from_numpy(mask).to(backbone.device)
        extra = {"use_cache": False} if "use_cache" in parameters_of(backbone.model) else {}
        output = backbone.model(
            input_ids=torch.from_numpy(ids).to(backbone.device),
            attention_mask=attention_mask,
            output_hidden_states=True,
            return_dict=True,
            **extra,
        )
        pooled = [
            torch.stack([POOL[name](output.hidden_states[layer], attention_mask) for name in poolings], dim=1)
            for layer in layers
        ]
        states: NDArray[np.float32] = torch.stack(pooled, dim=1).cpu().numpy()  # (B, layers, poolings, H)
    return states


def _packed_states(
    backbone: Backbone, tokens: Tokens, rows: NDArray[np.int64], layers: Sequence[int], poolings: Sequence[str]
) -> NDArray[np.float32]:
    hidden = hidden_states(backbone.model, [tokens.row(int(row)) for row in rows], backbone.device)
    with torch.inference_mode():
        lengths = torch.from_numpy(tokens.lengths[rows]).to(backbone.device)
        pooled = [pool_packed(hidden[layer], lengths, poolings) for layer in layers]
        states: NDArray[np.float32] = torch.stack(pooled, dim=1).cpu().numpy()  # (B, layers, poolings, H)
    return states
