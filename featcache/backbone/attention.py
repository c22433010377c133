"""Attention for packed batches: texts laid end to end in one row, each attending to itself alone.

Registered with Transformers' attention interface under the name `NAME`. A forward pass then needs
no padding and no mask; the `PackLayout` in force while the model runs says which tokens belong
together.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate, groupby
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from featcache.backbone.device import cpu_flags

NAME = "featcache_packed"
_STEP = 32  # bfloat16 attention on CPUs likes key lengths that are a multiple of it
_VECTOR = 16  # float32 numbers in a vector register of AVX512
# Scores held at a time: more leave the processor's cache (measured: up to 4 times as slow).
_SCORES = 1 << 20
_FLASH = (torch.float16, torch.bfloat16)  # what FlashAttention's kernels take
_MULTIPLIERS = {"avx512_bf16", "amx_bf16"}  # ways of a processor to multiply bfloat16
_IGNORED = {
    "dropout",
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
    """Neighbouring texts of equal length in a packed row.

    Attributes:
        start: Place of the first token in the row.
        count: Number of texts.
        length: Tokens of each text.
    """

    start: int
    count: int
    length: int


@dataclass(frozen=True)
class PackLayout:
    """Texts of one packed row.

    Attributes:
        lengths: Tokens of each text, in order.
    """

    lengths: tuple[int, ...]

    @property
    def n_tokens(self) -> int:
        """Tokens of all texts."""
        return sum(self.lengths)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Runs of neighbouring texts of equal length."""
        groups, start = [], 0
        for length, same in groupby(self.lengths):
            count = sum(1 for _ in same)
            groups.append(Group(start, count, length))
            start += count * length
        return tuple(groups)


@dataclass(frozen=True)
class Rules:
    """Which tokens attend to which in one layer, and how scores are made.

    Attributes:
        causal: Whether a token sees only those before it and itself.
        window: Width of the sliding window in tokens; None without one.
        scaling: Factor of the scores; None: 1 / sqrt(d).
        softcap: Bound of the scores, reached by tanh; None without one.
        sinks: Scores of a position that takes weight and has no value, (heads,); None without.
        bias: What is added to the scores, (1, heads, T, T); None without.
    """

    causal: bool
    window: int | None
    scaling: float | None
    softcap: float | None
    sinks: Tensor | None
    bias: Tensor | None

    @property
    def plain(self) -> bool:
        """Whether torch's own attention can follow all of these."""
        return self.softcap is None and self.sinks is None and self.bias is None

    def window_for(self, length: int) -> int | None:
        """The sliding window, if texts of `length` tokens are longer than it."""
        return self.window if self.window is not None and self.window < length else None


class _Current:
    """What attention follows while a model runs; one model runs at a time in a process."""

    layout: PackLayout | None = None
    calls = 0


@contextlib.contextmanager
def laid_out(layout: PackLayout) -> Iterator[None]:
    """Have attention follow `layout` in the body.

    Args:
        layout: Texts of the packed row on which the model runs.

    Yields:
        None: Nothing.
    """
    _Current.layout, _Current.calls = layout, 0
    try:
        yield
    finally:
        _Current.layout = None


def n_calls() -> int:
    """Count the calls of the attention function under the last layout."""
    return _Current.calls


def register() -> str:
    """Register the attention function with Transformers and return its name there."""
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
    """Attention of one layer, called by Transformers.

    Args:
        module: The model's attention module.
        query: Queries, (1, heads, T, d).
        key: Keys, (1, key heads, T, d).
        value: Values, (1, key heads, T, d).
        attention_mask: Must be None.
        scaling: Factor of the scores.
        is_causal: Whether a token sees only those before it; None: what the module says.
        sliding_window: Width of the sliding window in tokens.
        softcap: Bound of the scores.
        s_aux: Attention sinks, (heads,).
        position_bias: Added to the scores, (1, heads, T, T).
        **others: Other arguments of Transformers' interface.

    Returns:
        The result, (1, T, heads, d), and None for the weights, which are not computed.

    Raises:
        ValueError: An argument cannot be honoured; the check of the model then chooses padding.
    """
    unknown = [name for name, value in others.items() if value is not None and name not in _IGNORED]
    if attention_mask is not None or unknown:
        msg = f"packed attention cannot honour {unknown or 'a mask'}"
        raise ValueError(msg)
    causal = bool(getattr(module, "is_causal", False) if is_causal is None else is_causal)
    if torch.compiler.is_compiling():
        out = _one_node(
            query, key, value, causal, sliding_window, scaling, softcap, s_aux, position_bias
        )
        return out, None
    rules = Rules(causal, sliding_window, scaling, softcap, s_aux, position_bias)
    return _attention(query[0], key[0], value[0], rules).unsqueeze(0), None


@torch.library.custom_op("featcache::packed_attention", mutates_args=())
def _one_node(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    causal: bool,  # noqa: FBT001 - operators take their arguments by place
    window: int | None,
    scaling: float | None,
    softcap: float | None,
    sinks: Tensor | None,
    bias: Tensor | None,
) -> Tensor:
    """Attention as one operator for torch.compile: the layout is read when it runs."""
    rules = Rules(causal, window, scaling, softcap, sinks, bias)
    return _attention(query[0], key[0], value[0], rules).unsqueeze(0)


@_one_node.register_fake
def _output_shape(query: Tensor, _key: Tensor, value: Tensor, *_others: object) -> Tensor:
    """An empty result, (1, T, heads, d), from which torch.compile learns the shape."""
    return query.new_empty((1, query.shape[2], query.shape[1], value.shape[3]))


def _attention(q: Tensor, k: Tensor, v: Tensor, rules: Rules) -> Tensor:
    """Attention from (heads, T, d) to (T, heads, d); tokens behind the last text get zeros."""
    layout = _Current.layout
    if layout is None:
        msg = "packed attention runs where a layout says which tokens belong together"
        raise ValueError(msg)
    _Current.calls += 1
    if q.device.type == "cuda" and q.dtype in _FLASH and rules.plain:
        return _varlen(q, k, v, layout, rules)
    out = torch.empty((q.shape[1], q.shape[0], v.shape[2]), dtype=q.dtype, device=q.device)
    by_hand = not rules.plain or _products_are_faster(q)
    compute = _by_hand if by_hand else _sdpa
    for group in layout.groups:
        for part in _portions(group, q) if by_hand else (group,):
            states = compute(q, k, v, part, rules)  # (count, heads, length, d)
            span = out[part.start : part.start + part.count * part.length]
            # (count * length, heads, d) -> (count, length, heads, d)
            span = span.view(part.count, part.length, *span.shape[1:])
            span.copy_(states.transpose(1, 2))
    out[layout.n_tokens :] = 0
    return out


def _varlen(q: Tensor, k: Tensor, v: Tensor, layout: PackLayout, rules: Rules) -> Tensor:
    """All texts in one kernel on a GPU: FlashAttention 2 (Dao 2023) as PyTorch carries it."""
    from torch.nn.attention.varlen import varlen_attn

    starts = torch.tensor((0, *accumulate(layout.lengths)), dtype=torch.int32, device=q.device)
    longest = max(layout.lengths)
    back = -1 if rules.window is None else rules.window - 1  # tokens seen before; -1: all
    ahead = 0 if rules.causal else back
    out = varlen_attn(
        q.transpose(0, 1),
        k.transpose(0, 1),
        v.transpose(0, 1),
        starts,
        starts,
        longest,
        longest,
        scale=rules.scaling,
        window_size=(back, ahead),
        enable_gqa=q.shape[0] != k.shape[0],
    )
    return cast("Tensor", out)  # a tuple only where more is asked for


def _products_are_faster(q: Tensor) -> bool:
    """Whether two matrix products and a softmax are faster than torch's own attention.

    They are, by 1.3 to 3 times, in bfloat16 on CPUs that multiply it in vector registers
    (AVX512-BF16), for texts of 6 to 400 tokens and heads of 32 to 128; with matrix registers (AMX)
    torch's own is faster for most lengths.
    """
    return (
        q.dtype == torch.bfloat16
        and q.device.type == "cpu"
        and {"avx512_bf16"} == cpu_flags() & _MULTIPLIERS
    )


def _portions(group: Group, q: Tensor) -> Iterator[Group]:
    """Parts of a group whose scores fit in the processor's cache.

    Their sizes have at most two binary digits that are not zero: oneDNN keeps the code that it
    makes for each size of a product, up to 1,024 of them, which was hundreds of MiB after a million
    texts in groups of any size.
    """
    heads, _, width = q.shape
    step = max(1, _SCORES // (heads * group.length * max(group.length, width)))
    first = 0
    while first < group.count:
        left = min(step, group.count - first)
        behind = max(0, left.bit_length() - 2)
        count = left >> behind << behind
        yield Group(group.start + first * group.length, count, group.length)
        first += count


def _texts(states: Tensor, group: Group, n_keys: int) -> Tensor:
    """(heads, T, d) -> (count, heads, n_keys, d), not copied; n_keys may reach into later texts."""
    heads, _, width = states.shape
    by_head, by_token, by_width = states.stride()
    return states.as_strided(
        (group.count, heads, n_keys, width),
        (group.length * by_token, by_head, by_token, by_width),
        states.storage_offset() + group.start * by_token,
    )


def _sdpa(q: Tensor, k: Tensor, v: Tensor, group: Group, rules: Rules) -> Tensor:
    """Torch's attention on a group, (count, heads, length, d).

    In bfloat16 on a CPU the number of keys is rounded up, if there are tokens behind the group.
    """
    n_keys, window = group.length, rules.window_for(group.length)
    if q.dtype == torch.bfloat16 and q.device.type == "cpu" and not rules.causal and window is None:
        longer = -(-group.length // _STEP) * _STEP
        if group.start + (group.count - 1) * group.length + longer <= k.shape[1]:
            n_keys = longer
    causal = rules.causal and window is not None  # torch makes the causal mask if it is alone
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
    length: int,
    n_keys: int,
    *,
    causal: bool,
    window: int | None,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor | None:
    """Additive mask, (length or 1, n_keys), or None where every token sees all others."""
    if window is None and not causal:
        if n_keys == length:
            return None
        seen = torch.arange(n_keys, device=device).unsqueeze(0) < length
    else:
        tokens = torch.arange(length, device=device).unsqueeze(1)  # (length, 1)
        back = tokens - torch.arange(n_keys, device=device).unsqueeze(0)  # (length, n_keys)
        seen = (back >= 0) if causal else torch.ones_like(back, dtype=torch.bool)
        if window is not None:
            seen &= back.abs() < window
    return torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~seen, float("-inf"))


def _by_hand(q: Tensor, k: Tensor, v: Tensor, group: Group, rules: Rules) -> Tensor:
    """Attention as products and a softmax on a group, (count, heads, length, d).

    It can also cap scores and add sinks or a bias, which torch's own cannot.
    """
    queries = _texts(q, group, group.length)  # (count, heads, length, d)
    keys = _texts(k, group, group.length)  # (count, key heads, length, d)
    values = _texts(v, group, group.length)
    count, heads, length, width = queries.shape
    # Queries that share their keys lie below each other: (count, key heads, sharing * length, ...)
    shared = (count, keys.shape[1], -1, length)
    scale = width**-0.5 if rules.scaling is None else rules.scaling
    scores = (queries * scale).reshape(*shared[:3], width) @ keys.transpose(2, 3)
    scores = scores.view(count, heads, length, length)
    if rules.softcap is not None:
        scores = torch.tanh(scores / rules.softcap) * rules.softcap
    if rules.bias is not None:
        scores = scores + rules.bias[:, :, :length, :length]
    window = rules.window_for(length)
    mask = _mask(length, length, causal=rules.causal, window=window, dtype=q.dtype, device=q.device)
    if mask is not None:
        scores = scores + mask
    if rules.sinks is not None:
        sinks = rules.sinks.reshape(1, -1, 1, 1).expand(count, -1, length, 1)
        scores = torch.cat([scores, sinks.to(scores.dtype)], dim=-1)
    weights = _softmax(scores)[..., :length].to(q.dtype)
    return (weights.reshape(shared) @ values).view(count, heads, length, -1)


def _softmax(scores: Tensor) -> Tensor:
    """Softmax of the last dimension in float32, as torch's CPU kernels do it fastest.

    For bfloat16, and for rows shorter than a vector register, these work number by number, 2 to 4
    times as slow.
    """
    if scores.device.type != "cpu" or scores.shape[-1] >= _VECTOR:
        return torch.softmax(scores, dim=-1, dtype=torch.float32)
    scores = scores.to(torch.float32)
    weights = torch.exp_(scores - scores.amax(dim=-1, keepdim=True))
    return weights.div_(weights.sum(dim=-1, keepdim=True))
