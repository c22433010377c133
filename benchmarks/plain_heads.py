"""Heads trained one by one, as one does without featcache: a loop in PyTorch, and scikit-learn's
grid search.

The PyTorch loop is no straw man: features are in memory and standardised, batches are index
selections, nothing waits for a number within an epoch, the optimiser is fused. It trains what
featcache trains: the same start, batches, rates, dropout, smoothing, early stopping on validation
rows, and average of weights. `sweep_speed.py` compares the results.
"""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from head_data import Prepared, standardized
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional

from featcache.features.views import View
from featcache.heads.candidate import Candidate
from featcache.heads.recipe import C_PATH, Recipe
from featcache.heads.stack import Architecture
from featcache.search.trial import Trial
from featcache.tasks.metrics import scores

MAX_ITERATIONS = 1000
_AVERAGED = 16  # times an epoch that the average takes the weights in, as in featcache.heads.adamw


@dataclass(frozen=True)
class Features:
    """One view's standardised rows in memory, (N, H); of layers that are mixed (L, N, H)."""

    train: Tensor
    held: Tensor


class Mix(nn.Module):
    """The mean of layers by learned weights: (L, B, H) to (B, H)."""

    def __init__(self, n_layers: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(n_layers))

    def forward(self, states: Tensor) -> Tensor:
        """The softmax of the weights is what the layers count."""
        mean: Tensor = torch.tensordot(torch.softmax(self.weights, dim=0), states, dims=1)
        return mean


class OneByOne:
    """Trains candidates on a split, each alone."""

    def __init__(self, ready: Prepared, *, bfloat16: bool = False) -> None:
        """bfloat16: hidden layers' products by autocast."""
        fold, labels = ready.sweep.folds[0], ready.sweep.part.labels
        self._ready, self._bfloat16 = ready, bfloat16
        self._labels, self._truth = torch.from_numpy(labels[fold.train]), labels[fold.held]
        self._metric = ready.sweep.score
        self._features: dict[View, Features] = {}

    def features(self, view: View) -> Features:
        """Made when first asked for: ask before the clock starts."""
        if view not in self._features:
            train, held = standardized(self._ready, view)
            self._features[view] = Features(torch.from_numpy(train), torch.from_numpy(held))
        return self._features[view]

    def trial(self, candidate: Candidate) -> Trial:
        """The candidate trained to its end."""
        features = self.features(candidate.view)
        started = time.perf_counter()
        if candidate.recipe is None:
            settings, train, held, n_parameters = self._logistic(features)
        else:
            settings, train, held, n_parameters = self._by_descent(
                candidate, candidate.recipe, features
            )
        seconds = time.perf_counter() - started
        n_classes = self._ready.sweep.task.n_outputs
        return Trial(
            candidate=candidate,
            settings=settings,
            train=scores(self._labels.numpy(), train, n_classes),
            validation=scores(self._truth, held, n_classes),
            curve={},
            n_parameters=n_parameters,
            seconds=seconds,
            ended="done",
            predicted=held[None],
        )

    def _logistic(
        self, features: Features
    ) -> tuple[dict[str, Any], NDArray[np.int64], NDArray[np.int64], int]:
        """Each C from scratch."""
        x, held, labels = features.train.numpy(), features.held.numpy(), self._labels.numpy()
        found = []
        for c in C_PATH:
            model = LogisticRegression(C=c, max_iter=MAX_ITERATIONS)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(x, labels)
            predicted = model.predict(held)
            found.append((self._score(predicted), -c, model, predicted))
        _, minus_c, best, predicted = max(found, key=lambda one: one[:2])
        n_classes = self._ready.sweep.task.n_outputs
        return {"c": -minus_c}, best.predict(x), predicted, n_classes * (x.shape[1] + 1)

    def _by_descent(
        self, candidate: Candidate, recipe: Recipe, features: Features
    ) -> tuple[dict[str, Any], NDArray[np.int64], NDArray[np.int64], int]:
        x, n_rows = features.train, len(self._labels)
        n_mixed = len(x) if candidate.view.mixed else 0
        architecture = Architecture(
            candidate.head, x.shape[-1], self._ready.sweep.task.n_outputs, n_mixed
        )
        model = model_of(architecture, recipe)
        averaged = copy.deepcopy(model).eval()
        pairs = tuple(averaged.parameters()), tuple(model.parameters())
        optimizer = adamw(model, recipe)
        order = torch.Generator().manual_seed(recipe.seed)
        steps = math.ceil(n_rows / recipe.batch_size)
        every, horizon = max(1, steps // _AVERAGED), recipe.average_epochs * steps
        step, last_gain, best, best_score = 0, 0, copy.deepcopy(averaged), (-math.inf, -math.inf)
        epochs, predicted = 0, np.empty(0, dtype=np.int64)
        for epoch in range(1, recipe.max_epochs + 1):
            model.train()
            for rows in torch.split(torch.randperm(n_rows, generator=order), recipe.batch_size):
                self._step(model, optimizer, x.index_select(-2, rows), self._labels[rows], recipe)
                step += 1
                if step % every == 0 or step < every:
                    taken = 1 if step < every else every
                    with torch.no_grad():
                        torch._foreach_lerp_(
                            *pairs, min(1.0, taken / max(1.0, min(step, horizon)))
                        )  # as torch.optim.swa_utils does
            loss, given = self._held(averaged, features.held)
            score = self._score(given)
            if score > best_score[0]:
                last_gain = epoch
            if (score, -loss) > best_score:
                best_score, epochs, predicted = (score, -loss), epoch, given
                best.load_state_dict(averaged.state_dict())
            if recipe.patience is not None and epoch - last_gain >= recipe.patience:
                break
        with torch.no_grad():
            train = best(x).argmax(dim=1).numpy()
        return {"epochs": epochs}, train, predicted, architecture.n_parameters

    def _step(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        x: Tensor,
        labels: Tensor,
        recipe: Recipe,
    ) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
            logits = model(x)
        loss = functional.cross_entropy(
            logits.float(), labels, label_smoothing=recipe.label_smoothing
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()

    @torch.no_grad()
    def _held(self, model: nn.Module, x: Tensor) -> tuple[float, NDArray[np.int64]]:
        logits = model(x)
        return float(
            functional.cross_entropy(logits, torch.from_numpy(self._truth))
        ), logits.argmax(dim=1).numpy()

    def _score(self, predicted: NDArray[np.int64]) -> float:
        return float(self._metric(self._truth, predicted[None])[0])


def model_of(architecture: Architecture, recipe: Recipe) -> nn.Sequential:
    """The head as torch.nn has it, at the start that featcache draws for the recipe's seed."""
    modules: list[nn.Module] = [Mix(architecture.n_mixed)] if architecture.n_mixed else []
    for place, (n_in, n_out) in enumerate(pairwise(architecture.sizes)):
        modules += [nn.GELU(), nn.Dropout(recipe.dropout)] if place else []
        modules.append(nn.Linear(n_in, n_out))
    model = nn.Sequential(*modules)
    with torch.no_grad():
        for value, start in zip(
            model.parameters(), architecture.initial([recipe], torch.float32), strict=True
        ):
            value.copy_(start[0])
    return model


def adamw(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Fused: a fifth faster than the default on a linear head (MiniLM's width, batches of 128)."""
    return torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )


@dataclass(frozen=True)
class Grid:
    """One of scikit-learn's grid searches on one view. score: its best on validation rows."""

    view: View
    kind: str
    model: Any
    score: float
    n_fits: int
    seconds: float


def grid_searches(
    ready: Prepared, features: Features, view: View, cores: int, kinds: Sequence[str]
) -> list[Grid]:
    """GridSearchCV over logistic regression's C and MLPClassifier's widths and depths, on the same
    validation rows.
    """
    from sklearn.base import clone
    from sklearn.model_selection import GridSearchCV, PredefinedSplit
    from sklearn.neural_network import MLPClassifier

    x = np.concatenate([features.train.numpy(), features.held.numpy()])
    split = PredefinedSplit(np.repeat([-1, 0], [len(features.train), len(features.held)]))
    base = ready.candidates.base
    shapes = [
        (head.width or 1,) * head.depth for head in ready.candidates.heads if head.kind == "mlp"
    ]
    models = {
        "logreg": (LogisticRegression(max_iter=MAX_ITERATIONS), {"C": list(C_PATH)}),
        "mlp": (
            MLPClassifier(
                batch_size=base.batch_size,
                max_iter=base.max_epochs,
                n_iter_no_change=base.patience,
                early_stopping=True,
                random_state=base.seed,
            ),
            {"hidden_layer_sizes": shapes},
        ),
    }
    scoring = {"macro_f1": "f1_macro", "weighted_f1": "f1_weighted", "mcc": "matthews_corrcoef"}
    found = []
    for kind in kinds:
        model, grid = models[kind]
        search = GridSearchCV(
            model,
            grid,
            cv=split,
            scoring=scoring.get(ready.sweep.metric, ready.sweep.metric),
            refit=False,
            n_jobs=cores,
        )
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            search.fit(x, ready.sweep.part.labels)
        seconds = time.perf_counter() - started
        best = int(np.argmax(search.cv_results_["mean_test_score"]))
        chosen = clone(model).set_params(**search.cv_results_["params"][best])
        score = float(search.cv_results_["mean_test_score"][best])
        found.append(Grid(view, kind, chosen, score, len(search.cv_results_["params"]), seconds))
    return found
