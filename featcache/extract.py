"""Verb: run a frozen backbone once over texts and keep its pooled states in the cache.

Reads top to bottom: read and render texts, name rows by content, look them up, load the backbone only if
rows are missing, and have `pipeline.py` run it over those. `plan.py` answers what that would cost.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.memo import Memo
from featcache.cache.space import Space
from featcache.data.stream import stream
from featcache.data.survey import Survey
from featcache.data.table import CHUNK_ROWS
from featcache.data.texts import Reading
from featcache.errors import ContractError, InputError, MachineError
from featcache.files import free_bytes, megabytes, settle
from featcache.models import Running, load_for
from featcache.pipeline import Ran, run_pass
from featcache.report.progress import Progress, Silent
from featcache.spaces import DEFAULT_CACHE, BackboneChoice, Resolved, make_space, resolve
from featcache.states import states_of

if TYPE_CHECKING:
    from featcache.backbone.load import Backbone

_SAMPLE = 256  # texts from which the tokens of all are estimated
_PROBES = 4  # cached rows computed again before rows are added to a space
# Largest relative difference |new - cached| / |cached| that batching and rounding explain. Measured with MiniLM on
# 170 texts, run one by one against batches of 4,096 and 20,000 tokens, over 7 layers x 2 poolings: float32 4e-4
# (the float16 of storage), bfloat16 1.3e-2. With one layer's output weights scaled by 1.1 the views after it
# differ by up to 0.08 (median 0.02), by 1.02 by up to 0.015.
_DRIFT = {"float32": 0.005, "float16": 0.02, "bfloat16": 0.05}


@dataclass(frozen=True)
class Extraction:
    """What one extraction did.

    rows >= unique = hits + computed; tokens are those of computed rows; truncated counts different texts
    that lost tokens. seconds: from the first row read to the last fsync, without load_seconds (imports and
    model). wait_seconds: the part of it in which the model stood still for want of tokens, or of room to hand
    over its states. Rates are None when every row was a hit.
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


@dataclass(frozen=True)
class Job:
    """A request with everything known that is known without loading the model."""

    survey: Survey
    resolved: Resolved


def extract(
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
    shard_rows: int | None = None,
    attention: str = "auto",
    compile: str = "auto",  # noqa: A002 - the word that the command line and PyTorch have for it
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> Extraction:
    """Make sure that the pooled states of all texts are in the cache; compute those that are not.

    data: a file, folder or hub data set; several; texts; columns; a data frame (see `data.read.read`).
    backbone: a model folder or hub id.  text, template: the column of the texts, or how columns become one.
    layers: "auto", "all", "last" or numbers; 0 is the embedding output.  pool: of mean, cls, last, max.
    max_length: tokens; the default is the model's limit, at most 512.  dtype: "auto", "float32", …
    attention: how texts become batches: "padded"; "packed", laid end to end without padding, where a trial shows
    that the model gives the same states; or "auto", which packs on CPUs.  compile: "on", "off", or "auto", which uses
    torch.compile for 2 million tokens or more on CPUs with AMX. The features are the same within rounding.

    Raises InputError and its kin (exit code 2) for bad data or options; ContractError where a space
    would be continued in an environment that gives other features; MachineError where disk or memory fail;
    Interrupted on Ctrl-C. Rows written before any of these are kept.
    """
    started = time.perf_counter()
    progress = progress or Silent()
    place = Path(cache)
    memo = Memo.load(place)
    choice = BackboneChoice(
        os.fspath(backbone), layers, pool, max_length, dtype, device, allow_pickle, trust_remote_code
    )
    running = Running(attention, compile)
    running.check()
    if shard_rows is not None and shard_rows < 1:
        msg = f"--shard-rows {shard_rows} is not a number of rows"
        raise InputError(msg, cure="Give 1 or more, or leave it out.")
    job = prepare(data, choice, place, memo, Reading(text, template, encoding, skip_empty))
    survey = job.survey
    if survey.n_empty:
        progress.note(f"left out   {survey.n_empty:,} rows without text")
    space = None if job.resolved.path is None else Space.open(job.resolved.path)
    missing = missing_rows(space, survey.keys)
    ran, load_seconds, model = Ran.none(len(survey.keys)), 0.0, None
    if len(missing):
        _check_disk(place, job.resolved, len(missing))
        # The model first: one that cannot be loaded must not leave an empty space behind.
        loading = time.perf_counter()
        model = load_for(job.resolved, choice, memo, running, len(missing), lambda: _some(survey, missing))
        if model.why_padded is not None:
            progress.note(f"padded     texts are not packed: {model.why_padded}")
        if model.why_not_compiled is not None:
            progress.note(f"eager      the model is not compiled: {model.why_not_compiled}")
        model.budget.say = progress.note
        load_seconds = time.perf_counter() - loading - model.compile_seconds
        made = make_space(place, job.resolved, choice.backbone)
        with made.writing(lambda: progress.note("waiting for a merge, repair or gc of this space")) as (space, claims):
            missing = missing_rows(space, survey.keys)  # others may have written while the model was loaded
            _check_drift(space, survey, missing, model)
            ran = run_pass(space, claims, survey, missing, model, shard_rows, progress)
        space = space.reopened()
    memo.save(place)
    assert space is not None  # noqa: S101 - a job has at least one text, so it was opened or made
    settle(space.path)  # rows that another process has named must not be reported before they are safe
    n_truncated = ran.truncated + _truncated(space, survey.keys, ran.rows)
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
        truncated=n_truncated,
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


def prepare(data: Any, choice: BackboneChoice, cache: Path, memo: Memo, reading: Reading) -> Job:  # noqa: ANN401 - see data.read
    """Read and check all data, and work out the contract."""
    return Job(Survey.of(stream(data, encoding=reading.encoding), reading), resolve(choice, cache, memo))


def missing_rows(space: Space | None, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Numbers of the different texts that the space does not hold."""
    if space is None:
        return np.arange(len(keys))
    return np.flatnonzero(space.find(keys) < 0)


def _some(survey: Survey, missing: NDArray[np.int64]) -> list[str]:
    """A few of the first missing texts."""
    first = missing[:CHUNK_ROWS]
    return survey.texts(first[:: max(1, len(first) // _SAMPLE)])


def _truncated(space: Space, keys: NDArray[np.uint8], known: NDArray[np.bool_]) -> int:
    """How many of the texts that are not known of lost tokens. known: (U,). A whole new space is not searched."""
    if known.all():
        return 0
    _, truncated = space.token_counts(space.find(keys[~known]))
    return int(truncated.sum())


def row_bytes(resolved: Resolved) -> int:
    """Bytes of one row on the disk: its states as float16, their checksums, its key and what is known of it."""
    views = len(resolved.contract.layers) * len(resolved.contract.poolings)
    return views * (resolved.facts.hidden_size * 2 + 8) + 29


def _check_disk(cache: Path, resolved: Resolved, n_rows: int) -> None:
    """Before the pass, not hours into it. Each shard reserves its space once more when it is written."""
    needed, free = n_rows * row_bytes(resolved), free_bytes(cache)
    if needed > free:
        msg = f"{n_rows:,} texts need {megabytes(needed)} in {cache}, where {megabytes(free)} are free"
        cure = "Free space, choose another --cache, or keep less: --layers last, or fewer --pool."
        raise MachineError(msg, cure=cure)


def _check_drift(space: Space, survey: Survey, missing: NDArray[np.int64], model: Backbone) -> None:
    """Compute a few cached rows again before adding others, so that an environment that drifted is noticed.

    Libraries, device and thread count are provenance, not contract; here it shows whether they matter.
    """
    if len(missing) == len(survey.keys):
        return
    held = np.setdiff1d(np.arange(len(survey.keys)), missing, assume_unique=True)
    at_hand = held[survey.first[held] < len(survey.head)]
    # Of the texts that are in memory, if there are any; else the first ones, so that little is read for them.
    some = at_hand if len(at_hand) else held[:_PROBES]
    probes = some[np.linspace(0, len(some) - 1, min(_PROBES, len(some))).astype(int)]
    contract = space.contract
    now = states_of(survey.texts(probes), model, contract, layers=contract.layers, poolings=contract.poolings)
    positions = space.find(survey.keys[probes])
    for i, layer in enumerate(contract.layers):
        for j, pooling in enumerate(contract.poolings):
            cached = space.gather(positions, layer=layer, pooling=pooling)
            change = np.linalg.norm(now[:, i, j] - cached, axis=1) / (np.linalg.norm(cached, axis=1) + 1e-6)
            if change.max() > _DRIFT[contract.dtype]:
                msg = (
                    f"layer {layer} {pooling} of rows that are in {space.name} comes out differently now "
                    f"(by {change.max():.1%}; rounding explains {_DRIFT[contract.dtype]:.1%}): "
                    "libraries or device changed"
                )
                cure = "Use another --cache, so that old and new features never mix; or restore the environment."
                raise ContractError(msg, cure=cure)
