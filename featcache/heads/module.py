"""Heads that are code: a module that the user's factory makes, its training, and its weights as
bytes.

    def factory(n_inputs: int, n_classes: int) -> torch.nn.Module: ...

The module gives logits (B, C) of features (B, n_inputs), which it is given standardised. A bundle
keeps its weights and the factory's name, never its code: whoever loads it gives the factory again.
Trained one at a time by torch's own AdamW: what is stacked in `train.py` are products that a module
need not have.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from featcache.errors import BundleError, InputError
from featcache.features.standardize import Standardization
from featcache.heads.network import check_width
from featcache.heads.recipe import Examples, Metric, Recipe, TrainingCurves
from featcache.tasks.single_label import softmax

Factory = Callable[[int, int], torch.nn.Module]

_ROWS = 8192  # scored at once: the memory that a module takes for a row is not known
# Modules draw from torch's one stream (dropout, say), which is seeded for each: one at a time,
# whatever the threads.
_STREAM = threading.Lock()
_MODULE, _MEAN, _STD = "module.", "scale.mean", "scale.std"


@dataclass(frozen=True)
class CustomHead:
    """A trained module and the statistics of its training features, with the face of
    `network.Head`.

    module: in evaluation mode, on the CPU.  factory: name of what made it, "module:qualname".
    """

    module: torch.nn.Module
    scale: Standardization
    factory: str
    n_classes: int

    def __post_init__(self) -> None:
        self.module.eval()

    @property
    def depth(self) -> int:
        return 0

    @property
    def n_inputs(self) -> int:
        return len(self.scale.mean)

    @property
    def n_parameters(self) -> int:
        return sum(value.numel() for value in self.module.parameters())

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of N rows of features (N, in) for C classes, (N, C).

        Raises ValueError for another width; InputError where the module gives another shape, NaN or
        infinity.
        """
        check_width(features, self.n_inputs)
        x = torch.from_numpy(self.scale.apply(features))
        return np.asarray(
            _evaluated(self.module, x, self.n_classes, self.factory).numpy(), dtype=np.float32
        )

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Softmax of the logits, (N, C); rows add up to 1."""
        return softmax(self.logits(features))

    def to_bytes(self) -> bytes:
        """Safetensors: the module's state under `module.`, and `scale.mean` and `scale.std`."""
        from safetensors.torch import save

        # Copies all of them: safetensors refuses tensors that share memory, as tied weights do.
        state = _state(self.module, self.factory)
        tensors = {_MODULE + name: value.cpu().contiguous() for name, value in state.items()}
        scale = {_MEAN: torch.tensor(self.scale.mean), _STD: torch.tensor(self.scale.std)}
        return bytes(save({**tensors, **scale}))

    @classmethod
    def from_bytes(cls, stored: bytes, factory: Factory, n_classes: int, where: str) -> CustomHead:
        """What `to_bytes` wrote, in a module that `factory` makes; the bytes themselves run
        nothing.

        Raises BundleError, naming `where`, if the module has other weights than those stored.
        """
        from safetensors.torch import load

        tensors = load(stored)
        scale = Standardization(tensors.pop(_MEAN).numpy(), tensors.pop(_STD).numpy())
        name = name_of(factory)
        with torch.random.fork_rng(devices=[]):
            module = _made(factory, len(scale.mean), n_classes)
        try:
            module.load_state_dict(
                {key.removeprefix(_MODULE): value for key, value in tensors.items()}
            )
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            msg = f"the module of {name} does not take the weights of {where}: {reason}"
            raise BundleError(
                msg, cure="Give the factory that this head was trained with, as it was then."
            ) from error
        return cls(module, scale, name, n_classes)


def name_of(factory: Factory) -> str:
    """The factory's name, "module:qualname"; of an object that has none, that of its class."""
    named = factory if hasattr(factory, "__qualname__") else type(factory)
    return f"{named.__module__}:{named.__qualname__}"


def train_custom(
    factory: Factory,
    train: Examples,
    validation: Examples | None,
    *,
    n_classes: int,
    recipe: Recipe,
    metric: Metric,
) -> tuple[CustomHead, int, TrainingCurves]:
    """Train the module that `factory` makes; returns the head, the epochs it was trained for, and
    its curves.

    metric: see `recipe.Metric`; early stopping follows it as in `train.Training`, and the weights
    of the best epoch are kept.  validation None: it runs the recipe's `max_epochs`. Dropout and
    averages are the module's own business: the recipe's `dropout` and `average_epochs` are not
    used. The seed rules what the module draws when it is made and trained; torch's own stream is
    left as it was.
    Raises InputError, naming the factory, where it makes no module, or one without weights, or one
    that gives another shape than (B, C), NaN or infinity.
    """
    name = name_of(factory)
    scale = Standardization.of(train.features)
    x, y = _tensors(train, scale)
    held = None if validation is None else _tensors(validation, scale)
    order = torch.Generator().manual_seed(recipe.seed)
    curves, best, best_epoch = TrainingCurves(), (-math.inf, -math.inf), 0
    last_gain = 0  # the epoch in which the score itself last rose
    with _STREAM, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(
            recipe.seed
        )  # torch.manual_seed would seed other devices, too
        module = _made(factory, x.shape[1], n_classes)
        kept = _state(module, name)
        optimizer = torch.optim.AdamW(
            module.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        for epoch in range(1, recipe.max_epochs + 1):
            module.train()
            for rows in _batches(torch.randperm(len(x), generator=order), recipe.batch_size):
                optimizer.zero_grad()
                loss = functional.cross_entropy(_logits(module, x[rows], n_classes, name), y[rows])
                loss.backward()  # type: ignore[no-untyped-call]  # torch's
                optimizer.step()
            module.eval()
            train_loss, train_score = _scored(_evaluated(module, x, n_classes, name), y, metric)
            curves.train_loss.append(train_loss)
            curves.train_score.append(train_score)
            if held is None:
                continue
            held_loss, held_score = _scored(
                _evaluated(module, held[0], n_classes, name), held[1], metric
            )
            curves.validation_loss.append(held_loss)
            curves.validation_score.append(held_score)
            if held_score > best[0]:
                last_gain = epoch
            if recipe.patience is None or (held_score, -held_loss) > best:
                best, best_epoch, kept = (held_score, -held_loss), epoch, _state(module, name)
            if recipe.patience is not None and epoch - last_gain >= recipe.patience:
                break
    if held is None:
        best_epoch = recipe.max_epochs
    else:
        module.load_state_dict(kept)
    return CustomHead(module, scale, name, n_classes), best_epoch, curves


def _made(factory: Factory, n_inputs: int, n_classes: int) -> torch.nn.Module:
    module: object = factory(n_inputs, n_classes)
    if not isinstance(module, torch.nn.Module):
        msg = f"{name_of(factory)} makes a {type(module).__name__}, not a torch.nn.Module"
        raise InputError(msg, cure="A factory takes (n_inputs, n_classes) and returns a module.")
    if not any(value.requires_grad for value in module.parameters()):
        msg = f"the module of {name_of(factory)} has no weights that can be trained"
        raise InputError(
            msg, cure="Give its layers to the module as attributes, and leave requires_grad on."
        )
    return module


def _state(module: torch.nn.Module, name: str) -> dict[str, Tensor]:
    """A copy of the module's weights and buffers."""
    state = module.state_dict()
    strange = [key for key, value in state.items() if not isinstance(value, Tensor)]
    if strange:
        msg = f"the module of {name} keeps {strange[0]!r}, which is no tensor, in its state"
        raise InputError(msg, cure="Leave out get_extra_state: a bundle keeps tensors only.")
    return {key: value.detach().clone() for key, value in state.items()}


def _batches(order: Tensor, size: int) -> list[Tensor]:
    """Row numbers in batches. A last row alone joins the batch before: batch norm cannot be trained
    on one row.
    """
    batches = list(torch.split(order, size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


@torch.no_grad()
def _evaluated(module: torch.nn.Module, x: Tensor, n_classes: int, name: str) -> Tensor:
    return torch.cat([_logits(module, part, n_classes, name) for part in torch.split(x, _ROWS)])


def _logits(module: torch.nn.Module, x: Tensor, n_classes: int, name: str) -> Tensor:
    """The module's logits (B, C) of x (B, in), float32 and checked."""
    found = module(x)
    expected = (len(x), n_classes)
    if not isinstance(found, Tensor) or tuple(found.shape) != expected:
        what = (
            f"shape {tuple(found.shape)}"
            if isinstance(found, Tensor)
            else f"a {type(found).__name__}"
        )
        msg = (
            f"the module of {name} gives {what} for features of shape {tuple(x.shape)}, "
            f"where {expected} is expected"
        )
        raise InputError(
            msg,
            cure="Its forward(features) has to return logits, one row a text and one column "
            "a class.",
        )
    if not bool(torch.isfinite(found).all()):
        msg = f"the module of {name} gives NaN or infinity as logits"
        raise InputError(
            msg,
            cure="Lower the learning rate, or look for a division or a logarithm in its forward.",
        )
    return found.float()


def _scored(logits: Tensor, y: Tensor, metric: Metric) -> tuple[float, float]:
    """(mean loss in nats, metric)."""
    (score,) = metric(y.numpy(), logits.argmax(dim=1, keepdim=True).numpy().T)
    return float(functional.cross_entropy(logits, y)), float(score)


def _tensors(examples: Examples, scale: Standardization) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(scale.apply(examples.features)), torch.from_numpy(examples.labels)
