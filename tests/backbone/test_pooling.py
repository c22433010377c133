"""Poolings against a plain loop over one unpadded text at a time, and against
sentence-transformers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from featcache.backbone.batching import Tokens, padded, tokenize
from featcache.backbone.forward import pooled_states
from featcache.backbone.load import load_backbone
from featcache.backbone.model import Backbone
from featcache.backbone.pooling import POOL
from featcache.errors import MachineError, TextError
from tests.conftest import sentences

TEXTS = [*sentences(23, seed=3, longest=15), "cat"]
POOLINGS = ("mean", "cls", "last", "max")


def load(folder: Path, dtype: str = "float32") -> Backbone:
    return load_backbone(folder, dtype=dtype, device="cpu")


def all_states(model: Backbone, texts: list[str], token_budget: int) -> NDArray[np.float32]:
    """(N, layers, poolings, H) by the code under test, in the order of the texts."""
    tokens = tokenize(model.tokenizer, texts, max_length=40)
    batches = list(
        pooled_states(model, tokens, layers=(0, 1, 2), poolings=POOLINGS, token_budget=token_budget)
    )
    order = np.argsort(np.concatenate([batch.rows for batch in batches]))
    return np.concatenate([batch.states for batch in batches])[order]


def one_by_one(model: Backbone, texts: list[str]) -> NDArray[np.float32]:
    """The same by a plain loop: each text alone, no padding, no mask."""
    rows = []
    for text in texts:
        ids = torch.tensor([model.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            hidden = model.model(input_ids=ids, output_hidden_states=True).hidden_states
        states = [h[0].float() for h in hidden]
        rows.append([[h.mean(0), h[0], h[-1], h.max(0).values] for h in states])
    return np.array(
        [[[np.asarray(v) for v in layer] for layer in row] for row in rows], dtype=np.float32
    )


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
@pytest.mark.parametrize("token_budget", [1, 60, 4096])
def test_batched_states_equal_those_of_texts_run_alone(
    kind: str, token_budget: int, request: pytest.FixtureRequest
) -> None:
    model = load(request.getfixturevalue(kind))
    np.testing.assert_allclose(
        all_states(model, TEXTS, token_budget), one_by_one(model, TEXTS), atol=1e-5
    )


@pytest.mark.parametrize("name", POOLINGS)
def test_poolings_do_not_depend_on_the_side_of_the_padding(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 7, 5, generator=generator)
    lengths = [7, 4, 1]
    right, left = torch.full((3, 7, 5), 99.0), torch.full((3, 7, 5), -99.0)
    right_mask, left_mask = torch.zeros(3, 7, dtype=torch.long), torch.zeros(3, 7, dtype=torch.long)
    for row, length in enumerate(lengths):
        right[row, :length], left[row, 7 - length :] = hidden[row, :length], hidden[row, :length]
        right_mask[row, :length], left_mask[row, 7 - length :] = 1, 1
    torch.testing.assert_close(POOL[name](right, right_mask), POOL[name](left, left_mask))
    alone = [
        POOL[name](hidden[row : row + 1, :n], torch.ones(1, n)) for row, n in enumerate(lengths)
    ]
    torch.testing.assert_close(POOL[name](right, right_mask), torch.cat(alone))


def test_last_token_states_of_a_decoder_agree_for_left_right_and_no_padding(decoder: Path) -> None:
    """The pooled state of the real model, its batch padded by hand on the left with explicit
    positions.
    """
    model = load(decoder)
    tokens = tokenize(model.tokenizer, TEXTS, max_length=40)
    right = all_states(model, TEXTS, 4096)[:, 2, POOLINGS.index("last")]
    alone = one_by_one(model, TEXTS)[:, 2, POOLINGS.index("last")]
    width = int(tokens.lengths.max())
    ids, mask = (
        torch.zeros(len(TEXTS), width, dtype=torch.long),
        torch.zeros(len(TEXTS), width, dtype=torch.long),
    )
    for row in range(len(TEXTS)):
        length = int(tokens.lengths[row])
        ids[row, width - length :] = torch.from_numpy(tokens.row(row).copy())
        mask[row, width - length :] = 1
    with torch.no_grad():
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        hidden = model.model(
            input_ids=ids, attention_mask=mask, position_ids=positions
        ).last_hidden_state
    left = POOL["last"](hidden, mask).numpy()
    np.testing.assert_allclose(right, alone, atol=1e-5)
    np.testing.assert_allclose(left, alone, atol=1e-5)


def test_the_last_layer_is_after_the_final_norm(decoder: Path) -> None:
    model = load(decoder)
    ids = torch.tensor([model.tokenizer("the cat sat")["input_ids"]])
    with torch.no_grad():
        final = model.model(input_ids=ids).last_hidden_state[0, -1].numpy()
    np.testing.assert_allclose(all_states(model, ["the cat sat"], 64)[0, 2, 2], final, atol=1e-6)


def test_mean_pooling_equals_sentence_transformers_on_minilm(minilm: Path) -> None:
    from sentence_transformers import SentenceTransformer

    texts = [
        "A short one.",
        "Frozen backbones give the same hidden states every epoch. " * 3,
        "x",
        "Wörter, 数 😀!",
    ]
    peer = SentenceTransformer(str(minilm), device="cpu")
    expected = peer.encode(
        texts, output_value="token_embeddings", convert_to_tensor=False, normalize_embeddings=False
    )
    model = load(minilm)
    tokens = tokenize(model.tokenizer, texts, max_length=256)
    states = np.empty((len(texts), 384), dtype=np.float32)
    for batch in pooled_states(model, tokens, layers=(6,), poolings=("mean",)):
        states[batch.rows] = batch.states[:, 0, 0]
    np.testing.assert_allclose(
        states, np.stack([np.asarray(one).mean(0) for one in expected]), atol=1e-4
    )
    unit = states / np.linalg.norm(states, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, peer.encode(texts), atol=1e-4)


def test_padding_is_on_the_right() -> None:
    tokens = Tokens(np.array([5, 6, 7, 8]), np.array([0, 1, 4]), np.zeros(2, dtype=np.bool_))
    ids, mask = padded(tokens, np.array([1, 0]), padding=9)
    assert ids.tolist() == [[6, 7, 8], [5, 9, 9]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    ("n_words", "length", "truncated"), [(3, 5, False), (6, 8, False), (7, 8, True), (30, 8, True)]
)
def test_truncation_is_noticed_exactly(
    encoder: Path, n_words: int, length: int, truncated: bool
) -> None:
    tokens = tokenize(load(encoder).tokenizer, ["cat " * n_words], max_length=8)
    assert tokens.lengths.tolist() == [length]
    assert tokens.truncated.tolist() == [truncated]


def test_a_text_without_any_token_is_named(decoder: Path) -> None:
    tokenizer = load(decoder).tokenizer
    tokenizer.backend_tokenizer.post_processor = __import__(
        "tokenizers"
    ).processors.TemplateProcessing(single="$A")
    with pytest.raises(TextError, match="makes no token of the text ' '"):
        tokenize(tokenizer, ["cat", " "], max_length=8)


def test_memory_that_runs_out_halves_the_batch_and_loses_no_row(encoder: Path) -> None:
    model = load(encoder)
    expected = all_states(model, TEXTS, 4096)
    sizes: list[int] = []

    def small_memory(_module: object, _args: object, kwargs: dict[str, torch.Tensor]) -> None:
        sizes.append(kwargs["input_ids"].numel())
        if sizes[-1] > 70:
            raise torch.OutOfMemoryError

    handle = model.model.register_forward_pre_hook(small_memory, with_kwargs=True)
    np.testing.assert_allclose(all_states(model, TEXTS, 4096), expected, atol=1e-5)
    assert max(sizes) > 70 >= min(sizes)
    handle.remove()

    def no_memory(*_: object) -> None:
        raise torch.OutOfMemoryError

    model.model.register_forward_pre_hook(no_memory)
    with pytest.raises(MachineError, match="alone does not fit"):
        all_states(model, TEXTS, 4096)
