"""How many tokens a batch holds: tried out on the first batches, and less where memory runs out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# Tokens of a batch that are tried, the usual one first. Measured with MiniLM on 2 CPU cores,
# packed: 4,096 is 1 to 10 % faster than 2,048, 8,192 hardly more. An accelerator needs more to be
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
    """How many tokens the next batch holds.

    Each backbone has one, because what was found out holds for all slices of a pass.

    Attributes:
        candidates: Numbers of tokens to try, the usual one first.
        fixed: Whether the first candidate is taken and nothing is tried.
        say: Called with one line when memory runs out.
    """

    candidates: tuple[int, ...]
    fixed: bool = False
    say: Callable[[str], None] = lambda _: None
    _seconds: dict[int, list[float]] = field(default_factory=dict)  # for each token

    @property
    def tokens(self) -> int:
        """Tokens of the next batch: each candidate in turn, and the fastest once all were tried."""
        if self.fixed:
            return self.candidates[0]
        return min(self.candidates, key=lambda tokens: len(self._seconds.get(tokens, ())))

    @contextmanager
    def measured(self, n_tokens: int) -> Iterator[None]:
        """Measure the batch that runs in the body; it has `n_tokens` tokens beside padding."""
        tried, started = self.tokens, time.perf_counter()
        yield
        if self.fixed or n_tokens < tried // 2:  # a last batch that was not full says nothing
            return
        self._seconds.setdefault(tried, []).append((time.perf_counter() - started) / n_tokens)
        counts = [len(self._seconds.get(tokens, ())) for tokens in self.candidates]
        if min(counts) >= _TRIALS:
            self._choose()

    def halve(self) -> None:
        """Halve the tokens of a batch for good, because memory ran out."""
        tokens = max(1, self.tokens // 2)
        self.candidates, self.fixed = (tokens,), True
        self.say(f"memory ran out: batches now hold {tokens:,} tokens")

    def _choose(self) -> None:
        """Settle on the fastest candidate where it is clearly faster than the usual one."""
        usual = self.candidates[0]
        medians = {}
        for tokens in self.candidates:
            medians[tokens] = statistics.median(self._seconds[tokens][1:])
        fastest = min(self.candidates, key=lambda tokens: medians[tokens])
        gains = medians[usual] > _GAIN * medians[fastest]
        self.candidates = (fastest if gains else usual,)
        self.fixed = True
