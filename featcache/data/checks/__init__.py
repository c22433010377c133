"""Checks of labelled texts before any head is fitted: what in them would make a score mislead.

`check_parts` runs them all. One module is one kind of check, and yields `Finding`s.
"""

from __future__ import annotations

from collections.abc import Sequence

from featcache.data.checks.classes import class_sizes
from featcache.data.checks.cut import Truncation, cut_texts
from featcache.data.checks.findings import Finding, Pool, leak_error, leaks
from featcache.data.checks.formats import format_differences
from featcache.data.checks.label_leaks import label_leaks
from featcache.data.checks.lengths import length_leaks
from featcache.data.checks.mojibake import wrong_decoding
from featcache.data.checks.near import near_duplicates
from featcache.data.checks.repeats import conflicting_labels, repeated_texts, shared_texts
from featcache.data.checks.short import short_texts
from featcache.data.parts import LabelledRows

__all__ = ["KINDS", "Finding", "Truncation", "by_weight", "check_parts", "leak_error", "leaks"]

# By weight: findings are listed in this order, leaks before all others.
KINDS = (
    "shared-text",
    "near-duplicate-shared",
    "leak-start",
    "leak-end",
    "leak-token",
    "leak-characters",
    "leak-format",
    "leak-length",
    "mojibake",
    "odd-label",
    "one-class",
    "unknown-class",
    "conflicting-labels",
    "empty-text",
    "missing-label",
    "repeated-text",
    "near-duplicate",
    "rare-class",
    "imbalance",
    "cut-text",
    "one-word",
)


def check_parts(
    parts: Sequence[tuple[str, LabelledRows]],
    *,
    truncated: Truncation | None = None,
    label: str,
    quick: bool = False,
) -> list[Finding]:
    """Run all checks on the rows of named parts.

    The short form, which fit-heads uses, takes about 2.5 s for 6,000 texts of 1,300 characters. It
    looks for near duplicates among 20,000 texts of 8 million characters (the long form: 100,000 of
    60 million), and for words, markup and signs that give labels away in 1.5 million characters;
    all are drawn with a fixed seed, and findings say of how many. It does not look for runs of
    characters inside words.

    Args:
        parts: "train", then "validation" and "test" where they exist, each with its rows. Texts may
            be empty.
        truncated: What the tokenizer's limit cuts off, if known; else this is not checked.
        label: The labels' column, for sentences.
        quick: Whether to run the short form.

    Returns:
        Findings by weight, leaks first.
    """
    pool = Pool.of(parts)
    with_text = pool.with_text()
    findings = [
        *shared_texts(with_text),
        *repeated_texts(with_text),
        *conflicting_labels(with_text),
        *near_duplicates(with_text, quick=quick),
        *class_sizes(pool, label),
        *short_texts(pool),
        *wrong_decoding(with_text),
        *label_leaks(with_text, quick=quick),
        *format_differences(with_text),
        *length_leaks(with_text),
    ]
    if truncated is not None:
        findings += cut_texts(pool, truncated)
    return by_weight(findings)


def by_weight(findings: Sequence[Finding]) -> list[Finding]:
    """Sort findings: leaks first, then by the order of `KINDS`; within a kind the order stays."""
    return sorted(findings, key=lambda finding: (not finding.leak, KINDS.index(finding.kind)))
