"""From a job to rows in the cache: load the backbone only if rows are missing, then run the pass
over those.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featcache.cache.memo import Memo
from featcache.cache.space import Space
from featcache.durable import settle
from featcache.extraction.drift import check_drift
from featcache.extraction.engine import PassStatistics, run_pass
from featcache.extraction.job import Job, check_disk, missing_rows, sample_texts
from featcache.extraction.model import PassOptions, load_for
from featcache.features.request import BackboneChoice, make_space
from featcache.progress import Progress

if TYPE_CHECKING:
    from featcache.backbone.model import Backbone


@dataclass(frozen=True)
class JobOutcome:
    """What became of a job. space: it holds every text of the job.  model: None where every text
    was cached.

    truncated: different texts that lost tokens, cached ones too.  load_seconds: without compiling.
    """

    space: Space
    ran: PassStatistics
    model: Backbone | None
    truncated: int
    load_seconds: float


def run_job(
    job: Job,
    choice: BackboneChoice,
    cache: Path,
    memo: Memo,
    running: PassOptions,
    shard_rows: int | None,
    progress: Progress,
) -> JobOutcome:
    """Compute and write the texts of a job that the cache lacks.

    Raises ContractError where the environment gives other features than those in the space;
    MachineError where disk or memory fail; Interrupted on Ctrl-C. Rows written before any of these
    are kept.
    """
    survey = job.survey
    space = None if job.resolved.path is None else Space.open(job.resolved.path)
    missing = missing_rows(space, survey.keys)
    ran, load_seconds, model = PassStatistics.none(len(survey.keys)), 0.0, None
    if len(missing):
        check_disk(cache, job.resolved, len(missing))
        # The model first: one that cannot be loaded must not leave an empty space behind.
        loading = time.perf_counter()
        model = load_for(
            job.resolved, choice, memo, running, len(missing), lambda: sample_texts(survey, missing)
        )
        if model.why_padded is not None:
            progress.note(f"padded     texts are not packed: {model.why_padded}")
        if model.why_not_compiled is not None:
            progress.note(f"eager      the model is not compiled: {model.why_not_compiled}")
        model.budget.say = progress.note
        load_seconds = time.perf_counter() - loading - model.compile_seconds
        made = make_space(cache, job.resolved, choice.backbone)
        with made.writing(
            lambda: progress.note("waiting for a merge, repair or gc of this space")
        ) as (space, claims):
            missing = missing_rows(
                space, survey.keys
            )  # others may have written while the model was loaded
            check_drift(space, survey, missing, model)
            ran = run_pass(space, claims, survey, missing, model, shard_rows, progress)
        space = space.reopened()
    memo.save(cache)
    assert space is not None
    settle(
        space.path
    )  # rows that another process has named must not be reported before they are safe
    truncated = ran.truncated + _truncated(space, survey.keys, ran.rows)
    return JobOutcome(space, ran, model, truncated, load_seconds)


def _truncated(space: Space, keys: NDArray[np.uint8], known: NDArray[np.bool_]) -> int:
    """How many of the texts that are not known of lost tokens. known: (U,). A whole new space is
    not searched.
    """
    if known.all():
        return 0
    _, truncated = space.token_counts(space.find(keys[~known]))
    return int(truncated.sum())
