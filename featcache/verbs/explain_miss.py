"""Verb: why texts miss the cache. Which field of the contract differs from which space, or which
texts are new.

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
from featcache.cache.folder import folder_name, spaces_in, widest
from featcache.cache.memo import Memo
from featcache.cache.space import Space
from featcache.data.keys import row_keys
from featcache.data.stream import as_typed, stream
from featcache.data.survey import Cursor, Survey
from featcache.data.table import CHUNK_ROWS
from featcache.data.texts import TextOptions
from featcache.features.commands import DEFAULT_CACHE, extract_command
from featcache.features.request import BackboneChoice, Resolved, resolve

# The fields that an option sets; a difference in any other one is another model or another
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
    """A field of the contract, in the space and in the request; `config.x` is a key of the
    configuration.
    """

    field: str
    there: Any
    asked: Any


@dataclass(frozen=True)
class NewText:
    """A text that the serving space does not hold. row: counted from 1 in its source."""

    source: str
    row: int
    text: str


@dataclass(frozen=True)
class Neighbour:
    """A space that does not serve the request.

    held: how many of the different texts it holds.  same_place: made from this very folder or hub
    id;
    same_name: from a backbone whose name is the same.  options: with which it would serve the
    request; None where no option can.  command: the extraction with these options, or None.
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

    space: the one that serves the request, or None; unique = hits + new, hits counted in it.
    stripped: new texts that would be hits without the white space around them.  examples: the first
    new texts.
    others: all other spaces, nearest first (fewest differing fields, then most of the texts).
    damaged: what is wrong with spaces that cannot be read; serving_damaged: the serving space is
    one of them.
    command: the extraction that computes what misses.  contract: what was asked for.
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
    pool: str | Sequence[str] | None = None,
    max_length: int | None = None,
    dtype: str = "auto",
    device: str = "auto",
    encoding: str = "utf-8",
    skip_empty: bool = False,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> Explanation:
    """Why `extract` with the same arguments would compute texts instead of finding them.

    Raises what `extract` raises for data, a backbone or options that cannot be used; a damaged
    space is told of.
    """
    place = Path(cache)
    reading = TextOptions(text, template, encoding, skip_empty)
    choice = BackboneChoice(
        os.fspath(backbone),
        layers,
        pool,
        max_length,
        dtype,
        device,
        allow_pickle,
        trust_remote_code,
    )
    survey = Survey.of(stream(data, encoding=encoding), reading)
    keys = survey.keys
    resolved = resolve(choice, place, Memo.load(place))
    spaces, damaged = spaces_in(place)
    serving = next((one for one in spaces if one.path == resolved.path), None)
    new = np.arange(len(keys)) if serving is None else np.flatnonzero(serving.find(keys) < 0)
    examples = zip(new[:_EXAMPLES].tolist(), survey.texts(new[:_EXAMPLES]), strict=True)
    request = _Request(
        as_typed(survey.sources),
        choice,
        reading,
        place,
        resolved,
        {one.path: one.contract for one in spaces},
    )
    others = [
        request.neighbour(one, int((one.find(keys) >= 0).sum()))
        for one in spaces
        if one is not serving
    ]
    return Explanation(
        cache=os.fspath(cache),
        rows=survey.n_texts,
        unique=len(keys),
        space=None if serving is None else serving.name,
        hits=len(keys) - len(new),
        new=len(new),
        stripped=_stripped(serving, survey, new),
        examples=tuple(NewText(*survey.place(one), text) for one, text in examples),
        others=tuple(sorted(others, key=lambda one: (len(one.differences), -one.held, one.space))),
        damaged=tuple(error.what for error in damaged),
        serving_damaged=resolved.path is not None and serving is None,
        command=request.command({}),
        contract=json.loads(resolved.contract.to_json()),
    )


@dataclass(frozen=True)
class _Request:
    """What was asked for, and the contracts of the spaces it is compared with."""

    sources: list[str]
    choice: BackboneChoice
    reading: TextOptions
    cache: Path
    resolved: Resolved
    contracts: Mapping[Path, Contract]

    def neighbour(self, space: Space, held: int) -> Neighbour:
        asked, there = self.resolved.contract, space.contract
        pairs = there.differences(asked)
        # More layers or poolings than asked for keep no space from serving, unless that is all
        # there is to say.
        spare = {
            name
            for name in ("layers", "poolings")
            if set(getattr(asked, name)) <= set(getattr(there, name))
        }
        telling = {name: pair for name, pair in pairs.items() if name not in spare} or pairs
        changes = self._changes(space, set(telling)) if set(telling) <= set(_OPTIONS) else None
        mine, theirs = self.resolved.origin(self.choice.backbone).backbone, space.origin.backbone
        return Neighbour(
            space=space.name,
            backbone=theirs,
            held=held,
            differences=tuple(FieldDifference(name, *pair) for name, pair in telling.items()),
            same_place=mine == theirs,
            same_name=folder_name(mine) == folder_name(theirs),
            options=None
            if changes is None
            else tuple(part for pair in changes.items() for part in pair),
            command=None if changes is None else self.command(changes),
        )

    def _changes(self, space: Space, fields: set[str]) -> dict[str, str]:
        """Options with which the request becomes one that this space serves, and no other space
        before it.
        """
        there = space.contract
        if "poolings" in fields and self.choice.layers == "auto":
            fields = fields | {
                "layers"
            }  # how many layers "auto" means depends on the number of poolings
        values = {name: getattr(there, name) for name in fields}
        if widest(self.contracts, replace(self.resolved.contract, **values)) != space.path:
            fields = fields | {"layers", "poolings"}
        return {
            option: _typed(getattr(there, name))
            for name, option in _OPTIONS.items()
            if name in fields
        }

    def command(self, changes: Mapping[str, str]) -> str:
        """The extraction that was asked about, with some of its options changed."""
        choice = self.choice
        typed = {
            "--layers": None if choice.layers == "auto" else _typed(choice.layers),
            "--pool": None if choice.pool is None else _typed(choice.pool),
            "--max-length": None if choice.max_length is None else str(choice.max_length),
            "--dtype": None if choice.dtype == "auto" else choice.dtype,
            "--device": None if choice.device == "auto" else choice.device,
            **changes,
        }
        options = self.reading.options()
        options += [
            part for name, value in typed.items() if value is not None for part in (name, value)
        ]
        options += ["--allow-pickle"] if choice.allow_pickle else []
        options += ["--trust-remote-code"] if choice.trust_remote_code else []
        return extract_command(self.cache, self.sources, choice.backbone, options)


def _typed(value: int | str | Sequence[object]) -> str:
    """A value as it is typed on the command line."""
    return str(value) if isinstance(value, int | str) else ",".join(map(str, value))


def _stripped(space: Space | None, survey: Survey, new: NDArray[np.int64]) -> int:
    """How many new texts are cached without the white space around them."""
    if space is None:
        return 0
    cursor, n_stripped = Cursor(survey), 0
    for start in range(0, len(new), CHUNK_ROWS):
        texts = cursor.take(new[start : start + CHUNK_ROWS])
        keys = row_keys([text.strip() for text in texts if text != text.strip()])
        n_stripped += int((space.find(keys) >= 0).sum())
    return n_stripped
