"""A feature space: one contract, many shards, rows found by key.

A cache folder holds one folder a space, `<model-name>-<first 12 hex digits of the contract's
hash>`, with `contract.json` (the identity), `origin.json` (where the backbone was found; never
compared), the shards, a lock file and the writers' claims. The name is for people: opening compares
the whole contract. `folder.py` looks over all spaces of a cache.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.additions import AddedView, added_views, split_by_shard
from featcache.cache.belonging import check_belongs, check_widths, open_files
from featcache.cache.claims import Claims
from featcache.cache.columns import CachedRows, RaggedRows, write_shard
from featcache.cache.contract import Contract, dataset_name
from featcache.cache.creation import check_same_contract, make_space_folder
from featcache.cache.identity import CONTRACT, read_contract, read_origin
from featcache.cache.layout import BFLOAT16, dtype_of
from featcache.cache.locks import LOCK, locked
from featcache.cache.numbers import as_kind, common_kind
from featcache.cache.origin import BackboneOrigin
from featcache.cache.provenance import ORIGIN_FIELD, environments
from featcache.cache.removal import give_up
from featcache.cache.rows import RowTable
from featcache.cache.shard import Shard
from featcache.durable import TEMPORARY, remove, settle
from featcache.errors import CacheMissError, ContractError


@dataclass(frozen=True)
class Space:
    """A space, opened. The shards are those of the moment of opening; `reopened` sees newer ones.

    Attributes:
        path: Its folder.
        contract: What determines its features.
        origin: Where its backbone was.
        shards: The files that hold its rows, sorted by name; a position counts rows over them.
        additions: Files that add views to those rows.
        mapped: Whether files are read through memory maps, or by copies.
    """

    path: Path
    contract: Contract
    origin: BackboneOrigin
    shards: tuple[Shard, ...]
    additions: tuple[Shard, ...] = ()
    mapped: bool = True

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def n_rows(self) -> int:
        """Rows over all shards; a text written by two processes at once counts twice."""
        return sum(shard.n_rows for shard in self.shards)

    @property
    def n_bytes(self) -> int:
        """Bytes of all files, additions included."""
        return sum(shard.n_bytes for shard in (*self.shards, *self.additions))

    @property
    def environments(self) -> list[dict[str, Any]]:
        """What computed the rows; see `provenance.environments`."""
        return environments(
            [shard.provenance for shard in self.shards], [shard.n_rows for shard in self.shards]
        )

    @property
    def last_written(self) -> str | None:
        """When rows came in last, in ISO form and UTC; None where there are none."""
        times = [environment["written"] for environment in self.environments]
        return max(times, default=None)

    @classmethod
    def open(cls, path: Path, *, mapped: bool = True) -> Space:
        """Open the space in a folder: its contract, and the header of every file.

        Args:
            path: The folder.
            mapped: Read through memory maps; else by copies, for file systems that others may
                write to: a mapped file that is cut short ends its reader with SIGBUS.

        Returns:
            The space.

        Raises:
            CacheMissError: There is no space.
            DamageError: A header is damaged, or a file is of another contract.
            FormatError: A later featcache wrote the contract or a file.
        """
        contract = read_contract(path)
        origin = read_origin(path)
        files = open_files(path, mapped=mapped)
        for file in files:
            check_belongs(file, path, contract, origin)
        check_widths(files)
        shards = tuple(file for file in files if not file.is_addition)
        additions = tuple(file for file in files if file.is_addition)
        return cls(path, contract, origin, shards, additions, mapped)

    @classmethod
    def create(cls, cache: Path, name: str, contract: Contract, origin: BackboneOrigin) -> Space:
        """Open the space of a contract; it is made where it is not there yet.

        Args:
            cache: The folder of all spaces.
            name: The readable part of the space's name.
            contract: What determines its features.
            origin: Where its backbone is.

        Returns:
            The space.

        Raises:
            ContractError: A folder of that name holds another contract.
            MachineError: The folder cannot be written.
        """
        path = cache / f"{name}-{contract.digest[:12]}"
        if not (path / CONTRACT).exists():
            make_space_folder(path, contract, origin)
        space = cls.open(path)
        check_same_contract(path, space.contract, contract)
        return space

    def reopened(self) -> Space:
        """Open the same space with the files there are now."""
        return Space.open(self.path, mapped=self.mapped)

    def find(self, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Find the positions of keys (M, 16), -1 where a row is absent; see `RowTable.find`."""
        return self._rows.find(keys)

    def keys_at(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Read the keys, uint8 (M, 16), of rows at positions (M,)."""
        return self._rows.keys_at(positions)

    def token_counts(
        self, positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Read how many tokens rows have, and which were cut off; see `RowTable.token_counts`."""
        return self._rows.token_counts(positions)

    def first_positions(self) -> NDArray[np.int64]:
        """List the positions of all rows, ascending, without those that repeat a key."""
        return self._rows.first_positions()

    def gather(
        self, positions: NDArray[np.int64], *, layer: int, pooling: str
    ) -> NDArray[np.float32]:
        """Gather features at positions that `find` gave; each row is held to its checksum.

        Args:
            positions: int64 (M,).
            layer: The layer's number.
            pooling: The pooling's name.

        Returns:
            float32 (M, H), in the order of the positions.

        Raises:
            ContractError: The space lacks the layer or pooling.
            CacheMissError: The view was added for other rows only.
            DamageError: A row is damaged.
        """
        self.check_view(layer, pooling)
        name = dataset_name(layer, pooling)
        features = np.empty((len(positions), self.width_of(layer, pooling)), dtype=np.float32)
        for shard, places, rows in self._holders(name, positions):
            features[places] = shard.gather(name, rows)
        return features

    def gather_ragged(
        self, positions: NDArray[np.int64], *, layer: int, pooling: str
    ) -> RaggedRows:
        """Gather rows of a view with a number of vectors for each row; as `gather`.

        Args:
            positions: int64 (M,).
            layer: The layer's number.
            pooling: The pooling's name.

        Returns:
            M rows, in the order of the positions, their values float32.

        Raises:
            ContractError: The space lacks the layer or pooling.
            CacheMissError: The view was added for other rows only.
            DamageError: A row is damaged.
        """
        self.check_view(layer, pooling)
        name = dataset_name(layer, pooling)
        vectors = [np.empty((0, self.width_of(layer, pooling)), np.float32)] * len(positions)
        for shard, places, rows in self._holders(name, positions):
            gathered = shard.gather_ragged(name, rows)
            for number, place in enumerate(places):
                vectors[place] = gathered.row(number)
        offsets = np.cumsum([0, *(len(row) for row in vectors)], dtype=np.int64)
        empty = np.empty((0, self.width_of(layer, pooling)), np.float32)
        return RaggedRows(np.concatenate([empty, *vectors]), offsets)

    def check_view(self, layer: int, pooling: str) -> None:
        """Refuse a view that the space does not have.

        Args:
            layer: The layer's number.
            pooling: The pooling's name.

        Raises:
            ContractError: The space lacks the layer or the pooling.
        """
        if self.has_view(layer, pooling):
            return
        msg = (
            f"{self.name} has no {pooling} of layer {layer}; it holds layers "
            f"{', '.join(map(str, self.contract.layers))} and {', '.join(self.contract.poolings)}"
        )
        cure = f"featcache extract … --layers {layer} --pool {pooling} makes a space that has it."
        raise ContractError(msg, cure=cure)

    def has_view(self, layer: int, pooling: str) -> bool:
        """Return True if the contract has a view, or if one was added for some rows."""
        in_contract = layer in self.contract.layers and pooling in self.contract.poolings
        return in_contract or dataset_name(layer, pooling) in self.added

    def width_of(self, layer: int, pooling: str) -> int:
        """The length of a view's vectors; the model's hidden size where no file has the view."""
        name = dataset_name(layer, pooling)
        for shard in self._files_with(name):
            return shard.header.width(name)
        return self.origin.hidden_size

    def load(self, *, layer: int, pooling: str, verify: bool = True) -> NDArray[np.floating[Any]]:
        """Read the features of all rows into memory, in the order of their positions.

        Args:
            layer: The layer's number.
            pooling: The pooling's name.
            verify: Hold them to their checksums.

        Returns:
            (n_rows, H) as they are stored: float16, or float32 where some rows need that.

        Raises:
            ContractError: The space lacks the layer or pooling.
            DamageError: They do not match.
        """
        self.check_view(layer, pooling)
        name, dtype = dataset_name(layer, pooling), self.dtype_of(layer, pooling)
        if name in self.added:
            features = self.gather(np.arange(self.n_rows), layer=layer, pooling=pooling)
            return features.astype(dtype, copy=False)
        features = np.empty((self.n_rows, self.width_of(layer, pooling)), dtype)
        for start, shard in zip(self._rows.starts, self.shards, strict=False):
            part = features[start : start + shard.n_rows]
            if shard.extent(name).kind == dtype.name:
                shard.load(name, verify=verify, into=part)
            else:
                part[...] = as_kind(shard.load(name, verify=verify), "float32")
        return features

    def dtype_of(self, layer: int, pooling: str) -> np.dtype[Any]:
        """The type that holds all rows of a view: float16, or float32 where some need it."""
        name = dataset_name(layer, pooling)
        kind = common_kind([shard.extent(name).kind for shard in self._files_with(name)])
        return dtype_of("float32" if kind == BFLOAT16 else kind)

    def add(self, rows: CachedRows, provenance: Mapping[str, Any]) -> Path:
        """Write rows as one new shard; when this returns they survive a power cut.

        It needs no lock to be safe.

        Args:
            rows: What to write, with all views of the contract.
            provenance: What made the rows.

        Returns:
            The new file.
        """
        everything = {**provenance, ORIGIN_FIELD: vars(self.origin)}
        return write_shard(self.path, rows, contract=self.contract, provenance=everything)

    def add_views(
        self,
        keys: NDArray[np.uint8],
        provenance: Mapping[str, Any],
        *,
        features: Mapping[str, NDArray[Any]] | None = None,
        ragged: Mapping[str, RaggedRows] | None = None,
    ) -> Path:
        """Add views to rows that are in the space already, as one new file.

        Args:
            keys: Of the rows, uint8 (M, 16); they all differ.
            provenance: What made them.
            features: Name of a view -> its M rows; none of the views is in the contract.
            ragged: The same for views with a number of vectors for each row.

        Returns:
            The new file; `reopened` sees it.

        Raises:
            CacheMissError: Some rows are not in the space.
            ContractError: A view is one of the contract's.
        """
        features, ragged = features or {}, ragged or {}
        known = sorted({*features, *ragged} & set(self.contract.views))
        if known:
            msg = f"{self.name} has {known[0]} for all its rows already"
            raise ContractError(msg, cure="Add views that its contract does not have.")
        positions = self.find(keys)
        n_missing = int((positions < 0).sum())
        if n_missing:
            msg = f"{n_missing:,} of {len(keys):,} rows are not in {self.name}"
            raise CacheMissError(msg, cure="Extract the rows first, then add views to them.")
        counts, truncated = self.token_counts(positions)
        rows = CachedRows(keys, counts.astype(np.uint32), truncated, features, ragged)
        everything = {**provenance, ORIGIN_FIELD: vars(self.origin)}
        return write_shard(
            self.path, rows, contract=self.contract, provenance=everything, role="addition"
        )

    @contextlib.contextmanager
    def writing(self, waiting: Callable[[], None] = lambda: None) -> Iterator[tuple[Space, Claims]]:
        """Join the space's writers.

        Merge, repair and gc wait for writers, and writers for them. What killed writers left is
        removed, and so is a space that got no row because the body raised.

        Args:
            waiting: Called once if others have to end first.

        Yields:
            tuple[Space, Claims]: The space as it is then, and the writer's claims on its rows.

        Raises:
            MachineError: The folder cannot be written or locked.
        """

        def clean_up() -> None:  # nobody else writes, so unfinished files are dead ones
            remove(self.path.glob(f"*{TEMPORARY}"))

        try:
            with locked(self.path / LOCK, shared=True, waiting=waiting, when_alone=clean_up):
                settle(self.path)
                now = self.reopened()
                files = {file.path.name for file in (*now.shards, *now.additions)}
                with Claims(now.path, files) as claims:
                    yield now, claims
        except BaseException:
            give_up(self.path)
            raise

    @contextlib.contextmanager
    def alone(self, waiting: Callable[[], None] = lambda: None) -> Iterator[Space]:
        """Keep writers away, once they are done.

        Args:
            waiting: Called once if writers have to end first.

        Yields:
            Space: The space as it is then.

        Raises:
            MachineError: The folder cannot be written or locked.
        """
        with locked(self.path / LOCK, shared=False, waiting=waiting):
            yield self.reopened()

    @cached_property
    def added(self) -> dict[str, AddedView]:
        """Views that additions hold, by the names of their datasets."""
        return added_views(self.additions)

    @cached_property
    def _rows(self) -> RowTable:
        return RowTable(self.shards)

    def _files_with(self, name: str) -> tuple[Shard, ...]:
        return self.added[name].shards if name in self.added else self.shards

    def _holders(
        self, name: str, positions: NDArray[np.int64]
    ) -> Iterator[tuple[Shard, NDArray[np.int64], NDArray[np.int64]]]:
        """Yield each file with a view of some positions, their places, and their rows in it."""
        if name in self.added:
            return self.added[name].by_shard(self.keys_at(positions), self.name)
        return split_by_shard(self.shards, positions)
