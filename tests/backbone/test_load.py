"""What may be a backbone, what is refused, and what makes two of them the same."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import featcache
from featcache.backbone.device import cpu_flags, resolve_device, resolve_dtype
from featcache.backbone.facts import facts_of
from featcache.backbone.fingerprint import Fingerprint, find_backbone, fingerprint
from featcache.backbone.load import load_backbone
from featcache.cache.memo import Memo
from featcache.errors import BackboneError, MachineError
from tests.conftest import save_encoder, sentences


def copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def test_a_frozen_backbone_has_no_gradients_and_no_dropout(encoder: Path) -> None:
    model = load_backbone(encoder, dtype="float32", device="cpu").model
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_facts_are_those_of_the_configuration(encoder: Path, decoder: Path) -> None:
    memo = Memo()
    facts = facts_of(encoder, memo)
    assert (facts.n_layers, facts.hidden_size, facts.limit, facts.decoder) == (2, 32, 48, False)
    assert facts_of(encoder, memo) == facts  # from memory
    facts = facts_of(decoder, memo)
    assert (facts.n_layers, facts.hidden_size, facts.limit, facts.decoder) == (2, 24, 40, True)


def test_roberta_has_fewer_positions_than_its_table(tmp_path: Path, encoder: Path) -> None:
    folder = copy(encoder, tmp_path / "roberta")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "model_type": "roberta", "max_position_embeddings": 50})
    )
    assert facts_of(folder, Memo()).limit == 48  # padding_idx is 1: positions start at 2


def _rename_config(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    noise = {
        "_name_or_path": "elsewhere",
        "transformers_version": "9",
        "architectures": ["X"],
        "id2label": {"0": "a"},
    }
    (folder / "config.json").write_text(json.dumps({**config, **noise}))


def _rename_tokenizer(folder: Path) -> None:
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps({**settings, "name_or_path": "elsewhere"})
    )


def _add_readme(folder: Path) -> None:
    (folder / "README.md").write_text("a card")


def _change_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.1.output.dense.bias"] += 0.5
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _change_config(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-5}))


def _change_vocabulary(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"cat"', '"cot"'))


def _change_tokenizer_settings(folder: Path) -> None:
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "do_lower_case": True}))


@pytest.mark.parametrize("change", [_rename_config, _rename_tokenizer, _add_readme])
def test_names_versions_and_cards_are_not_identity(
    encoder: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    folder = copy(encoder, tmp_path / "other-name")
    change(folder)
    assert fingerprint(folder, Memo()) == fingerprint(encoder, Memo())


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (_change_weights, "weights"),
        (_change_config, "config"),
        (_change_vocabulary, "tokenizer"),
        (_change_tokenizer_settings, "tokenizer"),
    ],
)
def test_whatever_changes_a_feature_is_identity(
    encoder: Path, tmp_path: Path, change: Callable[[Path], None], field: str
) -> None:
    folder = copy(encoder, tmp_path / "tiny-bert")
    change(folder)
    mine, theirs = fingerprint(folder, Memo()), fingerprint(encoder, Memo())
    assert [
        name for name in Fingerprint.__annotations__ if getattr(mine, name) != getattr(theirs, name)
    ] == [field]


def test_weights_that_change_under_the_memo_are_hashed_again(encoder: Path, tmp_path: Path) -> None:
    import os
    import time

    folder, memo = copy(encoder, tmp_path / "tiny-bert"), Memo()
    old = time.time() - 100
    os.utime(folder / "model.safetensors", (old, old))
    before = fingerprint(folder, memo)
    _change_weights(folder)
    os.utime(folder / "model.safetensors", (old, old))  # as a careful copy would leave it
    assert fingerprint(folder, memo).weights != before.weights


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _bad_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _no_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _pickled_weights(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _lost_part(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}'
    )


def _own_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "auto_map": {"AutoModel": "modeling.M"}})
    )
    (folder / "modeling.py").write_text("raise SystemExit('ran')")


@pytest.mark.parametrize(
    ("spoil", "what", "cure"),
    [
        (_no_config, "has no config.json", "save_pretrained"),
        (_bad_config, "cannot be read as JSON", "Download the model again"),
        (_no_tokenizer, "has no tokenizer", "tokenizer.save_pretrained"),
        (_no_weights, "holds no weights", "save it with save_pretrained"),
        (
            _pickled_weights,
            r"only as a pickle \(pytorch_model.bin\), which can run code",
            "--allow-pickle",
        ),
        (
            _lost_part,
            "lacks the weights file model-00001-of-00002.safetensors",
            "Download the model again",
        ),
        (_own_code, r"brings Python code of its own \(modeling.py\)", "--trust-remote-code"),
    ],
)
def test_a_folder_that_is_no_backbone_is_refused(
    encoder: Path, tmp_path: Path, spoil: Callable[[Path], None], what: str, cure: str
) -> None:
    folder = copy(encoder, tmp_path / "spoilt")
    spoil(folder)
    with pytest.raises(BackboneError, match=what) as caught:
        fingerprint(folder, Memo())
    assert str(folder) in caught.value.what
    assert cure in caught.value.cure
    assert caught.value.exit_code == 2


def test_pickled_weights_load_when_the_user_says_so(encoder: Path, tmp_path: Path) -> None:
    folder = copy(encoder, tmp_path / "pickled")
    _pickled_weights(folder)
    assert fingerprint(folder, Memo(), allow_pickle=True).weights
    assert load_backbone(folder, dtype="float32", device="cpu", allow_pickle=True).model is not None


def test_weights_that_lack_part_of_the_backbone_are_refused(encoder: Path, tmp_path: Path) -> None:
    """Transformers fills the gap with random numbers and only warns."""
    folder = copy(encoder, tmp_path / "partial")
    weights = {
        name: value
        for name, value in load_file(folder / "model.safetensors").items()
        if "layer.1." not in name
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        BackboneError, match=r"lack 16 tensors of the backbone, such as encoder\.layer\.1"
    ):
        load_backbone(folder, dtype="float32", device="cpu")


def test_cut_off_weights_are_refused(encoder: Path, tmp_path: Path) -> None:
    folder = copy(encoder, tmp_path / "cut")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(BackboneError, match="cannot be loaded") as caught:
        load_backbone(folder, dtype="float32", device="cpu")
    assert caught.value.exit_code == 2


def test_a_missing_folder_and_an_unknown_hub_id_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"the model folder .*nothing does not exist"):
        find_backbone(tmp_path / "nothing")
    with pytest.raises(BackboneError, match="the hub gave no such model"):
        find_backbone("nobody/nothing")


def test_a_space_s_name_is_not_its_identity(encoder: Path, tmp_path: Path) -> None:
    twin = save_encoder(tmp_path / "a" / "tiny-bert", seed=0)
    other = save_encoder(tmp_path / "b" / "tiny-bert", seed=1)
    assert fingerprint(twin, Memo()) == fingerprint(encoder, Memo())
    assert fingerprint(other, Memo()).weights != fingerprint(encoder, Memo()).weights


def test_devices_that_are_not_there_are_refused() -> None:
    assert resolve_device("cpu") == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(MachineError, match="'cuda' is not available") as caught:
            resolve_device("cuda")
        assert "--device cpu" in caught.value.cure


@pytest.fixture
def with_flags_read_again() -> Iterator[None]:
    cpu_flags.cache_clear()
    yield
    cpu_flags.cache_clear()


@pytest.mark.usefixtures("with_flags_read_again")
def test_bfloat16_is_chosen_only_where_it_is_native(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert resolve_dtype("float16", "cpu") == "float16"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    if torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        assert resolve_dtype("auto", "cpu") == ("bfloat16" if native else "float32")


@pytest.mark.usefixtures("with_flags_read_again")
@pytest.mark.skipif(platform.system() != "Linux", reason="oneDNN's limit is heeded on Linux")
def test_bfloat16_is_not_chosen_where_onednn_would_emulate_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert resolve_dtype("auto", "cpu") == "float32"


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    """Before the forward pass: on an accelerator the error would come late and poison
    the process.
    """
    model = save_encoder(tmp_path / "small", vocab_size=20)
    with pytest.raises(BackboneError, match=r"makes token \d+, and the model knows 20 tokens"):
        featcache.extract(sentences(30), backbone=model, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
