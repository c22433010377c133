"""One real run, fitted once, and copies of it with every part that a run can have."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import featcache
from featcache.runs.result import FitResult
from tests.report.example import HOSTILE_LABELS, HOSTILE_TEXTS, enrich, write_made
from tests.verbs.test_fit_predict import rated


@pytest.fixture(scope="session")
def fitted(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    """A run of 180 rows on a tiny encoder: linear heads and mlps on every view, with test rows."""
    folder = tmp_path_factory.mktemp("runs")
    data = rated(180, seed=5)
    featcache.extract(data, backbone=encoder, cache=folder / "cache", dtype="float32")
    return featcache.fit_heads(
        data,
        label="label",
        cache=folder / "cache",
        widths=[8],
        depths=[1],
        trials=24,
        out=folder / "moods-label",
    )


@pytest.fixture(scope="session")
def real(fitted: FitResult) -> Path:
    """The folder of that run, as `fit_heads` left it."""
    return Path(fitted.folder)


@pytest.fixture(scope="session")
def full(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with every part, the folder's path with spaces in it."""
    folder = tmp_path_factory.mktemp("page") / "my runs" / "moods label"
    shutil.copytree(real, folder)
    return enrich(folder)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels and texts that try to leave their place."""
    return enrich(
        write_made(tmp_path_factory.mktemp("page") / "hostile", HOSTILE_LABELS), HOSTILE_TEXTS
    )


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Path]:
    """made("name", classes, …) -> a folder written from drawn numbers."""
    return lambda name, classes, **options: write_made(tmp_path / name, classes, **options)
