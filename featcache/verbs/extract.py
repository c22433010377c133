"""Verb: run a frozen backbone once over texts and keep its pooled states in the cache.

Reads top to bottom: read and render texts, name rows by content, look them up, load the backbone
only if rows are missing, and run it over those (`extraction/`). `plan.py` answers what that would
cost.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcache.data.texts import TextOptions
from featcache.errors import InputError
from featcache.extraction.job import prepare
from featcache.extraction.model import PassOptions
from featcache.extraction.run import run_job
from featcache.features.commands import DEFAULT_CACHE
from featcache.features.request import BackboneChoice, pooling_named
from featcache.progress import Progress, Silent


@dataclass(frozen=True)
class Extraction:
    """What one extraction did.

    rows >= unique = hits + computed; tokens are those of computed rows; truncated counts different
    texts that lost tokens. seconds: from the first row read to the last fsync, without load_seconds
    (imports and model). wait_seconds: the part of it in which the model stood still for want of
    tokens, or of room to hand over its states. Rates are None when every row was a hit.
    """

    space: str
    path: str
    rows: int
    unique: int
    hits: int
    computed: int
    tokens: int
    truncated: int
    seconds: float
    load_seconds: float
    compile_seconds: float
    wait_seconds: float
    texts_per_second: float | None
    tokens_per_second: float | None
    layers: tuple[int, ...]
    poolings: tuple[str, ...]
    hidden_size: int
    dtype: str
    attention: str
    why_padded: str | None
    compiled: bool
    why_not_compiled: str | None
    device: str


def extract(
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
    shard_rows: int | None = None,
    attention: str = "auto",
    compile: str = "auto",
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
    pool: str | Sequence[str] | None = None,
) -> Extraction:
    """Make sure that the pooled states of all texts are in the cache; compute those that are not.

    data: a file, folder or hub data set; several; texts; columns; a data frame (see
    `data.read.read`).
    backbone: a model folder or hub id.  text, template: the column of the texts, or how columns
    become one.
    layers: "auto", "all", "last" or numbers; 0 is the embedding output.  pool: of mean, cls, last,
    max.
    max_length: tokens; the default is the model's limit, at most 512.  dtype: "auto", "float32", …
    attention: how texts become batches: "padded"; "packed", laid end to end without padding, where
    a trial shows that the model gives the same states; or "auto", which packs on CPUs.  compile:
    "on", "off", or "auto", which uses torch.compile for 2 million tokens or more on CPUs with AMX.
    The features are the same within rounding.

    Raises InputError and its kin (exit code 2) for bad data or options; ContractError where a space
    would be continued in an environment that gives other features; MachineError where disk or
    memory fail; Interrupted on Ctrl-C. Rows written before any of these are kept.
    """
    started = time.perf_counter()
    progress = progress or Silent()
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
    options = PassOptions(attention=attention, compile=compile)
    if shard_rows is not None and shard_rows < 1:
        msg = f"--shard-rows {shard_rows} is not a number of rows"
        raise InputError(msg, cure="Give 1 or more, or leave it out.")
    job = prepare(data, choice, reading, Path(cache))
    survey = job.survey
    if survey.n_empty:
        progress.note(f"left out   {survey.n_empty:,} rows without text")
    done = run_job(job, options, progress, shard_rows=shard_rows)
    space, ran, model, load_seconds = done.space, done.statistics, done.model, done.load_seconds
    compile_seconds = 0.0 if model is None else model.compile_seconds
    seconds = time.perf_counter() - started - load_seconds - compile_seconds
    return Extraction(
        space=space.name,
        path=str(space.path),
        rows=survey.n_texts,
        unique=len(survey.keys),
        hits=len(survey.keys) - ran.computed,
        computed=ran.computed,
        tokens=ran.tokens,
        truncated=done.truncated,
        seconds=round(seconds, 3),
        load_seconds=round(load_seconds, 3),
        compile_seconds=round(compile_seconds, 3),
        wait_seconds=round(ran.wait_seconds, 3),
        texts_per_second=round(ran.computed / seconds, 1) if ran.computed else None,
        tokens_per_second=round(ran.tokens / seconds, 1) if ran.computed else None,
        layers=space.contract.layers,
        poolings=space.contract.poolings,
        hidden_size=space.origin.hidden_size,
        dtype=space.contract.dtype,
        attention=str(space.environments[-1].get("attention", "padded")),
        why_padded=None if model is None else model.why_padded,
        compiled=model is not None and model.compiled is not None,
        why_not_compiled=None if model is None else model.why_not_compiled,
        device=job.resolved.device,
    )
