"""Scores as the terminal writes them."""

from __future__ import annotations

from featcache.tasks.metrics import Interval


def short(score: float) -> str:
    """Return `.976`: three places are what 1,000 rows can tell."""
    return f"{score:.3f}".removeprefix("0")


def with_interval(score: Interval) -> str:
    """Return `0.871 (0.854–0.883)`."""
    return f"{score.value:.3f} ({score.low:.3f}–{score.high:.3f})"


def points_with_error(gain: float, standard_error: float | None) -> str:
    """Return a share of 1 as points: `+8.6 ± 0.9`, or `+8.6` where the error is not known."""
    points = f"{100 * gain:+z.1f}"
    return points if standard_error is None else f"{points} ± {100 * standard_error:.1f}"
