"""GELU in the same step as the linear layer before it, while the numbers are at hand.

Which GELU follows which layer is seen in a run of two tokens; then the model is run again and must
give the same. torch.compile does this, too. GPT-2 gains most, whose GELU is made of 8 operations.
"""

from __future__ import annotations

import torch
from torch import Tensor

from featcache.backbone.linear import LaidOut

_FORMS = {  # Transformers' classes, and what torch calls their forms: exact, and by tanh
    "GELUActivation": "none",
    "NewGELUActivation": "tanh",
    "GELUTanh": "tanh",
    "FastGELUActivation": "tanh",
}
_SAME = 0.02  # relative to the largest value: in bfloat16 there is one rounding less


def fuse(model: torch.nn.Module) -> int:
    """Let layers that were laid out compute the GELU behind them, in place. Returns how many layers
    do.
    """
    try:
        followed, expected = _followed(model), _states(model)
    except Exception:
        return 0
    names = {id(module): name for name, module in model.named_modules()}
    _set(model, followed, names)
    got = _states(model)
    if bool((got - expected).abs().max() <= _SAME * (1 + expected.abs().max())):
        return sum(map(len, followed.values()))
    for gelu, layers in followed.items():
        model.set_submodule(names[id(gelu)], gelu)
        for layer in layers:
            layer.gelu = None
    return 0


def _set(
    model: torch.nn.Module, followed: dict[torch.nn.Module, set[LaidOut]], names: dict[int, str]
) -> None:
    for gelu, layers in followed.items():
        model.set_submodule(names[id(gelu)], torch.nn.Identity())
        for layer in layers:
            layer.gelu = _FORMS[type(gelu).__name__]


def _followed(model: torch.nn.Module) -> dict[torch.nn.Module, set[LaidOut]]:
    """The layers whose output each GELU is given; without those that are given something else, too."""
    outputs: list[tuple[Tensor, LaidOut]] = []  # held, so that no two are at one place
    followed: dict[torch.nn.Module, set[LaidOut | None]] = {}

    def note_output(layer: torch.nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(layer, LaidOut)
        outputs.append((output, layer))

    def note_input(gelu: torch.nn.Module, args: tuple[Tensor, ...]) -> None:
        made_by = next((layer for output, layer in outputs if output is args[0]), None)
        followed.setdefault(gelu, set()).add(made_by)

    handles = [
        one.register_forward_hook(note_output)
        for one in model.modules()
        if isinstance(one, LaidOut)
    ]
    handles += [
        one.register_forward_pre_hook(note_input)
        for one in model.modules()
        if type(one).__name__ in _FORMS
    ]
    try:
        _states(model)
    finally:
        for handle in handles:
            handle.remove()
    found = {
        gelu: {layer for layer in layers if layer is not None} for gelu, layers in followed.items()
    }
    return {gelu: layers for gelu, layers in found.items() if layers == followed[gelu]}


def _states(model: torch.nn.Module) -> Tensor:
    """What the model gives for two tokens, (1, 2, H) in float32."""
    ids = torch.tensor([[1, 2]])
    with torch.inference_mode():
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids), return_dict=True)
    states: Tensor = output.last_hidden_state.to(torch.float32)
    return states
