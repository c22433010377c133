"""What an extraction is about: its texts, its contract, and which rows the cache lacks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.memo import Memo
from featcache.cache.space import Space
from featcache.data.stream import stream
from featcache.data.survey import Survey
from featcache.data.table import CHUNK_ROWS
from featcache.data.texts import TextOptions
from featcache.durable import free_bytes
from featcache.errors import MachineError
from featcache.features.request import BackboneChoice, Resolved, resolve
from featcache.wording import megabytes

_SAMPLE = 256  # texts from which the tokens of all are estimated


@dataclass(frozen=True)
class Job:
    """A request with everything known that is known without loading the model."""

    survey: Survey
    resolved: Resolved


def prepare(
    data: Any, choice: BackboneChoice, cache: Path, memo: Memo, reading: TextOptions
) -> Job:
    """Read and check all data, and work out the contract."""
    return Job(
        Survey.of(stream(data, encoding=reading.encoding), reading), resolve(choice, cache, memo)
    )


def missing_rows(space: Space | None, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Numbers of the different texts that the space does not hold."""
    if space is None:
        return np.arange(len(keys))
    return np.flatnonzero(space.find(keys) < 0)


def sample_texts(survey: Survey, missing: NDArray[np.int64]) -> list[str]:
    """A few of the first missing texts."""
    first = missing[:CHUNK_ROWS]
    return survey.texts(first[:: max(1, len(first) // _SAMPLE)])


def row_bytes(resolved: Resolved) -> int:
    """Bytes of one row on the disk: its states as float16, their checksums, its key and what is
    known of it.
    """
    views = len(resolved.contract.layers) * len(resolved.contract.poolings)
    return views * (resolved.facts.hidden_size * 2 + 8) + 29


def check_disk(cache: Path, resolved: Resolved, n_rows: int) -> None:
    """Before the pass, not hours into it. Each shard reserves its space once more when it is
    written.
    """
    needed, free = n_rows * row_bytes(resolved), free_bytes(cache)
    if needed > free:
        msg = f"{n_rows:,} texts need {megabytes(needed)} in {cache}, where {megabytes(free)} are free"
        cure = "Free space, choose another --cache, or keep less: --layers last, or fewer --pool."
        raise MachineError(msg, cure=cure)
