"""Families of models, each built tiny and real: batched states equal those of each text run alone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import featcache
from featcache.backbone.facts import facts_of
from featcache.backbone.packed import why_not_packed
from featcache.cache.memo import Memo
from tests.backbone.test_pooling import all_states, load, one_by_one
from tests.conftest import WORDS, sentences

TEXTS = sentences(9, seed=6, longest=20)
V = len(WORDS) + 4
ENCODER: dict[str, Any] = {
    "vocab_size": V, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37,
    "max_position_embeddings": 48, "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3,
}  # fmt: skip
DECODER: dict[str, Any] = {**ENCODER, "num_key_value_heads": 2, "head_dim": 8}
FAMILIES: dict[str, tuple[str, dict[str, Any], bool, int | None]] = {
    # name: (model type, configuration, decoder?, longest text)
    "bert": ("bert", ENCODER, False, 48),
    "albert": ("albert", {**ENCODER, "embedding_size": 24}, False, 48),
    "xlm-roberta": ("xlm-roberta", {**ENCODER, "max_position_embeddings": 50}, False, 48),
    "deberta-v2": ("deberta-v2", {**ENCODER, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}, False, 48),
    "modernbert": ("modernbert", {**ENCODER, "num_hidden_layers": 2, "local_attention": 8}, False, 48),
    "llama": ("llama", DECODER, True, 48),
    "qwen2": ("qwen2", DECODER, True, 48),
    "gemma": ("gemma", DECODER, True, 48),
    "gemma2": ("gemma2", {**DECODER, "sliding_window": 8}, True, 48),
    "phi": ("phi", DECODER, True, 48),
    "gpt-neox": ("gpt_neox", ENCODER, True, 48),
    "opt": ("opt", {**ENCODER, "ffn_dim": 37, "word_embed_proj_dim": 32}, True, 48),
    "distilbert": ("distilbert", {**ENCODER, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 37}, False, 48),
    "roberta": ("roberta", {**ENCODER, "max_position_embeddings": 50}, False, 48),
    "electra": ("electra", {**ENCODER, "embedding_size": 24}, False, 48),
    "mpnet": ("mpnet", {**ENCODER, "max_position_embeddings": 50}, False, 48),
    "t5": ("t5", {"vocab_size": V, "d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 37, "d_kv": 8}, False, 48),
    "gpt2": ("gpt2", {"vocab_size": V, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 48}, True, 48),
    "mistral": ("mistral", {**ENCODER, "num_key_value_heads": 2, "sliding_window": 8}, True, 48),
    "qwen3": ("qwen3", {**ENCODER, "num_key_value_heads": 2, "head_dim": 8}, True, 48),
}


def build(name: str, encoder: Path, folder: Path) -> Path:
    """A seeded model of the family beside the tiny encoder's tokenizer."""
    kind, settings, _, _ = FAMILIES[name]
    shutil.copytree(encoder, folder)
    (folder / "model.safetensors").unlink()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(kind, **settings)
        model = transformers.AutoModel.from_config(config)  # type: ignore[no-untyped-call]  # the library leaves it untyped
        model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_s_batched_states_equal_those_of_texts_run_alone(name: str, encoder: Path, tmp_path: Path) -> None:
    folder = build(name, encoder, tmp_path / name)
    facts = facts_of(folder, Memo())
    assert (facts.n_layers, facts.hidden_size, facts.decoder, facts.limit) == (2, 32, *FAMILIES[name][2:])
    model = load(folder)
    np.testing.assert_allclose(all_states(model, TEXTS, 80), one_by_one(model, TEXTS), atol=2e-5)
    done = featcache.extract(TEXTS, backbone=folder, cache=tmp_path / "cache", dtype="float32")
    assert done.poolings == (("mean", "last") if facts.decoder else ("mean", "cls"))


PADDED = {
    "mpnet": "it has no attention interface",
    "deberta-v2": "it has no attention interface",
    "t5": "its position bias grows with the square of a pack",
}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_family_is_packed_and_gives_the_same_states_or_says_why_not(
    name: str, dtype: str, encoder: Path, tmp_path: Path
) -> None:
    model = load(build(name, encoder, tmp_path / name), dtype)
    why = why_not_packed(model, 48)
    assert why == PADDED.get(name)
    if why is None:
        packed = all_states(replace(model, packed=True), TEXTS, 80)
        expected = one_by_one(model, TEXTS)
        if dtype == "float32":
            np.testing.assert_allclose(packed, expected, atol=2e-5)
        else:
            norms = np.linalg.norm(packed, axis=-1) * np.linalg.norm(expected, axis=-1)
            cosine = (packed * expected).sum(axis=-1) / np.maximum(norms, 1e-9)
            assert cosine.min() > 0.995


@pytest.mark.parametrize("head", ["BertForSequenceClassification", "BertForMaskedLM"])
def test_a_checkpoint_with_a_head_gives_the_states_of_its_base_model(head: str, encoder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(encoder, tmp_path / "with-head"))
    whole = getattr(transformers, head).from_pretrained(encoder)
    whole.save_pretrained(folder)
    np.testing.assert_allclose(all_states(load(folder), TEXTS, 80), all_states(load(encoder), TEXTS, 80), atol=1e-6)
