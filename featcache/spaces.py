"""Where backbones meet the cache: which contract a request means, and which space serves it.

Shared by the verbs. `open_space` is the public way to read features from Python.
"""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.backbone.device import DTYPES, resolve_device, resolve_dtype
from featcache.backbone.facts import Facts, facts_of
from featcache.backbone.fingerprint import find_backbone, fingerprint
from featcache.cache.contract import POOLINGS, Contract
from featcache.cache.memo import Memo
from featcache.cache.space import Origin, Space, contracts_in, folder_name, widest
from featcache.data.keys import row_keys
from featcache.data.parts import LabelledRows
from featcache.errors import BackboneError, CacheMissError, InputError, SpaceChoiceError

MAX_LENGTH = 512  # the default's upper end: longer texts cost more than they tell most classifiers
_AUTO_ROW_BYTES = 128 << 10
_AUTO_LAYERS = 8
DEFAULT_CACHE = "cache"


@dataclass(frozen=True)
class BackboneChoice:
    """What the user says about the backbone. `layers` is "auto", "all", "last", "0,3,6" or numbers."""

    backbone: str
    layers: str | Sequence[int] = "auto"
    pool: str | Sequence[str] | None = None
    max_length: int | None = None
    dtype: str = "auto"
    device: str = "auto"
    allow_pickle: bool = False
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Resolved:
    """A choice made definite: the folder, the contract, and the space that already serves it (or None)."""

    folder: Path
    facts: Facts
    device: str
    contract: Contract
    path: Path | None

    def origin(self, backbone: str) -> Origin:
        """What to remember about where the backbone was: its folder, or its id on the hub."""
        found = str(self.folder.resolve()) if Path(backbone).is_dir() else backbone
        return Origin(found, self.facts.hidden_size, self.facts.n_layers, self.facts.limit)


def resolve(choice: BackboneChoice, cache: Path, memo: Memo) -> Resolved:
    """Work out the contract of a request, without loading the model, and look for a space that serves it.

    `dtype="auto"` takes the dtype of the only space there is where this machine's own choice has none.
    Raises BackboneError, MachineError for an unusable backbone or device; InputError for layers, poolings
    or a length that the model does not have.
    """
    folder = find_backbone(choice.backbone, allow_pickle=choice.allow_pickle)
    found = fingerprint(folder, memo, allow_pickle=choice.allow_pickle, trust_remote_code=choice.trust_remote_code)
    facts = facts_of(folder, memo, trust_remote_code=choice.trust_remote_code)
    poolings = _poolings(choice.pool, facts)
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
    """Layer numbers, ascending, from "0,3,6" or numbers; -1 is the last. Raises InputError for others."""
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


@dataclass(frozen=True)
class FeatureSpace:
    """A space opened for reading: cached features of texts, as arrays."""

    space: Space

    @property
    def name(self) -> str:
        return self.space.name

    @property
    def layers(self) -> tuple[int, ...]:
        return self.space.contract.layers

    @property
    def poolings(self) -> tuple[str, ...]:
        return self.space.contract.poolings

    @property
    def contract(self) -> Contract:
        return self.space.contract

    @property
    def n_rows(self) -> int:
        return self.space.n_rows

    def features(self, texts: Sequence[str], *, layer: int, pooling: str) -> NDArray[np.float32]:
        """Pooled states of texts, float32 (len(texts), hidden), in the order of `texts`.

        texts: the strings as the backbone was given them (with a template: rendered).
        Raises CacheMissError where some are not cached; ContractError for a layer or pooling the space does
        not have; DamageError where a row fails its checksum.
        """
        return self.space.gather(self._positions(texts), layer=layer, pooling=pooling)

    def batches(
        self,
        texts: Sequence[str] | None = None,
        *,
        layer: int,
        pooling: str,
        batch_size: int = 256,
        shuffle: bool = False,
        seed: int = 0,
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Features batch by batch, read from the disk when they are asked for: memory does not grow with the rows.

        texts: as for `features`; all rows of the space, as they are stored, where it is left out.
        shuffle: in an order drawn with `seed`; give another seed for the next epoch.
        Yields, as `datasets.Dataset.iter` does, columns: `row`, int64 (B,), the place in `texts` (or the number of
        the row in the space), and `features`, float32 (B, hidden). Raises what `features` raises, before the
        first batch, and InputError for a batch size below 1.
        """
        if batch_size < 1:
            msg = f"batch_size {batch_size} is not a number of rows"
            raise InputError(msg, cure="Give 1 or more.")
        self.space.check_view(layer, pooling)
        positions = self.space.first_positions() if texts is None else self._positions(texts)
        order = np.arange(len(positions))
        if shuffle:
            np.random.default_rng(seed).shuffle(order)
        return self._batches(positions, order, layer, pooling, batch_size)

    def _batches(
        self, positions: NDArray[np.int64], order: NDArray[np.int64], layer: int, pooling: str, batch_size: int
    ) -> Iterator[dict[str, NDArray[Any]]]:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield {"row": rows, "features": self.space.gather(positions[rows], layer=layer, pooling=pooling)}

    def _positions(self, texts: Sequence[str]) -> NDArray[np.int64]:
        positions = self.space.find(row_keys(texts))
        n_missing = int((positions < 0).sum())
        if n_missing:
            command = f"featcache extract DATA --backbone {self.space.origin.backbone}"
            msg = f"{n_missing:,} of {len(texts):,} texts are not in space {self.name}"
            raise CacheMissError(msg, cure=f"Add them: {command}{cache_option(self.space.path.parent)}")
        return positions

    def has(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Whether each text is cached; shape (len(texts),)."""
        return self.space.find(row_keys(texts)) >= 0


def open_space(name: str | None = None, *, cache: str | os.PathLike[str] = DEFAULT_CACHE) -> FeatureSpace:
    """Open a space by its name, or by the beginning of its name; without a name, the only one there is.

    Raises SpaceChoiceError where none or several fit.
    """
    return FeatureSpace(pick_space(Path(cache), name))


def pick_space(cache: Path, name: str | None) -> Space:
    """The space of that name (or beginning of a name) in a cache folder; see `open_space`."""
    contracts = contracts_in(cache)
    fitting = named(contracts, name)
    if len(fitting) == 1:
        return Space.open(fitting[0])
    raise space_choice_error(cache, contracts, fitting, name)


def named(spaces: Collection[Path], name: str | None) -> list[Path]:
    """The space of exactly that name, else those whose names begin so; all of them without a name."""
    exact = [path for path in spaces if path.name == name]
    return exact or [path for path in spaces if name is None or path.name.startswith(name)]


def space_choice_error(
    cache: Path, contracts: Mapping[Path, Contract], fitting: Sequence[Path], name: str | None
) -> SpaceChoiceError:
    """Why not exactly one space fits, naming those that do and what tells them apart."""
    if not contracts:
        return SpaceChoiceError(
            f"there is no feature space in {cache}",
            cure="Make one: featcache extract DATA --backbone MODEL" + cache_option(cache),
        )
    if not fitting:
        names = ", ".join(path.name for path in contracts)
        return SpaceChoiceError(f"{cache} has no space {name!r}; it has {names}", cure="Name one of these.")
    names = ", ".join(path.name for path in fitting)
    differing = fields_of(contracts[fitting[0]].differences(contracts[fitting[1]]))
    cure = f"Name one, such as {fitting[0].name} (for fit-heads: --space {fitting[0].name})."
    return SpaceChoiceError(f"several spaces fit: {names}; they differ in {differing}", cure=cure)


def fields_of(differing: Iterable[str], shown: int = 4) -> str:
    """Names of differing fields as a phrase, those of the configuration last and counted where they are many."""
    names = sorted(differing, key=lambda name: name.startswith("config."))
    kept = len(names) if len(names) <= shown + 1 else shown
    return ", ".join(names[:kept]) + (f" and {len(names) - kept} more" if kept < len(names) else "")


def cache_option(cache: Path) -> str:
    """The option that a pasted command needs where the cache is not the default one."""
    return "" if str(cache) == DEFAULT_CACHE else f" --cache {shlex.quote(str(cache))}"


def same_backbone(spaces: Mapping[Path, Contract], folder: Path, memo: Memo) -> list[Path]:
    """The spaces whose backbone has the contents of a folder, whatever the folder's name. Nothing is loaded."""
    # Whether it may be loaded is not asked here: hashing pickles or foreign code runs nothing.
    found = fingerprint(folder, memo, allow_pickle=True, trust_remote_code=True)
    return [
        path
        for path, contract in spaces.items()
        if (contract.weights, contract.config, contract.tokenizer, contract.code)
        == (found.weights, found.config, found.tokenizer, found.code)
    ]


def find_space(
    cache: Path,
    parts: Sequence[LabelledRows],
    *,
    backbone: str | os.PathLike[str] | None,
    name: str | None,
    layers: str | Sequence[int] | None,
    pool: str | Sequence[str] | None,
    reading: Sequence[str] = (),
) -> Space:
    """The one space that fits the request and holds all rows; no backbone is loaded.

    backbone: compared by the contents of its files.  reading: options with which `extract` reads the same texts.
    Raises SpaceChoiceError where several spaces do; CacheMissError, with the missing rows of each file and the
    extract command, where none does.
    """
    contracts = contracts_in(cache)
    fitting = named(contracts, name)
    if name is not None and not fitting:
        raise space_choice_error(cache, contracts, fitting, name)
    if backbone is not None:
        memo = Memo.load(cache)
        fitting = same_backbone({path: contracts[path] for path in fitting}, find_backbone(backbone), memo)
        memo.save(cache)
    spaces = [Space.open(path) for path in fitting]
    if layers is not None and len(spaces) == 1:
        cached_layers(layers, spaces[0])  # what the only model cannot have is worth its own message
    missing = {one.name: [one.find(part.keys) < 0 for part in parts] for one in spaces}
    whole = [one for one in spaces if not any(absent.any() for absent in missing[one.name])]
    viewed = [one for one in whole if _has_views(one, layers, pool)]
    if len(viewed) == 1:
        return viewed[0]
    if viewed:
        raise space_choice_error(cache, contracts, [one.path for one in viewed], name)
    if whole:
        raise _no_views(cache, parts, whole[0], layers, pool, reading)
    raise _no_space(cache, parts, spaces, missing, backbone, reading)


def _has_views(space: Space, layers: str | Sequence[int] | None, pool: str | Sequence[str] | None) -> bool:
    if pool is not None and not set(parse_poolings(pool)) <= set(space.contract.poolings):
        return False
    if layers is None:
        return True
    try:
        return set(cached_layers(layers, space)) <= set(space.contract.layers)
    except InputError:  # a smaller model than the one that was meant
        return False


def cached_layers(layers: str | Sequence[int], space: Space) -> tuple[int, ...]:
    """Layer numbers asked of a space: "auto" and "all" are all that it holds."""
    if layers in ("auto", "all"):
        return space.contract.layers
    return parse_layers("-1" if layers == "last" else layers, space.origin.n_layers)


def _no_views(
    cache: Path,
    parts: Sequence[LabelledRows],
    space: Space,
    layers: str | Sequence[int] | None,
    pool: str | Sequence[str] | None,
    reading: Sequence[str],
) -> CacheMissError:
    """All rows are there, but not the layers or poolings that are asked for."""
    options = list(reading)
    for option, asked in (("--layers", layers), ("--pool", pool)):
        if asked is not None:
            options += [option, asked if isinstance(asked, str) else ",".join(map(str, asked))]
    held = f"layers {', '.join(map(str, space.contract.layers))} and {', '.join(space.contract.poolings)}"
    files = list(dict.fromkeys(origin for part in parts for origin in part.origins))
    command = extract_command(cache, files, space.origin.backbone, options)
    return CacheMissError(
        f"{space.name} holds all texts, but only {held}", cure=f"Compute what is asked for: {command}"
    )


def _no_space(
    cache: Path,
    parts: Sequence[LabelledRows],
    spaces: Sequence[Space],
    missing: Mapping[str, Sequence[NDArray[np.bool_]]],
    backbone: str | os.PathLike[str] | None,
    reading: Sequence[str],
) -> CacheMissError:
    nearest = min(spaces, key=lambda one: sum(int(absent.sum()) for absent in missing[one.name]), default=None)
    model = os.fspath(backbone) if backbone else (nearest.origin.backbone if nearest else "MODEL")
    options = list(reading)
    if nearest is not None:  # without these, another space would be filled
        contract, limit = nearest.contract, nearest.origin.limit
        if contract.max_length != min(MAX_LENGTH, limit or MAX_LENGTH):
            options += ["--max-length", str(contract.max_length)]
        options += ["--dtype", contract.dtype] if len(spaces) > 1 else []
    totals: Counter[str] = Counter()
    lacking: Counter[str] = Counter()
    for number, part in enumerate(parts):
        absent = missing[nearest.name][number] if nearest else np.ones(len(part.keys), dtype=np.bool_)
        totals.update(part.origins)
        lacking.update(origin for origin, gone in zip(part.origins, absent, strict=True) if gone)
    where = f"space {nearest.name}" if nearest else f"a space of {cache}"
    if nearest is None and backbone:
        where = f"any space of {model} in {cache}"
    phrases = [f"{count:,} of {totals[origin]:,} texts of {origin}" for origin, count in lacking.items()]
    command = extract_command(cache, list(lacking), model, options)
    hint = "" if lacking != totals else "\nIf they were extracted with --text or --template, give the same here."
    return CacheMissError(f"{', '.join(phrases)} are not in {where}", cure=f"Add them: {command}{hint}")


def extract_command(cache: Path, files: Sequence[str], model: str, options: Sequence[str]) -> str:
    """The extraction to paste, with its files and options quoted."""
    return f"featcache extract {shlex.join([*files, '--backbone', model, *options])}{cache_option(cache)}"


def make_space(cache: Path, resolved: Resolved, backbone: str) -> Space:
    """The space that serves a request, made where there is none."""
    if resolved.path is not None:
        return Space.open(resolved.path)
    return Space.create(cache, folder_name(backbone), resolved.contract, resolved.origin(backbone))
