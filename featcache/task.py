"""A label of a call, ready to be fitted: its rows in their parts, where they are in the cache, and what is tried on them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featcache.cache.space import Space
from featcache.data.labels import Label
from featcache.data.parts import Parts, class_numbers, classes_of
from featcache.errors import MachineError
from featcache.heads.shape import HeadShape
from featcache.select.folds import folds_of, one_fold
from featcache.select.sweep import Candidate, Fold, Part, Sweep
from featcache.select.views import View, reference_view
from featcache.select.wanted import Wanted

if TYPE_CHECKING:
    from featcache.select.features import States


@dataclass(frozen=True)
class Task:
    """One label of a call. classes: in their order; numbers: class numbers of each part's rows.

    split: whether validation rows were split off the training file.
    """

    label: str
    parts: Parts
    classes: list[Label]
    numbers: list[NDArray[np.int64]]
    space: Space
    sweep: Sweep
    wanted: Wanted
    views: Sequence[View]
    split: bool

    @classmethod
    def of(
        cls,
        label: str,
        parts: Parts,
        space: Space,
        states: States,
        wanted: Wanted,
        views: Sequence[View],
        *,
        split: bool,
    ) -> Task:
        classes = classes_of(parts, label)
        numbers = [class_numbers(part.labels, classes) for part in parts.present()]
        rows = [space.find(part.keys) for part in (parts.train, parts.validation)]
        folds: tuple[Fold, ...] = one_fold(len(rows[0]), len(rows[1]))
        if wanted.cv is not None:  # all of these rows are both
            folds = folds_of(parts.chosen_on_keys, parts.chosen_on_labels, wanted.cv, seed=wanted.seeds[0])
        sweep = Sweep(
            gather=states.gather,
            part=Part(np.concatenate(rows), np.concatenate(numbers[:2])),
            folds=folds,
            n_classes=len(classes),
            metric=wanted.metric,
            seed=wanted.seeds[0],
            seeds=wanted.seeds,
            balance=wanted.balance,
        )
        return cls(label, parts, classes, numbers, space, sweep, wanted, views, split)

    @property
    def width(self) -> int:
        """Of one layer's states."""
        return self.space.origin.hidden_size

    @property
    def reference(self) -> Candidate:
        """Logistic regression on the last layer's mean, whatever was asked for."""
        contract = self.space.contract
        return Candidate(reference_view(contract.layers, contract.poolings), HeadShape("logreg"))

    @property
    def test(self) -> Part | None:
        """The test rows; nothing reads them but `read_test`."""
        if self.parts.test is None:
            return None
        return Part(self.space.find(self.parts.test.keys), self.numbers[2])


@contextlib.contextmanager
def memory_told() -> Iterator[None]:
    """Memory that runs out as an error of ours; of torch's a RuntimeError that says so."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if "memory" not in str(error) and not isinstance(error, MemoryError):
            raise
        msg = "memory ran out while heads were trained"
        raise MachineError(msg, cure="Try fewer --widths, --layers, --pool, --trials or --cv.") from error
