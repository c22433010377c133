"""`featcache ls` and `featcache info`: what is in the cache, in plain words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from featcache.cli.options import echo, options_of, print_json
from featcache.verbs.options import INFO, LS
from featcache.wording import counted, layer_range, megabytes

if TYPE_CHECKING:
    from featcache.cache.space import Space


_MANY = 128  # files of a space; above this number, merging it is suggested


@click.command("ls")
@options_of(LS)
def ls(*, cache: str, as_json: bool) -> None:
    """List the feature spaces of a cache.

    \b
      featcache ls --cache cache
    """
    from pathlib import Path

    from featcache.cache.folder import spaces_in

    spaces, damaged = spaces_in(Path(cache))
    if as_json:
        summaries = [_summary(space) for space in spaces]
        print_json(
            {"cache": cache, "spaces": summaries, "damaged": [error.what for error in damaged]}
        )
    elif spaces:
        _print_spaces(spaces)
    elif not damaged:
        echo(f"no feature space in {cache}; make one: featcache extract DATA --backbone MODEL")
    if damaged:
        # A damaged space before one that only a later featcache can read.
        worst = max(damaged, key=lambda error: error.exit_code)
        raise type(worst)("; ".join(error.what for error in damaged), cure=worst.cure)


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
                _ago(space.last_written),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for space in spaces:
        if len(space.shards) > _MANY:
            cure = f"`featcache merge {space.name}` makes one of them"
            echo(f"{space.name} has {len(space.shards):,} files; {cure}")


@click.command()
@click.argument("space", required=False)
@options_of(INFO)
def info(*, space: str | None, cache: str, as_json: bool) -> None:
    """Say what a feature space holds and under which contract.

    SPACE is its name or the beginning of it; it may be left out where there is only one.

    \b
      featcache info distilbert-3f9a1c20b7e4
    """
    from pathlib import Path

    from featcache.features.find import pick_space

    chosen = pick_space(Path(cache), space)
    contract = chosen.contract
    if as_json:
        import json

        written = {"written": chosen.environments, "contract": json.loads(contract.to_json())}
        print_json({**_summary(chosen), **written})
        return
    origin, kind = chosen.origin, contract.config.get("model_type", "unknown")
    special = "added" if contract.special_tokens else "not added"
    cut = f"cut at {contract.max_length} tokens on the {contract.truncation_side}"
    size = f"{counted(chosen.n_rows, 'row')} in {_files(chosen)}, {megabytes(chosen.n_bytes)}"
    views = f"layers {layer_range(contract.layers)} × {', '.join(contract.poolings)}"
    lines = {
        "space": f"{chosen.path} · {size}",
        "backbone": f"{origin.backbone} · {kind}, {origin.n_layers} layers × {origin.hidden_size}",
        "weights": f"SHA-256 {contract.weights}",
        "tokenizer": f"SHA-256 {contract.tokenizer}",
        "texts": f"{cut}, special tokens {special}",
        "pass": contract.dtype,
        "features": f"{views} (layer 0: the embeddings)",
        "format": str(contract.format),
    }
    for head, text in lines.items():
        echo(f"{head:<10} {text}")
    for line in _environments(chosen):
        echo(f"{'written':<10} {line}")


def _files(space: Space) -> str:
    """Say how many files a space has, sealed ones and shards."""
    sealed = sum(shard.sealed for shard in space.shards)
    shards = len(space.shards) - sealed
    kinds = []
    if sealed:
        kinds.append("one sealed file" if sealed == 1 else f"{sealed} sealed files")
    if shards:
        kinds.append(counted(shards, "shard"))
    return " and ".join(kinds) or "no file"


def _summary(space: Space) -> dict[str, Any]:
    return {
        "space": space.name,
        "path": str(space.path),
        "rows": space.n_rows,
        "shards": len(space.shards),
        "sealed": any(shard.sealed for shard in space.shards),
        "bytes": space.n_bytes,
        "layers": list(space.contract.layers),
        "poolings": list(space.contract.poolings),
        "hidden_size": space.origin.hidden_size,
        "dtype": space.contract.dtype,
        "max_length": space.contract.max_length,
        "backbone": space.origin.backbone,
        "last_written": space.last_written,
    }


def _ago(written: str | None) -> str:
    if not written:
        return "never"
    try:
        days = (datetime.now(tz=UTC) - datetime.fromisoformat(written)).days
    except (ValueError, TypeError):  # written by other hands
        return written
    if days <= 0:
        return "today"
    return "yesterday" if days == 1 else f"{days} days ago"


def _environments(space: Space) -> list[str]:
    """One line for each environment that wrote shards."""
    lines = []
    for facts in space.environments:
        since, written, rows = (facts.pop(name) for name in ("since", "written", "rows"))
        when = written if since == written else f"{since} to {written}"
        made = ", ".join(f"{name} {value}" for name, value in sorted(facts.items()))
        lines.append(f"{counted(rows, 'row')} · {when} · {made}")
    return lines
