"""Labelled rows in their parts: training, validation and test, with no text in two of them.

Parts come from files of their own or from a split. A text that is in a later part too is dropped
from the earlier one (from training and validation, never from test), because a head that has seen a
test text is scored on its memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.data.keys import row_keys
from featcache.data.labels import Label, labels_of
from featcache.data.read import read
from featcache.data.splits import Fractions, split_rows
from featcache.data.table import Table
from featcache.data.texts import TextOptions, render
from featcache.errors import LabelError, SplitError

DEFAULT_SPLIT = "0.7/0.1/0.2"
SPLIT_BESIDE_TEST = "0.8/0.2"


@dataclass(frozen=True)
class LabelledRows:
    """N texts with their keys, their labels and where each came from.

    Attributes:
        origins: The file, or other source, of each row.
        texts: The rendered texts.
        keys: uint8 (N, 16), the row keys.
        labels: The labels.
        numbers: Of each row in its file, counted from 1; None where nobody knows them.
    """

    origins: list[str]
    texts: list[str]
    keys: NDArray[np.uint8]
    labels: list[Label]
    numbers: list[int] | None = None

    @property
    def source(self) -> str:
        """How messages call these rows."""
        return ", ".join(dict.fromkeys(self.origins))

    def take(self, rows: NDArray[np.int64]) -> LabelledRows:
        return LabelledRows(
            [self.origins[row] for row in rows],
            [self.texts[row] for row in rows],
            self.keys[rows],
            [self.labels[row] for row in rows],
            None if self.numbers is None else [self.numbers[row] for row in rows],
        )

    def followed_by(self, other: LabelledRows) -> LabelledRows:
        """Return these rows and the other ones behind them."""
        numbers: list[int] | None = None
        if self.numbers is not None and other.numbers is not None:
            numbers = [*self.numbers, *other.numbers]
        return LabelledRows(
            [*self.origins, *other.origins],
            [*self.texts, *other.texts],
            np.concatenate([self.keys, other.keys]),
            [*self.labels, *other.labels],
            numbers,
        )

    def without_texts_of(self, other: LabelledRows) -> LabelledRows:
        theirs = set(map(bytes, other.keys))
        rows = [row for row, key in enumerate(map(bytes, self.keys)) if key not in theirs]
        return self.take(np.array(rows, dtype=np.int64))


@dataclass(frozen=True)
class Parts:
    """The rows of training, validation and test.

    Attributes:
        train: The rows that heads are trained on.
        validation: The rows that heads are compared on.
        test: The rows that the final score is for; None where nothing is held back for it.
        dropped: How many rows are left out because their text is in a later part.
    """

    train: LabelledRows
    validation: LabelledRows
    test: LabelledRows | None
    dropped: int

    @property
    def chosen_on_keys(self) -> NDArray[np.uint8]:
        """Keys (N, 16) of the rows that a head is chosen on: training, then validation."""
        return np.concatenate([self.train.keys, self.validation.keys])

    @property
    def chosen_on_labels(self) -> list[Label]:
        """Labels of the rows that a head is chosen on, in the same order."""
        return [*self.train.labels, *self.validation.labels]

    def present(self) -> list[LabelledRows]:
        return [part for part in (self.train, self.validation, self.test) if part is not None]


def read_parts(
    train: Any,
    validation: Any,
    test: Any,
    *,
    label: str,
    split: str | None,
    reading: TextOptions,
    seed: int,
    strict: bool,
    warn: Callable[[str], None],
) -> Parts:
    """Read the files of the parts, split what has no file of its own, and drop shared texts.

    Args:
        train: The training data, as `read.read` takes them.
        validation: The validation data; None splits them from `train`.
        test: The test data; None splits them from `train` if the shares have a test share.
        label: The column of the labels.
        split: The shares as the user wrote them, or None for the usual ones.
        reading: How rows become texts.
        seed: The seed of the split.
        strict: Whether texts in two parts are an error.
        warn: Called with a line about each part that loses shared texts.

    Returns:
        The parts.

    Raises:
        SplitError: The shares contradict the files, or, under `strict`, parts share texts.
    """
    fractions = _fractions(split, has_validation=validation is not None, has_test=test is not None)
    data = [source for source in (train, validation, test) if source is not None]
    rows = _labelled_rows(data, label, reading)
    whole = rows[0]
    held = rows[1] if validation is not None else None
    last = rows[-1] if test is not None else None
    _check_two_classes(whole.labels, label)
    whole, held, n_dropped = _without_later(whole, held, last, strict=strict, warn=warn)
    if fractions is not None:
        train_rows, held_rows, test_rows = split_rows(
            whole.keys, whole.labels, fractions, seed=seed
        )
        held = whole.take(held_rows)
        last = last if test_rows is None else whole.take(test_rows)
        whole = whole.take(train_rows)
    assert held is not None
    return Parts(whole, held, last, n_dropped)


def _labelled_rows(data: Sequence[Any], label: str, reading: TextOptions) -> list[LabelledRows]:
    """Read the rows of each file, with labels that are of one type over all files."""
    tables = [read(source, encoding=reading.encoding) for source in data]
    texts = [render(table, reading, label=label) for table in tables]
    labels = labels_of(tables, label, [part.rows for part in texts])
    rows: list[LabelledRows] = []
    for table, part, part_labels in zip(tables, texts, labels, strict=True):
        rows.append(_placed(table, part.rows, part.rendered, part_labels))
    return rows


def _without_later(
    train: LabelledRows,
    validation: LabelledRows | None,
    test: LabelledRows | None,
    *,
    strict: bool,
    warn: Callable[[str], None],
) -> tuple[LabelledRows, LabelledRows | None, int]:
    """Drop from training and validation the texts of later parts, and count the dropped rows."""
    n_before = len(train.texts) + (len(validation.texts) if validation else 0)
    if test is not None:
        train = _drop_shared(train, test, strict=strict, warn=warn)
        if validation is not None:
            validation = _drop_shared(validation, test, strict=strict, warn=warn)
    if validation is not None:
        train = _drop_shared(train, validation, strict=strict, warn=warn)
    n_after = len(train.texts) + (len(validation.texts) if validation else 0)
    return train, validation, n_before - n_after


def _placed(
    table: Table, rows: Sequence[int], rendered: list[str], labels: list[Label]
) -> LabelledRows:
    places = [table.place(row) for row in rows]
    return LabelledRows(
        [source for source, _ in places],
        rendered,
        row_keys(rendered),
        labels,
        [number for _, number in places],
    )


def _fractions(split: str | None, *, has_validation: bool, has_test: bool) -> Fractions | None:
    """Return the shares to split the training file in; None if validation has a file of its own."""
    if has_validation:
        if split is not None:
            msg = "--validation and --split both say which rows are for validation"
            raise SplitError(msg, cure="Give one of them.")
        return None
    fractions = Fractions.parse(split or (SPLIT_BESIDE_TEST if has_test else DEFAULT_SPLIT))
    if has_test and fractions.test is not None:
        msg = f"--split {split} has a test share, and --test names a test file"
        raise SplitError(
            msg, cure=f"Give two shares beside --test, for example --split {SPLIT_BESIDE_TEST}."
        )
    return fractions


def _drop_shared(
    part: LabelledRows, later: LabelledRows, *, strict: bool, warn: Callable[[str], None]
) -> LabelledRows:
    """Return `part` without the texts that `later` has too; `strict` makes them an error."""
    kept = part.without_texts_of(later)
    n_shared = len(part.texts) - len(kept.texts)
    if not n_shared:
        return part
    rows = "row of {} holds a text that is" if n_shared == 1 else "rows of {} hold texts that are"
    what = f"{n_shared:,} {rows.format(part.source)} in {later.source} too"
    if strict:
        cure = "Take them out of one of the files, or drop them from training without --strict."
        raise SplitError(what, cure=cure)
    if not kept.texts:
        msg = f"all rows of {part.source} are in {later.source} too, so none is left to train on"
        raise SplitError(msg, cure="Give different rows for training, validation and test.")
    warn(f"warning    {what}: not trained on")
    return kept


def _check_two_classes(labels: Sequence[Label], column: str) -> None:
    if len(set(labels)) < 2:
        msg = f"column {column!r} has one class only ({labels[0]!r}); a head needs at least two"
        cure = "Name the right column with --label, or add rows of another class."
        raise LabelError(msg, cure=cure)


def classes_of(parts: Parts, column: str) -> list[Label]:
    """Return the classes in their order; the labels of every part must occur in training."""
    _check_two_classes(parts.train.labels, column)
    classes = sorted(set(parts.train.labels))
    for part in parts.present()[1:]:
        strange = sorted(set(part.labels) - set(classes))
        if strange:
            n_rows = sum(label in strange for label in part.labels)
            noun = "row" if n_rows == 1 else "rows"
            msg = (
                f"{n_rows:,} {noun} of {part.source} have the label {strange[0]!r}, "
                "which no training row has"
            )
            raise LabelError(msg, cure="Add training rows of this class, or take it out.")
    return classes
