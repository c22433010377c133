"""Families of models, each built tiny and real: batched states equal those of each text
run alone.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import featcache
from featcache.backbone.facts import facts_of
from featcache.cache.memo import Memo
from tests.backbone import page
from tests.backbone.test_pooling import all_states, load
from tests.conftest import WORDS, sentences

TEXTS = sentences(9, seed=6, longest=20)
V = len(WORDS) + 4
ENCODER: dict[str, Any] = {
    "vocab_size": V,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 37,
    "max_position_embeddings": 48,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
DECODER: dict[str, Any] = {**ENCODER, "num_key_value_heads": 2, "head_dim": 8}
GPT_NEO = {
    "num_layers": 2,
    "num_heads": 4,
    "attention_types": [[["global", "local"], 1]],
    "window_size": 8,
}
T5 = {"vocab_size": V, "d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 37, "d_kv": 8}
FAMILIES: dict[str, tuple[str, dict[str, Any], bool, int | None]] = {
    # name: (model type, configuration, decoder?, longest text)
    "bert": ("bert", ENCODER, False, 48),
    "albert": ("albert", {**ENCODER, "embedding_size": 24}, False, 48),
    "xlm-roberta": ("xlm-roberta", {**ENCODER, "max_position_embeddings": 50}, False, 48),
    "deberta-v2": (
        "deberta-v2",
        {**ENCODER, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
        False,
        48,
    ),
    "modernbert": (
        "modernbert",
        {**ENCODER, "num_hidden_layers": 2, "local_attention": 8},
        False,
        48,
    ),
    "llama": ("llama", DECODER, True, 48),
    "qwen2": ("qwen2", DECODER, True, 48),
    "gemma": ("gemma", DECODER, True, 48),
    "gemma2": ("gemma2", {**DECODER, "sliding_window": 8}, True, 48),
    "phi": ("phi", DECODER, True, 48),
    "gpt-neox": ("gpt_neox", ENCODER, True, 48),
    "opt": ("opt", {**ENCODER, "ffn_dim": 37, "word_embed_proj_dim": 32}, True, 48),
    "distilbert": (
        "distilbert",
        {**ENCODER, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 37},
        False,
        48,
    ),
    "roberta": ("roberta", {**ENCODER, "max_position_embeddings": 50}, False, 48),
    "electra": ("electra", {**ENCODER, "embedding_size": 24}, False, 48),
    "mpnet": ("mpnet", {**ENCODER, "max_position_embeddings": 50}, False, 48),
    "t5": ("t5", T5, False, 48),
    "flan-t5": ("t5", {**T5, "feed_forward_proj": "gated-gelu"}, False, 48),
    "gpt2": (
        "gpt2",
        {"vocab_size": V, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 48},
        True,
        48,
    ),
    "mamba": ("mamba", {**ENCODER, "state_size": 4}, True, 48),
    "lfm2": ("lfm2", {**DECODER, "layer_types": ["conv", "full_attention"]}, True, 48),
    "falcon": ("falcon", ENCODER, True, 48),
    "bloom": ("bloom", {**ENCODER, "n_head": 4, "n_layer": 2}, True, 48),
    "gpt-neo": ("gpt_neo", {**ENCODER, **GPT_NEO}, True, 48),
    "camembert": ("camembert", {**ENCODER, "max_position_embeddings": 50}, False, 48),
    "gemma3": ("gemma3_text", {**DECODER, "sliding_window": 8}, True, 48),
    "phi3": ("phi3", {**DECODER, "sliding_window": 8}, True, 48),
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
def test_a_family_runs_as_the_page_of_backbones_says(
    name: str, encoder: Path, tmp_path: Path
) -> None:
    folder = build(name, encoder, tmp_path / name)
    facts = facts_of(folder, Memo())
    assert (facts.n_layers, facts.hidden_size, facts.decoder, facts.limit) == (
        2,
        32,
        *FAMILIES[name][2:],
    )
    found = page.measured(folder)
    assert found.padded <= page.FLOAT32
    if found.why_padded is None:
        assert found.packed is not None
        assert found.packed <= page.FLOAT32
    assert found.cosine >= page.BFLOAT16
    assert page.row(name, found) in page.PAGE.read_text("utf-8").splitlines(), (
        "python -m tests.backbone.page"
    )
    done = featcache.extract(TEXTS, backbone=folder, cache=tmp_path / "cache", dtype="float32")
    assert (done.poolings, done.why_padded) == (
        ("mean", "last" if facts.decoder else "cls"),
        found.why_padded,
    )


def test_the_page_of_backbones_has_no_family_that_is_not_tried() -> None:
    rows = [line for line in page.PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    assert len(rows) == len(FAMILIES) + 2  # and the table's head


HEADS = {
    "bert": ("BertForSequenceClassification", "BertForMaskedLM"),
    "distilbert": ("DistilBertForSequenceClassification",),
    "roberta": ("RobertaForSequenceClassification",),
    "gpt2": ("GPT2LMHeadModel", "GPT2ForSequenceClassification"),
    "llama": ("LlamaForCausalLM", "LlamaForSequenceClassification"),
    "t5": ("T5ForConditionalGeneration",),
}


@pytest.mark.parametrize(
    ("name", "head"), [(name, head) for name, heads in HEADS.items() for head in heads]
)
def test_a_checkpoint_with_a_head_gives_the_states_of_its_base_model(
    name: str, head: str, encoder: Path, tmp_path: Path
) -> None:
    bare = build(name, encoder, tmp_path / "bare")
    folder = Path(shutil.copytree(bare, tmp_path / "with-head"))
    (folder / "model.safetensors").unlink()
    whole = getattr(transformers, head).from_pretrained(bare)
    whole.save_pretrained(folder)
    np.testing.assert_allclose(
        all_states(load(folder), TEXTS, 80), all_states(load(bare), TEXTS, 80), atol=1e-6
    )
