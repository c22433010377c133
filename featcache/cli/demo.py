"""`featcache demo`: the whole story on real text."""

from __future__ import annotations

import click

from featcache.cli.options import echo, json_option, print_json


@click.command()
@click.option(
    "--out",
    default="demo",
    show_default=True,
    metavar="DIR",
    help="Folder for the data, cache and results.",
)
@json_option
def demo(*, out: str, as_json: bool) -> None:
    """See it work: a real encoder, real texts, two labels, no network.

    Extracts the docstring summaries of installed libraries with MiniLM once, fits heads for two labels on the
    same cache, and shows that a second pass computes nothing. Takes two to three minutes on two cores.

    \b
      featcache demo
    """
    from featcache.cli.fit import show_report
    from featcache.console import Console
    from featcache.demo import run_demo
    from featcache.progress import Terminal

    done = run_demo(out, progress=Terminal(Console(stderr=True)))
    if as_json:
        print_json(done.to_json())
        return
    for label, result in (("kind", done.kind), ("topic", done.topic)):
        click.secho(f"\n── {label} " + "─" * 60, bold=True)
        show_report(result)
    first, second = done.first, done.second
    echo(
        f"\nfirst pass   {first.computed:,} texts computed in {first.seconds:.1f} s "
        f"({first.tokens_per_second:,.0f} tokens/s, model loaded in {first.load_seconds:.1f} s)"
        if first.tokens_per_second
        else f"\nfirst pass   all {first.hits:,} texts were in the cache from an earlier run"
    )
    echo(
        f"second pass  {second.hits:,} texts found in the cache, {second.computed:,} computed, {second.seconds:.1f} s"
    )
    echo(f"all of it    {done.seconds:.0f} s")
