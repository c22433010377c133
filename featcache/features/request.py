"""Where backbones meet the cache: which contract a request means, and which space serves it.

Shared by the verbs. `open_space` is the public way to read features from Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from featcache.backbone.device import DTYPES, resolve_device, resolve_dtype
from featcache.backbone.facts import Facts, facts_of
from featcache.backbone.fingerprint import find_backbone, fingerprint
from featcache.cache.contract import POOLINGS, Contract
from featcache.cache.folder import contracts_in, folder_name, widest
from featcache.cache.memo import Memo
from featcache.cache.origin import BackboneOrigin
from featcache.cache.space import Space
from featcache.errors import BackboneError, InputError

MAX_LENGTH = 512  # the default's upper end: longer texts cost more than they tell most classifiers
_AUTO_ROW_BYTES = 128 << 10
_AUTO_LAYERS = 8


@dataclass(frozen=True)
class BackboneChoice:
    """What the user says about the backbone. `layers` is "auto", "all", "last", "0,3,6" or numbers."""

    backbone: str
    layers: str | Sequence[int] = "auto"
    pooling: str | Sequence[str] | None = None
    max_length: int | None = None
    dtype: str = "auto"
    device: str = "auto"
    allow_pickle: bool = False
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Resolved:
    """A choice made definite: the folder, the contract, and the space that already serves it (or
    None).
    """

    folder: Path
    facts: Facts
    device: str
    contract: Contract
    path: Path | None

    def origin(self, backbone: str) -> BackboneOrigin:
        """What to remember about where the backbone was: its folder, or its id on the hub."""
        found = str(self.folder.resolve()) if Path(backbone).is_dir() else backbone
        return BackboneOrigin(found, self.facts.hidden_size, self.facts.n_layers, self.facts.limit)


def resolve(choice: BackboneChoice, cache: Path, memo: Memo) -> Resolved:
    """Work out the contract of a request, without loading the model, and look for a space that
    serves it.

    `dtype="auto"` takes the dtype of the only space there is where this machine's own choice has
    none.
    Raises BackboneError, MachineError for an unusable backbone or device; InputError for layers,
    poolings or a length that the model does not have.
    """
    folder = find_backbone(choice.backbone, allow_pickle=choice.allow_pickle)
    found = fingerprint(
        folder, memo, allow_pickle=choice.allow_pickle, trust_remote_code=choice.trust_remote_code
    )
    facts = facts_of(folder, memo, trust_remote_code=choice.trust_remote_code)
    poolings = _poolings(choice.pooling, facts)
    device = resolve_device(choice.device)
    contract = Contract(
        weights=found.weights,
        config=found.config,
        tokenizer=found.tokenizer,
        code=found.code,
        special_tokens=True,
        max_length=_max_length(choice.max_length, facts),
        truncation_side=found.truncation_side,
        dtype=resolve_dtype(choice.dtype, device),
        quantization=None,
        layers=_layers(choice.layers, facts, len(poolings)),
        poolings=poolings,
    )
    contracts = contracts_in(cache)
    path = widest(contracts, contract)
    if path is None and choice.dtype == "auto":
        others = [widest(contracts, replace(contract, dtype=dtype)) for dtype in DTYPES]
        existing = [other for other in others if other is not None]
        path = existing[0] if len(existing) == 1 else None
    return Resolved(folder, facts, device, contract if path is None else contracts[path], path)


def _max_length(asked: int | None, facts: Facts) -> int:
    if asked is None:
        return MAX_LENGTH if facts.limit is None else min(MAX_LENGTH, facts.limit)
    if facts.limit is not None and asked > facts.limit:
        msg = f"--max-length {asked} is above the model's limit of {facts.limit} tokens"
        raise BackboneError(msg, cure=f"Use --max-length {facts.limit} or less.")
    return asked


def _poolings(asked: str | Sequence[str] | None, facts: Facts) -> tuple[str, ...]:
    if asked is None:
        return ("mean", "last") if facts.decoder else ("mean", "cls")
    return parse_poolings(asked)


def pooling_named(
    pooling: str | Sequence[str] | None, pool: str | Sequence[str] | None
) -> str | Sequence[str] | None:
    """Return the poolings of a call, whichever of the two names of the keyword was used.

    Args:
        pooling: The value of `pooling`.
        pool: The value of `pool`, the keyword's other name.

    Returns:
        The value that is given, or None.

    Raises:
        InputError: Both are given.
    """
    if pooling is not None and pool is not None:
        msg = "`pooling` and `pool` are two names of one keyword"
        raise InputError(msg, cure="Pass `pooling` only.")
    return pool if pooling is None else pooling


def parse_poolings(asked: str | Sequence[str]) -> tuple[str, ...]:
    """Poolings in their fixed order. Raises InputError for an unknown one."""
    names = [name.strip() for name in asked.split(",")] if isinstance(asked, str) else list(asked)
    unknown = [name for name in names if name not in POOLINGS]
    if unknown or not names:
        msg = f"there is no pooling {(unknown or [''])[0]!r}"
        raise InputError(msg, cure=f"Choose of {', '.join(POOLINGS)}, separated by commas.")
    return tuple(name for name in POOLINGS if name in names)


def _layers(asked: str | Sequence[int], facts: Facts, n_poolings: int) -> tuple[int, ...]:
    everything = range(facts.n_layers + 1)
    if asked == "all":
        return tuple(everything)
    if asked == "last":
        return (facts.n_layers,)
    if asked == "auto":
        row_bytes = n_poolings * facts.hidden_size * 2
        count = max(_AUTO_LAYERS, _AUTO_ROW_BYTES // row_bytes)
        if count >= len(everything):
            return tuple(everything)
        return tuple(sorted({round(place) for place in np.linspace(0, facts.n_layers, count)}))
    return parse_layers(asked, facts.n_layers)


def parse_layers(asked: str | Sequence[int], n_layers: int) -> tuple[int, ...]:
    """Layer numbers, ascending, from "0,3,6" or numbers; -1 is the last. Raises InputError for
    others.
    """
    try:
        numbers = [int(part) for part in (asked.split(",") if isinstance(asked, str) else asked)]
    except ValueError as error:
        msg = f"--layers {asked!r} is not a list of layer numbers"
        raise InputError(msg, cure="Write auto, all, last, or numbers such as 0,3,6.") from error
    layers = tuple(sorted({number + n_layers + 1 if number < 0 else number for number in numbers}))
    if not layers or layers[0] < 0 or layers[-1] > n_layers:
        msg = f"--layers {asked!r}: the model has layers 0 (embeddings) to {n_layers}"
        raise InputError(msg, cure=f"Choose of 0 to {n_layers}, or say all.")
    return layers


def make_space(cache: Path, resolved: Resolved, backbone: str) -> Space:
    """The space that serves a request, made where there is none."""
    if resolved.path is not None:
        return Space.open(resolved.path)
    return Space.create(cache, folder_name(backbone), resolved.contract, resolved.origin(backbone))
