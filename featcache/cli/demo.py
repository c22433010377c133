"""`featcache demo`: the whole story on real text."""

from __future__ import annotations

import click

from featcache.cli.options import options_of, print_json, terminal
from featcache.verbs.options import DEMO


@click.command()
@options_of(DEMO)
def demo(*, out: str, as_json: bool) -> None:
    """See it work: a real encoder, real texts, two labels, no network.

    Extracts the docstring summaries of installed libraries with MiniLM once, fits heads for two
    labels on the same cache, and shows that a second pass computes nothing. Takes two to three
    minutes on two cores.

    \b
      featcache demo
    """
    from featcache.cli.fit import show_report
    from featcache.demo import run_demo

    done = run_demo(out, progress=terminal())
    if as_json:
        print_json(done.to_json())
        return
    for label, result in (("kind", done.kind), ("topic", done.topic)):
        click.secho(f"\n── {label} " + "─" * 60, bold=True)
        show_report(result)
    first, second = done.first, done.second
    if first.tokens_per_second:
        speed = f"{first.tokens_per_second:,.0f} tokens/s"
        what = f"{first.computed:,} texts computed in {first.seconds:.1f} s "
        what += f"({speed}, model loaded in {first.load_seconds:.1f} s)"
    else:
        what = f"all {first.hits:,} texts were in the cache from an earlier run"
    click.echo(f"\nfirst pass   {what}")
    click.echo(
        f"second pass  {second.hits:,} texts found in the cache, "
        f"{second.computed:,} computed, {second.seconds:.1f} s"
    )
    click.echo(f"all of it    {done.seconds:.0f} s")
