"""Files in tables of bounded size: CSV, TSV, JSON lines, Parquet.

CSV is read strictly (an open quote or a wrong number of fields is an error with its line), because
a lenient reader shifts labels in silence. Nothing is converted here: "NA", "null" and "01" are
texts as written. Text files are decoded as they are read, so that a file may be larger than memory.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from featcache.data.table import Table, table_of
from featcache.errors import DataFileError, first_line

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
READABLE = "CSV (.csv), TSV (.tsv), JSON lines (.jsonl), Parquet (.parquet) or a `datasets` folder"
_STEP = 1 << 20  # bytes or characters looked at together
# A byte-order mark, as spreadsheets write it, would become part of the first column's name
_MARK = "\ufeff"


def file_tables(path: Path, encoding: str, rows: int) -> Iterator[Table]:
    """Read the rows of a file in tables of at most `rows`.

    Args:
        path: The file; its ending says its format.
        encoding: The encoding of a text file.
        rows: Rows of each table, at most.

    Returns:
        The tables, read as they are asked for.

    Raises:
        DataFileError: The file is of another format or encoding, malformed or empty. The message
            has the line where there is one.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet_tables(path, rows)
    if suffix not in SUFFIXES:
        msg = f"{path} has an ending that names no known format"
        raise DataFileError(msg, cure=f"Give {READABLE}; rename the file if it is one of these.")
    return _text_tables(path, suffix, encoding, rows)


def _text_tables(path: Path, suffix: str, encoding: str, rows: int) -> Iterator[Table]:
    separated = suffix in {".csv", ".tsv"}
    # "" ends lines as the csv module wants them; "\n" leaves U+2028 and its like, which JSON
    # strings may hold.
    with _opened(path, encoding, newline="" if separated else "\n") as file:
        first = _first_sign(file)
        if not first:
            msg = f"{path} is empty"
            raise DataFileError(msg, cure=f"Give {READABLE} with at least one row.")
        file.seek(0)
        if separated:
            yield from _csv_tables(path, _unmarked(file), "\t" if suffix == ".tsv" else ",", rows)
        elif first == "[":
            yield from _json_tables(path, _json_list(path, file.read().removeprefix(_MARK)), rows)
        else:
            yield from _json_tables(path, _json_lines(path, _unmarked(file)), rows)


# -- bytes to text ---------------------------------------------------------------------------------


def decode(raw: bytes, encoding: str, source: str) -> str:
    """Decode bytes without their byte-order mark; raise DataFileError at a wrong byte."""
    try:
        return raw.decode(encoding).removeprefix(_MARK)
    except UnicodeError as error:
        raise _not_encoded(source, io.BytesIO(raw), encoding) from error
    except (LookupError, ValueError) as error:
        raise _no_encoding(encoding) from error


def read_text(path: Path, encoding: str) -> str:
    """Read a whole file as text; raise DataFileError if it cannot be read or decoded."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    return decode(raw, encoding, str(path))


@contextlib.contextmanager
def _opened(path: Path, encoding: str, newline: str) -> Iterator[TextIO]:
    try:
        # A pipe can be gone through only once, so it is kept whole.
        with path.open("rb") if path.is_file() else io.BytesIO(path.read_bytes()) as raw:
            with _codec_known(encoding):
                text = io.TextIOWrapper(raw, _byte_order(raw, encoding), newline=newline)
            try:
                yield text
            except UnicodeError as error:
                raw.seek(0)
                raise _not_encoded(str(path), raw, encoding) from error
    except OSError as error:
        raise _unreadable(path, error) from error


@contextlib.contextmanager
def _codec_known(encoding: str) -> Iterator[None]:
    try:
        yield
    except (LookupError, ValueError) as error:
        raise _no_encoding(encoding) from error


def _byte_order(raw: BinaryIO, encoding: str) -> str:
    """Return the encoding, with this machine's byte order if UTF-16 or UTF-32 have no mark."""
    name = codecs.lookup(encoding).name
    head = raw.read(4)
    raw.seek(0)
    marks = {
        "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
        "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    }
    if name in marks and not head.startswith(marks[name]):
        order = "le" if sys.byteorder == "little" else "be"  # as `bytes.decode` has it
        return f"{name}-{order}"
    return encoding


def _not_encoded(source: str, raw: BinaryIO, encoding: str) -> DataFileError:
    """Make the error for a file, which is read again up to its first wrong byte."""
    head = raw.read(2)
    raw.seek(0)
    place = _first_wrong(raw, _byte_order(raw, encoding))
    raw.seek(0)
    line, left = 1, place
    while left and (block := raw.read(min(_STEP, left))):
        line += block.count(b"\n")
        left -= len(block)
    wrong = raw.read(1)
    byte = f"byte 0x{wrong[0]:02x}" if wrong else "the end"
    likely = "windows-1252"
    if head in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE} and "16" not in encoding:
        likely = "utf-16"
    cure = f"Name the file's encoding, for example --encoding {likely}."
    return DataFileError(f"{source}, line {line}: {byte} is not {encoding}", cure=cure)


def _first_wrong(raw: BinaryIO, encoding: str) -> int:
    """Find the place of the first byte that cannot be decoded; 0 if the codec does not say."""
    decoder, n_before = codecs.getincrementaldecoder(encoding)(), 0
    while True:
        block = raw.read(_STEP)
        try:
            decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            # The decoder keeps the beginning of a character from the block before.
            n_kept = len(error.object) - len(block)
            return n_before - n_kept + error.start
        except UnicodeError:
            return 0
        n_before += len(block)
        if not block:
            return 0


def _no_encoding(encoding: str) -> DataFileError:
    msg = f"there is no encoding called {encoding!r}"
    return DataFileError(msg, cure="Give a name that Python knows, such as utf-8 or windows-1252.")


def _unreadable(path: Path, error: OSError) -> DataFileError:
    msg = f"{path} cannot be read: {error.strerror}"
    return DataFileError(msg, cure="Check the path and its permissions.")


def _first_sign(file: TextIO) -> str:
    """Return the first character that is no white space, or an empty string."""
    piece = file.read(_STEP).removeprefix(_MARK)
    while piece:
        if sign := piece.lstrip()[:1]:
            return sign
        piece = file.read(_STEP)
    return ""


def _unmarked(lines: Iterable[str]) -> Iterator[str]:
    rest = iter(lines)
    return chain((line.removeprefix(_MARK) for line in islice(rest, 1)), rest)


# -- CSV -------------------------------------------------------------------------------------------


def _csv_tables(path: Path, lines: Iterable[str], delimiter: str, rows: int) -> Iterator[Table]:
    # The csv module's own limit of 128 KiB a field is below a long document.
    csv.field_size_limit(sys.maxsize)
    records = _records(path, lines, delimiter)
    header = next(records)
    start = 0
    while batch := list(islice(records, rows)):
        columns: dict[str, list[str]] = {}
        for name, values in zip(header, zip(*batch, strict=True), strict=True):
            columns[name] = list(values)
        yield table_of(columns, str(path), textual=True, start=start)
        start += len(batch)


def _records(path: Path, lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    """Yield the header and then every row."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for fields in reader:
            if fields:
                if header is None:
                    header = _checked_header(path, fields, line, delimiter)
                elif len(fields) != len(header):
                    count = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
                    msg = f"{path}, line {line}: {count} where the header has {len(header)}"
                    cure = "Put texts that hold a separator or a line break into double quotes."
                    raise DataFileError(msg, cure=cure)
                yield fields
            line = reader.line_num + 1
    except csv.Error as error:
        reason = "a quote is opened and never closed" if "end of data" in str(error) else str(error)
        msg = f"{path}, line {line}: {reason}"
        cure = (
            'Close the quote, and write a double quote inside a quoted field twice (""); '
            "JSON lines avoid this."
        )
        raise DataFileError(msg, cure=cure) from error


def _checked_header(path: Path, names: list[str], line: int, delimiter: str) -> list[str]:
    _refuse_other_separator(path, names, line, delimiter)
    refuse_twice(f"{path}, line {line}", names)
    return names


def _refuse_other_separator(path: Path, names: list[str], line: int, delimiter: str) -> None:
    """Raise DataFileError if the only column has another separator in its name."""
    # Such a file is separated by that sign, and labels would end up in texts.
    if len(names) != 1:
        return
    for sign in (";", "\t", "|", ","):
        if sign != delimiter and sign in names[0]:
            msg = f"{path}, line {line}: one column, {names[0]!r}, that looks separated by {sign!r}"
            raise DataFileError(msg, cure="Save it with commas (.csv) or with tabs (.tsv).")


def refuse_twice(where: str, names: list[str]) -> None:
    """Raise DataFileError if two columns have the same name."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"{where}: the column {twice[0]!r} is there {names.count(twice[0])} times"
        raise DataFileError(msg, cure="Give every column a name of its own.")


# -- JSON ------------------------------------------------------------------------------------------


def _json_tables(path: Path, records: Iterator[Mapping[str, Any]], rows: int) -> Iterator[Table]:
    start = 0
    while batch := list(islice(records, rows)):
        names = dict.fromkeys(chain.from_iterable(batch))
        columns = {name: [record.get(name) for record in batch] for name in names}
        yield table_of(columns, str(path), start=start, n_rows=len(batch))
        start += len(batch)


def _json_lines(path: Path, lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            value = _parsed(path, number, line.rstrip("\n"), "Give one JSON object a line.")
            yield _object(value, f"{path}, line {number}")


def _json_list(path: Path, text: str) -> Iterator[Mapping[str, Any]]:
    cure = "Give one JSON object a line or one JSON list of objects."
    for number, value in enumerate(_parsed(path, 1, text, cure), start=1):
        yield _object(value, f"{path}, element {number}")


def _parsed(path: Path, number: int, piece: str, cure: str) -> Any:
    """Return the value of a piece of JSON that begins in line `number`."""
    try:
        return json.loads(piece)
    except (ValueError, RecursionError) as error:  # ValueError: also numbers of thousands of digits
        line = number + getattr(error, "lineno", 1) - 1
        msg = f"{path}, line {line}: {getattr(error, 'msg', first_line(error))}"
        raise DataFileError(msg, cure=cure) from error


def _object(value: object, place: str) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    msg = f"{place}: {type(value).__name__} where an object with columns is expected"
    cure = 'Write each row as an object, for example {"text": "…", "label": "…"}.'
    raise DataFileError(msg, cure=cure)


# -- Parquet ---------------------------------------------------------------------------------------


def _parquet_tables(path: Path, rows: int) -> Iterator[Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    start = 0
    try:
        # Through a small buffer: else a row group, which may be the whole file, is read into memory
        # at once.
        with pq.ParquetFile(path, buffer_size=_STEP, pre_buffer=False) as file:
            refuse_twice(str(path), list(file.schema_arrow.names))
            for batch in file.iter_batches(batch_size=rows):
                columns = {name: batch.column(name).to_pylist() for name in batch.schema.names}
                yield table_of(columns, str(path), start=start, n_rows=batch.num_rows)
                start += batch.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        msg = f"{path} is not a Parquet file that can be read: {first_line(error)}"
        raise DataFileError(
            msg, cure="Write the file again; it may be cut off or of another format."
        ) from error
