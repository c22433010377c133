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
    from featcache.cache.upkeep.merge import Merged
    from featcache.cache.upkeep.repair import Repaired
    from featcache.cache.upkeep.verify import VerifiedSpace


@click.command()
@click.argument("space", required=False)
@options_of(VERIFY)
def verify(*, space: str | None, cache: str, sample: float | None, as_json: bool) -> None:
    """Check every byte of SPACE, or of the whole cache, against its checksums.

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
    n_findings = sum(len(result.findings) for result in checked)
    if as_json:
        print_json(
            {
                "cache": cache,
                "sound": not n_findings,
                "seconds": round(seconds, 3),
                "spaces": [asdict(result) for result in checked],
            }
        )
    else:
        _print_verified(checked, cache, sample, seconds)
    if n_findings:
        _raise_findings(checked, cache)


def _print_verified(
    checked: list[VerifiedSpace], cache: str, sample: float | None, seconds: float
) -> None:
    for result in checked:
        _print_checked(result, sample)
    _say_if_empty(checked, cache)
    size = megabytes(sum(result.bytes for result in checked))
    if sample is not None:
        size = f"rows out of {size}"
    echo(f"checked    {size} in {seconds:.1f} s")


def _say_if_empty(spaces: Sequence[object], cache: str) -> None:
    if not spaces:
        echo(f"no feature space in {cache}: nothing to do")


def _print_checked(result: VerifiedSpace, sample: float | None) -> None:
    state = f"{len(result.findings)} wrong" if result.findings else "all sound"
    size = f"{counted(result.rows, 'row')} in {counted(result.files, 'file')}"
    echo(f"{result.space:<10} {size}{_sampling(sample)}: {state}")
    for finding in result.findings:
        rows = f" ({counted(finding.rows, 'row')})" if finding.rows else ""
        echo(f"           {finding.what}{rows}")
    if result.unfinished:
        files = counted(result.unfinished, "unfinished file")
        echo(f"           {files} of killed writers; `featcache gc --yes` clears up")


def _sampling(sample: float | None) -> str:
    """Say how rows were drawn; an empty string where every byte was read."""
    if sample is None:
        return ""
    if sample <= 1:
        return f", rows drawn at random ({sample:.0%} of each file)"
    return f", {sample:,.0f} rows of each file drawn at random"


def _raise_findings(checked: list[VerifiedSpace], cache: str) -> None:
    """Raise the error of the worst finding: damage, then a failing disk, then a newer version."""
    findings: dict[str, list[str]] = {}
    damaged_spaces: list[str] = []
    for result in checked:
        for finding in result.findings:
            findings.setdefault(finding.kind, []).append(finding.what)
            if finding.kind == "damage" and result.space not in damaged_spaces:
                damaged_spaces.append(result.space)
    if "damage" in findings:
        raise _damage_error(len(findings["damage"]), damaged_spaces, cache)
    if "machine" in findings:
        cure = "Check the disk and the permissions; nothing was changed."
        raise MachineError(findings["machine"][0], cure=cure)
    raise FormatError(findings["newer"][0], cure="Upgrade: pip install --upgrade featcache")


def _damage_error(n_files: int, spaces: list[str], cache: str) -> DamageError:
    from pathlib import Path

    from featcache.cache.files import repair_command

    commands = ", ".join(repair_command(Path(cache) / space) for space in spaces)
    return DamageError(
        f"{counted(n_files, 'damaged file')} in {', '.join(spaces)}",
        cure=f"{commands} drops exactly the damaged rows and says how to compute them again.",
    )


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
    commands: dict[str, str] = {}
    for result in repaired:
        if result.backbone and not result.left:
            commands[result.space] = recompute_command(Space.open(Path(result.path)))
    if as_json:
        spaces = [{**asdict(result), "command": commands.get(result.space)} for result in repaired]
        print_json({"cache": cache, "spaces": spaces})
    else:
        _say_if_empty(repaired, cache)
        for result in repaired:
            _print_repaired(result, commands.get(result.space))
    _raise_left(repaired)


def _print_repaired(result: Repaired, command: str | None) -> None:
    """Print what was done to a space, and the command that computes the dropped rows again."""
    if not (result.files or result.aside or result.made or result.left):
        echo(f"{result.space:<10} nothing to repair")
        return
    dropped = f"{counted(result.dropped, 'row')} dropped"
    saved = f"{counted(result.kept, 'row')} of {counted(result.files, 'damaged file')} saved"
    echo(f"{result.space:<10} {dropped}, {saved}")
    for name in result.made:
        echo(f"           {name} made again from the shards")
    for path in result.aside:
        reason = "as it cannot be read here or belongs to another space"
        echo(f"           set aside, {reason}: {path}")
    if result.aside:
        echo("           `featcache gc` shows what was set aside; with --yes it removes that")
    if command is not None and (result.dropped or result.aside):
        echo(f"           what is missing is computed by: {command}")


def _raise_left(repaired: list[Repaired]) -> None:
    """Raise where files were left as they are: a failing disk first, then a newer version."""
    left = [finding for result in repaired for finding in result.left]
    if not left:
        return
    what = "; ".join(finding.what for finding in left)
    untouched = "These files were not touched."
    if all(finding.kind == "newer" for finding in left):
        raise FormatError(what, cure=f"{untouched} Upgrade: pip install --upgrade featcache")
    raise MachineError(what, cure=f"{untouched} Check the disk and the permissions.")


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
        print_json({"cache": cache, "spaces": [asdict(result) for result in merged]})
        return
    _say_if_empty(merged, cache)
    for result in merged:
        _print_merged(result)


def _print_merged(result: Merged) -> None:
    done, repeats = "is sealed already", ""
    if result.files:
        done = f"{counted(result.files, 'file')} became one"
    if result.repeats:
        repeats = f", {result.repeats:,} repeated ones left out"
    rows = f"{counted(result.rows, 'row')}{repeats}, {megabytes(result.bytes)}"
    echo(f"{result.space:<10} {done}: {rows}")


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
    from featcache.data.texts import TextOptions
    from featcache.verbs.upkeep import removals

    reading = TextOptions(text, template, encoding, skip_empty)
    data = list(sources(unused_by)) or None
    removable = removals(
        spaces, cache=cache, older_than_days=older_than, unused_by=data, reading=reading
    )
    if yes:
        _remove(removable)
    if as_json:
        objects = [_removal_json(removal) for removal in removable]
        print_json({"cache": cache, "removed": yes, "removals": objects})
    else:
        _print_removals(removable, removed=yes)


def _remove(removable: list[Removal]) -> None:
    from featcache.cache.upkeep.gc import collect

    progress = terminal()
    for removal in removable:
        collect(
            removal,
            progress=lambda _: None,
            waiting=lambda: progress.note("waiting for this space's writers"),
        )


def _print_removals(removable: list[Removal], *, removed: bool) -> None:
    names = {"space": "space", "rows": "rows of", "leftovers": "leftovers"}
    for removal in removable:
        rows = f"{counted(removal.rows, 'row')}, " if removal.rows else ""
        size = f"{rows}{megabytes(removal.bytes)}"
        echo(f"{names[removal.what]:<10} {removal.path} · {size} · {removal.reason}")
    if not removable:
        echo("nothing to remove")
    elif removed:
        echo(f"removed    {megabytes(sum(removal.bytes for removal in removable))}")
    else:
        echo("nothing was removed; add --yes to remove this")


def _removal_json(removal: Removal) -> dict[str, Any]:
    return {
        "what": removal.what,
        "path": str(removal.path),
        "reason": removal.reason,
        "rows": removal.rows,
        "bytes": removal.bytes,
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
