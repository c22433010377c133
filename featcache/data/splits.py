"""Splitting rows into training, validation and test so that one text never lies on both sides.

Rows are grouped by their text (key) and stratified by label; scikit-learn's `train_test_split` does the
drawing on the distinct texts. A seed and the data determine the split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.data.keys import first_of_each
from featcache.data.labels import Label
from featcache.errors import LabelError, SplitError

_TOLERANCE = 1e-6  # 0.7 + 0.1 + 0.2 is not 1 in binary


@dataclass(frozen=True)
class Fractions:
    """Shares of the rows: training and validation, and test where there is to be one."""

    train: float
    validation: float
    test: float | None

    @classmethod
    def parse(cls, source: str) -> Fractions:
        """Read `0.7/0.1/0.2` or `0.8/0.2`; percentages such as 70/10/20 do as well.

        Raises SplitError where there are not two or three positive numbers that add up to 1 (or 100).
        """
        try:
            parts = [float(part) for part in source.split("/")]
        except ValueError:
            parts = []
        total = sum(parts)
        whole = 100.0 if total > 1 + _TOLERANCE else 1.0
        if len(parts) not in {2, 3} or min(parts) <= 0 or abs(total - whole) > _TOLERANCE * whole:
            msg = f"--split {source!r} is not two or three shares that add up to 1"
            raise SplitError(msg, cure="Write train/validation/test, for example --split 0.7/0.1/0.2, or 0.8/0.2.")
        shares = [part / whole for part in parts]
        return cls(shares[0], shares[1], shares[2] if len(shares) == 3 else None)  # noqa: PLR2004


def split_rows(
    keys: NDArray[np.uint8], labels: Sequence[Label], fractions: Fractions, *, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64] | None]:
    """Row numbers of training, validation and test (None without a test share), each ascending.

    keys: uint8 (N, 16) row keys.  labels: N labels; a text with several is stratified by its first.
    Raises LabelError where a class has fewer different texts than there are parts; SplitError where a
    part would be too small to hold every class.
    """
    first, group = first_of_each(keys)
    classes = np.array([_stratum(labels[row]) for row in first])
    n_parts = 2 if fractions.test is None else 3
    _check_classes(classes, n_parts)
    rest = np.arange(len(first))
    held: list[NDArray[np.int64]] = []
    left = 1.0
    for share in (fractions.test, fractions.validation):
        if share is None:
            continue
        rest, part = _draw(rest, classes, share / left, n_parts, seed)
        left -= share
        held.append(part)
    rows = [np.flatnonzero(np.isin(group, part)) for part in (rest, *reversed(held))]
    return rows[0], rows[1], rows[2] if fractions.test is not None else None


def _draw(
    texts: NDArray[np.int64], classes: NDArray[np.str_], share: float, n_parts: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    from sklearn.model_selection import train_test_split

    try:
        kept, drawn = train_test_split(texts, test_size=share, stratify=classes[texts], random_state=seed)
    except ValueError as error:
        msg = f"{len(texts):,} different texts are too few to split in {n_parts} parts that hold every class"
        raise SplitError(msg, cure="Add rows, or give other shares (--split).") from error
    return kept, drawn


def _check_classes(classes: NDArray[np.str_], n_parts: int) -> None:
    counts = Counter(classes.tolist())
    rarest, count = min(counts.items(), key=lambda item: (item[1], item[0]))
    if count < n_parts:
        texts = "text" if count == 1 else "different texts"
        msg = f"the class {rarest!r} has {count} {texts}, and each of the {n_parts} parts of the split needs one"
        raise LabelError(msg, cure="Add rows of this class, leave it out, or give files for the parts.")


def _stratum(label: Label) -> str:
    return str(label)
