"""Views that were added to a space later: files with datasets for rows that other files hold.

An addition has the keys of its rows, so nothing in it depends on where a row lies: a merge of the
other files leaves it valid. Where two additions hold one view of one row, the first file by name is
served.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from featcache.cache.index import KeyIndex
from featcache.cache.layout import KEYS
from featcache.cache.shard import Shard
from featcache.errors import CacheMissError


@dataclass(frozen=True)
class AddedView:
    """One view of some additions.

    Attributes:
        name: Its dataset, such as `layer_06/max`.
        shards: The files that hold it, sorted by name.
    """

    name: str
    shards: tuple[Shard, ...]

    def find(self, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Find rows by key: their numbers over all files of the view, -1 for a row without it.

        Args:
            keys: uint8 (M, 16).

        Returns:
            int64 (M,).
        """
        return self._index.find(keys)

    def by_shard(
        self, keys: NDArray[np.uint8], space: str
    ) -> Iterator[tuple[Shard, NDArray[np.int64], NDArray[np.int64]]]:
        """Yield each file that holds some of the keys, their places in `keys`, and their rows.

        Args:
            keys: uint8 (M, 16).
            space: The name of the space, for the message.

        Yields:
            tuple[Shard, NDArray[np.int64], NDArray[np.int64]]: A file, places, and rows.

        Raises:
            CacheMissError: Some rows do not have this view; the message names `space`.
        """
        numbers = self.find(keys)
        n_missing = int((numbers < 0).sum())
        if n_missing:
            msg = f"{n_missing:,} of {len(keys):,} rows of {space} have no {self.name}"
            raise CacheMissError(msg, cure="Choose a view that all rows have, or extract it.")
        yield from split_by_shard(self.shards, numbers)

    @cached_property
    def _index(self) -> KeyIndex:
        return KeyIndex.build(np.concatenate([shard.read(KEYS) for shard in self.shards]))


def added_views(additions: Sequence[Shard]) -> dict[str, AddedView]:
    """List the views that additions hold, by their names."""
    names = sorted({view for shard in additions for view in shard.views})
    views = {}
    for name in names:
        shards = tuple(shard for shard in additions if name in shard.views)
        views[name] = AddedView(name, shards)
    return views


def split_by_shard(
    shards: Sequence[Shard], numbers: NDArray[np.int64]
) -> Iterator[tuple[Shard, NDArray[np.int64], NDArray[np.int64]]]:
    """Split row numbers that count over several files.

    Args:
        shards: The files, in the order in which their rows count.
        numbers: int64 (M,).

    Yields:
        tuple[Shard, NDArray[np.int64], NDArray[np.int64]]: Each file that holds some of the rows,
            their places in `numbers`, and their rows in the file.
    """
    starts = np.cumsum([0, *(shard.n_rows for shard in shards)])
    owners = np.searchsorted(starts, numbers, side="right") - 1
    for owner in np.unique(owners):
        places = np.flatnonzero(owners == owner)
        yield shards[owner], places, numbers[places] - starts[owner]
