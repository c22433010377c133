"""Poolings: from the states of a text's tokens to one vector, as four functions of one signature.

hidden: (B, T, H), any float type.  mask: (B, T), 1 for a real token (special ones too), 0 for
padding, on either side.  Each returns (B, H) in float32; every row must have a real token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from featcache.backbone.attention import Group


def mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real tokens, summed in float32 (sentence-transformers' mean pooling)."""
    weights = mask.to(torch.float32)
    total = torch.einsum("bth,bt->bh", hidden.to(torch.float32), weights)
    return total / weights.sum(dim=1, keepdim=True)


def first_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """State of the first real token: [CLS] in BERT and its relatives."""
    return _pick(hidden, mask.to(torch.int64).argmax(dim=1))


def last_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """State of the last real token, wherever the padding lies."""
    return _pick(hidden, mask.shape[1] - 1 - mask.to(torch.int64).flip(1).argmax(dim=1))


def maximum(hidden: Tensor, mask: Tensor) -> Tensor:
    """Largest value of each dimension over the real tokens."""
    absent = (mask == 0).unsqueeze(-1)  # (B, T, 1)
    return hidden.to(torch.float32).masked_fill(absent, float("-inf")).amax(dim=1)


def _pick(hidden: Tensor, token: Tensor) -> Tensor:
    """State of one token of each text. token: its place, (B,)."""
    return hidden[torch.arange(len(hidden), device=hidden.device), token].to(torch.float32)


POOL: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": mean,
    "cls": first_token,
    "last": last_token,
    "max": maximum,
}


def pool_packed(hidden: Tensor, groups: Sequence[Group], poolings: Sequence[str]) -> Tensor:
    """Pool N texts that lie end to end.

    Each group is reduced at once: 7 times as fast as torch.segment_reduce (80 texts of 25 tokens,
    384 wide, bfloat16, on 2 cores).

    Args:
        hidden: States of all tokens, (T, H).
        groups: Groups of neighbouring texts of equal length.
        poolings: Names of poolings.

    Returns:
        Pooled states, float32 (N, poolings, H).
    """
    n_texts = sum(group.count for group in groups)
    pooled = torch.empty(
        (n_texts, len(poolings), hidden.shape[1]), dtype=torch.float32, device=hidden.device
    )
    row = 0
    for group in groups:
        states = hidden[group.start : group.start + group.count * group.length]
        states = states.view(group.count, group.length, -1)  # (texts * tokens, H) -> 3 axes
        for place, name in enumerate(poolings):
            pooled[row : row + group.count, place] = _REDUCE[name](states)
        row += group.count
    return pooled


# Of (texts, tokens, H) without padding, to (texts, H).
_REDUCE: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda states: torch.sum(states, dim=1, dtype=torch.float32) / states.shape[1],
    "cls": lambda states: states[:, 0],
    "last": lambda states: states[:, -1],
    "max": lambda states: states.amax(dim=1),
}
