"""`featcache check`: what in labelled data would make a score mislead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from featcache.cli.options import cache_option, data_options, echo, json_option, print_json, sources
from featcache.wording import counted

if TYPE_CHECKING:
    from featcache.console import Console
    from featcache.data.checks import Finding
    from featcache.verbs.check import Checked


@click.command()
@click.argument("data", nargs=-1, required=True)
@click.option(
    "--label",
    "labels",
    required=True,
    multiple=True,
    metavar="COLUMN",
    help="Column of labels; may be given again.",
)
@click.option("--validation", multiple=True, metavar="FILE", help="Rows that heads are chosen on.")
@click.option("--test", multiple=True, metavar="FILE", help="Rows that are read once, at the end.")
@click.option(
    "--backbone",
    metavar="ID_OR_PATH",
    help="Its tokenizer says which texts are cut [a space that has all].",
)
@click.option(
    "--max-length",
    type=click.IntRange(1),
    help="Tokens kept of a text [the model's limit, at most 512].",
)
@click.option(
    "--trust-remote-code",
    is_flag=True,
    help="Run Python code that the model brings. Only if you trust it.",
)
@cache_option
@click.option(
    "--strict", is_flag=True, help="Exit with 2 where labels or test rows are given away."
)
@data_options
@json_option
def check(
    *,
    data: tuple[str, ...],
    labels: tuple[str, ...],
    validation: tuple[str, ...],
    test: tuple[str, ...],
    strict: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Look through labelled texts for what makes a score mislead. No model runs.

    Texts that are in two parts, repeated or nearly so, or labelled in two ways; labels that the start of a text, its
    length, its signs or a wrong decoding give away; classes of unequal size; empty texts; texts that are cut.

    \b
      featcache check reviews.csv --label stars
      featcache check train.jsonl --test test.jsonl --label topic --backbone models/distilbert --strict
    """
    from featcache.data.checks import leak_error
    from featcache.verbs.check import check as verb

    results = verb(
        sources(data),
        label=list(labels),
        validation=sources(validation) or None,
        test=sources(test) or None,
        **options,
    )
    if as_json:
        found = {name: result.to_json() for name, result in results.items()}
        print_json(found if len(results) > 1 else found[labels[0]])
    else:
        _show(results)
    error = (
        leak_error([finding for result in results.values() for finding in result.findings])
        if strict
        else None
    )
    if error is not None:
        raise error


def _show(results: dict[str, Checked]) -> None:
    from featcache.console import Console, plain_text

    console = Console()
    if console.is_terminal:
        _print(results, console)
    else:
        echo(plain_text(lambda plain: _print(results, plain)), nl=False)


def _print(results: dict[str, Checked], console: Console) -> None:
    from featcache.console import print_line

    for number, (name, result) in enumerate(results.items()):
        if number:
            console.print()
        print_line(console, "label", name)
        parts = " + ".join(f"{count:,} {part}" for part, count in result.rows.items())
        print_line(
            console,
            "rows",
            f"{parts} · {len(result.classes)} class{'' if len(result.classes) == 1 else 'es'}",
        )
        print_line(
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
        print_line(console, "found", _sum(result))


def _block(console: Console, finding: Finding, before: Finding | None) -> None:
    """One finding: what, effect, examples, cure. An effect or cure that was told just before is not
    repeated.
    """
    from featcache.console import print_line

    head = "LEAK" if finding.leak else "note"
    print_line(
        console,
        head,
        f"{finding.kind}: {finding.what}",
        head_style="bold red" if finding.leak else "bold",
    )
    if before is None or before.effect != finding.effect:
        print_line(console, "", f"effect: {finding.effect}")
    for example in finding.examples:
        print_line(console, "", f"· {example}", style="dim")
    if before is None or before.cure != finding.cure:
        print_line(console, "", f"cure: {finding.cure}")


def _sum(result: Checked) -> str:
    if not result.findings:
        return "nothing"
    n_leaks = len(result.leaks)
    leaks = (
        f", {n_leaks:,} of them {'a leak' if n_leaks == 1 else 'leaks'}" if n_leaks else ", no leak"
    )
    return counted(len(result.findings), "finding") + leaks
