"""Labels: which types come out of which writing. Types are compared, since 1 == True == 1.0."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from featcache.data.labels import labels_of
from featcache.data.read import read
from featcache.errors import ColumnError, LabelError
from tests.data import refused


def _labels(*data: Any, column: str = "label") -> list[list[Any]]:
    tables = [read(source) for source in data]
    return [
        list(part) for part in labels_of(tables, column, [range(table.n_rows) for table in tables])
    ]


def _csv(folder: Path, *labels: str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_text("text,label\n" + "".join(f"t,{label}\n" for label in labels), "utf-8")
    return path


def _same(found: list[list[Any]], *expected: list[Any]) -> None:
    assert found == list(expected)
    assert [[type(label) for label in part] for part in found] == [
        [type(label) for label in part] for part in expected
    ]


# Types


@pytest.mark.parametrize(
    "labels", [["a", "b"], [0, -1], [True, False], ["1", "2"], ["01", "True"], [2**80, 1]], ids=str
)
def test_labels_with_a_type_keep_it(labels: list[Any]) -> None:
    _same(_labels({"label": labels}), labels)


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        (["1", "-2", "0", "10"], [1, -2, 0, 10]),
        (["true", "False", "TRUE"], [True, False, True]),
        (["1", "other"], ["1", "other"]),
        (["true", "maybe"], ["true", "maybe"]),
        (["1", "true"], ["1", "true"]),
        (["01", "2"], ["01", "2"]),
        (["+1", "2"], ["+1", "2"]),
        (["1.0", "2.0"], ["1.0", "2.0"]),
        (["1e3", "2"], ["1e3", "2"]),
        (["1_000", "2"], ["1_000", "2"]),
        (["\u0661", "2"], ["\u0661", "2"]),
        (["yes", "no"], ["yes", "no"]),
        (["NA", "null", "nan"], ["NA", "null", "nan"]),
        ([" a", "a "], [" a", "a "]),
    ],
    ids=str,
)
def test_csv_labels_are_integers_or_booleans_only_where_all_are_written_so(
    tmp_path: Path, written: list[str], labels: list[Any]
) -> None:
    _same(_labels(_csv(tmp_path, *written)), labels)


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        (["1", "2"], ["2", "1"], ([1, 2], [2, 1])),
        (["1", "other"], ["1", "2"], (["1", "other"], ["1", "2"])),
        (["1", "2"], ["02"], (["1", "2"], ["02"])),
        (["true", "false"], ["True"], ([True, False], [True])),
        (["true", "false"], ["maybe"], (["true", "false"], ["maybe"])),
    ],
    ids=str,
)
def test_the_type_of_csv_labels_is_decided_over_all_files_together(
    tmp_path: Path, train: list[str], test: list[str], expected: tuple[list[Any], list[Any]]
) -> None:
    files = _csv(tmp_path, *train, name="train.csv"), _csv(tmp_path, *test, name="test.csv")
    _same(_labels(*files), *expected)
    _same(_labels(list(files)), [*expected[0], *expected[1]])


def test_csv_labels_agree_with_integers_of_a_file_that_has_types(tmp_path: Path) -> None:
    _same(_labels(_csv(tmp_path, "1", "2"), {"label": [2, 1]}), [1, 2], [2, 1])


@pytest.mark.parametrize("written", ["1", "true"])
def test_csv_labels_agree_with_strings_of_a_file_that_has_types(
    tmp_path: Path, written: str
) -> None:
    _same(
        _labels(_csv(tmp_path, written), {"label": [written, "other"]}),
        [written],
        [written, "other"],
    )


def test_labels_of_whole_numbers_that_became_floats_are_integers() -> None:
    _same(_labels({"label": [1.0, 2.0, -0.0]}), [1, 2, 0])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([1, 2], dtype=np.int8), [1, 2]),
        (np.array([1.0, 2.0], dtype=np.float32), [1, 2]),
        (np.array([True, False]), [True, False]),
        (np.array(["a", "b"]), ["a", "b"]),
        (pd.array([1, 2], dtype="Int64"), [1, 2]),
        (pd.Categorical(["a", "b"]), ["a", "b"]),
    ],
    ids=["int8", "float32", "bool", "str", "pandas Int64", "pandas category"],
)
def test_scalars_of_numpy_and_pandas_become_python_s_own(labels: Any, expected: list[Any]) -> None:
    _same(_labels({"label": labels}), expected)


def test_strings_of_numpy_agree_with_python_s_own() -> None:
    _same(_labels({"label": ["a", "b"]}, {"label": np.array(["b"])}), ["a", "b"], ["b"])


def test_labels_are_those_of_the_rows_asked_for() -> None:
    tables = [read({"label": ["a", None, "b"]}), read({"label": ["c", "d"]})]
    assert labels_of(tables, "label", [[2, 0], [1]]) == [["b", "a"], ["d"]]


# Refusals


@pytest.mark.parametrize(
    ("labels", "kinds"),
    [
        (["a", 1], "int and str"),
        ([True, 1], "bool and int"),
        ([True, "a"], "bool and str"),
        ([1.0, "1"], "int and str"),
    ],
    ids=str,
)
def test_labels_of_several_types_are_refused(labels: list[Any], kinds: str) -> None:
    with refused(LabelError, "'label'", kinds, cure="one type"):
        _labels({"label": labels})


def test_csv_integers_beside_booleans_of_a_file_that_has_types_are_refused(tmp_path: Path) -> None:
    with refused(LabelError, "'label'", "bool and int", cure="one type"):
        _labels(_csv(tmp_path, "1", "0"), {"label": [True]})


def test_missing_csv_labels_are_refused_with_their_rows(tmp_path: Path) -> None:
    first = _csv(tmp_path, "a", "b", name="a.csv")
    second = _csv(tmp_path, "a", "", "b", "  ", name="b.csv")
    with refused(LabelError, "2 labels are", "'label'", second, "2, 4", cure="Label these rows"):
        _labels([first, second])


MISSING = {
    "None": [1, None],
    "NaN": [1.0, float("nan")],
    "empty": ["a", ""],
    "blank": ["a", " \t"],
    "NumPy NaN": np.array([1, np.nan], dtype=np.float32),
    "pandas NA": pd.array([1, None], dtype="Int64"),
    "pandas string": pd.array(["a", None], dtype="string"),
}


@pytest.mark.parametrize("labels", MISSING.values(), ids=MISSING)
def test_every_library_s_missing_label_is_refused_with_its_row(labels: Any) -> None:
    with refused(
        LabelError, "1 label is missing", "'label'", "the data, row 2", cure="Label these rows"
    ):
        _labels({"label": labels})


def test_many_missing_labels_are_counted_and_the_first_rows_shown() -> None:
    with refused(LabelError, "1,200 labels are missing", "2, 3, 4, 5, 6", cure="Label these rows"):
        _labels({"label": ["a", *[None] * 1200]})


@pytest.mark.parametrize(
    "value",
    [2.5, float("inf"), ["a"], {"a": 1}, dt.date(2024, 1, 2), b"a", np.array([1, 2])],
    ids=repr,
)
def test_a_label_that_is_no_string_integer_or_boolean_is_refused_with_its_row(value: Any) -> None:
    with refused(
        LabelError, "the data, row 2", "'label'", repr(value), cure="strings, integers or booleans"
    ):
        _labels({"label": [1, value]})


def test_a_label_column_that_one_file_lacks_is_refused_with_those_it_has(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    path.write_text("text,kind\na,b\n", "utf-8")
    with refused(ColumnError, path, "'label'", "'text', 'kind'", cure="--label"):
        _labels({"label": ["a"]}, path)
