"""A feature space: one contract, many shards, rows found by key.

A cache folder holds one folder a space, `<model-name>-<first 12 hex digits of the contract's hash>`, with
`contract.json` (the identity), `origin.json` (where the backbone was found; never compared), the shards and
a lock file. The name is for people: opening compares the whole contract.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.contract import Contract, dataset_name
from featcache.cache.index import KeyIndex
from featcache.cache.shard import SUFFIX, Rows, Shard, write_shard
from featcache.errors import CacheMissError, ContractError, DamageError, MachineError
from featcache.files import TEMPORARY, write_durably

_CONTRACT = "contract.json"
_ORIGIN = "origin.json"
_LOCK = "lock"


@dataclass(frozen=True)
class Origin:
    """Where a space's backbone was found when the space was made. Provenance, never identity."""

    backbone: str
    hidden_size: int
    n_layers: int
    limit: int | None

    def to_json(self) -> str:
        return json.dumps(vars(self), indent=2, sort_keys=True)


@dataclass(frozen=True)
class Space:
    """A space, opened. The shards seen are those of the moment of opening; `reopened` sees newer ones."""

    path: Path
    contract: Contract
    origin: Origin
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

    @classmethod
    def open(cls, path: Path) -> Space:
        """Open the space in a folder: its contract, and the header of every shard.

        Raises CacheMissError where there is no space; DamageError for a damaged header, or a shard of
        another contract.
        """
        try:
            text = (path / _CONTRACT).read_text("utf-8")
        except FileNotFoundError as error:
            msg = f"{path} is not a feature space"
            raise CacheMissError(msg, cure="`featcache ls` shows the spaces there are.") from error
        except UnicodeDecodeError as error:
            msg = f"{path / _CONTRACT} is damaged"
            raise DamageError(msg, cure="Move this folder away; `featcache extract` makes it anew.") from error
        contract = Contract.from_json(text, str(path / _CONTRACT))
        # Sorted by name: of two rows with one key, every reader serves the same.
        shards = tuple(Shard.open(file) for file in sorted(path.glob(f"*{SUFFIX}")))
        for shard in shards:
            if shard.contract != contract.digest:
                msg = f"{shard.path} was written under another contract than {path / _CONTRACT}"
                raise DamageError(msg, cure="Move the file away: it belongs to another space.")
        return cls(path, contract, _read_origin(path, contract), shards)

    @classmethod
    def create(cls, cache: Path, name: str, contract: Contract, origin: Origin) -> Space:
        """The space of a contract, made where it is not there yet.

        Raises ContractError where a folder of that name holds another contract; MachineError where the
        folder cannot be written.
        """
        path = cache / f"{name}-{contract.digest[:12]}"
        if not (path / _CONTRACT).exists():
            try:
                path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                msg = f"the cache folder {path} cannot be made: {error.strerror}"
                raise MachineError(msg, cure="Choose a folder that can be written: --cache DIR.") from error
            try:
                write_durably(path, _ORIGIN, origin.to_json().encode())
                write_durably(path, _CONTRACT, json.dumps(json.loads(contract.to_json()), indent=2).encode())
            except BaseException:
                _remove_if_empty(path)
                raise
        space = cls.open(path)
        if space.contract != contract:
            fields = ", ".join(space.contract.differences(contract))
            msg = f"{path} holds another contract: {fields} differ"
            raise ContractError(msg, cure="Move that folder away, or choose another --cache.")
        return space

    def reopened(self) -> Space:
        """The same space with the shards there are now."""
        return Space.open(self.path)

    def find(self, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Positions of keys (M, 16) in this space, -1 where a row is not there; shape (M,)."""
        return self._index.find(keys)

    def gather(self, positions: NDArray[np.int64], *, layer: int, pooling: str) -> NDArray[np.float32]:
        """Features at positions that `find` gave, float32 (M, H), in their order; checksums are checked.

        Raises ContractError where the space lacks the layer or pooling; DamageError for a damaged row.
        """
        if layer not in self.contract.layers or pooling not in self.contract.poolings:
            msg = (
                f"{self.name} has no {pooling} of layer {layer}; it holds layers "
                f"{', '.join(map(str, self.contract.layers))} and {', '.join(self.contract.poolings)}"
            )
            cure = f"featcache extract … --layers {layer} --pool {pooling} makes a space that has it."
            raise ContractError(msg, cure=cure)
        name = dataset_name(layer, pooling)
        features = np.empty((len(positions), self.origin.hidden_size), dtype=np.float32)
        for shard, places, rows in self._by_shard(positions):
            features[places] = shard.gather(name, rows)
        return features

    def token_counts(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """For rows at positions: tokens given to the backbone, and whether some were cut off; each (M,)."""
        counts = np.empty(len(positions), dtype=np.int64)
        truncated = np.empty(len(positions), dtype=np.bool_)
        for shard, places, rows in self._by_shard(positions):
            counts[places] = shard.read("n_tokens")[rows]
            truncated[places] = shard.read("truncated")[rows] != 0
        return counts, truncated

    def add(self, rows: Rows, provenance: Mapping[str, Any]) -> Path:
        """Write rows as one new shard; when this returns they survive a power cut. Needs no lock to be safe."""
        return write_shard(self.path, rows, contract=self.contract, provenance=provenance)

    @contextlib.contextmanager
    def writing(self, waiting: float = 0.2) -> Iterator[bool]:
        """Hold the space's writer lock, so that two processes do not compute the same rows.

        Yields whether another writer had it first (its rows are worth a look then). The lock is advisory
        (flock): the kernel frees it when a process dies. Leftovers of killed writers are removed.
        waiting: seconds between two tries.
        """
        import fcntl  # not on Windows, where a cache can be read

        try:
            lock = (self.path / _LOCK).open("ab")
        except OSError as error:
            msg = f"{self.path} cannot be written: {error.strerror}"
            raise MachineError(msg, cure="Reading needs no such right; to add rows, choose another --cache.") from error
        with lock:
            waited = False
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    waited = True
                    time.sleep(waiting)
            for leftover in self.path.glob(f"*{TEMPORARY}"):
                leftover.unlink(missing_ok=True)
            try:
                yield waited
            except BaseException:
                self._drop_if_empty()
                raise

    def _drop_if_empty(self) -> None:
        """Remove the folder of a space that got no row: a failed first run leaves nothing behind."""
        _remove_if_empty(self.path)

    @cached_property
    def _index(self) -> KeyIndex:
        keys = [shard.read("keys") for shard in self.shards]
        return KeyIndex.build(np.concatenate(keys) if keys else np.empty((0, 16), dtype=np.uint8))

    def _by_shard(self, positions: NDArray[np.int64]) -> Iterator[tuple[Shard, NDArray[np.int64], NDArray[np.int64]]]:
        """For each shard with some of the positions: it, their places in the request, their rows in it."""
        starts = np.cumsum([0, *(shard.n_rows for shard in self.shards)])
        owner = np.searchsorted(starts, positions, side="right") - 1
        for number in np.unique(owner):
            places = np.flatnonzero(owner == number)
            yield self.shards[number], places, positions[places] - starts[number]


def spaces_in(cache: Path) -> tuple[list[Space], list[DamageError]]:
    """All spaces of a cache folder by name, and what is wrong with those that cannot be opened."""
    spaces: list[Space] = []
    damaged: list[DamageError] = []
    for file in sorted(cache.glob(f"*/{_CONTRACT}")):
        try:
            spaces.append(Space.open(file.parent))
        except DamageError as error:
            damaged.append(error)
    return spaces, damaged


def contracts_in(cache: Path) -> dict[Path, Contract]:
    """The contracts of a cache folder by the path of their space; no shard is opened.

    A contract that cannot be read is left out: it keeps nobody from the other spaces, `ls` shows it, and
    whoever needs that very space meets the damage when opening it.
    """
    contracts: dict[Path, Contract] = {}
    for file in sorted(cache.glob(f"*/{_CONTRACT}")):
        with contextlib.suppress(DamageError, UnicodeDecodeError):
            contracts[file.parent] = Contract.from_json(file.read_text("utf-8"), str(file))
    return contracts


def widest(contracts: Mapping[Path, Contract], asked: Contract) -> Path | None:
    """The space that serves `asked` with the most layers and poolings; exactly equal ones first."""
    serving = [path for path, contract in contracts.items() if contract.holds(asked)]
    return max(
        serving,
        key=lambda path: (contracts[path] == asked, len(contracts[path].layers) * len(contracts[path].poolings)),
        default=None,
    )


def _remove_if_empty(path: Path) -> None:
    """Remove a space's folder that holds no shard, and the cache's folder if nothing else is in it."""
    if any(path.glob(f"*{SUFFIX}")):
        return
    for name in (_CONTRACT, _ORIGIN, _LOCK):
        (path / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # somebody else's file is in it, or other spaces beside it
        path.rmdir()
        path.parent.rmdir()


def folder_name(backbone: str) -> str:
    """The readable part of a space's folder: the last part of a path or hub id, made safe for a file name."""
    last = re.split(r"[/\\]", backbone.rstrip("/\\"))[-1]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-.") or "backbone"


def _read_origin(path: Path, contract: Contract) -> Origin:
    try:
        return Origin(**json.loads((path / _ORIGIN).read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        msg = f"{path / _ORIGIN} cannot be read: {error} (contract {contract.digest[:12]})"
        raise DamageError(msg, cure="Move this folder away; `featcache extract` makes it anew.") from error
