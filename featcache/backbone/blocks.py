"""States of layers as they appear: pooled and let go, and nothing above the highest is computed.

The state of layer i is what goes into the model's block i, and that of the last layer is what the
model gives in the end (after its final norm, which a hook on the last block would miss). Which
modules are the blocks is not assumed: `find_blocks` runs two tokens and takes the list of modules
whose inputs are the hidden states that Transformers reports, one by one. Where there is none, all
states are kept until the model is through.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Blocks:
    """The blocks of a model.

    Attributes:
        modules: The modules in the order of their calls; ALBERT has one for all layers.
        n_layers: How often they are called in all.
    """

    modules: tuple[torch.nn.Module, ...]
    n_layers: int


class _EnoughError(Exception):
    """Ends a forward pass whose remaining layers are not needed."""


def find_blocks(model: torch.nn.Module, device: str) -> Blocks | None:
    """Find the blocks of a model by running two tokens.

    Args:
        model: The model, on its device.
        device: The device.

    Returns:
        The blocks; None where no list of modules takes in just the states that Transformers
        reports.
    """
    lists = [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.ModuleList) and len(module)
    ]
    seen: list[list[Tensor]] = [[] for _ in lists]  # inputs of the modules of each list
    ids = torch.tensor([[1, 2]], device=device)
    try:
        with contextlib.ExitStack() as hooks:
            for children, states in zip(lists, seen, strict=True):
                for child in set(children):
                    hooks.enter_context(_before(child, states))
            with torch.inference_mode():
                mask = torch.ones_like(ids)
                output = model(
                    input_ids=ids, attention_mask=mask, output_hidden_states=True, return_dict=True
                )
        expected, last = output.hidden_states, output.last_hidden_state  # each (1, 2, H)
    except Exception:
        return None
    if not torch.equal(expected[-1], last):
        return None
    for children, states in zip(lists, seen, strict=True):
        if len(states) == len(expected) - 1 and all(map(torch.equal, states, expected)):
            return Blocks(tuple(dict.fromkeys(children)), len(states))
    return None


def run(
    model: torch.nn.Module,
    blocks: Blocks | None,
    inputs: dict[str, Tensor],
    take: dict[int, Callable[[Tensor], None]],
) -> None:
    """Run one forward pass and hand out states of layers as they appear.

    Args:
        model: The model.
        blocks: Its blocks; None: all states are kept until the model is through.
        inputs: What the model is called with.
        take: For each layer that is needed, a function that is called with its state, (B, T, H).
    """
    if blocks is None:
        states = model(**inputs, output_hidden_states=True, return_dict=True).hidden_states
        for layer, give in take.items():
            give(states[layer])
        return
    highest, layer = max(take), -1

    def look(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal layer
        layer += 1
        if layer in take:
            take[layer](_states_in(args, kwargs))
        if layer == highest:
            raise _EnoughError

    handles = [
        module.register_forward_pre_hook(look, with_kwargs=True) for module in blocks.modules
    ]
    try:
        output = model(**inputs, return_dict=True)
    except _EnoughError:
        return
    finally:
        for handle in handles:
            handle.remove()
    if blocks.n_layers in take:
        take[blocks.n_layers](output.last_hidden_state)


@contextlib.contextmanager
def _before(module: torch.nn.Module, states: list[Tensor]) -> Iterator[None]:
    """Add what goes into the module in the body to `states`."""

    def keep(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        with contextlib.suppress(KeyError, AttributeError):
            states.append(_states_in(args, kwargs).clone())

    handle = module.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _states_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The hidden states among a block's arguments, (B, T, H)."""
    states: Tensor = args[0] if args else kwargs["hidden_states"]
    return states
