"""How long one waits before anything useful happens: `--help`, importing, a rerun that finds every
row, the first step.

    python benchmarks/startup.py [--rows 10000] [--repeats 7] [--json]

`first step` runs from opening a cache of `--rows` rows (MiniLM's 7 layers x mean, cls, synthetic
values, so that no pass is needed) to the end of the first training step of a linear head on the
last layer's mean, in a process that has imported everything. Checked before any time is printed:
the features read back are the ones that were written.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import numpy as np
from common import backbone_or_minilm, machine, machine_line, median, plain_table, run
from numpy.typing import NDArray

import featcache
from featcache.cache.columns import CachedRows
from featcache.cache.memo import Memo
from featcache.data.keys import row_keys
from featcache.features.request import BackboneChoice, make_space, resolve
from featcache.heads.recipe import Examples, Recipe
from featcache.heads.shape import HeadShape
from featcache.heads.train import train_stack
from featcache.tasks.metrics import scores_of_many


def process_seconds(arguments: list[str], repeats: int) -> float:
    """Median wall time of whole processes, after one that warms the file cache."""
    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        seconds.append(time.perf_counter() - started)
    return median(seconds[1:])


def fill(cache: Path, backbone: str, texts: list[str]) -> dict[str, NDArray[np.float32]]:
    """A space of the backbone's contract with random states for the texts; returns what was
    written.
    """
    resolved = resolve(BackboneChoice(backbone), cache, Memo())
    space = make_space(cache, replace(resolved, path=None), backbone)
    generator = np.random.default_rng(0)
    shape = (len(texts), resolved.facts.hidden_size)
    states = {
        f"layer_{layer:02d}/{pooling}": generator.standard_normal(shape, dtype=np.float32)
        for layer in resolved.contract.layers
        for pooling in resolved.contract.poolings
    }
    counts, cut = np.full(len(texts), 9, dtype=np.uint32), np.zeros(len(texts), dtype=np.bool_)
    provenance = {"written": "2026-01-01T00:00:00+00:00", "attention": "padded"}
    space.add(CachedRows(row_keys(texts), counts, cut, states), provenance)
    return states


@click.command()
@click.option("--rows", default=10_000, show_default=True, help="Rows of the cache.")
@click.option("--repeats", default=7, show_default=True, help="Measurements of each figure.")
@click.option("--backbone", help="Model whose contract is used [MiniLM of the extra demo].")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on stdout, the table on stderr."
)
def main(*, rows: int, repeats: int, backbone: str | None, as_json: bool) -> None:
    """Measure what one waits for before anything useful happens."""
    model = backbone_or_minilm(backbone)
    texts = [f"text number {number}" for number in range(rows)]
    labels = np.arange(rows, dtype=np.int64) % 2
    recipe = Recipe(
        max_epochs=1, batch_size=rows
    )  # one batch holds all rows: one epoch is one step
    metric = partial(scores_of_many, "macro_f1", n_classes=2)
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cache"
        written = fill(cache, model.path, texts)
        first_step = []
        for _ in range(repeats + 1):
            started = time.perf_counter()
            space = featcache.open_space(cache=cache)
            features = space.features(texts, layer=space.layers[-1], pooling="mean")
            train_stack(
                Examples(features, labels),
                None,
                n_classes=2,
                shape=HeadShape("linear"),
                recipes=[recipe],
                metric=metric,
            )
            first_step.append(time.perf_counter() - started)
            expected = written[f"layer_{space.layers[-1]:02d}/mean"].astype(np.float16)
            assert np.array_equal(features, expected), "what was read is not what was written"
        lines = Path(folder) / "texts.csv"
        lines.write_text("text\n" + "\n".join(texts) + "\n", "utf-8")
        rerun = [
            "-m",
            "featcache",
            "extract",
            str(lines),
            "--backbone",
            model.path,
            "--cache",
            str(cache),
        ]
        seconds = {
            "featcache --help": process_seconds(["-m", "featcache", "--help"], repeats),
            "import featcache": process_seconds(["-c", "import featcache"], repeats),
            f"extract, all {rows:,} rows found": process_seconds(rerun, repeats),
            f"open to first step, {rows:,} rows": median(first_step[1:]),
            "python alone": process_seconds(["-c", "pass"], repeats),
        }
    report = plain_table(
        ["", "seconds (median)"], [[name, f"{value:.3f}"] for name, value in seconds.items()]
    )
    click.echo(f"{report}\n\n{machine_line()}", err=as_json)
    if as_json:
        click.echo(
            json.dumps({"machine": machine(), "rows": rows, "repeats": repeats, "seconds": seconds})
        )


if __name__ == "__main__":
    run(main)
