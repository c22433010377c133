"""Loading the backbone of a job and preparing it to run: packed or padded, compiled or not.

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
from featcache.extraction.job import Job
from featcache.features.request import Resolved

if TYPE_CHECKING:
    from featcache.backbone.model import Backbone

# With fewer tokens the pass is over before compiling has paid for itself, where it pays at all
# (docs/decisions.md).
COMPILE_TOKENS = 2_000_000

_CHOICES = {"attention": ("auto", "packed", "padded"), "compile": ("auto", "on", "off")}


@dataclass(frozen=True)
class PassOptions:
    """How a model is run. The features are the same within rounding.

    What is requested and cannot be done is left out, and the backbone says why.

    Attributes:
        attention: "packed", "padded", or "auto", which packs on CPUs (elsewhere it has not been
            measured).
        compile: "on", "off", or "auto", which compiles for 2 million tokens or more in bfloat16 on
            CPUs with AMX.
    """

    attention: str = "auto"
    compile: str = "auto"

    def __post_init__(self) -> None:
        """Refuse unknown words.

        Raises:
            InputError: A field has a value that is not one of its choices.
        """
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                msg = f"--{name} {value!r} does not exist"
                raise InputError(msg, cure=f"Choose from {', '.join(choices)}.")


def load_for(
    job: Job, options: PassOptions, n_texts: int, sample: Callable[[], Sequence[str]]
) -> Backbone:
    """Load the model of a job, ready to run.

    Args:
        job: The job.
        options: How the model is to be run.
        n_texts: Number of texts to compute.
        sample: Returns a few of them; called only where the number of tokens has to be estimated.

    Returns:
        The backbone, packed and compiled where that was requested and is possible.

    Raises:
        BackboneError: The model cannot be loaded.
        InputError: The maximum length leaves no room for a text.
        MachineError: The model does not fit into memory.
    """
    from featcache.backbone.gelu import fuse
    from featcache.backbone.linear import lay_out
    from featcache.backbone.load import check_max_length, load_backbone

    resolved = job.resolved
    model = load_backbone(
        resolved.folder,
        dtype=resolved.contract.dtype,
        device=resolved.device,
        truncation_side=resolved.contract.truncation_side,
        allow_pickle=job.choice.allow_pickle,
        trust_remote_code=job.choice.trust_remote_code,
    )
    check_max_length(resolved.contract.max_length, model.tokenizer)
    pack_by_default = options.attention == "auto" and resolved.device == "cpu"
    if options.attention == "packed" or pack_by_default:
        model = _packed(model, resolved, job.memo)
    compile_by_default = options.compile == "auto" and _compiling_pays(
        model, resolved, n_texts, sample
    )
    if options.compile == "on" or compile_by_default:
        model = _compiled(model, resolved)
    if model.compiled is None:  # torch.compile lays weights out in its own way
        lay_out(model.model)
        fuse(model.model)
    return model


def _packed(model: Backbone, resolved: Resolved, memo: Memo) -> Backbone:
    """Set whether the model can run packed; the outcome of the check is remembered."""
    contract = resolved.contract
    identity = (contract.weights, contract.config, contract.code)
    versions = (version("featcache"), version("torch"), version("transformers"))
    facts = (*identity, contract.max_length, contract.dtype, resolved.device, *versions)
    key = f"packed {hashlib.sha256(repr(facts).encode()).hexdigest()}"
    reason = memo.get(key)
    if reason is None:
        from featcache.backbone.packed import why_not_packed

        # The check runs the model several times, which takes long for a large one.
        reason = why_not_packed(model, contract.max_length) or ""
        memo.put(key, reason)
    return replace(model, packed=not reason, why_padded=reason or None)


def _compiling_pays(
    model: Backbone, resolved: Resolved, n_texts: int, sample: Callable[[], Sequence[str]]
) -> bool:
    """Whether compiling helps here, and for as many tokens as it takes to pay."""
    contract = resolved.contract
    helps = model.packed and contract.dtype == "bfloat16" and "amx_bf16" in cpu_flags()
    if not helps or n_texts * contract.max_length < COMPILE_TOKENS:
        return False
    from featcache.backbone.batching import tokenize

    lengths = tokenize(model.tokenizer, sample(), max_length=contract.max_length).lengths
    return n_texts * float(lengths.mean()) >= COMPILE_TOKENS


def _compiled(model: Backbone, resolved: Resolved) -> Backbone:
    """The model compiled, or with the reason why it could not be."""
    from featcache.backbone.compiled import Compiled, compile_packed

    started = time.perf_counter()
    outcome = compile_packed(model, resolved.contract.layers, resolved.contract.max_length)
    seconds = time.perf_counter() - started
    if isinstance(outcome, Compiled):
        return replace(model, compiled=outcome, compile_seconds=seconds)
    return replace(model, why_not_compiled=outcome, compile_seconds=seconds)
