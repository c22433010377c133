"""Training heads of one shape together: many heads, on many views of the same rows, in one stack.

M heads see the same batches; each has its own learning rate, weight decay, dropout, smoothing,
class weights, seed and early stopping, and a head that is done leaves the stack. The result is that
of training each head alone. A training can be run some epochs at a time, so that a search can let
the worse heads go in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from featcache.features.standardize import Standardization
from featcache.heads.adamw import AdamW
from featcache.heads.network import Network, folded
from featcache.heads.recipe import Examples, Metric, Recipe, TrainingCurves
from featcache.heads.shape import HeadShape
from featcache.heads.stack import Architecture, Dropout, Losses

_SCORED = 1024  # training rows that the curves show
_HIDDEN = 1 << 24  # numbers of hidden states held at a time when heads are scored


@dataclass(frozen=True)
class StackRows:
    """Rows as the heads of a stack see them: for each view (N, H) standardised, or (L, N, H);
    labels (N,).
    """

    views: Sequence[Tensor]
    labels: Tensor

    @property
    def n_rows(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor | slice, needed: Iterable[int]) -> list[Tensor]:
        """Some rows of the views that are needed; an empty tensor for the others."""
        wanted, nothing = set(needed), torch.empty(0)
        return [
            (
                view[..., rows, :]
                if isinstance(rows, slice)
                else view.index_select(view.ndim - 2, rows)
            )
            if number in wanted
            else nothing
            for number, view in enumerate(self.views)
        ]


@dataclass(frozen=True)
class Trained:
    """A head at its best epoch. arrays: of each layer, (in, out) and (out,), on standardised
    features.

    mixing: shares of the layers that it mixes, or empty.
    """

    epochs: int
    curves: TrainingCurves
    arrays: list[NDArray[np.floating]]
    shape: HeadShape
    mixing: NDArray[np.floating]

    def network(self, scales: Sequence[Standardization]) -> Network:
        """The head on features as cached. scales: of its view; where layers are mixed, of each of
        them.
        """
        weights, biases = list(self.arrays[::2]), list(self.arrays[1::2])
        if len(
            self.mixing
        ):  # a head on the weighted mean is one on all layers side by side, its weights weighted
            weights[0] = np.concatenate([share * weights[0] for share in self.mixing])
        return folded(
            weights,
            biases,
            Standardization.joined(scales),
            activation=self.shape.activation,
            layer_norm=self.shape.layer_norm,
            residual=self.shape.residual,
        )


class StackTraining:
    """A stack of heads in training. Heads are known by their number, in the order in which they
    were given.
    """

    def __init__(
        self,
        architecture: Architecture,
        train: StackRows,
        held: StackRows | None,
        heads: Sequence[tuple[int, Recipe]],
        *,
        metric: Metric,
        seed: int,
        rows: Callable[[torch.Generator], Tensor] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """heads: each one's view and recipe, views ascending; the recipes share their batch size.

        held: validation rows; None where every head runs its recipe's `max_epochs`.  seed: of the
        order of rows.
        rows: draws an epoch's rows [all, shuffled].
        """
        recipes = [recipe for _, recipe in heads]
        if len({recipe.batch_size for recipe in recipes}) != 1:
            msg = (
                "heads trained together see the same batches, so their recipes need one batch_size"
            )
            raise ValueError(msg)
        self.architecture, self._train, self._held, self._metric = architecture, train, held, metric
        self._views = [view for view, _ in heads]
        self._recipes = recipes
        self._rows = rows or (lambda generator: torch.randperm(train.n_rows, generator=generator))
        self._order = torch.Generator().manual_seed(seed)
        self._noise = torch.Generator().manual_seed(seed + 1)
        self._dtype = dtype
        self._counts = torch.bincount(train.labels, minlength=architecture.n_classes)
        self._shown = torch.linspace(0, train.n_rows - 1, min(_SCORED, train.n_rows)).long()
        self.running = list(range(len(heads)))
        self.epoch = 0
        self.curves = [TrainingCurves() for _ in heads]
        self.best_score = [(-math.inf, -math.inf)] * len(heads)  # score, and the loss below zero
        self._last_gain = [0] * len(heads)  # the epoch in which the score itself last rose
        self._best: list[list[Tensor]] = [[] for _ in heads]
        self._best_epoch = [0] * len(heads)
        self.predicted = [np.empty(0, dtype=np.int64)] * len(
            heads
        )  # classes of the validation rows at the best epoch
        steps = math.ceil(train.n_rows / recipes[0].batch_size)
        self._optimizer = AdamW(architecture.initial(recipes, dtype), recipes, steps)
        self._adapt()

    def advance(self, epochs: int, *, out_of_time: Callable[[], bool] = lambda: False) -> None:
        """Train up to `epochs` in all, as long as there is a head that runs, and time."""
        while self.running and self.epoch < epochs and not out_of_time():
            self._run_epoch()
            self._end_epoch()

    def drop(self, heads: Iterable[int]) -> None:
        """Heads that are not to be trained any longer; what they have become is kept."""
        gone = set(heads)
        self._keep([place for place, head in enumerate(self.running) if head not in gone])

    def trained(self, head: int) -> Trained:
        """What a head was at its best epoch. It must have run one."""
        best = list(self._best[head])
        mixing = (
            torch.softmax(best.pop(0), dim=0).numpy() if self.architecture.n_mixed else np.empty(0)
        )
        arrays = [value.t().numpy() if value.ndim > 1 else value.numpy() for value in best]
        return Trained(
            self._best_epoch[head], self.curves[head], arrays, self.architecture.shape, mixing
        )

    @torch.no_grad()
    def predictions(self, seen: StackRows) -> dict[int, NDArray[np.int64]]:
        """Classes (N,) of other rows, by each head that has run an epoch, at its best.

        Products are of the type that the features have, whatever it was in training.
        """
        heads = [head for head, best in enumerate(self._best) if best]
        predicted = torch.empty((len(heads), seen.n_rows), dtype=torch.int64)
        if heads:
            stacked = [
                torch.stack(values)
                for values in zip(*(self._best[head] for head in heads), strict=True)
            ]
            views = [self._views[head] for head in heads]
            for part in self._portions(seen.n_rows, len(heads)):
                predicted[:, part] = self._logits(stacked, views, seen.batch(part, views)).argmax(
                    dim=1
                )
        return dict(zip(heads, predicted.numpy(), strict=True))

    def _run_epoch(self) -> None:
        rows, size = self._rows(self._order), self._recipes[0].batch_size
        parameters = self._optimizer.parameters
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            for value in parameters:
                value.requires_grad = True
            views = self._running_views
            batches = self._train.batch(some, views)
            logits = self._logits(parameters, views, batches, self._dropout)
            # Summed over heads: each head's gradient is that of its own mean loss.
            loss = self._losses(logits, self._train.labels[some]).sum()
            gradients = torch.autograd.grad(loss, parameters)
            for value in parameters:
                value.requires_grad = False
            self._optimizer.update(gradients)

    @torch.no_grad()
    def _end_epoch(self) -> None:
        """Score every running head, keep its best weights, and let finished heads leave."""
        self.epoch += 1
        losses, scores, _ = self._scored(self._train, self._shown)
        held = None if self._held is None else self._scored(self._held)
        staying: list[int] = []
        for place, head in enumerate(self.running):
            curves = self.curves[head]
            curves.train_loss.append(float(losses[place]))
            curves.train_score.append(float(scores[place]))
            last, patience = (
                self.epoch >= self._recipes[head].max_epochs,
                self._recipes[head].patience,
            )
            better = last
            if held is not None:
                loss, score = float(held[0][place]), float(held[1][place])
                curves.validation_loss.append(loss)
                curves.validation_score.append(score)
                if patience is not None:
                    better = (score, -loss) > self.best_score[head]
                if score > self.best_score[head][0]:
                    self._last_gain[head] = self.epoch
                if better:
                    self.best_score[head] = (score, -loss)
                    self.predicted[head] = held[2][place]
            if better:
                self._best[head] = [value[place].clone() for value in self._optimizer.average]
                self._best_epoch[head] = self.epoch
            waited = self.epoch - self._last_gain[head]
            impatient = held is not None and patience is not None and waited >= patience
            if not (last or impatient):
                staying.append(place)
        self._keep(staying)

    def _scored(
        self, seen: StackRows, rows: Tensor | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Mean loss (M,), metric (M,) and predictions (M, N) of the running heads, by their
        averaged weights.
        """
        labels = seen.labels if rows is None else seen.labels[rows]
        n_heads = len(self.running)
        losses = torch.zeros(n_heads, dtype=torch.float64)
        predicted = torch.empty((n_heads, len(labels)), dtype=torch.int64)
        for part in self._portions(len(labels), n_heads):
            batches = seen.batch(part if rows is None else rows[part], self._running_views)
            logits = self._logits(self._optimizer.average, self._running_views, batches)
            truth = labels[part].expand(n_heads, -1)
            losses += functional.cross_entropy(logits, truth, reduction="none").sum(
                dim=1, dtype=torch.float64
            )
            predicted[:, part] = logits.argmax(dim=1)
        given = predicted.numpy()
        return (losses / len(labels)).numpy(), self._metric(labels.numpy(), given), given

    def _logits(
        self,
        parameters: Sequence[Tensor],
        views: Sequence[int],
        batches: Sequence[Tensor],
        dropout: Dropout | None = None,
    ) -> Tensor:
        """(M, C, B); products are of the type that the features have."""
        fast = any(one.dtype == torch.bfloat16 for one in batches)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast, cache_enabled=False):
            return self.architecture.logits(parameters, views, batches, dropout).to(self._dtype)

    def _portions(self, n_rows: int, n_heads: int) -> Iterator[slice]:
        sizes = self.architecture.sizes  # where layers are mixed, each head has inputs of its own
        step = max(1, _HIDDEN // (n_heads * max(sizes if self.architecture.n_mixed else sizes[1:])))
        return (slice(start, start + step) for start in range(0, n_rows, step))

    def _keep(self, places: list[int]) -> None:
        if len(places) == len(self.running):
            return
        self.running = [self.running[place] for place in places]
        if self.running:
            self._optimizer.keep(places, [self._recipes[head] for head in self.running])
            self._adapt()

    def _adapt(self) -> None:
        """What depends on which heads run."""
        recipes = [self._recipes[head] for head in self.running]
        self._running_views = [self._views[head] for head in self.running]
        self._dropout = Dropout([recipe.dropout for recipe in recipes], self._noise, self._dtype)
        self._losses = Losses(recipes, self._counts, self._dtype)


def train_stack(
    train: Examples,
    validation: Examples | None,
    *,
    n_classes: int,
    shape: HeadShape,
    recipes: Sequence[Recipe],
    metric: Metric,
    dtype: torch.dtype = torch.float32,
) -> list[tuple[Network, Trained]]:
    """Train one head of a shape for each recipe, all on the same features, and give each on
    features as cached.

    validation None: every head runs its recipe's `max_epochs` (the refit, where the epochs are
    known).
    """
    scale = Standardization.of(train.features)
    seen, held = (None if one is None else _seen(one, scale, dtype) for one in (train, validation))
    assert seen is not None
    architecture = Architecture(shape, train.features.shape[1], n_classes)
    heads = [(0, recipe) for recipe in recipes]
    training = StackTraining(
        architecture, seen, held, heads, metric=metric, seed=recipes[0].seed, dtype=dtype
    )
    training.advance(max(recipe.max_epochs for recipe in recipes))
    found = [training.trained(head) for head in range(len(recipes))]
    return [(one.network([scale]), one) for one in found]


def _seen(examples: Examples, scale: Standardization, dtype: torch.dtype) -> StackRows:
    features = torch.from_numpy(scale.apply(examples.features)).to(dtype)
    return StackRows([features], torch.from_numpy(examples.labels))
