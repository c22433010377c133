"""Checks of labelled texts before any head is fitted: what in them would make a score mislead.

`check_parts` runs them all. One module is one kind of check; each tells `Finding`s.
"""

from __future__ import annotations

from collections.abc import Sequence

from featcache.data.checks.classes import class_sizes
from featcache.data.checks.clues import label_leaks
from featcache.data.checks.cut import Truncation, cut_texts
from featcache.data.checks.findings import Finding, Pool, leak_error, leaks
from featcache.data.checks.formats import format_differences
from featcache.data.checks.lengths import length_leaks
from featcache.data.checks.mojibake import wrong_decoding
from featcache.data.checks.near import near_duplicates
from featcache.data.checks.repeats import conflicting_labels, repeated_texts, shared_texts
from featcache.data.checks.short import short_texts
from featcache.data.parts import LabelledRows
from featcache.data.texts import TextOptions

__all__ = ["KINDS", "Finding", "Truncation", "by_weight", "check_parts", "leak_error", "leaks"]

# By weight: in this order findings are told, those that leak before all others.
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
    reading: TextOptions,  # noqa: ARG001 - for cures that are commands
    quick: bool = False,
) -> list[Finding]:
    """Everything that the checks find in the rows of named parts ("train", then "validation",
    "test").

    truncated: what the tokenizer's limit cuts off, where somebody knows; else texts that are cut go
    unseen.
    label: the labels' column, for sentences.  reading: how the texts were read.
    quick: the short form inside fit-heads, about 2.5 s for 6,000 texts of 1,300 characters. Near
    duplicates are looked for among 20,000 texts of 8 million characters (in the long form 100,000
    of 60 million); words, markup and signs that give labels away in 1.5 million characters; all
    drawn with a fixed seed, and findings say of how many. Characters inside words are not looked
    at. All else is as in the long form.
    Returns findings by weight, leaks first. Texts may be empty; nothing is raised for bad data.
    """
    pool = Pool.of(parts)
    there = pool.with_text()
    found = [
        *shared_texts(there),
        *repeated_texts(there),
        *conflicting_labels(there),
        *near_duplicates(there, quick=quick),
        *class_sizes(pool, label),
        *short_texts(pool),
        *wrong_decoding(there),
        *label_leaks(there, quick=quick),
        *format_differences(there),
        *length_leaks(there),
        *([] if truncated is None else cut_texts(pool, truncated)),
    ]
    return by_weight(found)


def by_weight(findings: Sequence[Finding]) -> list[Finding]:
    """Leaks first, then in the order of `KINDS`; of one kind as they were told."""
    return sorted(findings, key=lambda one: (not one.leak, KINDS.index(one.kind)))
