"""Verb: what an extraction would find and compute, and how long that would take; nothing is written."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.cache.contract import Contract
from featcache.cache.memo import Memo
from featcache.cache.space import Space
from featcache.data.texts import Reading
from featcache.extract import missing_rows, prepare, row_bytes, states_of
from featcache.models import Running, load_for
from featcache.spaces import DEFAULT_CACHE, BackboneChoice

if TYPE_CHECKING:
    from featcache.backbone.load import Backbone

_ROWS = 64  # rows that are run to measure the speed


@dataclass(frozen=True)
class Plan:
    """What an extraction would do. seconds is an estimate from a short run; n_bytes is what would be written."""

    rows: int
    unique: int
    hits: int
    misses: int
    tokens: int
    truncated: int
    n_bytes: int
    seconds: float
    space: str | None
    layers: tuple[int, ...]
    poolings: tuple[str, ...]
    dtype: str
    device: str


def plan(
    data: Any,  # noqa: ANN401 - see data.read
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
    attention: str = "auto",
    compile: str = "auto",  # noqa: A002 - as in `extract`
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> Plan:
    """What `extract` with the same arguments would find and compute; nothing is written.

    The time is estimated by running up to 64 of the missing texts. Raises what `extract` raises.
    """
    running = Running(attention, compile)
    running.check()
    place = Path(cache)
    memo = Memo.load(place)
    choice = BackboneChoice(
        os.fspath(backbone), layers, pool, max_length, dtype, device, allow_pickle, trust_remote_code
    )
    job = prepare(data, choice, place, memo, Reading(text, template, encoding, skip_empty))
    contract = job.resolved.contract
    space = None if job.resolved.path is None else Space.open(job.resolved.path)
    missing = missing_rows(space, job.keys)
    tokens, truncated, seconds = 0, 0, 0.0
    if len(missing):
        from featcache.backbone.batching import tokenize

        model = load_for(job.resolved, choice, memo, replace(running, compile="off"), 0, ())
        made = tokenize(model.tokenizer, [job.text(row) for row in missing], max_length=contract.max_length)
        tokens, truncated = int(made.lengths.sum()), int(made.truncated.sum())
        seconds = tokens * _seconds_per_token(model, [job.text(row) for row in missing], contract)
    return Plan(
        rows=len(job.texts.rendered),
        unique=len(job.keys),
        hits=len(job.keys) - len(missing),
        misses=len(missing),
        tokens=tokens,
        truncated=truncated,
        n_bytes=len(missing) * row_bytes(job.resolved),
        seconds=round(seconds, 1),
        space=None if space is None else space.name,
        layers=contract.layers,
        poolings=contract.poolings,
        dtype=contract.dtype,
        device=job.resolved.device,
    )


def _seconds_per_token(model: Backbone, texts: Sequence[str], contract: Contract) -> float:
    """Measured on evenly drawn texts, after one run to warm up."""
    from featcache.backbone.batching import tokenize

    chosen = [texts[place] for place in np.linspace(0, len(texts) - 1, min(_ROWS, len(texts))).astype(int)]
    n_tokens = int(tokenize(model.tokenizer, chosen, max_length=contract.max_length).lengths.sum())
    states_of(chosen[:4], model, contract, layers=contract.layers, poolings=contract.poolings)
    started = time.perf_counter()
    states_of(chosen, model, contract, layers=contract.layers, poolings=contract.poolings)
    return (time.perf_counter() - started) / n_tokens
