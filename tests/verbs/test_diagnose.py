"""diagnose: a planted cause is found, said with numbers, and cured; what makes no sense is refused
in a sentence.
"""

from __future__ import annotations

import shlex
from functools import cache
from typing import Any

import numpy as np
import pytest

import featcache
from featcache.cli.main import main
from featcache.errors import InputError, LabelError
from featcache.evidence.verdict import KINDS, Verdict
from tests.verbs.causes import CASES, Case, few_rows

# Heads with hidden layers as subject or cure take longest: `benchmarks/verdicts.py` has them, and
# many seeds of all cases.
SHORT = [name for name in CASES if name not in ("xor", "big_head")]
# Each has a sister among the others: the same cause by another solver, pooling or amount of signal.
LONG = {"huge_dimension_by_descent", "last_token_at_padding", "weak_everywhere"}
QUICK = [name for name in SHORT if name not in LONG]
EACH_CASE = [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in SHORT]


@cache
def judged(name: str) -> tuple[Case, Verdict]:
    """A case and its verdict."""
    case = CASES[name](100)
    return case, case.judged()


@pytest.mark.parametrize("name", EACH_CASE)
def test_a_planted_cause_is_found(name: str) -> None:
    case, verdict = judged(name)
    assert case.right(verdict), verdict.why


@pytest.mark.parametrize("name", EACH_CASE)
def test_a_verdict_says_its_numbers_and_ranks_its_causes(name: str) -> None:
    _, verdict = judged(name)
    assert verdict.kind in KINDS
    assert verdict.kind == verdict.causes[0].kind
    assert verdict.cure == verdict.causes[0].cure
    points = [one.points for one in verdict.causes]
    known = [one for one in points if one is not None]
    assert known == sorted(known, reverse=True)
    assert points[: len(known)] == known  # those of unknown worth are last
    for one in verdict.causes:
        assert one.why.lower() in verdict.why.lower()  # it may begin a sentence
        if one.points is not None:
            assert (
                f"{100 * one.points:+.1f} ± {100 * (one.standard_error or 0):.1f} points"
                in verdict.why
            )
    assert verdict.subject in verdict.why


def test_every_cure_is_a_command_that_there_is() -> None:
    """Its options, too: click reads them, without running anything."""
    import click

    cures = {one.cure for name in QUICK for one in judged(name)[1].causes}
    assert len(cures) > 5
    for cure in cures:
        assert cure is not None
        program, name, *rest = shlex.split(cure)
        assert program == "featcache"
        command = main.get_command(click.Context(main), name)
        assert command is not None
        command.make_context(name, list(rest))


def test_experiments_tell_what_each_gained_and_over_what() -> None:
    _, verdict = judged("one_middle_layer")
    by_name = {one.name: one for one in verdict.experiments}
    assert by_name["views"].gain == pytest.approx(verdict.causes[0].points)
    assert "layer 3 mean" in by_name["views"].what
    assert by_name["views"].against == "the subject"
    assert {
        "subject",
        "unscaled",
        "held-back",
        "views",
        "larger",
        "everything",
        "shuffled",
        "guessing",
    } <= set(by_name)
    assert by_name["subject"].gain is None
    assert abs(by_name["shuffled"].score - 0.5) < 0.1
    assert sum(name.startswith("rows-") for name in by_name) >= 3


def test_what_is_not_wrong_is_said_too() -> None:
    why = judged("easy")[1].why
    assert "no other layer or pooling is better, no larger head is better" in why
    assert "Twice the labels would give about" in why


@pytest.mark.slow
def test_many_rows_of_a_task_are_not_short_of_data() -> None:
    """The task of which 200 rows are too few."""
    assert "data-limited" not in [one.kind for one in few_rows(0, rows=2000).judged().causes]


def test_rows_too_few_for_a_curve_are_said_to_be_too_few() -> None:
    """Forty rows of the task of which 200 are too few."""
    verdict = few_rows(1, rows=40).judged()
    kinds = [one.kind for one in verdict.causes]
    assert "fits" not in kinds
    assert "data-limited" in kinds or kinds == ["no-signal"], verdict.why


def test_the_same_call_gives_the_same_verdict() -> None:
    case, verdict = judged("huge_dimension")
    assert case.judged() == verdict


def test_labels_of_any_type_and_texts_beside_them() -> None:
    case, plain = judged("huge_dimension")
    words = [
        ("good film " if one else "bad film ") + f"number {row}"
        for row, one in enumerate(case.labels)
    ]
    named = [["no", "yes"][one] for one in case.labels]
    told = featcache.diagnose(case.features, named, metric="accuracy", scale=False, texts=words)
    assert told.causes[0] == plain.causes[0]
    (found,) = [one for one in told.experiments if one.name == "words"]
    assert found.score > 0.95
    assert told.causes[-1].kind == "backbone"  # a bag of words beats the best head
    assert "stays below a bag of words" in told.why


X, Y = np.random.default_rng(0).standard_normal((30, 4)), np.arange(30) % 2


@pytest.mark.parametrize(
    ("features", "labels", "options", "says"),
    [
        (X, Y[:29], {}, "30 rows of features, but 29 labels"),
        (X, Y, {"texts": ["a"]}, "30 rows of features, but 1 texts"),
        (X[:10], Y[:10], {}, "a verdict needs at least 20 rows; there are 10"),
        (X[:, 0], Y, {}, "features of shape (30,)"),
        ({(0, "mean"): X, (1, "mean"): X[:, :2]}, Y, {}, "features of shape (30, 2), (30, 4)"),
        ({}, Y, {}, "there are no features"),
        (
            np.where(np.arange(30)[:, None] == 7, np.nan, X),
            Y,
            {},
            "row 7 of layer 0 mean is not finite",
        ),
        (X, Y, {"head": "forest"}, "no head 'forest'"),
        (X, Y, {"head": "mlp 0x4"}, "no head 'mlp 0x4'"),
        (
            X,
            Y,
            {"head": "logreg", "lr": 0.1},
            "the learning rate is 0.1, but a logreg head has none",
        ),
        (X, Y, {"lr": -1.0}, "the learning rate is -1"),
        (X, Y, {"lr": 0.1, "epochs": 0}, "the number of epochs is 0"),
        (X, Y, {"metric": "auc"}, "no metric 'auc'"),
        (X, Y, {"view": (3, "cls")}, "no layer 3 cls"),
        (X, Y, {"view": "last"}, "'last' is no view"),
        ({"mean": X}, Y, {}, "'mean' is no view"),
        ({("mean", 1): X}, Y, {}, "('mean', 1) is no view"),
        ([["a", "b"]] * 30, Y, {}, "the features are not numbers"),
        (X * 1e39, Y, {}, "row 0 of layer 0 mean is not finite"),
    ],
)
def test_what_makes_no_sense_is_refused(
    features: Any, labels: Any, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError) as caught:
        featcache.diagnose(features, labels, **options)
    assert says in caught.value.what
    assert caught.value.cure


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.zeros(30, int), "all labels are the same"),
        ([*Y[:29], 2], "the class 2 has only one row"),
        ([*Y[:29], None], "row 29 has no label"),
        (np.eye(2)[Y], "lists of several values"),
    ],
)
def test_labels_that_make_no_task_are_refused(labels: Any, says: str) -> None:
    with pytest.raises(LabelError, match=says):
        featcache.diagnose(X, labels)


def test_a_class_of_which_all_rows_are_equal_is_named() -> None:
    """The rarest class by rows is another one."""
    labels = np.repeat([0, 1], [10, 20])
    with pytest.raises(LabelError, match="all rows of the class 1 are the same"):
        featcache.diagnose(np.where(labels[:, None] == 1, 0.5, X), labels)


def test_a_class_of_two_rows_is_not_lost_where_labels_are_shuffled() -> None:
    """Two folds of ten rows: a shuffle of all labels leaves one of them without the class, and
    nothing to learn.
    """
    labels = np.repeat([0, 1], [18, 2])
    centres = np.random.default_rng(0).standard_normal((2, 8)) * 3
    features = np.random.default_rng(0).standard_normal((20, 8)) + centres[labels]
    assert featcache.diagnose(features, labels).kind in KINDS


def test_rows_that_are_equal_do_not_lie_on_both_sides_of_a_fold() -> None:
    """Each row twice, with random labels that are the same for both: only a leak could make them
    known.
    """
    generator = np.random.default_rng(4)
    x, labels = generator.standard_normal((150, 24)), generator.integers(0, 2, 150)
    verdict = featcache.diagnose(
        np.concatenate([x, x]), np.concatenate([labels, labels]), metric="accuracy"
    )
    assert verdict.kind == "no-signal", verdict.why
