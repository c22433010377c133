"""Verify: hold every file of a space to its checksums, or a sample of its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.cache.columns import fact_checksums, row_checksums
from featcache.cache.contract import Contract
from featcache.cache.layout import CHECKSUMS, KEYS, N_TOKENS, ROW_CHECKSUMS, TRUNCATED
from featcache.cache.shard import SUFFIX, Fault, Shard
from featcache.cache.space import read_contract, read_origin
from featcache.errors import CacheMissError, DamageError, FormatError, MachineError
from featcache.files import TEMPORARY


@dataclass(frozen=True)
class Finding:
    """What is wrong with one file. rows: how many rows it spoils; None where that cannot be known any more.

    kind: "damage", "newer" (written by a later featcache), or "machine" (the disk does not let it be read).
    """

    file: str
    what: str
    rows: int | None
    kind: str = "damage"


@dataclass(frozen=True)
class Checked:
    """The state of one space. rows, files, bytes: of what was looked at; unfinished: files that killed writers left."""

    space: str
    path: str
    rows: int
    files: int
    bytes: int
    unfinished: int
    findings: tuple[Finding, ...]


def verify(folder: Path, *, sample: float | None = None, progress: Callable[[int], None]) -> Checked:
    """Check a space's folder whatever state it is in; nothing is changed.

    sample: None for every byte; else headers, HDF5 metadata, and rows of each shard drawn at random: a share
    of them up to 1, a number of them above. progress: called with the bytes read since the last call.
    """
    findings: list[Finding] = []
    contract = _contract(folder, findings)
    rows = n_bytes = files = 0
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        files += 1
        shard: Shard | None
        try:
            shard = Shard.open(path)
            faults = list(shard.faults(progress) if sample is None else sampled(shard, sample, progress))
        except FileNotFoundError:  # merged or removed since the folder was listed
            files -= 1
            continue
        except DamageError as error:
            shard, faults = _as_far_as_it_goes(path, error, progress, findings)
            if shard is None:
                continue
        except FormatError as error:
            findings.append(Finding(str(path), error.what, 0, "newer"))
            continue
        except MachineError as error:
            findings.append(Finding(str(path), error.what, None, "machine"))
            continue
        rows, n_bytes = rows + shard.n_rows, n_bytes + shard.n_bytes
        if contract is not None and (shard.contract, set(shard.views)) != (contract.digest, set(contract.views)):
            findings.append(Finding(str(path), f"{path} was written under another contract", shard.n_rows))
        if faults:
            what = f"{path} is damaged: {'; '.join(fault.what for fault in faults)}"
            findings.append(Finding(str(path), what, int(spoiled(shard, faults).sum())))
    unfinished = sum(1 for _ in folder.glob(f"*{TEMPORARY}"))
    return Checked(folder.name, str(folder), rows, files, n_bytes, unfinished, tuple(findings))


def spoiled(shard: Shard, faults: list[Fault]) -> NDArray[np.bool_]:
    """The rows, bool (N,), that some fault spoils."""
    rows = np.zeros(shard.n_rows, dtype=np.bool_)
    for fault in faults:
        rows |= fault.rows
    return rows


def _contract(folder: Path, findings: list[Finding]) -> Contract | None:
    """The space's contract; what is wrong with it or with origin.json goes to `findings`."""
    contract = None
    try:
        contract = read_contract(folder)
        read_origin(folder)
    except FormatError as error:
        findings.append(Finding(str(folder), error.what, 0, "newer"))
    except CacheMissError:
        findings.append(Finding(str(folder), f"{folder} holds shards and no contract.json", 0))
    except DamageError as error:
        findings.append(Finding(str(folder), error.what, 0))
    return contract


def _as_far_as_it_goes(
    path: Path, error: DamageError, progress: Callable[[int], None], findings: list[Finding]
) -> tuple[Shard | None, list[Fault]]:
    """A shard that cannot be opened as it is: all that is wrong with it, by whichever of its headers is sound."""
    try:
        shard = Shard.open_damaged(path)
        return shard, list(shard.faults(progress))
    except DamageError:
        findings.append(Finding(str(path), error.what, None))
        return None, []


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
            faults.append(Fault(f"row {np.argmax(wrong)} of {name} does not match its checksum", wrong))
    return faults
