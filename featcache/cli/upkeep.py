"""`featcache verify`, `repair`, `merge`, `gc` and `export`: looking after a cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from featcache.cli.options import cache_option, data_options, echo, json_option, print_json, sources
from featcache.errors import DamageError, FormatError, MachineError
from featcache.wording import counted, megabytes

if TYPE_CHECKING:
    from featcache.cache.upkeep.gc import Removal
    from featcache.cache.upkeep.verify import VerifiedSpace
    from featcache.progress import Terminal


def _terminal() -> Terminal:
    from featcache.console import Console
    from featcache.progress import Terminal

    return Terminal(Console(stderr=True))


class _Sample(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on only
    """A share of the rows or a number of them; `--sample` alone is one in a hundred."""

    name = "share or rows"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            return float(value)
        except ValueError:
            self.fail(
                f"{value!r} is no number: give a share such as 0.01, or rows such as 1000",
                param,
                ctx,
            )


@click.command()
@click.argument("space", required=False)
@cache_option
@click.option(
    "--sample",
    type=_Sample(),
    is_flag=False,
    flag_value="0.01",
    metavar="N",
    help="Check rows drawn at random: a share of them (0.01), or so many of each file (1000).",
)
@json_option
def verify(*, space: str | None, cache: str, sample: float | None, as_json: bool) -> None:
    """Hold every byte of SPACE, or of the whole cache, to its checksums. Exit code 4: damage was found.

    \b
      featcache verify
      featcache verify distilbert-3f9a1c20b7e4 --sample 1000
    """
    import time

    from featcache.verbs.upkeep import verify as verb

    started = time.perf_counter()
    checked = verb(space, cache=cache, sample=sample, progress=_terminal())
    seconds = time.perf_counter() - started
    findings = [finding for one in checked for finding in one.findings]
    if as_json:
        print_json(
            {
                "cache": cache,
                "sound": not findings,
                "seconds": round(seconds, 3),
                "spaces": [asdict(one) for one in checked],
            }
        )
    else:
        for one in checked:
            _print_checked(one, sample)
        _say_if_empty(checked, cache)
        size = megabytes(sum(one.bytes for one in checked))
        echo(f"checked    {size if sample is None else f'rows out of {size}'} in {seconds:.1f} s")
    if findings:
        _raise_findings(checked, cache)


def _say_if_empty(spaces: Sequence[object], cache: str) -> None:
    if not spaces:
        echo(f"no feature space in {cache}: nothing to do")


def _print_checked(one: VerifiedSpace, sample: float | None) -> None:
    how = (
        ""
        if sample is None
        else f", rows drawn at random ({sample:.0%} of each file)"
        if sample <= 1
        else (f", {sample:,.0f} rows of each file drawn at random")
    )
    state = "all sound" if not one.findings else f"{len(one.findings)} wrong"
    echo(
        f"{one.space:<10} {counted(one.rows, 'row')} in {counted(one.files, 'file')}{how}: {state}"
    )
    for finding in one.findings:
        rows = "" if not finding.rows else f" ({counted(finding.rows, 'row')})"
        echo(f"           {finding.what}{rows}")
    if one.unfinished:
        echo(
            f"           {counted(one.unfinished, 'unfinished file')} of killed writers; `featcache gc --yes` clears up"
        )


def _raise_findings(checked: list[VerifiedSpace], cache: str) -> None:
    """End as the worst finding asks for: damage, then a failing disk, then a newer version."""
    from pathlib import Path

    from featcache.cache.shard import repair_command

    kinds = [finding.kind for one in checked for finding in one.findings]
    first = next(
        finding.what for one in checked for finding in one.findings if finding.kind == min(kinds)
    )
    if "damage" in kinds:
        spaces = [
            one.space
            for one in checked
            if any(finding.kind == "damage" for finding in one.findings)
        ]
        commands = ", ".join(repair_command(Path(cache) / space) for space in spaces)
        raise DamageError(
            f"{counted(kinds.count('damage'), 'damaged file')} in {', '.join(spaces)}",
            cure=f"{commands} drops exactly the damaged rows and says how to compute them again.",
        )
    if "machine" in kinds:
        raise MachineError(first, cure="Check the disk and the permissions; nothing was changed.")
    raise FormatError(first, cure="Upgrade: pip install --upgrade featcache")


@click.command()
@click.argument("space", required=False)
@cache_option
@json_option
def repair(*, space: str | None, cache: str, as_json: bool) -> None:
    """Drop exactly the damaged rows of SPACE, or of the whole cache, and say how to compute them again.

    \b
      featcache repair distilbert-3f9a1c20b7e4
    """
    from pathlib import Path

    from featcache.cache.space import Space
    from featcache.verbs.upkeep import recompute_command
    from featcache.verbs.upkeep import repair as verb

    repaired = verb(space, cache=cache, progress=_terminal())
    commands = {
        one.space: recompute_command(Space.open(Path(one.path)))
        for one in repaired
        if one.backbone and not one.left
    }
    if as_json:
        print_json(
            {
                "cache": cache,
                "spaces": [{**asdict(one), "command": commands.get(one.space)} for one in repaired],
            }
        )
    else:
        _say_if_empty(repaired, cache)
    for one in [] if as_json else repaired:
        if not (one.files or one.aside or one.made or one.left):
            echo(f"{one.space:<10} nothing to repair")
            continue
        echo(
            f"{one.space:<10} {counted(one.dropped, 'row')} dropped, "
            f"{counted(one.kept, 'row')} of {counted(one.files, 'damaged file')} saved"
        )
        for name in one.made:
            echo(f"           {name} made again from the shards")
        for path in one.aside:
            echo(
                f"           set aside, as it cannot be read here or belongs to another space: {path}"
            )
        if one.aside:
            echo("           `featcache gc` shows what was set aside; with --yes it removes that")
        if (one.dropped or one.aside) and one.space in commands:
            echo(f"           what is missing is computed by: {commands[one.space]}")
    left = [finding for one in repaired for finding in one.left]
    newer = [finding.what for finding in left if finding.kind == "newer"]
    if len(newer) < len(left):
        what = "; ".join(finding.what for finding in left)
        raise MachineError(
            what, cure="These files were not touched. Check the disk and the permissions."
        )
    if newer:
        raise FormatError(
            "; ".join(newer),
            cure="These files were not touched. Upgrade: pip install --upgrade featcache",
        )


@click.command()
@click.argument("space", required=False)
@cache_option
@json_option
def merge(*, space: str | None, cache: str, as_json: bool) -> None:
    """Seal the many files of SPACE, or of every space, into one with an index: it opens at once, however large.

    Needs as much free disk as the space has; the old files go when the new one is safe.

    \b
      featcache merge distilbert-3f9a1c20b7e4
    """
    from featcache.verbs.upkeep import merge as verb

    merged = verb(space, cache=cache, progress=_terminal())
    if as_json:
        print_json({"cache": cache, "spaces": [asdict(one) for one in merged]})
        return
    _say_if_empty(merged, cache)
    for one in merged:
        repeats = f", {one.repeats:,} repeated ones left out" if one.repeats else ""
        done = f"{counted(one.files, 'file')} became one" if one.files else "is sealed already"
        echo(f"{one.space:<10} {done}: {counted(one.rows, 'row')}{repeats}, {megabytes(one.bytes)}")


@click.command()
@click.argument("spaces", nargs=-1)
@cache_option
@click.option(
    "--older-than",
    type=click.FloatRange(0),
    metavar="DAYS",
    help="Spaces not written to for so long.",
)
@click.option(
    "--unused-by", multiple=True, metavar="DATA", help="Rows whose texts are not in these data."
)
@data_options
@click.option("--yes", is_flag=True, help="Remove what is shown.")
@json_option
def gc(
    *,
    spaces: tuple[str, ...],
    cache: str,
    older_than: float | None,
    unused_by: tuple[str, ...],
    text: str | None,
    template: str | None,
    encoding: str,
    skip_empty: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Show what may go from the cache; with --yes, remove it.

    Named SPACES go whole; with --older-than only if they are that old; with --unused-by only the rows that the
    data do not use. Without any of these: what killed writers left unfinished.

    \b
      featcache gc --older-than 90
      featcache gc distilbert-3f9a1c20b7e4 --unused-by reviews.csv --yes
    """
    from featcache.cache.upkeep.gc import collect
    from featcache.data.texts import TextOptions
    from featcache.verbs.upkeep import removals

    reading = TextOptions(text, template, encoding, skip_empty)
    data = list(sources(unused_by)) or None
    found = removals(
        spaces, cache=cache, older_than_days=older_than, unused_by=data, reading=reading
    )
    terminal = _terminal()
    for removal in found if yes else []:
        collect(
            removal,
            progress=lambda _: None,
            waiting=lambda: terminal.note("waiting for this space's writers"),
        )
    if as_json:
        print_json({"cache": cache, "removed": yes, "removals": [_removal(one) for one in found]})
        return
    for one in found:
        rows = f"{counted(one.rows, 'row')}, " if one.rows else ""
        name = {"space": "space", "rows": "rows of", "leftovers": "leftovers"}[one.what]
        echo(f"{name:<10} {one.path} · {rows}{megabytes(one.bytes)} · {one.reason}")
    if not found:
        echo("nothing to remove")
    elif yes:
        echo(f"removed    {megabytes(sum(one.bytes for one in found))}")
    else:
        echo("nothing was removed; add --yes to remove this")


def _removal(one: Removal) -> dict[str, Any]:
    return {
        "what": one.what,
        "path": str(one.path),
        "reason": one.reason,
        "rows": one.rows,
        "bytes": one.bytes,
    }


@click.command()
@click.argument("space", required=False)
@cache_option
@click.option("--out", metavar="PATH", help="What to write [a folder named after the space].")
@click.option(
    "--format", "kind", type=click.Choice(["numpy", "hdf5"]), help="[by the ending of --out]"
)
@click.option(
    "--data", multiple=True, metavar="DATA", help="Export the rows of these data, in their order."
)
@data_options
@click.option(
    "--layers", default="all", show_default=True, help="all, last, or numbers such as 0,3,6."
)
@click.option("--pool", metavar="LIST", help="Of the poolings in the space [all].")
@json_option
def export(
    *,
    space: str | None,
    cache: str,
    out: str | None,
    kind: str | None,
    data: tuple[str, ...],
    text: str | None,
    template: str | None,
    encoding: str,
    skip_empty: bool,
    layers: str,
    pool: str | None,
    as_json: bool,
) -> None:
    """Copy features of SPACE out of the cache: a folder of NumPy files, or one plain HDF5 file.

    With --data, row i of each array belongs to row i of the data; without, all rows of the space are written.

    \b
      featcache export --data reviews.csv --layers last --out features
      featcache export distilbert-3f9a1c20b7e4 --out features.h5
    """
    from featcache.data.texts import TextOptions
    from featcache.verbs.upkeep import export as verb

    files = verb(
        space,
        out=out,
        kind=kind,
        data=list(sources(data)) or None,
        cache=cache,
        layers=layers,
        pool=pool,
        reading=TextOptions(text, template, encoding, skip_empty),
        progress=_terminal(),
    )
    size = sum(file.stat().st_size for file in files)
    if as_json:
        print_json({"files": [str(file) for file in files], "bytes": size})
        return
    for file in files:
        echo(f"wrote      {file}")
    echo(f"           {megabytes(size)}")
