"""Labels that can be read off a few characters: a fixed start or end, one token, markup, signs.

What tells a leak from signal? A word such as "football" goes with the class Sports because texts
about sports hold it, and a head shall learn that. Reported here is what a topic does not bring
about: starts and ends (`edge_patterns`), and what stands anywhere (`inner_patterns`). `occurrences`
says what is no chance. All the same each of these may be signal, and the sentences say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from featcache.data.checks.edge_patterns import edge_patterns
from featcache.data.checks.findings import EXAMPLES, Finding, Pool
from featcache.data.checks.inner_patterns import inner_patterns, runs_of_characters
from featcache.data.checks.label_patterns import LEAST_TEXTS, DifferentTexts, LabelPattern
from featcache.wording import counted, named, percent

_MOST_FINDINGS = 5  # of starts, of ends, and of what stands anywhere
_QUICK_CHARACTERS = 1_500_000  # that inner patterns are sought in, in the short form
_MOST_CHARACTERS = 60_000_000  # that anything is sought in: some GB of memory
_RUN_CHARACTERS = 2_500_000  # that runs of characters are sought in: 0.9 s
_NEW = 0.5  # a pattern is reported beside others if so many of its texts are not theirs


def label_leaks(pool: Pool, *, quick: bool) -> Iterator[Finding]:
    """Report what of the texts goes with one class and is hardly what they are about.

    Args:
        pool: All rows.
        quick: Seek words, markup and signs in a sample of texts only, and no runs of characters.

    Yields:
        At most five findings of each group of patterns.
    """
    if len(pool.classes) < 2 or len(pool.first) < 2 * LEAST_TEXTS:
        return
    texts = DifferentTexts.of(pool, _MOST_CHARACTERS)
    sample = DifferentTexts.of(pool, _QUICK_CHARACTERS) if quick else texts
    groups = (
        (texts, edge_patterns(texts, at_start=True)),
        (texts, edge_patterns(texts, at_start=False)),
        (sample, inner_patterns(sample)),
    )
    phrases = ""
    for searched, patterns in groups:
        for pattern in _strongest(patterns):
            phrases += pattern.phrase
            yield _finding(searched, pattern)
    if quick:
        return
    sample = DifferentTexts.of(pool, _RUN_CHARACTERS)
    for pattern in _strongest(runs_of_characters(sample)):
        if pattern.name not in phrases:
            yield _finding(sample, pattern)


def _strongest(patterns: Sequence[LabelPattern]) -> list[LabelPattern]:
    """The strongest patterns, without those whose texts mostly have a stronger one.

    Markup and glued letters come before signs, which are a part of them, and words come last.
    """
    kept: list[LabelPattern] = []
    seen: set[int] = set()
    for pattern in sorted(patterns, key=lambda item: (not item.leak, item.rank, -item.strength)):
        texts = set(pattern.texts.tolist())
        if len(kept) < _MOST_FINDINGS and len(texts - seen) >= _NEW * len(texts):
            kept.append(pattern)
            seen |= texts
    return kept


def _finding(texts: DifferentTexts, pattern: LabelPattern) -> Finding:
    name = named(texts.pool.classes[pattern.number])
    return Finding(
        kind=pattern.kind,
        count=len(pattern.texts),
        total=len(texts.rows),
        what=_what(texts, pattern, name),
        effect=_effect(pattern, name),
        cure=_cure(pattern),
        leak=pattern.leak,
        examples=_examples(texts, pattern),
    )


def _what(texts: DifferentTexts, pattern: LabelPattern, name: str) -> str:
    count = len(pattern.texts)
    size = int((texts.numbers == pattern.number).sum())
    sampled = len(texts.rows) < len(texts.pool.first)
    looked = f" of {len(texts.rows):,} looked at" if sampled else ""
    purity, coverage = percent(pattern.hits, count), percent(pattern.hits, size)
    return (
        f"{counted(count, 'text')}{looked} {pattern.phrase}: {pattern.hits:,} {name}, "
        f"{counted(count - pattern.hits, 'other')} (purity {purity}, {coverage} of {name})"
    )


def _effect(pattern: LabelPattern, name: str) -> str:
    if pattern.leak:
        return (
            f"a head can answer {name} to these without understanding them, "
            "so a score on such rows may promise too much"
        )
    return (
        f"this alone says {name}; it may be signal (a word of the topic, a number, a price) "
        "or a leak: look at it"
    )


def _cure(pattern: LabelPattern) -> str:
    at_edge = pattern.kind in {"leak-start", "leak-end"}
    repair = "" if at_edge else " (or repair how the file was made)"
    return (
        f"If texts to come will not have it, take it out of these before extracting{repair}; "
        "else leave it: it is signal."
    )


def _examples(texts: DifferentTexts, pattern: LabelPattern) -> tuple[str, ...]:
    pool = texts.pool
    of_class = pattern.texts[texts.numbers[pattern.texts] == pattern.number]
    rows = [int(texts.rows[place]) for place in of_class[:EXAMPLES]]
    return tuple(pool.example(row, pattern.locate(pool.texts[row])) for row in rows)
