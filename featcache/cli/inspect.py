"""`featcache ls` and `featcache info`: what is in the cache, in plain words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from featcache.cli.options import cache_option, json_option, layer_range, megabytes, print_json
from featcache.errors import DamageError

if TYPE_CHECKING:
    from featcache.cache.space import Space


@click.command("ls")
@cache_option
@json_option
def ls(*, cache: str, as_json: bool) -> None:
    """List the feature spaces of a cache.

    \b
      featcache ls --cache cache
    """
    from pathlib import Path

    from featcache.cache.space import spaces_in

    spaces, damaged = spaces_in(Path(cache))
    if as_json:
        summaries = [_summary(space) for space in spaces]
        print_json({"cache": cache, "spaces": summaries, "damaged": [error.what for error in damaged]})
    elif spaces:
        _print_spaces(spaces)
    elif not damaged:
        click.echo(f"no feature space in {cache}; make one: featcache extract DATA --backbone MODEL")
    if damaged:
        raise DamageError("; ".join(error.what for error in damaged), cure=damaged[0].cure)


def _print_spaces(spaces: list[Space]) -> None:
    rows = [("space", "rows", "layers", "poolings", "tokens", "dtype", "size", "last written")]
    for space in spaces:
        contract = space.contract
        rows.append(
            (
                space.name,
                f"{space.n_rows:,}",
                layer_range(contract.layers),
                " ".join(contract.poolings),
                f"≤ {contract.max_length}",
                contract.dtype,
                megabytes(space.n_bytes),
                _ago(_last_written(space)),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@click.command()
@click.argument("space", required=False)
@cache_option
@json_option
def info(*, space: str | None, cache: str, as_json: bool) -> None:
    """Say what a feature space holds and under which contract.

    SPACE is its name or the beginning of it; it may be left out where there is only one.

    \b
      featcache info distilbert-3f9a1c20b7e4
    """
    from pathlib import Path

    from featcache.spaces import pick_space

    found = pick_space(Path(cache), space)
    contract = found.contract
    if as_json:
        import json

        print_json({**_summary(found), "contract": json.loads(contract.to_json())})
        return
    origin, kind = found.origin, contract.config.get("model_type", "unknown")
    special = "added" if contract.special_tokens else "not added"
    lines = {
        "space": f"{found.path} · {found.n_rows:,} rows in {len(found.shards)} shards, {megabytes(found.n_bytes)}",
        "backbone": f"{origin.backbone} · {kind}, {origin.n_layers} layers × {origin.hidden_size}",
        "weights": f"SHA-256 {contract.weights}",
        "tokenizer": f"SHA-256 {contract.tokenizer}",
        "texts": f"cut at {contract.max_length} tokens on the {contract.truncation_side}, special tokens {special}",
        "pass": contract.dtype,
        "features": f"layers {layer_range(contract.layers)} × {', '.join(contract.poolings)} (layer 0: the embeddings)",
        "format": str(contract.format),
    }
    for head, text in lines.items():
        click.echo(f"{head:<10} {text}")
    for provenance in _provenances(found):
        click.echo(f"{'written':<10} {provenance}")


def _summary(space: Space) -> dict[str, Any]:
    return {
        "space": space.name,
        "path": str(space.path),
        "rows": space.n_rows,
        "shards": len(space.shards),
        "bytes": space.n_bytes,
        "layers": list(space.contract.layers),
        "poolings": list(space.contract.poolings),
        "hidden_size": space.origin.hidden_size,
        "dtype": space.contract.dtype,
        "max_length": space.contract.max_length,
        "backbone": space.origin.backbone,
        "last_written": _last_written(space),
    }


def _last_written(space: Space) -> str | None:
    return max((str(shard.provenance["written"]) for shard in space.shards), default=None)


def _ago(written: str | None) -> str:
    if written is None:
        return "never"
    days = (datetime.now(tz=UTC) - datetime.fromisoformat(written)).days
    return "today" if days <= 0 else "yesterday" if days == 1 else f"{days} days ago"


def _provenances(space: Space) -> list[str]:
    """One line for each environment that wrote shards."""
    groups: dict[str, list[str]] = {}
    for shard in space.shards:
        facts = dict(shard.provenance)
        written = str(facts.pop("written"))
        groups.setdefault(", ".join(f"{name} {value}" for name, value in sorted(facts.items())), []).append(written)
    return [
        f"{min(written)} to {max(written)} by {environment}" if len(written) > 1 else f"{written[0]} by {environment}"
        for environment, written in groups.items()
    ]
