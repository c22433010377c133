"""The page docs/cli.md, with every command; `python -m tests.cli.page` writes it anew."""

from __future__ import annotations

import inspect
from pathlib import Path

import click

from featcache.cli.main import main
from featcache.runs.command import Option
from featcache.verbs.options import COMMANDS

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
_HEAD = """# The command line

Written by `python -m tests.cli.page` from the commands and from `featcache/verbs/options.py`; the
tests check that it is current. `featcache COMMAND --help` says the same.

Results go to stdout, everything else to stderr; with `--json` exactly one JSON object is on stdout.
Exit codes: 0 done, 1 the machine failed, 2 bad use or bad input, 3 the cache lacks rows or does not
fit, 4 damage was found, 130 interrupted. `featcache --debug COMMAND` shows an error's traceback.
"""


def page() -> str:
    """Return the text of the page."""
    return "\n".join([_HEAD, *(_section(command.name, command.options) for command in COMMANDS)])


def _section(name: str, options: tuple[Option, ...]) -> str:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    usage = " ".join(command.collect_usage_pieces(click.Context(command)))
    rows = ["| option | default | |", "| --- | --- | --- |", *map(_row, options)]
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    text = [_paragraph(paragraph) for paragraph in paragraphs]
    return "\n\n".join([f"## {name}", f"`featcache {name} {usage}`", *text, "\n".join(rows)]) + "\n"


def _paragraph(text: str) -> str:
    if text.startswith("\b"):  # click leaves such a paragraph as it is: examples
        examples = inspect.cleandoc(text.removeprefix("\b"))
        return f"```bash\n{examples}\n```"
    return text


def _row(option: Option) -> str:
    value = "" if option.kind == "switch" else f" {option.metavar or _placeholder(option)}"
    flag = f"{option.flag}{value}"
    if option.negated:
        flag = f"{option.flag}, --no-{option.flag.removeprefix('--')}"
    default = option.default
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    shown = "required" if option.required else f"`{default}`"
    if option.kind == "switch" or (default is None and not option.required):
        shown = ""
    return f"| `{flag}` | {shown} | {option.help} |"


def _placeholder(option: Option) -> str:
    return ",".join(option.choices) if option.choices else option.kind.upper()


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
