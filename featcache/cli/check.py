"""`featcache check`: what in labelled data would make a score mislead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from featcache.cli.options import echo, options_of, print_json, sources
from featcache.verbs.options import CHECK
from featcache.wording import counted

if TYPE_CHECKING:
    from featcache.console import Console
    from featcache.data.checks import Finding
    from featcache.verbs.check import Checked


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
    from featcache.verbs.check import check_labels

    results = check_labels(
        sources(data),
        labels=labels,
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
        n_classes = len(result.classes)
        classes = f"{n_classes} class{'' if n_classes == 1 else 'es'}"
        print_line(console, "rows", f"{parts} · {classes}")
        limit = f"by {result.limit}" if result.limit else "not checked (give --backbone MODEL)"
        print_line(console, "cut texts", limit)
        before: Finding | None = None
        for finding in result.findings:
            console.print()
            _block(console, finding, before)
            before = finding
        console.print()
        print_line(console, "found", _sum(result))


def _block(console: Console, finding: Finding, before: Finding | None) -> None:
    """Print a finding; an effect or cure that was just printed is not repeated."""
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
    leaks = ", no leak"
    if n_leaks:
        leaks = f", {n_leaks:,} of them {'a leak' if n_leaks == 1 else 'leaks'}"
    return counted(len(result.findings), "finding") + leaks
