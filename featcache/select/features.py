"""The features of a fold, standardised with its training rows; each view is read once, and kept in memory or a file."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcache.cache.space import Space
from featcache.heads.standardize import Standardization
from featcache.select.sweep import Fold, Sweep
from featcache.select.views import View

IN_MEMORY = 4 << 30  # bytes of features of a sweep; more are kept in a temporary file that is mapped


class States:
    """States as cached of the rows of a call, read once: folds and labels ask for them again."""

    def __init__(self, space: Space, rows: NDArray[np.int64], room: Room) -> None:
        """rows: all positions that will be asked for."""
        self._space, self._room, self._rows = space, room, np.unique(rows)
        self._known: dict[View, Tensor] = {}
        self._lock = threading.Lock()

    def gather(self, view: View, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """States (N, H) of one layer and pooling at positions in the cache."""
        with self._lock:
            if view not in self._known:
                states = self._space.gather(self._rows, layer=view.layers[0], pooling=view.poolings[0])
                self._known[view] = self._room.keep(states)
        return np.asarray(self._known[view].numpy()[np.searchsorted(self._rows, rows)])


@dataclass(frozen=True)
class Prepared:
    """A view's standardised features: train (N, H) and held (V, H); mixed layers (L, N, H). scales: of each part."""

    scales: tuple[Standardization, ...]
    train: Tensor
    held: Tensor

    def cast(self, dtype: torch.dtype) -> Prepared:
        return Prepared(self.scales, self.train.to(dtype), self.held.to(dtype))


class Room:
    """Where features are kept: memory while there is some left, then a file. A context; the file ends with it."""

    def __init__(self, limit: int = IN_MEMORY) -> None:
        self._left = limit
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._count = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def keep(self, array: NDArray[np.float32]) -> Tensor:
        """The array, or a mapped copy of it."""
        with self._lock:  # folds keep theirs side by side
            if array.nbytes <= self._left:
                self._left -= array.nbytes
                return torch.from_numpy(array)
            self._folder = self._folder or tempfile.TemporaryDirectory(prefix="featcache-", ignore_cleanup_errors=True)
            self._count += 1
            path = Path(self._folder.name) / str(self._count)
        mapped = np.memmap(path, dtype=array.dtype, mode="w+", shape=array.shape)
        mapped[...] = array
        return torch.from_numpy(mapped)


class FoldFeatures:
    """Views of one fold's rows, made when they are first asked for; several threads may ask."""

    def __init__(self, sweep: Sweep, fold: Fold, room: Room) -> None:
        self._sweep, self._fold, self._room = sweep, fold, room
        self._made: dict[tuple[View, torch.dtype], Prepared] = {}
        self._lock = threading.Lock()

    def view(self, view: View, dtype: torch.dtype = torch.float32) -> Prepared:
        """The view's features; the parts of a joined one are read once, whoever asks."""
        with self._lock:
            return self._view(view, dtype)

    def _view(self, view: View, dtype: torch.dtype = torch.float32) -> Prepared:
        if (view, dtype) not in self._made:
            if dtype != torch.float32:
                self._made[view, dtype] = self._view(view).cast(dtype)
            else:
                self._made[view, dtype] = self._single(view) if view.single else self._joined(view)
        return self._made[view, dtype]

    def _single(self, view: View) -> Prepared:
        rows = self._sweep.part.rows
        states = self._sweep.gather(view, rows[np.concatenate([self._fold.train, self._fold.held])])
        n_train = len(self._fold.train)
        scale = Standardization.of(states[:n_train])
        keep = self._room.keep
        return Prepared((scale,), keep(scale.apply(states[:n_train])), keep(scale.apply(states[n_train:])))

    def _joined(self, view: View) -> Prepared:
        parts = [self._view(part) for part in view.parts()]
        join = np.stack if view.mixed else partial(np.concatenate, axis=1)
        train, held = (join([getattr(part, side).numpy() for part in parts]) for side in ("train", "held"))
        scales = tuple(scale for part in parts for scale in part.scales)
        return Prepared(scales, self._room.keep(train), self._room.keep(held))


def raw_features(sweep: Sweep, view: View, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """A view's features as cached, (N, inputs), at positions in the cache; layers that are mixed stand side by side."""
    return np.concatenate([sweep.gather(part, rows) for part in view.parts()], axis=1)
