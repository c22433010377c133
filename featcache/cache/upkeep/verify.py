"""Verify: hold every file of a space to its checksums, or a sample of its rows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash
from numpy.typing import NDArray

from featcache.cache.belonging import fits_contract, fits_origin
from featcache.cache.checking import Fault, faults
from featcache.cache.contract import Contract
from featcache.cache.identity import CONTRACT, ORIGIN, read_contract, read_origin
from featcache.cache.layout import CHECKSUMS, FACTS, KEYS, OFFSETS
from featcache.cache.naming import shard_files
from featcache.cache.numbers import fact_checksums, row_checksums
from featcache.cache.shard import Shard
from featcache.durable import TEMPORARY
from featcache.errors import CacheMissError, DamageError, FeatcacheError, FormatError, MachineError

Progress = Callable[[int], None]


@dataclass(frozen=True)
class SpaceFault:
    """What is wrong with one file.

    Attributes:
        file: Its path, or that of the space.
        what: In words.
        rows: How many rows it spoils; None where that cannot be known any more.
        kind: `damage`, `newer` (a later featcache wrote it), or `machine` (the disk does not let
            it be read).
    """

    file: str
    what: str
    rows: int | None
    kind: str = "damage"


@dataclass(frozen=True)
class VerifiedSpace:
    """The state of one space.

    Attributes:
        space: Its name.
        path: Its folder.
        rows: Rows of the files that could be looked at.
        files: How many files there are.
        bytes: Their size.
        unfinished: Files that killed writers left.
        findings: All that is wrong.
    """

    space: str
    path: str
    rows: int
    files: int
    bytes: int
    unfinished: int
    findings: tuple[SpaceFault, ...]


def verify(folder: Path, *, sample: float | None = None, progress: Progress) -> VerifiedSpace:
    """Check a space's folder whatever state it is in; nothing is changed.

    Args:
        folder: The folder.
        sample: None for every byte; else headers, HDF5 metadata, and rows of each shard drawn at
            random: a share of them up to 1, a number of them above.
        progress: Called with the bytes read since the last call.

    Returns:
        The state of the space, with all that is wrong.
    """
    findings: list[SpaceFault] = []
    shards: list[Shard] = []
    n_files = 0
    for path in shard_files(folder):
        try:
            shard, shard_faults = _opened(path, sample, progress)
        except FileNotFoundError:  # merged or removed since the folder was listed
            continue
        except (FormatError, MachineError, DamageError) as error:
            n_files += 1
            findings.append(_unopened(path, error))
            continue
        n_files += 1
        shards.append(shard)
        if shard_faults:
            what = f"{path} is damaged: {'; '.join(fault.what for fault in shard_faults)}"
            n_spoiled = int(spoiled(shard, shard_faults).sum())
            findings.append(SpaceFault(str(path), what, n_spoiled))
    findings += _belonging(folder, shards)
    return VerifiedSpace(
        folder.name,
        str(folder),
        sum(shard.n_rows for shard in shards if not shard.is_addition),
        n_files,
        sum(shard.n_bytes for shard in shards),
        sum(1 for _ in folder.glob(f"*{TEMPORARY}")),
        tuple(findings),
    )


def _unopened(path: Path, error: FeatcacheError) -> SpaceFault:
    """What is wrong with a file that cannot be opened."""
    if isinstance(error, FormatError):
        return SpaceFault(str(path), error.what, 0, "newer")
    kind = "machine" if isinstance(error, MachineError) else "damage"
    return SpaceFault(str(path), error.what, None, kind)


def spoiled(shard: Shard, shard_faults: Sequence[Fault]) -> NDArray[np.bool_]:
    """The rows, bool (N,), that some fault spoils."""
    rows = np.zeros(shard.n_rows, dtype=np.bool_)
    for fault in shard_faults:
        rows |= fault.rows
    return rows


def newer_contract(folder: Path) -> SpaceFault | None:
    """Tell whether a space is of a later featcache.

    Its shards say so, too: else a flipped bit in contract.json does.
    """
    try:
        read_contract(folder)
    except FormatError as error:
        for path in shard_files(folder):
            with contextlib.suppress(FeatcacheError, FileNotFoundError):
                if is_named_after(folder, Shard.open_damaged(path).contract):
                    return None
        return SpaceFault(str(folder), error.what, 0, "newer")
    except FeatcacheError:
        pass
    return None


def is_named_after(folder: Path, digest: str) -> bool:
    """Return True if a space's folder has the name that a contract gives it."""
    return folder.name.endswith(f"-{digest[:12]}")  # a user may have renamed it


def agrees(folder: Path, digest: str, shards: Sequence[Shard]) -> bool:
    """Return True if contract.json, of this digest, is the space's.

    The folder is named so, or else some shard says so.
    """
    if is_named_after(folder, digest):
        return True
    others = any(is_named_after(folder, shard.contract) for shard in shards)
    return not others and any(shard.contract == digest for shard in shards)


def _belonging(folder: Path, shards: Sequence[Shard]) -> Iterator[SpaceFault]:
    """Find what is wrong with contract.json and origin.json, and files of other spaces."""
    if not (folder / CONTRACT).exists() and not shard_files(folder):
        return  # no space any more: repair has set all of it aside
    newer = newer_contract(folder)
    if newer is not None:
        yield newer
        return
    try:
        contract = read_contract(folder)
    except MachineError as error:
        yield SpaceFault(str(folder), error.what, 0, "machine")
    except CacheMissError:
        yield SpaceFault(str(folder), f"{folder} holds shards and no {CONTRACT}", 0)
    except (FormatError, DamageError) as error:
        yield SpaceFault(str(folder), error.what, 0)
    else:
        yield from _contract_findings(folder, contract, shards)
    yield from _origin_findings(folder, shards)


def _contract_findings(
    folder: Path, contract: Contract, shards: Sequence[Shard]
) -> Iterator[SpaceFault]:
    if not agrees(folder, contract.digest, shards):
        what = f"{folder / CONTRACT} is not the contract of this space"
        yield SpaceFault(str(folder), what, 0)
        return
    for shard in shards:
        if not fits_contract(shard, contract):
            what = f"{shard.path} was written under another contract"
            yield SpaceFault(str(shard.path), what, shard.n_rows)


def _origin_findings(folder: Path, shards: Sequence[Shard]) -> Iterator[SpaceFault]:
    try:
        origin = read_origin(folder)
    except MachineError as error:
        yield SpaceFault(str(folder), error.what, 0, "machine")
    except DamageError as error:
        yield SpaceFault(str(folder), error.what, 0)
    else:
        if not all(fits_origin(shard, origin) for shard in shards):
            what = f"{folder / ORIGIN} gives a width that the shards beside it do not have"
            yield SpaceFault(str(folder), what, 0)


def _opened(path: Path, sample: float | None, progress: Progress) -> tuple[Shard, list[Fault]]:
    """Open a shard by whichever of its headers is sound, and find all that is wrong with it."""
    try:
        shard = Shard.open(path)
        if sample is not None:
            return shard, sampled(shard, sample, progress)
        return shard, list(faults(shard, progress))
    except DamageError as error:
        whole = error
    try:
        shard = Shard.open_damaged(path)
    except DamageError:
        raise whole from None
    return shard, list(faults(shard, progress))


def sampled(shard: Shard, sample: float, progress: Progress) -> list[Fault]:
    """Find faults among rows drawn at random, other ones each time.

    Args:
        shard: The shard.
        sample: As in `verify`.
        progress: Called with the bytes read since the last call.

    Returns:
        One fault for each dataset with a wrong row.
    """
    count = round(sample * shard.n_rows) if sample <= 1 else round(sample)
    rows = np.sort(np.random.default_rng().permutation(shard.n_rows)[: max(count, 1)])
    sampled_faults = []
    for name in (KEYS, *shard.views):
        actual = _row_checksums(shard, name, rows, progress)
        wrong = np.zeros(shard.n_rows, dtype=np.bool_)
        wrong[rows[actual != shard.some(CHECKSUMS + name, rows)]] = True
        if wrong.any():
            what = f"row {np.argmax(wrong)} of {name} does not match its checksum"
            sampled_faults.append(Fault(what, wrong))
    return sampled_faults


def _row_checksums(
    shard: Shard, name: str, rows: NDArray[np.int64], progress: Progress
) -> NDArray[np.uint64]:
    """Work out the checksums of some rows: of their facts, or of a view."""
    if name == KEYS:
        return fact_checksums(*(shard.some(fact, rows) for fact in FACTS))
    if not shard.header.is_ragged(name):
        picked = shard.some(name, rows)
        progress(picked.nbytes)
        return row_checksums(picked)
    starts, ends = shard.some(OFFSETS + name, rows), shard.some(OFFSETS + name, rows + 1)
    checksums = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        # Offsets that lead nowhere make a checksum that does not fit.
        n_vectors = shard.extent(name).shape[0]
        places = np.arange(min(start, n_vectors), min(end, n_vectors))
        vectors = shard.some(name, places)
        progress(vectors.nbytes)
        checksums.append(xxhash.xxh3_64_intdigest(vectors.reshape(-1).view(np.uint8).data))
    return np.array(checksums, dtype="<u8")
