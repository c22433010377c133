"""Attention for packed batches: texts laid end to end in one row, each attending to itself alone.

Registered with Transformers' attention interface under the name `NAME`. A forward pass then needs no padding and
no mask; which tokens belong together is told by the `Layout` that is in force while the model runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional

NAME = "featcache_packed"
_STEP = 32  # bfloat16 attention on CPUs likes key lengths that are a multiple of it
_KNOWN = {"dropout", "scaling", "is_causal", "sliding_window", "softcap", "s_aux", "position_bias"}
_IGNORED = {
    "deterministic",
    "position_ids",
    "cache_position",
    "output_hidden_states",
    "output_attentions",
    "return_dict",
    "use_cache",
}


@dataclass(frozen=True)
class Group:
    """`count` neighbouring texts of `length` tokens each; the first token is the row's `start`-th."""

    start: int
    count: int
    length: int


@dataclass(frozen=True)
class Layout:
    """Texts of one packed row. lengths: tokens of each, in order."""

    lengths: tuple[int, ...]

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        groups, start = [], 0
        for length, same in groupby(self.lengths):
            count = sum(1 for _ in same)
            groups.append(Group(start, count, length))
            start += count * length
        return tuple(groups)


@dataclass(frozen=True)
class Rules:
    """Who attends to whom in one layer, and how scores are made. sinks: (heads,); bias: (1, heads, T, T)."""

    causal: bool
    window: int | None
    scaling: float | None
    softcap: float | None
    sinks: Tensor | None
    bias: Tensor | None

    @property
    def plain(self) -> bool:
        """Whether torch's own attention knows all of it."""
        return self.softcap is None and self.sinks is None and self.bias is None

    def window_for(self, length: int) -> int | None:
        """The sliding window, where texts are longer than it."""
        return self.window if self.window is not None and self.window < length else None


class _Current:
    """What the attention function follows while a model runs. One model runs at a time in a process."""

    layout: Layout | None = None
    calls = 0


@contextlib.contextmanager
def laid_out(layout: Layout) -> Iterator[None]:
    """Attention follows `layout` in the body."""
    _Current.layout, _Current.calls = layout, 0
    try:
        yield
    finally:
        _Current.layout = None


def n_calls() -> int:
    """How often the attention function was called under the last layout."""
    return _Current.calls


def register() -> str:
    """Make the function known to Transformers. Returns its name there."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
    return NAME


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    **others: object,
) -> tuple[Tensor, None]:
    """Attention of one layer. query: (1, heads, T, d); key, value: (1, key heads, T, d). Returns (1, T, heads, d).

    Raises ValueError for whatever it does not know how to honour: the self-check then falls back to padding.
    """
    layout = _Current.layout
    unknown = [name for name, given in others.items() if given is not None and name not in _KNOWN | _IGNORED]
    if layout is None or attention_mask is not None or unknown:
        msg = f"packed attention cannot honour {unknown or 'a mask, or a batch without a layout'}"
        raise ValueError(msg)
    _Current.calls += 1
    causal = bool(getattr(module, "is_causal", False) if is_causal is None else is_causal)
    rules = Rules(causal, sliding_window, scaling, softcap, s_aux, position_bias)
    q, k, v = query[0], key[0], value[0]
    out = torch.empty((q.shape[1], q.shape[0], v.shape[2]), dtype=q.dtype, device=q.device)  # (T, heads, d)
    for group in layout.groups:
        states = _sdpa(q, k, v, group, rules) if rules.plain else _by_hand(q, k, v, group, rules)
        span = out[group.start : group.start + group.count * group.length]
        span.view(group.count, group.length, *span.shape[1:]).copy_(states.transpose(1, 2))
    return out.unsqueeze(0), None


def _texts(states: Tensor, group: Group, n_keys: int) -> Tensor:
    """(heads, T, d) -> (count, heads, n_keys, d) without a copy; n_keys may reach into the texts behind."""
    heads, _, width = states.shape
    by_head, by_token, by_width = states.stride()
    return states.as_strided(
        (group.count, heads, n_keys, width),
        (group.length * by_token, by_head, by_token, by_width),
        states.storage_offset() + group.start * by_token,
    )


def _sdpa(q: Tensor, k: Tensor, v: Tensor, group: Group, rules: Rules) -> Tensor:
    """Attention by torch; in bfloat16 on a CPU with key lengths rounded up, where there are tokens behind."""
    n_keys, window = group.length, rules.window_for(group.length)
    if q.dtype == torch.bfloat16 and q.device.type == "cpu" and not rules.causal and window is None:
        longer = -(-group.length // _STEP) * _STEP
        if group.start + (group.count - 1) * group.length + longer <= k.shape[1]:
            n_keys = longer
    causal = rules.causal and window is not None  # a mask of our own; else torch's
    mask = _mask(group.length, n_keys, causal=causal, window=window, dtype=q.dtype, device=q.device)
    return functional.scaled_dot_product_attention(
        _texts(q, group, group.length),
        _texts(k, group, n_keys),
        _texts(v, group, n_keys),
        attn_mask=mask,
        is_causal=rules.causal and mask is None,
        scale=rules.scaling,
        enable_gqa=q.shape[0] != k.shape[0],
    )


@lru_cache(maxsize=1024)
def _mask(
    length: int, n_keys: int, *, causal: bool, window: int | None, dtype: torch.dtype, device: torch.device
) -> Tensor | None:
    """Additive mask (length or 1, n_keys), or None where all is seen. Window as Transformers means it."""
    if window is None and not causal:
        if n_keys == length:
            return None
        seen = torch.arange(n_keys, device=device).unsqueeze(0) < length
    else:
        back = torch.arange(length, device=device).unsqueeze(1) - torch.arange(n_keys, device=device).unsqueeze(0)
        seen = (back >= 0) if causal else torch.ones_like(back, dtype=torch.bool)
        if window is not None:
            seen &= back.abs() < window
    return torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~seen, float("-inf"))


def _by_hand(q: Tensor, k: Tensor, v: Tensor, group: Group, rules: Rules) -> Tensor:
    """Attention with what torch's own does not know: capped scores, sinks, a bias for positions."""
    queries, keys, values = (_texts(one, group, group.length) for one in (q, k, v))
    repeats = queries.shape[1] // keys.shape[1]
    keys, values = (one.repeat_interleave(repeats, dim=1) for one in (keys, values))
    scale = queries.shape[-1] ** -0.5 if rules.scaling is None else rules.scaling
    scores = queries @ keys.transpose(2, 3) * scale
    if rules.softcap is not None:
        scores = torch.tanh(scores / rules.softcap) * rules.softcap
    if rules.bias is not None:
        scores = scores + rules.bias[:, :, : group.length, : group.length]
    window = rules.window_for(group.length)
    mask = _mask(group.length, group.length, causal=rules.causal, window=window, dtype=q.dtype, device=q.device)
    if mask is not None:
        scores = scores + mask
    if rules.sinks is not None:
        sinks = rules.sinks.reshape(1, -1, 1, 1).expand(scores.shape[0], -1, scores.shape[2], 1)
        scores = torch.cat([scores, sinks], dim=-1)
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
    return weights[..., : group.length] @ values
