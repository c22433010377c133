"""Verbs that look after a cache: which spaces and rows are meant; `cache/upkeep/` does the work."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.folder import folders_in, spaces_in
from featcache.cache.space import Space
from featcache.cache.upkeep.export import columns_of, export_hdf5, export_numpy
from featcache.cache.upkeep.gc import Removal, leftovers, unused_rows, whole_space
from featcache.cache.upkeep.merge import Merged
from featcache.cache.upkeep.merge import merge as _merge
from featcache.cache.upkeep.repair import Repaired
from featcache.cache.upkeep.repair import repair as _repair
from featcache.cache.upkeep.verify import VerifiedSpace
from featcache.cache.upkeep.verify import verify as _verify
from featcache.data.keys import row_keys
from featcache.data.read import read
from featcache.data.texts import TextOptions, render
from featcache.errors import CacheMissError, InputError, SpaceChoiceError
from featcache.features.commands import DEFAULT_CACHE, cache_option, extract_command
from featcache.features.find import cached_layers, named, pick_space
from featcache.features.request import parse_poolings, pooling_named
from featcache.progress import Progress, Silent, Stage

_MIB = 1 << 20


def verify(
    space: str | None = None,
    *,
    cache: str | os.PathLike[str] = DEFAULT_CACHE,
    sample: float | None = None,
    progress: Progress | None = None,
) -> list[VerifiedSpace]:
    """Check a space, or all of a cache, against its checksums; nothing is changed.

    Args:
        space: The name of a space or its beginning; by default all spaces.
        cache: The folder of the cache.
        sample: None for every byte, a share of each shard's rows (0.01), or a number of rows
            (1000).
        progress: Where the work is shown.

    Returns:
        For each space what was checked, and what is wrong with it.

    Raises:
        SpaceChoiceError: There is no such space.
        InputError: The sample draws no rows.
    """
    if sample is not None and not 0 < sample < float("inf"):
        msg = f"--sample {sample:g} draws no rows"
        raise InputError(msg, cure="Give a share such as 0.01, or a number of rows such as 1000.")
    folders = _folders(Path(cache), space)
    with _Bytes(progress, "checking", _size(folders) if sample is None else 0) as count:
        return [_verify(folder, sample=sample, progress=count) for folder in folders]


def repair(
    space: str | None = None,
    *,
    cache: str | os.PathLike[str] = DEFAULT_CACHE,
    progress: Progress | None = None,
) -> list[Repaired]:
    """Drop exactly the damaged rows of a space, or of all of a cache.

    `verify` finds no damage afterwards. Files that a later featcache wrote, and files that the disk
    fails to read, are left as they are and named in the result.

    Args:
        space: The name of a space or its beginning; by default all spaces.
        cache: The folder of the cache.
        progress: Where the work is shown.

    Returns:
        For each space what was dropped, saved and left.

    Raises:
        SpaceChoiceError: There is no such space.
        MachineError: The disk refuses.
    """
    folders = _folders(Path(cache), space)
    with _Bytes(progress, "checking", _size(folders)) as count:
        return [_repair(folder, progress=count, waiting=count.wait) for folder in folders]


def merge(
    space: str | None = None,
    *,
    cache: str | os.PathLike[str] = DEFAULT_CACHE,
    progress: Progress | None = None,
) -> list[Merged]:
    """Make one sealed file of each space's shards, in a space or in all of a cache.

    Nothing is lost when this fails: the shards go only when the sealed file is safe.

    Args:
        space: The name of a space or its beginning; by default all spaces.
        cache: The folder of the cache.
        progress: Where the work is shown.

    Returns:
        For each space what was merged.

    Raises:
        SpaceChoiceError: There is no such space.
        DamageError: A shard is damaged.
        MachineError: The disk is full.
    """
    folders = _folders(Path(cache), space)
    with _Bytes(progress, "merging", 2 * _size(folders)) as count:
        return [
            _merge(Space.open(folder), progress=count, waiting=count.wait) for folder in folders
        ]


def removals(
    spaces: Sequence[str] = (),
    *,
    cache: str | os.PathLike[str] = DEFAULT_CACHE,
    older_than_days: float | None = None,
    unused_by: Any = None,
    reading: TextOptions | None = None,
) -> list[Removal]:
    """List what may go from a cache; nothing is removed (see `cache.upkeep.gc.collect`).

    Leftovers of killed processes always may, unless spaces are named.

    Args:
        spaces: Names of spaces, or their beginnings; other conditions are about these alone.
        cache: The folder of the cache.
        older_than_days: Only spaces that were not written for so many days.
        unused_by: Data; only rows that are not in them.
        reading: How the rows of `unused_by` become texts.

    Returns:
        Whole spaces, rows of spaces, and leftovers, each with its size and the reason.

    Raises:
        SpaceChoiceError: No space has the name.
        InputError: The data cannot be read.
    """
    folder = Path(cache)
    age = None if older_than_days is None else _days(older_than_days)
    reasons = _spaces_to_remove(folder, spaces, age)
    if unused_by is not None:
        keys = _keys_of(unused_by, reading)
        parts = [unused_rows(space, keys, "not in the data") for space, _ in reasons]
        removable = [rows for rows in parts if rows is not None]
    elif spaces or age is not None:
        removable = [whole_space(space, reason) for space, reason in reasons]
    else:
        removable = []
    return removable if spaces else removable + leftovers(folder)


def _spaces_to_remove(
    folder: Path, names: Sequence[str], age: timedelta | None
) -> list[tuple[Space, str]]:
    """The named spaces, or all, that were last written longer ago than `age`, with the reason."""
    chosen = [pick_space(folder, name) for name in names] if names else spaces_in(folder)[0]
    reasons = []
    for space in {space.path: space for space in chosen}.values():
        written = _last_written(space)
        if age is None:
            reasons.append((space, "named"))
        elif datetime.now(tz=UTC) - written > age:
            reasons.append((space, f"last written {written:%Y-%m-%d}"))
    return reasons


def export(
    space: str | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    kind: str | None = None,
    data: Any = None,
    cache: str | os.PathLike[str] = DEFAULT_CACHE,
    layers: str | Sequence[int] = "all",
    pooling: str | Sequence[str] | None = None,
    reading: TextOptions | None = None,
    progress: Progress | None = None,
    pool: str | Sequence[str] | None = None,
) -> list[Path]:
    """Copy features out of a space into plain files.

    Args:
        space: Its name, or the beginning of it.
        out: The file or folder to write, by default named after the space.
        kind: "numpy" for a folder of .npy files, "hdf5" for one file; by default as `out` ends.
        data: What to export: row i of each array is row i of the data. By default all rows.
        cache: The folder of the cache.
        layers: Layers such as "0,3,6" or "all".
        pooling: Poolings such as "mean,cls"; by default all that the space has.
        reading: How the rows of `data` become texts.
        progress: Where the work is shown.
        pool: An older name of `pooling`.

    Returns:
        The files that were written.

    Raises:
        CacheMissError: Texts are not in the space.
        DamageError: Rows of the space are damaged.
        MachineError: The disk refuses.
        InputError: `out` exists.
    """
    names = pooling_named(pooling, pool)
    source = pick_space(Path(cache), space)
    kind = kind or _kind_of(out)
    target = _target(source, out, kind)
    positions = _positions(source, data, reading)
    poolings = source.contract.poolings if names is None else parse_poolings(names)
    views = [(layer, pooling) for layer in cached_layers(layers, source) for pooling in poolings]
    for layer, view_pooling in views:
        source.check_view(layer, view_pooling)
    with Stage(progress or Silent(), "export", len(positions) * len(views)) as stage:
        columns = columns_of(
            source, positions, views, lambda n_rows: stage.advance(n_rows, "rows × views")
        )
        write = export_hdf5 if kind == "hdf5" else export_numpy
        return write(target, source, columns)


def _kind_of(out: str | os.PathLike[str] | None) -> str:
    """The kind of export that a file's ending means."""
    is_hdf5 = out is not None and Path(out).suffix in {".h5", ".hdf5"}
    return "hdf5" if is_hdf5 else "numpy"


def _target(space: Space, out: str | os.PathLike[str] | None, kind: str) -> Path:
    """Where to export to. Raises InputError for a file, or a folder with files, that exists."""
    ending = ".h5" if kind == "hdf5" else "-features"
    target = Path(space.name + ending) if out is None else Path(out)
    is_free = not target.exists()
    if kind == "numpy" and target.is_dir():
        is_free = not any(target.iterdir())
    if not is_free:
        msg = f"{target} exists already"
        raise InputError(msg, cure="Name with --out a file or folder that does not exist yet.")
    return target


def _positions(space: Space, data: Any, reading: TextOptions | None) -> NDArray[np.int64]:
    """Places in the space of the rows of some data, or of all its rows, (N,)."""
    if data is None:
        positions = space.first_positions()
        if not len(positions):
            msg = f"space {space.name} holds no rows"
            raise CacheMissError(msg, cure=f"Add some: {recompute_command(space)}")
        return positions
    positions = space.find(_keys_of(data, reading))
    n_missing = int((positions < 0).sum())
    if n_missing:
        msg = f"{n_missing:,} of {len(positions):,} rows are not in space {space.name}"
        raise CacheMissError(msg, cure=f"Add them: {recompute_command(space)}")
    return positions


def _keys_of(data: Any, reading: TextOptions | None) -> NDArray[np.uint8]:
    """The keys of the texts of some data, (N, 16)."""
    reading = reading or TextOptions()
    return row_keys(render(read(data, encoding=reading.encoding), reading).rendered)


def recompute_command(space: Space) -> str:
    """The extraction that adds rows to exactly this space."""
    contract, origin = space.contract, space.origin
    whole = contract.layers == tuple(range(origin.n_layers + 1))
    options = ["--max-length", str(contract.max_length), "--dtype", contract.dtype]
    options += ["--layers", "all" if whole else ",".join(map(str, contract.layers))]
    options += ["--pool", ",".join(contract.poolings)]
    return extract_command(space.path.parent, ["DATA"], origin.backbone, options)


def _folders(cache: Path, name: str | None) -> list[Path]:
    """The folders of a space, or of all, whatever state they are in; none in an empty cache."""
    folders = folders_in(cache)
    if not folders and (name is not None or not cache.is_dir()):
        msg = f"there is no feature space in {cache}"
        raise SpaceChoiceError(
            msg, cure=f"Make one: featcache extract DATA --backbone MODEL{cache_option(cache)}"
        )
    fitting = named(folders, name)
    if name is not None and len(fitting) != 1:
        names = ", ".join(folder.name for folder in fitting or folders)
        what = (
            f"several spaces begin with {name!r}" if fitting else f"{cache} has no space {name!r}"
        )
        raise SpaceChoiceError(f"{what}: {names}", cure="Name one of these.")
    return fitting


def _size(folders: Sequence[Path]) -> int:
    size = 0
    for path in (path for folder in folders for path in folder.glob("*.h5")):
        with contextlib.suppress(FileNotFoundError):  # a merge has just removed it
            size += path.lstat().st_size
    return size


def _days(number: float) -> timedelta:
    """Make a span of time of a number of days; raise InputError where it is not a number."""
    try:
        return timedelta(days=number)
    except OverflowError:
        return timedelta.max
    except ValueError as error:
        msg = f"--older-than {number} is not a number of days"
        raise InputError(msg, cure="Give a number such as 90.") from error


def _last_written(space: Space) -> datetime:
    """When rows last came in; of a space without rows, when it was made."""
    try:
        written = datetime.fromisoformat(space.last_written or "")
        return written if written.tzinfo else written.replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(space.path.stat().st_mtime, tz=UTC)


class _Bytes(Stage):
    """Bytes that go by, shown as MiB and GB/s."""

    def __init__(self, progress: Progress | None, title: str, total: int) -> None:
        self._shown_on = progress or Silent()
        super().__init__(self._shown_on, title, max(total // _MIB, 1))
        self._n_bytes = 0
        self._since = datetime.now(tz=UTC)

    def __call__(self, n_bytes: int) -> None:
        before, self._n_bytes = self._n_bytes, self._n_bytes + n_bytes
        if self._n_bytes // _MIB > before // _MIB:
            seconds = (datetime.now(tz=UTC) - self._since).total_seconds()
            rate = self._n_bytes / 1e9 / max(seconds, 1e-9)
            self.reach(self._n_bytes // _MIB, f"MiB · {rate:.1f} GB/s")

    def wait(self) -> None:
        self._shown_on.note("waiting for the processes that write to this space")
