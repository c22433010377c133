"""Progress of a long job: silent for Python, a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

_LOG_SECONDS = 40.0  # longer than a shard takes, whose line says the same


class Progress(Protocol):
    """What a verb tells about itself while it runs."""

    def note(self, message: str) -> None:
        """One line that matters now (a wait, a warning)."""

    def begin(self, title: str, total: int) -> None:
        """A counted stage starts."""

    def advance(self, rows: int, detail: str) -> None:
        """`rows` more of the stage are done; `detail` is a rate or the best so far."""

    def milestone(self, message: str) -> None:
        """Something is finished for good, such as a shard on the disk. Shown in logs, not on
        terminals.
        """

    def end(self) -> None:
        """The stage is over."""


class Silent:
    """Says nothing."""

    def note(self, message: str) -> None: ...
    def begin(self, title: str, total: int) -> None: ...
    def advance(self, rows: int, detail: str) -> None: ...
    def milestone(self, message: str) -> None: ...
    def end(self) -> None: ...


class Terminal:
    """A bar with rows, rate and time left on a terminal; plain lines where stderr is a file or a
    pipe.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._title, self._total, self._done = "", 0, 0
        self._last_line = 0.0

    def note(self, message: str) -> None:
        self._console.print(message, highlight=False, markup=False, soft_wrap=True)

    def begin(self, title: str, total: int) -> None:
        self._title, self._total, self._done = title, total, 0
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

    def advance(self, rows: int, detail: str) -> None:
        self._done += rows
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=rows, detail=detail)
        elif time.monotonic() - self._last_line > _LOG_SECONDS:
            self._last_line = time.monotonic()
            self.note(f"{self._title:<10} {self._done:,}/{self._total:,} · {detail}")

    def milestone(self, message: str) -> None:
        if self._bar is None:
            self._last_line = time.monotonic()
            self.note(message)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar, self._task = None, None
