"""Keys: hashlib is the oracle for one text, a plain loop for which rows are the first of their
text.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.data.keys import KEY_BYTES, first_of_each, row_key, row_keys

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        # From coreutils: printf '%s' TEXT | b2sum -l 128
        ("", "cae66941d9efbd404e4d88758ea67670"),
        ("abc", "cf4ab791c62b8d2b2109c90275287816"),
        ("é 漢 🙂", "21d5f4d90316507ea2313b6ef78d2adc"),
    ],
)
def test_the_key_of_a_text_is_the_same_in_every_release(text: str, digest: str) -> None:
    assert row_key(text).hex() == digest


@given(TEXTS)
@settings(derandomize=True, deadline=None)
def test_a_key_is_blake2b_of_16_bytes_over_utf_8(text: str) -> None:
    assert KEY_BYTES == 16
    assert row_key(text) == hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()


@pytest.mark.parametrize(
    ("one", "other"), [("a", "a "), ("a", "A"), ("é", "e\u0301"), ("a\n", "a\r\n"), ("1", "01")]
)
def test_texts_that_differ_in_any_character_have_different_keys(one: str, other: str) -> None:
    assert row_key(one) != row_key(other)


def test_a_lone_surrogate_has_no_key() -> None:
    with pytest.raises(UnicodeEncodeError):
        row_key("\ud83d")


def test_keys_of_several_texts_are_rows_in_their_order() -> None:
    keys = row_keys(["b", "a", "b"])
    assert keys.shape == (3, 16)
    assert keys.dtype == np.uint8
    assert [bytes(key) for key in keys] == [row_key("b"), row_key("a"), row_key("b")]


def test_keys_of_no_texts_have_no_rows() -> None:
    keys = row_keys([])
    assert keys.shape == (0, 16)
    first, group = first_of_each(keys)
    assert first.tolist() == group.tolist() == []


def test_the_first_of_each_text_and_the_groups_are_as_worked_by_hand() -> None:
    first, group = first_of_each(row_keys(["b", "a", "b", "c", "a", "b"]))
    assert first.tolist() == [0, 1, 3]
    assert group.tolist() == [0, 1, 0, 2, 1, 0]


@given(st.lists(st.sampled_from(["", "a", "b", "c", "A", "a "]), max_size=30))
@settings(derandomize=True, deadline=None)
def test_every_row_is_led_back_to_the_first_row_with_its_text(texts: list[str]) -> None:
    keys = row_keys(texts)
    first, group = first_of_each(keys)
    assert first.tolist() == [row for row, text in enumerate(texts) if text not in texts[:row]]
    assert [first[place] for place in group] == [texts.index(text) for text in texts]
    assert np.array_equal(keys[first][group], keys)
    assert first.dtype == group.dtype == np.int64
