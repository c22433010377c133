"""Loading a frozen backbone: any AutoModel, in evaluation mode and without gradients.

Of a model with an encoder and a decoder, the encoder is the backbone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from featcache.backbone.budget import CANDIDATES, Budget
from featcache.backbone.fingerprint import foreign_code
from featcache.backbone.model import Backbone
from featcache.errors import BackboneError, InputError, MachineError, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


_KEPT_BYTES = 31 << 20  # of freed memory that the process keeps instead of giving it back


def load_backbone(
    folder: Path,
    *,
    dtype: str,
    device: str,
    truncation_side: str = "right",
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> Backbone:
    """Load the model and tokenizer of a folder for a frozen pass.

    Args:
        folder: The model's folder.
        dtype: float32, bfloat16 or float16.
        device: cpu, cuda or mps.
        truncation_side: Where texts are cut, "right" or "left".
        allow_pickle: Whether weights may be pickles.
        trust_remote_code: Whether Python code in the folder may run.

    Returns:
        The backbone, not yet packed or compiled.

    Raises:
        BackboneError: Transformers cannot load the folder; the weights lack part of the backbone
            (Transformers would fill it with random numbers and only warn); or code of another
            repository would run.
        MachineError: Memory runs out.
    """
    import torch
    from transformers import AutoModel

    from featcache.backbone.blocks import find_blocks

    tokenizer = load_tokenizer(
        folder, truncation_side=truncation_side, trust_remote_code=trust_remote_code
    )
    with _loading(folder):
        model, loading = AutoModel.from_pretrained(
            str(folder.absolute()),
            dtype=getattr(torch, dtype),
            trust_remote_code=trust_remote_code,
            use_safetensors=None if allow_pickle else True,
            output_loading_info=True,
        )
    _check_complete(folder, loading["missing_keys"])
    if model.config.is_encoder_decoder:
        model = model.get_encoder()
    try:
        model = model.to(device).eval().requires_grad_(requires_grad=False)
    except torch.OutOfMemoryError as error:
        msg = f"the model in {folder} does not fit into the memory of the device {device!r}"
        raise MachineError(
            msg, cure="Use --dtype bfloat16, a smaller model or --device cpu."
        ) from error
    if device == "cpu":
        # glibc gives freed blocks larger than any freed before back to the system, which then
        # clears every page of the next one: a fifth of the time of a pass in batches of 8,192
        # tokens. After this it keeps them (up to 32 MiB).
        torch.empty(_KEPT_BYTES, dtype=torch.uint8)
    return Backbone(
        model=model,
        tokenizer=tokenizer,
        padding=_padding_id(tokenizer),
        device=device,
        blocks=find_blocks(model, device),
        budget=Budget(CANDIDATES[device]),
    )


def _check_complete(folder: Path, missing: Iterable[str]) -> None:
    """Refuse weights that lack tensors of the backbone. missing: names of tensors."""
    # The pooler sits on top of the last state and is never used here; base checkpoints often lack
    # it.
    lacking = sorted(name for name in missing if "pooler" not in name)
    if lacking:
        msg = (
            f"the weights in {folder} lack {len(lacking)} tensors of the backbone, "
            f"such as {lacking[0]}"
        )
        cure = "Give weights that belong to this config.json; random ones say nothing."
        raise BackboneError(msg, cure=cure)


def load_tokenizer(
    folder: Path, *, truncation_side: str = "right", trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a folder alone.

    Args:
        folder: The model's folder.
        truncation_side: Where texts are cut, "right" or "left".
        trust_remote_code: Whether Python code in the folder may run.

    Returns:
        The tokenizer.

    Raises:
        BackboneError: It cannot be loaded, or code of another repository would run.
    """
    foreign = foreign_code(folder) if trust_remote_code else None
    if foreign is not None:
        msg = (
            f"{folder} takes its code from another repository ({foreign}), "
            "where it can change unnoticed"
        )
        cure = (
            "Copy those Python files into the folder, and take `owner/name--` out of its auto_map."
        )
        raise BackboneError(msg, cure=cure)
    from transformers import AutoTokenizer

    with _loading(folder):
        # Absolute: a relative path that reads like a hub id (google/umt5-small) can get another
        # tokenizer class.
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            str(folder.absolute()), trust_remote_code=trust_remote_code
        )
    tokenizer.truncation_side = truncation_side
    return tokenizer


def check_max_length(max_length: int, tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that a maximum length leaves room for a text beside the special tokens.

    Args:
        max_length: Tokens of the longest text, special tokens included.
        tokenizer: The tokenizer that adds the special tokens.

    Raises:
        InputError: There is no room.
    """
    n_special = tokenizer.num_special_tokens_to_add()
    if max_length <= n_special:
        msg = f"--max-length {max_length} leaves no room: {n_special} tokens are special ones"
        raise InputError(msg, cure=f"Give at least {n_special + 1}.")


@contextlib.contextmanager
def _loading(folder: Path) -> Iterator[None]:
    """Turn every error of the body into one that says that the folder cannot be loaded."""
    with _quiet_transformers():
        try:
            yield
        except Exception as error:
            # Transformers, safetensors and pickle raise whatever they meet in a damaged folder
            # (IndexError for a pickle of three bytes); to the user all of it means the same.
            msg = f"the model in {folder} cannot be loaded: {first_line(error)}"
            raise BackboneError(
                msg, cure="Check that AutoModel.from_pretrained loads this folder."
            ) from error


def _padding_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """A token id for masked positions; any will do where there is no padding token (GPT-2)."""
    for name in ("pad_token_id", "eos_token_id", "unk_token_id"):
        token = getattr(tokenizer, name, None)
        if isinstance(token, int):
            return token
    return 0


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Silence the library's progress bars and warnings; what matters in them is checked here."""
    from transformers.utils import logging

    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # the library leaves it untyped
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # as above
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]  # as above
