"""Labelled texts with known faults, made anew for each test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from featcache.data.checks import Finding, Truncation, check_parts
from featcache.data.keys import row_keys
from featcache.data.labels import Label
from featcache.data.parts import LabelledRows

PLAIN = tuple(
    (
        "time year people way day man thing woman life child world school state family "
        "student group country problem hand part place case week company system program "
        "question work government number night point home water room mother area money story "
        "fact month lot right study book eye job word business issue side kind head house "
        "service friend father power hour game line end member law car city name team minute "
        "idea body back parent face others level office door health person art war history "
        "party result change morning reason research girl guy moment air teacher force "
        "education foot boy age policy music market sense nation plan college interest death "
        "course someone experience behind reach local six remain effect suggest class control "
        "raise field late hard major military"
    ).split()
)
SPORTS = ("football", "goal", "league", "coach", "match", "player", "season", "striker")
MARKETS = ("shares", "profit", "dollar", "stocks", "quarter", "investor", "merger", "bank")


def sentences(
    n: int,
    seed: int,
    *,
    words: int = 14,
    own: Sequence[str] = (),
    others: Sequence[str] = (),
    share: float = 0.0,
) -> list[str]:
    """`n` sentences; `share` of their words are of `own`, a tenth of that of `others`, the rest
    common to all.
    """
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        count = int(generator.integers(words - 6, words + 7))
        chosen = []
        for _ in range(count):
            draw = generator.random()
            pool = (
                own
                if own and draw < share
                else others
                if others and draw > 1 - share / 10
                else PLAIN
            )
            chosen.append(str(generator.choice(pool)))
        made.append(" ".join(chosen).capitalize() + ".")
    return made


def rows(texts: Sequence[str], labels: Sequence[Label], name: str = "data.csv") -> LabelledRows:
    """As a file of that name would give them."""
    return LabelledRows(
        [name] * len(texts),
        list(texts),
        row_keys(list(texts)),
        list(labels),
        list(range(1, len(texts) + 1)),
    )


def two_topics(n: int = 400, seed: int = 0) -> tuple[list[str], list[Label]]:
    """`n` texts of each of two topics that own words tell apart, in turn: signal and no leak."""
    sports = sentences(n, seed, own=SPORTS, others=MARKETS, share=0.15)
    markets = sentences(n, seed + 1000, own=MARKETS, others=SPORTS, share=0.15)
    texts = [text for pair in zip(sports, markets, strict=True) for text in pair]
    return texts, ["sports", "markets"] * n


def found(
    *parts: LabelledRows,
    truncated: Truncation | None = None,
    quick: bool = False,
    label: str = "label",
) -> list[Finding]:
    names = ("train", "validation", "test") if len(parts) != 2 else ("train", "test")
    named = list(zip(names, parts, strict=False))
    return check_parts(named, truncated=truncated, label=label, quick=quick)


def of_kind(findings: Sequence[Finding], *kinds: str) -> list[Finding]:
    return [one for one in findings if one.kind in kinds]


def one_of_kind(findings: Sequence[Finding], kind: str) -> Finding:
    (finding,) = of_kind(findings, kind)
    return finding


def leak_kinds(findings: Sequence[Finding]) -> list[str]:
    return [one.kind for one in findings if one.leak]


def as_columns(texts: Sequence[str], labels: Sequence[Any]) -> dict[str, list[Any]]:
    return {"text": list(texts), "label": list(labels)}
