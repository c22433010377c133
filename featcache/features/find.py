"""Which space of a cache serves when no backbone has to be loaded.

By name, by the contents of a backbone's files, and by the rows and views that it must hold. What to
say where none or several fit is in `misses.py`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from featcache.backbone.fingerprint import find_backbone, fingerprint
from featcache.cache.contract import Contract
from featcache.cache.folder import contracts_in
from featcache.cache.memo import Memo
from featcache.cache.space import Space
from featcache.data.parts import LabelledRows
from featcache.errors import InputError
from featcache.features.misses import SpaceRequest, rows_error, space_choice_error, views_error
from featcache.features.request import parse_layers, parse_poolings
from featcache.features.serving import widest_of_alike


def pick_space(cache: Path, name: str | None, *, mapped: bool = True) -> Space:
    """Open a space by its name or the beginning of its name; without a name, the only one.

    Args:
        cache: The cache folder.
        name: The name, its beginning, or None.
        mapped: Whether it is read through memory maps.

    Returns:
        The space.

    Raises:
        SpaceChoiceError: None or several fit.
    """
    contracts = contracts_in(cache)
    fitting = named(contracts, name)
    if len(fitting) == 1:
        return Space.open(fitting[0], mapped=mapped)
    raise space_choice_error(cache, contracts, fitting, name)


def named(spaces: Collection[Path], name: str | None) -> list[Path]:
    """Select spaces by name.

    Args:
        spaces: Paths of spaces.
        name: The name, its beginning, or None.

    Returns:
        The space of exactly that name, else those whose names begin so; all of them without a name.
    """
    exact = [path for path in spaces if path.name == name]
    if exact:
        return exact
    return [path for path in spaces if name is None or path.name.startswith(name)]


def same_backbone(spaces: Mapping[Path, Contract], folder: Path, memo: Memo) -> list[Path]:
    """Select the spaces whose backbone has the contents of a folder, whatever the folder's name.

    Args:
        spaces: Contracts of spaces by path.
        folder: A model folder; nothing in it is loaded.
        memo: Remembers digests of large files.

    Returns:
        Paths of the spaces.

    Raises:
        BackboneError: The folder is no model folder.
    """
    # Whether it may be loaded is not asked here: hashing pickles or foreign code runs nothing.
    identity = fingerprint(folder, memo, allow_pickle=True, trust_remote_code=True)
    digests = (identity.weights, identity.config, identity.tokenizer, identity.code)
    paths = []
    for path, contract in spaces.items():
        if (contract.weights, contract.config, contract.tokenizer, contract.code) == digests:
            paths.append(path)
    return paths


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
    """Find the space that fits a request and holds all rows; no backbone is loaded.

    Where several do that differ only in layers or poolings, the widest serves.

    Args:
        cache: The cache folder.
        parts: The rows.
        backbone: A model folder, compared by the contents of its files; None: any.
        name: The name of the space or its beginning; None: any.
        layers: Layers that it must hold; None: any.
        pool: Poolings that it must hold; None: any.
        reading: Options with which `extract` reads the same texts, for the command in messages.

    Returns:
        The space.

    Raises:
        SpaceChoiceError: Several spaces fit.
        CacheMissError: None holds all rows; the message counts the missing rows of each file and
            gives the command that computes them.
    """
    contracts = contracts_in(cache)
    paths = named(contracts, name)
    if name is not None and not paths:
        raise space_choice_error(cache, contracts, paths, name)
    if backbone is not None:
        memo = Memo.load(cache)
        candidates = {path: contracts[path] for path in paths}
        paths = same_backbone(candidates, find_backbone(backbone), memo)
        memo.save(cache)
    spaces = [Space.open(path) for path in paths]
    if layers is not None and len(spaces) == 1:
        cached_layers(layers, spaces[0])  # a layer that the only model lacks has its own message
    request = SpaceRequest(cache, parts, backbone, layers, pool, reading)
    missing = {space.name: request.missing(space) for space in spaces}
    complete = [space for space in spaces if not any(map(len, missing[space.name]))]
    fitting = [space for space in complete if _has_views(space, layers, pool)]
    if fitting:
        return _widest(cache, contracts, fitting, name)
    if complete:
        raise views_error(request, complete[0])
    raise rows_error(request, spaces, missing)


def _widest(
    cache: Path, contracts: Mapping[Path, Contract], fitting: Sequence[Space], name: str | None
) -> Space:
    """The widest of the spaces that fit; refused where the choice is the user's."""
    path = widest_of_alike({space.path: contracts[space.path] for space in fitting})
    for space in fitting:
        if space.path == path:
            return space
    raise space_choice_error(cache, contracts, [space.path for space in fitting], name)


def _has_views(
    space: Space, layers: str | Sequence[int] | None, pooling: str | Sequence[str] | None
) -> bool:
    """Whether a space holds the layers and poolings of a request."""
    if pooling is not None and not set(parse_poolings(pooling)) <= set(space.contract.poolings):
        return False
    if layers is None:
        return True
    try:
        return set(cached_layers(layers, space)) <= set(space.contract.layers)
    except InputError:  # a smaller model than the one that was meant
        return False


def cached_layers(layers: str | Sequence[int], space: Space) -> tuple[int, ...]:
    """Turn layers as a user writes them into layer numbers of a space.

    Args:
        layers: "auto" or "all" for all that the space holds, "last", or numbers.
        space: The space.

    Returns:
        Layer numbers, ascending; the space need not hold those that were given as numbers.

    Raises:
        InputError: The model has no such layer.
    """
    if layers in ("auto", "all"):
        return space.contract.layers
    return parse_layers("-1" if layers == "last" else layers, space.origin.n_layers)
