"""From a job to rows in the cache: load the backbone only if rows are missing, then run the pass.

The pass itself, with its threads, is in `engine.py`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featcache.cache.space import Space
from featcache.durable import settle
from featcache.extraction.drift import check_drift
from featcache.extraction.engine import PassStatistics, run_pass
from featcache.extraction.job import Job, check_disk, missing_rows, sample_texts
from featcache.extraction.model import PassOptions, load_for
from featcache.features.request import make_space
from featcache.progress import Progress

if TYPE_CHECKING:
    from featcache.backbone.model import Backbone


@dataclass(frozen=True)
class JobOutcome:
    """What became of a job.

    Attributes:
        space: The space; it holds every text of the job.
        statistics: What the pass did.
        model: The backbone that ran; None where every text was cached.
        truncated: How many of the different texts lost tokens, cached ones included.
        load_seconds: Time to load the model and its libraries, without compiling.
    """

    space: Space
    statistics: PassStatistics
    model: Backbone | None
    truncated: int
    load_seconds: float


def run_job(
    job: Job, options: PassOptions, progress: Progress, *, shard_rows: int | None = None
) -> JobOutcome:
    """Compute and write the texts of a job that the cache lacks.

    Rows written before an error are kept.

    Args:
        job: The job.
        options: How the model is run.
        progress: Where progress and notes go.
        shard_rows: Rows of a shard; None: by bytes and seconds.

    Returns:
        The space, which holds every text now, and what was done.

    Raises:
        ContractError: The environment gives other features than those in the space.
        MachineError: Disk or memory fail.
        Interrupted: Ctrl-C.
    """
    space = job.open_space()
    keys = job.survey.keys
    missing = missing_rows(space, keys)
    statistics = PassStatistics.none(len(keys))
    load_seconds, model = 0.0, None
    if len(missing):
        check_disk(job.cache, job.resolved, len(missing))
        # The model first: one that cannot be loaded must not leave an empty space behind.
        started = time.perf_counter()
        model = _load(job, options, missing, progress)
        load_seconds = time.perf_counter() - started - model.compile_seconds
        space, statistics = _fill(job, model, progress, shard_rows)
    job.memo.save(job.cache)
    assert space is not None
    # Rows whose names another process has given must not be reported before they are safe.
    settle(space.path)
    truncated = statistics.truncated + _truncated_before(space, keys, statistics.rows)
    return JobOutcome(space, statistics, model, truncated, load_seconds)


def _load(
    job: Job, options: PassOptions, missing: NDArray[np.int64], progress: Progress
) -> Backbone:
    """Load the model for the missing rows, and note what could not be done as requested."""
    model = load_for(job, options, len(missing), lambda: sample_texts(job.survey, missing))
    if model.why_padded is not None:
        progress.note(f"padded     texts are not packed: {model.why_padded}")
    if model.why_not_compiled is not None:
        progress.note(f"eager      the model is not compiled: {model.why_not_compiled}")
    model.budget.say = progress.note
    return model


def _fill(
    job: Job, model: Backbone, progress: Progress, shard_rows: int | None
) -> tuple[Space, PassStatistics]:
    """Run the pass over what the space lacks by now; make the space where there is none."""
    survey = job.survey
    made = make_space(job.cache, job.resolved, job.choice.backbone)

    def note_waiting() -> None:
        progress.note("waiting for a merge, repair or gc of this space")

    with made.writing(note_waiting) as (space, claims):
        # Others may have written while the model was loaded.
        missing = missing_rows(space, survey.keys)
        check_drift(space, survey, missing, model)
        statistics = run_pass(space, claims, survey, missing, model, shard_rows, progress)
    return space.reopened(), statistics


def _truncated_before(space: Space, keys: NDArray[np.uint8], computed: NDArray[np.bool_]) -> int:
    """How many texts that were not computed now had lost tokens when they were.

    computed: bool (U,). Where everything was computed now, the space is not searched.
    """
    if computed.all():
        return 0
    _, truncated = space.token_counts(space.find(keys[~computed]))
    return int(truncated.sum())
