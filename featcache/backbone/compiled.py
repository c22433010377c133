"""Packed batches through torch.compile, all of one size, so that the model is compiled once.

Weights are frozen into the compiled code, layers that are not needed fall away as dead code, and
attention stays one operator that reads the layout of the batch when it runs (`attention.py`).
PyTorch keeps what it compiled on the disk. Nothing is taken on trust: the compiled model is
compared with the one it was made from.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._inductor import config as inductor

from featcache.backbone.attention import PackLayout, laid_out
from featcache.backbone.model import Backbone
from featcache.backbone.packed import ORDERS, difference, drawn_probes, inputs_of, packed_mode
from featcache.errors import first_line

N_TOKENS = 4096  # of every batch, filled up with tokens that no text attends to
_PROBE_LENGTHS = (1, 5, 5, 37, 300)  # tokens of the texts with which the compiled model is checked
_MIN_SHARE = 0.8  # of a full batch: a smaller one runs faster uncompiled


@dataclass(frozen=True)
class Compiled:
    """A model compiled for batches of one size.

    Attributes:
        layers: The layers whose states the function returns, in this order.
        n_tokens: Tokens of every batch.
        function: Takes token ids (1, n_tokens) and position ids (1, n_tokens) or None; returns the
            states of each layer, (1, n_tokens, H).
    """

    layers: tuple[int, ...]
    n_tokens: int
    function: Callable[..., tuple[Tensor, ...]]

    @property
    def min_tokens(self) -> int:
        """Tokens from which on a batch runs faster compiled and filled up than uncompiled."""
        return round(_MIN_SHARE * self.n_tokens)

    def states(self, backbone: Backbone, texts: Sequence[NDArray[np.int64]]) -> dict[int, Tensor]:
        """Run one batch; the model must be in packed mode.

        Args:
            backbone: The backbone from which this was compiled.
            texts: Token ids of each text, (T,), at most `n_tokens` together.

        Returns:
            States by layer, each (1, n_tokens, H): the texts end to end, then the filling.
        """
        lengths = tuple(map(len, texts))
        filling = [texts[-1][:1]] * (self.n_tokens - sum(lengths))  # texts of one token
        inputs = inputs_of(backbone, [*texts, *filling])
        with torch.no_grad(), laid_out(PackLayout(lengths)):
            states = self.function(inputs["input_ids"], inputs.get("position_ids"))
        return dict(zip(self.layers, states, strict=True))


def compile_packed(backbone: Backbone, layers: Sequence[int], max_length: int) -> Compiled | str:
    """Compile a backbone and compare it with the original; this takes 10 to 30 seconds.

    Args:
        backbone: A packed backbone on the CPU; others are not compiled.
        layers: Numbers of the layers whose states are needed.
        max_length: Tokens of the longest text that will come.

    Returns:
        The compiled pass, or in a few words why there is none.
    """
    obstacle = _obstacle(backbone, max_length)
    if obstacle is not None:
        return obstacle
    forward = _forward_of(backbone, layers)
    options: dict[str, Any] = {}
    if "isolate_recompiles" in signature(torch.compile).parameters:
        # A process may run many models, and PyTorch otherwise counts the recompilations of this
        # function for all of them together.
        options["isolate_recompiles"] = True
    function = torch.compile(forward, fullgraph=True, dynamic=False, **options)
    compiled = Compiled(tuple(layers), N_TOKENS, function)
    lengths = tuple(min(length, max_length) for length in _PROBE_LENGTHS)
    try:
        # Freezing as an option of torch.compile has no effect (torch 2.13): weights would be laid
        # out in every call.
        with (
            warnings.catch_warnings(action="ignore"),
            packed_mode(backbone.model),
            inductor.patch(freezing=True),
        ):
            deviation = _deviation(compiled, backbone, lengths, forward)
    except Exception as error:
        return f"{type(error).__name__}: {first_line(error)[:80]}"
    return compiled if deviation is None else deviation


def _obstacle(backbone: Backbone, max_length: int) -> str | None:
    """Why a backbone cannot be compiled for batches of one size, or None."""
    if not backbone.packed or backbone.device != "cpu":
        return "only texts that are packed on a CPU come in batches of one size"
    if max_length > N_TOKENS:
        return f"texts may be longer than a batch of {N_TOKENS:,} tokens"
    if not _has_compiler():
        return "there is no C++ compiler on this machine"
    return None


def _forward_of(backbone: Backbone, layers: Sequence[int]) -> Callable[..., tuple[Tensor, ...]]:
    """The function to compile: from ids and positions, (1, T), to a (1, T, H) for each layer."""
    model: Any = backbone.model
    settings = backbone.settings

    def forward(ids: Tensor, positions: Tensor | None) -> tuple[Tensor, ...]:
        position_ids = {} if positions is None else {"position_ids": positions}
        output = model(
            input_ids=ids,
            output_hidden_states=True,
            return_dict=True,
            **position_ids,
            **settings,
        )
        return tuple(output.hidden_states[layer] for layer in layers)

    return forward


def _deviation(
    compiled: Compiled,
    backbone: Backbone,
    lengths: tuple[int, ...],
    forward: Callable[..., tuple[Tensor, ...]],
) -> str | None:
    """Compare the states of the compiled model with those of the original; None if they agree."""
    probes = drawn_probes(backbone, lengths)
    ends = np.cumsum(lengths)
    inputs = inputs_of(backbone, probes)
    with torch.no_grad(), laid_out(PackLayout(lengths)):
        expected = forward(inputs["input_ids"], inputs.get("position_ids"))  # each (1, T, H)
    # The first call compiles; the second has another layout, as every batch of a pass has.
    for order in ORDERS:
        spans = [np.arange(ends[number] - lengths[number], ends[number]) for number in order]
        tokens = np.concatenate(spans)  # (T,): the original place of each token in this order
        states = compiled.states(backbone, [probes[number] for number in order])
        for layer, original in zip(compiled.layers, expected, strict=True):
            deviation = difference(states[layer][0, : ends[-1]], original[0, tokens])
            if deviation is not None:
                return f"compiled, layer {layer} comes out differently ({deviation})"
    return None


def _has_compiler() -> bool:
    """Whether PyTorch finds a C++ compiler."""
    try:
        from torch._inductor.cpp_builder import get_cpp_compiler

        return bool(get_cpp_compiler())
    except Exception:
        return False
