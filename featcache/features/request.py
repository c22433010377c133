"""Which contract a request means, and which space of a cache serves it.

Shared by the verbs that name a backbone. Nothing is loaded: files are hashed and the model's
configuration is read. `find.py` chooses a space where no backbone has to be named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from featcache.backbone.device import DTYPES, resolve_device, resolve_dtype
from featcache.backbone.facts import Facts, facts_of
from featcache.backbone.fingerprint import find_backbone, fingerprint
from featcache.cache.contract import POOLINGS, Contract
from featcache.cache.folder import contracts_in, folder_name
from featcache.cache.memo import Memo
from featcache.cache.origin import BackboneOrigin
from featcache.cache.space import Space
from featcache.errors import BackboneError, InputError
from featcache.features.serving import widest, widest_without_a_default

MAX_LENGTH = 512  # the highest default: longer texts cost more than they tell most classifiers
_AUTO_ROW_BYTES = 128 << 10
_AUTO_LAYERS = 8


@dataclass(frozen=True)
class BackboneChoice:
    """What a user requests of a backbone.

    Attributes:
        backbone: A model folder or hub id.
        layers: "auto", "all", "last", numbers such as "0,3,6", or a sequence of numbers.
        pooling: Names of poolings; None for the default of the model.
        max_length: Tokens of the longest text; None for the model's limit, at most 512.
        dtype: "auto", "float32", "bfloat16" or "float16".
        device: "auto", "cpu", "cuda" or "mps".
        allow_pickle: Whether weights may be pickles.
        trust_remote_code: Whether Python code in the model's folder may run.
    """

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
    """A choice made definite.

    Attributes:
        folder: The model's folder.
        facts: Its depth, width and limit.
        device: cpu, cuda or mps.
        contract: The contract of the space that serves the request; where there is none, the one
            that a new space would have.
        path: The space that serves the request, or None.
        absent: Default poolings that this space does not hold.
    """

    folder: Path
    facts: Facts
    device: str
    contract: Contract
    path: Path | None
    absent: tuple[str, ...] = ()

    @property
    def note(self) -> str | None:
        """One sentence for the user where a space serves that lacks a default pooling."""
        if self.path is None or not self.absent:
            return None
        every = [name for name in POOLINGS if name in (*self.contract.poolings, *self.absent)]
        return (
            f"{self.path.name} is used although it lacks the default pooling "
            f"{', '.join(self.absent)}; to compute it, add --pool {','.join(every)}"
        )

    def origin(self, backbone: str) -> BackboneOrigin:
        """Describe where the backbone was found, to be kept with a space.

        Args:
            backbone: The folder or hub id that the user named.

        Returns:
            The absolute path of the folder, or the hub id, with the facts of the model.
        """
        place = str(self.folder.resolve()) if Path(backbone).is_dir() else backbone
        return BackboneOrigin(place, self.facts.hidden_size, self.facts.n_layers, self.facts.limit)


def resolve(choice: BackboneChoice, cache: Path, memo: Memo) -> Resolved:
    """Work out the contract of a request, and look for a space that serves it.

    Without a requested dtype, the only space of another dtype serves where none has this machine's
    own. Without requested poolings, a space serves that lacks one of the default poolings.

    Args:
        choice: The request.
        cache: The cache folder, which need not exist.
        memo: Remembers digests of large files.

    Returns:
        The request made definite.

    Raises:
        BackboneError: The backbone cannot be used.
        MachineError: The device is not available.
        InputError: The model has no such layer or length, or there is no such pooling.
    """
    folder = find_backbone(choice.backbone, allow_pickle=choice.allow_pickle)
    identity = fingerprint(
        folder, memo, allow_pickle=choice.allow_pickle, trust_remote_code=choice.trust_remote_code
    )
    facts = facts_of(folder, memo, trust_remote_code=choice.trust_remote_code)
    poolings = _poolings(choice.pooling, facts)
    device = resolve_device(choice.device)
    contract = Contract(
        weights=identity.weights,
        config=identity.config,
        tokenizer=identity.tokenizer,
        code=identity.code,
        special_tokens=True,
        max_length=_max_length(choice.max_length, facts),
        truncation_side=identity.truncation_side,
        dtype=resolve_dtype(choice.dtype, device),
        quantization=None,
        layers=_layers(choice.layers, facts, len(poolings)),
        poolings=poolings,
    )
    contracts = contracts_in(cache)
    any_dtype = choice.dtype == "auto"
    path = _in_some_dtype(partial(widest, contracts), contract, any_dtype=any_dtype)
    if path is None and choice.pooling is None:

        def with_fewer_poolings(requested: Contract) -> Path | None:
            layers_for = partial(_layers, choice.layers, facts)
            return widest_without_a_default(contracts, requested, layers_for)

        path = _in_some_dtype(with_fewer_poolings, contract, any_dtype=any_dtype)
    if path is None:
        return Resolved(folder, facts, device, contract, None)
    absent = tuple(name for name in poolings if name not in contracts[path].poolings)
    return Resolved(folder, facts, device, contracts[path], path, absent)


def _in_some_dtype(
    find: Callable[[Contract], Path | None], contract: Contract, *, any_dtype: bool
) -> Path | None:
    """The space that `find` gives for a contract, else the only one for it in another dtype."""
    path = find(contract)
    if path is not None or not any_dtype:
        return path
    others = [find(replace(contract, dtype=dtype)) for dtype in DTYPES]
    existing = [other for other in others if other is not None]
    return existing[0] if len(existing) == 1 else None


def _max_length(requested: int | None, facts: Facts) -> int:
    """The maximum length of the contract in tokens."""
    limit = facts.limit
    if requested is None:
        return MAX_LENGTH if limit is None else min(MAX_LENGTH, limit)
    if limit is not None and requested > limit:
        msg = f"--max-length {requested} is above the model's limit of {limit} tokens"
        raise BackboneError(msg, cure=f"Use --max-length {limit} or less.")
    return requested


def _poolings(requested: str | Sequence[str] | None, facts: Facts) -> tuple[str, ...]:
    """The poolings of the contract; by default those that suit the kind of model."""
    if requested is None:
        return ("mean", "last") if facts.decoder else ("mean", "cls")
    return parse_poolings(requested)


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


def parse_poolings(poolings: str | Sequence[str]) -> tuple[str, ...]:
    """Bring poolings into their fixed order.

    Args:
        poolings: Names, in a sequence or separated by commas.

    Returns:
        The different names in the order of `POOLINGS`.

    Raises:
        InputError: There is no such pooling, or none is named.
    """
    if isinstance(poolings, str):
        names = [name.strip() for name in poolings.split(",")]
    else:
        names = list(poolings)
    unknown = [name for name in names if name not in POOLINGS]
    if unknown or not names:
        msg = f"there is no pooling {(unknown or [''])[0]!r}"
        raise InputError(msg, cure=f"Choose from {', '.join(POOLINGS)}, separated by commas.")
    return tuple(name for name in POOLINGS if name in names)


def _layers(requested: str | Sequence[int], facts: Facts, n_poolings: int) -> tuple[int, ...]:
    """Layer numbers, ascending; "auto" takes evenly spaced ones, as many as 128 KiB a row hold."""
    every = tuple(range(facts.n_layers + 1))
    if requested == "all":
        return every
    if requested == "last":
        return (facts.n_layers,)
    if requested != "auto":
        return parse_layers(requested, facts.n_layers)
    row_bytes = n_poolings * facts.hidden_size * 2
    count = max(_AUTO_LAYERS, _AUTO_ROW_BYTES // row_bytes)
    if count >= len(every):
        return every
    return tuple(sorted({round(place) for place in np.linspace(0, facts.n_layers, count)}))


def parse_layers(layers: str | Sequence[int], n_layers: int) -> tuple[int, ...]:
    """Turn layers as a user writes them into numbers.

    Args:
        layers: Numbers, in a sequence or separated by commas; -1 is the last layer.
        n_layers: Number of the model's last layer.

    Returns:
        The different numbers, ascending.

    Raises:
        InputError: They are no numbers, or the model has no such layer.
    """
    try:
        numbers = list(map(int, layers.split(",") if isinstance(layers, str) else layers))
    except ValueError as error:
        msg = f"--layers {layers!r} is not a list of layer numbers"
        raise InputError(msg, cure="Write auto, all, last, or numbers such as 0,3,6.") from error
    different = set()
    for number in numbers:
        different.add(number + n_layers + 1 if number < 0 else number)
    ascending = tuple(sorted(different))
    if not ascending or ascending[0] < 0 or ascending[-1] > n_layers:
        msg = f"--layers {layers!r}: the model has layers 0 (embeddings) to {n_layers}"
        raise InputError(msg, cure=f"Choose layers from 0 to {n_layers}, or `all`.")
    return ascending


def make_space(cache: Path, resolved: Resolved, backbone: str) -> Space:
    """Open the space that serves a request, or make it where there is none.

    Args:
        cache: The cache folder.
        resolved: The request.
        backbone: The folder or hub id that the user named; it gives a new space its name.

    Returns:
        The space.
    """
    if resolved.path is not None:
        return Space.open(resolved.path)
    return Space.create(cache, folder_name(backbone), resolved.contract, resolved.origin(backbone))
