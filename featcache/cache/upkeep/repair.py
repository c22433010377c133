"""Repair: drop exactly the rows that are damaged, and make again what can be made from the rest.

A shard with damage is copied without its damaged rows, and removed when the copy is safe. A file of
which nothing can be known is set aside under another name, never deleted: it might be somebody's.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from featcache.cache.belonging import fits_contract, fits_origin
from featcache.cache.checking import Fault, faults
from featcache.cache.contract import Contract
from featcache.cache.identity import CONTRACT, ORIGIN, read_contract, read_origin
from featcache.cache.index import KeyIndex
from featcache.cache.layout import KEYS
from featcache.cache.locks import LOCK, locked
from featcache.cache.naming import shard_files
from featcache.cache.origin import BackboneOrigin
from featcache.cache.provenance import Provenance
from featcache.cache.shard import Shard
from featcache.cache.upkeep.rewrite import RowSource, put_in_place
from featcache.cache.upkeep.verify import (
    SpaceFault,
    agrees,
    is_named_after,
    newer_contract,
    spoiled,
)
from featcache.durable import move, write_durably
from featcache.errors import CacheMissError, DamageError, FormatError, MachineError

ASIDE = ".damaged"
_CONTRACT_START = b'{"code":'  # of a canonical contract: the first of its keys by code point

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Repaired:
    """What a repair did.

    Attributes:
        space: The name of the space.
        path: Its folder.
        dropped: Rows that are gone.
        kept: Rows of damaged files that were saved.
        files: Damaged files that were replaced or removed.
        aside: Files that cannot be read or belong to another space, as they are called now.
        made: Which of contract.json and origin.json were made again.
        backbone: Where the model is, for the command that computes the rows anew.
        left: What is wrong still: a file of a later version, one that the disk does not let be
            read.
    """

    space: str
    path: str
    dropped: int
    kept: int
    files: int
    aside: tuple[str, ...]
    made: tuple[str, ...]
    backbone: str | None
    left: tuple[SpaceFault, ...]


@dataclass
class _Work:
    """A repair that is under way; its fields are those of `Repaired`."""

    folder: Path
    progress: Progress
    dropped: int = 0
    kept: int = 0
    files: int = 0
    backbone: str | None = None
    aside: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    left: list[SpaceFault] = field(default_factory=list)

    def result(self) -> Repaired:
        """What was done so far."""
        return Repaired(
            space=self.folder.name,
            path=str(self.folder),
            dropped=self.dropped,
            kept=self.kept,
            files=self.files,
            aside=tuple(self.aside),
            made=tuple(self.made),
            backbone=self.backbone,
            left=tuple(self.left),
        )

    def set_aside(self, path: Path) -> None:
        """Give a file a name that no reader looks at, and that nothing has."""
        endings = itertools.chain([ASIDE], (f".{number}{ASIDE}" for number in itertools.count(2)))
        names = (path.with_name(path.name + ending) for ending in endings)
        new = next(name for name in names if not os.path.lexists(name))
        move(path, new)
        self.aside.append(str(new))


_Examined = tuple[Shard, list[Fault]]


def repair(
    folder: Path, *, progress: Progress, waiting: Callable[[], None] = lambda: None
) -> Repaired:
    """Repair a space's folder, whatever state it is in; afterwards `verify` finds nothing else.

    Waits for the space's writers. A space of a later featcache is left as it is.

    Args:
        folder: The folder.
        progress: Called with the bytes read since the last call.
        waiting: Called once if writers have to end first.

    Returns:
        What was done, and what is wrong still.

    Raises:
        MachineError: The disk refuses; what was repaired before that stays so.
    """
    work = _Work(folder, progress)
    newer = newer_contract(folder)
    if newer is not None:
        work.left.append(newer)
        return work.result()
    with locked(folder / LOCK, shared=False, waiting=waiting):
        examined = _examine(work)
        contract = _contract(work, [shard for shard, _ in examined])
        if contract is None:
            for shard, _ in examined:
                work.set_aside(shard.path)
            if not work.left and (folder / CONTRACT).exists():
                work.set_aside(folder / CONTRACT)
        else:
            _repair_files(work, contract, examined)
        return work.result()


def _examine(work: _Work) -> list[_Examined]:
    """Open the shards that can be, and find what is wrong with them; others are set aside."""
    examined: list[_Examined] = []
    for path in shard_files(work.folder):
        try:
            shard = Shard.open_damaged(path)
            examined.append((shard, list(faults(shard, work.progress))))
        except DamageError:
            work.set_aside(path)
        except FormatError as error:
            work.left.append(SpaceFault(str(path), error.what, 0, "newer"))
        except MachineError as error:
            work.left.append(SpaceFault(str(path), error.what, None, "machine"))
    return examined


def _repair_files(work: _Work, contract: Contract, examined: list[_Examined]) -> None:
    """Repair the files of a space whose contract is known."""
    ours = _belonging(work, contract, examined)
    origin = _origin(work, contract, [shard for shard, _ in ours])
    if origin is not None:
        work.backbone = origin.backbone
    elif not work.left:
        _set_identity_aside(work)
    sound = [shard for shard, shard_faults in ours if not shard_faults]
    for shard, shard_faults in ours:
        if shard_faults:
            twins = [other for other in sound if set(other.views) == set(shard.views)]
            _mend(work, shard, shard_faults, twins, contract)


def _set_identity_aside(work: _Work) -> None:
    """Set contract and origin aside where no row is left, so that `extract` begins anew."""
    for name in (CONTRACT, ORIGIN):
        if (work.folder / name).exists():
            work.set_aside(work.folder / name)


def _belonging(work: _Work, contract: Contract, examined: list[_Examined]) -> list[_Examined]:
    """Keep the shards of a contract; others are set aside."""
    ours: list[_Examined] = []
    for shard, shard_faults in examined:
        if fits_contract(shard, contract):
            ours.append((shard, shard_faults))
        else:
            work.set_aside(shard.path)
    return ours


def _mend(
    work: _Work,
    shard: Shard,
    shard_faults: list[Fault],
    twins: list[Shard],
    contract: Contract,
) -> None:
    """Put a shard without damage in the place of one with it; `twins` are sound, of its views."""
    bad = spoiled(shard, shard_faults)
    keep = ~bad
    faulty = frozenset(fault.dataset for fault in shard_faults if fault.dataset is not None)
    if keep.any():
        keys = np.concatenate(list(shard.pieces(KEYS)))
        sound_keys = [np.empty((0, 16), np.uint8), *(twin.read(KEYS) for twin in twins)]
        # A repair that was cut short may have saved some of these rows already.
        keep &= KeyIndex.build(np.concatenate(sound_keys)).find(keys) < 0
    put_in_place(RowSource(shard, keep, faulty), contract=contract, progress=work.progress)
    work.dropped += int(bad.sum())
    work.kept += int(keep.sum())
    work.files += 1


def _contract(work: _Work, shards: list[Shard]) -> Contract | None:
    """Find the space's contract: where contract.json does not tell, in the shards; else None."""
    stated = None
    with contextlib.suppress(DamageError, CacheMissError, FormatError):
        stated = read_contract(work.folder)
    if stated is not None and agrees(work.folder, stated.digest, shards):
        return stated
    # Those that the folder is named after come first, the largest of them before others.
    ranked = sorted(
        shards,
        key=lambda shard: (not is_named_after(work.folder, shard.contract), -shard.n_rows),
    )
    for shard in ranked:
        contract = _contract_of(shard)
        if contract is not None:
            write_durably(work.folder, CONTRACT, contract.to_file())
            work.made.append(CONTRACT)
            return contract
    return None


def _contract_of(shard: Shard) -> Contract | None:
    """Read the contract that HDF5's metadata hold as text.

    It proves itself: the header has its SHA-256.
    """
    for gap in shard.gap_bytes():
        start = gap.find(_CONTRACT_START)
        while start >= 0:
            text = _json_text(gap[start:])
            if hashlib.sha256(text).hexdigest() == shard.contract:
                with contextlib.suppress(DamageError, FormatError):
                    return Contract.from_json(text, str(shard.path))
            start = gap.find(_CONTRACT_START, start + 1)
    return None


def _json_text(data: bytes) -> bytes:
    """The JSON value with which some bytes begin; nothing where they do not."""
    try:
        _, length = json.JSONDecoder().raw_decode(data.decode("latin-1"))
    except (ValueError, RecursionError):
        return b""
    return data[:length]


def _origin(work: _Work, contract: Contract, shards: list[Shard]) -> BackboneOrigin | None:
    """Read where the backbone was; a lost file is made again from what the shards remember."""
    with contextlib.suppress(DamageError):
        origin = read_origin(work.folder)
        if all(fits_origin(shard, origin) for shard in shards):
            return origin
    if not shards:
        return None
    remembered = [Provenance.of(shard.provenance).origin for shard in shards]
    width = _width(shards)
    origin = BackboneOrigin("MODEL", width, contract.layers[-1], None)
    for known in remembered:
        if known is not None:
            origin = replace(known, hidden_size=width if _is_fixed(shards) else known.hidden_size)
            break
    write_durably(work.folder, ORIGIN, origin.to_json().encode())
    work.made.append(ORIGIN)
    return origin


def _width(shards: list[Shard]) -> int:
    """The width of the states: that of the files of format 1 where there are some."""
    ranked = sorted(shards, key=lambda shard: shard.header.version)
    return ranked[0].header.width(ranked[0].views[0])


def _is_fixed(shards: list[Shard]) -> bool:
    """Return True if some file is of format 1, whose states all have the model's width."""
    return any(shard.header.version == 1 for shard in shards)
