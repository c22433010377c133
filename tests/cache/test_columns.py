"""How numbers are stored and read back: nothing is lost on the way that float16 can hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from featcache.cache.columns import write_shard
from featcache.cache.naming import shard_files
from featcache.cache.numbers import narrow, widen
from tests.cache.test_shard import contract, rows


def test_widening_is_exact_for_every_finite_float16() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    np.testing.assert_array_equal(
        widen(finite).view(np.uint32), finite.astype(np.float32).view(np.uint32)
    )


def test_what_does_not_fit_into_float16_stays_float32() -> None:
    fits, large = np.array([[65_504.0, -1.0]], np.float32), np.array([[65_520.0, -1.0]], np.float32)
    assert narrow(fits).dtype == np.float16
    assert narrow(large).dtype == np.float32
    np.testing.assert_array_equal(widen(narrow(large)), large)


def test_hidden_files_of_a_file_system_are_no_shards(tmp_path: Path) -> None:
    """macOS leaves `._name` beside each file on disks that are not its own."""
    path = write_shard(tmp_path, rows(), contract=contract(), provenance={})
    (tmp_path / f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
    assert shard_files(tmp_path) == [path]
