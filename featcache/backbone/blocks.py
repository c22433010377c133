"""States of layers as they appear, so that they can be pooled and let go, and nothing above the
highest is computed.

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
    """A model's blocks in the order of their calls; ALBERT has one module, which is called n_layers
    times.
    """

    modules: tuple[torch.nn.Module, ...]
    n_layers: int


class _EnoughError(Exception):
    """Ends a forward pass whose remaining layers nobody asked for."""


def find_blocks(model: torch.nn.Module, device: str) -> Blocks | None:
    """The blocks of a model, or None where no list of modules takes in just the states that
    Transformers reports.
    """
    lists = [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.ModuleList) and len(module)
    ]
    seen: list[list[Tensor]] = [[] for _ in lists]
    try:
        with contextlib.ExitStack() as hooks:
            for children, states in zip(lists, seen, strict=True):
                for child in set(children):
                    hooks.enter_context(_before(child, states))
            ids = torch.tensor([[1, 2]], device=device)
            with torch.inference_mode():
                mask = torch.ones_like(ids)
                output = model(
                    input_ids=ids, attention_mask=mask, output_hidden_states=True, return_dict=True
                )
        expected, last = output.hidden_states, output.last_hidden_state
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
    """One forward pass. take: for each layer that is asked for, what is given its state, (B, T, H),
    as it appears.
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

    handles = [one.register_forward_pre_hook(look, with_kwargs=True) for one in blocks.modules]
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
    """In the body, what goes into the module is added to `states`."""

    def keep(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        with contextlib.suppress(KeyError, AttributeError):
            states.append(_states_in(args, kwargs).clone())

    handle = module.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _states_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    states: Tensor = args[0] if args else kwargs["hidden_states"]
    return states
