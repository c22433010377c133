"""Training heads of one shape together, as batched matrix products.

M heads (one for each recipe) see the same batches; their weights carry a leading axis M, so that one product
serves all of them and the first layer is a single wide product over the features. Each head has its own
learning rate, weight decay, dropout, seed and early stopping; a finished head leaves the stack. The result
is that of training each head alone. The optimiser is AdamW (Loshchilov and Hutter, arXiv 1711.05101), as in
torch.optim.AdamW, written out because torch's takes no learning rate per slice.

What is scored and kept is a moving average of the weights over about two epochs (Polyak and Juditsky 1992).
On the demo's data it gave every shape of head 0.5 to 1 point of accuracy, and curves without the dips of
single epochs (0.82 between 0.84 and 0.84), so that early stopping chooses less by luck. It costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from featcache.heads.network import Network, folded
from featcache.heads.standardize import Standardization

Metric = Callable[[NDArray[np.int64], NDArray[np.int64]], float]

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


@dataclass(frozen=True)
class Recipe:
    """How one head is trained. max_epochs ends it; so do `patience` epochs without a higher validation score.

    Of epochs with one score that of the lower loss is kept; a falling loss alone is no reason to go on.
    """

    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    dropout: float = 0.1
    seed: int = 0
    max_epochs: int = 60
    patience: int = 8
    batch_size: int = 128
    average_epochs: float = 2.0  # 1 and 3 did as well; 0 is the weights as they are


@dataclass(frozen=True)
class Curves:
    """One number an epoch: mean loss (nats) and the metric on training and validation rows, side by side."""

    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    train_score: list[float] = field(default_factory=list)
    validation_score: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Trained:
    """A trained head on raw features. epochs: those of the best validation score, which the weights are of."""

    network: Network
    epochs: int
    curves: Curves


@dataclass(frozen=True)
class Examples:
    """features: (N, H) float32 as cached; labels: (N,) class numbers."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]


def train_stack(
    train: Examples,
    validation: Examples | None,
    *,
    n_classes: int,
    depth: int,
    width: int | None,
    recipes: Sequence[Recipe],
    metric: Metric,
    dtype: torch.dtype = torch.float32,
) -> list[Trained]:
    """Train one head for each recipe; all have `depth` hidden layers of `width`.

    metric: (truth, predicted) -> score, higher is better; early stopping follows it.
    depth 0 is one linear layer H -> C; depth 1 is H -> width -> C; depth 2 is H -> width -> width -> C.
    validation None: every head runs its recipe's `max_epochs` (the refit, where the epochs are known).
    The recipes must share batch_size: the heads see the same batches, drawn from the first recipe's seed.
    """
    if len({recipe.batch_size for recipe in recipes}) != 1:
        msg = "heads trained together see the same batches, so their recipes need one batch_size"
        raise ValueError(msg)
    scale = Standardization.of(train.features)
    x, y = _tensors(train, scale, dtype)
    held = None if validation is None else _tensors(validation, scale, dtype)
    stack = _Stack.initial(x.shape[1], n_classes, depth, width, recipes, dtype)
    order = torch.Generator().manual_seed(recipes[0].seed)
    while stack.running:
        stack.run_epoch(x, y, torch.randperm(len(x), generator=order), recipes[0].batch_size)
        stack.end_epoch((x, y), held, metric)
    return [
        Trained(folded(*_arrays(best), scale), epochs, curves)
        for best, epochs, curves in zip(stack.best, stack.best_epoch, stack.curves, strict=True)
    ]


class _Stack:
    """The running heads' weights [(M, in, out), (M, 1, out), …], optimiser state, and each head's record."""

    def __init__(self, parameters: list[Tensor], recipes: Sequence[Recipe]) -> None:
        self.parameters = parameters
        self.recipes = list(recipes)
        self.running = list(range(len(recipes)))  # numbers of the heads in the stack, in its order
        self.step = 0
        self.epoch = 0
        self.average = [value.clone() for value in parameters]
        self.first = [torch.zeros_like(value) for value in parameters]
        self.second = [torch.zeros_like(value) for value in parameters]
        self.generators = [torch.Generator().manual_seed(recipe.seed + 1) for recipe in recipes]
        self.best: list[list[Tensor]] = [[] for _ in recipes]
        self.best_epoch = [0] * len(recipes)
        self.best_score = [(-math.inf, -math.inf)] * len(recipes)
        self.last_gain = [0] * len(recipes)  # the epoch in which the score itself last rose
        self.curves = [Curves() for _ in recipes]

    @classmethod
    def initial(
        cls, n_inputs: int, n_classes: int, depth: int, width: int | None, recipes: Sequence[Recipe], dtype: torch.dtype
    ) -> _Stack:
        """Weights as torch.nn.Linear draws them, from each head's own seed: uniform in ±1/sqrt(inputs)."""
        sizes = [n_inputs, *([width or 0] * depth), n_classes]
        generators = [torch.Generator().manual_seed(recipe.seed) for recipe in recipes]
        parameters: list[Tensor] = []
        for n_in, n_out in pairwise(sizes):
            bound = 1.0 / math.sqrt(n_in)
            for shape in ((n_in, n_out), (1, n_out)):
                drawn = [torch.rand(shape, generator=generator, dtype=dtype) for generator in generators]
                parameters.append((torch.stack(drawn) * 2 - 1) * bound)
        return cls(parameters, recipes)

    def run_epoch(self, x: Tensor, y: Tensor, order: Tensor, batch_size: int) -> None:
        for start in range(0, len(x), batch_size):
            rows = order[start : start + batch_size]
            for value in self.parameters:
                value.requires_grad = True
            logits = self._forward(self.parameters, x[rows], training=True)  # (M, B, C)
            target = y[rows].expand(len(self.running), -1)
            # Summed over heads: each head's gradient is that of its own mean loss.
            loss = functional.cross_entropy(logits.transpose(1, 2), target, reduction="none").mean(dim=1).sum()
            gradients = torch.autograd.grad(loss, self.parameters)
            self._update(gradients, math.ceil(len(x) / batch_size))

    @torch.no_grad()
    def end_epoch(self, train: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor] | None, metric: Metric) -> None:
        """Score every running head, keep its best weights, and let finished heads leave."""
        self.epoch += 1
        train_scores = self._scores(*train, metric)
        held_scores = None if validation is None else self._scores(*validation, metric)
        staying: list[int] = []
        for place, head in enumerate(self.running):
            curves = self.curves[head]
            curves.train_loss.append(train_scores[place][0])
            curves.train_score.append(train_scores[place][1])
            last = self.epoch >= self.recipes[head].max_epochs
            if held_scores is None:
                better = last
            else:
                loss, score = held_scores[place]
                curves.validation_loss.append(loss)
                curves.validation_score.append(score)
                better = (score, -loss) > self.best_score[head]
                if score > self.best_score[head][0]:
                    self.last_gain[head] = self.epoch
                if better:
                    self.best_score[head] = (score, -loss)
            if better:
                self.best[head] = [value[place].clone() for value in self.average]
                self.best_epoch[head] = self.epoch
            impatient = held_scores is not None and self.epoch - self.last_gain[head] >= self.recipes[head].patience
            if not (last or impatient):
                staying.append(place)
        if len(staying) < len(self.running):
            self._keep(staying)

    def _keep(self, places: list[int]) -> None:
        self.running = [self.running[place] for place in places]
        for state in (self.parameters, self.average, self.first, self.second):
            state[:] = [value.detach()[places] for value in state]

    def _forward(self, parameters: list[Tensor], x: Tensor, *, training: bool) -> Tensor:
        """Logits (M, B, C) of x (B, H)."""
        hidden = x  # broadcast over M in the first product
        for layer in range(0, len(parameters), 2):
            hidden = torch.matmul(hidden, parameters[layer]) + parameters[layer + 1]
            if layer + 2 < len(parameters):
                hidden = functional.gelu(hidden)
                if training:
                    hidden = self._dropout(hidden)
        return hidden

    def _dropout(self, hidden: Tensor) -> Tensor:
        masks = []
        for head in self.running:
            rate = self.recipes[head].dropout
            drawn = torch.rand(hidden.shape[1:], generator=self.generators[head], dtype=torch.float32)
            masks.append((drawn >= rate).to(hidden.dtype) / (1.0 - rate))
        return hidden * torch.stack(masks)

    @torch.no_grad()
    def _update(self, gradients: Sequence[Tensor], steps_per_epoch: int) -> None:
        self.step += 1
        rates = self._per_head([self.recipes[head].learning_rate for head in self.running])
        decays = self._per_head([self.recipes[head].weight_decay for head in self.running])
        correction_1 = 1 - _BETAS[0] ** self.step
        correction_2 = math.sqrt(1 - _BETAS[1] ** self.step)
        # A plain mean at first, so that the random start is soon forgotten; then a moving one.
        horizons = [self.recipes[head].average_epochs * steps_per_epoch for head in self.running]
        weights = self._per_head([1.0 / max(1.0, min(self.step, horizon)) for horizon in horizons])
        states = zip(self.parameters, gradients, self.first, self.second, self.average, strict=True)
        for value, gradient, first, second, average in states:
            value.mul_(1 - rates * decays)
            first.lerp_(gradient, 1 - _BETAS[0])
            second.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
            value.sub_(rates / correction_1 * first / (second.sqrt() / correction_2 + _EPSILON))
            average.add_(weights * (value - average))

    def _per_head(self, numbers: Sequence[float]) -> Tensor:
        return torch.tensor(numbers, dtype=self.parameters[0].dtype).reshape(-1, 1, 1)

    def _scores(self, x: Tensor, y: Tensor, metric: Metric) -> list[tuple[float, float]]:
        """(mean loss, metric) of each running head."""
        logits = self._forward(self.average, x, training=False)
        scores = []
        for place in range(len(self.running)):
            loss = functional.cross_entropy(logits[place], y)
            scores.append((float(loss), metric(y.numpy(), logits[place].argmax(dim=1).numpy())))
        return scores


def _tensors(examples: Examples, scale: Standardization, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(scale.apply(examples.features)).to(dtype), torch.from_numpy(examples.labels)


def _arrays(parameters: Sequence[Tensor]) -> tuple[list[NDArray[np.floating]], list[NDArray[np.floating]]]:
    arrays = [value.detach().numpy() for value in parameters]
    return arrays[::2], [bias[0] for bias in arrays[1::2]]
