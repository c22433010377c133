"""Does a cache keep what it promises? Fault campaigns: kills, power cuts, failing disks, damaged
and hostile files.

    python benchmarks/faults.py --only power --only mutations

    kill       SIGKILL at random moments of an extraction, then the extraction again
    writers    SIGKILL among 4 to 8 writers of one space
    power      a power cut at every point of a cache's life; unsynced operations are dropped,
               torn, or applied in any order
    errors     each call that writes fails in turn, under `featcache extract`
    mutations  damaged files: bits, sectors, sizes, headers with and without a checksum that fits
    hostile    files made to mislead a reader, to hang it, or to lead it out of the cache
    malformed  JSON files of a cache with wrong types, numbers, depths; things that are no file

The code of the campaigns is in `tests/faults`, where the test suite runs a short form of each. Lost
are rows that were acknowledged and are not found; wrong is everything else that is not as promised;
the exit code is 1 where a figure is not zero. A number of trials other than the full one says less
than the table's last column.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from common import machine, machine_line, plain_table, run

sys.path.insert(
    0, str(Path(__file__).resolve().parent.parent)
)  # the campaigns are a part of the tests

from tests.faults.campaigns import CAMPAIGNS
from tests.faults.result import Result


def table(results: Sequence[Result]) -> str:
    """Campaigns down; trials, what went wrong, the time and what is required across."""
    header = ["campaign", "trials", "lost", "wrong", "crashes", "hangs", "seconds", "required"]
    figures = [(one.trials, one.lost, one.wrong, one.crashes, one.hangs) for one in results]
    rows = [
        [one.campaign, *(f"{figure:,}" for figure in row), f"{one.seconds:.0f}", one.required]
        for one, row in zip(results, figures, strict=True)
    ]
    return plain_table(header, rows)


def notes(result: Result) -> str:
    """What a campaign reached, in one line, and what it found wrong."""
    counts = ", ".join(f"{count:,} {name}" for name, count in sorted(result.notes.items()) if count)
    return "\n".join(
        [f"{result.campaign}: {counts}", *(f"  {problem}" for problem in result.problems)]
    )


def report(results: Sequence[Result], seed: int) -> dict[str, Any]:
    """The whole run as one object."""
    campaigns = [{**asdict(one), "holds": one.holds} for one in results]
    return {"benchmark": "faults", "seed": seed, "campaigns": campaigns, "machine": machine()}


@click.command(
    help="Run fault campaigns against the cache; exits with 1 where one finds something."
)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(list(CAMPAIGNS)),
    help="Campaigns to run [all]; repeatable.",
)
@click.option("--trials", type=click.IntRange(1), help="Trials of each campaign [its full number].")
@click.option("--seed", default=0, show_default=True, help="What the trials are drawn with.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on stdout; the table goes to stderr."
)
def main(*, only: tuple[str, ...], trials: int | None, seed: int, as_json: bool) -> None:
    """Read the options, run, and report."""
    results = []
    for name in only or CAMPAIGNS:
        campaign = CAMPAIGNS[name]
        click.echo(f"running {name}", err=True)
        results.append(campaign.run(campaign.full if trials is None else trials, seed))
        click.echo(notes(results[-1]), err=True)
    click.echo("\n" + table(results), err=as_json)
    click.echo(f"\n{machine_line()}", err=as_json)
    if as_json:
        click.echo(json.dumps(report(results, seed), ensure_ascii=False))
    if not all(one.holds for one in results):
        sys.exit(1)


if __name__ == "__main__":
    run(main)
