"""Planted leaks are found with their counts; words of a topic, and chance, are not called leaks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from featcache.data.checks.occurrences import Occurrences, lower_bound
from tests.data.checks.planted import (
    found,
    leak_kinds,
    of_kind,
    one_of_kind,
    rows,
    sentences,
    two_topics,
)

SIZE = 400  # of each class


def planted(
    change: Callable[[str, int], str], share: float, label: str = "sports", seed: int = 0
) -> list[str]:
    """Texts of two topics, of which the first `share` of one class is changed: `change(text,
    number)`.
    """
    texts, labels = two_topics(SIZE, seed)
    seen = 0
    for row, one in enumerate(labels):
        if one == label and seen < share * SIZE:
            texts[row] = change(texts[row], seen)
            seen += 1
    return texts


LABELS = ["sports", "markets"] * SIZE


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize(
    ("kind", "change", "share", "words"),
    [
        ("leak-start", lambda text, _: "nn" + text, 0.1, "start with “nn”"),
        ("leak-start", lambda text, _: "Re: " + text, 0.1, "start with “Re: "),
        ("leak-start", lambda text, _: "Here is " + text.lower(), 0.2, "start with “Here is ”"),
        ("leak-end", lambda text, _: text + " END", 0.1, "end with “"),
        ("leak-token", lambda text, n: text.replace(" ", f" <eot{n % 2}> ", 1), 0.4, "hold “<eot"),
        ("leak-token", lambda text, _: text.replace(" ", " qzx ", 3), 1.0, "hold the word “qzx”"),
        (
            "leak-characters",
            lambda text, _: text.replace(" ", " nnThe ", 1),
            0.1,
            "“nn” glued to a word",
        ),
        (
            "leak-characters",
            lambda text, _: text.replace(" ", " said:Well ", 1),
            0.2,
            "“:” right before a capital",
        ),
        (
            "leak-format",
            lambda text, _: text.replace(" ", "  ", 2),
            0.2,
            "a doubled space in 20 % of sports",
        ),
        (
            "leak-format",
            lambda text, _: text.lower().rstrip("."),
            0.3,
            "no capital letter in 30 % of sports",
        ),
        ("mojibake", lambda text, n: text.replace(" ", f" Â£{n} ", 1), 0.1, "40 sports, 0 markets"),
        (
            "mojibake",
            lambda text, _: text.replace(" ", " it\x92s ", 1),
            0.1,
            "40 sports, 0 markets",
        ),
    ],
)
def test_a_planted_leak_is_found(
    kind: str, change: Callable[[str, int], str], share: float, words: str, quick: bool
) -> None:
    findings = found(rows(planted(change, share), LABELS), quick=quick)
    told = [one for one in of_kind(findings, kind) if words in one.what]
    assert told, [one.what for one in findings]
    assert told[0].leak
    if kind != "leak-format":
        assert told[0].count in {round(share * SIZE), round(share * SIZE / 2)}
    assert all("(sports)" in example for example in told[0].examples)


def test_characters_inside_words_are_found_in_the_long_form() -> None:
    def inside(text: str, number: int) -> str:
        words = text.split()
        words[number % len(words)] = (
            words[number % len(words)][:1] + "qzxj" + words[number % len(words)][1:]
        )
        return " ".join(words)

    for share, leak in ((0.4, False), (1.0, True)):  # a topic may bring about the former
        findings = found(rows(planted(inside, share), LABELS))
        assert any(
            "“qzxj”" in one.what and one.leak == leak
            for one in of_kind(findings, "leak-characters")
        )


def test_a_word_that_stands_in_a_part_of_one_class_alone_is_a_hint_and_no_leak() -> None:
    findings = found(rows(planted(lambda text, _: text.replace(" ", " album ", 1), 0.5), LABELS))
    (hint,) = [one for one in of_kind(findings, "leak-token") if "“album”" in one.what]
    assert (hint.count, hint.leak) == (200, False)
    assert "may be signal" in hint.effect


def test_a_label_that_is_the_length_is_found() -> None:
    texts = sentences(200, seed=1, words=30) + sentences(200, seed=2, words=12)
    length = one_of_kind(found(rows(texts, ["long"] * 200 + ["short"] * 200)), "leak-length")
    assert length.leak
    assert "balanced accuracy of this rule 1.00" in length.what


def test_a_length_that_only_one_class_has_is_found() -> None:
    texts = [
        text[:60] if row < 100 and len(text) > 60 else text
        for row, text in enumerate(sentences(400, seed=3))
    ]
    n_cut = sum(len(text) == 60 for text in texts[:200])
    findings = found(rows(texts, ["cut"] * 200 + ["whole"] * 200))
    assert any(
        "exactly 60 characters" in one.what and one.leak for one in of_kind(findings, "leak-length")
    )
    assert n_cut > 50


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("quick", [False, True])
def test_words_of_a_topic_are_signal(seed: int, quick: bool) -> None:
    texts, labels = two_topics(SIZE, seed)
    assert leak_kinds(found(rows(texts, labels), quick=quick)) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_topic_that_likes_to_stand_first_is_signal(seed: int) -> None:
    generator = np.random.default_rng(seed)
    texts, labels = two_topics(SIZE, seed)
    texts = [
        f"Football {text.lower()}" if label == "sports" and generator.random() < 0.1 else text
        for text, label in zip(texts, labels, strict=True)
    ]
    assert leak_kinds(found(rows(texts, labels))) == []


@pytest.mark.parametrize("seed", range(5))
def test_random_labels_leak_nothing(seed: int) -> None:
    texts, _ = two_topics(SIZE, seed)
    generator = np.random.default_rng(seed)
    labels = [
        ("a", "b", "c")[number] for number in generator.choice(3, len(texts), p=[0.9, 0.08, 0.02])
    ]
    assert leak_kinds(found(rows(texts, labels))) == []


def test_prices_of_one_class_are_a_hint_and_no_leak() -> None:
    findings = found(rows(planted(lambda text, n: text.replace(" ", f" £{n} ", 1), 0.3), LABELS))
    (hint,) = [one for one in of_kind(findings, "leak-characters") if "£" in one.what]
    assert not hint.leak
    assert "may be signal" in hint.effect


def test_findings_do_not_depend_on_the_order_in_which_sets_give_strings() -> None:
    texts = planted(lambda text, _: text.replace(" ", " &lt;x&gt; ", 1), 0.3)
    token = one_of_kind(found(rows(texts, LABELS)), "leak-token")
    assert "“&gt;”" in token.what  # of two that are equally strong the first by name


def test_the_guard_is_what_its_formulas_say() -> None:
    # By hand: with k = n the lower end of Clopper-Pearson is 0.05 ** (1 / n).
    assert lower_bound(np.array([20, 0]), np.array([20, 5])).tolist() == pytest.approx(
        [0.05 ** (1 / 20), 0.0]
    )
    pure = Occurrences(np.array([[20, 0], [12, 8], [300, 1]]), np.array([500, 500]), tried=100)
    assert pure.significant(purity=0.8, coverage=0.01, odds=5).tolist() == [
        True,
        False,
        True,
    ]  # 0.86 has the odds 6.2
    assert pure.significant(purity=0.8, coverage=0.01, odds=7).tolist() == [False, False, True]
    assert pure.significant(purity=0.8, coverage=0.1, odds=5).tolist() == [False, False, True]
    # One class 20 times in a row: a chance of 2^-20, but not where a hundred thousand patterns were
    # tried.
    many = Occurrences(np.array([[20, 0]]), np.array([500, 500]), tried=100_000)
    assert many.significant(purity=0.8, coverage=0.01, odds=5).tolist() == [False]
    large = Occurrences(np.array([[40, 0]]), np.array([9_500, 500]), tried=1)
    assert large.significant(purity=0.8, coverage=0.0).tolist() == [
        False
    ]  # of a class that has 95 % anyway
