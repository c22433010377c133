"""Poolings: from the states of a text's tokens to one vector, as four functions of one signature.

hidden: (B, T, H), any float type.  mask: (B, T), 1 for a real token (special ones too), 0 for padding, on
either side.  Each returns (B, H) in float32; every row must have a real token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real tokens, summed in float32 (sentence-transformers' mean pooling)."""
    weights = mask.to(torch.float32)
    total = torch.einsum("bth,bt->bh", hidden.to(torch.float32), weights)
    return total / weights.sum(dim=1, keepdim=True)


def first_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """State of the first real token: [CLS] in BERT and its like."""
    return _pick(hidden, mask.to(torch.int64).argmax(dim=1))


def last_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """State of the last real token, wherever the padding lies."""
    return _pick(hidden, mask.shape[1] - 1 - mask.to(torch.int64).flip(1).argmax(dim=1))


def maximum(hidden: Tensor, mask: Tensor) -> Tensor:
    """Largest value of each dimension over the real tokens."""
    absent = (mask == 0).unsqueeze(-1)  # (B, T, 1)
    return hidden.to(torch.float32).masked_fill(absent, float("-inf")).amax(dim=1)


def _pick(hidden: Tensor, token: Tensor) -> Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), token].to(torch.float32)


POOL: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": mean,
    "cls": first_token,
    "last": last_token,
    "max": maximum,
}


def pool_packed(hidden: Tensor, lengths: Tensor, poolings: Sequence[str]) -> Tensor:
    """The same poolings of texts that lie end to end. hidden: (T, H); lengths: (N,), which add up to T.

    Returns (N, poolings, H) in float32.
    """
    ends = torch.cumsum(lengths, 0)
    pooled = []
    for name in poolings:
        if name == "cls":
            pooled.append(hidden[ends - lengths].to(torch.float32))
        elif name == "last":
            pooled.append(hidden[ends - 1].to(torch.float32))
        else:
            pooled.append(torch.segment_reduce(hidden.to(torch.float32), name, lengths=lengths, axis=0))
    return torch.stack(pooled, dim=1)
