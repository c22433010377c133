"""A space opened for reading from Python."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.contract import Contract
from featcache.cache.space import Space
from featcache.data.keys import row_keys
from featcache.errors import CacheMissError, InputError
from featcache.features.commands import DEFAULT_CACHE, cache_option
from featcache.features.find import pick_space


@dataclass(frozen=True)
class FeatureSpace:
    """A space opened for reading: cached features of texts, as arrays.

    Attributes:
        space: The space as the cache sees it.
    """

    space: Space

    @property
    def name(self) -> str:
        """The name of the space's folder."""
        return self.space.name

    @property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the layers that are cached; 0 is the embedding output."""
        return self.space.contract.layers

    @property
    def poolings(self) -> tuple[str, ...]:
        """Names of the poolings that are cached."""
        return self.space.contract.poolings

    @property
    def contract(self) -> Contract:
        """Everything that the features depend on."""
        return self.space.contract

    @property
    def n_rows(self) -> int:
        """Number of cached rows."""
        return self.space.n_rows

    def features(self, texts: Sequence[str], *, layer: int, pooling: str) -> NDArray[np.float32]:
        """Read the pooled states of texts.

        Args:
            texts: The strings as the backbone was given them (with a template: rendered).
            layer: The layer's number.
            pooling: The pooling's name.

        Returns:
            States, float32 (len(texts), hidden), in the order of `texts`.

        Raises:
            CacheMissError: Some texts are not cached.
            ContractError: The space does not have this layer or pooling.
            DamageError: A row fails its checksum.
        """
        return self.space.gather(self._positions(texts), layer=layer, pooling=pooling)

    def batches(
        self,
        texts: Sequence[str] | None = None,
        *,
        layer: int,
        pooling: str,
        batch_size: int = 256,
        shuffle: bool = False,
        seed: int = 0,
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Read features batch by batch, so that memory does not grow with the rows.

        What cannot be read is refused before the first batch.

        Args:
            texts: As for `features`; None for all rows of the space, as they are stored.
            layer: The layer's number.
            pooling: The pooling's name.
            batch_size: Rows of a batch.
            shuffle: Whether rows come in an order drawn with `seed`.
            seed: Seed of the order; give another one for the next epoch.

        Returns:
            Batches as columns, as `datasets.Dataset.iter` gives them: `row`, int64 (B,), the place
            in `texts` (or the number of the row in the space), and `features`, float32 (B, hidden).

        Raises:
            InputError: The batch size is below 1.
            CacheMissError: Some texts are not cached.
            ContractError: The space does not have this layer or pooling.
        """
        if batch_size < 1:
            msg = f"batch_size {batch_size} is not a number of rows"
            raise InputError(msg, cure="Give 1 or more.")
        self.space.check_view(layer, pooling)
        positions = self.space.first_positions() if texts is None else self._positions(texts)
        order = np.arange(len(positions))
        if shuffle:
            np.random.default_rng(seed).shuffle(order)
        return self._batches(positions, order, layer, pooling, batch_size)

    def _batches(
        self,
        positions: NDArray[np.int64],
        order: NDArray[np.int64],
        layer: int,
        pooling: str,
        batch_size: int,
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """The batches of checked arguments. order: places in `positions`."""
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            features = self.space.gather(positions[rows], layer=layer, pooling=pooling)
            yield {"row": rows, "features": features}

    def _positions(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Positions of texts in the space, (len(texts),)."""
        positions = self.space.find(row_keys(texts))
        n_missing = int((positions < 0).sum())
        if n_missing:
            command = f"featcache extract DATA --backbone {shlex.quote(self.space.origin.backbone)}"
            msg = f"{n_missing:,} of {len(texts):,} texts are not in space {self.name}"
            cure = f"Add them: {command}{cache_option(self.space.path.parent)}"
            raise CacheMissError(msg, cure=cure)
        return positions

    def has(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Tell which texts are cached.

        Args:
            texts: The strings as the backbone was given them.

        Returns:
            Whether each text is cached, bool (len(texts),).
        """
        return self.space.find(row_keys(texts)) >= 0


def open_space(
    name: str | None = None,
    *,
    cache: str | os.PathLike[str] = DEFAULT_CACHE,
    mapped: bool = True,
) -> FeatureSpace:
    """Open a space for reading.

    Args:
        name: Its name or the beginning of it; without a name, the only space there is.
        cache: The folder of all spaces.
        mapped: Read through memory maps. Without them reading is slower, and safe where another
            process may make a file shorter, which ends the reader of a map with SIGBUS.

    Returns:
        The space.

    Raises:
        SpaceChoiceError: None or several spaces fit.
    """
    return FeatureSpace(pick_space(Path(cache), name, mapped=mapped))
