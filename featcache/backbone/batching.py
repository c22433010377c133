"""Tokens of many texts, their order by length, and the padded arrays of a batch.

Sorted by length, a batch holds rows of nearly one length and hardly any padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.errors import TextError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Tokens:
    """Token ids of N texts.

    Attributes:
        ids: The ids of all texts, end to end.
        offsets: Where texts begin, (N + 1,): text i is `ids[offsets[i]:offsets[i + 1]]`.
        truncated: Whether a text lost tokens, bool (N,).
    """

    ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    truncated: NDArray[np.bool_]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text, (N,)."""
        return np.diff(self.offsets)

    def row(self, number: int) -> NDArray[np.int64]:
        """Token ids of one text, (T,)."""
        return self.ids[self.offsets[number] : self.offsets[number + 1]]


def tokenize(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, max_length: int
) -> Tokens:
    """Turn texts into tokens, special ones included, cut on the tokenizer's truncation side.

    Args:
        tokenizer: The model's tokenizer.
        texts: N texts.
        max_length: Most tokens of a text.

    Returns:
        The tokens, in the order of `texts`.

    Raises:
        TextError: The tokenizer makes no token at all of a text.
    """
    if _is_plain(tokenizer):
        encodings = _encodings(tokenizer, list(texts), max_length)
        rows = [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]
    else:
        encoded = tokenizer(
            list(texts),
            truncation=True,
            max_length=max_length,
            add_special_tokens=True,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        encodings = encoded.encodings
        rows = [np.array(ids, dtype=np.int64) for ids in encoded["input_ids"]]
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    if (lengths == 0).any():
        place = int(np.flatnonzero(lengths == 0)[0])
        msg = f"the tokenizer makes no token of the text {texts[place][:40]!r}"
        raise TextError(msg, cure="Take the text out, or put something into it with --template.")
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.concatenate([np.empty(0, dtype=np.int64), *rows])
    return Tokens(ids, offsets, _truncated(tokenizer, encodings, texts, lengths, max_length))


def _is_plain(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether calling the tokenizer is calling its Rust backend and nothing else."""
    from transformers import PreTrainedTokenizerFast

    kind = type(tokenizer)
    return isinstance(tokenizer, PreTrainedTokenizerFast) and all(
        getattr(kind, name) is getattr(PreTrainedTokenizerFast, name)
        for name in ("__call__", "_encode_plus", "set_truncation_and_padding")
    )


def _encodings(tokenizer: Any, texts: list[str], max_length: int) -> Sequence[Any]:
    """What the tokenizer's own call asks of its backend, without the places of tokens in texts."""
    from transformers.tokenization_utils_base import TruncationStrategy
    from transformers.utils.generic import PaddingStrategy

    backend = tokenizer.backend_tokenizer
    tokenizer.set_truncation_and_padding(
        padding_strategy=PaddingStrategy.DO_NOT_PAD,
        truncation_strategy=TruncationStrategy.LONGEST_FIRST,
        max_length=max_length,
        stride=0,
        pad_to_multiple_of=None,
        padding_side=None,
    )
    if backend.encode_special_tokens != tokenizer.split_special_tokens:
        backend.encode_special_tokens = tokenizer.split_special_tokens
    encodings: Sequence[Any] = backend.encode_batch_fast(texts, add_special_tokens=True)
    return encodings


def _truncated(
    tokenizer: PreTrainedTokenizerBase,
    encodings: Sequence[Any] | None,
    texts: Sequence[str],
    lengths: NDArray[np.int64],
    max_length: int,
) -> NDArray[np.bool_]:
    """Which texts lost tokens, bool (N,)."""
    truncated = np.zeros(len(texts), dtype=np.bool_)
    # Only a text of max_length tokens may have had more.
    for row in np.flatnonzero(lengths >= max_length).tolist():
        if encodings is not None:
            truncated[row] = len(encodings[row].overflowing) > 0
        else:
            whole = tokenizer(texts[row], add_special_tokens=True, truncation=False)["input_ids"]
            truncated[row] = len(whole) > lengths[row]
    return truncated


def longest_first(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order rows by falling length: what does not fit in memory shows at once.

    Args:
        lengths: Tokens of each row, (N,).

    Returns:
        Row numbers, (N,).
    """
    return np.argsort(-lengths, kind="stable")


def padded(
    tokens: Tokens, rows: NDArray[np.int64], padding: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lay out a batch with padding on the right.

    On the right, because positions then start at 0 in every family without position ids (padding on
    the left without them is off by 3 to 7 for BERT, GPT-2 and MPNet).

    Args:
        tokens: Tokens of all rows.
        rows: Numbers of the rows of the batch, (B,).
        padding: The token id to fill up with.

    Returns:
        Ids and mask, each int64 (B, T); the mask is 1 for tokens and 0 for padding.
    """
    width = int(tokens.lengths[rows].max())
    ids = np.full((len(rows), width), padding, dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.int64)
    for place, row in enumerate(rows):
        sequence = tokens.row(int(row))
        ids[place, : len(sequence)] = sequence
        mask[place, : len(sequence)] = 1
    return ids, mask
