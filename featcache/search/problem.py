"""A label of a call, ready to be fitted: its rows in parts, where they are in the cache, and what
is tried on them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featcache.cache.space import Space
from featcache.data.labels import Label
from featcache.data.parts import LabelledRows, Parts, classes_of
from featcache.errors import InputError, LabelError, MachineError
from featcache.features.find import cached_layers
from featcache.features.folds import (
    N_FOLDS,
    Fold,
    enough,
    folds_of,
    most_folds,
    one_fold,
    seeds_for,
    smaller,
)
from featcache.features.request import parse_poolings
from featcache.features.views import View, reference_view, views_of
from featcache.heads.candidate import Candidate
from featcache.heads.kinds import LOGREG
from featcache.heads.setup import LabelledPositions, TrainingSetup
from featcache.search.options import SearchOptions
from featcache.search.rows import RowCounts, ShownRow
from featcache.tasks.protocol import Task
from featcache.tasks.single_label import SingleLabel

if TYPE_CHECKING:
    from featcache.features.cached import CachedStates

_MOST_ROWS = 20_000  # that a verdict's experiments are made on


@dataclass(frozen=True)
class LabelProblem:
    """One label of a call. classes: in their order; numbers: class numbers of each part's rows.

    split: whether validation rows were split off the training file.
    """

    label: str
    parts: Parts
    classes: list[Label]
    numbers: list[NDArray[np.int64]]
    space: Space
    sweep: TrainingSetup
    wanted: SearchOptions
    views: Sequence[View]
    split: bool

    @classmethod
    def of(
        cls,
        label: str,
        parts: Parts,
        space: Space,
        states: CachedStates,
        wanted: SearchOptions,
        views: Sequence[View],
        *,
        split: bool,
    ) -> LabelProblem:
        classes = classes_of(parts, label)
        task = SingleLabel(tuple(classes))
        numbers = [task.encode(part.labels) for part in parts.present()]
        rows = [space.find(part.keys) for part in (parts.train, parts.validation)]
        folds: tuple[Fold, ...] = one_fold(len(rows[0]), len(rows[1]))
        if wanted.cv is not None:  # all of these rows are both
            folds = folds_of(
                parts.chosen_on_keys, parts.chosen_on_labels, wanted.cv, seed=wanted.seeds[0]
            )
        sweep = TrainingSetup(
            source=states,
            part=LabelledPositions(np.concatenate(rows), np.concatenate(numbers[:2])),
            folds=folds,
            task=task,
            metric=wanted.metric,
            seed=wanted.seeds[0],
            seeds=wanted.seeds,
            balance=wanted.balance,
        )
        return cls(label, parts, classes, numbers, space, sweep, wanted, views, split)

    @property
    def task(self) -> Task:
        """What is predicted, and how it is scored."""
        return self.sweep.task

    @property
    def reference(self) -> Candidate:
        """Logistic regression on the last layer's mean, whatever was asked for."""
        contract = self.space.contract
        return Candidate(reference_view(contract.layers, contract.poolings), LOGREG.shape())

    @property
    def test(self) -> LabelledPositions | None:
        """The test rows; nothing reads them but `read_test`."""
        if self.parts.test is None:
            return None
        return LabelledPositions(self.space.find(self.parts.test.keys), self.numbers[2])

    @property
    def rows(self) -> RowCounts:
        """How many there are."""
        parts = self.parts
        n_test = len(parts.test.texts) if parts.test else 0
        return RowCounts(len(parts.train.texts), len(parts.validation.texts), n_test, parts.dropped)

    def folds(self) -> tuple[Fold, ...]:
        """Fifths of training and validation rows, or fewer parts where a class is rare; none where
        there can be no two.

        Nobody asked for folds where these are used: where a class cannot be had in all, it goes
        without them.
        """
        keys, labels = self.parts.chosen_on_keys, self.parts.chosen_on_labels
        count = min(N_FOLDS, most_folds(keys, labels))
        try:
            return folds_of(keys, labels, count, seed=self.sweep.seed) if count > 1 else ()
        except LabelError:
            return ()

    def for_verdict(self) -> tuple[TrainingSetup, int]:
        """The sweep that a verdict's experiments are made on, and how many rows it leaves out:
        about 20,000 are enough.

        Fifths are held back, as many as it takes; validation rows that have a file of their own
        stay what is held back, for they may be meant to differ from those of training. Not so where
        these are all of one class, which tells nothing from guessing.
        """
        drawn = self.split or self.wanted.cv is not None or len(np.unique(self.numbers[1])) == 1
        sweep, folds = self.sweep, self.folds() if drawn else ()
        folds = (
            enough(folds)
            if folds
            else one_fold(len(self.parts.train.keys), len(self.parts.validation.keys))
        )
        folds = tuple(
            smaller(fold, sweep.part.labels, sweep.task, _MOST_ROWS, seed=sweep.seed)
            for fold in folds
        )
        used = np.unique(
            np.concatenate([places for fold in folds for places in (fold.train, fold.held)])
        )
        return replace(sweep, folds=folds, seeds=seeds_for(folds, sweep.seed)), len(
            sweep.part.labels
        ) - len(used)

    def row(self, part: str, place: int, predicted: int, probability: float) -> ShownRow:
        """A row of `answered(part)` for a person to look at."""
        rows = self.answered(part)
        number = None if rows.numbers is None else rows.numbers[place]
        return ShownRow(
            rows.texts[place],
            rows.labels[place],
            self.classes[predicted],
            round(probability, 6),
            rows.origins[place],
            number,
        )

    def answered(self, part: str) -> LabelledRows:
        """The rows of a part in the order in which they are scored: "test", "validation" (fold by
        fold), or "chosen on" (training, then validation).
        """
        if part == "test" and self.parts.test is not None:
            return self.parts.test
        both = self.parts.train.followed_by(self.parts.validation)
        return (
            both
            if part == "chosen on"
            else both.take(np.concatenate([fold.held for fold in self.sweep.folds]))
        )


def unique_labels(labels: Sequence[str]) -> list[str]:
    """Return the label columns of a call, each once.

    Args:
        labels: Names of columns.

    Returns:
        The same without repeats.

    Raises:
        InputError: There is none, or something else than a list of strings.
    """
    is_list = isinstance(labels, Sequence) and not isinstance(labels, str)
    if not is_list or not labels or not all(isinstance(label, str) for label in labels):
        msg = f"labels={labels!r} is not a list of columns"
        cure = (
            "Name one column to `fit_heads`, or several to `fit_labels`: labels=['stars', 'mood']."
        )
        raise InputError(msg, cure=cure)
    return list(dict.fromkeys(labels))


def views_asked_for(
    space: Space,
    layers: str | Sequence[int] | None,
    pool: str | Sequence[str] | None,
    wanted: SearchOptions,
) -> list[View]:
    """The views of a space that heads are tried on. layers, pool: a part of what is cached, or None
    for all of it.

    Raises InputError where no head that is wanted can be tried on any of them.
    """
    found = views_of(
        space.contract.layers if layers is None else cached_layers(layers, space),
        space.contract.poolings if pool is None else parse_poolings(pool),
        space.origin.hidden_size,
        wanted.views,
    )
    wanted.check_views(found)
    return found


@contextlib.contextmanager
def memory_told() -> Iterator[None]:
    """Memory that runs out as an error of ours; of torch's a RuntimeError that says so."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if "memory" not in str(error) and not isinstance(error, MemoryError):
            raise
        msg = "memory ran out while heads were trained"
        raise MachineError(
            msg, cure="Try fewer --widths, --layers, --pool, --trials or --cv."
        ) from error
