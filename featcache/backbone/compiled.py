"""Packed batches through torch.compile: always the same number of tokens, so that the model is
compiled once.

Weights are frozen into the compiled code, layers that nobody asked for fall away as dead code, and
attention stays one operator that reads the layout of the batch when it runs (`attention.py`).
PyTorch keeps what it compiled on the disk. Nothing is taken on trust: the compiled model is tried
against the one that it was made from.
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
_LENGTHS = (1, 5, 5, 37, 300)  # tokens of the texts of the trial


@dataclass(frozen=True)
class Compiled:
    """A model compiled for batches of `n_tokens`; it gives the states of `layers`, each (1,
    n_tokens, H).
    """

    layers: tuple[int, ...]
    n_tokens: int
    function: Callable[..., tuple[Tensor, ...]]

    @property
    def worthwhile(self) -> int:
        """Tokens from which on a batch is faster compiled, all of it, than as it is, without what
        fills it up.
        """
        return round(0.8 * self.n_tokens)

    def states(self, backbone: Backbone, rows: Sequence[NDArray[np.int64]]) -> dict[int, Tensor]:
        """States of the layers for the token ids of several texts, at most `n_tokens` in all; model
        in packed mode.
        """
        n_used = sum(map(len, rows))
        spare = [rows[-1][:1]] * (self.n_tokens - n_used)  # texts of one token behind the others
        inputs = inputs_of(backbone, [*rows, *spare])
        with torch.no_grad(), laid_out(PackLayout(tuple(map(len, rows)))):
            return dict(
                zip(
                    self.layers,
                    self.function(inputs["input_ids"], inputs.get("position_ids")),
                    strict=True,
                )
            )


def compile_packed(backbone: Backbone, layers: Sequence[int], max_length: int) -> Compiled | str:
    """The backbone compiled and tried, or in a few words why it is not. Takes 10 to 30 seconds.

    layers: of which states are wanted.  max_length: tokens of the longest text that there will be.
    """
    if not backbone.packed or backbone.device != "cpu":
        return "only texts that are packed on a CPU come in batches of one size"
    if max_length > N_TOKENS:
        return f"texts may be longer than a batch of {N_TOKENS:,} tokens"
    if not _has_compiler():
        return "there is no C++ compiler on this machine"
    model: Any = backbone.model

    def forward(ids: Tensor, positions: Tensor | None) -> tuple[Tensor, ...]:
        places = {} if positions is None else {"position_ids": positions}
        output = model(
            input_ids=ids,
            output_hidden_states=True,
            return_dict=True,
            **places,
            **backbone.settings,
        )
        return tuple(output.hidden_states[layer] for layer in layers)

    # A process may run many models, and PyTorch counts the recompilations of this code for all of
    # them together.
    apart: Any = (
        {"isolate_recompiles": True}
        if "isolate_recompiles" in signature(torch.compile).parameters
        else {}
    )
    function = torch.compile(forward, fullgraph=True, dynamic=False, **apart)
    compiled = Compiled(tuple(layers), N_TOKENS, function)
    try:
        # Freezing as an option of torch.compile has no effect (torch 2.13): weights would be laid
        # out in every call.
        with (
            warnings.catch_warnings(action="ignore"),
            packed_mode(model),
            inductor.patch(freezing=True),
        ):
            return (
                _tried(compiled, backbone, tuple(min(one, max_length) for one in _LENGTHS), forward)
                or compiled
            )
    except Exception as error:
        return f"{type(error).__name__}: {first_line(error)[:80]}"


def _tried(
    compiled: Compiled,
    backbone: Backbone,
    lengths: tuple[int, ...],
    forward: Callable[..., tuple[Tensor, ...]],
) -> str | None:
    """What is wrong with the compiled model, if anything: its states against those of the model as
    it is.
    """
    rows = drawn_probes(backbone, lengths)
    ends = np.cumsum(lengths)
    inputs = inputs_of(backbone, rows)
    with torch.no_grad(), laid_out(PackLayout(lengths)):
        expected = forward(inputs["input_ids"], inputs.get("position_ids"))
    # The first call compiles; the second has another layout, as every batch.
    for order in ORDERS:
        places = np.concatenate([np.arange(ends[one] - lengths[one], ends[one]) for one in order])
        states = compiled.states(backbone, [rows[one] for one in order])
        for layer, wanted in zip(compiled.layers, expected, strict=True):
            wrong = difference(states[layer][0, : ends[-1]], wanted[0, places])
            if wrong is not None:
                return f"compiled, layer {layer} comes out differently ({wrong})"
    return None


def _has_compiler() -> bool:
    try:
        from torch._inductor.cpp_builder import get_cpp_compiler

        return bool(get_cpp_compiler())
    except Exception:
        return False
