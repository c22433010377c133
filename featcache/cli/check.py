"""`featcache check`: what in labelled data would make a score mislead."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import click

from featcache.cli.options import options_of, print_json, sources
from featcache.verbs.options import CHECK
from featcache.wording import counted

if TYPE_CHECKING:
    from rich.console import Console

    from featcache.data.checks import Finding
    from featcache.verbs.check import Checked

_INDENT = 11  # where the second column of all output begins
_WIDTH = 110


@click.command()
@click.argument("data", nargs=-1, required=True)
@options_of(CHECK)
def check(
    *,
    data: tuple[str, ...],
    labels: tuple[str, ...],
    validation: tuple[str, ...],
    test: tuple[str, ...],
    backbone: str | None,
    max_length: int | None,
    trust_remote_code: bool,
    cache: str,
    strict: bool,
    text: str | None,
    template: str | None,
    skip_empty: bool,
    encoding: str,
    as_json: bool,
) -> None:
    """Look through labelled texts for what makes a score mislead. No model runs.

    Texts that are in two parts, repeated or nearly so, or labelled in two ways; labels that the
    start of a text, its length, its signs or a wrong decoding give away; classes of unequal size;
    empty texts; texts that are cut.

    \b
      featcache check reviews.csv --label stars
      featcache check train.jsonl --test test.jsonl --label topic --backbone models/minilm --strict
    """
    from featcache.data.checks import leak_error
    from featcache.verbs.check import check as verb

    results = verb(
        sources(data),
        label=list(labels),
        validation=sources(validation) or None,
        test=sources(test) or None,
        text=text,
        template=template,
        encoding=encoding,
        skip_empty=skip_empty,
        cache=cache,
        backbone=backbone,
        max_length=max_length,
        trust_remote_code=trust_remote_code,
    )
    if as_json:
        objects = {label: result.to_json() for label, result in results.items()}
        print_json(objects if len(results) > 1 else objects[labels[0]])
    else:
        _show(results)
    findings = [finding for result in results.values() for finding in result.findings]
    error = leak_error(findings)
    if strict and error is not None:
        raise error


def _show(results: dict[str, Checked]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    if console.is_terminal:
        _print(results, console)
        return
    stream = io.StringIO()
    _print(results, Console(file=stream, width=_INDENT + _WIDTH, no_color=True, highlight=False))
    click.echo("\n".join(line.rstrip() for line in stream.getvalue().splitlines()))


def _print(results: dict[str, Checked], console: Console) -> None:
    for number, (name, result) in enumerate(results.items()):
        if number:
            console.print()
        _line(console, "label", name)
        parts = " + ".join(f"{count:,} {part}" for part, count in result.rows.items())
        _line(
            console,
            "rows",
            f"{parts} · {len(result.classes)} class{'' if len(result.classes) == 1 else 'es'}",
        )
        _line(
            console,
            "cut texts",
            f"by {result.limit}" if result.limit else "not checked (give --backbone MODEL)",
        )
        before: Finding | None = None
        for finding in result.findings:
            console.print()
            _block(console, finding, before)
            before = finding
        console.print()
        _line(console, "found", _sum(result))


def _block(console: Console, finding: Finding, before: Finding | None) -> None:
    """One finding: what, effect, examples, cure. An effect or cure that was told just before is not
    repeated.
    """
    head = "LEAK" if finding.leak else "note"
    _line(
        console,
        head,
        f"{finding.kind}: {finding.what}",
        style="bold red" if finding.leak else "bold",
    )
    if before is None or before.effect != finding.effect:
        _line(console, "", f"effect: {finding.effect}")
    for example in finding.examples:
        _line(console, "", f"· {example}", style="dim")
    if before is None or before.cure != finding.cure:
        _line(console, "", f"cure: {finding.cure}")


def _sum(result: Checked) -> str:
    if not result.findings:
        return "nothing"
    n_leaks = len(result.leaks)
    leaks = (
        f", {n_leaks:,} of them {'a leak' if n_leaks == 1 else 'leaks'}" if n_leaks else ", no leak"
    )
    return counted(len(result.findings), "finding") + leaks


def _line(console: Console, head: str, text: str, *, style: str = "") -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=_INDENT - 1)
    table.add_column(overflow="fold", max_width=_WIDTH)
    table.add_row(
        Text(head, style=style or "bold"), Text(text, style="dim" if style == "dim" else "")
    )
    console.print(table)
