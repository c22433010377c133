"""`featcache demo`: the whole story on real text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from featcache.cli.options import echo, options_of, print_json, terminal
from featcache.verbs.options import DEMO

if TYPE_CHECKING:
    from featcache.demo import DemoResult
    from featcache.verbs.extract import Extraction


@click.command()
@options_of(DEMO)
def demo(*, out: str, as_json: bool) -> None:
    """See it work: a real encoder, real texts, two labels, no network.

    Runs MiniLM once over the docstring summaries of installed libraries, fits a small grid of heads
    for two labels on the same cache, and shows that a second pass computes nothing. Takes about
    two minutes on two cores with native bfloat16, up to five without.

    \b
      featcache demo
    """
    from featcache.demo import run_demo

    result = run_demo(out, progress=terminal())
    if as_json:
        print_json(result.to_json())
    else:
        _show(result)


def _show(result: DemoResult) -> None:
    """Print both reports, the two passes, and what would try everything."""
    from featcache.cli.fit import show_report

    for label, fit in (("kind", result.kind), ("topic", result.topic)):
        click.secho(f"\n── {label} " + "─" * 60, bold=True)
        show_report(fit)
    second = result.second
    echo(f"\nfirst pass   {_first_pass(result.first)}")
    echo(
        f"second pass  {second.hits:,} texts found in the cache, "
        f"{second.computed:,} computed, {second.seconds:.1f} s"
    )
    echo(f"all of it    {result.seconds:.0f} s, on a small grid; these try everything:")
    for command in result.full.values():
        echo(f"             {command}")


def _first_pass(first: Extraction) -> str:
    """Say what the first pass did."""
    if not first.tokens_per_second:
        return f"all {first.hits:,} texts were in the cache from an earlier run"
    return (
        f"{first.computed:,} texts computed in {first.seconds:.1f} s "
        f"({first.tokens_per_second:,.0f} tokens/s, model loaded in {first.load_seconds:.1f} s)"
    )
