"""Gathering rows into shards: nothing is written twice, nothing is left waiting, sizes are as
asked.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featcache.cache import writer as module
from featcache.cache.space import Space
from featcache.cache.writer import ShardWriter
from tests.cache.test_space import make


def batch(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    states = generator.standard_normal((n, 2, 2, 5)).astype(
        np.float32
    )  # layers 0 and 2, mean and cls
    keys = generator.integers(0, 256, (n, 16), dtype=np.uint8)
    return keys, np.full(n, 3, dtype=np.uint32), np.zeros(n, dtype=np.bool_), states


def shard_sizes(space: Space) -> list[int]:
    return sorted(shard.n_rows for shard in space.reopened().shards)


@pytest.mark.parametrize(
    ("shard_rows", "sizes"), [(None, [23]), (10, [3, 10, 10]), (1, [1] * 23), (100, [23])]
)
def test_shards_have_the_asked_size_and_hold_every_row_once(
    tmp_path: Path, shard_rows: int | None, sizes: list[int]
) -> None:
    space = make(tmp_path)
    writer = ShardWriter(space, {"written": "x"}, shard_rows)
    batches = [batch(n, seed) for seed, n in enumerate((7, 1, 12, 3))]
    written = sum(writer.add(*batch) for batch in batches) + writer.flush()
    assert written == writer.n_written == 23
    assert shard_sizes(space) == sizes
    keys = np.concatenate([batch[0] for batch in batches])
    expected = np.concatenate([batch[3] for batch in batches])[:, 1, 0].astype(np.float16)
    space = space.reopened()
    np.testing.assert_array_equal(space.gather(space.find(keys), layer=2, pooling="mean"), expected)


def test_flushing_what_is_not_there_writes_nothing(tmp_path: Path) -> None:
    writer = ShardWriter(make(tmp_path), {"written": "x"})
    assert writer.flush() == 0
    writer.add(*batch(4, 0))
    assert [writer.flush(), writer.flush()] == [4, 0]


@pytest.mark.parametrize(
    ("limit", "value"), [("SHARD_BYTES", 10 * 2 * 2 * 5 * 2), ("SHARD_SECONDS", 0.0)]
)
def test_size_and_time_close_a_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    monkeypatch.setattr(module, limit, value)
    space = make(tmp_path)
    writer = ShardWriter(space, {"written": "x"})
    assert writer.add(*batch(12, 0)) == 12
    assert writer.flush() == 0
    assert shard_sizes(space) == [12]


def test_rows_that_could_not_be_written_still_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = make(tmp_path)
    writer = ShardWriter(space, {"written": "x"}, shard_rows=5)
    calls = []

    def second_fails(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        original(*arguments)

    original = Space.add.__get__(space)
    monkeypatch.setattr(Space, "add", lambda _, *arguments: second_fails(*arguments))
    with pytest.raises(KeyboardInterrupt):
        writer.add(*batch(13, 0))
    assert writer.n_written == 5
    assert writer.flush() == 8
    assert shard_sizes(space) == [3, 5, 5]
