"""A request's backbone, loaded and made ready to run: texts packed or padded, compiled or as it is.

Shared by the verbs that run a model over many texts. What was found out about a model is remembered
in the memo.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from featcache.backbone.device import cpu_flags
from featcache.cache.memo import Memo
from featcache.errors import InputError
from featcache.features.request import BackboneChoice, Resolved

if TYPE_CHECKING:
    from featcache.backbone.model import Backbone

# Fewer tokens than these are through before compiling has paid for itself, where it pays at all
# (docs/decisions.md).
COMPILE_TOKENS = 2_000_000


@dataclass(frozen=True)
class PassOptions:
    """How a model is to be run; the features are the same within rounding.

    attention: "packed", "padded", or "auto", which packs on CPUs; nowhere else has it been
    measured.
    compile: "on", "off", or "auto", which compiles for 2 million tokens or more in bfloat16 on CPUs
    with AMX. What cannot be is not done, and the backbone says why.
    """

    attention: str = "auto"
    compile: str = "auto"

    def check(self) -> None:
        """Raises InputError for words that mean nothing."""
        known = {"attention": ("auto", "packed", "padded"), "compile": ("auto", "on", "off")}
        for name, words in known.items():
            if getattr(self, name) not in words:
                msg = f"--{name} {getattr(self, name)!r} means nothing"
                raise InputError(msg, cure=f"Choose of {', '.join(words)}.")


def load_for(
    resolved: Resolved,
    choice: BackboneChoice,
    memo: Memo,
    running: PassOptions,
    n_texts: int,
    some: Callable[[], Sequence[str]],
) -> Backbone:
    """The model of a request, ready to run.

    n_texts: how many there are to compute.  some: gives a few of them, from which the tokens of all
    are estimated.
    Raises what `backbone.load.load_backbone` raises; InputError where max_length leaves no room for
    a text.
    """
    from featcache.backbone.gelu import fuse
    from featcache.backbone.linear import lay_out
    from featcache.backbone.load import load_backbone

    model = load_backbone(
        resolved.folder,
        dtype=resolved.contract.dtype,
        device=resolved.device,
        truncation_side=resolved.contract.truncation_side,
        allow_pickle=choice.allow_pickle,
        trust_remote_code=choice.trust_remote_code,
    )
    n_special = model.tokenizer.num_special_tokens_to_add()
    if resolved.contract.max_length <= n_special:
        msg = f"--max-length {resolved.contract.max_length} leaves no room: {n_special} tokens are special ones"
        raise InputError(msg, cure=f"Give at least {n_special + 1}.")
    if running.attention == "packed" or (running.attention == "auto" and resolved.device == "cpu"):
        model = _packed(model, resolved, memo)
    if running.compile == "on" or (
        running.compile == "auto" and _pays(model, resolved, n_texts, some)
    ):
        model = _compiled(model, resolved)
    if model.compiled is None:  # which lays weights out in its own way
        lay_out(model.model)
        fuse(model.model)
    return model


def _packed(model: Backbone, resolved: Resolved, memo: Memo) -> Backbone:
    """The model with what a trial said about packing texts; the outcome is remembered, for large
    models are slow.
    """
    contract = resolved.contract
    versions = (version("featcache"), version("torch"), version("transformers"))
    made_of = (contract.weights, contract.config, contract.code)
    facts = (*made_of, contract.max_length, contract.dtype, resolved.device, *versions)
    key = f"packed {hashlib.sha256(repr(facts).encode()).hexdigest()}"
    known = memo.get(key)
    if known is None:
        from featcache.backbone.packed import why_not_packed

        known = why_not_packed(model, contract.max_length) or ""
        memo.put(key, known)
    return replace(model, packed=not known, why_padded=known or None)


def _pays(
    model: Backbone, resolved: Resolved, n_texts: int, some: Callable[[], Sequence[str]]
) -> bool:
    """Whether compiling is worth the wait: where it helps, and for as many tokens as it takes."""
    longest = resolved.contract.max_length
    helps = model.packed and resolved.contract.dtype == "bfloat16" and "amx_bf16" in cpu_flags()
    if not helps or n_texts * longest < COMPILE_TOKENS:
        return False
    from featcache.backbone.batching import tokenize

    lengths = tokenize(model.tokenizer, some(), max_length=longest).lengths
    return n_texts * float(lengths.mean()) >= COMPILE_TOKENS


def _compiled(model: Backbone, resolved: Resolved) -> Backbone:
    from featcache.backbone.compiled import Compiled, compile_packed

    started = time.perf_counter()
    outcome = compile_packed(model, resolved.contract.layers, resolved.contract.max_length)
    seconds = time.perf_counter() - started
    if isinstance(outcome, Compiled):
        return replace(model, compiled=outcome, compile_seconds=seconds)
    return replace(model, why_not_compiled=outcome, compile_seconds=seconds)
