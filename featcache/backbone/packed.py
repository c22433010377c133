"""Packed batches: texts laid end to end in one row, so that no padding is computed.

Whether a model can do that is never assumed. `why_not_packed` runs probe texts packed and one by
one and compares every token of every layer: families that ignore the attention interface, or leak
between neighbours, fail it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcache.backbone.attention import NAME, PackLayout, laid_out, n_calls, register
from featcache.backbone.model import Backbone
from featcache.errors import first_line

_SEED = 20_261_121
ORDERS = ((0, 1, 2, 3, 4), (4, 2, 0, 3, 1))  # in which the five probes are packed, in two runs
# Tokens: a probe longer than the sliding windows of small test models, shorter than real ones
_WINDOWS = 80
# What rounding explains. float32: difference to 1 + the layer's largest value; 1e-6 for right
# models, above 1 for wrong ones. Half precision: lowest cosine of a token; 0.9999 for right models,
# 0.60 and below for wrong ones (MiniLM).
_TOLERANCE = 1e-4
_LOWEST_COSINE = 0.995
# A bias for each pair of positions of the whole row, not of each text: 200 MB at 2,048 tokens and
# 12 heads.
_QUADRATIC = ("t5", "mt5", "umt5", "longt5")


def inputs_of(backbone: Backbone, rows: Sequence[NDArray[np.int64]]) -> dict[str, Any]:
    """Make the inputs of a packed batch.

    Args:
        backbone: The backbone.
        rows: Token ids of each text, (T,).

    Returns:
        What the model is called with; ids and positions are (1, tokens of all texts).
    """
    ids = torch.from_numpy(np.concatenate(rows)).unsqueeze(0).to(backbone.device)
    inputs: dict[str, Any] = {"input_ids": ids, **backbone.settings}
    if backbone.first_position is not None:
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
        positions = np.arange(len(starts)) - starts + backbone.first_position
        inputs["position_ids"] = torch.from_numpy(positions).unsqueeze(0).to(backbone.device)
    return inputs


def _hidden_states(backbone: Backbone, rows: Sequence[NDArray[np.int64]]) -> tuple[Tensor, ...]:
    """States of every layer, each (T, H). The model must be in packed mode."""
    with torch.inference_mode(), laid_out(PackLayout(tuple(map(len, rows)))):
        output = backbone.model(
            **inputs_of(backbone, rows), output_hidden_states=True, return_dict=True
        )
    return tuple(states[0] for states in output.hidden_states)


@contextlib.contextmanager
def packed_mode(model: Any) -> Iterator[None]:
    """Give the model our attention in the body, and its own again afterwards.

    Args:
        model: The model.

    Yields:
        None: Nothing.
    """
    own = model.config._attn_implementation  # noqa: SLF001 - the library has no public name for it
    model.set_attn_implementation(register())
    try:
        yield
    finally:
        model.set_attn_implementation(own)


def why_not_packed(backbone: Backbone, max_length: int) -> str | None:
    """Check whether a model gives the same states for packed texts as for texts one by one.

    Args:
        backbone: The backbone.
        max_length: Tokens of the longest text that will come.

    Returns:
        Why it has to be run in padded batches, in a few words; None where packing is right.
    """
    model: Any = backbone.model
    if model.config.model_type in _QUADRATIC:
        return "its position bias grows with the square of a pack"
    longest = min(max_length, _longest(model))
    lengths = (1, min(5, longest), min(5, longest), min(37, longest), longest)
    probes = drawn_probes(backbone, lengths)
    try:
        alone = [_alone(backbone, probe) for probe in probes]
        with packed_mode(model):
            if model.config._attn_implementation != NAME:  # noqa: SLF001 - the library has no public name for it
                return "it has no attention interface"
            for order in ORDERS:
                ordered = [probes[number] for number in order]
                reason = _compare(backbone, ordered, [alone[number] for number in order])
                if reason is not None:
                    return reason
    except Exception as error:
        return f"{type(error).__name__}: {first_line(error)[:80]}"
    return None


def drawn_probes(backbone: Backbone, lengths: Sequence[int]) -> list[NDArray[np.int64]]:
    """Draw token ids of probe texts, the same in every call, without the first quarter of all ids.

    Args:
        backbone: The backbone.
        lengths: Tokens of each text.

    Returns:
        Token ids of each text, (T,).
    """
    model: Any = backbone.model
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    drawn = np.random.default_rng(_SEED)
    return [drawn.integers(vocabulary // 4, vocabulary, length) for length in lengths]


def _compare(
    backbone: Backbone, probes: Sequence[NDArray[np.int64]], alone: Sequence[tuple[Tensor, ...]]
) -> str | None:
    """How packed probes differ from the states of each alone, (T, H) a layer; None if not."""
    packed = _hidden_states(backbone, probes)
    n_blocks = len(alone[0]) - 1
    if len(packed) != n_blocks + 1:
        return "packed, it gives another number of layers"
    if n_calls() != n_blocks:
        return f"{n_calls()} of its {n_blocks} blocks use the attention interface"
    for layer, states in enumerate(packed):
        expected = torch.cat([states_alone[layer] for states_alone in alone])
        deviation = difference(states, expected)
        if deviation is not None:
            return f"layer {layer} differs from texts run one by one ({deviation})"
    return None


def difference(states: Tensor, expected: Tensor) -> str | None:
    """Say by how much states differ from those expected.

    Args:
        states: States, (T, H).
        expected: What they should be, (T, H).

    Returns:
        The difference in words; None where rounding explains it.
    """
    got, want = states.to(torch.float32), expected.to(torch.float32)
    if not bool(torch.isfinite(got).all()):
        return "not finite"
    if states.dtype == torch.float32:
        largest = float((got - want).abs().max() / (1 + want.abs().max()))
        return None if largest <= _TOLERANCE else f"by {largest:.1e}"
    lowest = float(torch.nn.functional.cosine_similarity(got, want, dim=1, eps=1e-6).min())
    return None if lowest >= _LOWEST_COSINE else f"cosine {lowest:.3f}"


def _alone(backbone: Backbone, probe: NDArray[np.int64]) -> tuple[Tensor, ...]:
    """States of every layer for one text, each (T, H), with the model's own attention."""
    ids = torch.from_numpy(probe).unsqueeze(0).to(backbone.device)
    options = {"output_hidden_states": True, "return_dict": True, **backbone.settings}
    with torch.inference_mode():
        output = backbone.model(input_ids=ids, attention_mask=torch.ones_like(ids), **options)
    return tuple(states[0] for states in output.hidden_states)


def _longest(model: Any) -> int:
    """Tokens of the longest probe: beyond the sliding window, where there is one."""
    window = (
        getattr(model.config, "sliding_window", None)
        or getattr(model.config, "local_attention", None)
        or 0
    )
    return max(_WINDOWS, int(window) + 8)
