"""Writing rows of some shards into one new file: what merge, repair and gc have in common.

Whatever is copied is held to its checksums on the way, so that damage is never given a fresh
checksum.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from featcache.cache.columns import Column, write_shard_file
from featcache.cache.contract import Contract
from featcache.cache.datasets import STEP
from featcache.cache.files import damaged, opened
from featcache.cache.index import sealed_arrays
from featcache.cache.layout import CHECKSUMS, FACTS, INDEX, OFFSETS, ROW_CHECKSUMS, Role
from featcache.cache.naming import shard_name
from featcache.cache.numbers import (
    as_kind,
    common_kind,
    fact_checksums,
    ragged_checksums,
    row_checksums,
)
from featcache.cache.shard import Shard
from featcache.durable import remove

Progress = Callable[[int], None]


@dataclass(frozen=True)
class RowSource:
    """Some rows of one shard.

    Attributes:
        shard: The shard.
        keep: Which of its rows, bool (rows,).
        faulty: Datasets that do not match the hash in the header.
    """

    shard: Shard
    keep: NDArray[np.bool_]
    faulty: frozenset[str] = frozenset()

    @property
    def n_rows(self) -> int:
        return int(self.keep.sum())

    def pieces(self, name: str) -> Iterator[NDArray[Any]]:
        """Read the kept rows of a dataset, piece by piece; of a ragged view their vectors.

        A sound dataset is held to its hash, a faulty one row by row to the rows' checksums.

        Args:
            name: The dataset.

        Yields:
            NDArray[Any]: Kept rows of one piece, as they are stored.

        Raises:
            DamageError: The rows are not what they should be.
        """
        digest = xxhash.xxh3_64()
        if name in self.shard.views and self.shard.header.is_ragged(name):
            yield from self._ragged_pieces(name, digest)
        else:
            yield from self._dense_pieces(name, digest)
        if name not in self.faulty and digest.hexdigest() != self.shard.extent(name).xxh3:
            raise damaged(self.shard.path, f"{name} does not match its checksum")

    def _dense_pieces(self, name: str, digest: xxhash.xxh3_64) -> Iterator[NDArray[Any]]:
        start = 0
        checked = name in self.faulty and name in self.shard.views
        sums = np.concatenate(list(self.shard.pieces(CHECKSUMS + name))) if checked else None
        for piece in self.shard.pieces(name):
            digest.update(piece.reshape(-1).view(np.uint8).data)
            rows = start + np.flatnonzero(self.keep[start : start + len(piece)])
            kept = piece[rows - start]
            if sums is not None and (row_checksums(kept) != sums[rows]).any():
                raise damaged(self.shard.path, f"{name} changes while it is being read")
            yield kept
            start += len(piece)

    def _ragged_pieces(self, name: str, digest: xxhash.xxh3_64) -> Iterator[NDArray[Any]]:
        """Read a ragged view in groups of rows of about 1 MiB; one row may be longer."""
        extent, offsets = self.shard.extent(name), self._offsets(name)
        width = extent.n_bytes // extent.shape[0]
        sums = np.concatenate(list(self.shard.pieces(CHECKSUMS + name)))
        with opened(self.shard.path) as (handle, _):
            for start, end in _row_groups(offsets, max(STEP // width, 1)):
                first, last = int(offsets[start]), int(offsets[end])
                n_bytes = (last - first) * width
                data = os.pread(handle, n_bytes, extent.offset + first * width)
                digest.update(data)
                values = np.frombuffer(data.ljust(n_bytes, b"\0"), extent.dtype)
                values = values.reshape(-1, extent.shape[1])
                rows = start + np.flatnonzero(self.keep[start:end])
                kept, places = _picked_rows(values, offsets - first, rows)
                if name in self.faulty and (ragged_checksums(kept, places) != sums[rows]).any():
                    raise damaged(self.shard.path, f"{name} changes while it is being read")
                yield kept

    def _offsets(self, name: str) -> NDArray[np.int64]:
        offsets = np.concatenate(list(self.shard.pieces(OFFSETS + name)))
        digest = xxhash.xxh3_64_hexdigest(offsets.view(np.uint8).data)
        if digest != self.shard.extent(OFFSETS + name).xxh3:
            if self.keep.any():
                raise damaged(self.shard.path, f"{OFFSETS}{name} does not match its checksum")
            return np.zeros(self.shard.n_rows + 1, np.int64)
        self.shard.check_offsets(name, offsets)
        return offsets.astype(np.int64)

    def lengths(self, name: str) -> NDArray[np.int64]:
        """How many vectors each kept row has in a ragged view."""
        return np.diff(self._offsets(name))[self.keep]

    def sound(self, *names: str) -> bool:
        """Return True if these datasets match their hashes."""
        return self.faulty.isdisjoint(names)

    def fact_checksums(self) -> NDArray[np.uint64]:
        """The checksums of the kept rows' facts: the source's own, or new ones for unsound ones."""
        if self.sound(ROW_CHECKSUMS, *FACTS):
            return self.all(ROW_CHECKSUMS)
        keys, n_tokens, truncated = (self.all(fact) for fact in FACTS)
        return fact_checksums(keys, n_tokens, truncated)

    def all(self, name: str) -> NDArray[Any]:
        """Read the kept rows of a dataset into memory."""
        return np.concatenate(list(self.pieces(name)))


def write_rows(
    folder: Path,
    name: str,
    sources: Sequence[RowSource],
    *,
    contract: Contract,
    provenance: Mapping[str, Any],
    seal: bool,
    progress: Progress,
) -> Path:
    """Write the kept rows of several shards with the same views, which all differ, as one file.

    Memory: some 100 bytes a row, whatever the states' size.

    Args:
        folder: Where to.
        name: The new file's name.
        sources: The rows; all of one role.
        contract: That of the space.
        provenance: Of the new file.
        seal: Write an index of the keys.
        progress: Called with the bytes copied since it was last called.

    Returns:
        The new file.

    Raises:
        DamageError: A source is damaged; nothing is left behind.
        MachineError: The disk fails; nothing is left behind.
    """
    facts = [np.concatenate([source.all(fact) for source in sources]) for fact in FACTS]
    checksums = [source.fact_checksums() for source in sources]
    columns = [Column.of(fact, array) for fact, array in zip(FACTS, facts, strict=True)]
    columns.append(Column.of(ROW_CHECKSUMS, np.concatenate(checksums)))
    shard = sources[0].shard
    for view in sorted(shard.views, key=_order(contract)):
        columns += _ViewCopy(view, sources, progress).columns()
    if seal:
        arrays = sealed_arrays(facts[0])
        columns += [Column.of(part, array) for part, array in zip(INDEX, arrays, strict=True)]
    role: Role = "addition" if shard.is_addition else "rows"
    return write_shard_file(
        folder, name, columns, contract=contract, provenance=provenance, role=role
    )


def put_in_place(source: RowSource, *, contract: Contract, progress: Progress) -> None:
    """Put a file with the kept rows alone in the place of their shard, which then goes.

    A sealed file keeps its name, and so is replaced in one step; where no row is kept, the shard
    only goes.

    Args:
        source: The rows to keep.
        contract: That of the space.
        progress: Called with the bytes copied since it was last called.

    Raises:
        DamageError: The source is damaged.
        MachineError: The disk fails.
    """
    shard, any_kept = source.shard, bool(source.keep.any())
    if any_kept:
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
    if not (any_kept and shard.sealed):
        remove([shard.path])


def _order(contract: Contract) -> Callable[[str], tuple[int, str]]:
    """Sort views as the contract lists them; added ones by name behind them."""
    places = {view: place for place, view in enumerate(contract.views)}
    return lambda view: (places.get(view, len(places)), view)


class _ViewCopy:
    """One view on its way from some shards into one file, with its checksums.

    The checksums are the sources' own where these are sound and the type of the numbers stays.
    """

    def __init__(self, name: str, sources: Sequence[RowSource], progress: Progress) -> None:
        self._name, self._sources, self._progress = name, sources, progress
        self._kinds = [source.shard.extent(name).kind for source in sources]
        self._kind = common_kind(self._kinds)
        self._made: dict[int, list[NDArray[np.uint64]]] = {}

    def columns(self) -> list[Column]:
        """The datasets to be written, the checksums behind the states that they are made from."""
        name, header = self._name, self._sources[0].shard.header
        width, n_rows = header.width(name), sum(source.n_rows for source in self._sources)
        checksums = Column(CHECKSUMS + name, (n_rows,), "uint64", self._checksums)
        if not header.is_ragged(name):
            return [Column(name, (n_rows, width), self._kind, self._states), checksums]
        lengths = np.concatenate([source.lengths(name) for source in self._sources])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype("<u8")
        values = Column(name, (int(offsets[-1]), width), self._kind, self._states)
        return [values, Column.of(OFFSETS + name, offsets), checksums]

    def _states(self) -> Iterator[NDArray[Any]]:
        name = self._name
        for number, source in enumerate(self._sources):
            copied = self._kinds[number] == self._kind and source.sound(name, CHECKSUMS + name)
            if source.shard.header.is_ragged(name):
                yield from self._ragged_states(number, source, copied=copied)
                continue
            if not copied:
                self._made[number] = []
            for piece in source.pieces(name):
                stored = as_kind(piece, self._kind)
                if not copied:
                    self._made[number].append(row_checksums(stored))
                self._progress(stored.nbytes)
                yield stored

    def _ragged_states(
        self, number: int, source: RowSource, *, copied: bool
    ) -> Iterator[NDArray[Any]]:
        lengths = [] if copied else source.lengths(self._name).tolist()
        digests: list[int] = []
        waiting = np.empty((0, source.shard.header.width(self._name)), self._dtype())
        for piece in source.pieces(self._name):
            stored = as_kind(piece, self._kind)
            self._progress(stored.nbytes)
            yield stored
            if copied:
                continue
            # A piece ends where a row ends; rows without vectors may stand on either side.
            waiting = np.concatenate([waiting, stored])
            while len(digests) < len(lengths) and lengths[len(digests)] <= len(waiting):
                count = lengths[len(digests)]
                row = np.ascontiguousarray(waiting[:count]).reshape(-1).view(np.uint8)
                digests.append(xxhash.xxh3_64_intdigest(row.data))
                waiting = waiting[count:]
        if not copied:
            self._made[number] = [np.array(digests, dtype="<u8")]

    def _dtype(self) -> np.dtype[Any]:
        return Column(self._name, (), self._kind, list).dtype

    def _checksums(self) -> Iterator[NDArray[np.uint64]]:
        """Asked for when all states have gone by."""
        for number, source in enumerate(self._sources):
            if number in self._made:
                yield from self._made[number]
            else:
                yield from source.pieces(CHECKSUMS + self._name)


def _row_groups(offsets: NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Split rows into groups of at most `most` vectors, or of one row that has more."""
    start, n_rows = 0, len(offsets) - 1
    while start < n_rows:
        end = int(np.searchsorted(offsets, offsets[start] + most, side="right")) - 1
        end = min(max(end, start + 1), n_rows)
        yield start, end
        start = end


def _picked_rows(
    values: NDArray[Any], offsets: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The vectors of some rows of a group, and where each of these rows begins in them."""
    vectors = [values[offsets[row] : offsets[row + 1]] for row in rows.tolist()]
    kept = np.concatenate([values[:0], *vectors])
    return kept, np.cumsum([0, *(len(row) for row in vectors)], dtype=np.int64)
