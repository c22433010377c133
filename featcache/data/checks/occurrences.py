"""When a pattern gives a label away: the statistics that all checks of label leaks share.

A pattern occurs in n different texts, k of them of its class c, which has the share p of all texts.
It is significant where three things hold together:

- It is no chance: the binomial tail P(X >= k | n, p), times the number of patterns that were tried
  (Bonferroni), is below `CHANCE`.
- It is nearly pure: the lower end of the one-sided 95 % Clopper-Pearson interval of k / n is above
  a limit, and its odds are `ODDS` times those of the class. Otherwise every pattern would be a leak
  of a class that has 95 % of the rows.
- It matters: it covers at least a certain share of the class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHANCE = 1e-3
ODDS = 10.0
_CONFIDENCE = 0.95
_TINY = 1e-12  # keeps divisions finite


@dataclass(frozen=True)
class Occurrences:
    """How often each of P patterns occurs in the texts of each of C classes.

    Attributes:
        counts: Texts of each class that have the pattern, (P, C).
        sizes: All texts of each class, (C,).
        tried: How many patterns were looked at, including those that are not kept here.
    """

    counts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    tried: int

    @property
    def support(self) -> NDArray[np.int64]:
        """Texts with the pattern, (P,)."""
        return np.asarray(self.counts.sum(axis=1))

    @property
    def top(self) -> NDArray[np.int64]:
        """The class whose texts have the pattern most often, by share, (P,)."""
        return np.asarray(np.argmax(self.counts / np.maximum(self.sizes, 1), axis=1))

    @property
    def _base(self) -> NDArray[np.float64]:
        """The share of the pattern's class among all texts, (P,)."""
        return np.asarray(self.sizes[self.top] / self.sizes.sum())

    def hits(self) -> NDArray[np.int64]:
        """Texts with the pattern that have its class, (P,)."""
        hits: NDArray[np.int64] = self.counts[np.arange(len(self.counts)), self.top]
        return hits

    def significant(
        self, *, purity: float, coverage: float, odds: float = ODDS, gain: float = 0.0
    ) -> NDArray[np.bool_]:
        """Whether each pattern gives its class away, (P,).

        Args:
            purity: Least lower bound of the share of its texts that have the class.
            coverage: Least share of the class that has the pattern.
            odds: Least odds of the class with the pattern, over its odds among all texts.
            gain: Least lower bound of the purity above the share of the class.

        Returns:
            A mask of the patterns, (P,).
        """
        if not len(self.counts):
            return np.zeros(0, dtype=np.bool_)
        hits, base = self.hits(), self._base
        low = lower_bound(hits, self.support)
        odds_here = low / np.maximum(1 - low, _TINY)
        odds_all = base / np.maximum(1 - base, _TINY)
        ratio = odds_here / np.maximum(odds_all, _TINY)
        covered = hits / np.maximum(self.sizes[self.top], 1)
        pure = (low >= purity) & (low - base >= gain) & (ratio >= odds)
        return np.asarray(pure & (covered >= coverage) & ~self.by_chance())

    def by_chance(self) -> NDArray[np.bool_]:
        """Whether so many texts of one class are no surprise among all that was tried, (P,)."""
        from scipy.stats import binom

        tail = binom.sf(self.hits() - 1, self.support, self._base)
        tried = max(1, self.tried) * max(2, len(self.sizes))
        return np.asarray(tail * tried >= CHANCE)

    def strength(self) -> NDArray[np.float64]:
        """Standard deviations by which the hits exceed what the class's share gives, (P,)."""
        expected = self.support * self._base
        return np.asarray((self.hits() - expected) / np.sqrt(expected * (1 - self._base) + _TINY))


def lower_bound(hits: NDArray[np.int64], support: NDArray[np.int64]) -> NDArray[np.float64]:
    """The lower end of the one-sided 95 % Clopper-Pearson interval of hits / support."""
    from scipy.special import betaincinv

    low = betaincinv(np.maximum(hits, 1), support - hits + 1, 1 - _CONFIDENCE)
    return np.where(hits > 0, low, 0.0)
