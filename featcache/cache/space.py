"""A feature space: one contract, many shards, rows found by key.

A cache folder holds one folder a space, `<model-name>-<first 12 hex digits of the contract's
hash>`, with `contract.json` (the identity), `origin.json` (where the backbone was found; never
compared), the shards, a lock file and the writers' claims. The name is for people: opening compares
the whole contract.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.claims import FOLDER as CLAIMS
from featcache.cache.claims import LOCK as CLAIMS_LOCK
from featcache.cache.claims import Claims
from featcache.cache.columns import CachedRows
from featcache.cache.contract import Contract, dataset_name
from featcache.cache.index import KeyIndex, SealedIndex
from featcache.cache.layout import KEYS, N_TOKENS, TRUNCATED
from featcache.cache.locks import locked, try_lock
from featcache.cache.provenance import ORIGIN_FIELD, environments
from featcache.cache.shard import Shard, repair_command, shard_files, write_shard
from featcache.durable import TEMPORARY, make_folder, read_small, remove, settle, write_durably
from featcache.errors import (
    CacheMissError,
    ContractError,
    DamageError,
    FeatcacheError,
    FormatError,
    MachineError,
)

CONTRACT = "contract.json"
ORIGIN = "origin.json"
LOCK = "lock"
# Shards whose memory maps stay open; each takes a file descriptor, of which macOS gives 256
_HELD = 128
_TRIES = 5  # at listing a folder in which a merge or gc removes files


@dataclass(frozen=True)
class BackboneOrigin:
    """Where a space's backbone was found when the space was made. Provenance, never identity."""

    backbone: str
    hidden_size: int
    n_layers: int
    limit: int | None

    def to_json(self) -> str:
        return json.dumps(vars(self), indent=2, sort_keys=True)

    def check(self) -> None:
        """Raises TypeError where a field has a type that it cannot have."""
        numbers = (self.hidden_size, self.n_layers, 0 if self.limit is None else self.limit)
        if not isinstance(self.backbone, str) or any(type(number) is not int for number in numbers):
            msg = "a field has an impossible value"
            raise TypeError(msg)


@dataclass(frozen=True)
class Space:
    """A space, opened. The shards seen are those of the moment of opening; `reopened` sees newer
    ones.
    """

    path: Path
    contract: Contract
    origin: BackboneOrigin
    shards: tuple[Shard, ...]

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def n_rows(self) -> int:
        """Rows over all shards; a text written by two processes at once counts twice."""
        return sum(shard.n_rows for shard in self.shards)

    @property
    def n_bytes(self) -> int:
        return sum(shard.n_bytes for shard in self.shards)

    @property
    def environments(self) -> list[dict[str, Any]]:
        """What computed the rows; see `provenance.environments`."""
        return environments(
            [shard.provenance for shard in self.shards], [shard.n_rows for shard in self.shards]
        )

    @property
    def last_written(self) -> str | None:
        """When rows came in last, in ISO form and UTC; None where there are none."""
        return max((one["written"] for one in self.environments), default=None)

    @classmethod
    def open(cls, path: Path) -> Space:
        """Open the space in a folder: its contract, and the header of every shard.

        Raises CacheMissError where there is no space; DamageError for a damaged header, or a shard
        of another contract.
        """
        contract = read_contract(path)
        origin = read_origin(path)
        shards = _open_shards(path)
        for shard in shards:
            if shard.contract != contract.digest:
                msg = f"{shard.path} was written under another contract than {path / CONTRACT}"
                raise DamageError(
                    msg, cure=f"{repair_command(path)} finds out which of them is wrong."
                )
            if set(shard.views) != set(contract.views) or shard.hidden_size != origin.hidden_size:
                msg = f"{shard.path} holds other states than {path / CONTRACT} and {ORIGIN} say"
                raise DamageError(
                    msg, cure=f"{repair_command(path)} finds out which of them is wrong."
                )
        return cls(path, contract, origin, shards)

    @classmethod
    def create(cls, cache: Path, name: str, contract: Contract, origin: BackboneOrigin) -> Space:
        """The space of a contract, made where it is not there yet.

        Raises ContractError where a folder of that name holds another contract; MachineError where
        the folder cannot be written.
        """
        path = cache / f"{name}-{contract.digest[:12]}"
        if not (path / CONTRACT).exists():
            make_folder(path)
            try:
                with locked(
                    path / LOCK, shared=True
                ):  # else a writer takes these files for a dead one's
                    write_durably(path, ORIGIN, origin.to_json().encode())
                    write_durably(
                        path,
                        CONTRACT,
                        json.dumps(json.loads(contract.to_json()), indent=2).encode(),
                    )
            except BaseException:
                _give_up(path)
                raise
        space = cls.open(path)
        if space.contract != contract:
            fields = space.contract.differences(contract)
            msg = f"{path} holds another contract: " + ", ".join(
                f"{name} is {there!r} there and {asked!r} here"
                for name, (there, asked) in fields.items()
            )
            raise ContractError(msg, cure="Move that folder away, or choose another --cache.")
        return space

    def reopened(self) -> Space:
        """The same space with the shards there are now."""
        return Space.open(self.path)

    def find(self, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Positions of keys (M, 16) in this space, -1 where a row is not there; shape (M,).

        Memory grows with M and with the rows of shards that are not sealed. Raises DamageError for
        a damaged key.
        """
        if not self._sealed_indexes:
            return self._index.find(keys)
        positions = np.full(len(keys), -1, dtype=np.int64)
        for start, index in self._sealed_indexes:
            open_ = np.flatnonzero(positions < 0)
            found = index.find(keys[open_])
            positions[open_] = np.where(found < 0, found, found + start)
        open_ = np.flatnonzero(positions < 0)
        positions[open_] = self._index.find(keys[open_])
        return positions

    def gather(
        self, positions: NDArray[np.int64], *, layer: int, pooling: str
    ) -> NDArray[np.float32]:
        """Features at positions that `find` gave, float32 (M, H), in their order; checksums are
        checked.

        Raises ContractError where the space lacks the layer or pooling; DamageError for a damaged
        row.
        """
        self.check_view(layer, pooling)
        name = dataset_name(layer, pooling)
        features = np.empty((len(positions), self.origin.hidden_size), dtype=np.float32)
        for shard, places, rows in self._by_shard(positions):
            features[places] = shard.gather(name, rows)
        return features

    def check_view(self, layer: int, pooling: str) -> None:
        """Raises ContractError where the space lacks a layer or pooling."""
        if layer not in self.contract.layers or pooling not in self.contract.poolings:
            msg = (
                f"{self.name} has no {pooling} of layer {layer}; it holds layers "
                f"{', '.join(map(str, self.contract.layers))} and {', '.join(self.contract.poolings)}"
            )
            cure = (
                f"featcache extract … --layers {layer} --pool {pooling} makes a space that has it."
            )
            raise ContractError(msg, cure=cure)

    def load(self, *, layer: int, pooling: str, verify: bool = True) -> NDArray[np.floating[Any]]:
        """Features of all rows, in memory and in the order of their positions, (n_rows, H), as they
        are stored.

        verify: hold them to their checksums. Raises DamageError where they do not match.
        """
        self.check_view(layer, pooling)
        name, dtype = dataset_name(layer, pooling), self.dtype_of(layer, pooling)
        features = np.empty((self.n_rows, self.origin.hidden_size), dtype)
        for start, shard in zip(self._starts, self.shards, strict=False):
            part = features[start : start + shard.n_rows]
            if shard.header.datasets[name].dtype == dtype:
                shard.load(name, verify=verify, into=part)
            else:
                part[...] = shard.load(name, verify=verify)
        return features

    def token_counts(
        self, positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """For rows at positions: tokens given to the backbone, and whether some were cut off; each
        (M,).
        """
        counts = np.empty(len(positions), dtype=np.int64)
        truncated = np.empty(len(positions), dtype=np.bool_)
        for shard, places, rows in self._by_shard(positions):
            counts[places] = shard.read(N_TOKENS)[rows]
            truncated[places] = shard.read(TRUNCATED)[rows] != 0
        return counts, truncated

    def keys_at(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Keys of rows at positions, (M, 16)."""
        keys = np.empty((len(positions), 16), dtype=np.uint8)
        for shard, places, rows in self._by_shard(positions):
            keys[places] = shard.read(KEYS)[rows]
        return keys

    def dtype_of(self, layer: int, pooling: str) -> np.dtype[Any]:
        """What holds all rows of a view as they are stored: float16, or float32 where some need it."""
        name = dataset_name(layer, pooling)
        kinds = [shard.header.datasets[name].dtype for shard in self.shards]
        return max(kinds, key=lambda kind: kind.itemsize, default=np.dtype("<f2"))

    def first_positions(self) -> NDArray[np.int64]:
        """Positions of all rows that differ, ascending: a text that two processes wrote is in it
        once.
        """
        keys = np.concatenate(
            [np.empty((0, 16), np.uint8), *(shard.read(KEYS) for shard in self.shards)]
        )
        return np.flatnonzero(KeyIndex.build(keys).find(keys) == np.arange(len(keys)))

    def add(self, rows: CachedRows, provenance: Mapping[str, Any]) -> Path:
        """Write rows as one new shard; when this returns they survive a power cut. Needs no lock to
        be safe.
        """
        everything = {**provenance, ORIGIN_FIELD: vars(self.origin)}
        return write_shard(self.path, rows, contract=self.contract, provenance=everything)

    @contextlib.contextmanager
    def writing(self, waiting: Callable[[], None] = lambda: None) -> Iterator[tuple[Space, Claims]]:
        """Be one of the space's writers; yields the space as it is then, and what it takes to share
        its rows.

        Merge, repair and gc wait for writers, and writers for them (`waiting` is called then). What
        killed writers left is removed, and so is a space that got no row because the body raised.
        Raises MachineError where the folder cannot be written or locked.
        """

        def clean_up() -> None:  # nobody else writes, so unfinished files are dead ones
            remove(self.path.glob(f"*{TEMPORARY}"))

        try:
            with locked(self.path / LOCK, shared=True, waiting=waiting, when_alone=clean_up):
                settle(self.path)
                now = self.reopened()
                with Claims(now.path, {shard.path.name for shard in now.shards}) as claims:
                    yield now, claims
        except BaseException:
            _give_up(self.path)
            raise

    @contextlib.contextmanager
    def alone(self, waiting: Callable[[], None] = lambda: None) -> Iterator[Space]:
        """Keep writers away; yields the space as it is then. Raises MachineError as `writing`."""
        with locked(self.path / LOCK, shared=False, waiting=waiting):
            yield self.reopened()

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """The position of each shard's first row, and the number of rows at the end."""
        return np.cumsum([0, *(shard.n_rows for shard in self.shards)])

    @cached_property
    def _sealed_indexes(self) -> list[tuple[int, SealedIndex]]:
        return [
            (int(start), shard.index())
            for start, shard in zip(self._starts, self.shards, strict=False)
            if shard.sealed
        ]

    @cached_property
    def _index(self) -> KeyIndex:
        """Of the shards that are not sealed."""
        keys, positions = [np.empty((0, 16), dtype=np.uint8)], [np.empty(0, dtype=np.int64)]
        for start, shard in zip(self._starts, self.shards, strict=False):
            if not shard.sealed:
                keys.append(shard.read(KEYS))
                positions.append(np.arange(start, start + shard.n_rows))
        return KeyIndex.build(np.concatenate(keys), np.concatenate(positions))

    def _by_shard(
        self, positions: NDArray[np.int64]
    ) -> Iterator[tuple[Shard, NDArray[np.int64], NDArray[np.int64]]]:
        """For each shard with some of the positions: it, their places in the request, their rows in
        it.
        """
        starts = self._starts
        owner = np.searchsorted(starts, positions, side="right") - 1
        for number in np.unique(owner):
            places = np.flatnonzero(owner == number)
            yield self.shards[number], places, positions[places] - starts[number]


def folders_in(cache: Path) -> list[Path]:
    """The folders of a cache that are spaces, or were: those with a contract or shards."""
    if not cache.is_dir():
        return []
    folders = sorted(path for path in cache.iterdir() if path.is_dir())
    return [path for path in folders if (path / CONTRACT).exists() or shard_files(path)]


def spaces_in(cache: Path) -> tuple[list[Space], list[FeatcacheError]]:
    """All spaces of a cache folder by name, and what is wrong with those that cannot be opened."""
    spaces: list[Space] = []
    wrong: list[FeatcacheError] = []
    for path in folders_in(cache):
        try:
            spaces.append(Space.open(path))
        except (DamageError, FormatError, MachineError) as error:
            wrong.append(error)
        except CacheMissError:
            msg = f"{path} holds shards and no {CONTRACT}"
            wrong.append(DamageError(msg, cure=f"{repair_command(path)} makes it from them."))
    return spaces, wrong


def contracts_in(cache: Path) -> dict[Path, Contract]:
    """The contracts of a cache folder by the path of their space; no shard is opened.

    A contract that cannot be read is left out: it keeps nobody from the other spaces, `ls` shows
    it, and whoever needs that very space meets the damage when opening it. Raises MachineError
    where the disk does not let one be read: then there may be more spaces than can be told.
    """
    contracts: dict[Path, Contract] = {}
    for path in folders_in(cache):
        with contextlib.suppress(DamageError, FormatError, CacheMissError):
            contracts[path] = read_contract(path)
    return contracts


def _give_up(path: Path) -> None:
    """After a failure: remove a space without rows, unless others are at it. Says nothing of what
    goes wrong.
    """
    with contextlib.suppress(OSError, MachineError):
        handle = os.open(path / LOCK, os.O_RDONLY | os.O_NOFOLLOW)  # a full disk may refuse more
        try:
            alone = True
            with contextlib.suppress(MachineError):  # no locks here: then nobody can write
                alone = try_lock(handle, path / LOCK)
            if alone:
                remove_if_empty(path)
        finally:
            os.close(handle)


def remove_if_empty(path: Path) -> None:
    """Remove a space's folder that holds no shard, and the cache's folder if nothing else is in it."""
    if shard_files(path):
        return
    claims = path / CLAIMS
    remove(
        [
            *([] if claims.is_symlink() else [claims / CLAIMS_LOCK]),
            path / CONTRACT,
            path / ORIGIN,
            path / LOCK,
        ]
    )
    for folder in (claims, path, path.parent):
        with contextlib.suppress(
            OSError
        ):  # not there; somebody else's file is in it, or other spaces beside it
            os.rmdir(folder)


def _open_shards(path: Path) -> tuple[Shard, ...]:
    """All shards of a folder, sorted by name: of two rows with one key, every reader serves the
    same.
    """
    for _ in range(_TRIES):
        files = shard_files(path)
        with contextlib.suppress(
            FileNotFoundError
        ):  # a merge or gc removed it since the folder was listed
            return tuple(Shard.open(file, hold=len(files) <= _HELD) for file in files)
    msg = f"{path} keeps changing while it is being read"
    raise CacheMissError(msg, cure="Run the same command again when the other process is done.")


def folder_name(backbone: str) -> str:
    """The readable part of a space's folder: the last part of a path or hub id, made safe for a
    file name.
    """
    last = re.split(r"[/\\]", backbone.rstrip("/\\"))[-1]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-.") or "backbone"


def read_contract(path: Path) -> Contract:
    """The contract of a space's folder.

    Raises CacheMissError where there is none; DamageError for one that is garbled, FormatError for
    a later one; MachineError where the disk does not let it be read.
    """
    try:
        text = _read_text(path / CONTRACT)
    except FileNotFoundError as error:
        msg = f"{path} is not a feature space"
        raise CacheMissError(msg, cure="`featcache ls` shows the spaces there are.") from error
    except ValueError as error:
        msg = f"{path / CONTRACT} is not a contract that can be read: {error}"
        raise DamageError(msg, cure=f"{repair_command(path)} makes it from the shards.") from error
    try:
        return Contract.from_json(text, str(path / CONTRACT))
    except DamageError as error:
        raise DamageError(
            error.what, cure=f"{repair_command(path)} makes it from the shards."
        ) from error


def read_origin(path: Path) -> BackboneOrigin:
    """Where the backbone of a space's folder was. Raises DamageError where that cannot be told."""
    try:
        origin = BackboneOrigin(**json.loads(_read_text(path / ORIGIN)))
        origin.check()
        return origin
    except (FileNotFoundError, ValueError, TypeError, RecursionError) as error:
        msg = f"{path / ORIGIN} cannot be read: {error}"
        raise DamageError(msg, cure=f"{repair_command(path)} makes it from the shards.") from error


def _read_text(path: Path) -> str:
    """Raises FileNotFoundError, ValueError where it is no UTF-8 or no file, MachineError where the
    disk refuses.
    """
    try:
        return read_small(path).decode("utf-8")
    except FileNotFoundError:
        raise
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise MachineError(msg, cure="Check the disk and the file's permissions.") from error
