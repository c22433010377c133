"""From a table to texts: which column, which template, which rows; expected strings are written
out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from featcache.data.read import read
from featcache.data.texts import TextOptions, Texts, render, text_column
from featcache.errors import ColumnError, TextError
from tests.data import refused


def _render(data: Any, label: str | None = None, **reading: Any) -> Texts:
    return render(read(data), TextOptions(**reading), label=label)


def _csv(folder: Path, content: str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_text(content, "utf-8")
    return path


# Which column


@pytest.mark.parametrize(
    ("columns", "label", "expected"),
    [
        (["title", "sentence", "text"], None, "text"),
        (["title", "sentence"], None, "sentence"),
        (["review"], None, "review"),
        (["review", "label"], None, "review"),
        (["review", "kind"], "kind", "review"),
        (["kind", "review", "label"], "kind", "review"),
        (["text", "sentence"], "text", "sentence"),
        (["sentence", "body"], "sentence", "body"),
    ],
)
def test_the_text_is_text_else_sentence_else_the_only_column_of_strings_that_is_no_label(
    columns: list[str], label: str | None, expected: str
) -> None:
    assert text_column(read({name: ["a", "b"] for name in columns}), None, label) == expected


def test_a_column_that_was_named_is_the_text_whatever_else_there_is() -> None:
    assert text_column(read({"text": ["a"], "body": ["b"]}), "body", None) == "body"


def test_columns_of_other_types_are_not_text() -> None:
    columns = {
        "id": [1],
        "review": ["a"],
        "score": [0.5],
        "flag": [True],
        "tags": [["b"]],
        "nothing": [None],
    }
    assert text_column(read(columns), None, None) == "review"


def test_a_column_of_strings_with_missing_ones_is_text() -> None:
    assert text_column(read({"id": [1, 2], "review": [None, "a"]}), None, None) == "review"


def test_csv_columns_of_numbers_and_booleans_are_not_text(tmp_path: Path) -> None:
    path = _csv(tmp_path, "id,score,flag,gap,review\n1,0.5,true,,7\n2,-1e3,False,3,seven\n")
    assert text_column(read(path), None, None) == "review"


def test_strings_of_digits_are_text_where_the_file_has_types(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1, "review": "1984"}\n', "utf-8")
    assert text_column(read(path), None, None) == "review"


def test_a_csv_column_called_text_may_hold_numbers_only(tmp_path: Path) -> None:
    assert _render(_csv(tmp_path, "id,text\n1,1984\n")).rendered == ["1984"]


@pytest.mark.parametrize("template", [None, "Review: {text}"])
def test_several_columns_that_could_be_the_text_are_refused_by_name(template: str | None) -> None:
    data = {"title": ["a"], "n": [1], "body": ["b"]}
    with refused(ColumnError, "the data", "'title', 'body' could all", "'n'", cure="--text"):
        _render(data, template=template)


def test_csv_without_a_column_of_text_is_refused_with_its_columns(tmp_path: Path) -> None:
    path = _csv(tmp_path, "id,score\n1,2\n")
    with refused(ColumnError, path, "'id', 'score'", "none of them", cure="--text"):
        _render(path)


def test_the_label_alone_is_never_taken_for_the_text() -> None:
    with refused(ColumnError, "'kind'", "none of them", cure="--text"):
        _render({"kind": ["a"], "n": [1]}, label="kind")


def test_a_named_column_that_is_not_there_is_refused_with_those_there_are(tmp_path: Path) -> None:
    path = _csv(tmp_path, "title,body\na,b\n")
    with refused(ColumnError, path, "'review'", "'title', 'body'", cure="--text"):
        _render(path, text="review")


# Which rows


def test_texts_are_rendered_as_they_are_written() -> None:
    texts = ["NA", "null", "01", " padded ", "é 漢 🙂", "a\r\nb", "a\0b"]
    assert _render(texts) == Texts(texts, [0, 1, 2, 3, 4, 5, 6], 0)


EMPTY = ["", " ", "\t\r\n", "\u00a0", None, float("nan")]


@pytest.mark.parametrize("empty", EMPTY, ids=repr)
def test_a_text_that_is_empty_blank_or_missing_is_refused_with_its_row(empty: Any) -> None:
    with refused(TextError, "1 text is", "the data, row 2", cure="--skip-empty"):
        _render({"text": ["a", empty]})


MISSING = {
    "pandas string": pd.DataFrame({"text": pd.array(["a", pd.NA, "b"], dtype="string")}),
    "pandas object": pd.DataFrame({"text": pd.Series(["a", pd.NA, "b"], dtype=object)}),
    "pandas None": pd.DataFrame({"text": ["a", None, "b"]}),
    "pandas category": pd.DataFrame({"text": pd.Categorical(["a", None, "b"])}),
    "NumPy NaN": {"text": ["a", np.float32("nan"), "b"]},
}


@pytest.mark.parametrize("data", MISSING.values(), ids=MISSING)
def test_every_library_s_missing_text_is_missing(data: Any) -> None:
    assert _render(data, skip_empty=True) == Texts(["a", "b"], [0, 2], 1)
    with refused(TextError, "1 text is", "the data, row 2", cure="--skip-empty"):
        _render(data)


def test_rows_are_counted_in_their_own_file(tmp_path: Path) -> None:
    first = _csv(tmp_path, "text,n\na,1\nb,2\n", "a.csv")
    second = _csv(tmp_path, 'text,n\n"two\nlines",1\n,2\nc,3\n  ,4\n', "b.csv")
    with refused(TextError, "2 texts are", f"{second}, rows 2, 4", cure="--skip-empty"):
        _render([first, second])


def test_many_empty_texts_are_counted_and_the_first_rows_shown() -> None:
    with refused(TextError, "1,200 texts are", "rows 2, 3, 4, 5, 6, …", cure="--skip-empty"):
        _render({"text": ["a", *[""] * 1200]})


def test_skipping_goes_on_without_empty_rows_and_counts_them() -> None:
    assert _render({"text": ["a", *EMPTY, "b"]}, skip_empty=True) == Texts(["a", "b"], [0, 7], 6)


def test_texts_that_are_all_empty_are_refused_even_when_skipping(tmp_path: Path) -> None:
    path = _csv(tmp_path, 'text,n\n,1\n" ",2\n')
    with refused(TextError, path, "all 2 rows", cure="--text"):
        _render(path, skip_empty=True)


@pytest.mark.parametrize("text", ["\ud83d", "a\udc00b"], ids=ascii)
@pytest.mark.parametrize("template", [None, "Review: {text}"])
def test_half_a_surrogate_pair_is_refused_with_its_row(
    tmp_path: Path, text: str, template: str | None
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        "".join(json.dumps({"text": value}) + "\n" for value in ["fine", text]), "ascii"
    )
    with refused(TextError, f"{path}, row 2", "surrogate", cure="Repair"):
        _render(path, template=template)


def test_a_whole_surrogate_pair_of_json_is_one_character(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "\\ud83d\\ude42"}\n', "ascii")
    assert _render(path).rendered == ["🙂"]


@pytest.mark.parametrize("value", [3, 0.5, True, b"b", ["b"], {"b": 1}], ids=repr)
def test_a_value_that_is_no_text_is_refused_with_its_row(value: Any) -> None:
    with refused(TextError, "the data, row 2", "'text'", repr(value), cure="--text"):
        _render({"text": ["a", value]})


# Templates


def test_a_template_joins_several_columns() -> None:
    data = {"title": ["T", "U"], "body": ["B", "C"], "n": [1, 2]}
    assert _render(data, template="{title}: {body} ({title})").rendered == ["T: B (T)", "U: C (U)"]


def test_text_in_a_template_is_the_text_column_whatever_its_name() -> None:
    assert _render({"review": ["a"], "n": [3]}, template="Review: {text}").rendered == ["Review: a"]


def test_text_in_a_template_is_the_column_that_was_named() -> None:
    data = {"review": ["a"], "reply": ["b"]}
    assert _render(data, text="reply", template="{review} > {text}").rendered == ["a > b"]


def test_text_in_a_template_is_the_column_of_that_very_name_if_there_is_one() -> None:
    assert _render({"text": ["a"], "reply": ["b"]}, text="reply", template="> {text}").rendered == [
        "> a"
    ]


def test_a_template_writes_numbers_and_booleans_as_python_does() -> None:
    data = {
        "text": ["a"],
        "n": [3],
        "score": [0.5],
        "flag": [True],
        "small": np.array([1], dtype=np.int8),
    }
    assert _render(data, template="{text} {n} {score} {flag} {small}").rendered == [
        "a 3 0.5 True 1"
    ]


def test_csv_values_come_into_a_template_as_written(tmp_path: Path) -> None:
    path = _csv(tmp_path, "id,body\n007, a \n1.50,b\n")
    assert _render(path, template="{id}|{body}|").rendered == ["007| a |", "1.50|b|"]


def test_values_of_a_template_are_not_read_as_templates() -> None:
    assert _render({"text": ["{n} {{ %s"], "n": ["x"]}, template="{text}{n}").rendered == [
        "{n} {{ %sx"
    ]


@pytest.mark.parametrize(
    "missing",
    [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT],
    ids=lambda v: type(v).__name__,
)
def test_a_missing_value_beside_others_is_nothing_in_a_template(missing: Any) -> None:
    assert _render({"text": ["a"], "n": [missing]}, template="{text} {n}|").rendered == ["a |"]


def test_a_row_is_empty_where_all_fields_of_the_template_are() -> None:
    data = {"title": ["T", " ", ""], "body": ["", None, "B"], "n": [1, 2, 3]}
    assert _render(data, template="{title}: {body}", skip_empty=True) == Texts(
        ["T: ", ": B"], [0, 2], 1
    )
    with refused(TextError, "1 text is", "row 2", cure="--skip-empty"):
        _render(data, template="{title}: {body}")


def test_a_column_of_the_template_that_is_not_there_is_refused_with_those_there_are(
    tmp_path: Path,
) -> None:
    path = _csv(tmp_path, "title,body\na,b\n")
    with refused(ColumnError, path, "'headline'", "'title', 'body'", cure="template"):
        _render(path, template="{headline}: {body}")


@pytest.mark.parametrize(
    "value", [["b"], {"b": 1}, b"b", np.array([1, 2])], ids=lambda v: type(v).__name__
)
def test_a_value_of_a_template_that_has_no_plain_writing_is_refused_with_its_row(
    value: Any,
) -> None:
    with refused(TextError, "the data, row 2", "'tags'", type(value).__name__, cure="strings"):
        _render({"text": ["a", "b"], "tags": ["x", value]}, template="{text} {tags}")
