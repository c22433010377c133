"""Which space of a cache serves a request, and what to say where none or several do."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.backbone.fingerprint import find_backbone, fingerprint
from featcache.cache.contract import Contract
from featcache.cache.folder import contracts_in
from featcache.cache.memo import Memo
from featcache.cache.space import Space
from featcache.data.parts import LabelledRows
from featcache.errors import CacheMissError, InputError, SpaceChoiceError
from featcache.features.commands import cache_option, extract_command
from featcache.features.request import MAX_LENGTH, parse_layers, parse_poolings


def pick_space(cache: Path, name: str | None, *, mapped: bool = True) -> Space:
    """The space of that name (or beginning of a name) in a cache folder; see `open_space`."""
    contracts = contracts_in(cache)
    fitting = named(contracts, name)
    if len(fitting) == 1:
        return Space.open(fitting[0], mapped=mapped)
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
        return SpaceChoiceError(
            f"{cache} has no space {name!r}; it has {names}", cure="Name one of these."
        )
    names = ", ".join(path.name for path in fitting)
    differing = fields_of(contracts[fitting[0]].differences(contracts[fitting[1]]))
    cure = f"Name one, such as {fitting[0].name} (for fit-heads: --space {fitting[0].name})."
    return SpaceChoiceError(f"several spaces fit: {names}; they differ in {differing}", cure=cure)


def fields_of(differing: Iterable[str], shown: int = 4) -> str:
    """Names of differing fields as a phrase, those of the configuration last and counted where they
    are many.
    """
    names = sorted(differing, key=lambda name: name.startswith("config."))
    kept = len(names) if len(names) <= shown + 1 else shown
    return ", ".join(names[:kept]) + (f" and {len(names) - kept} more" if kept < len(names) else "")


def same_backbone(spaces: Mapping[Path, Contract], folder: Path, memo: Memo) -> list[Path]:
    """The spaces whose backbone has the contents of a folder, whatever the folder's name. Nothing
    is loaded.
    """
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

    backbone: compared by the contents of its files.  reading: options with which `extract` reads
    the same texts.
    Raises SpaceChoiceError where several spaces do; CacheMissError, with the missing rows of each
    file and the extract command, where none does.
    """
    contracts = contracts_in(cache)
    fitting = named(contracts, name)
    if name is not None and not fitting:
        raise space_choice_error(cache, contracts, fitting, name)
    if backbone is not None:
        memo = Memo.load(cache)
        fitting = same_backbone(
            {path: contracts[path] for path in fitting}, find_backbone(backbone), memo
        )
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


def _has_views(
    space: Space, layers: str | Sequence[int] | None, pool: str | Sequence[str] | None
) -> bool:
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
        f"{space.name} holds all texts, but only {held}",
        cure=f"Compute what is asked for: {command}",
    )


def _no_space(
    cache: Path,
    parts: Sequence[LabelledRows],
    spaces: Sequence[Space],
    missing: Mapping[str, Sequence[NDArray[np.bool_]]],
    backbone: str | os.PathLike[str] | None,
    reading: Sequence[str],
) -> CacheMissError:
    nearest = min(
        spaces, key=lambda one: sum(int(absent.sum()) for absent in missing[one.name]), default=None
    )
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
        absent = (
            missing[nearest.name][number] if nearest else np.ones(len(part.keys), dtype=np.bool_)
        )
        totals.update(part.origins)
        lacking.update(origin for origin, gone in zip(part.origins, absent, strict=True) if gone)
    where = f"space {nearest.name}" if nearest else f"a space of {cache}"
    if nearest is None and backbone:
        where = f"any space of {model} in {cache}"
    phrases = [
        f"{count:,} of {totals[origin]:,} texts of {origin}" for origin, count in lacking.items()
    ]
    command = extract_command(cache, list(lacking), model, options)
    hint = (
        ""
        if lacking != totals
        else "\nIf they were extracted with --text or --template, give the same here."
    )
    return CacheMissError(
        f"{', '.join(phrases)} are not in {where}", cure=f"Add them: {command}{hint}"
    )
