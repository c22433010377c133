"""The same synthetic rows in four forms, for `cache_io.py` to compare: shards, a sealed file, .npy,
plain HDF5.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from featcache.cache.columns import CachedRows
from featcache.cache.contract import Contract
from featcache.cache.origin import BackboneOrigin
from featcache.cache.space import Space
from featcache.cache.upkeep.merge import merge
from featcache.cache.writer import SHARD_BYTES

VIEW, LAYER, POOLING = "layer_00/mean", 0, "mean"


@dataclass(frozen=True)
class Files:
    """The same rows in four forms; row i of each is the space's position i."""

    shards: Space
    sealed: Space
    npy: Path
    plain: Path
    keys: NDArray[np.uint8]

    @property
    def n_bytes(self) -> int:
        """Of the states alone, which all four forms hold."""
        return self.shards.n_rows * self.shards.origin.hidden_size * 2


@dataclass(frozen=True)
class Chunks:
    """The rows of a case, made again whenever they are asked for: as float32, as a backbone gives
    them.
    """

    n_rows: int
    dim: int

    @property
    def step(self) -> int:
        """Rows of a shard: as `extract` writes them, but four shards at least."""
        return max(min(SHARD_BYTES // (self.dim * 2), -(-self.n_rows // 4)), 1)

    def __iter__(self) -> Iterator[CachedRows]:
        generator = np.random.default_rng(self.n_rows)
        for start in range(0, self.n_rows, self.step):
            count = min(self.step, self.n_rows - start)
            # Any bits but the exponent's highest: values between -2 and 2.
            bits = generator.integers(0, 1 << 16, (count, self.dim), dtype=np.uint16) & np.uint16(
                0xBFFF
            )
            yield CachedRows(
                keys=np.frombuffer(generator.bytes(count * 16), np.uint8).reshape(count, 16),
                n_tokens=np.full(count, 9, dtype=np.uint32),
                truncated=np.zeros(count, dtype=np.bool_),
                features={VIEW: bits.view(np.float16).astype(np.float32)},
            )


def new_space(cache: Path, dim: int) -> Space:
    """An empty space of one view."""
    contract = Contract(
        weights="0" * 64,
        config={"model_type": "synthetic"},
        tokenizer="0" * 64,
        code=None,
        special_tokens=True,
        max_length=512,
        truncation_side="right",
        dtype="float32",
        quantization=None,
        layers=(LAYER,),
        poolings=(POOLING,),
    )
    return Space.create(cache, "synthetic", contract, BackboneOrigin("synthetic", dim, LAYER, 512))


def write_featcache(cache: Path, rows: Sequence[CachedRows], dim: int) -> Space:
    """Write the rows as `extract` does: each shard on the disk before the next."""
    space = new_space(cache, dim)
    for part in rows:
        space.add(part, {"written": "2026-01-01T00:00:00+00:00"})
    return space


def write_plain(path: Path, rows: Sequence[CachedRows], dim: int, *, sync: bool) -> None:
    """Write the rows into one HDF5 file with h5py: float16, contiguous, no checksums. sync: one
    fsync at the end.
    """
    n_rows, start = sum(len(part.keys) for part in rows), 0
    with h5py.File(path, "w") as file:
        states = file.create_dataset(VIEW, (n_rows, dim), np.float16)
        keys = file.create_dataset("keys", (n_rows, 16), np.uint8)
        for part in rows:
            end = start + len(part.keys)
            states[start:end] = part.features[VIEW].astype(np.float16)
            keys[start:end] = part.keys
            start = end
    if sync:
        with path.open("rb") as written:
            os.fsync(written.fileno())


def make_files(folder: Path, chunks: Chunks) -> Files:
    """Write all four forms."""
    space = new_space(folder / "shards", chunks.dim)
    for part in chunks:
        space.add(part, {"written": "2026-01-01T00:00:00+00:00"})
    shards = space.reopened()
    sealed = linked(shards, folder / "sealed")
    merge(sealed, progress=lambda _: None)
    keys = shards.keys_at(np.arange(shards.n_rows))
    states = np.lib.format.open_memmap(
        folder / "states.npy", mode="w+", dtype=np.float16, shape=(shards.n_rows, chunks.dim)
    )
    start = 0
    with h5py.File(folder / "plain.h5", "w") as file:
        plain = file.create_dataset(VIEW, states.shape, np.float16)
        file["keys"] = keys
        for shard in shards.shards:
            piece = shard.load(VIEW)
            states[start : start + len(piece)] = plain[start : start + len(piece)] = piece
            start += len(piece)
    states.flush()
    return Files(shards, sealed.reopened(), folder / "states.npy", folder / "plain.h5", keys)


def linked(space: Space, cache: Path) -> Space:
    """A copy of a space that shares its files, which never change."""
    shutil.copytree(space.path, cache / space.name, copy_function=os.link)
    return Space.open(cache / space.name)
