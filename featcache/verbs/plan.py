"""Verb: what an extraction would find, compute and cost; nothing is written."""

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
    """What an extraction would do.

    Attributes:
        rows: Number of texts.
        unique: Number of different texts: `hits` + `misses`.
        hits: How many are in the cache.
        misses: How many would be computed.
        tokens: Tokens of these.
        truncated: How many of these would lose tokens.
        n_bytes: Bytes that would be written.
        seconds: How long the pass would take, estimated from a short run.
        space: The space that serves the request, or None.
        layers: Layers of that space, or of the one that would be made.
        poolings: Its poolings.
        dtype: Number type of the model.
        device: cpu, cuda or mps.
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
    """Tell what `extract` with the same arguments would find and compute; nothing is written.

    The time is estimated by running up to 64 of the missing texts.

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
        attention: How texts become batches: "padded"; "packed", laid end to end without padding,
            if a check shows that the model gives the same states; or "auto", which packs on CPUs.
        compile: "on", "off", or "auto", which uses torch.compile for 2 million tokens or more on
            CPUs with AMX. The features are the same within rounding.
        allow_pickle: Whether weights may be pickles, which can run code when loaded.
        trust_remote_code: Whether Python code in the model's folder may run.
        pool: Another name for `pooling`.

    Returns:
        What would be done.

    Raises:
        InputError: Data or options cannot be used.
        MachineError: The device is not there, or memory runs out.
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
        tokens, truncated, sample = _count_tokens(job.survey, missing, model, contract)
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


def _count_tokens(
    survey: Survey, missing: NDArray[np.int64], model: Backbone, contract: Contract
) -> tuple[int, int, list[str]]:
    """Tokens of the missing texts, how many texts are cut, and a few texts, evenly drawn."""
    from featcache.backbone.batching import tokenize

    cursor, n_tokens, n_truncated = Cursor(survey), 0, 0
    drawn = np.linspace(0, len(missing) - 1, min(_ROWS, len(missing))).astype(int)
    places = set(drawn.tolist())
    sample: list[str] = []
    for start in range(0, len(missing), _STEP):
        texts = cursor.take(missing[start : start + _STEP])
        tokens = tokenize(model.tokenizer, texts, max_length=contract.max_length)
        n_tokens += int(tokens.lengths.sum())
        n_truncated += int(tokens.truncated.sum())
        sample += [text for place, text in enumerate(texts, start) if place in places]
    return n_tokens, n_truncated, sample


def _seconds_per_token(model: Backbone, texts: Sequence[str], contract: Contract) -> float:
    """Measure the speed on a few texts, after a run of four to warm up."""
    from featcache.backbone.batching import tokenize

    n_tokens = int(tokenize(model.tokenizer, texts, max_length=contract.max_length).lengths.sum())
    states_of(texts[:4], model, contract, layers=contract.layers, poolings=contract.poolings)
    started = time.perf_counter()
    states_of(texts, model, contract, layers=contract.layers, poolings=contract.poolings)
    return (time.perf_counter() - started) / n_tokens
