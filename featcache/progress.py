"""Progress of a long job: silent for Python, a bar on a terminal, a line now and then in a log.

Verbs take a `Progress` and tell it what they do; the command line passes a `Terminal`, Python code
passes nothing and gets `Silent`. Work that can be counted runs inside a `Stage`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, Self

from featcache.wording import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_LOG_SECONDS = 40.0  # longer than a shard takes, whose line says the same


class Progress(Protocol):
    """Receives what a verb reports about itself while it runs."""

    def note(self, message: str) -> None:
        """Show one line that matters now, such as a wait or a warning."""

    def begin(self, title: str, total: int) -> None:
        """Start a counted stage; `Stage` calls this."""

    def advance(self, n_done: int, detail: str) -> None:
        """Count `n_done` more units of the stage; `detail` is a rate or the best score so far."""

    def milestone(self, message: str) -> None:
        """Report something that is finished for good, such as a shard on the disk.

        Logs show it; terminals, where a bar moves, do not.
        """

    def end(self) -> None:
        """End the stage; `Stage` calls this."""


class Stage:
    """A counted stage of a job, begun and ended by a `with` block whatever happens inside it."""

    def __init__(self, progress: Progress, title: str, total: int) -> None:
        """Describe the stage.

        Args:
            progress: Where the stage is shown.
            title: One word, such as "sweep".
            total: How many units the stage has.
        """
        self._progress, self._title, self._total = progress, title, total
        self._n_done = 0

    def __enter__(self) -> Self:
        self._progress.begin(self._title, self._total)
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.end()

    def advance(self, n_done: int, detail: str) -> None:
        """Count `n_done` more units."""
        self._n_done += n_done
        self._progress.advance(n_done, detail)

    def reach(self, n_done: int, detail: str) -> None:
        """Count up to `n_done` units since the beginning of the stage."""
        self.advance(n_done - self._n_done, detail)


class Silent:
    """Shows nothing."""

    def note(self, message: str) -> None: ...
    def begin(self, title: str, total: int) -> None: ...
    def advance(self, n_done: int, detail: str) -> None: ...
    def milestone(self, message: str) -> None: ...
    def end(self) -> None: ...


class Terminal:
    """Shows a bar with rate and time left on a terminal, and plain lines in a file or pipe."""

    def __init__(self, console: Console) -> None:
        """Show progress on `console`, which writes to stderr."""
        self._console = console
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._title, self._total, self._n_done = "", 0, 0
        self._last_line = 0.0

    def note(self, message: str) -> None:
        """Print one line; strings of the user in it are taken literally."""
        self._console.print(
            printable(message), highlight=False, markup=False, emoji=False, soft_wrap=True
        )

    def begin(self, title: str, total: int) -> None:
        """Start a bar where there is a terminal."""
        self._title, self._total, self._n_done = title, total, 0
        self._last_line = time.monotonic()
        if not self._console.is_terminal:
            return
        from rich import progress

        self._bar = progress.Progress(
            progress.TextColumn("{task.description:<10}"),
            progress.BarColumn(bar_width=26),
            progress.TextColumn("{task.completed:,}/{task.total:,} · {task.fields[detail]} ·"),
            progress.TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(title, total=total, detail="starting")

    def advance(self, n_done: int, detail: str) -> None:
        """Move the bar, or print a line where the last one is some time ago."""
        self._n_done += n_done
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=n_done, detail=detail)
        elif time.monotonic() - self._last_line > _LOG_SECONDS:
            self._last_line = time.monotonic()
            self.note(f"{self._title:<10} {self._n_done:,}/{self._total:,} · {detail}")

    def milestone(self, message: str) -> None:
        """Print a line where there is no bar."""
        if self._bar is None:
            self._last_line = time.monotonic()
            self.note(message)

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar, self._task = None, None
