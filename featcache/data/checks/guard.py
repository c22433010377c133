"""When a pattern that goes with one class is told: the statistics that all checks of leaks share.

A pattern occurs in n different texts, k of them of its class c, which has the share p of all texts.
It is told where three things hold together.

- It is no chance: the binomial tail P(X >= k | n, p), times everything that was tried beside it (Bonferroni), is
  below `CHANCE`.
- It is nearly pure: the lower end of the one-sided 95 % Clopper-Pearson interval of k / n is above a limit, and its
  odds are `ODDS` times those of the class (else every pattern would be a leak of a class that has 95 % of the rows).
- It is worth telling: it covers at least a given share of the class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHANCE = 1e-3
ODDS = 10.0
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Occurrences:
    """P patterns in T texts. counts: (P, K) how many texts of each of K classes have it; sizes:
    (K,) of the classes.

    tried: how many patterns were looked at in all, those that are not kept here too.
    """

    counts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    tried: int

    @property
    def support(self) -> NDArray[np.int64]:
        """(P,) texts with the pattern."""
        return np.asarray(self.counts.sum(axis=1))

    @property
    def top(self) -> NDArray[np.int64]:
        """(P,) the class that a pattern goes with: where its share of the class is furthest above
        all others'.
        """
        return np.asarray(np.argmax(self.counts / np.maximum(self.sizes, 1), axis=1))

    def told(
        self, *, purity: float, coverage: float, odds: float = ODDS, gain: float = 0.0
    ) -> NDArray[np.bool_]:
        """(P,) whether a pattern passes. purity, coverage: the least that is told, shares; gain: of
        purity over p.
        """
        if not len(self.counts):
            return np.zeros(0, dtype=np.bool_)
        hits = self.hits()
        base = self.sizes[self.top] / self.sizes.sum()
        low = lower_bound(hits, self.support)
        ratio = (low / np.maximum(1 - low, 1e-12)) / np.maximum(
            base / np.maximum(1 - base, 1e-12), 1e-12
        )
        covered = hits / np.maximum(self.sizes[self.top], 1)
        pure = (low >= purity) & (low - base >= gain) & (ratio >= odds)
        return np.asarray(pure & (covered >= coverage) & ~self.by_chance())

    def hits(self) -> NDArray[np.int64]:
        """(P,) texts with the pattern that have its class."""
        kept: NDArray[np.int64] = self.counts[np.arange(len(self.counts)), self.top]
        return kept

    def by_chance(self) -> NDArray[np.bool_]:
        """(P,) whether so many of one class are not surprising among all that was tried."""
        from scipy.stats import binom

        base = self.sizes[self.top] / self.sizes.sum()
        tail = binom.sf(self.hits() - 1, self.support, base)
        tried = max(1, self.tried) * max(2, len(self.sizes))
        return np.asarray(tail * tried >= CHANCE)

    def strength(self) -> NDArray[np.float64]:
        """(P,) how far the hits are above what the class's share gives, in standard deviations."""
        base = self.sizes[self.top] / self.sizes.sum()
        return np.asarray(
            (self.hits() - self.support * base) / np.sqrt(self.support * base * (1 - base) + 1e-12)
        )


def lower_bound(hits: NDArray[np.int64], support: NDArray[np.int64]) -> NDArray[np.float64]:
    """The lower end of the one-sided 95 % Clopper-Pearson interval of hits / support."""
    from scipy.special import betaincinv

    low = betaincinv(np.maximum(hits, 1), support - hits + 1, 1 - _CONFIDENCE)
    return np.where(hits > 0, low, 0.0)
