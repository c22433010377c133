"""Data piece by piece: whatever the size of the pieces, the rows are those of reading whole."""

from __future__ import annotations

import csv
import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featcache.data.read import read
from featcache.data.stream import Stream, stream
from featcache.data.table import Table, concatenate
from featcache.errors import DataFileError
from tests.data import refused

CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
ROWS = st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=23)


@pytest.fixture(autouse=True)
def _quiet_datasets() -> None:
    datasets.disable_progress_bars()


def rows_of(table: Table) -> list[tuple[Any, ...]]:
    """Each row with its place."""
    columns = [table.columns[name] for name in ("text", "label")]
    return [
        (*table.place(row), *(column[row] for column in columns)) for row in range(table.n_rows)
    ]


def check(data: Stream, size: int, expected: list[tuple[Any, ...]]) -> None:
    """The pieces hold the rows in order, at their places, and going through them again gives the
    same.
    """
    for _ in range(2):
        tables = list(data.chunks(size))
        assert [table.n_rows for table in tables[:-1]] == [size] * (len(tables) - 1)
        assert 0 < tables[-1].n_rows <= size
        assert [row for table in tables for row in rows_of(table)] == expected
    assert len(concatenate(tables).parts) == len({place for place, *_ in expected}), (
        "pieces become one part again"
    )


def save_csv(path: Path, rows: list[tuple[str, str]]) -> None:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    path.write_bytes(out.getvalue().encode())


def save_jsonl(path: Path, rows: list[tuple[str, str]]) -> None:
    lines = (json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in rows)
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())


def save_json(path: Path, rows: list[tuple[str, str]]) -> None:
    path.write_text(json.dumps([{"text": text, "label": label} for text, label in rows]))


def save_parquet(path: Path, rows: list[tuple[str, str]]) -> None:
    columns = {name: [row[place] for row in rows] for place, name in enumerate(("text", "label"))}
    pq.write_table(pa.table(columns), path, row_group_size=5)


SAVED = {"csv": save_csv, "jsonl": save_jsonl, "json": save_json, "parquet": save_parquet}


@pytest.mark.parametrize("suffix", SAVED)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=ROWS, more=ROWS, size=st.integers(1, 30))
def test_files_give_the_same_rows_at_the_same_places_in_pieces_of_any_size(
    suffix: str, rows: list[tuple[str, str]], more: list[tuple[str, str]], size: int, tmp_path: Path
) -> None:
    one, two = tmp_path / f"one.{suffix}", tmp_path / f"two.{suffix}"
    SAVED[suffix](one, rows)
    SAVED[suffix](two, more)
    expected = [
        (str(path), number, *row)
        for path, part in ((one, rows), (two, more))
        for number, row in enumerate(part, 1)
    ]
    check(stream([one, two]), size, expected)


def _iterable(rows: list[tuple[str, str]]) -> datasets.IterableDataset:
    def generate() -> Iterator[dict[str, str]]:
        for text, label in rows:
            yield {"text": text, "label": label}

    return datasets.IterableDataset.from_generator(generate)


MADE: dict[str, Callable[[dict[str, list[str]]], Any]] = {
    "lists": lambda columns: columns,
    "arrays": lambda columns: {
        name: np.array(values, dtype=object) for name, values in columns.items()
    },
    "generators": lambda columns: {name: iter(values) for name, values in columns.items()},
    "pandas": pd.DataFrame,
    "arrow": pa.table,
    "data set": datasets.Dataset.from_dict,
    "streaming data set": lambda columns: _iterable(list(zip(*columns.values(), strict=True))),
}


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("size", [1, 3, 10, 11])
def test_data_in_memory_give_the_same_rows_in_pieces_of_any_size(kind: str, size: int) -> None:
    rows = [(f"text {number}", f"label {number % 3}") for number in range(10)]
    data = MADE[kind]({"text": [row[0] for row in rows], "label": [row[1] for row in rows]})
    check(stream(data), size, [("the data", number, *row) for number, row in enumerate(rows, 1)])


def test_splits_of_a_streaming_data_set_are_named() -> None:
    data = datasets.IterableDatasetDict(
        {"train": _iterable([("a", "x"), ("b", "y")]), "test": _iterable([("c", "z")])}
    )
    expected = [
        ("the data:train", 1, "a", "x"),
        ("the data:train", 2, "b", "y"),
        ("the data:test", 1, "c", "z"),
    ]
    check(stream(data), 2, expected)
    assert read(data).columns["text"] == ["a", "b", "c"]


def test_a_streaming_data_set_that_breaks_off_is_an_error_of_the_data() -> None:
    def generate() -> Iterator[dict[str, str]]:
        yield {"text": "a"}
        msg = "the connection was lost"
        raise ConnectionError(msg)

    with refused(DataFileError, "the data", "the connection was lost", cure="same command"):
        read(datasets.IterableDataset.from_generator(generate))


def test_a_pipe_is_read_once_and_can_be_gone_through_again(tmp_path: Path) -> None:
    path = tmp_path / "pipe.csv"
    os.mkfifo(path)
    feeder = threading.Thread(target=path.write_text, args=("text,label\na,x\nb,y\n",))
    feeder.start()
    check(stream(path), 1, [(str(path), 1, "a", "x"), (str(path), 2, "b", "y")])
    feeder.join()


def test_a_column_that_only_later_pieces_have_is_none_before(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{}\n{"label": 1}\n')
    tables = list(stream(path).chunks(1))
    assert [table.columns for table in tables] == [{"text": ["a"]}, {}, {"label": [1]}]
    assert [table.place(0) for table in tables] == [(str(path), 1), (str(path), 2), (str(path), 3)]
    assert concatenate(tables).columns == {"text": ["a", None, None], "label": [None, None, 1]}


# -- what is wrong far down in a file --------------------------------------------------------------

FAR = 40_000  # beyond the first piece


@pytest.mark.parametrize(
    ("name", "before", "line", "wrong", "told"),
    [
        ("a.csv", "text,label\n", "fine,x\n", b"a,b,c\n", "3 fields where the header has 2"),
        ("a.csv", "text,label\n", "fine,x\n", b'"open,x\n', "never closed"),
        ("a.tsv", "text\tlabel\n", "fine\tx\n", b"caf\xe9\tx\n", "byte 0xe9 is not utf-8"),
        ("a.jsonl", '{"text": "head"}\n', '{"text": "fine"}\n', b'{"text": }\n', "Expecting value"),
        ("a.jsonl", '{"text": "head"}\n', '{"text": "fine"}\n', b"[1]\n", "list where an object"),
        (
            "a.jsonl",
            '{"text": "head"}\n',
            '{"text": "fine"}\n',
            b'{"text": "caf\xe9"}\n',
            "byte 0xe9 is not utf-8",
        ),
    ],
)
def test_an_error_far_down_is_told_with_its_line(
    tmp_path: Path, name: str, before: str, line: str, wrong: bytes, told: str
) -> None:
    path = tmp_path / name
    path.write_bytes(before.encode() + line.encode() * (FAR - 1) + wrong + line.encode() * 3)
    with refused(DataFileError, path, f"line {FAR + 1}", told, cure=""):
        read(path)


def test_a_wrong_byte_in_the_middle_of_a_character_that_spans_two_blocks_is_told_with_its_line(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.csv"
    head = "text\n" + "x" * ((1 << 20) - 7) + "\n"
    assert len(head) == (1 << 20) - 1
    path.write_bytes(
        head.encode() + b"\xe2\x82(\n"
    )  # two bytes of a euro sign: one before the border, one after
    with refused(DataFileError, path, "line 3", "byte 0xe2", cure="--encoding"):
        read(path)


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "shift_jis", "utf-8-sig"]
)
def test_encodings_of_several_bytes_are_decoded_across_blocks(
    tmp_path: Path, encoding: str
) -> None:
    texts = ["日本語" * 200 + str(number) for number in range(2_000)]
    path = tmp_path / "a.csv"
    path.write_bytes(("text\n" + "\n".join(texts) + "\n").encode(encoding))
    assert read(path, encoding=encoding).columns["text"] == texts


def test_utf_16_without_a_mark_is_in_the_order_of_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text\ncafé\n".encode("utf-16")[2:])
    assert read(path, encoding="utf-16").columns["text"] == ["café"]
