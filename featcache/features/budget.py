"""Where features are kept: memory while there is some left, then a temporary file."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from featcache.durable import reserve
from featcache.errors import MachineError

# Of the machine's memory a room takes one part in so many; what is more goes to a temporary file
_SHARE = 8


_FALLBACK = 2 << 30  # bytes, where the size of the memory is not told


class MemoryBudget:
    """Where features are kept: memory while there is some left, then a file. A context; the file
    ends with it.
    """

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
        """The features, or a mapped copy of them. Raises MachineError where the disk has no room
        for it.
        """
        if self.take(features.nbytes):
            return features
        with self._lock:
            self._folder = self._folder or tempfile.TemporaryDirectory(
                prefix="featcache-", ignore_cleanup_errors=True
            )
            self._count += 1
            path = Path(self._folder.name) / str(self._count)
        try:
            with path.open("xb") as file:
                reserve(
                    file.fileno(), features.nbytes
                )  # a disk that is full kills whoever writes to a map of it
        except OSError as error:
            size = f"{features.nbytes / (1 << 30):.1f} GiB"
            msg = f"{path.parent} has no room for another {size} of features: {error.strerror}"
            raise MachineError(
                msg, cure="Set TMPDIR to a larger disk, or try fewer --layers, --pool or --views."
            ) from error
        mapped = torch.from_file(
            str(path), shared=True, size=features.numel(), dtype=features.dtype
        )
        return mapped.view(features.shape).copy_(features)


def _memory() -> int:
    """Bytes of memory of this machine."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return _FALLBACK * _SHARE
