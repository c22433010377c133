"""The forward pass: from tokens to pooled states of several layers, one batch at a time."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featcache.backbone.batching import Tokens, longest_first, padded
from featcache.backbone.load import Backbone
from featcache.backbone.pooling import POOL
from featcache.errors import BackboneError, MachineError

# Tokens of one batch, padding included. On 2 CPU cores 2,048 to 4,096 was best (16,384 lost a third); an
# accelerator needs more to be busy.
TOKEN_BUDGET = {"cpu": 4096, "mps": 16384, "cuda": 65536}


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
) -> Iterator[Pooled]:
    """Run the backbone over all rows, longest first, and yield the pooled states batch by batch.

    Layer 0 is the embedding output; the last is after the model's final norm. When memory runs out, the
    token budget is halved and the same rows are tried again. Raises MachineError where a single row does
    not fit; BackboneError where the tokenizer makes tokens that the model does not know.
    """
    _check_vocabulary(backbone, tokens)
    budget = token_budget or TOKEN_BUDGET[backbone.device]
    order = longest_first(tokens.lengths)
    start = 0
    while start < len(order):
        longest = int(tokens.lengths[order[start]])
        rows = order[start : start + max(1, budget // longest)]
        try:
            states = _states(backbone, tokens, rows, layers, poolings)
        except torch.OutOfMemoryError as error:
            if len(rows) == 1:
                msg = f"a text of {longest} tokens alone does not fit into memory"
                raise MachineError(msg, cure="Use --max-length, --dtype bfloat16 or a smaller model.") from error
            budget //= 2
            continue
        yield Pooled(rows, states)
        start += len(rows)


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


def _states(
    backbone: Backbone, tokens: Tokens, rows: NDArray[np.int64], layers: Sequence[int], poolings: Sequence[str]
) -> NDArray[np.float32]:
    ids, mask = padded(tokens, rows, backbone.padding)
    with torch.inference_mode():
        attention_mask = torch.from_numpy(mask).to(backbone.device)
        extra = {"use_cache": False} if "use_cache" in _parameters(backbone.model) else {}
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


def _parameters(model: torch.nn.Module) -> frozenset[str]:
    return frozenset(inspect.signature(model.forward).parameters)
