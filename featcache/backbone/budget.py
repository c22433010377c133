"""How many tokens a batch holds: tried out on the first batches of a pass, and less where memory
runs out.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# Tokens of a batch that are tried, the usual one first. Measured with MiniLM on 2 CPU cores,
# packed: 4,096 is 1 to 10 % faster than 2,048, 8,192 hardly more; an accelerator needs more to be
# busy.
CANDIDATES = {
    "cpu": (4096, 8192, 2048),
    "mps": (16384, 8192, 32768),
    "cuda": (65536, 32768, 131072),
}
_TRIALS = 3  # batches of each candidate; the first also pays for what is set up for a new size
_GAIN = 1.05  # less is noise


@dataclass
class Budget:
    """Tokens of the next batch. One a backbone: what was found out holds for all slices of a pass.

    say: called with one line when memory ran out.
    """

    candidates: tuple[int, ...]
    fixed: bool = False
    say: Callable[[str], None] = lambda _: None
    _seconds: dict[int, list[float]] = field(default_factory=dict)  # for each token

    @property
    def tokens(self) -> int:
        """Tokens of the next batch: each candidate in turn until all were tried, then the fastest."""
        if self.fixed:
            return self.candidates[0]
        return min(self.candidates, key=lambda one: len(self._seconds.get(one, ())))

    @contextmanager
    def measured(self, n_tokens: int) -> Iterator[None]:
        """In the body, a batch of the present budget runs; n_tokens of it are no padding."""
        tried, started = self.tokens, time.perf_counter()
        yield
        if self.fixed or n_tokens < tried // 2:  # a last batch that was not full says nothing
            return
        self._seconds.setdefault(tried, []).append((time.perf_counter() - started) / n_tokens)
        if all(len(self._seconds.get(one, ())) >= _TRIALS for one in self.candidates):
            self._choose()

    def halve(self) -> None:
        """After memory ran out: never again as much."""
        tokens = max(1, self.tokens // 2)
        self.candidates, self.fixed = (tokens,), True
        self.say(f"memory ran out: batches now hold {tokens:,} tokens")

    def _choose(self) -> None:
        usual = self.candidates[0]
        medians = {one: statistics.median(self._seconds[one][1:]) for one in self.candidates}
        best = min(self.candidates, key=lambda one: medians[one])
        self.candidates = (best if medians[usual] > _GAIN * medians[best] else usual,)
        self.fixed = True
