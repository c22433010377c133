"""Printing through rich: tables and folded lines in which strings from files are harmless.

`Console` is rich's, with strings taken literally (no markup, no emoji codes) and invisible or
active signs shown as escapes (see `wording`). `plain_text` prints to a string instead.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any

import rich.console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from featcache.wording import printable

INDENT = 11  # where the second column of all output begins
TEXT_WIDTH = 110  # characters of the second column


class Console(rich.console.Console):
    """A console on which strings of the user are shown, never obeyed."""

    def __init__(self, **options: Any) -> None:
        """Open a console; `options` are those of rich's, such as `file`, `stderr` and `width`."""
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a string printable before its width is measured."""
        return super().render_str(printable(text), **options)

    def render(
        self,
        renderable: rich.console.RenderableType,
        options: rich.console.ConsoleOptions | None = None,
    ) -> Iterable[Segment]:
        """Render as rich does, with the characters of each segment made printable."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def plain_text(show: Callable[[Console], object], width: int = INDENT + TEXT_WIDTH) -> str:
    """Text without colours that `show` prints on a console of `width` columns; lines end clean."""
    stream = io.StringIO()
    show(Console(file=stream, width=width, no_color=True))
    lines = stream.getvalue().removesuffix("\n").split("\n")
    return "".join(f"{line.rstrip()}\n" for line in lines)


def print_line(
    console: Console, head: str, text: str, *, head_style: str = "bold", style: str = ""
) -> None:
    """Print a line of output: what it is about, and beside it a text, folded.

    Args:
        console: Where to print.
        head: One word of at most ten characters.
        text: What is said about it, of any length.
        head_style: How rich shows the word.
        style: How rich shows the text.
    """
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=INDENT - 1)
    table.add_column(overflow="fold", max_width=TEXT_WIDTH)
    table.add_row(Text(printable(head), head_style), Text(printable(text), style))
    console.print(table)
