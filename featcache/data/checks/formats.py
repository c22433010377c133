"""How the classes are written: missing or doubled spaces, markup, case. One finding names what
differs most.

These are known traces of how files were made (line breaks that were taken out, text from web pages,
tokenised text). Each is looked for by name, so that a difference is told that is far from pure: a
head finds it all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcache.data.checks.findings import EXAMPLES, Finding, Pool
from featcache.data.checks.occurrences import Occurrences
from featcache.wording import named, percent

_LEAST = 40  # texts
_ODDS = 2.0  # of the class that has a trace most, against the others
_SHARE = 0.02  # of a class that has the trace
_STRONG = 0.9  # lower bound of purity
_TRACES = {
    "no space after a full stop": re.compile(r"[a-z\d)][.!?]['\"”’)]?[A-Z]['’a-z ]"),
    "no space after a colon": re.compile(r"[a-z]:[A-Z]"),
    "no space after a comma": re.compile(r"[a-z],[a-z]"),
    "a doubled space": re.compile(r"\S  +\S"),
    "a space before a full stop or comma": re.compile(r"\w [.,](?:\s|$)"),
    "a space behind an apostrophe": re.compile(r"\w['’] (?:s|t|re|ve|ll|d|m)\b"),
    "spaces on both sides of a quotation mark": re.compile(r'\w[.,!?]? " \w'),
    "HTML tags or entities": re.compile(r"</?[a-zA-Z][^<>]{0,80}>|&(?:\w{2,8}|#\d+);|#\d{2,4};"),
    "line breaks written out (\\n)": re.compile(r"\\[nrt](?![a-z])"),
    "line breaks": re.compile(r"[\r\n]"),
    "white space at the start or end": re.compile(r"\A\s|(?<=\s)\Z"),
    "asterisks as markup": re.compile(r"\*\*?\w"),
    "no capital letter": re.compile(r"\A[^A-Z]*[a-z][^A-Z]*\Z"),
    "only capital letters": re.compile(r"\A[^a-z]*[A-Z]{4}[^a-z]*\Z"),
}


@dataclass(frozen=True)
class _Trace:
    name: str
    number: int
    texts: NDArray[np.int64]
    here: float
    others: float
    odds: float
    strong: bool


def format_differences(pool: Pool) -> Iterator[Finding]:
    """What at least `_SHARE` of a class has, with `_ODDS` times the odds of the other classes, and
    not by chance.
    """
    if len(pool.classes) < 2 or len(pool.first) < _LEAST:
        return
    rows, numbers = pool.first, pool.numbers[pool.first]
    texts = [pool.texts[row] for row in rows]
    sizes = np.bincount(numbers, minlength=len(pool.classes))
    traces = [_trace(name, pattern, texts, numbers, sizes) for name, pattern in _TRACES.items()]
    told = sorted((one for one in traces if one is not None), key=lambda one: -one.odds * one.here)
    if not told:
        return
    parts = [
        f"{one.name} in {percent(one.here, 1)} of {named(pool.classes[one.number])} "
        f"and {percent(one.others, 1)} of the others"
        for one in told[:5]
    ]
    more = f"; and {len(told) - len(parts)} more" if len(told) > len(parts) else ""
    examples = []
    for one in told[:EXAMPLES]:
        row = int(rows[one.texts[numbers[one.texts] == one.number][0]])
        match = _TRACES[one.name].search(pool.texts[row])
        examples.append(pool.example(row, None if match is None else match.span()))
    leak = any(one.strong for one in told)
    count = len(np.unique(np.concatenate([one.texts for one in told])))
    yield Finding(
        "leak-format",
        count,
        len(rows),
        f"the classes are written differently: {'; '.join(parts)}{more}",
        "a head finds such traces before it finds what texts say; how far it rests on them no "
        "score on these data tells" + ("" if leak else " (it may also be signal)"),
        "Write all classes in one way (spaces, quotation marks, markup), then extract again "
        "and compare the scores.",
        leak=leak,
        examples=tuple(examples),
    )


def _trace(
    name: str,
    pattern: re.Pattern[str],
    texts: list[str],
    numbers: NDArray[np.int64],
    sizes: NDArray[np.int64],
) -> _Trace | None:
    """A trace where it differs between classes; None where it does not."""
    having = np.array(
        [place for place, text in enumerate(texts) if pattern.search(text)], dtype=np.int64
    )
    if not len(having):
        return None
    found = Occurrences(
        np.bincount(numbers[having], minlength=len(sizes))[None], sizes, len(_TRACES)
    )
    number, hits = int(found.top[0]), int(found.hits()[0])
    n_others = int(sizes.sum() - sizes[number])
    here, others = hits / sizes[number], (len(having) - hits) / max(1, n_others)
    odds = ((hits + 0.5) / (sizes[number] - hits + 0.5)) / (
        (len(having) - hits + 0.5) / (n_others - len(having) + hits + 0.5)
    )
    if here < _SHARE or odds < _ODDS or found.by_chance()[0]:
        return None
    strong = bool(found.significant(purity=_STRONG, coverage=_SHARE)[0])
    return _Trace(name, number, having, float(here), float(others), float(odds), strong)
