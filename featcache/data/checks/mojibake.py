"""Text that was decoded with the wrong encoding: "Â£2m" for "£2m", control characters for quotes.

Found by the heuristic of ftfy (R. Speer, 2019, `ftfy.badness`): sequences of characters that stand
side by side where UTF-8 was read as another encoding and hardly anywhere else. Beside these, C1
control characters (Windows-1252 read as Latin-1) and U+FFFD, which a decoder leaves for bytes that
it could not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from featcache.data.checks.findings import EXAMPLES, Finding, Pool, by_class
from featcache.data.checks.occurrences import Occurrences
from featcache.wording import counted, named, percent

_STRAY = re.compile("[\x80-\x9f\ufffd]")
_LEAST = 10  # rows, to speak of a class


def wrong_decoding(pool: Pool) -> Iterator[Finding]:
    """Rows with such characters, and whether they are all of one class."""
    from ftfy.badness import BADNESS_RE

    places: dict[int, tuple[int, int]] = {}
    for row, text in enumerate(pool.texts):
        if not text.isascii():
            match = BADNESS_RE.search(text) or _STRAY.search(text)
            if match is not None:
                places[row] = match.span()
    if not places:
        return
    rows = np.array(list(places), dtype=np.int64)
    sizes = np.bincount(pool.numbers, minlength=len(pool.classes))
    counts = Occurrences(
        np.bincount(pool.numbers[rows], minlength=len(pool.classes))[None], sizes, 1
    )
    leak = (
        len(rows) >= _LEAST
        and len(pool.classes) > 1
        and bool(counts.significant(purity=0.9, coverage=0.0)[0])
    )
    number = int(counts.top[0])
    effect = "the same word is another one to the tokenizer, and some tokens are spent on rubbish"
    if leak:
        effect = (
            f"they are {percent(int(counts.hits()[0]), len(rows))} "
            f"{named(pool.classes[number])}: a head can answer it "
            "from the wrong characters alone, which texts to come will not have"
        )
    yield Finding(
        "mojibake",
        len(rows),
        pool.n_rows,
        f"{counted(len(rows), 'text')} of {pool.n_rows:,} ({percent(len(rows), pool.n_rows)}) "
        f"{'holds' if len(rows) == 1 else 'hold'} characters of a wrong decoding: "
        f"{by_class(pool, rows)}",
        effect,
        "Repair them (ftfy.fix_text does), or read the file with its own encoding: --encoding "
        "cp1252, for example.",
        leak=leak,
        examples=tuple(pool.example(int(row), places[int(row)]) for row in rows[:EXAMPLES]),
    )
