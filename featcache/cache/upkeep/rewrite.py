"""Writing rows of some shards into one new file: what merge, repair and gc have in common.

Whatever is copied is held to its checksums on the way, so that damage is never given a fresh
checksum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from featcache.cache.columns import Column, fact_checksums, row_checksums, write_shard_file
from featcache.cache.contract import Contract
from featcache.cache.index import sealed_arrays
from featcache.cache.layout import CHECKSUMS, INDEX, KEYS, N_TOKENS, ROW_CHECKSUMS, TRUNCATED
from featcache.cache.shard import Shard, damaged, shard_name
from featcache.durable import remove

_FACTS = (KEYS, N_TOKENS, TRUNCATED)


@dataclass(frozen=True)
class RowSource:
    """Rows of one shard. keep: bool (rows,).  faulty: datasets that do not match the hash in the
    header.
    """

    shard: Shard
    keep: NDArray[np.bool_]
    faulty: frozenset[str] = frozenset()

    @property
    def n_rows(self) -> int:
        return int(self.keep.sum())

    def pieces(self, name: str) -> Iterator[NDArray[Any]]:
        """The kept rows of a dataset, piece by piece. Raises DamageError where they are not what
        they should be.

        A sound dataset is held to its hash, a faulty one row by row to the rows' checksums.
        """
        digest, start = xxhash.xxh3_64(), 0
        row_by_row = name in self.faulty and name in self.shard.views
        sums = np.concatenate(list(self.shard.pieces(CHECKSUMS + name))) if row_by_row else None
        for piece in self.shard.pieces(name):
            digest.update(piece.reshape(-1).view(np.uint8).data)
            rows = start + np.flatnonzero(self.keep[start : start + len(piece)])
            kept = piece[rows - start]
            if sums is not None and (row_checksums(kept) != sums[rows]).any():
                raise damaged(self.shard.path, f"{name} changes while it is being read")
            yield kept
            start += len(piece)
        if name not in self.faulty and digest.hexdigest() != self.shard.header.datasets[name].xxh3:
            raise damaged(self.shard.path, f"{name} does not match its checksum")

    def sound(self, *names: str) -> bool:
        """Whether these datasets match their hashes."""
        return self.faulty.isdisjoint(names)

    def fact_checksums(self) -> NDArray[np.uint64]:
        """Checksums of the kept rows' facts: the source's own, or new ones where it has no sound
        ones.
        """
        if self.sound(ROW_CHECKSUMS, *_FACTS):
            return self.all(ROW_CHECKSUMS)
        keys, n_tokens, truncated = (self.all(fact) for fact in _FACTS)
        return fact_checksums(keys, n_tokens, truncated)

    def all(self, name: str) -> NDArray[Any]:
        """The kept rows of a dataset in memory."""
        return np.concatenate(list(self.pieces(name)))


def write_rows(
    folder: Path,
    name: str,
    sources: Sequence[RowSource],
    *,
    contract: Contract,
    provenance: Mapping[str, Any],
    seal: bool,
    progress: Callable[[int], None],
) -> Path:
    """Write the kept rows of several shards, which all have to differ, as one file.

    seal: with an index of the keys.  progress: called with the bytes copied since it was last
    called.
    Memory: some 100 bytes a row, whatever the states' size. Raises DamageError where a source is
    damaged, MachineError where the disk fails; nothing is left behind then.
    """
    facts = [np.concatenate([source.all(fact) for source in sources]) for fact in _FACTS]
    checksums = [source.fact_checksums() for source in sources]
    columns = [Column.of(name, array) for name, array in zip(_FACTS, facts, strict=True)]
    columns.append(Column.of(ROW_CHECKSUMS, np.concatenate(checksums)))
    for view in contract.views:
        columns += _view_columns(view, sources, len(facts[0]), progress)
    if seal:
        columns += [
            Column.of(one, array) for one, array in zip(INDEX, sealed_arrays(facts[0]), strict=True)
        ]
    return write_shard_file(folder, name, columns, contract=contract, provenance=provenance)


def put_in_place(source: RowSource, *, contract: Contract, progress: Callable[[int], None]) -> None:
    """Put a file with the kept rows alone in the place of their shard, which goes when the new one
    is safe.

    A sealed file keeps its name, and so is replaced in one step; where no row is kept, the shard
    only goes.
    Raises what `write_rows` raises.
    """
    shard, some = source.shard, bool(source.keep.any())
    if some:
        name = shard.path.name if shard.sealed else shard_name()
        write_rows(
            shard.path.parent,
            name,
            [source],
            contract=contract,
            provenance=shard.provenance,
            seal=shard.sealed,
            progress=progress,
        )
    if not (some and shard.sealed):
        remove([shard.path])


def _view_columns(
    name: str, sources: Sequence[RowSource], n_rows: int, progress: Callable[[int], None]
) -> tuple[Column, Column]:
    """The states of a view, and their checksums: the sources' own where these are sound and still
    fit.
    """
    kinds = [source.shard.header.datasets[name].dtype for source in sources]
    dtype = max(
        kinds, key=lambda kind: kind.itemsize
    )  # float16 becomes float32 where one shard needed that
    made: dict[int, list[NDArray[np.uint64]]] = {}

    def states() -> Iterator[NDArray[Any]]:
        for number, source in enumerate(sources):
            copied = kinds[number] == dtype and source.sound(name, CHECKSUMS + name)
            made.update({} if copied else {number: []})
            for piece in source.pieces(name):
                stored = piece.astype(dtype, copy=False)
                if not copied:
                    made[number].append(row_checksums(stored))
                progress(stored.nbytes)
                yield stored

    def checksums() -> Iterator[NDArray[np.uint64]]:  # asked for when all states have gone by
        for number, source in enumerate(sources):
            yield from made[number] if number in made else source.pieces(CHECKSUMS + name)

    width = sources[0].shard.hidden_size
    return (
        Column(name, (n_rows, width), dtype, states),
        Column(CHECKSUMS + name, (n_rows,), np.dtype("<u8"), checksums),
    )
