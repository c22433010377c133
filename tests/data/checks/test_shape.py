"""Class sizes, empty and short texts, texts that are cut, and what all findings have in common."""

from __future__ import annotations

import json

import numpy as np
import pytest

from featcache.data.checks import KINDS, Finding, Truncation, by_weight, leak_error, leaks
from featcache.wording import shown
from tests.data.checks.planted import found, of_kind, one_of_kind, rows, sentences, two_topics


def test_the_rarest_class_and_what_the_majority_scores_are_told() -> None:
    imbalance = one_of_kind(
        found(rows(sentences(100, seed=1), ["ham"] * 87 + ["spam"] * 13)), "imbalance"
    )
    assert (imbalance.count, imbalance.total) == (13, 100)
    assert "'spam', has 13 of 100 rows (13 %); 'ham' has 6.7 times as many" in imbalance.what
    assert "right on 87 % of the rows" in imbalance.effect
    assert not of_kind(found(rows(sentences(100, seed=1), ["a"] * 60 + ["b"] * 40)), "imbalance")


def test_one_class_rare_classes_and_classes_that_training_lacks() -> None:
    texts = sentences(60, seed=2)
    assert one_of_kind(found(rows(texts, [1] * 60)), "one-class").count == 60
    rare = one_of_kind(found(rows(texts, [1] * 30 + [2] * 27 + [3] * 3)), "rare-class")
    assert (rare.count, rare.total) == (1, 3)
    unknown = one_of_kind(
        found(rows(texts[:40], ["a", "b"] * 20), rows(texts[40:], ["a"] * 18 + ["c"] * 2)),
        "unknown-class",
    )
    assert (unknown.count, unknown.total) == (2, 20)
    assert "'c'" in unknown.what


def test_empty_and_one_word_texts_are_counted_with_their_labels() -> None:
    findings = found(
        rows(
            ["", "\t ", "yup", "Okie...", *sentences(16, seed=3)], ["ham"] * 4 + ["ham", "spam"] * 8
        )
    )
    assert (
        "2 texts of 20 are empty or missing (2 ham, 0 spam)"
        in one_of_kind(findings, "empty-text").what
    )
    assert one_of_kind(findings, "one-word").examples == (
        "data.csv, row 3 (ham): “yup”",
        "data.csv, row 4 (ham): “Okie...”",
    )


def test_cut_texts_and_the_share_that_is_lost_are_exact_with_whole_counts() -> None:
    truncated = Truncation(
        10,
        kept=np.array([10, 10, 6, 10]),
        cut=np.array([True, False, False, True]),
        whole=np.array([40, 10, 6, 60]),
    )
    cut = one_of_kind(
        found(rows(sentences(4, seed=4), ["a", "b", "a", "b"]), truncated=truncated), "cut-text"
    )
    assert (cut.count, cut.total, cut.leak) == (2, 4, False)
    assert (
        "2 texts of 4 (50 %) are cut at 10 tokens: 80 % of their tokens are never seen (1 a, 1 b)"
        in cut.what
    )


def test_the_share_that_is_lost_is_estimated_where_only_the_cache_was_asked() -> None:
    texts = ["word " * 20, "word " * 200]
    truncated = Truncation(50, kept=np.array([20, 50]), cut=np.array([False, True]))
    cut = one_of_kind(found(rows(texts, ["a", "b"]), truncated=truncated), "cut-text")
    assert "about 75 % of their tokens is never seen" in cut.what  # 50 of about 200


@pytest.mark.parametrize("n_rows", [0, 1, 2])
def test_hardly_any_rows_are_no_error(n_rows: int) -> None:
    part = rows(["one text", "two texts"][:n_rows], ["a", "b"][:n_rows])
    for quick in (False, True):
        assert not leaks(found(part, quick=quick))
        assert not leaks(found(part, rows([], [], "test.csv"), quick=quick))


def test_findings_are_told_by_weight_and_are_json() -> None:
    texts, labels = two_topics(60)
    test = rows(["lone", *texts[:5]], [*labels[:5], "markets"], "test.csv")
    findings = found(
        rows(
            [
                "ID " + text if label == "sports" else text
                for text, label in zip(texts, labels, strict=True)
            ],
            labels,
        ),
        test,
    )
    assert [one.leak for one in findings] == sorted((one.leak for one in findings), reverse=True)
    assert findings == by_weight(list(reversed(findings)))
    assert all(one.kind in KINDS and one.what and one.effect and one.cure for one in findings)
    for one in findings:
        told = json.loads(json.dumps(one.to_json()))
        assert list(told) == [
            "kind",
            "count",
            "total",
            "what",
            "effect",
            "cure",
            "leak",
            "examples",
        ]
        assert len(told["examples"]) <= 3


def test_the_error_of_strict_names_the_first_leak_and_how_many_there_are() -> None:
    leak = Finding(
        "shared-text", 1, 2, "1 row is shared", "effect", "Take it out.", leak=True, examples=()
    )
    note = Finding("imbalance", 1, 2, "what", "effect", "cure", leak=False, examples=())
    assert leak_error([note]) is None
    error = leak_error([note, leak, leak])
    assert error is not None
    assert error.what == "the data give labels or test rows away: 1 row is shared (and 1 more)"
    assert error.cure == "Take it out.\nOr leave out --strict."
    assert error.exit_code == 2


def test_examples_are_short_and_hold_no_control_characters() -> None:
    assert shown("a\x1b[31mb\nc\x92") == "“a\\x1b[31mb\\nc\\x92”"
    long = "x" * 300 + "NEEDLE" + "y" * 300
    assert "NEEDLE" in shown(long, (300, 306))
    assert shown(long, (300, 306)).startswith("“…")
    assert len(shown(long)) < 110
