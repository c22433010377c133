"""A space opened for reading from Python."""

from __future__ import annotations

import os
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
    """A space opened for reading: cached features of texts, as arrays."""

    space: Space

    @property
    def name(self) -> str:
        return self.space.name

    @property
    def layers(self) -> tuple[int, ...]:
        return self.space.contract.layers

    @property
    def poolings(self) -> tuple[str, ...]:
        return self.space.contract.poolings

    @property
    def contract(self) -> Contract:
        return self.space.contract

    @property
    def n_rows(self) -> int:
        return self.space.n_rows

    def features(self, texts: Sequence[str], *, layer: int, pooling: str) -> NDArray[np.float32]:
        """Pooled states of texts, float32 (len(texts), hidden), in the order of `texts`.

        texts: the strings as the backbone was given them (with a template: rendered).
        Raises CacheMissError where some are not cached; ContractError for a layer or pooling the
        space does not have; DamageError where a row fails its checksum.
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
        """Features batch by batch, read from the disk when they are asked for: memory does not grow
        with the rows.

        texts: as for `features`; all rows of the space, as they are stored, where it is left out.
        shuffle: in an order drawn with `seed`; give another seed for the next epoch. Yields, as
        `datasets.Dataset.iter` does, columns: `row`, int64 (B,), the place in `texts` (or the
        number of the row in the space), and `features`, float32 (B, hidden). Raises what `features`
        raises, before the first batch, and InputError for a batch size below 1.
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
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield {
                "row": rows,
                "features": self.space.gather(positions[rows], layer=layer, pooling=pooling),
            }

    def _positions(self, texts: Sequence[str]) -> NDArray[np.int64]:
        positions = self.space.find(row_keys(texts))
        n_missing = int((positions < 0).sum())
        if n_missing:
            command = f"featcache extract DATA --backbone {self.space.origin.backbone}"
            msg = f"{n_missing:,} of {len(texts):,} texts are not in space {self.name}"
            raise CacheMissError(
                msg, cure=f"Add them: {command}{cache_option(self.space.path.parent)}"
            )
        return positions

    def has(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Whether each text is cached; shape (len(texts),)."""
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

    Raises:
        SpaceChoiceError: None or several spaces fit.
    """
    return FeatureSpace(pick_space(Path(cache), name, mapped=mapped))
