"""Verify: hold every file of a space to its checksums, or a sample of its rows."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.cache.columns import fact_checksums, row_checksums
from featcache.cache.layout import CHECKSUMS, KEYS, N_TOKENS, ROW_CHECKSUMS, TRUNCATED
from featcache.cache.shard import Fault, Shard, shard_files
from featcache.cache.space import CONTRACT, ORIGIN, read_contract, read_origin
from featcache.durable import TEMPORARY
from featcache.errors import CacheMissError, DamageError, FeatcacheError, FormatError, MachineError


@dataclass(frozen=True)
class SpaceFault:
    """What is wrong with one file. rows: how many rows it spoils; None where that cannot be known
    any more.

    kind: "damage", "newer" (written by a later featcache), or "machine" (the disk does not let it
    be read).
    """

    file: str
    what: str
    rows: int | None
    kind: str = "damage"


@dataclass(frozen=True)
class VerifiedSpace:
    """The state of one space. rows, files, bytes: of what was looked at; unfinished: files that
    killed writers left.
    """

    space: str
    path: str
    rows: int
    files: int
    bytes: int
    unfinished: int
    findings: tuple[SpaceFault, ...]


def verify(
    folder: Path, *, sample: float | None = None, progress: Callable[[int], None]
) -> VerifiedSpace:
    """Check a space's folder whatever state it is in; nothing is changed.

    sample: None for every byte; else headers, HDF5 metadata, and rows of each shard drawn at
    random: a share of them up to 1, a number of them above. progress: called with the bytes read
    since the last call.
    """
    findings: list[SpaceFault] = []
    shards: list[Shard] = []
    files = 0
    for path in shard_files(folder):
        files += 1
        try:
            shard, faults = _opened(path, sample, progress)
        except FileNotFoundError:  # merged or removed since the folder was listed
            files -= 1
            continue
        except FormatError as error:
            findings.append(SpaceFault(str(path), error.what, 0, "newer"))
            continue
        except MachineError as error:
            findings.append(SpaceFault(str(path), error.what, None, "machine"))
            continue
        except DamageError as error:
            findings.append(SpaceFault(str(path), error.what, None))
            continue
        shards.append(shard)
        if faults:
            what = f"{path} is damaged: {'; '.join(fault.what for fault in faults)}"
            findings.append(SpaceFault(str(path), what, int(spoiled(shard, faults).sum())))
    findings += _belonging(folder, shards)
    unfinished = sum(1 for _ in folder.glob(f"*{TEMPORARY}"))
    rows, n_bytes = sum(shard.n_rows for shard in shards), sum(shard.n_bytes for shard in shards)
    return VerifiedSpace(
        folder.name, str(folder), rows, files, n_bytes, unfinished, tuple(findings)
    )


def spoiled(shard: Shard, faults: list[Fault]) -> NDArray[np.bool_]:
    """The rows, bool (N,), that some fault spoils."""
    rows = np.zeros(shard.n_rows, dtype=np.bool_)
    for fault in faults:
        rows |= fault.rows
    return rows


def newer_contract(folder: Path) -> SpaceFault | None:
    """Whether a space is of a later featcache. Its shards say so, too: else a flipped bit in
    contract.json does.
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
    """Whether a space's folder has the name that a contract gives it; a user may have renamed it."""
    return folder.name.endswith(f"-{digest[:12]}")


def agrees(folder: Path, digest: str, shards: Sequence[Shard]) -> bool:
    """Whether contract.json, of this digest, is the space's: the folder is named so, or else some
    shard says so.
    """
    if is_named_after(folder, digest):
        return True
    others = any(is_named_after(folder, shard.contract) for shard in shards)
    return not others and any(shard.contract == digest for shard in shards)


def _belonging(folder: Path, shards: Sequence[Shard]) -> Iterator[SpaceFault]:
    """What is wrong with contract.json and origin.json, and which shards are not of this space."""
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
    except (CacheMissError, FormatError, DamageError) as error:
        lost = isinstance(error, CacheMissError)
        yield SpaceFault(
            str(folder), f"{folder} holds shards and no {CONTRACT}" if lost else error.what, 0
        )
    else:
        if agrees(folder, contract.digest, shards):
            for shard in shards:
                if (shard.contract, set(shard.views)) != (contract.digest, set(contract.views)):
                    yield SpaceFault(
                        str(shard.path),
                        f"{shard.path} was written under another contract",
                        shard.n_rows,
                    )
        else:
            yield SpaceFault(
                str(folder), f"{folder / CONTRACT} is not the contract of this space", 0
            )
    yield from _origin_findings(folder, shards)


def _origin_findings(folder: Path, shards: Sequence[Shard]) -> Iterator[SpaceFault]:
    try:
        origin = read_origin(folder)
    except (DamageError, MachineError) as error:
        yield SpaceFault(
            str(folder), error.what, 0, "machine" if isinstance(error, MachineError) else "damage"
        )
    else:
        if any(shard.hidden_size != origin.hidden_size for shard in shards):
            yield SpaceFault(
                str(folder),
                f"{folder / ORIGIN} gives a width that the shards beside it do not have",
                0,
            )


def _opened(
    path: Path, sample: float | None, progress: Callable[[int], None]
) -> tuple[Shard, list[Fault]]:
    """A shard and all that is wrong with it, by whichever of its headers is sound. Raises what
    opening it raises.
    """
    try:
        shard = Shard.open(path)
        return shard, list(
            shard.faults(progress) if sample is None else sampled(shard, sample, progress)
        )
    except DamageError as error:
        whole = error
    try:
        shard = Shard.open_damaged(path)
    except DamageError:
        raise whole from None
    return shard, list(shard.faults(progress))


def sampled(shard: Shard, sample: float, progress: Callable[[int], None]) -> list[Fault]:
    """Faults among rows drawn at random, other ones each time; sample as in `verify`."""
    count = round(sample * shard.n_rows) if sample <= 1 else round(sample)
    rows = np.sort(np.random.default_rng().permutation(shard.n_rows)[: max(count, 1)])
    faults = []
    for name in (KEYS, *shard.views):
        if name == KEYS:
            found = fact_checksums(*(shard.some(one, rows) for one in (KEYS, N_TOKENS, TRUNCATED)))
            expected = shard.some(ROW_CHECKSUMS, rows)
        else:
            picked = shard.some(name, rows)
            found, expected = row_checksums(picked), shard.some(CHECKSUMS + name, rows)
            progress(picked.nbytes)
        wrong = np.zeros(shard.n_rows, dtype=np.bool_)
        wrong[rows[found != expected]] = True
        if wrong.any():
            faults.append(
                Fault(f"row {np.argmax(wrong)} of {name} does not match its checksum", wrong)
            )
    return faults
