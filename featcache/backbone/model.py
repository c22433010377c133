"""A frozen model on its device, ready for a pass.

`load.py` makes a `Backbone`; `packed.py` and `compiled.py` find out how it may be run. Those
modules import this one, so what a backbone has to know of a compiled pass is a protocol here.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featcache.backbone.budget import Budget

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from featcache.backbone.blocks import Blocks


class CompiledPass(Protocol):
    """A forward pass compiled for batches of one size."""

    @property
    def n_tokens(self) -> int:
        """Tokens of every batch; shorter batches are filled up."""
        ...

    @property
    def min_tokens(self) -> int:
        """Tokens from which on a batch runs faster compiled than uncompiled."""
        ...

    def states(self, backbone: Backbone, texts: Sequence[NDArray[np.int64]]) -> dict[int, Tensor]:
        """States by layer, each (1, n_tokens, H), of the token ids of several texts."""
        ...


@dataclass(frozen=True)
class Backbone:
    """A frozen model on its device, with its tokenizer.

    Attributes:
        model: The model, in evaluation mode and without gradients.
        tokenizer: Its tokenizer.
        padding: A token id that the model can embed, for masked positions.
        device: cpu, cuda or mps.
        blocks: The modules whose inputs are the states of the layers; None where that is unknown.
        budget: How many tokens a batch holds.
        packed: Whether texts are laid end to end instead of padded.
        why_padded: Why texts are padded although packing was tried; None otherwise.
        compiled: The model as torch.compile made it; None where it runs uncompiled.
        why_not_compiled: Why compiling was tried without success; None otherwise.
        compile_seconds: How long compiling took, successful or not.
    """

    model: torch.nn.Module
    tokenizer: PreTrainedTokenizerBase
    padding: int
    device: str
    blocks: Blocks | None
    budget: Budget
    packed: bool = False
    why_padded: str | None = None
    compiled: CompiledPass | None = None
    why_not_compiled: str | None = None
    compile_seconds: float = 0.0

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Arguments of every forward pass beside its inputs: no key-value cache is kept."""
        return {"use_cache": False} if "use_cache" in self._accepted else {}

    @cached_property
    def first_position(self) -> int | None:
        """The position id of a text's first token; None where the model takes no position ids.

        It is 0, except for RoBERTa and its relatives, whose positions begin after the padding id.
        """
        if "position_ids" not in self._accepted:
            return None
        for module in self.model.modules():
            table = getattr(module, "position_embeddings", None)
            padding = getattr(table, "padding_idx", None)
            if type(table).__name__ == "Embedding" and padding is not None:
                return int(padding) + 1
        return 0

    @cached_property
    def _accepted(self) -> frozenset[str]:
        """Names of the arguments that the model's forward pass takes."""
        return frozenset(inspect.signature(self.model.forward).parameters)
