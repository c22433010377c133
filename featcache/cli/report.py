"""`featcache report`: the page of a run, or of several beside one another."""

from __future__ import annotations

from pathlib import Path

import click

from featcache.cli.options import echo, json_option, print_json
from featcache.wording import counted, megabytes


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option(
    "--out", metavar="FILE", help="The page [RUN/report.html; of several runs ./report.html]."
)
@json_option
def report(*, runs: tuple[str, ...], out: str | None, as_json: bool) -> None:
    """Write one HTML page about the run folder RUN, or about several side by side.

    The page holds everything in one file and asks nothing of the network: the verdict, scores by layer and by
    head, training and learning curves, errors, data findings, and how to repeat it. Several runs are put into a
    table that can be sorted, with paired differences where they were scored on the same rows.

    \b
      featcache report runs/reviews-stars
      featcache report runs/* --out all.html
    """
    from featcache.verbs.report import write_report

    page = write_report([Path(one) for one in runs], out=out)
    named, n_bytes = list(dict.fromkeys(runs)), page.stat().st_size
    if as_json:
        print_json({"report": str(page), "runs": named, "bytes": n_bytes})
        return
    echo(f"{'report':<10} {page} · {counted(len(named), 'run')}, {megabytes(n_bytes)}")
