"""Reading data: CSV, TSV, JSONL, Parquet, folders of text files, `datasets` on disk or from the hub.

A source is a path, or `NAME`, `NAME@CONFIG`, `NAME:SPLIT` of a data set on the Hugging Face hub; a folder
written by `Dataset.save_to_disk` takes `:SPLIT` too. CSV is read strictly (an open quote or a wrong
number of fields is an error with its line), because a lenient reader shifts labels in silence.
Nothing is converted here: "NA", "null" and "01" are texts as written.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.data.table import Table, concatenate, table_of
from featcache.errors import DataFileError, first_line

if TYPE_CHECKING:
    import datasets

_LONGEST_NAME = 80  # of the last part of a path; file systems allow 255 bytes, up to 4 a character
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
_READABLE = "CSV (.csv), TSV (.tsv), JSON lines (.jsonl), Parquet (.parquet) or a `datasets` folder"


def read(data: Any, *, encoding: str = "utf-8") -> Table:  # noqa: ANN401 - the one door for user data
    """A table of whatever holds the user's rows.

    data: a source; a list of sources; a list of texts (column `text`); a mapping of columns; a pandas
    data frame, Arrow table or `datasets.Dataset`. A list of strings counts as sources where each one is
    an existing path or ends like a data file, otherwise as texts.
    Raises DataFileError where a source is missing, empty, malformed or not in `encoding`.
    """
    if isinstance(data, str | Path):
        return read_source(str(data), encoding=encoding)
    if isinstance(data, dict) and data and all(hasattr(part, "column_names") for part in data.values()):
        return _from_splits(data, "the data", None)  # datasets.DatasetDict
    columns = _columns_in_memory(data)
    if columns is not None:
        return _in_memory(columns)
    if not isinstance(data, Iterable):
        msg = f"data of type {type(data).__name__} cannot be read as rows"
        raise DataFileError(msg, cure=f"Give {_READABLE}, or texts, columns or a data frame.")
    items = data.tolist() if hasattr(data, "tolist") else list(data)
    if items and all(isinstance(item, str | Path) and _like_source(item) for item in items):
        return concatenate([read_source(str(item), encoding=encoding) for item in items])
    return _in_memory({"text": items})


def _columns_in_memory(data: Any) -> Mapping[str, Sequence[Any]] | None:  # noqa: ANN401 - recognised by shape
    """Columns of a mapping, data frame, Arrow table or `datasets.Dataset`, without importing their libraries."""
    if isinstance(data, Mapping):
        return data
    if hasattr(data, "to_pylist") and hasattr(data, "column_names"):  # pyarrow.Table
        return _arrow_columns(data, "the data")
    if hasattr(data, "column_names") and hasattr(data, "features"):  # datasets.Dataset
        return _from_dataset(data, "the data").columns
    if hasattr(data, "to_dict") and hasattr(data, "columns"):  # pandas.DataFrame
        _refuse_twice("the data", [str(name) for name in data.columns])
        return {str(name): data[name].tolist() for name in data.columns}
    return None


def read_source(source: str, *, encoding: str = "utf-8") -> Table:
    """A table of one file, folder or hub data set; never of zero rows."""
    path = Path(source)
    if _exists(source) and path.is_dir():
        table = _read_folder(path, None, encoding)
    elif _exists(source):
        table = _read_file(path, encoding)
    else:
        table = _read_elsewhere(source)
    if table.n_rows == 0:
        msg = f"{source} holds no rows"
        raise DataFileError(msg, cure="Give a file with at least one row of data.")
    return table


def _like_source(item: str | Path) -> bool:
    if isinstance(item, Path) or item.lower().endswith(SUFFIXES):
        return True
    return _exists(item) or (":" in item and _exists(item.partition(":")[0]))


def _exists(item: str) -> bool:
    """Whether a string is a path; a long text is none, and asking the file system would raise ENAMETOOLONG."""
    return bool(item) and len(Path(item).name) <= _LONGEST_NAME and "\0" not in item and Path(item).exists()


def _in_memory(columns: Mapping[str, Sequence[Any]]) -> Table:
    try:
        table = table_of(columns, "the data")
    except ValueError as error:
        msg = f"the data cannot be read as rows: {error}"
        raise DataFileError(msg, cure="Give columns of one length.") from error
    if table.n_rows == 0:
        msg = "the data hold no rows"
        raise DataFileError(msg, cure="Give at least one row.")
    return table


def _read_file(path: Path, encoding: str) -> Table:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _read_parquet(path)
    if suffix not in SUFFIXES:
        msg = f"{path} has an ending that names no known format"
        raise DataFileError(msg, cure=f"Give {_READABLE}; rename the file if it is one of these.")
    text = _decode(path, encoding)
    if not text.strip():
        msg = f"{path} is empty"
        raise DataFileError(msg, cure=f"Give {_READABLE} with at least one row.")
    if suffix in {".csv", ".tsv"}:
        return table_of(_parse_csv(path, text, "\t" if suffix == ".tsv" else ","), str(path), textual=True)
    return table_of(_columns_of(_parse_json(path, text)), str(path))


def _decode(path: Path, encoding: str) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise DataFileError(msg, cure="Check the path and its permissions.") from error
    return decode(raw, encoding, str(path))


def decode(raw: bytes, encoding: str, source: str) -> str:
    """Bytes as text, without a byte-order mark. Raises DataFileError with the line of the first wrong byte."""
    try:
        # A byte-order mark, as spreadsheets write it, would become part of the first column's name.
        return raw.decode(encoding).removeprefix("\ufeff")
    except (LookupError, ValueError) as error:
        if isinstance(error, UnicodeError):
            raise _not_encoded(source, raw, encoding, error) from error
        msg = f"there is no encoding called {encoding!r}"
        raise DataFileError(msg, cure="Give a name that Python knows, such as utf-8 or windows-1252.") from error


def _not_encoded(source: str, raw: bytes, encoding: str, error: UnicodeError) -> DataFileError:
    start = getattr(error, "start", 0)
    line = raw.count(b"\n", 0, start) + 1
    byte = f"byte 0x{raw[start]:02x}" if start < len(raw) else "the end"
    marked = raw[:2] in {b"\xff\xfe", b"\xfe\xff"} and "16" not in encoding
    guess = "utf-16" if marked else "windows-1252"
    cure = f"Name the file's encoding, for example --encoding {guess}."
    return DataFileError(f"{source}, line {line}: {byte} is not {encoding}", cure=cure)


def _parse_csv(path: Path, text: str, delimiter: str) -> dict[str, list[Any]]:
    # The csv module's own limit of 128 KiB a field is below a long document.
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    rows: list[list[str]] = []
    record_line = 1
    try:
        for fields in reader:
            if fields:
                if header is None:
                    header = _checked_header(path, fields, record_line, delimiter)
                elif len(fields) != len(header):
                    count = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
                    msg = f"{path}, line {record_line}: {count} where the header has {len(header)}"
                    cure = "Put texts that hold a separator or a line break into double quotes."
                    raise DataFileError(msg, cure=cure)
                else:
                    rows.append(fields)
            record_line = reader.line_num + 1
    except csv.Error as error:
        reason = "a quote is opened and never closed" if "end of data" in str(error) else str(error)
        msg = f"{path}, line {record_line}: {reason}"
        cure = 'Close the quote, and write a double quote inside a quoted field twice (""); JSON lines avoid this.'
        raise DataFileError(msg, cure=cure) from error
    return {name: list(values) for name, values in zip(header or [], zip(*rows, strict=True), strict=False)}


def _checked_header(path: Path, names: list[str], line: int, delimiter: str) -> list[str]:
    _refuse_other_separator(path, names, line, delimiter)
    _refuse_twice(f"{path}, line {line}", names)
    return names


def _refuse_other_separator(path: Path, names: list[str], line: int, delimiter: str) -> None:
    """One column with another separator in its name is a file of that separator: labels would end up in texts."""
    strange = [sign for sign in (";", "\t", "|", ",") if sign != delimiter and len(names) == 1 and sign in names[0]]
    if strange:
        msg = f"{path}, line {line}: one column, {names[0]!r}, that looks separated by {strange[0]!r}"
        raise DataFileError(msg, cure="Save it with commas (.csv) or with tabs (.tsv).")


def _refuse_twice(where: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"{where}: the column {twice[0]!r} is there {names.count(twice[0])} times"
        raise DataFileError(msg, cure="Give every column a name of its own.")


def _parse_json(path: Path, text: str) -> list[tuple[int, Any]]:
    """Pairs of line (or element) number and object, of JSON lines or of one JSON list."""
    whole = text.lstrip().startswith("[")
    # Not splitlines(): JSON strings may hold U+2028 and its like, which end no line of JSON lines.
    pieces = [(1, text)] if whole else [piece for piece in enumerate(text.split("\n"), start=1) if piece[1].strip()]
    values: list[tuple[int, Any]] = []
    for number, piece in pieces:
        try:
            values.append((number, json.loads(piece)))
        except (ValueError, RecursionError) as error:  # ValueError: also numbers of thousands of digits
            line = number + getattr(error, "lineno", 1) - 1
            reason = getattr(error, "msg", first_line(error))
            msg = f"{path}, line {line}: {reason}"
            cure = "Give one JSON object a line" + (" or one JSON list of objects." if whole else ".")
            raise DataFileError(msg, cure=cure) from error
    rows = list(enumerate(values[0][1], start=1)) if whole else values
    for number, row in rows:
        if not isinstance(row, dict):
            place = "element" if whole else "line"
            msg = f"{path}, {place} {number}: {type(row).__name__} where an object with columns is expected"
            raise DataFileError(msg, cure='Write each row as an object, for example {"text": "…", "label": "…"}.')
    return rows


def _columns_of(rows: Iterable[tuple[int, dict[str, Any]]]) -> dict[str, list[Any]]:
    records = [row for _, row in rows]
    names = dict.fromkeys(name for record in records for name in record)
    return {name: [record.get(name) for record in records] for name in names}


def _read_parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return table_of(_arrow_columns(pq.ParquetFile(path).read(), str(path)), str(path))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        msg = f"{path} is not a Parquet file that can be read: {first_line(error)}"
        raise DataFileError(msg, cure="Write the file again; it may be cut off or of another format.") from error


def _arrow_columns(table: Any, where: str) -> dict[str, list[Any]]:  # noqa: ANN401 - pyarrow.Table
    _refuse_twice(where, list(table.column_names))
    return {name: table[name].to_pylist() for name in table.column_names}


def _read_folder(path: Path, split: str | None, encoding: str) -> Table:
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        import datasets

        try:
            loaded = datasets.load_from_disk(str(path))
        except (OSError, ValueError) as error:
            msg = f"{path} is not a data set that can be read: {first_line(error)}"
            raise DataFileError(msg, cure="Write it again with Dataset.save_to_disk.") from error
        return _from_splits(loaded, str(path), split)
    classes = sorted(folder for folder in path.iterdir() if folder.is_dir())
    files = [(folder.name, file) for folder in classes for file in sorted(folder.glob("*.txt"))]
    if split is None and files:
        columns = {"text": [_decode(file, encoding) for _, file in files], "label": [name for name, _ in files]}
        return table_of(columns, str(path))
    msg = f"{path} is a folder, but neither a saved data set nor folders of .txt files, one for each class"
    raise DataFileError(msg, cure=f"Give {_READABLE}.")


def _read_elsewhere(source: str) -> Table:
    """A saved data set with `:SPLIT`, or a data set of the hub."""
    name, _, split = source.partition(":")
    if split and _exists(name) and Path(name).is_dir():
        return _read_folder(Path(name), split, "utf-8")
    if (
        source.lower().endswith(SUFFIXES)
        or source.startswith((".", "/", "~"))
        or source.count("/") > 1
        or len(source) > _LONGEST_NAME
    ):
        msg = f"{source[:_LONGEST_NAME]} does not exist"
        raise DataFileError(msg, cure="Check the path (and the folder you are in).")
    import datasets

    name, _, config = name.partition("@")
    try:
        loaded = datasets.load_dataset(name, config or None)
    except Exception as error:
        # Of `datasets`' many exceptions here (connection, missing, gated, malformed, scripts) all mean the
        # same to the user: this name gave no data, and the first line says why.
        msg = f"{source} is no file here, and the hub gave no such data set: {first_line(error)}"
        raise DataFileError(msg, cure="Check the path; data sets by name need a network.") from error
    return _from_splits(loaded, name, split or None)


def _from_splits(loaded: Any, source: str, split: str | None) -> Table:  # noqa: ANN401 - Dataset or DatasetDict
    if not isinstance(loaded, dict):
        if split:
            msg = f"{source} has no splits, so no {split!r}"
            raise DataFileError(msg, cure=f"Give it as {source}.")
        return _from_dataset(loaded, source)
    if split is None:
        return concatenate([_from_dataset(part, f"{source}:{name}") for name, part in loaded.items()])
    if split not in loaded:
        msg = f"{source} has no split {split!r}; it has {', '.join(loaded)}"
        raise DataFileError(msg, cure=f"Write {source}:{next(iter(loaded))}, for example.")
    return _from_dataset(loaded[split], f"{source}:{split}")


def _from_dataset(data: datasets.Dataset, source: str) -> Table:
    columns: dict[str, list[Any]] = {name: list(data[name]) for name in data.column_names}
    for name, feature in data.features.items():
        if hasattr(feature, "int2str"):  # ClassLabel: names say more than numbers; -1 means unlabelled
            columns[name] = [None if value is None or value < 0 else feature.int2str(value) for value in columns[name]]
    return table_of(columns, source)
