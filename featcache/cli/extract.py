"""`featcache extract`: the one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from featcache.cli.options import echo, options_of, print_json, sources, terminal
from featcache.verbs.options import EXTRACT, FIT_HEADS
from featcache.wording import layer_range, megabytes

if TYPE_CHECKING:
    from featcache.verbs.extract import Extraction
    from featcache.verbs.plan import Plan


@click.command()
@click.argument("data", nargs=-1, required=True)
@options_of(EXTRACT)
def extract(
    *,
    data: tuple[str, ...],
    backbone: str,
    cache: str,
    text: str | None,
    template: str | None,
    skip_empty: bool,
    encoding: str,
    layers: str,
    pooling: str | None,
    max_length: int | None,
    dtype: str,
    device: str,
    shard_rows: int | None,
    attention: str,
    compile: str,
    allow_pickle: bool,
    trust_remote_code: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Run a frozen backbone once over the texts of DATA and keep its hidden states.

    DATA: CSV, TSV, JSONL or Parquet files, folders of a saved data set, or a data set's name on
    the hub. Texts that are in the cache already cost nothing; a pass that was stopped goes on where
    it was when the same command is run again.

    \b
      featcache extract reviews.csv --backbone models/distilbert
      featcache extract train.jsonl test.jsonl --backbone gpt2 --text sentence --layers 0,6,12
    """
    from featcache.verbs.extract import extract as verb
    from featcache.verbs.plan import plan

    if dry_run:
        planned = plan(
            sources(data),
            backbone=backbone,
            cache=cache,
            text=text,
            template=template,
            layers=layers,
            pooling=pooling,
            max_length=max_length,
            dtype=dtype,
            device=device,
            encoding=encoding,
            skip_empty=skip_empty,
            attention=attention,
            compile=compile,
            allow_pickle=allow_pickle,
            trust_remote_code=trust_remote_code,
        )
        if as_json:
            print_json(planned)
        else:
            _print_plan(planned)
        return
    extraction = verb(
        sources(data),
        backbone=backbone,
        cache=cache,
        text=text,
        template=template,
        layers=layers,
        pooling=pooling,
        max_length=max_length,
        dtype=dtype,
        device=device,
        encoding=encoding,
        skip_empty=skip_empty,
        attention=attention,
        compile=compile,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
        shard_rows=shard_rows,
        progress=terminal(),
    )
    if as_json:
        print_json(extraction)
        return
    _print_extraction(extraction)
    reading = {"text": text, "template": template, "skip_empty": skip_empty, "encoding": encoding}
    following = FIT_HEADS.line(data, {"labels": ["COLUMN"], "cache": cache, **reading})
    echo(f"\n           {following}")


def _print_extraction(done: Extraction) -> None:
    cut = ""
    if done.truncated:
        cut = f" · {done.truncated:,} cut off ({done.truncated / done.unique:.1%})"
    echo(f"texts      {done.rows:,} rows, {done.unique:,} different{cut}")
    views = f"layers {layer_range(done.layers)} × {', '.join(done.poolings)} × {done.hidden_size}"
    echo(f"space      {done.path} · {views} · {done.dtype} on {done.device}")
    hits = f"{done.hits:,} found in the cache"
    if not done.computed:
        echo(f"done       nothing to compute, {hits} · {done.seconds:.1f} s")
        return
    rate = f"in {done.seconds:.1f} s · {done.tokens_per_second:,.0f} tokens/s"
    loading = f"model loaded in {done.load_seconds:.1f} s"
    if done.compiled:
        loading += f", compiled in {done.compile_seconds:.1f} s"
    echo(f"done       {done.computed:,} computed, {hits} · {rate} · {loading}")


def _print_plan(plan: Plan) -> None:
    echo(f"texts      {plan.rows:,} rows, {plan.unique:,} different")
    where = f"in {plan.space}" if plan.space else "no space yet"
    echo(f"cache      {plan.hits:,} found, {plan.misses:,} to compute ({where})")
    if plan.misses:
        cut = f", {plan.truncated:,} texts cut off" if plan.truncated else ""
        echo(
            f"pass       {plan.tokens:,} tokens{cut} · about {plan.seconds:.0f} s "
            f"in {plan.dtype} on {plan.device}"
        )
        echo(f"disk       {megabytes(plan.n_bytes)} to write")
    echo("nothing was written (--dry-run)")
