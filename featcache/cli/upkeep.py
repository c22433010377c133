"""`featcache verify`, `repair`, `merge`, `gc` and `export`: looking after a cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from featcache.cli.options import echo, options_of, print_json, sources, terminal
from featcache.errors import DamageError, FormatError, MachineError
from featcache.verbs.options import EXPORT, GC, MERGE, REPAIR, VERIFY
from featcache.wording import counted, megabytes

if TYPE_CHECKING:
    from featcache.cache.upkeep.gc import Removal
    from featcache.cache.upkeep.verify import VerifiedSpace


@click.command()
@click.argument("space", required=False)
@options_of(VERIFY)
def verify(*, space: str | None, cache: str, sample: float | None, as_json: bool) -> None:
    """Hold every byte of SPACE, or of the whole cache, to its checksums.

    Exit code 4 means that damage was found.

    \b
      featcache verify
      featcache verify distilbert-3f9a1c20b7e4 --sample 1000
    """
    import time

    from featcache.verbs.upkeep import verify as verb

    started = time.perf_counter()
    checked = verb(space, cache=cache, sample=sample, progress=terminal())
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
        files = counted(one.unfinished, "unfinished file")
        echo(f"           {files} of killed writers; `featcache gc --yes` clears up")


def _raise_findings(checked: list[VerifiedSpace], cache: str) -> None:
    """End as the worst finding asks for: damage, then a failing disk, then a newer version."""
    from pathlib import Path

    from featcache.cache.files import repair_command

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
@options_of(REPAIR)
def repair(*, space: str | None, cache: str, as_json: bool) -> None:
    """Drop exactly the damaged rows of SPACE, or of the whole cache.

    The command that computes them again is printed.

    \b
      featcache repair distilbert-3f9a1c20b7e4
    """
    from pathlib import Path

    from featcache.cache.space import Space
    from featcache.verbs.upkeep import recompute_command
    from featcache.verbs.upkeep import repair as verb

    repaired = verb(space, cache=cache, progress=terminal())
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
            reason = "as it cannot be read here or belongs to another space"
            echo(f"           set aside, {reason}: {path}")
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
@options_of(MERGE)
def merge(*, space: str | None, cache: str, as_json: bool) -> None:
    """Seal the many files of SPACE, or of every space, into one with an index.

    A sealed space opens at once, however large it is. This needs as much free disk as the
    space has; the old files go when the new one is safe.

    \b
      featcache merge distilbert-3f9a1c20b7e4
    """
    from featcache.verbs.upkeep import merge as verb

    merged = verb(space, cache=cache, progress=terminal())
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
@options_of(GC)
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

    Named SPACES go whole; with --older-than only if they are that old; with --unused-by only the
    rows that the data do not use. Without any of these: what killed writers left unfinished.

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
    progress = terminal()
    for removal in found if yes else []:
        collect(
            removal,
            progress=lambda _: None,
            waiting=lambda: progress.note("waiting for this space's writers"),
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
@options_of(EXPORT)
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
    pooling: str | None,
    as_json: bool,
) -> None:
    """Copy features of SPACE out of the cache: a folder of NumPy files, or one plain HDF5 file.

    With --data, row i of each array belongs to row i of the data; without it, all rows of the space
    are written.

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
        pool=pooling,
        reading=TextOptions(text, template, encoding, skip_empty),
        progress=terminal(),
    )
    size = sum(file.stat().st_size for file in files)
    if as_json:
        print_json({"files": [str(file) for file in files], "bytes": size})
        return
    for file in files:
        echo(f"wrote      {file}")
    echo(f"           {megabytes(size)}")
