"""Every input that changes a feature misses when it changes; what changes none hits.

Each case is one small change of a real tiny model or of the request, shown end to end: the features
of one run lie in the cache, the change is made, and the next run must find nothing of them. Where
the change is of the model's folder, the features themselves are compared too, so that no case tests
an input that does not matter.
"""

from __future__ import annotations

import ast
import json
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import pre_tokenizers

import featcache
from featcache.backbone.fingerprint import fingerprint
from featcache.backbone.load import load_backbone
from featcache.cache.contract import FORMAT, Contract
from featcache.cache.folder import contracts_in
from featcache.cache.memo import Memo
from featcache.data.keys import row_keys
from featcache.errors import BackboneError
from featcache.features.serving import widest
from tests.conftest import Run, save_encoder

# Upper case, punctuation, unknown words, one text longer than the model: each change below shows in
# one of them.
TEXTS = [
    "The cat sat on a mat",
    "the cat, always happy!",
    "CAT dog",
    "a dog ran . under zebra",
    "cat dog " * 30 + "happy",
]


def extract(backbone: Path, cache: Path, **options: Any) -> featcache.Extraction:
    request = {"dtype": "float32", "trust_remote_code": True, **options}
    return featcache.extract(
        {"text": request.pop("texts", TEXTS)}, backbone=backbone, cache=cache, **request
    )


def states(done: featcache.Extraction, cache: Path) -> NDArray[np.float32]:
    """Features of the last layer, (texts, poolings x H)."""
    space = featcache.open_space(done.space, cache=cache)
    views = [space.features(TEXTS, layer=done.layers[-1], pooling=name) for name in done.poolings]
    return np.concatenate(views, axis=1)


def copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


# -- changes of a model's folder -------------------------------------------------------------------


def edit(name: str, **changes: Any) -> Callable[[Path], None]:
    """A change of keys of a JSON file."""

    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def one_weight(folder: Path, file: str = "model.safetensors") -> None:
    path = folder / file
    weights, size = load_file(path), path.stat().st_size
    name = next(one for one in sorted(weights) if one.endswith("layer.0.output.dense.bias"))
    weights[name][0] += 0.5
    save_file(weights, path, metadata={"format": "pt"})
    assert path.stat().st_size == size


def tokenizer_file(**parts: Any) -> Callable[[Path], None]:
    return edit("tokenizer.json", **parts)


def another_word_order(folder: Path) -> None:
    path = folder / "tokenizer.json"
    words = json.loads(path.read_text())
    ids = words["model"]["vocab"]
    ids["cat"], ids["dog"] = ids["dog"], ids["cat"]
    path.write_text(json.dumps(words))


def template(first: str) -> dict[str, Any]:
    """A post-processor that puts another token first."""
    pieces = [
        {"SpecialToken": {"id": first, "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ]
    ids = {"[CLS]": 2, "[SEP]": 3}
    tokens = {first: {"id": first, "ids": [ids[first]], "tokens": [first]}}
    return {
        "type": "TemplateProcessing",
        "single": pieces,
        "pair": pieces,
        "special_tokens": tokens,
    }


def added_token(folder: Path) -> None:
    path = folder / "tokenizer.json"
    words = json.loads(path.read_text())
    words["added_tokens"].append(
        {
            "id": 9,
            "content": "zebra",
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": False,
        }
    )
    path.write_text(json.dumps(words))


MODEL_CHANGES: dict[str, Callable[[Path], None]] = {
    "one value of the weights": one_weight,
    "layer_norm_eps": edit("config.json", layer_norm_eps=0.1),
    "hidden_act": edit("config.json", hidden_act="relu"),
    "num_attention_heads": edit("config.json", num_attention_heads=8),
    "is_decoder": edit("config.json", is_decoder=True),
    "a normalizer": tokenizer_file(normalizer={"type": "Lowercase"}),
    "the pre-tokenizer": tokenizer_file(pre_tokenizer={"type": "WhitespaceSplit"}),
    "the special tokens' template": tokenizer_file(post_processor=template("[SEP]")),
    "ids of words": another_word_order,
    "an added token": added_token,
    "truncation_side": edit("tokenizer_config.json", truncation_side="left"),
    "extra special tokens": edit("tokenizer_config.json", extra_special_tokens=["cat sat"]),
}


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights large enough for every setting to show, and embeddings for a few words more than
    there are.
    """
    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    return save_encoder(folder, vocab_size=64, initializer_range=0.2)


@pytest.fixture(scope="session")
def first_run(
    encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, featcache.Extraction]:
    """A cache with the features of the unchanged encoder, to be copied."""
    cache = tmp_path_factory.mktemp("inputs") / "cache"
    return cache, extract(encoder, cache)


@pytest.mark.parametrize("change", MODEL_CHANGES.values(), ids=MODEL_CHANGES.keys())
def test_each_input_from_the_model_s_folder_misses(
    encoder: Path,
    first_run: tuple[Path, featcache.Extraction],
    tmp_path: Path,
    change: Callable[[Path], None],
) -> None:
    cache, one = copy(first_run[0], tmp_path / "cache"), first_run[1]
    folder = copy(encoder, tmp_path / encoder.name)
    change(folder)
    two = extract(folder, cache)
    assert (two.hits, two.computed) == (0, len(TEXTS))
    assert two.space != one.space
    assert np.abs(states(one, cache) - states(two, cache)).max() > 1e-3, (
        "the change does not matter"
    )
    assert extract(encoder, cache).space == one.space


@pytest.mark.parametrize(
    "change",
    [
        {"max_length": 8},
        {"max_length": 47},
        {"dtype": "bfloat16"},
        {"dtype": "float16"},
        {"pool": "mean,cls,max"},
        {"pool": "last"},
    ],
    ids=str,
)
def test_each_option_of_the_contract_misses(
    encoder: Path,
    first_run: tuple[Path, featcache.Extraction],
    tmp_path: Path,
    change: dict[str, Any],
) -> None:
    cache = copy(first_run[0], tmp_path / "cache")
    two = extract(encoder, cache, **change)
    assert (two.hits, two.computed) == (0, len(TEXTS))
    assert two.space != first_run[1].space


def test_more_layers_than_a_space_has_miss(encoder: Path, tmp_path: Path) -> None:
    one = extract(encoder, tmp_path, layers="1")
    two = extract(encoder, tmp_path, layers="1,2")
    assert (two.hits, two.computed) == (0, len(TEXTS))
    assert two.space != one.space


def test_a_tokenizer_made_of_word_files_misses_when_one_of_them_changes(tmp_path: Path) -> None:
    """Without tokenizer.json: vocab.txt and, beside it, special_tokens_map.json and
    added_tokens.json.
    """
    folder, cache = save_encoder(tmp_path / "words", vocab_size=64), tmp_path / "cache"
    ids: dict[str, int] = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(sorted(ids, key=lambda word: ids[word])) + "\n")
    edit("tokenizer_config.json", tokenizer_class="BertTokenizer")(folder)
    seen = [extract(folder, cache)]
    (folder / "added_tokens.json").write_text(json.dumps({"zebra": 9}))
    seen.append(extract(folder, cache))
    (folder / "special_tokens_map.json").write_text(json.dumps({"cls_token": "[SEP]"}))
    seen.append(extract(folder, cache))
    text = (folder / "vocab.txt").read_text()
    (folder / "vocab.txt").write_text(
        text.replace("\ncat\n", "\n#\n").replace("\ndog\n", "\ncat\n")
    )
    seen.append(extract(folder, cache))
    edit("tokenizer_config.json", do_lower_case=False)(folder)
    seen.append(extract(folder, cache))
    assert [done.hits for done in seen] == [0] * 5
    assert len({done.space for done in seen}) == 5


@pytest.mark.parametrize("setting", ["add_prefix_space", "add_bos_token"])
def test_what_a_setting_puts_before_a_text_counts(tmp_path: Path, setting: str) -> None:
    """Settings that tokenizers obey whose words are in vocab.json and merges.txt, as GPT-2's."""
    folder, cache = save_encoder(tmp_path / "letters", vocab_size=300), tmp_path / "cache"
    (folder / "tokenizer.json").unlink()
    letters = ["<|endoftext|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    (folder / "vocab.json").write_text(
        json.dumps({letter: number for number, letter in enumerate(letters)})
    )
    (folder / "merges.txt").write_text("#version: 0.2\n")
    settings = {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<|endoftext|>", setting: False}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    one = extract(folder, cache)
    edit("tokenizer_config.json", **{setting: True})(folder)
    two = extract(folder, cache)
    assert two.hits == 0
    assert np.abs(states(one, cache) - states(two, cache)).max() > 1e-3


def sharded(folder: Path) -> list[Path]:
    """The folder's weights in several files with an index."""
    from transformers import AutoModel

    AutoModel.from_pretrained(folder).save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink()
    return sorted(folder.glob("model-*.safetensors"))


def test_each_shard_of_the_weights_counts(encoder: Path, tmp_path: Path) -> None:
    folder, cache = copy(encoder, tmp_path / "shards"), tmp_path / "cache"
    parts = sharded(folder)
    assert len(parts) > 1
    spaces = [extract(folder, cache).space]
    for part in parts:
        weights = load_file(part)
        name = next(one for one in sorted(weights) if weights[one].is_floating_point())
        weights[name] += 0.25
        save_file(weights, part, metadata={"format": "pt"})
        done = extract(folder, cache)
        assert done.hits == 0
        spaces.append(done.space)
    assert len(set(spaces)) == len(parts) + 1


def test_weights_named_by_the_configuration_are_the_ones_that_count(
    encoder: Path, tmp_path: Path
) -> None:
    """`transformers_weights` makes Transformers load another file than model.safetensors."""
    folder, cache = copy(encoder, tmp_path / "named"), tmp_path / "cache"
    edit("config.json", transformers_weights="other.safetensors")(folder)
    shutil.copy(folder / "model.safetensors", folder / "other.safetensors")
    one = extract(folder, cache)
    one_weight(folder, "other.safetensors")
    two = extract(folder, cache)
    assert two.hits == 0
    assert np.abs(states(one, cache) - states(two, cache)).max() > 1e-3


def test_pickled_weights_count_by_content(encoder: Path, tmp_path: Path) -> None:
    folder, cache = copy(encoder, tmp_path / "pickled"), tmp_path / "cache"
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    one = extract(folder, cache, allow_pickle=True)
    weights["encoder.layer.1.output.dense.bias"] += 0.5
    torch.save(weights, folder / "pytorch_model.bin")
    two = extract(folder, cache, allow_pickle=True)
    assert (two.hits, two.space != one.space) == (0, True)


@pytest.mark.parametrize("name", ["tokenizer", "config"])
def test_files_named_for_newer_libraries_count(encoder: Path, tmp_path: Path, name: str) -> None:
    """`fast_tokenizer_files` and `configuration_files` replace tokenizer.json and config.json."""
    folder, cache = copy(encoder, tmp_path / "versions"), tmp_path / "cache"
    newer = shutil.copy(folder / f"{name}.json", folder / f"{name}.4.0.0.json")
    if name == "config":
        edit("config.json", configuration_files=["config.4.0.0.json"])(folder)
        change = edit(Path(newer).name, layer_norm_eps=0.1)
    else:
        edit("tokenizer_config.json", fast_tokenizer_files=["tokenizer.4.0.0.json"])(folder)
        change = edit(Path(newer).name, normalizer={"type": "Lowercase"})
    one = extract(folder, cache)
    change(folder)
    two = extract(folder, cache)
    assert two.hits == 0
    assert np.abs(states(one, cache) - states(two, cache)).max() > 1e-3


# -- code that comes with a model ------------------------------------------------------------------

MODEL_CODE = """
from transformers import BertModel

class Own(BertModel):
    def forward(self, *arguments, **options):
        output = super().forward(*arguments, **options)
        output.hidden_states = tuple(one * FACTOR for one in output.hidden_states)
        return output
"""
TOKENIZER_CODE = """
from transformers import PreTrainedTokenizerFast

class Own(PreTrainedTokenizerFast):
    def __call__(self, text, **options):
        return super().__call__([one.replace("cat", "WORD") for one in text], **options)
"""


def test_code_that_comes_with_a_model_counts(encoder: Path, tmp_path: Path) -> None:
    folder, cache = copy(encoder, tmp_path / "coded_model"), tmp_path / "cache"
    edit("config.json", auto_map={"AutoModel": "own_model.Own"})(folder)
    (folder / "own_model.py").write_text(MODEL_CODE.replace("FACTOR", "2"))
    one = extract(folder, cache)
    (folder / "own_model.py").write_text(MODEL_CODE.replace("FACTOR", "3"))
    two = extract(folder, cache)
    assert two.hits == 0
    np.testing.assert_allclose(states(two, cache), states(one, cache) * 1.5, atol=2e-2)


def test_code_that_comes_with_a_tokenizer_counts_and_needs_trust(
    encoder: Path, tmp_path: Path
) -> None:
    """A model without code of its own can have a tokenizer with some."""
    folder, cache = copy(encoder, tmp_path / "coded_tokenizer"), tmp_path / "cache"
    edit("tokenizer_config.json", auto_map={"AutoTokenizer": [None, "own_tokenizer.Own"]})(folder)
    (folder / "own_tokenizer.py").write_text(TOKENIZER_CODE.replace("WORD", "dog"))
    with pytest.raises(BackboneError, match=r"Python code of its own \(own_tokenizer.py\)"):
        extract(folder, cache, trust_remote_code=False)
    one = extract(folder, cache)
    (folder / "own_tokenizer.py").write_text(TOKENIZER_CODE.replace("WORD", "mat"))
    two = extract(folder, cache)
    assert two.hits == 0
    assert np.abs(states(one, cache) - states(two, cache)).max() > 0.1


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_of_another_repository_is_refused(encoder: Path, tmp_path: Path, name: str) -> None:
    """No file of the folder would tell when it changes. Without the option, the library's own code
    runs.
    """
    folder = copy(encoder, tmp_path / "foreign")
    kind, entry = (
        ("AutoModel", "a/b--own.Own")
        if name == "config.json"
        else ("AutoTokenizer", ["a/b--own.Own", None])
    )
    edit(name, auto_map={kind: entry})(folder)
    with pytest.raises(
        BackboneError, match=r"code from another repository \(a/b--own.Own\)"
    ) as caught:
        load_backbone(folder, dtype="float32", device="cpu", trust_remote_code=True)
    assert "Copy those Python files into the folder" in caught.value.cure


def test_an_adapter_beside_the_weights_is_refused(encoder: Path, tmp_path: Path) -> None:
    """Transformers applies it only where the library peft is installed: nothing in the contract
    could say so.
    """
    folder = copy(encoder, tmp_path / "adapted")
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(BackboneError, match="holds an adapter") as caught:
        extract(folder, tmp_path / "cache")
    assert "merge_and_unload" in caught.value.cure
    assert not (tmp_path / "cache").exists()


# -- files that no tiny model here has -------------------------------------------------------------


def _tokenizer_file_names() -> set[str]:
    """All file names that the tokenizers of the installed Transformers say they read."""
    names: set[str] = set()
    for path in Path(transformers.__file__).parent.glob("models/*/tokenization_*.py"):
        source = path.read_text("utf-8")
        if "VOCAB_FILES_NAMES" not in source:
            continue
        for node in ast.walk(ast.parse(source)):
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.value, ast.Dict)
                and any(
                    isinstance(one, ast.Name) and one.id == "VOCAB_FILES_NAMES"
                    for one in node.targets
                )
            ):
                names |= {
                    str(one.value) for one in node.value.values if isinstance(one, ast.Constant)
                }
    return names


def test_every_file_that_some_tokenizer_of_transformers_reads_is_in_the_contract(
    encoder: Path, tmp_path: Path
) -> None:
    names = _tokenizer_file_names()
    assert {"vocab.txt", "merges.txt", "spiece.model", "tokenizer.json"} <= names
    folder = copy(encoder, tmp_path / "files")
    for name in sorted(names | {"tekken.json", "vocab.bpe", "tokenizer.model.v3", "qwen.tiktoken"}):
        if name in ("tokenizer.json", "tokenizer_config.json"):  # their contents: above
            continue
        before = fingerprint(folder, Memo()).tokenizer
        (folder / name).write_text("first")
        added = fingerprint(folder, Memo()).tokenizer
        (folder / name).write_text("other")
        assert len({before, added, fingerprint(folder, Memo()).tokenizer}) == 3, (
            f"{name} is not hashed"
        )


def test_the_version_that_saved_a_model_counts_where_the_tokenizer_asks_for_it(
    encoder: Path, tmp_path: Path
) -> None:
    """`fix_mistral_regex` is obeyed for models that a library older than 5.0 saved."""
    folder = copy(encoder, tmp_path / "mistral")
    edit("tokenizer_config.json", fix_mistral_regex=True)(folder)
    edit("config.json", transformers_version="4.57.1")(folder)
    before = fingerprint(folder, Memo())
    edit("config.json", transformers_version="5.1.0")(folder)
    assert fingerprint(folder, Memo()).tokenizer != before.tokenizer


# -- what must not miss ----------------------------------------------------------------------------


def touched(folder: Path) -> None:
    for path in folder.iterdir():
        os.utime(path, (1_000_000_000, 1_000_000_000))


def keys_reversed(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(dict(reversed(json.loads(path.read_text()).items())), indent=8))


def weights_written_anew(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def other_files(folder: Path) -> None:
    (folder / "README.md").write_text("a card")
    (folder / "generation_config.json").write_text('{"temperature": 0.1}')
    (folder / "training_args.bin").write_bytes(b"x")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "trainer_state.json").write_text("{}")
    (folder / "notes.py").write_text("print('no code of the model')")
    (folder / "optimizer.pt").write_bytes(b"x")
    (folder / "onnx").mkdir()


HARMLESS: dict[str, Callable[[Path], None]] = {
    "nothing but the folder's name": lambda folder: None,  # noqa: ARG005 - the copy has another name
    "_name_or_path": edit("config.json", _name_or_path="elsewhere", _commit_hash="f00"),
    "transformers_version": edit("config.json", transformers_version="4.1.0"),
    "class names": edit(
        "config.json", id2label={"0": "good", "1": "bad"}, num_labels=2, problem_type="regression"
    ),
    "architectures and stored dtype": edit(
        "config.json", architectures=["BertForMaskedLM"], dtype="bfloat16"
    ),
    "the tokenizer's origin": edit(
        "tokenizer_config.json", name_or_path="elsewhere", chat_template="{{ x }}"
    ),
    "order of keys": keys_reversed,
    "other files": other_files,
    "times": touched,
    "another inode": weights_written_anew,
}


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_changes_no_feature_hits(
    encoder: Path,
    first_run: tuple[Path, featcache.Extraction],
    tmp_path: Path,
    change: Callable[[Path], None],
) -> None:
    cache, one = copy(first_run[0], tmp_path / "cache"), first_run[1]
    folder = copy(encoder, tmp_path / "moved" / "renamed")
    change(folder)
    two = extract(folder, cache, trust_remote_code=False)
    assert (two.space, two.hits, two.computed) == (one.space, len(TEXTS), 0)


def test_a_relative_path_that_reads_like_a_hub_id_changes_no_tokenizer(
    encoder: Path, in_folder: Path
) -> None:
    """Transformers goes by a list of ids (`google/umt5-small`) and compares it with whatever it is
    given.
    """
    folder = copy(encoder, in_folder / "google" / "umt5-small").relative_to(in_folder)
    edit("tokenizer_config.json", tokenizer_class="BertTokenizer")(folder)
    (folder / "vocab.txt").write_text("[UNK]\n[PAD]\n[CLS]\n[SEP]\nthe\ncat\n")
    one = load_backbone(folder, dtype="float32", device="cpu").tokenizer
    folder = folder.rename(in_folder / "google" / "another")
    two = load_backbone(folder, dtype="float32", device="cpu").tokenizer
    assert type(one) is type(two)


def test_order_repeats_files_and_labels_of_the_data_hit(run: Run, encoder: Path) -> None:
    Path("one.jsonl").write_text(
        "".join(json.dumps({"text": text, "label": "a"}) + "\n" for text in TEXTS)
    )
    Path("two.csv").write_text(
        "mood,body\n" + "".join(f'b,"{text}"\n' for text in [*reversed(TEXTS), TEXTS[0]])
    )
    first = run("extract", "one.jsonl", "--backbone", encoder, "--json")
    second = run(
        "extract", "two.csv", "--text", "body", "--backbone", encoder, "--device", "cpu", "--json"
    )
    one, two = json.loads(first.stdout), json.loads(second.stdout)
    assert (one["computed"], two["rows"], two["hits"], two["computed"]) == (5, 6, 5, 0)
    assert one["space"] == two["space"]


def test_rows_that_another_environment_wrote_hit(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Library versions, device, machine and time are provenance: told with each shard, part of no
    contract.
    """
    monkeypatch.setattr(platform, "machine", lambda: "another")
    one = extract(encoder, tmp_path)
    monkeypatch.undo()
    space = featcache.open_space(cache=tmp_path).space
    (shard,) = space.shards
    assert shard.provenance["machine"] == "another"
    assert {"featcache", "torch", "transformers", "tokenizers", "device", "written"} <= set(
        shard.provenance
    )
    assert not set(shard.provenance) & set(json.loads(space.contract.to_json()))
    two = extract(encoder, tmp_path)
    assert (two.space, two.hits, two.computed) == (one.space, len(TEXTS), 0)


# -- any two contracts -----------------------------------------------------------------------------

DIGESTS = st.sampled_from(["a" * 64, "b" * 64])
VALUES = st.recursive(
    st.sampled_from(
        [None, True, False, 0, 1, 1.0, 1e-12, float("inf"), float("nan"), "1", "(not set)", ""]
    ),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xy"), inner, max_size=2)
    ),
    max_leaves=3,
)
CONTRACTS = st.builds(
    Contract,
    weights=DIGESTS,
    config=st.dictionaries(
        st.sampled_from(["model_type", "layer_norm_eps", "rope"]), VALUES, max_size=3
    ),
    tokenizer=DIGESTS,
    code=st.none() | DIGESTS,
    special_tokens=st.booleans(),
    max_length=st.sampled_from([48, 512]),
    truncation_side=st.sampled_from(["left", "right"]),
    dtype=st.sampled_from(["float32", "bfloat16", "float16"]),
    quantization=st.sampled_from([None, "int8"]),
    layers=st.sets(st.integers(0, 2), min_size=1).map(lambda one: tuple(sorted(one))),
    poolings=st.sampled_from([("mean",), ("cls",), ("mean", "cls")]),
    format=st.sampled_from([1, 2]),
)
FIELDS = [field.name for field in fields(Contract)]


@settings(max_examples=300, deadline=None)
@given(
    one=CONTRACTS, other=CONTRACTS, kept=st.sets(st.sampled_from(FIELDS), min_size=len(FIELDS) - 2)
)
def test_two_contracts_share_rows_only_where_nothing_but_views_differs(
    one: Contract, other: Contract, kept: set[str]
) -> None:
    """`kept` fields are made equal, so that one or two differ, as in life; equality is decided by
    the JSON.
    """
    other = replace(other, **{name: getattr(one, name) for name in kept})
    mine, theirs = json.loads(one.to_json()), json.loads(other.to_json())
    unequal = {
        name
        for name in FIELDS
        if json.dumps(mine[name], sort_keys=True) != json.dumps(theirs[name], sort_keys=True)
    }
    assert {name.partition(".")[0] for name in one.differences(other)} == unequal
    assert (one == other) == (one.digest == other.digest) == (not unequal)
    assert set(other.differences(one)) == set(one.differences(other))
    fits = (
        unequal <= {"layers", "poolings"}
        and set(other.layers) <= set(one.layers)
        and set(other.poolings) <= set(one.poolings)
    )
    assert one.holds(other) == fits
    assert widest({Path("space"): one}, other) == (Path("space") if fits else None)
    assert Contract.from_json(one.to_json(), "here") == one


def test_another_format_version_is_never_read_as_this_one(encoder: Path, tmp_path: Path) -> None:
    one = extract(encoder, tmp_path)
    (path,) = contracts_in(tmp_path)
    fields = json.loads((path / "contract.json").read_text())
    (path / "contract.json").write_text(json.dumps({**fields, "format": FORMAT + 1}))
    path.rename(path.with_name("tiny-bert-123456789abc"))
    two = extract(encoder, tmp_path)
    assert (two.hits, two.computed, two.space) == (0, len(TEXTS), one.space)


def test_spaces_that_differ_in_one_field_never_share_a_row(encoder: Path, tmp_path: Path) -> None:
    """Many spaces in one cache, each of one field changed, filled with one text of its own; none
    has another's.
    """
    requests: list[dict[str, Any]] = [
        {},
        {"max_length": 9},
        {"dtype": "bfloat16"},
        {"pool": "max"},
        {"pool": "last"},
        {"layers": "0", "max_length": 8},
    ]
    folders = [encoder] * len(requests)
    for number, change in enumerate(
        (one_weight, edit("config.json", hidden_act="relu"), another_word_order)
    ):
        folder = copy(encoder, tmp_path / str(number) / encoder.name)
        change(folder)
        folders.append(folder)
        requests.append({})
    texts = [f"the cat sat {number}" for number in range(len(requests))]
    for number, (folder, request) in enumerate(zip(folders, requests, strict=True)):
        done = extract(folder, tmp_path / "cache", texts=[texts[number]], **request)
        assert (done.hits, done.computed) == (0, 1)
        space = featcache.open_space(done.space, cache=tmp_path / "cache")
        assert space.has(texts).tolist() == [other == number for other in range(len(texts))]
    assert len(contracts_in(tmp_path / "cache")) == len(requests)
    assert len(row_keys(texts)) == len(texts)
