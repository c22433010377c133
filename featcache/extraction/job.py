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
    """An extraction before its model is loaded: what was requested, and what is known of it.

    Attributes:
        choice: The backbone that was requested.
        reading: How rows become texts.
        cache: The cache folder.
        memo: What earlier runs found out about the backbone; saved by whoever writes to the cache.
        survey: The texts, read and checked once.
        resolved: The contract of the request, and the space that serves it, if there is one.
    """

    choice: BackboneChoice
    reading: TextOptions
    cache: Path
    memo: Memo
    survey: Survey
    resolved: Resolved

    def open_space(self) -> Space | None:
        """Open the space that serves the request; None where there is none yet."""
        return None if self.resolved.path is None else Space.open(self.resolved.path)


def prepare(data: Any, choice: BackboneChoice, reading: TextOptions, cache: Path) -> Job:
    """Read and check all data, and work out the contract; nothing is loaded and nothing written.

    Args:
        data: The rows; see `data.stream.stream` for all that is accepted.
        choice: The backbone that is requested.
        reading: How rows become texts.
        cache: The cache folder, which need not exist.

    Returns:
        The job, ready for `run_job`.

    Raises:
        InputError: The data or an option cannot be used.
        BackboneError: The backbone cannot be used.
        MachineError: The requested device is not there.
    """
    memo = Memo.load(cache)
    survey = Survey.of(stream(data, encoding=reading.encoding), reading)
    return Job(choice, reading, cache, memo, survey, resolve(choice, cache, memo))


def missing_rows(space: Space | None, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Numbers of the different texts that a space does not hold, ascending.

    Args:
        space: The space; without one, everything is missing.
        keys: Keys of the different texts, uint8 (U, 16).

    Returns:
        Row numbers into `keys`, (missing,).
    """
    if space is None:
        return np.arange(len(keys))
    return np.flatnonzero(space.find(keys) < 0)


def sample_texts(survey: Survey, missing: NDArray[np.int64]) -> list[str]:
    """A few of the first missing texts, from which the tokens of all are estimated."""
    first = missing[:CHUNK_ROWS]
    return survey.texts(first[:: max(1, len(first) // _SAMPLE)])


def row_bytes(resolved: Resolved) -> int:
    """Bytes of one row on the disk: float16 states with their checksums, its key and its counts."""
    n_views = len(resolved.contract.layers) * len(resolved.contract.poolings)
    return n_views * (resolved.facts.hidden_size * 2 + 8) + 29


def check_disk(cache: Path, resolved: Resolved, n_rows: int) -> None:
    """Check before the pass, not hours into it, that the disk has room for the new rows.

    Each shard reserves its space once more when it is written.

    Args:
        cache: The cache folder.
        resolved: The request.
        n_rows: Number of rows to write.

    Raises:
        MachineError: The disk is too full.
    """
    needed, free = n_rows * row_bytes(resolved), free_bytes(cache)
    if needed > free:
        msg = (
            f"{n_rows:,} texts need {megabytes(needed)} in {cache}, "
            f"where {megabytes(free)} are free"
        )
        cure = "Free space, choose another --cache, or keep less: --layers last, or fewer --pool."
        raise MachineError(msg, cure=cure)
