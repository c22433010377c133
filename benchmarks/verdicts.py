"""Is the verdict right? How often the planted cause is found, over cases and seeds.

Fails where a case is right in less than 95 % of its seeds. `--time` times one verdict instead, on
5,000 rows of 7 layers of 384 numbers, and fails where it takes more than 30 seconds.

    python benchmarks/verdicts.py --seeds 20
    python benchmarks/verdicts.py --time
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import click
import numpy as np
import torch
from common import machine, machine_line, plain_table, run

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the cases are a part of the tests

from featcache.verbs.diagnose import diagnose
from tests.verbs.causes import CASES

_ENOUGH = 0.95
_ROWS, _LAYERS, _WIDTH, _MOST_SECONDS = 5000, 7, 384, 30.0


@dataclass(frozen=True)
class Judged:
    """One seed of a case."""

    kind: str
    causes: list[str]
    right: bool
    seconds: float


def judged(name: str, seed: int) -> Judged:
    """The verdict on a case, in one thread."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    case = CASES[name](seed)
    verdict = case.judged()
    causes = [cause.kind for cause in verdict.causes]
    return Judged(
        verdict.kind, causes, case.right(verdict), round(time.perf_counter() - started, 2)
    )


def timed() -> tuple[float, str]:
    """Seconds, and the verdict, on features whose signal grows from layer to layer."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, _ROWS)
    views = {}
    for layer in range(_LAYERS):
        x = generator.standard_normal((_ROWS, _WIDTH))
        x[:, :9] += 0.1 * layer * (2 * labels - 1)[:, None]
        views[layer, "mean"] = x
    started = time.perf_counter()
    verdict = diagnose(views, labels)
    return round(time.perf_counter() - started, 1), verdict.why


def row(name: str, verdicts: list[Judged]) -> tuple[str, ...]:
    """A case in the table."""
    first = Counter(verdict.kind for verdict in verdicts)
    listed = Counter(kind for verdict in verdicts for kind in verdict.causes)
    share = sum(verdict.right for verdict in verdicts) / len(verdicts)
    return (
        name,
        CASES[name](0).expected,
        f"{share:.0%}",
        counted(first),
        counted(listed),
        f"{np.median([verdict.seconds for verdict in verdicts]):.1f}",
    )


def counted(kinds: Counter[str]) -> str:
    """Kinds with their counts, the most frequent first."""
    return ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())


@click.command()
@click.option("--seeds", default=20, show_default=True, help="Draws of each case.")
@click.option("--cases", default=",".join(CASES), show_default=True, help="Which ones.")
@click.option("--processes", default=2, show_default=True, help="Side by side, a thread each.")
@click.option("--time", "only_time", is_flag=True, help="Time one verdict instead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def main(*, seeds: int, cases: str, processes: int, only_time: bool, as_json: bool) -> None:
    """Judge planted cases."""
    if only_time:
        seconds, why = timed()
        click.echo(
            f"{why}\n{seconds:.1f} s for {_ROWS} x {_WIDTH} x {_LAYERS} layers; {machine_line()}",
            err=as_json,
        )
        if as_json:
            click.echo(
                json.dumps({"benchmark": "verdicts", "seconds": seconds, "machine": machine()})
            )
        sys.exit(int(seconds > _MOST_SECONDS))
    by_case: dict[str, list[Judged]] = {}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for name in cases.split(","):
            by_case[name] = list(pool.map(partial(judged, name), range(seeds)))
            click.echo("  ".join(row(name, by_case[name])), err=True)
    head = ("case", "planted", "right", "first", "listed", "seconds")
    click.echo(
        plain_table(head, [row(name, verdicts) for name, verdicts in by_case.items()]), err=as_json
    )
    click.echo(f"{seeds} seeds; {machine_line()}", err=as_json)
    if as_json:
        written = {name: list(map(asdict, verdicts)) for name, verdicts in by_case.items()}
        click.echo(
            json.dumps(
                {"benchmark": "verdicts", "seeds": seeds, "cases": written, "machine": machine()}
            )
        )
    short = [
        name
        for name, verdicts in by_case.items()
        if sum(verdict.right for verdict in verdicts) < _ENOUGH * len(verdicts)
    ]
    if short:
        click.echo(f"right in less than {_ENOUGH:.0%}: {', '.join(short)}", err=True)
    sys.exit(int(bool(short)))


if __name__ == "__main__":
    run(main)
