"""Counted stages: what is shown on the way, and that a stage ends whatever happens inside it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from featcache.progress import Silent, Stage, Terminal


class _Recorder(Silent):
    """Keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def begin(self, title: str, total: int) -> None:
        self.calls.append(("begin", title, total))

    def advance(self, n_done: int, detail: str) -> None:
        self.calls.append(("advance", n_done, detail))

    def end(self) -> None:
        self.calls.append(("end",))


def test_a_stage_begins_counts_and_ends() -> None:
    recorder = _Recorder()
    with Stage(recorder, "sweep", 9) as stage:
        stage.advance(2, "a")
        stage.reach(5, "b")
        stage.reach(5, "c")
        stage.reach(9, "d")
    advances = [("advance", 2, "a"), ("advance", 3, "b"), ("advance", 0, "c"), ("advance", 4, "d")]
    assert recorder.calls == [("begin", "sweep", 9), *advances, ("end",)]


def test_a_stage_ends_where_the_work_fails() -> None:
    recorder = _Recorder()
    with pytest.raises(KeyboardInterrupt), Stage(recorder, "sweep", 9):
        raise KeyboardInterrupt
    assert recorder.calls == [("begin", "sweep", 9), ("end",)]


def test_a_terminal_shows_a_bar_and_a_pipe_none() -> None:
    for is_terminal in (True, False):
        shown = io.StringIO()
        console = Console(file=shown, force_terminal=is_terminal, width=100)
        with Stage(Terminal(console), "sweep", 4) as stage:
            stage.advance(4, "best so far 0.900")
        assert ("sweep" in shown.getvalue()) == is_terminal
