"""What to say where not exactly one space serves a request: what is missing, and the cure."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.cache.contract import Contract
from featcache.cache.space import Space
from featcache.data.parts import LabelledRows
from featcache.errors import CacheMissError, SpaceChoiceError
from featcache.features.commands import cache_option, extract_command
from featcache.features.request import MAX_LENGTH


@dataclass(frozen=True)
class SpaceRequest:
    """Rows and views that a space must hold.

    Attributes:
        cache: The cache folder.
        parts: The rows.
        backbone: The model folder that was named, or None.
        layers: Layers that were named, or None.
        pooling: Poolings that were named, or None.
        reading: Options with which `extract` reads the same texts.
    """

    cache: Path
    parts: Sequence[LabelledRows]
    backbone: str | os.PathLike[str] | None
    layers: str | Sequence[int] | None
    pooling: str | Sequence[str] | None
    reading: Sequence[str]

    def missing(self, space: Space) -> list[NDArray[np.int64]]:
        """Row numbers, ascending, that a space does not hold, for each part."""
        return [np.flatnonzero(space.find(part.keys) < 0) for part in self.parts]


def space_choice_error(
    cache: Path, contracts: Mapping[Path, Contract], fitting: Sequence[Path], name: str | None
) -> SpaceChoiceError:
    """Say why not exactly one space fits, naming those that do and what tells them apart.

    Args:
        cache: The cache folder.
        contracts: Contracts of all its spaces by path.
        fitting: The spaces that fit: none, or two and more.
        name: The name that was given, or None.

    Returns:
        The error, to be raised.
    """
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
    """Put names of differing fields into a phrase, those of the configuration last.

    Args:
        differing: Names of fields.
        shown: How many are named where there are many; the others are counted.

    Returns:
        The phrase, such as "dtype, weights and 7 more".
    """
    names = sorted(differing, key=lambda name: name.startswith("config."))
    n_shown = len(names) if len(names) <= shown + 1 else shown
    phrase = ", ".join(names[:n_shown])
    if n_shown < len(names):
        phrase += f" and {len(names) - n_shown} more"
    return phrase


def views_error(request: SpaceRequest, space: Space) -> CacheMissError:
    """Say that a space holds all rows, but not the layers or poolings of the request.

    Args:
        request: What was requested.
        space: The space with all rows.

    Returns:
        The error, with the command that computes them.
    """
    options = list(request.reading)
    for option, value in (("--layers", request.layers), ("--pool", request.pooling)):
        if value is not None:
            options += [option, value if isinstance(value, str) else ",".join(map(str, value))]
    contract = space.contract
    views = f"layers {', '.join(map(str, contract.layers))} and {', '.join(contract.poolings)}"
    files: dict[str, None] = {}
    for part in request.parts:
        files.update(dict.fromkeys(part.origins))
    command = extract_command(request.cache, list(files), space.origin.backbone, options)
    return CacheMissError(
        f"{space.name} holds all texts, but only {views}",
        cure=f"Compute what is missing: {command}",
    )


def rows_error(
    request: SpaceRequest,
    spaces: Sequence[Space],
    missing: Mapping[str, Sequence[NDArray[np.int64]]],
) -> CacheMissError:
    """Say how many rows of each file no space holds, counted in the space that lacks fewest.

    Args:
        request: What was requested.
        spaces: The spaces that were looked into.
        missing: For each space by name, the missing row numbers of each part.

    Returns:
        The error, with the command that computes them.
    """
    nearest = min(spaces, key=lambda space: sum(map(len, missing[space.name])), default=None)
    totals: Counter[str] = Counter()
    lacking: Counter[str] = Counter()
    for number, part in enumerate(request.parts):
        totals.update(part.origins)
        if nearest is None:
            lacking.update(part.origins)
        else:
            lacking.update(part.origins[row] for row in missing[nearest.name][number].tolist())
    phrases = [f"{count:,} of {totals[file]:,} texts of {file}" for file, count in lacking.items()]
    where, model = _place(request, nearest)
    options = [*request.reading, *_space_options(nearest, n_spaces=len(spaces))]
    cure = f"Add them: {extract_command(request.cache, list(lacking), model, options)}"
    if lacking == totals:
        cure += "\nIf they were extracted with --text or --template, give the same here."
    return CacheMissError(f"{', '.join(phrases)} are not in {where}", cure=cure)


def _place(request: SpaceRequest, nearest: Space | None) -> tuple[str, str]:
    """Where the rows are not, in words, and the backbone that would compute them."""
    if nearest is not None:
        return f"space {nearest.name}", os.fspath(request.backbone or nearest.origin.backbone)
    if request.backbone:
        model = os.fspath(request.backbone)
        return f"any space of {model} in {request.cache}", model
    return f"a space of {request.cache}", "MODEL"


def _space_options(space: Space | None, *, n_spaces: int) -> list[str]:
    """Options without which `extract` would fill another space than this one."""
    if space is None:
        return []
    options = []
    contract, limit = space.contract, space.origin.limit
    if contract.max_length != min(MAX_LENGTH, limit or MAX_LENGTH):
        options += ["--max-length", str(contract.max_length)]
    if n_spaces > 1:
        options += ["--dtype", contract.dtype]
    return options
