"""A frozen model on its device, ready for a pass."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from featcache.backbone.budget import Budget

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from featcache.backbone.blocks import Blocks
    from featcache.backbone.compiled import Compiled


@dataclass(frozen=True)
class Backbone:
    """A frozen model on its device, with its tokenizer.

    padding: an id the model can embed; it is masked.  blocks: where the states of layers appear, if
    that is known.
    budget: tokens of a batch.  packed: whether texts are laid end to end instead of padded;
    why_padded: why not.
    compiled: what torch.compile made of the model, in compile_seconds; why_not_compiled: why it
    made nothing.
    """

    model: torch.nn.Module
    tokenizer: PreTrainedTokenizerBase
    padding: int
    device: str
    blocks: Blocks | None
    budget: Budget
    packed: bool = False
    why_padded: str | None = None
    compiled: Compiled | None = None
    why_not_compiled: str | None = None
    compile_seconds: float = 0.0

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What every forward pass is given beside its inputs: no cache of keys and values, where
        there could be one.
        """
        return {"use_cache": False} if "use_cache" in self._accepted else {}

    @cached_property
    def first_position(self) -> int | None:
        """The number of a text's first position, or None where the model is not told positions.

        It is 0, but for RoBERTa and its like, which begin behind the padding id.
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
        return frozenset(inspect.signature(self.model.forward).parameters)
