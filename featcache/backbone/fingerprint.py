"""What a model folder contains, by content: the digests that make up its identity.

Nothing is loaded: weights and tokenizer files are hashed, the configuration is read as JSON and
stripped of names and library versions. Two folders with the same bytes are one backbone whatever
they are called, and changed weights under an old name are another.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol

from featcache.errors import BackboneError, first_line

# Keys of config.json that name things, or that depend on the library that wrote the file, or on a
# classification head that the frozen backbone does not have. None of them changes a hidden state.
_CONFIG_NOISE = {
    "_name_or_path",
    "_commit_hash",
    "architectures",
    "dtype",
    "id2label",
    "label2id",
    "model_name",
    "name_or_path",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "problem_type",
    "return_dict",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}
_TOKENIZER_NOISE = {
    "name_or_path",
    "_commit_hash",
    "special_tokens_map_file",
    "tokenizer_file",
    "transformers_version",
    "is_local",
    "local_files_only",
    "chat_template",
}
# Files of which some tokenizer of Transformers is made (its classes' `vocab_files_names`; a test
# compares), and those that it reads beside them. `tokenizer.4.0.json` and its like replace
# tokenizer.json where they are named.
_VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.*.json",
    "vocab*.json",
    "vocab*.txt",
    "*_vocab.json",
    "merges.txt",
    "dict.txt",
    "bpe.codes",
    "vocab.bpe",
    "byte_maps.json",
    "tekken.json",
    "tokenizer.model*",
    "*.model",
    "*.spm",
    "*.tiktoken",
    "*.tokenizer",
)
_BESIDE_VOCABULARIES = (
    "emoji.json",
    "normalizer.json",
    "word_shape.json",
    "word_pronunciation.json",
)
_TOKENIZER_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
# File systems stamp times in steps of up to 2 s (FAT); younger files are not remembered.
_SETTLED_SECONDS = 2.0
_HUB_FILES = (
    "*.json",
    "*.txt",
    "*.model*",
    "*.spm",
    "*.tiktoken",
    "*.codes",
    "*.bpe",
    "*.tokenizer",
    "*.py",
    "*.safetensors",
    "*.safetensors.index.json",
)


class Memory(Protocol):
    """Remembers strings between runs (a digest by path, size, times and inode)."""

    def get(self, key: str) -> str | None: ...
    def put(self, key: str, value: str) -> None: ...


@dataclass(frozen=True)
class Fingerprint:
    """Identity of a model folder. Digests are SHA-256, 64 hex digits.

    Attributes:
        weights: Digest of the weights.
        config: The configuration without names and library versions.
        tokenizer: Digest of the tokenizer's files and settings.
        truncation_side: Where the tokenizer cuts texts, "right" or "left".
        code: Digest of the folder's Python files; None where the model uses none.
    """

    weights: str
    config: dict[str, Any]
    tokenizer: str
    truncation_side: str
    code: str | None


def find_backbone(backbone: str | os.PathLike[str], *, allow_pickle: bool = False) -> Path:
    """Find the folder of a backbone, downloading it from the Hugging Face hub where needed.

    Args:
        backbone: A folder, or an id on the hub.
        allow_pickle: Whether pickled weights are downloaded, too.

    Returns:
        The folder.

    Raises:
        BackboneError: It is neither.
    """
    path = Path(backbone)
    if path.is_dir():
        return path
    name = os.fspath(backbone)
    looks_local = path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1
    if not looks_local:
        return _download(name, allow_pickle=allow_pickle)
    msg = f"the model folder {name} does not exist"
    raise BackboneError(
        msg, cure="Give the folder that holds config.json, the weights and the tokenizer."
    )


def _download(name: str, *, allow_pickle: bool) -> Path:
    """The local folder of a model on the hub."""
    from huggingface_hub import snapshot_download

    patterns = list(_HUB_FILES)
    if allow_pickle:
        patterns.append("*.bin")
    try:
        # Folders inside a repository hold other formats (onnx/, original/); `consolidated`
        # repeats the weights.
        folder = snapshot_download(
            name, allow_patterns=patterns, ignore_patterns=["*/*", "consolidated*"]
        )
    except (OSError, ValueError) as error:
        msg = f"{name} is no folder here, and the hub gave no such model: {first_line(error)}"
        raise BackboneError(msg, cure="Check the path; models by name need a network.") from error
    return Path(folder)


def fingerprint(
    folder: Path, memory: Memory, *, allow_pickle: bool = False, trust_remote_code: bool = False
) -> Fingerprint:
    """Hash what a model folder holds.

    Args:
        folder: The folder.
        memory: Remembers digests of large files.
        allow_pickle: Whether pickled weights are accepted.
        trust_remote_code: Whether Python code of the model is accepted.

    Returns:
        The identity of the model.

    Raises:
        BackboneError: The configuration, the tokenizer or the weights are missing; the weights are
            pickled, or the model brings code, and this was not accepted; or there is an adapter.
    """
    config = read_config(folder)
    _refuse_adapter(folder)
    settings = _tokenizer_settings(folder)
    # A tokenizer can bring code to a model that has none. Imports may reach into folders, too.
    code = sorted(folder.rglob("*.py")) if "auto_map" in config or "auto_map" in settings else []
    if code and not trust_remote_code:
        msg = f"{folder} brings Python code of its own ({code[0].name})"
        raise BackboneError(msg, cure="Read that code; if you trust it, add --trust-remote-code.")
    return Fingerprint(
        weights=_combined(
            [_digest(file, memory) for file in weight_files(folder, allow_pickle=allow_pickle)]
        ),
        config=_identity_of(config, folder),
        tokenizer=_tokenizer_digest(folder, memory, config, settings),
        truncation_side=str(settings.get("truncation_side", "right")),
        code=_combined([_digest(file, memory) for file in code]) if code else None,
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Read `config.json` of a model folder.

    Args:
        folder: The folder.

    Returns:
        The configuration.

    Raises:
        BackboneError: It is missing or cannot be read.
    """
    path = folder / "config.json"
    if not path.exists():
        msg = f"{folder} is not a Transformers model folder: it has no config.json"
        raise BackboneError(msg, cure="Give the folder that `save_pretrained` wrote, or a hub id.")
    return _read_json(path)


def foreign_code(folder: Path) -> str | None:
    """Find a class that a folder takes from Python files of another repository.

    Transformers fetches such code by itself when it may run code, so no file here shows when it
    changes.

    Args:
        folder: The folder.

    Returns:
        The first such class, as `owner/name--file.Class`, or None.
    """
    for settings in (read_config(folder), _tokenizer_settings(folder)):
        mapped = settings.get("auto_map") or {}
        entries = list(mapped.values()) if isinstance(mapped, dict) else mapped
        for entry in entries:
            for reference in entry if isinstance(entry, list) else [entry]:
                if "--" in str(reference):
                    return str(reference)
    return None


def _refuse_adapter(folder: Path) -> None:
    """Refuse a folder with an adapter beside the model."""
    if (folder / "adapter_config.json").exists():
        # Transformers applies it where the library peft is installed, and ignores it elsewhere.
        msg = f"{folder} holds an adapter (adapter_config.json) beside the model"
        cure = (
            "Merge it (peft: model.merge_and_unload().save_pretrained(folder)), "
            "or take adapter_* out of the folder."
        )
        raise BackboneError(msg, cure=cure)


def _identity_of(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A configuration without noise, with the contents of configurations for newer libraries."""
    kept = {name: value for name, value in sorted(config.items()) if name not in _CONFIG_NOISE}
    if isinstance(kept.get("configuration_files"), list):
        kept["configuration_files"] = {
            name: _identity_of(_read_json(folder / name), folder)
            for name in sorted(map(str, kept["configuration_files"]))
            if name != "config.json" and (folder / name).exists()
        }
    return kept


def weight_files(folder: Path, *, allow_pickle: bool) -> list[Path]:
    """Find the files that hold the weights; safetensors go before anything else.

    Args:
        folder: The model's folder.
        allow_pickle: Whether pickled weights are accepted.

    Returns:
        The files, in order of name.

    Raises:
        BackboneError: There are none, some are missing, or they are pickles and not accepted.
    """
    named = read_config(folder).get("transformers_weights")  # another file than the usual one
    candidates = [
        ("model.safetensors", "model.safetensors.index.json"),
        ("pytorch_model.bin", "pytorch_model.bin.index.json"),
    ]
    if named is not None:
        candidates = [(str(named), str(named))]
    for single, index in candidates:
        files = _single_or_indexed(folder, single, index)
        if files:
            _check_weight_files(folder, files, allow_pickle=allow_pickle)
            return files
    usual = "neither model.safetensors nor an index of several"
    msg = f"{folder} holds no weights: {usual if named is None else f'no {named}'}"
    raise BackboneError(msg, cure="Download the model again, or save it with save_pretrained.")


def _single_or_indexed(folder: Path, single: str, index: str) -> list[Path]:
    """The one file of the weights, else those that the index names; empty without either."""
    if not single.endswith(".index.json") and (folder / single).exists():
        return [folder / single]
    if not (folder / index).exists():
        return []
    names = set(_read_json(folder / index).get("weight_map", {}).values())
    return [folder / name for name in sorted(names)]


def _check_weight_files(folder: Path, files: Sequence[Path], *, allow_pickle: bool) -> None:
    """Refuse weights of which files are missing, and pickles that were not allowed."""
    lacking = [file.name for file in files if not file.exists()]
    if lacking:
        msg = f"{folder} lacks the weights file {lacking[0]} that its index names"
        raise BackboneError(msg, cure="Download the model again.")
    if files[0].suffix != ".safetensors" and not allow_pickle:
        msg = (
            f"{folder} has its weights only as a pickle ({files[0].name}), "
            "which can run code when loaded"
        )
        cure = (
            "Save them with save_pretrained (safetensors), "
            "or add --allow-pickle if you trust the file."
        )
        raise BackboneError(msg, cure=cure)


def _tokenizer_settings(folder: Path) -> dict[str, Any]:
    """`tokenizer_config.json` of a model folder, empty where there is none."""
    path = folder / "tokenizer_config.json"
    return _read_json(path) if path.exists() else {}


def _named_like(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """Files whose names match one of the patterns, in order of name."""

    def matches(file: Path) -> bool:
        return any(fnmatchcase(file.name, pattern) for pattern in patterns)

    return [file for file in sorted(folder.iterdir()) if matches(file)]


def _tokenizer_digest(
    folder: Path, memory: Memory, config: Mapping[str, Any], settings: Mapping[str, Any]
) -> str:
    """Digest of all that determines the tokenizer."""
    if not _named_like(folder, _VOCABULARIES):
        msg = f"{folder} has no tokenizer (no tokenizer.json, vocab.txt or the like)"
        cure = "Save the tokenizer into the model's folder: tokenizer.save_pretrained(folder)."
        raise BackboneError(msg, cure=cure)
    files = _named_like(folder, _VOCABULARIES + _BESIDE_VOCABULARIES)
    digests = [f"{file.name}:{_digest(file, memory)}" for file in files if file.is_file()]
    for name in _TOKENIZER_SETTINGS:
        if (folder / name).exists():
            kept = {
                key: value
                for key, value in _read_json(folder / name).items()
                if key not in _TOKENIZER_NOISE
            }
            canonical = json.dumps(kept, sort_keys=True).encode()
            digests.append(f"{name}:{hashlib.sha256(canonical).hexdigest()}")
    # Obeyed only where a library older than 5 saved the configuration.
    if "fix_mistral_regex" in settings:
        digests.append(f"transformers_version:{config.get('transformers_version')}")
    return _combined(digests)


def _read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of the model."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read as JSON: {error}"
        raise BackboneError(msg, cure="Download the model again.") from error
    if not isinstance(value, dict):
        msg = f"{path} does not hold a JSON object"
        raise BackboneError(msg, cure="Download the model again.")
    return value


def _digest(path: Path, memory: Memory) -> str:
    """SHA-256 of a file's bytes, remembered by path, size, mtime, ctime and inode."""
    before = path.stat()
    stamp = (before.st_size, before.st_mtime_ns, before.st_ctime_ns, before.st_ino, before.st_dev)
    name = f"sha256 {path.resolve()} {' '.join(map(str, stamp))}"
    known = memory.get(name)
    if known is not None:
        return known
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if time.time() - max(before.st_mtime, before.st_ctime) > _SETTLED_SECONDS:
        memory.put(name, digest)
    return digest


def _combined(digests: Sequence[str]) -> str:
    """One digest stays itself, so that it can be compared with what `sha256sum` prints."""
    return (
        digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()
    )
