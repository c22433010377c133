"""Features of a fold: standardised with training rows only, read once, and in a file where memory
is short.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from featcache.features.budget import MemoryBudget
from featcache.features.matrices import FoldFeatures, raw_features
from featcache.features.views import View
from featcache.heads.setup import TrainingSetup
from featcache.runs.head_records import TrialRecord
from featcache.schema import fields_of
from tests.search.planted import LINEAR, LOGREG, grid, mlp, searched, sweep_of

VIEWS = [View((layer,), ("mean",)) for layer in range(3)]
JOINED, MIX = View((0, 2), ("mean",)), View((0, 1, 2), ("mean",), mixed=True)


def planted(n: int = 120, train: int = 90) -> TrainingSetup:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, n)
    features = {
        view: generator.standard_normal((n, 5)) * (1 + number) + 7 * number + labels[:, None]
        for number, view in enumerate(VIEWS)
    }
    return sweep_of(features, labels, train=train, held=n - train)


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def ours(folder: Path) -> list[Path]:
    """Torch keeps a folder there, too."""
    return list(folder.glob("featcache-*"))


def test_held_rows_are_standardised_by_what_training_rows_are_like() -> None:
    sweep = planted()
    with MemoryBudget() as room:
        features = FoldFeatures(sweep.source, sweep.part.rows, sweep.folds[0], room)
        for view, raw in zip(
            VIEWS, (sweep.source.gather(view, np.arange(120)) for view in VIEWS), strict=True
        ):
            one = features.view(view)
            mean, std = raw[:90].mean(axis=0), raw[:90].std(axis=0)
            np.testing.assert_allclose(one.train.numpy(), (raw[:90] - mean) / std, atol=1e-4)
            np.testing.assert_allclose(one.held.numpy(), (raw[90:] - mean) / std, atol=1e-4)
        joined, mixed = features.view(JOINED), features.view(MIX)
        assert (joined.train.shape, mixed.held.shape) == ((90, 10), (3, 30, 5))
        assert torch.equal(joined.held[:, 5:], features.view(VIEWS[2]).held)
        assert torch.equal(mixed.train[1], features.view(VIEWS[1]).train)
        assert (len(joined.scales), len(mixed.scales)) == (2, 3)
        half = features.view(JOINED, torch.bfloat16)
        assert half.train.dtype == torch.bfloat16
        torch.testing.assert_close(half.train.float(), joined.train, atol=0.05, rtol=0.01)
    np.testing.assert_array_equal(
        raw_features(sweep.source, JOINED, np.array([3]))[0, 5:],
        sweep.source.gather(VIEWS[2], np.array([3]))[0],
    )


def test_each_single_view_is_read_once_whoever_asks() -> None:
    sweep, asked = planted(), Counter[View]()

    class Counted:
        width = sweep.source.width

        def gather(self, view: View, rows: NDArray[np.int64]) -> NDArray[np.float32]:
            asked[view] += 1
            return sweep.source.gather(view, rows)

    watched = replace(sweep, source=Counted())
    with MemoryBudget() as room, ThreadPoolExecutor(4) as pool:
        features = FoldFeatures(watched.source, watched.part.rows, sweep.folds[0], room)
        list(pool.map(features.view, [*VIEWS, JOINED, MIX, JOINED, *VIEWS] * 3))
    assert asked == dict.fromkeys(VIEWS, 1)


def test_a_small_room_goes_on_in_a_file_with_the_same_numbers_and_leaves_none(
    own_folder: Path,
) -> None:
    sweep = planted()
    candidates = grid(sweep, [*VIEWS, JOINED, MIX], LOGREG, LINEAR, mlp(1, 4))
    in_memory = searched(sweep, candidates)
    assert ours(own_folder) == []
    in_file = searched(sweep, candidates, limit=2000)
    for one, other in zip(in_memory, in_file, strict=True):
        first_record, other_record = (fields_of(TrialRecord.of(trial)) for trial in (one, other))
        assert {**first_record, "seconds": 0} == {**other_record, "seconds": 0}
        np.testing.assert_array_equal(one.predicted, other.predicted)
    assert ours(own_folder) == []


def test_what_a_room_keeps_is_in_a_file_once_memory_is_used_up(own_folder: Path) -> None:
    arrays = [torch.full((10, 5), float(number)) for number in range(4)]  # 200 bytes each
    with MemoryBudget(450) as room:
        kept = [room.keep(array) for array in arrays]
        (folder,) = ours(own_folder)
        assert sorted(path.stat().st_size for path in folder.iterdir()) == [200, 200]
        for array, one in zip(arrays, kept, strict=True):
            assert torch.equal(one, array)
    assert ours(own_folder) == []


def test_a_room_s_file_is_gone_after_an_error_too(own_folder: Path) -> None:
    def fail() -> None:
        with MemoryBudget(0) as room:
            room.keep(torch.ones(3, 3))
            assert len(ours(own_folder)) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert ours(own_folder) == []


def test_threads_of_several_folds_share_a_room(own_folder: Path) -> None:
    """None writes over what another keeps."""
    arrays = [torch.full((64, 64), number, dtype=torch.bfloat16) for number in range(200)]
    with MemoryBudget(0) as room, ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(room.keep, arrays))
        (folder,) = ours(own_folder)
        assert len(list(folder.iterdir())) == len(arrays)
        for number, one in enumerate(kept):
            assert bool((one == number).all())


def test_a_disk_without_room_for_features_is_an_error_with_a_cure(own_folder: Path) -> None:
    """In a process whose files may have 64 KiB, so that the system itself refuses."""
    code = (
        "import resource, torch; resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536));"
        "from featcache.features.budget import MemoryBudget\n"
        "with MemoryBudget(0) as room:\n"
        "    room.keep(torch.ones(100, 100)); room.keep(torch.ones(200, 200))"
    )
    place = {**os.environ, "TMPDIR": str(own_folder)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=place
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-2:]
    assert "has no room for another 0.0 GiB of features" in last[0], done.stderr
    assert "TMPDIR" in last[1]
    assert ours(own_folder) == []
