"""Options that several commands share, each group as one decorator with one meaning everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from featcache.wording import printable, safe_json

Command = TypeVar("Command", bound=Callable[..., Any])


def data_options(command: Command) -> Command:
    """How texts are read: column, template, encoding."""
    for option in (
        click.option(
            "--encoding",
            default="utf-8",
            show_default=True,
            help="Encoding of CSV, TSV and JSONL files.",
        ),
        click.option(
            "--skip-empty", is_flag=True, help="Go on without rows whose text is empty or missing."
        ),
        click.option(
            "--template",
            metavar="STR",
            help='Text made of columns, e.g. "Title: {title} Body: {body}".',
        ),
        click.option(
            "--text",
            "text",
            metavar="COLUMN",
            help="Column of the texts [text, sentence, or the only one].",
        ),
    ):
        command = option(command)
    return command


def cache_option(command: Command) -> Command:
    """Where features are kept."""
    return click.option(
        "--cache", default="cache", show_default=True, metavar="DIR", help="Folder of the cache."
    )(command)


def backbone_option(command: Command) -> Command:
    """Which backbone runs."""
    return click.option(
        "--backbone", required=True, metavar="ID_OR_PATH", help="Model folder, or hub id."
    )(command)


def contract_options(command: Command) -> Command:
    """What is kept of the states of the backbone, and how they are computed; with the model, this
    is a space.
    """
    dtypes = click.Choice(["auto", "float32", "bfloat16", "float16"])
    for option in (
        click.option(
            "--dtype",
            type=dtypes,
            default="auto",
            show_default=True,
            help="Number type of the pass.",
        ),
        click.option(
            "--max-length",
            type=click.IntRange(1),
            help="Tokens kept of a text [the model's limit, at most 512].",
        ),
        click.option(
            "--pool",
            metavar="LIST",
            help="Of mean,cls,last,max [encoders mean,cls; decoders mean,last].",
        ),
        click.option(
            "--layers",
            default="auto",
            show_default=True,
            help="auto, all, last, or numbers such as 0,3,6.",
        ),
    ):
        command = option(command)
    return command


def device_option(command: Command) -> Command:
    """Where the backbone runs."""
    choice = click.Choice(["auto", "cpu", "cuda", "mps"])
    return click.option(
        "--device", type=choice, default="auto", show_default=True, help="Where to run."
    )(command)


def trust_options(command: Command) -> Command:
    """What a model folder may do when it is loaded; both are off unless they are typed."""
    for option in (
        click.option(
            "--trust-remote-code",
            is_flag=True,
            help="Run Python code that the model brings. Only if you trust it.",
        ),
        click.option(
            "--allow-pickle",
            is_flag=True,
            help="Load pickled weights, which can run code. Only if you trust them.",
        ),
    ):
        command = option(command)
    return command


def json_option(command: Command) -> Command:
    """One JSON object on stdout instead of sentences."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")(
        command
    )


def sources(arguments: Sequence[str]) -> list[Path]:
    """What was typed as data: always files, folders or names on the hub, never texts, however it
    looks.
    """
    return [Path(one) for one in arguments]


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
