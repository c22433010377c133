"""Are the reported test scores true? Small sweeps, scored on test rows and on fresh ones.

    python benchmarks/honesty.py [--runs 200] [--json]

The simulation is in `tests/search/honesty.py`, where the test suite runs a short form. Each run
searches, chooses and refits as `fit-heads` does, on planted features. Reported is the accuracy on
its test rows, true that of the same head on a large fresh sample. The exit code is 1 unless the
head chosen on validation rows is reported within two standard errors of the truth, and the best by
test score above it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click
from common import machine, machine_line, plain_table, run

# The simulation is a part of the tests.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.search.honesty import Honesty, measured


def table(honesty: Honesty) -> str:
    """One row for each way to choose: means, their difference and its standard error, in points."""
    rows = [
        [
            name,
            *(
                f"{100 * value:.2f}"
                for value in (gap.reported, gap.true, gap.mean, gap.standard_error)
            ),
            required,
        ]
        for name, gap, required in (
            ("chosen on validation rows", honesty.honest, "0 ± 2 s.e."),
            ("chosen on test rows", honesty.by_test, "> 2 s.e."),
        )
    ]
    return plain_table(
        ["accuracy of the head", "reported", "true", "difference", "s.e.", "required"], rows
    )


@click.command(
    help="Compare reported test scores with true ones; exits with 1 where they are not honest."
)
@click.option("--runs", default=200, show_default=True, type=click.IntRange(2), help="Sweeps.")
@click.option("--seed", default=0, show_default=True, help="Of the first run.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on stdout; the table goes to stderr."
)
def main(*, runs: int, seed: int, as_json: bool) -> None:
    """Read the options, run, and report."""
    honesty = measured(runs, seed)
    click.echo(table(honesty), err=as_json)
    click.echo(
        f"\n{honesty.runs} sweeps of {honesty.candidates} heads, {honesty.seconds:.0f} s; "
        f"{machine_line()}",
        err=as_json,
    )
    if as_json:
        report = {
            "benchmark": "honesty",
            "seed": seed,
            **asdict(honesty),
            "holds": honesty.holds,
            "machine": machine(),
        }
        click.echo(json.dumps(report, ensure_ascii=False))
    if not honesty.holds:
        sys.exit(1)


if __name__ == "__main__":
    run(main)
