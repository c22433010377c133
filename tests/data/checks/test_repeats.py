"""Same text in two parts, twice in one, under two labels: every count is known from how the rows
were made.
"""

from __future__ import annotations

from tests.data.checks.planted import found, of_kind, one_of_kind, rows, sentences


def test_texts_of_a_part_that_are_in_an_earlier_one_are_counted_for_each_two_parts() -> None:
    texts = sentences(60, seed=1)
    train = rows(texts[:40], ["a", "b"] * 20, "train.csv")
    validation = rows([*texts[40:47], *texts[:3]], ["a", "b"] * 5, "val.csv")
    test = rows([*texts[50:], texts[41], texts[5], texts[5]], ["a"] * 13, "test.csv")
    shared = of_kind(found(train, validation, test), "shared-text")
    assert [(one.count, one.total, one.leak) for one in shared] == [
        (2, 13, True),
        (1, 13, True),
        (3, 10, True),
    ]
    assert "2 test rows of 13 (15 %) have texts that are in train too" in shared[0].what
    assert "1 test row of 13 (7.7 %) has a text that is in validation too" in shared[1].what
    assert (
        shared[0].examples[0]
        == f"test.csv, row 12 (a): “{texts[5][:100]}{'…' if len(texts[5]) > 100 else ''}”"
    )


def test_rows_that_repeat_an_earlier_one_of_their_part_are_counted() -> None:
    texts = sentences(30, seed=2)
    repeated = one_of_kind(
        found(rows([*texts, *texts[:4], texts[0]], ["a", "b"] * 17 + ["a"])), "repeated-text"
    )
    assert (repeated.count, repeated.total, repeated.leak) == (5, 35, False)
    assert [one.split(" (")[0] for one in repeated.examples] == [
        f"data.csv, row {row}" for row in (31, 32, 33)
    ]


def test_texts_with_two_labels_are_counted_as_texts_over_all_parts() -> None:
    texts = sentences(20, seed=3)
    train = rows([*texts, texts[0], texts[0], texts[1]], ["a", "b"] * 10 + ["b", "b", "b"])
    test = rows([texts[2], texts[3]], ["b", "b"], "test.csv")
    torn = one_of_kind(found(train, test), "conflicting-labels")
    assert (torn.count, torn.total) == (2, 20)  # texts[0]: a, b, b; texts[2]: a in train, b in test
    assert "2 texts have more than one label (5 rows)" in torn.what
    assert "at least 2 rows" in torn.effect
    assert "data.csv, row 3 (a), test.csv, row 1 (b)" in torn.examples[1]


def test_clean_parts_have_none_of_these() -> None:
    texts = sentences(50, seed=4)
    findings = found(rows(texts[:40], ["a", "b"] * 20), rows(texts[40:], ["a", "b"] * 5))
    assert not of_kind(findings, "shared-text", "repeated-text", "conflicting-labels")


def test_empty_texts_are_no_repeats_of_one_another() -> None:
    findings = found(rows([*sentences(10, seed=5), "", " ", ""], ["a", "b"] * 6 + ["a"]))
    assert not of_kind(findings, "repeated-text", "conflicting-labels", "near-duplicate")
    assert one_of_kind(findings, "empty-text").count == 3
