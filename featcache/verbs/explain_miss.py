"""Verb: why texts miss the cache, and what would make them hits.

Reads top to bottom: read and render the texts, work out the contract as `extract` does, look into
every space, and say what separates each from the request, nearest first. No model is loaded and
nothing is written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.contract import Contract
from featcache.cache.folder import folder_name, spaces_in
from featcache.cache.space import Space
from featcache.data.keys import row_keys
from featcache.data.stream import as_typed
from featcache.data.survey import Cursor, Survey
from featcache.data.table import CHUNK_ROWS
from featcache.data.texts import TextOptions
from featcache.extraction.job import Job, missing_rows, prepare
from featcache.features.commands import DEFAULT_CACHE, extract_command
from featcache.features.request import BackboneChoice, pooling_named
from featcache.features.serving import widest

# The fields that an option sets. A difference in any other field means another model or another
# tokenizer.
_OPTIONS = {
    "layers": "--layers",
    "poolings": "--pool",
    "max_length": "--max-length",
    "dtype": "--dtype",
}
_EXAMPLES = 2


@dataclass(frozen=True)
class FieldDifference:
    """A field of the contract in which a space and the request differ.

    Attributes:
        field: Its name; `config.x` is a key of the model's configuration.
        there: Its value in the space.
        asked: Its value in the request.
    """

    field: str
    there: Any
    asked: Any


@dataclass(frozen=True)
class NewText:
    """A text that the serving space does not hold.

    Attributes:
        source: The file or the like it came from.
        row: Its row there, counted from 1.
        text: The text as the backbone would be given it.
    """

    source: str
    row: int
    text: str


@dataclass(frozen=True)
class Neighbour:
    """A space that does not serve the request.

    Attributes:
        space: Its name.
        backbone: Where its backbone was found.
        held: How many of the different texts it holds.
        differences: The fields in which it differs from the request.
        same_place: Whether it was made from the folder or hub id of the request.
        same_name: Whether its backbone has the name of the request's backbone.
        options: The options with which it would serve the request; None where no option helps.
        command: The extraction with these options, or None.
    """

    space: str
    backbone: str
    held: int
    differences: tuple[FieldDifference, ...]
    same_place: bool
    same_name: bool
    options: tuple[str, ...] | None
    command: str | None


@dataclass(frozen=True)
class Explanation:
    """Why texts miss.

    Attributes:
        cache: The cache folder.
        rows: Number of texts.
        unique: Number of different texts: `hits` + `new`.
        space: The space that serves the request, or None.
        hits: How many different texts it holds.
        new: How many it does not hold.
        stripped: How many new texts would be hits without the white space around them.
        examples: The first new texts.
        others: All other spaces, nearest first: fewest differing fields, then most of the texts.
        damaged: What is wrong with spaces that cannot be read.
        serving_damaged: Whether the serving space is one of these.
        command: The extraction that computes what is missing.
        contract: The contract of the request.
    """

    cache: str
    rows: int
    unique: int
    space: str | None
    hits: int
    new: int
    stripped: int
    examples: tuple[NewText, ...]
    others: tuple[Neighbour, ...]
    damaged: tuple[str, ...]
    serving_damaged: bool
    command: str
    contract: Mapping[str, Any]


def explain_miss(
    data: Any,
    *,
    backbone: str | os.PathLike[str],
    cache: str | os.PathLike[str] = DEFAULT_CACHE,
    text: str | None = None,
    template: str | None = None,
    layers: str | Sequence[int] = "auto",
    pooling: str | Sequence[str] | None = None,
    max_length: int | None = None,
    dtype: str = "auto",
    device: str = "auto",
    encoding: str = "utf-8",
    skip_empty: bool = False,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    pool: str | Sequence[str] | None = None,
) -> Explanation:
    """Explain why `extract` with the same arguments would compute texts instead of finding them.

    Damaged spaces are reported, not raised.

    Args:
        data: As for `extract`, like all other arguments.
        backbone: A model folder or hub id.
        cache: The cache folder.
        text: The column of the texts.
        template: How several columns become one text.
        layers: "auto", "all", "last" or layer numbers.
        pooling: Poolings; the default depends on the model.
        max_length: Tokens of the longest text.
        dtype: Number type of the model, or "auto".
        device: "auto", "cpu", "cuda" or "mps".
        encoding: Encoding of text files.
        skip_empty: Whether rows without text are left out instead of refused.
        allow_pickle: Whether weights may be pickles.
        trust_remote_code: Whether code in the model's folder may run.
        pool: Another name of `pooling`.

    Returns:
        What the serving space lacks, and what separates every other space from the request.

    Raises:
        InputError: Data, backbone or options cannot be used.
    """
    choice = BackboneChoice(
        backbone=os.fspath(backbone),
        layers=layers,
        pooling=pooling_named(pooling, pool),
        max_length=max_length,
        dtype=dtype,
        device=device,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
    )
    reading = TextOptions(text=text, template=template, encoding=encoding, skip_empty=skip_empty)
    job = prepare(data, choice, reading, Path(cache))
    survey, path = job.survey, job.resolved.path
    spaces, damaged = spaces_in(job.cache)
    serving = next((space for space in spaces if space.path == path), None)
    new = missing_rows(serving, survey.keys)
    return Explanation(
        cache=os.fspath(cache),
        rows=survey.n_texts,
        unique=len(survey.keys),
        space=None if serving is None else serving.name,
        hits=len(survey.keys) - len(new),
        new=len(new),
        stripped=_count_stripped(serving, survey, new),
        examples=_examples(survey, new[:_EXAMPLES]),
        others=_neighbours(job, spaces, serving),
        damaged=tuple(error.what for error in damaged),
        serving_damaged=path is not None and serving is None,
        command=_command(job, {}),
        contract=json.loads(job.resolved.contract.to_json()),
    )


def _examples(survey: Survey, rows: NDArray[np.int64]) -> tuple[NewText, ...]:
    """A few new texts and where they stand. rows: (n,) numbers of different texts."""
    examples = []
    for row, text in zip(rows.tolist(), survey.texts(rows), strict=True):
        source, number = survey.place(row)
        examples.append(NewText(source, number, text))
    return tuple(examples)


def _count_stripped(space: Space | None, survey: Survey, new: NDArray[np.int64]) -> int:
    """How many new texts are cached without the white space around them."""
    if space is None:
        return 0
    cursor, n_stripped = Cursor(survey), 0
    for start in range(0, len(new), CHUNK_ROWS):
        texts = cursor.take(new[start : start + CHUNK_ROWS])
        keys = row_keys([text.strip() for text in texts if text != text.strip()])
        n_stripped += int((space.find(keys) >= 0).sum())
    return n_stripped


def _neighbours(job: Job, spaces: Sequence[Space], serving: Space | None) -> tuple[Neighbour, ...]:
    """All spaces but the serving one, nearest first."""
    contracts = {space.path: space.contract for space in spaces}
    neighbours = [_neighbour(job, contracts, space) for space in spaces if space is not serving]
    neighbours.sort(key=lambda space: (len(space.differences), -space.held, space.space))
    return tuple(neighbours)


def _neighbour(job: Job, contracts: Mapping[Path, Contract], space: Space) -> Neighbour:
    """What separates one space from the request."""
    requested, held = job.resolved.contract, space.contract
    differences = held.differences(requested)
    # More layers or poolings than requested keep no space from serving, so they are left out unless
    # there is nothing else to say.
    spare = set()
    for name in ("layers", "poolings"):
        if set(getattr(requested, name)) <= set(getattr(held, name)):
            spare.add(name)
    telling = {name: pair for name, pair in differences.items() if name not in spare} or differences
    changes = None
    if telling.keys() <= _OPTIONS.keys():
        changes = _changes(job, contracts, space, set(telling))
    backbone = job.resolved.origin(job.choice.backbone).backbone
    n_held = int((space.find(job.survey.keys) >= 0).sum())
    return Neighbour(
        space=space.name,
        backbone=space.origin.backbone,
        held=n_held,
        differences=tuple(FieldDifference(name, *pair) for name, pair in telling.items()),
        same_place=backbone == space.origin.backbone,
        same_name=folder_name(backbone) == folder_name(space.origin.backbone),
        options=None if changes is None else _flat(changes),
        command=None if changes is None else _command(job, changes),
    )


def _changes(
    job: Job, contracts: Mapping[Path, Contract], space: Space, fields: set[str]
) -> dict[str, str]:
    """Options with which the request becomes one that this space serves, and no other before it."""
    held = space.contract
    if "poolings" in fields and job.choice.layers == "auto":
        # How many layers "auto" means depends on the number of poolings.
        fields = fields | {"layers"}
    values = {name: getattr(held, name) for name in fields}
    if widest(contracts, replace(job.resolved.contract, **values)) != space.path:
        fields = fields | {"layers", "poolings"}
    changes = {}
    for name, option in _OPTIONS.items():
        if name in fields:
            changes[option] = _typed(getattr(held, name))
    return changes


def _command(job: Job, changes: Mapping[str, str]) -> str:
    """The extraction of the request, with some of its options changed."""
    choice = job.choice
    options: dict[str, str] = {}
    if choice.layers != "auto":
        options["--layers"] = _typed(choice.layers)
    if choice.pooling is not None:
        options["--pool"] = _typed(choice.pooling)
    if choice.max_length is not None:
        options["--max-length"] = str(choice.max_length)
    if choice.dtype != "auto":
        options["--dtype"] = choice.dtype
    if choice.device != "auto":
        options["--device"] = choice.device
    flags = []
    if choice.allow_pickle:
        flags.append("--allow-pickle")
    if choice.trust_remote_code:
        flags.append("--trust-remote-code")
    typed = [*job.reading.options(), *_flat({**options, **changes}), *flags]
    return extract_command(job.cache, as_typed(job.survey.sources), choice.backbone, typed)


def _flat(options: Mapping[str, str]) -> tuple[str, ...]:
    """Options and their values, one after the other."""
    parts: list[str] = []
    for pair in options.items():
        parts += pair
    return tuple(parts)


def _typed(value: int | str | Sequence[object]) -> str:
    """A value as it is typed on the command line."""
    return str(value) if isinstance(value, int | str) else ",".join(map(str, value))
