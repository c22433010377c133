"""Folds of a cross-validation: every row is held back once, no text on two sides, every class to be
learned from.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.data.keys import row_keys
from featcache.errors import LabelError
from featcache.features.folds import folds_of, one_fold, smaller
from featcache.tasks.single_label import SingleLabel


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[str], list[Any]]:
    """Texts, some of them often, now and then with another label."""
    names: list[Any] = draw(st.sampled_from([["a", "b"], [0, 1, 2], [True, False], ["a", 1, 2.5]]))
    n_texts = draw(st.integers(4, 25))
    own = [draw(st.sampled_from(names)) for _ in range(n_texts)]
    places = list(range(n_texts)) + draw(st.lists(st.integers(0, n_texts - 1), max_size=25))
    labels = [own[place] for place in places]
    for row in draw(
        st.lists(st.integers(n_texts, len(places) - 1), max_size=2)
        if len(places) > n_texts
        else st.just([])
    ):
        labels[row] = draw(st.sampled_from(names))
    return [f"text {place}" for place in places], labels


@settings(deadline=None, max_examples=150)
@given(case=cases(), count=st.integers(2, 5), seed=st.integers(0, 9))
def test_folds_part_the_rows_by_text(
    case: tuple[list[str], list[Any]], count: int, seed: int
) -> None:
    """Or a class has too few texts, and that is said."""
    texts, labels = case
    texts_of = {
        one: {text for text, label in zip(texts, labels, strict=True) if label == one}
        for one in set(labels)
    }
    try:
        folds = folds_of(row_keys(texts), labels, count, seed=seed)
    except LabelError:
        assert (
            min(map(len, texts_of.values())) < 2 * count
        )  # never where every class has texts to spare
        return
    assert len(folds) == count
    assert sorted(np.concatenate([fold.held for fold in folds]).tolist()) == list(range(len(texts)))
    for fold in folds:
        assert len(fold.held) > 0
        assert sorted([*fold.train, *fold.held]) == list(range(len(texts)))
        assert not {texts[row] for row in fold.train} & {texts[row] for row in fold.held}
        assert {labels[row] for row in fold.train} == set(labels)


def test_folds_have_the_classes_in_their_shares() -> None:
    labels = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    folds = folds_of(row_keys([str(row) for row in range(100)]), labels, 5, seed=0)
    for fold in folds:
        assert Counter(labels[row] for row in fold.held) == {"a": 12, "b": 6, "c": 2}


def test_a_seed_says_which_rows_come_together() -> None:
    keys, labels = row_keys([str(row) for row in range(40)]), ["a", "b"] * 20
    one, again, other = (
        [fold.held.tolist() for fold in folds_of(keys, labels, 4, seed=seed)] for seed in (0, 0, 1)
    )
    assert one == again != other


def test_a_class_with_fewer_texts_than_folds_is_named_with_the_most_there_can_be() -> None:
    texts = [f"text {number}" for number in range(20)] + ["rare 1", "rare 1", "rare 2", "rare 3"]
    with pytest.raises(
        LabelError, match="the class 'b' has 3 different texts, and each of 4 folds needs one"
    ) as caught:
        folds_of(row_keys(texts), ["a"] * 20 + ["b"] * 4, 4, seed=0)
    assert "--cv 3" in caught.value.cure
    assert caught.value.exit_code == 2
    assert len(folds_of(row_keys(texts), ["a"] * 20 + ["b"] * 4, 3, seed=0)) == 3


def test_a_class_whose_only_text_has_another_label_first_is_seen() -> None:
    texts, labels = [f"text {number}" for number in range(12)] + ["text 0"], ["a", "c"] * 6 + ["b"]
    with pytest.raises(LabelError, match="the class 'b' has 1 different texts"):
        folds_of(row_keys(texts), labels, 2, seed=0)


def test_without_cross_validation_there_is_one_fold() -> None:
    (fold,) = one_fold(3, 2)
    assert (fold.train.tolist(), fold.held.tolist()) == ([0, 1, 2], [3, 4])


@pytest.mark.parametrize(
    ("n_train", "n_held", "kept"),
    [
        (60, 30, (60, 30)),
        (900, 15, (85, 15)),
        (900, 300, (80, 20)),
        (40, 300, (40, 60)),
        (80, 20, (80, 20)),
    ],
)
def test_a_smaller_fold_keeps_the_rows_that_it_is_measured_on(
    n_train: int, n_held: int, kept: tuple[int, int]
) -> None:
    """A small file of validation rows beside many of training loses none; every class stays on both
    sides.
    """
    labels = np.random.default_rng(0).permutation(np.resize([0, 0, 0, 0, 1], n_train + n_held))
    (fold,) = one_fold(n_train, n_held)
    found = smaller(fold, labels, SingleLabel(tuple(range(int(labels.max()) + 1))), 100, seed=0)
    assert (len(found.train), len(found.held)) == kept
    for mine, whole in ((found.train, fold.train), (found.held, fold.held)):
        assert set(mine) <= set(whole)
        assert len(set(mine)) == len(mine)
        assert labels[mine].mean() == pytest.approx(labels[whole].mean(), abs=0.04)
