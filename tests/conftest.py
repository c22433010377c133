"""Tiny real models and real tokenizers, made once a run and without a network.

Sizes differ from one another (2 layers, width 32, 37 in between, 4 heads), so that a swapped axis
cannot pass.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# The same examples in every run, and no limit on their time: workers share the cores.
settings.register_profile("featcache", deadline=None, derandomize=True)
settings.load_profile("featcache")

# Before any library reads them: no test may reach a hub or be steered by the user's settings.
for _name in [
    name for name in os.environ if name.startswith(("HF_", "FEATCACHE_", "TRANSFORMERS_"))
]:
    del os.environ[_name]
os.environ["HF_HUB_OFFLINE"] = "1"
# Tiny products gain nothing from threads and lose much where the cores are shared.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

WORDS = tuple(
    (
        "the a cat dog sat ran on under mat rug quickly slowly good bad fine awful film book "
        "plot was is not very never always again happy sad red blue old new house tree river "
        "we you they saw read liked hated and but"
    ).split()
)


def sentences(n: int, seed: int = 0, longest: int = 12) -> list[str]:
    """`n` different texts of 1 to `longest` known words, their lengths mixed."""
    import numpy as np

    generator = np.random.default_rng(seed)
    texts: dict[str, None] = {}
    while len(texts) < n:
        count = int(generator.integers(1, longest + 1))
        words = [WORDS[place] for place in generator.integers(0, len(WORDS), count)]
        texts[" ".join(words)] = None
    return list(texts)


def _word_tokenizer(special: list[str]) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=special[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def save_encoder(folder: Path, seed: int = 0, **config: Any) -> Path:
    """A 2-layer BERT of width 32 with a word tokenizer that adds [CLS] and [SEP]."""
    import torch
    from tokenizers import processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    tokenizer = _word_tokenizer(["[UNK]", "[PAD]", "[CLS]", "[SEP]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # the library leaves it untyped
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=48,
    ).save_pretrained(folder)
    settings = {
        "vocab_size": len(WORDS) + 4,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 37,
        "max_position_embeddings": 48,
        "pad_token_id": 1,
        **config,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BertModel(BertConfig(**settings)).save_pretrained(folder)
    return folder


def save_decoder(folder: Path, seed: int = 0) -> Path:
    """A 2-layer Llama with grouped heads, and no padding token, as Llama and GPT-2 have none."""
    import torch
    from tokenizers import processors
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = _word_tokenizer(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # the library leaves it untyped
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(WORDS) + 3,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=41,
        max_position_embeddings=40,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture(scope="session")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_decoder(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def minilm() -> Path:
    from featcache.demo.encoder import minilm

    return minilm()


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


Run = Callable[..., Any]


@pytest.fixture
def run(in_folder: Path) -> Run:  # noqa: ARG001 - it makes the folder the current one
    """Runs the command line in this process, in an empty folder.

    `run("ls", "--json")` gives click's Result.
    """
    from click.testing import CliRunner

    from featcache.cli import main

    def invoke(*arguments: object, stdin: str | None = None) -> Any:
        return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)

    return invoke


def everything_below(folder: Path) -> dict[str, bytes]:
    """All files below a folder with their bytes, to see that nothing changed."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
