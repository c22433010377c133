"""Verb: run a frozen backbone once over texts and keep its pooled states in the cache.

Reads top to bottom: read and render texts, name rows by content, look them up, load the backbone only if
rows are missing, run it over those, write shards. `plan.py` answers what that would cost.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.claims import Claims
from featcache.cache.contract import Contract
from featcache.cache.memo import Memo
from featcache.cache.space import Space
from featcache.cache.writer import ShardWriter
from featcache.data.keys import first_of_each, row_keys
from featcache.data.read import read
from featcache.data.table import Table
from featcache.data.texts import Reading, Texts, render
from featcache.errors import BackboneError, ContractError, InputError, Interrupted, MachineError
from featcache.files import free_bytes, megabytes, settle
from featcache.models import Running, load_for
from featcache.report.progress import Progress, Silent
from featcache.spaces import DEFAULT_CACHE, BackboneChoice, Resolved, make_space, resolve

if TYPE_CHECKING:
    from featcache.backbone.batching import Tokens
    from featcache.backbone.load import Backbone

SLICE_ROWS = 32_768  # rows tokenised and sorted together, and claimed where several processes share the work
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
    model). Rates are None when every row was a hit.
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

    table: Table
    texts: Texts
    keys: NDArray[np.uint8]  # (U, 16) of the different texts
    first: NDArray[np.int64]  # (U,) places in texts.rendered
    resolved: Resolved

    def text(self, unique: int) -> str:
        return self.texts.rendered[int(self.first[unique])]

    def place(self, unique: int) -> str:
        source, row = self.table.place(self.texts.rows[self.first[unique]])
        return f"{source}, row {row}"


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
    torch.compile for 2 million tokens or more where it helps. The features are the same within rounding.

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
    if job.texts.n_empty:
        progress.note(f"left out   {job.texts.n_empty:,} rows without text")
    space = None if job.resolved.path is None else Space.open(job.resolved.path)
    missing = missing_rows(space, job.keys)
    n_computed, n_tokens, load_seconds, model = 0, 0, 0.0, None
    if len(missing):
        _check_disk(place, job.resolved, len(missing))
        # The model first: one that cannot be loaded must not leave an empty space behind.
        loading = time.perf_counter()
        some = [job.text(row) for row in missing[:: max(1, len(missing) // _SAMPLE)]]
        model = load_for(job.resolved, choice, memo, running, len(missing), some)
        if model.why_padded is not None:
            progress.note(f"padded     texts are not packed: {model.why_padded}")
        if model.why_not_compiled is not None:
            progress.note(f"eager      the model is not compiled: {model.why_not_compiled}")
        model.budget.say = progress.note
        load_seconds = time.perf_counter() - loading - model.compile_seconds
        made = make_space(place, job.resolved, choice.backbone)
        with made.writing(lambda: progress.note("waiting for a merge, repair or gc of this space")) as (space, claims):
            missing = missing_rows(space, job.keys)  # others may have written while the model was loaded
            _check_drift(space, job, model)
            n_computed, n_tokens = _run(space, claims, job, missing, model, shard_rows, progress)
        space = space.reopened()
    memo.save(place)
    assert space is not None  # noqa: S101 - a job has at least one text, so it was opened or made
    settle(space.path)  # rows that another process has named must not be reported before they are safe
    _, truncated = space.token_counts(space.find(job.keys))
    compile_seconds = 0.0 if model is None else model.compile_seconds
    seconds = time.perf_counter() - started - load_seconds - compile_seconds
    return Extraction(
        space=space.name,
        path=str(space.path),
        rows=len(job.texts.rendered),
        unique=len(job.keys),
        hits=len(job.keys) - n_computed,
        computed=n_computed,
        tokens=n_tokens,
        truncated=int(truncated.sum()),
        seconds=round(seconds, 3),
        load_seconds=round(load_seconds, 3),
        compile_seconds=round(compile_seconds, 3),
        texts_per_second=round(n_computed / seconds, 1) if n_computed else None,
        tokens_per_second=round(n_tokens / seconds, 1) if n_computed else None,
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


def states_of(
    texts: Sequence[str], model: Backbone, contract: Contract, *, layers: Sequence[int], poolings: Sequence[str]
) -> NDArray[np.float32]:
    """Pooled states computed now, float32 (N, layers, poolings, H), in the order of `texts`; nothing is cached.

    Raises BackboneError where the model gives NaN or infinity for a text.
    """
    from featcache.backbone.batching import tokenize
    from featcache.backbone.forward import pooled_states

    tokens = tokenize(model.tokenizer, texts, max_length=contract.max_length)
    parts = list(pooled_states(model, tokens, layers=layers, poolings=poolings))
    states = np.concatenate([part.states for part in parts])
    order = np.concatenate([part.rows for part in parts])
    result = np.empty_like(states)
    result[order] = states
    bad = _not_finite(result)
    if len(bad):
        raise _not_finite_error(f"the text {texts[bad[0]][:40]!r}", contract)
    return result


def prepare(data: Any, choice: BackboneChoice, cache: Path, memo: Memo, reading: Reading) -> Job:  # noqa: ANN401 - see data.read
    table = read(data, encoding=reading.encoding)
    texts = render(table, reading)
    keys = row_keys(texts.rendered)
    first, _ = first_of_each(keys)
    return Job(table, texts, keys[first], first, resolve(choice, cache, memo))


def missing_rows(space: Space | None, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Numbers of the different texts that the space does not hold."""
    if space is None:
        return np.arange(len(keys))
    return np.flatnonzero(space.find(keys) < 0)


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


def _run(
    space: Space,
    claims: Claims,
    job: Job,
    missing: NDArray[np.int64],
    model: Backbone,
    shard_rows: int | None,
    progress: Progress,
) -> tuple[int, int]:
    """Compute and write the missing texts, slice by slice; returns those computed here, and their tokens.

    Other processes may be at the same texts: what they finish or have in hand is left to them. Ctrl-C keeps
    what is computed.
    """
    from featcache.backbone.batching import tokenize
    from featcache.backbone.forward import halved, pooled_states

    writer = ShardWriter(space, _provenance(model), shard_rows)
    step = SLICE_ROWS if shard_rows is None else -(-SLICE_ROWS // shard_rows) * shard_rows
    started, n_tokens = time.perf_counter(), 0
    progress.begin("pass", len(missing))
    try:
        for mine, n_elsewhere in claims.slices(job.keys[missing], step, _wait_note(progress)):
            progress.advance(n_elsewhere, "by another process")
            if not len(mine):  # what is left is in other hands
                continue
            rows = missing[mine]
            tokens = tokenize(model.tokenizer, [job.text(row) for row in rows], max_length=space.contract.max_length)
            batches = pooled_states(model, tokens, layers=space.contract.layers, poolings=space.contract.poolings)
            for batch in batches:
                picked = rows[batch.rows]
                states = halved(batch.states)
                bad = _not_finite(states)
                if len(bad):
                    batches.close()  # gives the model its own attention back
                    raise _not_finite_error(
                        job.place(_culprit(job, picked[bad], model, space.contract)), space.contract
                    )
                written = _add(writer, job, picked, tokens, batch.rows, states)
                n_tokens += int(tokens.lengths[batch.rows].sum())
                rate = f"{n_tokens / (time.perf_counter() - started):,.0f} tokens/s"
                progress.advance(len(picked), rate)
                if written:
                    progress.milestone(f"{writer.n_written:,}/{len(missing):,} rows written · {rate}")
            writer.flush()  # what is claimed must be on the disk before the claim goes to the next slice
    except KeyboardInterrupt as error:
        writer.flush()
        msg = f"interrupted: {writer.n_written:,} of {len(missing):,} new texts are computed and kept"
        raise Interrupted(msg, cure="Run the same command again: it goes on from there.") from error
    finally:
        progress.end()
    return writer.n_written, n_tokens


def _wait_note(progress: Progress) -> Callable[[int], None]:
    return lambda n_rows: progress.note(f"another process is computing the last {n_rows:,} texts; waiting for them")


def _add(
    writer: ShardWriter,
    job: Job,
    picked: NDArray[np.int64],
    tokens: Tokens,
    rows: NDArray[np.int64],
    states: NDArray[np.floating[Any]],
) -> int:
    return writer.add(job.keys[picked], tokens.lengths[rows].astype(np.uint32), tokens.truncated[rows], states)


def _check_drift(space: Space, job: Job, model: Backbone) -> None:
    """Compute a few cached rows again before adding others, so that an environment that drifted is noticed.

    Libraries, device and thread count are provenance, not contract; here it shows whether they matter.
    """
    held = np.flatnonzero(space.find(job.keys) >= 0)
    if not len(held):
        return
    probes = held[np.linspace(0, len(held) - 1, min(_PROBES, len(held))).astype(int)]
    contract = space.contract
    now = states_of(
        [job.text(row) for row in probes], model, contract, layers=contract.layers, poolings=contract.poolings
    )
    positions = space.find(job.keys[probes])
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


def _culprit(job: Job, rows: NDArray[np.int64], model: Backbone, contract: Contract) -> int:
    """Of texts that came out not finite, the first that does so alone: in a pack it may spoil its neighbours."""
    alone = replace(model, packed=False, compiled=None)
    for row in rows:
        try:
            states_of([job.text(row)], alone, contract, layers=contract.layers, poolings=contract.poolings)
        except BackboneError:
            return int(row)
    return int(rows[0])


def _not_finite(states: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Rows in which some value is NaN or infinite."""
    if states.dtype == np.float16:  # made so because all of it is finite
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(~np.isfinite(states).all(axis=(1, 2, 3)))


def _not_finite_error(place: str, contract: Contract) -> BackboneError:
    msg = f"the backbone gives NaN or infinity for {place} in {contract.dtype}"
    return BackboneError(msg, cure="Try --dtype float32; where that does it too, the weights are damaged.")


def _provenance(model: Backbone) -> dict[str, Any]:
    libraries = {name: version(name) for name in ("featcache", "torch", "transformers", "tokenizers")}
    return {
        "written": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "device": model.device,
        "attention": "packed" if model.packed else "padded",
        "machine": platform.machine(),
        **libraries,
    }
