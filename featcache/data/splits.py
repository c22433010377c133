"""Splitting rows into training, validation and test so that one text never lies on both sides.

Rows are grouped by their text (key) and stratified by label. scikit-learn's splitters either leave
a rare class out of a part or do not group, so the drawing is done here. A seed and the data
determine the split.
"""

from __future__ import annotations

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

        Args:
            source: The shares as the user wrote them.

        Returns:
            The shares, which add up to 1.

        Raises:
            SplitError: There are not two or three positive numbers that add up to 1 (or 100).
        """
        try:
            parts = [float(part) for part in source.split("/")]
        except ValueError:
            parts = []
        total = sum(parts)
        whole = 100.0 if total > 1 + _TOLERANCE else 1.0
        positive = all(part > 0 for part in parts)  # false for NaN too
        if len(parts) not in {2, 3} or not positive or not abs(total - whole) <= _TOLERANCE * whole:
            msg = f"--split {source!r} is not two or three shares that add up to 1"
            cure = "Write train/validation/test, for example --split 0.7/0.1/0.2, or 0.8/0.2."
            raise SplitError(msg, cure=cure)
        shares = [part / whole for part in parts]
        return cls(shares[0], shares[1], shares[2] if len(shares) == 3 else None)


def split_rows(
    keys: NDArray[np.uint8], labels: Sequence[Label], fractions: Fractions, *, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64] | None]:
    """Share out rows to training, validation and test, so that every class is in every part.

    Beyond that, the texts of a class are shared out to the nearest whole number.

    Args:
        keys: uint8 (N, 16), the row keys.
        labels: N labels; a text with several is stratified by its first.
        fractions: The share of each part.
        seed: The seed of the drawing.

    Returns:
        Row numbers of training, validation and test (None without a test share), each ascending.

    Raises:
        LabelError: A class has fewer different texts than there are parts.
    """
    first, group = first_of_each(keys)
    shares = [fractions.train, fractions.validation]
    if fractions.test is not None:
        shares.append(fractions.test)
    by_class: dict[str, list[int]] = {}
    for text, row in enumerate(first.tolist()):
        by_class.setdefault(f"{type(labels[row]).__name__} {labels[row]}", []).append(text)
    rarest = min(by_class.values(), key=len)
    if len(rarest) < len(shares):
        raise _too_few(labels[int(first[rarest[0]])], len(rarest), len(shares))
    generator = np.random.default_rng(seed)
    part_of_text = np.empty(len(first), dtype=np.int64)
    for name in sorted(by_class):
        texts = by_class[name]
        sizes = _apportion(len(texts), shares)
        part_of_text[generator.permutation(texts)] = np.repeat(np.arange(len(shares)), sizes)
    parts = [np.flatnonzero(part_of_text[group] == part) for part in range(len(shares))]
    return parts[0], parts[1], parts[2] if fractions.test is not None else None


def _apportion(total: int, shares: Sequence[float]) -> list[int]:
    """Split `total` by shares into whole numbers of at least 1, by largest remainder (Hamilton)."""
    exact = [total * share for share in shares]
    sizes = [int(size + _TOLERANCE) for size in exact]
    by_remainder = sorted(range(len(shares)), key=lambda part: sizes[part] - exact[part])
    for part in by_remainder[: total - sum(sizes)]:
        sizes[part] += 1
    for part, size in enumerate(sizes):
        if size == 0:
            sizes[sizes.index(max(sizes))] -= 1
            sizes[part] = 1
    return sizes


def _too_few(label: Label, count: int, n_parts: int) -> LabelError:
    texts = "text" if count == 1 else "different texts"
    msg = (
        f"the class {label!r} has {count} {texts}, "
        f"and each of the {n_parts} parts of the split needs one"
    )
    cure = "Add rows of this class, leave it out, or give files for the parts."
    return LabelError(msg, cure=cure)
