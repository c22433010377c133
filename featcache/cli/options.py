"""The options of the command line, made from the table in `verbs/options.py`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from featcache.runs.command import Command, Option
from featcache.wording import printable, safe_json

if TYPE_CHECKING:
    from featcache.progress import Terminal

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Integers(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on only
    """Whole numbers separated by commas."""

    name = "list"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        try:
            return tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers such as 1,2", param, ctx)


class _Share(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on only
    """A share of the rows or a number of them."""

    name = "share or rows"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            return float(value)
        except ValueError:
            cure = "give a share such as 0.01, or rows such as 1000"
            self.fail(f"{value!r} is no number: {cure}", param, ctx)


def options_of(command: Command) -> Callable[[_Function], _Function]:
    """Give a function the options of a command, in the order of the table."""

    def decorate(function: _Function) -> _Function:
        for option in reversed(command.options):
            function = _option(option)(function)
        return function

    return decorate


def _option(option: Option) -> Callable[[_Function], _Function]:
    default = option.default
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    is_switch = option.kind == "switch"
    keywords: dict[str, Any] = {"default": bool(default)} if is_switch else {"type": _type(option)}
    if default is not None and not is_switch:
        keywords |= {"default": default, "show_default": True}
    if is_switch and not option.negated:
        keywords["is_flag"] = True
    if option.alone is not None:
        keywords |= {"is_flag": False, "flag_value": option.alone}
    flags = option.flag
    if option.negated:
        flags += option.flag.replace("--", "/--no-", 1)
    return click.option(
        flags,
        option.name,
        metavar=option.metavar,
        multiple=option.repeated,
        required=option.required,
        help=option.help,
        **keywords,
    )


def _type(option: Option) -> click.ParamType | None:  # type: ignore[type-arg]  # as above
    if option.choices:
        return click.Choice(option.choices)
    lowest, highest = option.lowest, option.highest
    bounded = lowest is not None or highest is not None
    match option.kind:
        case "integer":
            return click.IntRange(lowest, highest) if bounded else click.INT
        case "number":
            return click.FloatRange(lowest, highest) if bounded else click.FLOAT
        case "integers":
            return _Integers()
        case "share":
            return _Share()
    return None


def sources(arguments: Sequence[str]) -> list[Path]:
    """Return what was typed as data: files, folders or hub names, and never texts."""
    return [Path(argument) for argument in arguments]


def terminal() -> Terminal:
    """Return progress on stderr."""
    from featcache.console import Console
    from featcache.progress import Terminal

    return Terminal(Console(stderr=True))


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text for people, with the invisible and active signs of foreign strings escaped.

    Args:
        text: One line or several.
        err: Whether it goes to stderr.
        nl: Whether a line feed follows.
    """
    click.echo(printable(text), err=err, nl=nl)


def print_json(result: Any) -> None:
    """Print one line of JSON, always valid UTF-8, as `--json` puts it on stdout.

    Args:
        result: A dictionary, or a dataclass whose fields become its keys.
    """
    content = result if isinstance(result, dict) else asdict(result)
    click.echo(safe_json(json.dumps(content, ensure_ascii=False)))
