"""Verb: what an extraction would find and compute, and how long that would take; nothing is
written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.contract import Contract
from featcache.data.survey import Cursor, Survey
from featcache.data.texts import TextOptions
from featcache.extraction.compute import states_of
from featcache.extraction.job import missing_rows, prepare, row_bytes
from featcache.extraction.model import PassOptions, load_for
from featcache.features.commands import DEFAULT_CACHE
from featcache.features.request import BackboneChoice, pooling_named

if TYPE_CHECKING:
    from featcache.backbone.model import Backbone

_ROWS = 64  # rows that are run to measure the speed
_STEP = 4_096  # texts tokenised together


@dataclass(frozen=True)
class Plan:
    """What an extraction would do. seconds is an estimate from a short run; n_bytes is what would
    be written.
    """

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
    attention: str = "auto",
    compile: str = "auto",
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    pool: str | Sequence[str] | None = None,
) -> Plan:
    """What `extract` with the same arguments would find and compute; nothing is written.

    The time is estimated by running up to 64 of the missing texts. Raises what `extract` raises.
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
    # The few rows of the measurement run uncompiled: compiling would take longer than they do.
    options = replace(PassOptions(attention=attention, compile=compile), compile="off")
    job = prepare(data, choice, reading, Path(cache))
    contract = job.resolved.contract
    space = job.open_space()
    missing = missing_rows(space, job.survey.keys)
    tokens, truncated, seconds = 0, 0, 0.0
    if len(missing):
        model = load_for(job, options, len(missing), list)
        tokens, truncated, sample = _tokens_of(job.survey, missing, model, contract)
        seconds = tokens * _seconds_per_token(model, sample, contract)
    return Plan(
        rows=job.survey.n_texts,
        unique=len(job.survey.keys),
        hits=len(job.survey.keys) - len(missing),
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


def _tokens_of(
    survey: Survey, missing: NDArray[np.int64], model: Backbone, contract: Contract
) -> tuple[int, int, list[str]]:
    """Tokens of the missing texts, how many texts lose some, and a few of the texts, evenly drawn."""
    from featcache.backbone.batching import tokenize

    cursor, n_tokens, n_truncated = Cursor(survey), 0, 0
    chosen = set(np.linspace(0, len(missing) - 1, min(_ROWS, len(missing))).astype(int).tolist())
    sample: list[str] = []
    for start in range(0, len(missing), _STEP):
        texts = cursor.take(missing[start : start + _STEP])
        made = tokenize(model.tokenizer, texts, max_length=contract.max_length)
        n_tokens += int(made.lengths.sum())
        n_truncated += int(made.truncated.sum())
        sample += [text for place, text in enumerate(texts, start) if place in chosen]
    return n_tokens, n_truncated, sample


def _seconds_per_token(model: Backbone, texts: Sequence[str], contract: Contract) -> float:
    """Measured on a few texts, after one run to warm up."""
    from featcache.backbone.batching import tokenize

    n_tokens = int(tokenize(model.tokenizer, texts, max_length=contract.max_length).lengths.sum())
    states_of(texts[:4], model, contract, layers=contract.layers, poolings=contract.poolings)
    started = time.perf_counter()
    states_of(texts, model, contract, layers=contract.layers, poolings=contract.poolings)
    return (time.perf_counter() - started) / n_tokens
