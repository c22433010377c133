"""Heads of one shape as one model: their weights carry a leading axis M, so that one product serves
all of them.

States are laid out as (M, width, B), the batch last: the first layer of all heads that see one view
is then a single product of its features, shared by them, that writes where the next layer's batched
product reads, and the softmax of the loss runs along rows of memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from featcache.heads.recipe import Recipe
from featcache.heads.shape import HeadShape

# Steps in which dropout's rate is known: a byte of noise for each state is enough, and fast to draw
_LEVELS = 256
_NORM_EPSILON = 1e-5
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": functional.gelu,
    "relu": functional.relu,
    "silu": functional.silu,
}


@dataclass(frozen=True)
class Architecture:
    """What all heads of a stack share. n_mixed: layers that a head mixes with learned weights, 0
    for none.
    """

    shape: HeadShape
    n_inputs: int
    n_classes: int
    n_mixed: int = 0

    @property
    def sizes(self) -> list[int]:
        """Width of the inputs, of each hidden layer, and of the logits."""
        return [self.n_inputs, *([self.shape.width or 0] * self.shape.depth), self.n_classes]

    @property
    def n_parameters(self) -> int:
        """Numbers that are trained, of one head."""
        return self.n_mixed + sum((n_in + 1) * n_out for n_in, n_out in pairwise(self.sizes))

    def initial(self, recipes: Sequence[Recipe], dtype: torch.dtype) -> list[Tensor]:
        """Weights as torch.nn.Linear draws them, from each head's own seed: uniform in
        ±1/sqrt(inputs).

        Returns (M, L) mixing weights, if any, then for each layer (M, out, in) and (M, out).
        """
        generators = [torch.Generator().manual_seed(recipe.seed) for recipe in recipes]
        parameters: list[Tensor] = (
            [torch.zeros(len(recipes), self.n_mixed, dtype=dtype)] if self.n_mixed else []
        )
        for n_in, n_out in pairwise(self.sizes):
            bound = 1.0 / math.sqrt(n_in)
            for shape in ((n_out, n_in), (n_out,)):
                drawn = [
                    torch.rand(shape, generator=generator, dtype=dtype) for generator in generators
                ]
                parameters.append((torch.stack(drawn) * 2 - 1) * bound)
        return parameters

    def logits(
        self,
        parameters: Sequence[Tensor],
        views: Sequence[int],
        batches: Sequence[Tensor],
        dropout: Dropout | None = None,
    ) -> Tensor:
        """(M, C, B). views: which of the batches each head sees, ascending. batches: (B, H), or (L,
        B, H) to mix.
        """
        layers = list(parameters)
        if self.n_mixed:
            hidden = _mixed(layers.pop(0), layers.pop(0), views, batches)
        else:
            hidden = _FirstProduct.apply(layers.pop(0), spans(views), *batches)  # type: ignore[no-untyped-call]  # torch's
        hidden = hidden + layers.pop(0).unsqueeze(2)
        before: Tensor | None = None
        while layers:
            weight, bias = layers.pop(0), layers.pop(0)
            hidden = self._activated(hidden, before)
            before = hidden
            if dropout is not None:
                hidden = dropout(hidden)
            hidden = torch.baddbmm(bias.unsqueeze(2), weight, hidden)
        return hidden

    def _activated(self, hidden: Tensor, before: Tensor | None) -> Tensor:
        if self.shape.layer_norm:
            centred = hidden - hidden.mean(dim=1, keepdim=True)
            hidden = centred * torch.rsqrt(
                centred.square().mean(dim=1, keepdim=True) + _NORM_EPSILON
            )
        hidden = _ACTIVATIONS[self.shape.activation](hidden)
        return hidden if before is None or not self.shape.residual else hidden + before


class Dropout:
    """Masks of all heads from one draw of noise: heads of a higher rate lose what the others lose,
    and more.

    Noise that is shared makes heads that differ in their rate alone comparable, and costs one draw,
    not M.
    """

    def __init__(
        self, rates: Sequence[float], generator: torch.Generator, dtype: torch.dtype
    ) -> None:
        levels = [round(rate * _LEVELS) for rate in rates]
        distinct = sorted(set(levels))
        self._levels = torch.tensor(distinct, dtype=torch.int16).reshape(-1, 1, 1)
        self._scale = (_LEVELS / (_LEVELS - self._levels)).to(dtype)
        self._which = (
            torch.tensor([distinct.index(level) for level in levels]) if len(distinct) > 1 else None
        )
        self._generator, self._any = generator, any(levels)

    def __call__(self, hidden: Tensor) -> Tensor:
        """hidden: (M, width, B)."""
        if not self._any:
            return hidden
        count = hidden.shape[1] * hidden.shape[2]
        drawn = torch.empty(-(-count // 8), dtype=torch.int64).random_(
            -(2**63), None, generator=self._generator
        )
        noise = drawn.view(torch.uint8)[:count].reshape(1, hidden.shape[1], hidden.shape[2])
        masks = ((noise >= self._levels) * self._scale).to(hidden.dtype)
        return hidden * (masks if self._which is None else masks[self._which])


class Losses:
    """Mean loss of each head, with its own label smoothing, class weights and focal exponent."""

    def __init__(self, recipes: Sequence[Recipe], counts: Tensor, dtype: torch.dtype) -> None:
        """counts: (C,) training rows of each class."""
        self._smoothing = torch.tensor([recipe.label_smoothing for recipe in recipes], dtype=dtype)
        self._focal = torch.tensor([recipe.focal for recipe in recipes], dtype=dtype).unsqueeze(1)
        even = torch.ones(len(counts), dtype=dtype)
        balanced = counts.sum() / (len(counts) * counts.clamp(min=1).to(dtype))
        self._weights = torch.stack([balanced if recipe.balanced else even for recipe in recipes])
        self._plain = not any(one.label_smoothing or one.focal or one.balanced for one in recipes)

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """(M,) of logits (M, C, B) and target (B,): as torch's cross_entropy defines weights and
        smoothing.
        """
        truth = target.expand(len(logits), 1, -1)
        logs = torch.log_softmax(logits, dim=1)
        of_truth = logs.gather(1, truth).squeeze(1)  # (M, B)
        if self._plain:
            return -of_truth.mean(dim=1)
        weights = self._weights[:, target]  # (M, B)
        total = weights.sum(dim=1)
        focus = torch.where(
            self._focal > 0, (1 - of_truth.exp()).clamp(min=1e-6) ** self._focal, 1.0
        )
        of_truth = -(weights * focus * of_truth).sum(dim=1) / total
        of_all = -(self._weights.unsqueeze(2) * logs).sum(dim=(1, 2)) / total
        return (1 - self._smoothing) * of_truth + self._smoothing / logits.shape[1] * of_all


def spans(views: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    """(view, first head, behind the last) for each view of heads in ascending order of
    their views.
    """
    found, start = [], 0
    for view, same in groupby(views):
        end = start + sum(1 for _ in same)
        found.append((view, start, end))
        start = end
    return tuple(found)


class _FirstProduct(torch.autograd.Function):
    """The first layer: (M, out, H) with each view's (B, H) to (M, out, B), in the features' type.

    Features get no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, places: tuple[tuple[int, int, int], ...], *batches: Tensor
    ) -> Tensor:
        ctx.places, ctx.batches = places, batches
        some = batches[places[0][0]]
        n_rows, n_inputs = some.shape
        cast = weight.to(some.dtype)
        out = some.new_empty((weight.shape[0], weight.shape[1], n_rows))
        for view, first, end in places:
            torch.mm(
                cast[first:end].view(-1, n_inputs),
                batches[view].t(),
                out=out[first:end].view(-1, n_rows),
            )
        return out.to(weight.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        some = ctx.batches[ctx.places[0][0]]
        n_rows, n_inputs = some.shape
        cast = gradient.to(some.dtype).contiguous()
        of_weight = some.new_empty((gradient.shape[0], gradient.shape[1], n_inputs))
        for view, first, end in ctx.places:
            flat = of_weight[first:end].view(-1, n_inputs)
            torch.mm(cast[first:end].view(-1, n_rows), ctx.batches[view], out=flat)
        return of_weight.to(gradient.dtype), None, *[None] * len(ctx.batches)


def _mixed(
    mixing: Tensor, weight: Tensor, views: Sequence[int], batches: Sequence[Tensor]
) -> Tensor:
    """The first layer of heads that see a weighted mean of layers (Peters et al. 2018, arXiv
    1802.05365).

    mixing: (M, L), softmax of it are the weights. ELMo's scale of the mean is in the layer that
    follows.
    """
    shares = torch.softmax(mixing, dim=1)
    parts = []
    for view, first, end in spans(views):
        n_layers, n_rows, n_inputs = batches[view].shape
        means = (shares[first:end] @ batches[view].reshape(n_layers, -1)).view(-1, n_rows, n_inputs)
        parts.append(torch.bmm(weight[first:end], means.transpose(1, 2)))
    return torch.cat(parts)
