"""Splits: properties over many small data sets, and shares worked out by hand.

Keys are made here with hashlib, so that a mistake in the package's own keys cannot hide one in its
splits.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from featcache.data.labels import Label
from featcache.data.splits import Fractions, split_rows
from featcache.errors import LabelError, SplitError
from tests.data import refused

THIRDS = Fractions(0.7, 0.1, 0.2)
HALVES = Fractions(0.8, 0.2, None)


def _keys(texts: Sequence[str]) -> NDArray[np.uint8]:
    digests = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]
    return np.array([list(digest) for digest in digests], dtype=np.uint8).reshape(len(texts), 16)


def _split(
    texts: Sequence[str], labels: Sequence[Label], fractions: Fractions, seed: int = 0
) -> list[list[int]]:
    """Row numbers of the parts there are."""
    parts = split_rows(_keys(texts), labels, fractions, seed=seed)
    assert (parts[2] is None) == (fractions.test is None)
    return [part.tolist() for part in parts if part is not None]


def _classes(*counts: int) -> tuple[list[str], list[Label]]:
    """As many different texts of each class, the classes one after the other."""
    labels: list[Label] = [kind for kind, count in enumerate(counts) for _ in range(count)]
    return [f"text {row}" for row in range(len(labels))], labels


# Rows and texts


@st.composite
def _repeating(draw: st.DrawFn) -> tuple[list[str], list[Label]]:
    """Rows of 2 to 4 classes with at least 10 different texts each, some repeated, some under two
    labels.
    """
    n_classes = draw(st.integers(2, 4))
    rows: list[tuple[str, Label]] = [
        (f"{kind} {number}", kind)
        for kind in range(n_classes)
        for number in range(draw(st.integers(10, 20)))
    ]
    repeated = draw(st.lists(st.sampled_from(rows), max_size=30))
    relabelled = [
        (text, n_classes - 1) for text, _ in draw(st.lists(st.sampled_from(rows), max_size=3))
    ]
    mixed = draw(st.permutations(rows + repeated))
    return [text for text, _ in mixed + relabelled], [label for _, label in mixed + relabelled]


@given(
    rows=_repeating(), fractions=st.sampled_from([THIRDS, HALVES]), seed=st.integers(0, 2**32 - 1)
)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_no_text_lies_in_two_parts_and_the_parts_are_all_rows(
    rows: tuple[list[str], list[Label]], fractions: Fractions, seed: int
) -> None:
    texts, labels = rows
    parts = _split(texts, labels, fractions, seed)
    assert all(part == sorted(part) for part in parts)
    assert sorted(row for part in parts for row in part) == list(range(len(texts)))
    held = [{texts[row] for row in part} for part in parts]
    assert sum(map(len, held)) == len(set(texts))


@given(
    rows=_repeating(), fractions=st.sampled_from([THIRDS, HALVES]), seed=st.integers(0, 2**32 - 1)
)
@settings(derandomize=True, deadline=None, max_examples=20)
def test_one_seed_gives_one_split(
    rows: tuple[list[str], list[Label]], fractions: Fractions, seed: int
) -> None:
    assert _split(*rows, fractions, seed) == _split(*rows, fractions, seed)


@pytest.mark.parametrize("fractions", [THIRDS, HALVES])
def test_different_seeds_give_different_splits(fractions: Fractions) -> None:
    rows = _classes(50, 50)
    splits = [_split(*rows, fractions, seed) for seed in range(5)]
    assert all(one != other for number, one in enumerate(splits) for other in splits[:number])


def test_a_split_leaves_numpy_s_global_generator_alone() -> None:
    before = np.random.get_state()  # noqa: NPY002 - this very generator must not be touched
    _split(*_classes(20, 20), THIRDS)
    after = np.random.get_state()  # noqa: NPY002 - this very generator must not be touched
    assert str(before) == str(after)


# Shares


@pytest.mark.parametrize(
    ("counts", "fractions", "expected"),
    [
        ([100, 50, 10], THIRDS, [[70, 35, 7], [10, 5, 1], [20, 10, 2]]),
        ([40, 20], Fractions(0.5, 0.25, 0.25), [[20, 10], [10, 5], [10, 5]]),
        ([100, 50, 5], HALVES, [[80, 40, 4], [20, 10, 1]]),
        ([10, 30], Fractions(0.5, 0.5, None), [[5, 15], [5, 15]]),
    ],
)
def test_whole_shares_of_each_class_are_met_exactly(
    counts: list[int], fractions: Fractions, expected: list[list[int]]
) -> None:
    texts, labels = _classes(*counts)
    for seed in range(3):
        parts = _split(texts, labels, fractions, seed)
        assert [
            [Counter(labels[row] for row in part)[kind] for kind in range(len(counts))]
            for part in parts
        ] == expected


@given(
    counts=st.lists(st.integers(5, 40), min_size=2, max_size=5),
    fractions=st.sampled_from(
        [THIRDS, HALVES, Fractions(0.6, 0.2, 0.2), Fractions(0.5, 0.5, None)]
    ),
)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_each_part_s_share_of_each_class_is_right_within_one_row(
    counts: list[int], fractions: Fractions
) -> None:
    # Totals whose shares are whole, because rounding a total moves its classes too.
    counts = [counts[0] + -sum(counts) % 10, *counts[1:]]
    texts, labels = _classes(*counts)
    try:
        parts = _split(texts, labels, fractions)
    except SplitError:  # few rows of many classes
        assume(False)
    shares = [
        share
        for share in (fractions.train, fractions.validation, fractions.test)
        if share is not None
    ]
    for part, share in zip(parts, shares, strict=True):
        found = Counter(labels[row] for row in part)
        # Training is what the other parts leave, and so adds up the roundings of two.
        bound = 2 if len(parts) == 3 and part is parts[0] else 1
        assert all(abs(found[kind] - count * share) < bound for kind, count in enumerate(counts))


def test_shares_are_of_different_texts_however_often_one_is_repeated() -> None:
    texts, labels = _classes(10, 10)
    parts = _split([*texts, *[texts[0]] * 500], [*labels, *[labels[0]] * 500], HALVES)
    assert [len({row if row < 20 else 0 for row in part}) for part in parts] == [16, 4]


def test_a_text_under_two_labels_counts_for_the_first() -> None:
    texts = [f"text {row // 2}" for row in range(16)]
    labels: list[Label] = [*"xyxyxyxy", *"yxyxyxyx"]
    for seed in range(10):
        for part in _split(texts, labels, Fractions(0.5, 0.5, None), seed):
            assert Counter(labels[row] for row in part if row % 2 == 0) == {"x": 2, "y": 2}


@pytest.mark.parametrize("counts", [(97, 3), (60, 5, 35), (50, 4)])
@pytest.mark.parametrize("fractions", [THIRDS, HALVES, Fractions(0.9, 0.1, None)], ids=str)
def test_every_part_holds_every_class_or_the_split_is_refused(
    counts: tuple[int, ...], fractions: Fractions
) -> None:
    texts, labels = _classes(*counts)
    try:
        parts = _split(texts, labels, fractions)
    except (LabelError, SplitError):
        return
    assert [sorted({labels[row] for row in part}) for part in parts] == [
        list(range(len(counts)))
    ] * len(parts)


# Fractions


@pytest.mark.parametrize(
    ("source", "shares"),
    [
        ("0.7/0.1/0.2", (0.7, 0.1, 0.2)),
        ("0.8/0.2", (0.8, 0.2, None)),
        ("80/20", (0.8, 0.2, None)),
        ("70/10/20", (0.7, 0.1, 0.2)),
        (".5/.25/.25", (0.5, 0.25, 0.25)),
        ("0.333333/0.333333/0.333334", (0.333333, 0.333333, 0.333334)),
        ("99.5/0.5", (0.995, 0.005, None)),
        (" 0.8 / 0.2 ", (0.8, 0.2, None)),
    ],
)
def test_shares_are_read_as_fractions_or_percentages(
    source: str, shares: tuple[float, float, float | None]
) -> None:
    found = Fractions.parse(source)
    assert (found.train, found.validation) == pytest.approx(shares[:2])
    assert (found.test is None) == (shares[2] is None)
    assert found.test == pytest.approx(shares[2])


@pytest.mark.parametrize(
    "source",
    [
        "",
        "/",
        "0.8",
        "1",
        "0.8/0.3",
        "0.7/0.2",
        "1/0",
        "0.8/0.2/0",
        "1.2/-0.2",
        "80/30",
        "8/2",
        "0.8/20",
        "0.25/0.25/0.25/0.25",
        "0.8/0.2/",
        "0.8,0.2",
        "most/rest",
        "nan/nan",
        "nan/0.2",
        "0.7/0.1/nan",
        "inf/1",
    ],
)
def test_shares_that_do_not_add_up_are_refused(source: str) -> None:
    with refused(SplitError, "--split", repr(source), "add up to 1", cure="--split 0.7/0.1/0.2"):
        Fractions.parse(source)


# Too little to split


@pytest.mark.parametrize(
    ("labels", "fractions", "what"),
    [
        (["x"] * 9 + ["rare"] * 2, THIRDS, ["'rare'", "2 different texts", "3 parts"]),
        (["x"] * 9 + ["rare"], HALVES, ["'rare'", "1 text", "2 parts"]),
        ([0] * 9 + [1], HALVES, ["class", "1", "1 text", "2 parts"]),
    ],
)
def test_a_class_with_fewer_texts_than_parts_is_refused_by_name_and_count(
    labels: list[Label], fractions: Fractions, what: list[str]
) -> None:
    with refused(LabelError, *what, cure="Add rows"):
        _split([str(row) for row in range(len(labels))], labels, fractions)


def test_repeated_rows_of_one_text_do_not_make_a_class_large_enough() -> None:
    with refused(LabelError, "'rare'", "1 text", cure="Add rows"):
        _split([*"abcdefgh", "same", "same", "same"], ["x"] * 8 + ["rare"] * 3, THIRDS)


def test_the_smallest_classes_that_can_be_in_every_part_are() -> None:
    texts, labels = _classes(3, 3)
    for part in _split(texts, labels, THIRDS):
        assert part is not None
        assert sorted(labels[row] for row in part) == sorted(set(labels))
