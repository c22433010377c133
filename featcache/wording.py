"""How numbers, sizes and strings of the user are written in messages."""

from __future__ import annotations

SHOWN_WIDTH = 100  # characters of an example's text


def shown(text: str, around: tuple[int, int] | None = None, width: int = SHOWN_WIDTH) -> str:
    """A text in quotes, at most about `width` characters of it; control characters are written as
    escapes.

    around: start and end of the characters that must be seen.
    """
    start = 0 if around is None else max(0, min(around[0] - width // 3, len(text) - width))
    kept = text[start : start + width]
    visible = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in kept)
    return f"“{'…' if start else ''}{visible}{'…' if start + width < len(text) else ''}”"


def counted(number: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(part: float, whole: float) -> str:
    """`3.1 %`; small shares keep a digit that says something."""
    share = 100 * part / whole if whole else 0.0
    return (
        f"{share:.2g} %" if 0 < share < 1 else f"{share:.0f} %" if share >= 10 else f"{share:.1f} %"
    )


def named(label: str | int | bool, before: str = "") -> str:  # noqa: FBT001
    """A label in a sentence: itself, or `label 3` where it would read as a number. before: goes
    before the latter.
    """
    name = str(label)
    return (
        name
        if isinstance(label, str) and any(sign.isalpha() for sign in name)
        else f"{before}label {name}"
    )


def megabytes(n_bytes: int) -> str:
    """A size for people, in binary units."""
    size, unit = float(n_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:,.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
