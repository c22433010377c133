"""What the benchmarks of heads share: rows in parts, their states in a cache, and the sweep of
`fit-heads` over both.

`sweep_speed.py` and `quality.py` need what `featcache.fit_heads` keeps to itself: the sweep's rows,
its views and candidates, and a head that was not chosen on the test rows. It is put together here
as there, from the same parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from common import Model, read_rows
from numpy.typing import NDArray

import featcache
from featcache.cache.space import Space
from featcache.data.parts import LabelledRows, Parts, classes_of, read_parts
from featcache.data.texts import TextOptions
from featcache.features.budget import MemoryBudget
from featcache.features.cached import CachedStates
from featcache.features.folds import one_fold
from featcache.features.views import View, reference_view, views_of
from featcache.heads.candidate import Candidate
from featcache.heads.setup import LabelledPositions, TrainingSetup
from featcache.heads.shape import HeadShape
from featcache.search.candidates import HEADS, Candidates, base_recipe, shapes_of
from featcache.tasks.single_label import SingleLabel
from featcache.verbs.options import DEPTHS, WIDTHS

Table = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Task:
    """Labelled texts as `featcache.fit_heads` takes them. validation, test: None where split from
    `train`.
    """

    train: Table
    validation: Table | None
    test: Table | None
    label: str

    @classmethod
    def read(
        cls,
        train: Path,
        test: Path | None,
        label: str,
        rows: int | None,
        validation: Path | None = None,
    ) -> Task:
        """rows: at most so many of `train`, drawn with a fixed seed."""
        return cls(
            _table(read_rows(train, label, rows), label),
            None if validation is None else _table(read_rows(validation, label), label),
            None if test is None else _table(read_rows(test, label), label),
            label,
        )

    @property
    def texts(self) -> list[str]:
        return [
            text
            for part in (self.train, self.validation, self.test)
            if part
            for text in part["text"]
        ]

    def parts(self, seed: int) -> Parts:
        """Split as `fit_heads` splits."""
        return read_parts(
            self.train,
            self.validation,
            self.test,
            label=self.label,
            split=None,
            reading=TextOptions(text="text"),
            seed=seed,
            strict=False,
            warn=lambda message: click.echo(message, err=True),
        )


@dataclass(frozen=True)
class Prepared:
    """A sweep over one split of the rows.

    Attributes:
        sweep: Training and validation rows.
        candidates: All heads that may be tried.
        test: The test rows.
    """

    space: Space
    parts: Parts
    classes: list[Any]
    sweep: TrainingSetup
    candidates: Candidates
    test: LabelledPositions

    @property
    def views(self) -> tuple[View, ...]:
        return self.candidates.views

    @property
    def reference(self) -> Candidate:
        """What `fit_heads` compares its choice with."""
        contract = self.space.contract
        return Candidate(reference_view(contract.layers, contract.poolings), HeadShape("logreg"))

    @property
    def rows(self) -> dict[str, int]:
        fold = self.sweep.folds[0]
        return {"train": len(fold.train), "validation": len(fold.held), "test": len(self.test.rows)}


def extracted(task: Task, model: Model, cache: Path) -> Space:
    """The space that holds the task's texts; those that it lacked are computed."""
    click.echo(f"extracting {len(task.texts):,} texts with {model.name}", err=True)
    extraction = featcache.extract({"text": task.texts}, backbone=model.path, cache=cache)
    return featcache.open_space(extraction.space, cache=cache).space


def prepared(task: Task, space: Space, room: MemoryBudget, *, metric: str, seed: int) -> Prepared:
    """The sweep of `fit_heads` with its default options; states are kept in memory once they were
    read.
    """
    parts = task.parts(seed)
    assert parts.test is not None, "two shares beside a test file, three without"
    classes = classes_of(parts, task.label)
    positions = [space.find(part.keys) for part in parts.present()]
    single_label = SingleLabel(tuple(classes))
    labels = [single_label.encode(part.labels) for part in parts.present()]
    states = CachedStates(space, np.concatenate(positions), room)
    sweep = TrainingSetup(
        source=states,
        part=LabelledPositions(np.concatenate(positions[:2]), np.concatenate(labels[:2])),
        folds=one_fold(len(labels[0]), len(labels[1])),
        task=single_label,
        metric=metric,
        seed=seed,
        seeds=(seed,),
    )
    views = views_of(space.contract.layers, space.contract.poolings, space.origin.hidden_size)
    heads = shapes_of(HEADS, DEPTHS.default, WIDTHS.default, HeadShape("mlp", 1, 1))
    candidates = Candidates(tuple(views), tuple(heads), base_recipe(len(labels[0]), seed=seed))
    return Prepared(
        space, parts, list(classes), sweep, candidates, LabelledPositions(positions[2], labels[2])
    )


def read_all(ready: Prepared) -> None:
    """Bring every view's states into memory, so that no contestant pays for the disk."""
    for view in ready.views:
        for part in view.parts():
            ready.sweep.source.gather(part, ready.sweep.part.rows[:1])


def standardized(ready: Prepared, view: View) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Training and validation rows as heads see them: (N, H), or (L, N, H) of mixed layers."""
    from featcache.features.matrices import FoldFeatures

    with MemoryBudget() as room:
        features = FoldFeatures(
            ready.sweep.source, ready.sweep.part.rows, ready.sweep.folds[0], room
        ).view(view)
        return features.train.numpy(), features.held.numpy()


def _table(rows: LabelledRows, label: str) -> Table:
    return {"text": rows.texts, label: rows.labels}
