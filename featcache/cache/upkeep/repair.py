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
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featcache.cache.contract import Contract
from featcache.cache.index import KeyIndex
from featcache.cache.layout import KEYS
from featcache.cache.locks import locked
from featcache.cache.provenance import ORIGIN_FIELD
from featcache.cache.shard import Fault, Shard, shard_files
from featcache.cache.space import CONTRACT, LOCK, ORIGIN, BackboneOrigin, read_contract, read_origin
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


@dataclass(frozen=True)
class Repaired:
    """What a repair did. dropped: rows that are gone; kept: rows of damaged files that were saved.

    files: damaged files that were replaced or removed.  aside: files that cannot be read or belong
    to another space, as they are called now.  made: which of contract.json and origin.json were
    made again.  left: what is wrong still (a file of a later version, one that the disk does not
    let be read).
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
class _Tally:
    dropped: int = 0
    kept: int = 0
    files: int = 0


def repair(
    folder: Path, *, progress: Callable[[int], None], waiting: Callable[[], None] = lambda: None
) -> Repaired:
    """Repair a space's folder, whatever state it is in; afterwards `verify` finds nothing, but for
    what is `left`.

    Waits for the space's writers. A space of a later featcache is left as it is. progress: called
    with the bytes read since the last call. Raises MachineError where the disk refuses; what was
    repaired before that stays so.
    """
    newer = newer_contract(folder)
    if newer is not None:
        return Repaired(folder.name, str(folder), 0, 0, 0, (), (), None, (newer,))
    with locked(folder / LOCK, shared=False, waiting=waiting):
        left: list[SpaceFault] = []
        aside: list[str] = []
        shards = _look(folder, left, aside, progress)
        contract, made = _contract(folder, [shard for shard, _ in shards])
        if contract is None:
            aside += [_set_aside(shard.path) for shard, _ in shards]
            if not left and (folder / CONTRACT).exists():
                aside.append(_set_aside(folder / CONTRACT))
            return Repaired(folder.name, str(folder), 0, 0, 0, tuple(aside), (), None, tuple(left))
        expected = (contract.digest, set(contract.views))
        ours = [one for one in shards if (one[0].contract, set(one[0].views)) == expected]
        aside += [_set_aside(one[0].path) for one in shards if one not in ours]
        origin, remade = _origin(folder, contract, [shard for shard, _ in ours])
        if (
            origin is None and not left
        ):  # no row is left, and nothing to make it from: `extract` begins anew
            aside += [
                _set_aside(folder / name) for name in (CONTRACT, ORIGIN) if (folder / name).exists()
            ]
        tally = _Tally()
        sound = [shard.read(KEYS) for shard, faults in ours if not faults]
        index = KeyIndex.build(np.concatenate([np.empty((0, 16), np.uint8), *sound]))
        for shard, faults in ours:
            if faults:
                _mend(shard, faults, index, contract, tally, progress)
        backbone = None if origin is None else origin.backbone
        return Repaired(
            folder.name,
            str(folder),
            tally.dropped,
            tally.kept,
            tally.files,
            tuple(aside),
            (*made, *remade),
            backbone,
            tuple(left),
        )


def _look(
    folder: Path, left: list[SpaceFault], aside: list[str], progress: Callable[[int], None]
) -> list[tuple[Shard, list[Fault]]]:
    """The shards that can be opened, with what is wrong with them; others go to `left`, or are set
    aside.
    """
    shards: list[tuple[Shard, list[Fault]]] = []
    for path in shard_files(folder):
        try:
            shard = Shard.open_damaged(path)
            shards.append((shard, list(shard.faults(progress))))
        except DamageError:
            aside.append(_set_aside(path))
        except FormatError as error:
            left.append(SpaceFault(str(path), error.what, 0, "newer"))
        except MachineError as error:
            left.append(SpaceFault(str(path), error.what, None, "machine"))
    return shards


def _mend(
    shard: Shard,
    faults: list[Fault],
    sound: KeyIndex,
    contract: Contract,
    tally: _Tally,
    progress: Callable[[int], None],
) -> None:
    """Put a shard without damage in the place of one with it."""
    bad = spoiled(shard, faults)
    keep = ~bad
    faulty = frozenset(
        name for name in shard.header.datasets for fault in faults if fault.dataset == name
    )
    if keep.any():
        keys = np.concatenate(list(shard.pieces(KEYS)))
        keep &= sound.find(keys) < 0  # a repair that was cut short has saved these rows already
    put_in_place(RowSource(shard, keep, faulty), contract=contract, progress=progress)
    tally.dropped += int(bad.sum())
    tally.kept += int(keep.sum())
    tally.files += 1


def _contract(folder: Path, shards: list[Shard]) -> tuple[Contract | None, tuple[str, ...]]:
    """The space's contract; a lost one, or one that nothing agrees with, is found again in the
    shards, or None is.
    """
    stated = None
    with contextlib.suppress(DamageError, CacheMissError, FormatError):
        stated = read_contract(folder)
    if stated is not None and agrees(folder, stated.digest, shards):
        return stated, ()
    for shard in sorted(
        shards, key=lambda one: (not is_named_after(folder, one.contract), -one.n_rows)
    ):
        text = _contract_text(shard)
        if text is not None:
            contract = Contract.from_json(text, str(shard.path))
            write_durably(folder, CONTRACT, json.dumps(json.loads(text), indent=2).encode())
            return contract, (CONTRACT,)
    return None, ()


def _contract_text(shard: Shard) -> str | None:
    """The contract that HDF5's metadata hold as text. It proves itself: the header has its SHA-256."""
    for gap in shard.gap_bytes():
        start = gap.find(b'{"code":')
        while start >= 0:
            try:
                _, length = json.JSONDecoder().raw_decode(gap[start:].decode("latin-1"))
            except ValueError:
                length = 0
            text = gap[start : start + length]
            if hashlib.sha256(text).hexdigest() == shard.contract:
                return text.decode()
            start = gap.find(b'{"code":', start + 1)
    return None


def _origin(
    folder: Path, contract: Contract, shards: list[Shard]
) -> tuple[BackboneOrigin | None, tuple[str, ...]]:
    """Where the backbone was; a lost one is made again from what the shards remember."""
    try:
        origin = read_origin(folder)
        if all(shard.hidden_size == origin.hidden_size for shard in shards):
            return origin, ()
    except DamageError:
        pass
    if not shards:
        return None, ()
    known = [
        shard.provenance[ORIGIN_FIELD]
        for shard in shards
        if isinstance(shard.provenance.get(ORIGIN_FIELD), dict)
    ]
    fallback = {"backbone": "MODEL", "n_layers": contract.layers[-1], "limit": None}
    origin = BackboneOrigin(
        **{**fallback, **(known[0] if known else {}), "hidden_size": shards[0].hidden_size}
    )
    write_durably(folder, ORIGIN, origin.to_json().encode())
    return origin, (ORIGIN,)


def _set_aside(path: Path) -> str:
    """Give a file a name that no reader looks at, and that nothing has."""
    endings = itertools.chain([ASIDE], (f".{number}{ASIDE}" for number in itertools.count(2)))
    names = (path.with_name(path.name + ending) for ending in endings)
    new = next(one for one in names if not os.path.lexists(one))
    move(path, new)
    return str(new)
