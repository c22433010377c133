"""Verb: run a frozen backbone once over texts and keep its pooled states in the cache.

Reads top to bottom: read and render texts, name rows by content, look them up, load the backbone
only if rows are missing, and run it over those (`extraction/`). `plan.py` tells the cost first.
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

    Attributes:
        space: Name of the space.
        path: Its folder.
        rows: Number of texts.
        unique: Number of different texts: `hits` + `computed`.
        hits: How many were in the cache.
        computed: How many were computed.
        tokens: Tokens of the computed texts.
        truncated: How many of the different texts lost tokens.
        seconds: From the first row read to the last fsync, without loading and compiling.
        load_seconds: Time to import libraries and load the model.
        compile_seconds: Time to compile it.
        wait_seconds: How long the model stood still, waiting for tokens or for the writer.
        texts_per_second: Rate; None where nothing was computed.
        tokens_per_second: Rate; None where nothing was computed.
        layers: Layers of the space.
        poolings: Poolings of the space.
        hidden_size: Width of a state.
        dtype: Number type of the model.
        attention: "packed" or "padded", as the newest rows of the space were computed.
        why_padded: Why texts were not packed although that was tried.
        compiled: Whether the model was compiled.
        why_not_compiled: Why it was not although that was tried.
        device: cpu, cuda or mps.
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

    Rows written before an error are kept.

    Args:
        data: A file, folder or hub data set; several; texts; columns; or a data frame.
        backbone: A model folder or hub id.
        cache: The cache folder.
        text: The column of the texts; None: the only one that can be meant.
        template: How several columns become one text, such as "{title}: {body}".
        layers: "auto", "all", "last" or layer numbers; 0 is the embedding output.
        pooling: Poolings out of mean, cls, last and max; the default depends on the model.
        max_length: Tokens of the longest text; the default is the model's limit, at most 512.
        dtype: "auto", "float32", "bfloat16" or "float16".
        device: "auto", "cpu", "cuda" or "mps".
        encoding: Encoding of text files.
        skip_empty: Whether rows without text are left out instead of refused.
        shard_rows: Rows of a shard; the default goes by bytes and seconds.
        attention: How texts become batches: "padded"; "packed", laid end to end without padding,
            if a check shows that the model gives the same states; or "auto", which packs on CPUs.
        compile: "on", "off", or "auto", which uses torch.compile for 2 million tokens or more on
            CPUs with AMX. The features are the same within rounding.
        allow_pickle: Whether weights may be pickles, which can run code when loaded.
        trust_remote_code: Whether Python code in the model's folder may run.
        progress: Where progress and notes go; None: nowhere.
        pool: Another name for `pooling`.

    Returns:
        What was found, what was computed and how long it took.

    Raises:
        InputError: Data or options cannot be used.
        ContractError: A space would be continued in an environment that gives other features.
        MachineError: Disk or memory fail.
        Interrupted: Ctrl-C.
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
    if job.resolved.note is not None:
        progress.note(f"pooling    {job.resolved.note}")
    if survey.n_empty:
        progress.note(f"left out   {survey.n_empty:,} rows without text")
    done = run_job(job, options, progress, shard_rows=shard_rows)
    space, model, statistics = done.space, done.model, done.statistics
    compile_seconds = 0.0 if model is None else model.compile_seconds
    seconds = time.perf_counter() - started - done.load_seconds - compile_seconds
    return Extraction(
        space=space.name,
        path=str(space.path),
        rows=survey.n_texts,
        unique=len(survey.keys),
        hits=len(survey.keys) - statistics.computed,
        computed=statistics.computed,
        tokens=statistics.tokens,
        truncated=done.truncated,
        seconds=round(seconds, 3),
        load_seconds=round(done.load_seconds, 3),
        compile_seconds=round(compile_seconds, 3),
        wait_seconds=round(statistics.wait_seconds, 3),
        texts_per_second=round(statistics.computed / seconds, 1) if statistics.computed else None,
        tokens_per_second=round(statistics.tokens / seconds, 1) if statistics.computed else None,
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
