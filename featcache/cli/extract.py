"""`featcache extract`: the one pass."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

from featcache.cli.options import (
    backbone_option,
    cache_option,
    contract_options,
    data_options,
    device_option,
    echo,
    json_option,
    print_json,
    sources,
    trust_options,
)
from featcache.wording import layer_range, megabytes

if TYPE_CHECKING:
    from featcache.verbs.extract import Extraction
    from featcache.verbs.plan import Plan


@click.command()
@click.argument("data", nargs=-1, required=True)
@backbone_option
@cache_option
@data_options
@contract_options
@device_option
@click.option(
    "--shard-rows",
    type=click.IntRange(1),
    metavar="N",
    help="Write a shard every N rows [64 MiB or 30 s].",
)
@click.option(
    "--attention",
    type=click.Choice(["auto", "packed", "padded"]),
    default="auto",
    show_default=True,
    help="How texts become batches; auto packs them end to end on CPUs, where the model can.",
)
@click.option(
    "--compile",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    help="torch.compile; auto uses it for 2 million tokens or more, on CPUs with AMX.",
)
@trust_options
@click.option("--dry-run", is_flag=True, help="Say what would be computed, and write nothing.")
@json_option
def extract(
    *, data: tuple[str, ...], dry_run: bool, as_json: bool, shard_rows: int | None, **options: Any
) -> None:
    """Run a frozen backbone once over the texts of DATA and keep its hidden states.

    DATA: CSV, TSV, JSONL or Parquet files, folders of a saved data set, or a data set's name on the hub.
    Texts that are in the cache already cost nothing; stopped and run again, it goes on.

    \b
      featcache extract reviews.csv --backbone models/distilbert
      featcache extract train.jsonl test.jsonl --backbone gpt2 --text sentence --layers 0,6,12
    """
    from featcache.console import Console
    from featcache.progress import Terminal
    from featcache.verbs.extract import extract as verb
    from featcache.verbs.plan import plan

    if dry_run:
        planned = plan(sources(data), **options)
        if as_json:
            print_json(planned)
        else:
            _print_plan(planned)
        return
    done = verb(
        sources(data), shard_rows=shard_rows, progress=Terminal(Console(stderr=True)), **options
    )
    if as_json:
        print_json(done)
    else:
        _print_done(done, data, options)


def _print_done(done: Extraction, data: tuple[str, ...], options: dict[str, Any]) -> None:
    cut = (
        f" · {done.truncated:,} cut off ({done.truncated / done.unique:.1%})"
        if done.truncated
        else ""
    )
    echo(f"texts      {done.rows:,} rows, {done.unique:,} different{cut}")
    views = f"layers {layer_range(done.layers)} × {', '.join(done.poolings)} × {done.hidden_size}"
    echo(f"space      {done.path} · {views} · {done.dtype} on {done.device}")
    found = f"{done.hits:,} found in the cache"
    if done.computed:
        rate = f"in {done.seconds:.1f} s · {done.tokens_per_second:,.0f} tokens/s"
        loading = f"model loaded in {done.load_seconds:.1f} s"
        loading += f", compiled in {done.compile_seconds:.1f} s" if done.compiled else ""
        echo(f"done       {done.computed:,} computed, {found} · {rate} · {loading}")
    else:
        echo(f"done       nothing to compute, {found} · {done.seconds:.1f} s")
    command = ["featcache", "fit-heads", *data, "--label", "COLUMN"]
    for name, default in (
        ("cache", "cache"),
        ("text", None),
        ("template", None),
        ("encoding", "utf-8"),
    ):
        if options[name] != default:
            command += [f"--{name}", str(options[name])]
    echo(f"\n           {shlex.join(command)}")


def _print_plan(plan: Plan) -> None:
    echo(f"texts      {plan.rows:,} rows, {plan.unique:,} different")
    where = f"in {plan.space}" if plan.space else "no space yet"
    echo(f"cache      {plan.hits:,} found, {plan.misses:,} to compute ({where})")
    if plan.misses:
        cut = f", {plan.truncated:,} texts cut off" if plan.truncated else ""
        echo(
            f"pass       {plan.tokens:,} tokens{cut} · about {plan.seconds:.0f} s in {plan.dtype} on {plan.device}"
        )
        echo(f"disk       {megabytes(plan.n_bytes)} to write")
    echo("nothing was written (--dry-run)")
