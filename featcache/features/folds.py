"""Folds: one split into training and validation rows, or a cross-validation in which every row is
held back once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.data.keys import first_of_each
from featcache.data.labels import Label
from featcache.errors import LabelError
from featcache.tasks.protocol import Task

N_FOLDS = 5  # where nobody asks for another number
_HELD_ROWS = 2000


def one_fold(n_train: int, n_held: int) -> tuple[Fold]:
    """Training rows, with the validation rows behind them."""
    return (Fold(np.arange(n_train), np.arange(n_train, n_train + n_held)),)


def folds_of(
    keys: NDArray[np.uint8], labels: Sequence[Label], count: int, *, seed: int
) -> tuple[Fold, ...]:
    """A cross-validation by scikit-learn: stratified by label, and no text in two folds.

    keys: uint8 (N, 16) row keys.
    Raises LabelError where a class has fewer different texts than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    _, group = first_of_each(keys)
    names = np.array([_name(label) for label in labels])
    rarest, n_texts = _rarest(group, names)
    if n_texts < count:
        msg = (
            f"the class {labels[rarest]!r} has {n_texts} different texts, and each of "
            f"{count} folds needs one"
        )
        raise LabelError(
            msg, cure=f"Add rows of this class, leave it out, or use --cv {max(2, n_texts)}."
        )
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    folds = tuple(
        Fold(train, held) for train, held in splitter.split(np.zeros(len(names)), names, group)
    )
    for fold in folds:
        missing = set(names) - set(names[fold.train])
        if missing:
            msg = (
                f"the class {missing.pop().split(' ', 1)[1]!r} cannot be had in every fold: "
                "its texts repeat"
            )
            raise LabelError(msg, cure="Use fewer folds, or leave --cv out.")
    return folds


def enough(folds: Sequence[Fold]) -> tuple[Fold, ...]:
    """The first of these folds, as many as hold 2,000 rows back: they leave a standard error of
    half a point or so.
    """
    held = np.cumsum([len(fold.held) for fold in folds])
    return tuple(folds[: 1 + int(np.searchsorted(held, min(_HELD_ROWS, held[-1])))])


def smaller(fold: Fold, labels: NDArray[np.int64], task: Task, most: int, *, seed: int) -> Fold:
    """A fold of at most `most` rows (and one of each class on both sides), every class in nearly
    its share.

    Held rows go only where they are more than a fifth of that: a file of validation rows is often
    small beside that of training, and what is measured is measured on it.  labels: class numbers of
    all places.
    """
    n_held = min(len(fold.held), max(most // N_FOLDS, most - len(fold.train)))
    sides = []
    for places, wanted in ((fold.train, most - n_held), (fold.held, n_held)):
        own = labels[places]
        count = max(wanted, len(np.unique(own)))
        sides.append(
            places if count >= len(places) else task.part_of(places, own, count, seed=seed)
        )
    return Fold(*sides)


def seeds_for(folds: Sequence[Fold], seed: int) -> tuple[int, ...]:
    """Two where folds are so few that they do not show what training anew changes."""
    return (seed, (seed + 1) % 2**32) if len(folds) <= 2 else (seed,)


def most_folds(keys: NDArray[np.uint8], labels: Sequence[Label]) -> int:
    """Folds that there can be: the different texts of the rarest class."""
    return _rarest(first_of_each(keys)[1], np.array([_name(label) for label in labels]))[1]


def _name(label: Label) -> str:
    """1 and "1" are two classes."""
    return f"{type(label).__name__} {label}"


def _rarest(texts: NDArray[np.int64], names: NDArray[np.str_]) -> tuple[int, int]:
    """A row of the class with the fewest different texts, and how many these are; a text may have
    several labels.
    """
    pairs = dict.fromkeys(zip(texts.tolist(), names.tolist(), strict=True))
    name, count = min(Counter(name for _, name in pairs).items(), key=lambda one: one[1])
    return int(np.flatnonzero(names == name)[0]), count


@dataclass(frozen=True)
class Fold:
    """Places of training and validation rows among a sweep's rows."""

    train: NDArray[np.int64]
    held: NDArray[np.int64]
