"""The first pass over data and the second: texts by their keys, places in messages, data that
change in between.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.data.keys import first_of_each, first_rows, row_keys
from featcache.data.stream import stream
from featcache.data.survey import Cursor, Survey
from featcache.data.texts import TextOptions
from featcache.errors import ColumnError, DataFileError, TextError
from tests.data import refused


def survey(data: object, size: int = 3, **how: object) -> Survey:
    return Survey.of(stream(data), TextOptions(**how), chunk_rows=size)  # type: ignore[arg-type]


def save(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@settings(deadline=None)
@given(
    texts=st.lists(st.sampled_from(["a", "b", "c", "d", "", " "]), min_size=1),
    size=st.integers(1, 9),
    data=st.data(),
)
def test_any_of_the_different_texts_are_found_again(
    texts: list[str], size: int, data: st.DataObject
) -> None:
    full = [text for text in texts if text.strip()]
    if not full:
        return
    found = survey({"text": texts}, size, skip_empty=True)
    different = list(dict.fromkeys(full))
    assert (found.n_texts, found.n_empty) == (len(full), len(texts) - len(full))
    np.testing.assert_array_equal(found.keys, row_keys(different))
    assert [found.place(unique) for unique in range(len(different))] == [
        ("the data", texts.index(text) + 1) for text in different
    ]
    cursor = Cursor(found)
    for _ in range(3):  # forwards and back
        chosen = np.array(
            sorted(data.draw(st.sets(st.sampled_from(range(len(different)))))), dtype=np.int64
        )
        assert cursor.take(chosen) == [different[unique] for unique in chosen]
        assert found.texts(chosen) == [different[unique] for unique in chosen]


@settings(deadline=None)
@given(st.lists(st.integers(0, 20)))
def test_first_rows_are_those_of_each_text(numbers: list[int]) -> None:
    keys = row_keys([str(number) for number in numbers])
    np.testing.assert_array_equal(first_rows(keys), first_of_each(keys)[0])


def test_keys_that_share_one_half_are_told_apart() -> None:
    keys = np.zeros((6, 16), dtype=np.uint8)
    keys[:, 15] = [1, 2, 1, 0, 2, 1]  # the first halves are all equal
    first, group = first_of_each(keys)
    assert first.tolist() == [0, 1, 3]
    assert group.tolist() == [0, 1, 0, 2, 1, 0]
    assert first_rows(keys[:, ::-1]).tolist() == [0, 1, 3]


def test_empty_texts_are_counted_over_all_pieces_and_the_first_five_are_named(
    tmp_path: Path,
) -> None:
    one = save(tmp_path / "one.jsonl", ["a", "", "b", "", "c", "", "d"])
    two = save(tmp_path / "two.jsonl", ["", "e", "f", " ", "", "g"])
    with refused(
        TextError,
        "6 texts are empty",
        f"{one}, rows 2, 4, 6; {two}, rows 1, 4, …",
        cure="--skip-empty",
    ):
        survey([one, two])
    found = survey([one, two], skip_empty=True)
    assert [found.place(row)[1] for row in range(7)] == [1, 3, 5, 7, 2, 3, 6]
    with refused(TextError, "all 5 rows are empty", cure="--text"):
        survey({"text": [""] * 5}, skip_empty=True)


def test_the_column_is_chosen_once_and_then_fixed_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"body": "a", "n": 1},
        {"body": "b", "n": 2},
        {"body": "c", "n": 3},
        {"body": "d", "n": "four", "text": "x"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = survey(path)
    assert found.texts(np.arange(4)) == ["a", "b", "c", "d"]
    with refused(ColumnError, "no column 'text'", cure="--text"):
        survey(path, text="text")


def test_a_value_that_is_no_text_is_told_with_its_row_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n' * 7 + '{"text": 5}\n')
    with refused(TextError, f"{path}, row 8", "int 5", cure="--text"):
        survey(path)


@pytest.mark.parametrize(
    ("later", "told"),
    [
        (["a", "b", "c", "d", "X", "f", "g"], "row 5 holds another text"),
        (["a", "b", "c", "d"], "another number of rows"),
        (["a", "b", "c"], "another number of rows"),
        (["a", "b", "c", "d", "", "f", "g"], "other rows are empty"),
    ],
)
def test_a_file_that_changes_between_the_passes_is_an_error(
    tmp_path: Path, later: list[str], told: str
) -> None:
    path = save(tmp_path / "a.jsonl", ["a", "b", "c", "d", "e", "f", "g"])
    found = survey(path)
    save(path, later)
    assert found.texts(np.arange(3)) == ["a", "b", "c"], "the first piece is in memory"
    with refused(DataFileError, f"{path} changed while it was read", told, cure="nobody writes"):
        found.texts(np.arange(7))


def test_pieces_without_a_wanted_text_are_passed_over_and_a_search_can_be_ended() -> None:
    asked: list[int] = []

    def check() -> None:
        asked.append(1)
        if len(asked) > 3:
            raise TimeoutError

    cursor = Cursor(survey({"text": [str(number) for number in range(30)]}), check)
    assert cursor.take(np.array([0, 10])) == ["0", "10"]
    assert len(asked) == 3
    with pytest.raises(TimeoutError):
        cursor.take(np.array([29]))
