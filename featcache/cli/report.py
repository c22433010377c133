"""`featcache report`: the page of a run, or of several beside one another."""

from __future__ import annotations

from pathlib import Path

import click

from featcache.cli.options import echo, options_of, print_json
from featcache.verbs.options import REPORT
from featcache.wording import counted, megabytes


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@options_of(REPORT)
def report(*, runs: tuple[str, ...], out: str | None, as_json: bool) -> None:
    """Write one HTML page about the run folder RUN, or about several side by side.

    The page holds everything in one file and needs no network: the verdict, scores by layer and by
    head, training and learning curves, errors, data findings, and how to repeat it. Several runs
    are put into a table that can be sorted, with paired differences where they were scored on the
    same rows.

    \b
      featcache report runs/reviews-stars
      featcache report runs/* --out all.html
    """
    from featcache.verbs.report import write_report

    page = write_report([Path(run) for run in runs], out=out)
    folders, n_bytes = list(dict.fromkeys(runs)), page.stat().st_size
    if as_json:
        print_json({"report": str(page), "runs": folders, "bytes": n_bytes})
        return
    echo(f"{'report':<10} {page} · {counted(len(folders), 'run')}, {megabytes(n_bytes)}")
