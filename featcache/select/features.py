"""The features of a fold, standardised with its training rows; each view is read once, and kept in memory or a file."""

from __future__ import annotations

import os
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
from featcache.errors import MachineError
from featcache.files import reserve
from featcache.heads.standardize import Standardization
from featcache.select.sweep import Fold, Sweep
from featcache.select.views import View

_SHARE = 8  # of the machine's memory a room takes one part in so many; what is more goes to a temporary file
_FALLBACK = 2 << 30  # bytes, where the size of the memory is not told


class States:
    """States as cached of the rows of a call, kept while there is room, for folds and labels ask for them again.

    The others are read from the cache each time: it is a file already.
    """

    def __init__(self, space: Space, rows: NDArray[np.int64], room: Room) -> None:
        """rows: all positions that will be asked for."""
        self._space, self._room, self._rows = space, room, np.unique(rows)
        self._known: dict[View, NDArray[np.float32]] = {}
        self._lock = threading.Lock()

    def gather(self, view: View, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """States (N, H) of one layer and pooling at positions in the cache."""
        with self._lock:
            if view not in self._known and self._room.take(4 * len(self._rows) * self._space.origin.hidden_size):
                self._known[view] = self._read(view, self._rows)
        known = self._known.get(view)
        return self._read(view, rows) if known is None else known[np.searchsorted(self._rows, rows)]

    def _read(self, view: View, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._space.gather(rows, layer=view.layers[0], pooling=view.poolings[0])


@dataclass(frozen=True)
class Prepared:
    """A view's standardised features: train (N, H) and held (V, H); mixed layers (L, N, H). scales: of each part."""

    scales: tuple[Standardization, ...]
    train: Tensor
    held: Tensor


class Room:
    """Where features are kept: memory while there is some left, then a file. A context; the file ends with it."""

    def __init__(self, limit: int | None = None) -> None:
        """limit: bytes of memory [an eighth of the machine's]."""
        self._left = _memory() // _SHARE if limit is None else limit
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._count = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def take(self, n_bytes: int) -> bool:
        """Whether there is so much memory left; it is taken then."""
        with self._lock:  # folds keep theirs side by side
            fits = n_bytes <= self._left
            self._left -= n_bytes if fits else 0
            return fits

    def keep(self, features: Tensor) -> Tensor:
        """The features, or a mapped copy of them. Raises MachineError where the disk has no room for it."""
        if self.take(features.nbytes):
            return features
        with self._lock:
            self._folder = self._folder or tempfile.TemporaryDirectory(prefix="featcache-", ignore_cleanup_errors=True)
            self._count += 1
            path = Path(self._folder.name) / str(self._count)
        try:
            with path.open("xb") as file:
                reserve(file.fileno(), features.nbytes)  # a disk that is full kills whoever writes to a map of it
        except OSError as error:
            size = f"{features.nbytes / (1 << 30):.1f} GiB"
            msg = f"{path.parent} has no room for another {size} of features: {error.strerror}"
            raise MachineError(
                msg, cure="Set TMPDIR to a larger disk, or try fewer --layers, --pool or --views."
            ) from error
        mapped = torch.from_file(str(path), shared=True, size=features.numel(), dtype=features.dtype)
        return mapped.view(features.shape).copy_(features)


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
                whole = self._view(view)
                halves = (self._room.keep(one.to(dtype)) for one in (whole.train, whole.held))
                self._made[view, dtype] = Prepared(whole.scales, *halves)
            else:
                self._made[view, dtype] = self._single(view) if view.single else self._joined(view)
        return self._made[view, dtype]

    def _single(self, view: View) -> Prepared:
        rows = self._sweep.part.rows
        states = self._sweep.gather(view.standardised(), rows[np.concatenate([self._fold.train, self._fold.held])])
        n_train = len(self._fold.train)
        scale = Standardization.of(states[:n_train]) if view.scaled else Standardization.none(states.shape[1])
        parts = (torch.from_numpy(scale.apply(some)) for some in (states[:n_train], states[n_train:]))
        return Prepared((scale,), *map(self._room.keep, parts))

    def _joined(self, view: View) -> Prepared:
        parts = [self._view(part.standardised(view.scaled)) for part in view.parts()]
        join = torch.stack if view.mixed else partial(torch.cat, dim=1)
        sides = (join([getattr(part, side) for part in parts]) for side in ("train", "held"))
        return Prepared(tuple(scale for part in parts for scale in part.scales), *map(self._room.keep, sides))


def _memory() -> int:
    """Bytes of memory of this machine."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return _FALLBACK * _SHARE


def raw_features(sweep: Sweep, view: View, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """A view's features as cached, (N, inputs), at positions in the cache; layers that are mixed stand side by side."""
    return np.concatenate([sweep.gather(part, rows) for part in view.parts()], axis=1)
