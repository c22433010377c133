"""Reading: files are written here byte by byte, or by the libraries whose formats they are."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featcache.data.read import read
from featcache.errors import DataFileError
from tests.data import refused

# What lenient readers turn into something else: missing values, numbers, booleans, dates, stripped
# strings.
AS_WRITTEN = [
    "NA",
    "null",
    "None",
    "nan",
    "01",
    "1e5",
    "true",
    "2024-01-02",
    " padded ",
    "é 漢 🙂",
    "\ttab",
]


@pytest.fixture(autouse=True)
def _quiet_datasets() -> None:
    datasets.disable_progress_bars()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    def _write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return _write


Write = Callable[[str, str | bytes], Path]

REVIEWS = datasets.Features(
    {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])}
)


def _reviews(texts: list[str], labels: list[int | None]) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": texts, "label": labels}, features=REVIEWS)


# Formats


def test_csv_gives_its_columns_as_strings(write: Write) -> None:
    path = write("a.csv", "text,label\ngood,1\nbad,0\n")
    table = read(path)
    assert table.columns == {"text": ["good", "bad"], "label": ["1", "0"]}
    assert table.n_rows == 2
    assert table.place(1) == (str(path), 2)
    assert table.textual_rows() == [True, True]


def test_tsv_is_separated_by_tabs_and_keeps_commas(write: Write) -> None:
    path = write("a.tsv", 'text\tlabel\na, b\tx\n"c\td"\ty\n')
    assert read(path).columns == {"text": ["a, b", "c\td"], "label": ["x", "y"]}


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".json"])
def test_json_lines_keep_types_and_fill_absent_columns_with_none(write: Write, suffix: str) -> None:
    path = write(f"a{suffix}", '{"text": "a", "label": 1}\n\n{"text": "b", "flag": true}\n')
    table = read(path)
    assert table.columns == {"text": ["a", "b"], "label": [1, None], "flag": [None, True]}
    assert table.textual_rows() == [False, False]


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_one_json_list_of_objects_is_read(write: Write, suffix: str) -> None:
    path = write(f"a{suffix}", ' [\n {"text": "a"},\n {"text": "b", "label": 0.5}\n]\n')
    assert read(path).columns == {"text": ["a", "b"], "label": [None, 0.5]}


def test_parquet_keeps_types_and_nulls(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"text": ["a", None, "NA"], "label": [1, 0, None], "flag": [True, False, True]}),
        path,
    )
    columns = read(path).columns
    assert columns == {
        "text": ["a", None, "NA"],
        "label": [1, 0, None],
        "flag": [True, False, True],
    }
    assert type(columns["flag"][0]) is bool


def test_parquet_with_dictionary_encoding_gives_the_values(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": pa.array(["a", "b", "a"]).dictionary_encode()}), path)
    assert read(path).columns == {"text": ["a", "b", "a"]}


def test_suffixes_count_in_upper_case_too(write: Write) -> None:
    assert read(write("A.CSV", "text\na\n")).columns == {"text": ["a"]}


def test_several_files_are_read_in_the_order_given_with_absent_columns_none(write: Write) -> None:
    second = write("b.csv", "text,label\nb,x\nc,y\n")
    first = write("a.jsonl", '{"text": "a", "score": 2}\n')
    table = read([second, str(first)])
    assert table.columns == {
        "text": ["b", "c", "a"],
        "label": ["x", "y", None],
        "score": [None, None, 2],
    }
    assert [table.place(row) for row in range(3)] == [
        (str(second), 1),
        (str(second), 2),
        (str(first), 1),
    ]
    assert table.textual_rows() == [True, True, False]
    assert table.sources == f"{second}, {first}"


def test_a_folder_of_text_files_is_labelled_by_its_subfolders(tmp_path: Path, write: Write) -> None:
    write("pos/b.txt", "good\nfilm")
    write("pos/a.txt", "\ufefffine")
    write("neg/a.txt", " poor ")
    write("neg/notes.md", "no text")
    write("stray.txt", "no class")
    table = read(tmp_path)
    assert table.columns == {
        "text": [" poor ", "fine", "good\nfilm"],
        "label": ["neg", "pos", "pos"],
    }


def test_a_saved_data_set_gives_class_names_and_none_for_unlabelled(tmp_path: Path) -> None:
    _reviews(["a", "b", "c"], [1, -1, 0]).save_to_disk(tmp_path / "saved")
    table = read(tmp_path / "saved")
    assert table.columns == {"text": ["a", "b", "c"], "label": ["pos", None, "neg"]}
    assert table.place(0) == (str(tmp_path / "saved"), 1)


@pytest.fixture
def with_splits(tmp_path: Path) -> Path:
    folder = tmp_path / "with-splits"
    parts = {"train": _reviews(["a", "b"], [1, 0]), "test": _reviews(["c"], [None])}
    datasets.DatasetDict(parts).save_to_disk(folder)
    return folder


def test_a_saved_data_set_with_splits_is_read_whole(with_splits: Path) -> None:
    table = read(str(with_splits))
    assert table.columns == {"text": ["a", "b", "c"], "label": ["pos", "neg", None]}
    assert table.place(2) == (f"{with_splits}:test", 1)


@pytest.mark.parametrize(("split", "texts"), [("train", ["a", "b"]), ("test", ["c"])])
def test_one_split_is_named_after_a_colon(with_splits: Path, split: str, texts: list[str]) -> None:
    table = read(f"{with_splits}:{split}")
    assert table.columns["text"] == texts
    assert table.sources == f"{with_splits}:{split}"


def test_a_list_of_sources_may_name_splits(with_splits: Path) -> None:
    # The command line hands over its arguments as a list.
    table = read([f"{with_splits}:test", f"{with_splits}:train"])
    assert table.columns["text"] == ["c", "a", "b"]


# Data in memory


@pytest.mark.parametrize(
    "texts",
    [["a", " b "], ("a", " b "), np.array(["a", " b "]), pd.Series(["a", " b "])],
    ids=lambda t: type(t).__name__,
)
def test_a_sequence_of_strings_becomes_the_column_text(texts: Any) -> None:
    table = read(texts)
    assert table.columns == {"text": ["a", " b "]}
    assert table.place(1) == ("the data", 2)
    assert table.textual_rows() == [False, False]


def test_a_list_with_a_text_beside_a_path_is_texts(write: Write) -> None:
    path = str(write("a.csv", "text\nx\n"))
    assert read([path, "a text"]).columns == {"text": [path, "a text"]}


def test_long_texts_and_texts_with_line_breaks_are_not_taken_for_paths() -> None:
    texts = ["long " * 2000, "two\nlines", ""]
    assert read(texts).columns == {"text": texts}


def test_rows_in_memory_keep_their_types() -> None:
    data = {"text": ["a", "b"], "label": (True, False), "score": np.array([1, 2])}
    assert read(data).columns == {"text": ["a", "b"], "label": [True, False], "score": [1, 2]}


def test_a_data_frame_is_read_by_columns() -> None:
    frame = pd.DataFrame({"text": ["a", "NA"], "label": [1, 0], 7: ["x", "y"]}, index=[5, 3])
    assert read(frame).columns == {"text": ["a", "NA"], "label": [1, 0], "7": ["x", "y"]}


def test_an_arrow_table_is_read_by_columns() -> None:
    assert read(pa.table({"text": ["a", None], "label": [1, 2]})).columns == {
        "text": ["a", None],
        "label": [1, 2],
    }


def test_a_datasets_dataset_gives_class_names() -> None:
    table = read(_reviews(["a", "b", "c"], [0, 1, -1]))
    assert table.columns == {"text": ["a", "b", "c"], "label": ["neg", "pos", None]}


# Nothing is converted


def _csv(path: Path, texts: list[str]) -> None:
    path.write_text("text,n\n" + "".join(f"{text},{i}\n" for i, text in enumerate(texts)), "utf-8")


def _jsonl(path: Path, texts: list[str]) -> None:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")


def _parquet(path: Path, texts: list[str]) -> None:
    pq.write_table(pa.table({"text": texts}), path)


@pytest.mark.parametrize(
    ("suffix", "save"), [(".csv", _csv), (".jsonl", _jsonl), (".parquet", _parquet)]
)
def test_texts_that_look_like_something_else_are_kept_as_written(
    tmp_path: Path, suffix: str, save: Callable[[Path, list[str]], None]
) -> None:
    path = tmp_path / f"a{suffix}"
    save(path, AS_WRITTEN)
    assert read(path).columns["text"] == AS_WRITTEN


def test_texts_in_memory_that_look_like_something_else_are_kept_as_given() -> None:
    assert read(AS_WRITTEN).columns["text"] == AS_WRITTEN
    assert read(pd.DataFrame({"text": AS_WRITTEN})).columns["text"] == AS_WRITTEN


def test_empty_csv_cells_are_empty_strings(write: Write) -> None:
    assert read(write("a.csv", 'text,label\n,x\n"",y\n')).columns["text"] == ["", ""]


# Encodings


@pytest.mark.parametrize("encoding", ["utf-8", "UTF-8", "utf8", "utf_8", "U8"])
@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", "text\ncafé\n"), ("a.jsonl", '{"text": "café"}\n')]
)
def test_a_byte_order_mark_is_no_part_of_the_first_column(
    write: Write, name: str, content: str, encoding: str
) -> None:
    path = write(name, b"\xef\xbb\xbf" + content.encode())
    assert read(path, encoding=encoding).columns == {"text": ["café"]}


@pytest.mark.parametrize("encoding", ["windows-1252", "utf-16", "latin-1", "utf-8"])
@pytest.mark.parametrize(
    ("name", "content"), [("a.tsv", "text\tn\ncafé\t1\n"), ("a.jsonl", '{"text": "café"}\n')]
)
def test_other_encodings_are_read_where_named(
    write: Write, name: str, content: str, encoding: str
) -> None:
    path = write(name, content.encode(encoding))
    assert read(path, encoding=encoding).columns["text"] == ["café"]


def test_a_folder_of_text_files_is_read_in_the_encoding_named(tmp_path: Path, write: Write) -> None:
    write("pos/a.txt", "café".encode("windows-1252"))
    assert read(tmp_path, encoding="windows-1252").columns["text"] == ["café"]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_bytes_of_another_encoding_are_refused_with_their_line(write: Write, name: str) -> None:
    path = write(name, b"text\nfine\ncaf\xe9\n")
    with refused(DataFileError, path, "line 3", "0xe9", "utf-8", cure="--encoding windows-1252"):
        read(path)


def test_bytes_of_another_encoding_in_a_text_file_are_refused_with_its_path(
    tmp_path: Path, write: Write
) -> None:
    write("pos/a.txt", "fine")
    path = write("pos/b.txt", b"one\ncaf\xe9")
    with refused(DataFileError, path, "line 2", "0xe9", cure="--encoding"):
        read(tmp_path)


def test_a_byte_order_mark_does_not_shift_the_line_of_a_bad_byte(write: Write) -> None:
    path = write("a.csv", b"\xef\xbb\xbftext\nfine\n\xe9t\xe9\n")
    with refused(DataFileError, path, "line 3", "0xe9", cure="--encoding"):
        read(path)


def test_utf_16_is_guessed_from_its_mark(write: Write) -> None:
    path = write("a.csv", "text\na\n".encode("utf-16"))
    with refused(DataFileError, path, "line 1", "utf-8", cure="--encoding utf-16"):
        read(path)


def test_a_wrong_encoding_that_was_named_is_in_the_message(write: Write) -> None:
    path = write("a.csv", "text\ncafé\n")
    with refused(DataFileError, path, "line 2", "0xc3", "ascii", cure="--encoding"):
        read(path, encoding="ascii")


@pytest.mark.parametrize("encoding", ["klingon", "rot13", "hex", ""])
def test_an_encoding_that_does_not_exist_is_refused(write: Write, encoding: str) -> None:
    with refused(DataFileError, repr(encoding), cure="utf-8"):
        read(write("a.csv", "text\na\n"), encoding=encoding)


# CSV in detail


def test_quoted_fields_hold_separators_quotes_and_line_breaks(write: Write) -> None:
    path = write("a.csv", 'text,label\n"a, ""b""\n\nc",x\n d,"y"\n')
    assert read(path).columns == {"text": ['a, "b"\n\nc', " d"], "label": ["x", "y"]}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("last", [True, False], ids=["ended", "not ended"])
def test_any_line_ending_separates_rows(write: Write, end: str, last: bool) -> None:
    content = end.join(["text,label", "a,x", "b,y"]) + (end if last else "")
    assert read(write("a.csv", content)).columns == {"text": ["a", "b"], "label": ["x", "y"]}


def test_line_breaks_inside_quotes_are_kept_as_written(write: Write) -> None:
    assert read(write("a.csv", 'text,label\r\n"a\r\nb",x\r\n')).columns["text"] == ["a\r\nb"]


def test_other_line_separators_of_unicode_end_no_row_of_csv(write: Write) -> None:
    assert read(write("a.csv", "text,n\na\u2028b\u0085c\x0bd\x0ce,1\n")).columns["text"] == [
        "a\u2028b\u0085c\x0bd\x0ce"
    ]


def test_blank_lines_between_rows_are_skipped(write: Write) -> None:
    assert read(write("a.csv", "text,label\n\na,x\n\n\nb,y\n\n")).columns["text"] == ["a", "b"]


def test_fields_beyond_the_limit_of_the_csv_module_are_read_whole(write: Write) -> None:
    long = "x" * 131_072 * 2 + "end"
    table = read(write("a.csv", f'text,label\n{long},1\n"{long}\n",2\n'))
    assert table.columns["text"] == [long, long + "\n"]


def test_an_open_quote_is_refused_with_the_line_where_it_starts(write: Write) -> None:
    path = write("a.csv", 'text,label\n"two\nlines",x\n"open,y\nb,z\nc,w\n')
    with refused(DataFileError, path, "line 4", "never closed", cure="quote"):
        read(path)


def test_text_after_a_closing_quote_is_refused_with_its_line(write: Write) -> None:
    path = write("a.csv", 'text,label\na,x\n"b" c,y\n')
    with refused(DataFileError, path, "line 3", cure="quote"):
        read(path)


@pytest.mark.parametrize(("row", "found"), [("a,b,c", "3 fields"), ("a", "1 field")])
def test_a_wrong_number_of_fields_is_refused_with_its_line(
    write: Write, row: str, found: str
) -> None:
    path = write("a.csv", f'text,label\r\n"two\r\nlines",x\r\n\r\n{row}\r\n')
    with refused(DataFileError, path, "line 5", found, "header has 2", cure="double quotes"):
        read(path)


def test_a_column_name_that_is_there_twice_is_refused(write: Write) -> None:
    path = write("a.csv", "text,label,text\na,x,b\n")
    with refused(DataFileError, path, "line 1", "'text'", "2 times", cure="name of its own"):
        read(path)


# JSON in detail


def test_unicode_line_separators_end_no_json_line(write: Write) -> None:
    path = write("a.jsonl", '{"text": "a\u2028b\u2029c\u0085d"}\r\n{"text": "e\\nf"}\r\n')
    assert read(path).columns == {"text": ["a\u2028b\u2029c\u0085d", "e\nf"]}


@pytest.mark.parametrize(
    "line", ['{"text": "b"', '{"text": }', "{'text': 'b'}", "text", '{"text": "b"} {}']
)
def test_a_malformed_json_line_is_refused_with_its_number(write: Write, line: str) -> None:
    path = write("a.jsonl", f'{{"text": "a"}}\n\n{line}\n')
    with refused(DataFileError, path, "line 3", cure="one JSON object a line"):
        read(path)


@pytest.mark.parametrize(
    ("line", "kind"), [("3", "int"), ('"b"', "str"), ("null", "NoneType"), ('["b"]', "list")]
)
def test_a_json_line_that_is_no_object_is_refused_with_its_number(
    write: Write, line: str, kind: str
) -> None:
    path = write("a.jsonl", f'{{"text": "a"}}\n{line}\n')
    with refused(DataFileError, path, "line 2", kind, cure="object"):
        read(path)


@pytest.mark.parametrize(
    ("element", "kind"), [("3", "int"), ('"b"', "str"), ("null", "NoneType"), ('["b"]', "list")]
)
def test_an_element_of_a_json_list_that_is_no_object_is_refused(
    write: Write, element: str, kind: str
) -> None:
    path = write("a.json", f'[{{"text": "a"}},\n{element}]')
    with refused(DataFileError, path, " 2", kind, cure="object"):
        read(path)


def test_a_malformed_json_list_is_refused_with_its_line(write: Write) -> None:
    path = write("a.json", '[{"text": "a"},\n{"text": "b"},\n')
    with refused(DataFileError, path, "line", cure="JSON list"):
        read(path)


@pytest.mark.parametrize(
    "value",
    ["[" * 100_000, "1" * 5_000],
    ids=["nested deeper than can be read", "a number longer than can be read"],
)
def test_json_beyond_what_python_can_parse_is_refused_with_its_line(
    write: Write, value: str
) -> None:
    path = write("a.jsonl", f'{{"text": "a"}}\n{{"text": "b", "more": {value}}}\n')
    with refused(DataFileError, path, "line 2", cure="JSON"):
        read(path)


# Parquet in detail


@pytest.mark.parametrize("keep", [0, 3, 100, -1])
def test_a_parquet_file_that_is_cut_off_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", "b"]}), path)
    path.write_bytes(path.read_bytes()[:keep])
    with refused(DataFileError, path, "Parquet", cure="cut off"):
        read(path)


def test_strings_in_parquet_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    # Found by flipping single bytes of a file: pages carry no checksum, and Arrow does not look
    # into strings.
    path = tmp_path / "a.parquet"
    strings = pa.Array.from_buffers(pa.string(), 2, pa.array([b"fine", b"caf\xe9"]).buffers())
    pq.write_table(pa.table({"text": strings}), path)
    with refused(DataFileError, path, cure="again"):
        read(path)


def test_a_column_that_is_there_twice_in_parquet_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table([pa.array(["a"]), pa.array(["b"])], names=["body", "body"]), path)
    with refused(DataFileError, path, "body", cure="name of its own"):
        read(path)


@pytest.mark.parametrize(
    "data",
    [
        pd.DataFrame([["a", "b"]], columns=["body", "body"]),
        pa.table([pa.array(["a"]), pa.array(["b"])], names=["body", "body"]),
    ],
    ids=["pandas", "arrow"],
)
def test_a_column_that_is_there_twice_in_memory_is_refused_by_name(data: Any) -> None:
    with refused(DataFileError, "body", cure="name of its own"):
        read(data)


# Sources that give nothing


@pytest.mark.parametrize(
    "name", ["no-such.csv", "./no-such", "/no/such/folder", "a/b/c", "no-such.parquet"]
)
def test_a_file_that_does_not_exist_is_refused_by_its_path(name: str) -> None:
    with refused(DataFileError, name, "does not exist", cure="Check the path"):
        read(name)


def test_one_missing_file_of_several_is_named(write: Write) -> None:
    with refused(DataFileError, "no-such.csv", cure="Check the path"):
        read([write("a.csv", "text\na\n"), "no-such.csv"])


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json"])
@pytest.mark.parametrize(
    "content", [b"", b"\n \n", b"\xef\xbb\xbf"], ids=["no bytes", "blank", "only a mark"]
)
def test_an_empty_file_is_refused(write: Write, name: str, content: bytes) -> None:
    path = write(name, content)
    with refused(DataFileError, path, "empty", cure="at least one row"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", "text,label\n"), ("a.tsv", "text\tlabel"), ("a.json", "[]")]
)
def test_a_file_without_rows_is_refused(write: Write, name: str, content: str) -> None:
    path = write(name, content)
    with refused(DataFileError, path, "no rows", cure="at least one row"):
        read(path)


def test_parquet_without_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), path)
    with refused(DataFileError, path, "no rows", cure="at least one row"):
        read(path)


@pytest.mark.parametrize("data", [[], {}, {"text": []}, pd.DataFrame({"text": []})], ids=repr)
def test_data_in_memory_without_rows_are_refused(data: Any) -> None:
    with refused(DataFileError, "no rows", cure="at least one row"):
        read(data)


def test_columns_in_memory_of_different_lengths_are_refused() -> None:
    with refused(DataFileError, "'text': 2", "'label': 1", cure="one length"):
        read({"text": ["a", "b"], "label": [1]})


@pytest.mark.parametrize("name", ["a.xlsx", "a.txt", "data"])
def test_a_file_of_an_unknown_format_is_refused(write: Write, name: str) -> None:
    path = write(name, "text\na\n")
    with refused(DataFileError, path, cure=".parquet"):
        read(path)


def test_a_folder_without_data_is_refused(tmp_path: Path, write: Write) -> None:
    write("images/a.png", b"\x89PNG")
    with refused(DataFileError, tmp_path, "neither", cure=".parquet"):
        read(tmp_path)


def test_an_unknown_split_is_refused_with_those_there_are(with_splits: Path) -> None:
    with refused(DataFileError, with_splits, "'dev'", "train, test", cure=f"{with_splits}:train"):
        read(f"{with_splits}:dev")


def test_a_split_of_a_data_set_without_splits_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    _reviews(["a"], [0]).save_to_disk(folder)
    with refused(DataFileError, folder, "no splits", "'train'", cure=f"Give it as {folder}"):
        read(f"{folder}:train")


@pytest.mark.parametrize("name", ["state.json", "data-00000-of-00001.arrow"])
def test_a_damaged_saved_data_set_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "saved"
    _reviews(["a"], [0]).save_to_disk(folder)
    (folder / name).write_bytes(b"{")
    with refused(DataFileError, folder, cure="save_to_disk"):
        read(folder)


def test_a_text_given_in_place_of_a_source_is_refused() -> None:
    # A path this long makes the file system itself complain.
    with refused(DataFileError, "a long text", cure="Check the path"):
        read("a long text " * 500)


# Data sets of the hub


@pytest.fixture
def contacts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Attempts to reach the network, all of which fail."""
    attempts: list[Any] = []

    def fail(*arguments: Any, **_: Any) -> None:
        attempts.append(arguments)
        msg = "no network in tests"
        raise OSError(msg)

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr(socket.socket, "connect", fail)
    return attempts


@pytest.mark.parametrize(
    "source", ["no-such-data-set", "no-one/nothing", "no-one/nothing@config:train"]
)
def test_a_hub_name_without_network_is_refused_at_once(contacts: list[Any], source: str) -> None:
    with refused(DataFileError, source, "hub", cure="need a network"):
        read(source)
    assert contacts == []  # waiting for a network that is not there is what would be slow


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """Calls for data sets of a hub that gives every one two splits."""
    calls: list[tuple[str, str | None]] = []

    def load(name: str, config: str | None = None) -> datasets.DatasetDict:
        calls.append((name, config))
        return datasets.DatasetDict({"train": _reviews(["a"], [0]), "test": _reviews(["b"], [1])})

    monkeypatch.setattr(datasets, "load_dataset", load)
    return calls


@pytest.mark.parametrize(
    ("source", "call", "texts"),
    [
        ("movies", ("movies", None), ["a", "b"]),
        ("some/movies:test", ("some/movies", None), ["b"]),
        ("some/movies@en", ("some/movies", "en"), ["a", "b"]),
        ("some/movies@en:train", ("some/movies", "en"), ["a"]),
    ],
)
def test_a_hub_name_may_carry_a_configuration_and_a_split(
    hub: list[tuple[str, str | None]], source: str, call: tuple[str, str | None], texts: list[str]
) -> None:
    assert read(source).columns["text"] == texts
    assert hub == [call]


@pytest.mark.usefixtures("hub")
def test_an_unknown_split_of_a_hub_data_set_is_refused() -> None:
    with refused(DataFileError, "movies", "'dev'", "train, test", cure="movies:train"):
        read("movies:dev")


def test_a_failure_of_the_hub_without_a_message_is_refused_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(*_: Any) -> None:
        raise TimeoutError

    monkeypatch.setattr(datasets, "load_dataset", load)
    with refused(DataFileError, "movies", "hub", cure="need a network"):
        read("movies")
