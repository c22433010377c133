"""What the threads of a pass hand to the main thread, and how they are ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from featcache.backbone.batching import Tokens


@dataclass(frozen=True)
class Slice:
    """Texts to compute, read and tokenised.

    Attributes:
        rows: Their numbers among the different texts, (N,).
        texts: The texts, in the same order.
        tokens: Their tokens.
    """

    rows: NDArray[np.int64]
    texts: Sequence[str]
    tokens: Tokens


@dataclass(frozen=True)
class OtherProcesses:
    """What other processes do with rows of this pass.

    Attributes:
        n_finished: Rows that they have finished since the last such event.
        n_awaited: Rows that they are still computing, and that nobody else has to.
    """

    n_finished: int = 0
    n_awaited: int = 0


# What the main thread waits for: work, news of others, an error of either thread; None at the end.
Events = SimpleQueue[Slice | OtherProcesses | BaseException | None]


def join(thread: threading.Thread, hurry: Callable[[], None] | None = None) -> None:
    """Wait for a thread to end, also when Ctrl-C is pressed meanwhile.

    Args:
        thread: The thread.
        hurry: Called on a second Ctrl-C to make the thread end sooner. Without it, a second Ctrl-C
            is raised at once.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    interrupt: KeyboardInterrupt | None = None
    while thread.is_alive():
        try:
            thread.join()
        except KeyboardInterrupt as error:
            if interrupt is not None:
                if hurry is None:
                    raise
                hurry()
            interrupt = error
    if interrupt is not None:
        raise interrupt
