"""Sentences that the terminal, the page and the model card share, so that they cannot part."""

from __future__ import annotations

from collections.abc import Sequence


def as_sentence(clause: str) -> str:
    """Return a clause with a first capital and a full stop; other capitals stay as they are."""
    clause = clause.strip()
    end = "" if clause.endswith((".", "!", "?", "…")) else "."
    return clause[:1].upper() + clause[1:] + end


def below_floor(heads: Sequence[tuple[str, float]], floor: float, part: str) -> str | None:
    """Say which heads score less than a bag of words.

    Args:
        heads: Each head in words, with its score.
        floor: The score of TF-IDF on the same rows.
        part: Names these rows: "test" or "validation".

    Returns:
        A clause, or None where every head scores at least as much.
    """
    below = [f"{name} ({score:.3f})" for name, score in heads if score < floor]
    if not below:
        return None
    stay = "stays" if len(below) == 1 else "stay"
    names = " and ".join(below)
    return f"{names} {stay} below a bag of words: TF-IDF has {floor:.3f} on {part} rows"


def gain_clause(metric: str, value: float, low: float | None, high: float | None) -> str:
    """Say what the choice gains over the linear head.

    Args:
        metric: The metric of the gain.
        value: The gain, as a share of 1.
        low: Lower end of its 95 % interval, where that is known.
        high: Upper end of the interval.

    Returns:
        A clause with the gain in points.
    """
    said = f"{100 * value:+z.1f} points of {metric} over the linear head on the same test rows"
    if low is None or high is None:
        return said
    return f"{said} ({100 * low:+z.1f} … {100 * high:+z.1f})"
