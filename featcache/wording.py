"""How numbers, sizes and strings from files are written for people.

Texts, labels, column names and file names are not trusted: they can hold signs that move a
terminal's cursor, turn the writing direction round or cannot be encoded at all. `printable` shows
such signs as escapes. Everything that goes to a terminal, a log or `report.txt` passes through it
once, where it leaves the program; `shown` and `named` also escape line breaks inside a message.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

SHOWN_WIDTH = 100  # characters of an example's text

# Letters and signs that Unicode calls printable although nothing is drawn for them.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
# Typographic spaces draw what one expects of a space; our own numbers and units contain some.
_SPACES = frozenset("\u00a0\u2007\u2009\u202f\u3000")
# What JSON allows in a string, but a terminal, a reader of lines or UTF-8 does not.
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def printable(text: str, *, keep: str = "\n") -> str:
    r"""Write what a terminal would obey, hide or fail on as escapes, such as `\x1b` or `\u202e`.

    Escaped are control characters, bidirectional overrides, zero-width and other invisible signs,
    and lone surrogates. The result can be encoded as UTF-8, and is unchanged when escaped again.

    Args:
        text: Any string.
        keep: Characters that stay although they are not printable.

    Returns:
        The text with every other character that is not printable as an escape.
    """
    if text.isprintable() and _BLANK.isdisjoint(text):
        return text
    return "".join(sign if sign in keep or _is_visible(sign) else _escape(sign) for sign in text)


def _is_visible(sign: str) -> bool:
    return (sign.isprintable() or sign in _SPACES) and sign not in _BLANK


def _escape(sign: str) -> str:
    r"""`\x1b`, `\u202e` or `\U000e0001`, as Python writes it."""
    return sign.encode("unicode_escape", "surrogatepass").decode("ascii")


def safe_json(json_text: str) -> str:
    r"""Write lone surrogates, line separators and C1 controls of a JSON text as `\uxxxx`.

    The text means the same, is valid UTF-8, and is one line for every reader of lines.
    """
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match.group()):04x}", json_text)


def shown(text: str, around: tuple[int, int] | None = None, width: int = SHOWN_WIDTH) -> str:
    """A text in quotes on one line, cut at `width` characters, with invisible signs as escapes.

    Args:
        text: The text, of any length.
        around: Start and end of the characters that must be seen; the beginning by default.
        width: How many characters of the text are kept.

    Returns:
        The quoted text, with `…` on each side where something is left out.
    """
    start = 0
    if around is not None:
        start = max(0, min(around[0] - width // 3, len(text) - width))
    end = start + width
    before = "…" if start else ""
    after = "…" if end < len(text) else ""
    return f"“{before}{printable(text[start:end], keep='')}{after}”"


def named(label: str | int, before: str = "") -> str:
    """A label in a sentence: itself, or `label 3` where it would read as a number.

    Args:
        label: The label, as it stands in the data.
        before: Put in front of the word `label`, such as "the ".

    Returns:
        The label on one line, with invisible signs as escapes.
    """
    name = printable(str(label), keep="")
    if isinstance(label, str) and any(sign.isalpha() for sign in name):
        return name
    return f"{before}label {name}"


def counted(number: int, noun: str) -> str:
    """A number with its noun, such as `1 row` or `2,000 rows`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def percent(part: float, whole: float) -> str:
    """A share such as `31 %`, `3.1 %` or `0.31 %`; small ones keep the digits that matter."""
    share = 100 * part / whole if whole else 0.0
    if share >= 10:
        return f"{share:.0f} %"
    return f"{share:.2g} %" if 0 < share < 1 else f"{share:.1f} %"


def megabytes(n_bytes: int) -> str:
    """A size such as `312 B`, `4.0 KiB` or `12 MiB`."""
    if n_bytes < 1024:
        return f"{n_bytes:,} B"
    size, unit = float(n_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:,.0f} {unit}" if size >= 10 else f"{size:.1f} {unit}"


def layer_range(layers: Sequence[int]) -> str:
    """Layers as `0–6` where they are neighbours, as `0,3,6` otherwise."""
    if len(layers) > 1 and list(layers) == list(range(layers[0], layers[-1] + 1)):
        return f"{layers[0]}–{layers[-1]}"
    return ",".join(str(layer) for layer in layers)
