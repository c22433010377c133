"""Data that can be read again and again in tables of bounded size, wherever they come from.

A source is a path, or `NAME`, `NAME@CONFIG`, `NAME:SPLIT` of a data set on the Hugging Face hub; a
folder written by `Dataset.save_to_disk` takes `:SPLIT` too. Data in memory are cut into pieces as
they are; files are read anew each time, so that data may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from featcache.data.files import READABLE, SUFFIXES, file_tables, read_text, refuse_twice
from featcache.data.table import CHUNK_ROWS, Table, concatenate, table_of
from featcache.errors import DataFileError, first_line

_LONGEST_NAME = 80  # of the last part of a path; file systems allow 255 bytes, up to 4 a character
_HERE = "the data"

Tables = Callable[[int], Iterable[Table]]


def as_typed(sources: Iterable[str]) -> list[str]:
    """Name each source once, as commands do; DATA stands for what only lives in memory."""
    return ["DATA" if name == _HERE else name for name in dict.fromkeys(sources)]


@dataclass(frozen=True)
class DataSource:
    """One thing that the user gave to be read.

    Attributes:
        name: How messages call it.
        tables: Called with a number of rows, gives the rows in tables of at most that many.
    """

    name: str
    tables: Tables

    def numbered(self, rows: int) -> Iterator[Table]:
        """Yield the tables of the source; raise DataFileError at the end if they held no row."""
        n_rows = 0
        for table in self.tables(rows):
            n_rows += table.n_rows
            yield table
        if not n_rows and self.name == _HERE:
            msg = "the data hold no rows"
            raise DataFileError(msg, cure="Give at least one row.")
        if not n_rows:
            msg = f"{self.name} holds no rows"
            raise DataFileError(msg, cure="Give a file with at least one row of data.")


@dataclass(frozen=True)
class Stream:
    """Rows of one or more sources, one after the other."""

    sources: tuple[DataSource, ...]

    def chunks(self, rows: int = CHUNK_ROWS) -> Iterator[Table]:
        """Yield all rows from the first one on, in tables of exactly `rows`, except for the last.

        Args:
            rows: Rows of each table.

        Yields:
            The tables.

        Raises:
            DataFileError: A source is missing, empty, malformed or in another encoding; in text
                files this shows when that place is reached.
        """
        waiting: list[Table] = []
        room = rows
        for table in chain.from_iterable(source.numbered(rows) for source in self.sources):
            rest = table
            while rest.n_rows >= room:
                head, rest = rest.split(room) if rest.n_rows > room else (rest, Table({}, ()))
                yield concatenate([*waiting, head])
                waiting, room = [], rows
            if rest.n_rows:
                waiting.append(rest)
                room -= rest.n_rows
        if waiting:
            yield concatenate(waiting)


def stream(data: Any, *, encoding: str = "utf-8") -> Stream:
    """Make a stream of whatever holds the user's rows; what is wrong inside a file shows later.

    Args:
        data: The rows, or where they are; see `read.read` for what that may be.
        encoding: The encoding of text files.

    Returns:
        The stream, of which nothing has been read yet.

    Raises:
        DataFileError: `data` is of no known kind, or a folder or name is no data set.
    """
    if isinstance(data, str | Path):
        return Stream((source_of(str(data), encoding=encoding),))
    tables = _in_memory(data)
    if tables is not None:
        return Stream((DataSource(_HERE, tables),))
    if not isinstance(data, Iterable):
        msg = f"data of type {type(data).__name__} cannot be read as rows"
        raise DataFileError(msg, cure=f"Give {READABLE}, or texts, columns or a data frame.")
    items = _as_list(data)
    if items and all(map(_is_source, items)):
        return Stream(tuple(source_of(str(item), encoding=encoding) for item in items))
    return Stream((DataSource(_HERE, _columns({"text": items})),))


def _as_list(data: Iterable[Any]) -> list[Any]:
    """Return the items as Python's own values; arrays and series convert theirs in `tolist`."""
    if isinstance(data, list):
        return data
    if hasattr(data, "tolist"):
        items: list[Any] = data.tolist()
        return items
    return list(data)


def source_of(source: str, *, encoding: str = "utf-8") -> DataSource:
    """Make a source of one file, folder or data set of the hub.

    Args:
        source: A path, or the name of a data set.
        encoding: The encoding of text files.

    Returns:
        The source.

    Raises:
        DataFileError: It is none of these.
    """
    path = Path(source)
    if not _exists(source):
        return DataSource(source, _elsewhere(source))
    if path.is_dir():
        return DataSource(source, _folder(path, None, encoding))
    if path.is_file():
        return DataSource(source, lambda rows: file_tables(path, encoding, rows))
    kept: list[Table] = []  # of a pipe, which gives its bytes only once

    def once(rows: int) -> Iterable[Table]:
        if not kept:
            kept.extend(file_tables(path, encoding, rows))
        return kept

    return DataSource(source, once)


def _is_source(item: Any) -> bool:
    """Return True if an item of a list is or looks like a path rather than a text."""
    if isinstance(item, Path):
        return True
    if not isinstance(item, str):
        return False
    if item.lower().endswith(SUFFIXES):
        return True
    return _exists(item) or (":" in item and _exists(item.partition(":")[0]))


def _exists(item: str) -> bool:
    """Return True if a string is an existing path; a long text never is."""
    # Asking the file system about a long name would raise ENAMETOOLONG.
    if not item or "\0" in item or len(Path(item).name) > _LONGEST_NAME:
        return False
    return Path(item).exists()


# -- in memory -------------------------------------------------------------------------------------


def _in_memory(data: Any) -> Tables | None:
    """Return the tables of a mapping, data frame, Arrow table, or what `datasets` has, or None."""
    if _is_dict_of_data_sets(data):
        return _splits(data, _HERE, None)  # datasets.DatasetDict, datasets.IterableDatasetDict
    if isinstance(data, Mapping):
        return _columns(data)
    if hasattr(data, "to_pylist") and hasattr(data, "column_names"):
        return _arrow(data)
    if hasattr(data, "column_names") and hasattr(data, "features"):
        return _data_set(data, _HERE)  # datasets.Dataset, datasets.IterableDataset
    if hasattr(data, "to_dict") and hasattr(data, "columns"):
        return _data_frame(data)
    return None


def _is_dict_of_data_sets(data: Any) -> bool:
    if not isinstance(data, dict) or not data:
        return False
    return all(hasattr(part, "column_names") for part in data.values())


def _arrow(data: Any) -> Tables:
    """Return the tables of a `pyarrow.Table`."""
    refuse_twice(_HERE, list(data.column_names))

    def pick(start: int, stop: int) -> dict[str, list[Any]]:
        length = stop - start
        return {name: data[name].slice(start, length).to_pylist() for name in data.column_names}

    return _sliced(pick, data.num_rows, _HERE)


def _data_frame(data: Any) -> Tables:
    """Return the tables of a `pandas.DataFrame`."""
    refuse_twice(_HERE, [str(name) for name in data.columns])

    def pick(start: int, stop: int) -> dict[str, list[Any]]:
        return {str(name): data[name].iloc[start:stop].tolist() for name in data.columns}

    return _sliced(pick, len(data), _HERE)


def _columns(columns: Mapping[str, Any]) -> Tables:
    """Return the tables of columns by name; raise DataFileError where they differ in length."""
    lists: dict[str, Any] = {}
    for name, values in columns.items():
        sliceable = isinstance(values, list | tuple | np.ndarray)
        lists[str(name)] = values if sliceable else list(values)
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        msg = f"the data cannot be read as rows: columns differ in length: {lengths}"
        raise DataFileError(msg, cure="Give columns of one length.")

    def pick(start: int, stop: int) -> dict[str, Any]:
        return {name: values[start:stop] for name, values in lists.items()}

    return _sliced(pick, next(iter(lengths.values()), 0), _HERE)


def _sliced(
    pick: Callable[[int, int], Mapping[str, Sequence[Any]]], n_rows: int, source: str
) -> Tables:
    def tables(rows: int) -> Iterator[Table]:
        for start in range(0, n_rows, rows):
            count = min(rows, n_rows - start)
            yield table_of(pick(start, start + count), source, start=start, n_rows=count)

    return tables


# -- folders and data sets -------------------------------------------------------------------------


def _folder(path: Path, split: str | None, encoding: str) -> Tables:
    """Return the tables of a saved data set, or of folders of text files, one for each class."""
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        return _saved(path, split)
    files = _class_files(path)
    if split is not None or not files:
        msg = (
            f"{path} is a folder, but neither a saved data set nor folders of .txt files, "
            "one for each class"
        )
        raise DataFileError(msg, cure=f"Give {READABLE}.")

    def pick(start: int, stop: int) -> dict[str, list[str]]:
        return {
            "text": [read_text(file, encoding) for file in files[start:stop]],
            "label": [file.parent.name for file in files[start:stop]],
        }

    return _sliced(pick, len(files), str(path))


def _class_files(path: Path) -> list[Path]:
    """List the text files of each class's folder, in the order of classes and names."""
    files: list[Path] = []
    for folder in sorted(path.iterdir()):
        if folder.is_dir():
            files += sorted(folder.glob("*.txt"))
    return files


def _saved(path: Path, split: str | None) -> Tables:
    """Return the tables of what `Dataset.save_to_disk` wrote."""
    import datasets

    try:
        loaded = datasets.load_from_disk(str(path))
    except (OSError, ValueError) as error:
        msg = f"{path} is not a data set that can be read: {first_line(error)}"
        raise DataFileError(msg, cure="Write it again with Dataset.save_to_disk.") from error
    return _splits(loaded, str(path), split)


def _elsewhere(source: str) -> Tables:
    """Return the tables of a saved data set with `:SPLIT`, or of a data set of the hub."""
    name, _, split = source.partition(":")
    if split and _exists(name) and Path(name).is_dir():
        return _folder(Path(name), split, "utf-8")
    if _looks_like_path(source):
        msg = f"{source[:_LONGEST_NAME]} does not exist"
        raise DataFileError(msg, cure="Check the path (and the folder you are in).")
    import datasets

    name, _, config = name.partition("@")
    try:
        loaded = datasets.load_dataset(name, config or None)
    except Exception as error:
        # Of `datasets`' many exceptions here (connection, missing, gated, malformed, scripts) all
        # mean the same to the user: this name gave no data, and the first line says why.
        msg = f"{source} is no file here, and the hub gave no such data set: {first_line(error)}"
        cure = "Check the path; data sets by name need a network."
        raise DataFileError(msg, cure=cure) from error
    return _splits(loaded, name, split or None)


def _looks_like_path(source: str) -> bool:
    """Return True if a source cannot be the name of a data set on the hub."""
    if source.startswith((".", "/", "~")) or source.lower().endswith(SUFFIXES):
        return True
    return source.count("/") > 1 or len(source) > _LONGEST_NAME


def _splits(loaded: Any, source: str, split: str | None) -> Tables:
    if not isinstance(loaded, dict):
        if split:
            msg = f"{source} has no splits, so no {split!r}"
            raise DataFileError(msg, cure=f"Give it as {source}.")
        return _data_set(loaded, source)
    if split is None:
        parts = [_data_set(part, f"{source}:{name}") for name, part in loaded.items()]
        return lambda rows: chain.from_iterable(part(rows) for part in parts)
    if split not in loaded:
        msg = f"{source} has no split {split!r}; it has {', '.join(loaded)}"
        raise DataFileError(msg, cure=f"Write {source}:{next(iter(loaded))}, for example.")
    return _data_set(loaded[split], f"{source}:{split}")


def _data_set(data: Any, source: str) -> Tables:
    """Slice the memory-mapped rows of a data set; one that streams is read batch by batch."""
    features = dict(data.features or {})  # a stream may not know its own

    def named(columns: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        return {name: _class_names(features.get(name), values) for name, values in columns.items()}

    if hasattr(data, "__len__"):
        return _sliced(lambda start, stop: named(data[start:stop]), len(data), source)

    def streamed(rows: int) -> Iterator[Table]:
        start = 0
        for columns in _batches(data, rows, source):
            table = table_of(named(columns), source, start=start)
            yield table
            start += table.n_rows

    return streamed


def _batches(data: Any, rows: int, source: str) -> Iterator[Mapping[str, Sequence[Any]]]:
    try:
        yield from data.iter(batch_size=rows)
    except Exception as error:
        # From `datasets`, from what downloads for it, or from the user's own generator.
        msg = f"{source} could not be read to its end: {type(error).__name__}: {first_line(error)}"
        cure = "Run the same command again; what was computed before is kept."
        raise DataFileError(msg, cure=cure) from error


def _class_names(feature: Any, values: Sequence[Any]) -> list[Any]:
    """Return the values; of a ClassLabel the names of its classes, and None for -1 (unlabelled)."""
    if not hasattr(feature, "int2str"):
        return list(values)
    return [None if value is None or value < 0 else feature.int2str(value) for value in values]
