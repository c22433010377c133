"""Tokens by the short way are those of the tokenizer's own call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from featcache.backbone.batching import _is_plain, tokenize
from tests.conftest import sentences

TEXTS = [
    *sentences(50, seed=2, longest=20),
    "cat",
    "the cat " * 40,
    "unknown words",
    "[CLS] cat [SEP]",
]


class Called(PreTrainedTokenizerFast):
    """Does something of its own when it is called."""

    def __call__(self, text: Any, *arguments: Any, **named: Any) -> Any:
        texts = (
            [one.replace("cat", "dog") for one in text]
            if isinstance(text, list)
            else text.replace("cat", "dog")
        )
        return super().__call__(texts, *arguments, **named)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("max_length", [3, 8, 48])
def test_the_tokens_are_those_of_the_tokenizer_s_own_call(
    kind: str, side: str, max_length: int, request: pytest.FixtureRequest
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(request.getfixturevalue(kind))
    tokenizer.truncation_side = side
    assert _is_plain(tokenizer)
    tokens = tokenize(tokenizer, TEXTS, max_length=max_length)
    expected = tokenizer(TEXTS, truncation=True, max_length=max_length)["input_ids"]
    assert [tokens.row(row).tolist() for row in range(len(TEXTS))] == expected
    whole = [len(tokenizer(text)["input_ids"]) for text in TEXTS]
    assert tokens.truncated.tolist() == [length > max_length for length in whole]
    assert tokens.ids.dtype == tokens.offsets.dtype == np.int64


def test_a_tokenizer_with_a_call_of_its_own_is_called(encoder: Path) -> None:
    tokenizer = Called.from_pretrained(encoder)
    assert not _is_plain(tokenizer)
    tokens = tokenize(tokenizer, ["the cat", "cat " * 60], max_length=8)
    plain = tokenize(AutoTokenizer.from_pretrained(encoder), ["the dog", "dog " * 60], max_length=8)
    np.testing.assert_array_equal(tokens.ids, plain.ids)
    assert tokens.truncated.tolist() == [False, True]


def test_no_text_at_all_gives_no_tokens(encoder: Path) -> None:
    tokens = tokenize(AutoTokenizer.from_pretrained(encoder), [], max_length=8)
    assert (len(tokens.ids), tokens.offsets.tolist(), len(tokens.truncated)) == (0, [0], 0)
