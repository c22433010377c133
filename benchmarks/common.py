"""What both benchmarks share: reading rows, the default backbone, the machine's description, plain
tables.

Nothing here measures. The scripts are run as files (`python benchmarks/head_depths.py …`), so that
this module is found beside them.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from featcache.data.keys import row_keys
from featcache.data.labels import labels_of
from featcache.data.parts import LabelledRows
from featcache.data.read import read
from featcache.data.texts import TextOptions, render
from featcache.demo.encoder import minilm
from featcache.errors import FeatcacheError


@dataclass(frozen=True)
class Model:
    """A backbone's folder or hub id, and how tables and titles call it."""

    path: str
    name: str


def backbone_or_minilm(asked: str | None) -> Model:
    """The backbone asked for, or the MiniLM that the extra `demo` brings. Raises InputError without
    the extra.
    """
    if asked is None:
        return Model(str(minilm()), "all-MiniLM-L6-v2")
    return Model(asked, Path(asked).name if Path(asked).is_dir() else asked)


def read_rows(file: Path, label: str, limit: int | None = None) -> LabelledRows:
    """Texts and labels of a file; with a limit, that many rows drawn with a fixed seed, in the
    file's order.

    Drawn and not cut off, because files are often sorted by label. Raises what featcache's own
    readers raise.
    """
    table = read(file)
    texts = render(table, TextOptions(), label=label)
    (labels,) = labels_of([table], label, [texts.rows])
    rows = LabelledRows([file.name] * len(labels), texts.rendered, row_keys(texts.rendered), labels)
    if limit is None or limit >= len(labels):
        return rows
    return rows.take(np.sort(np.random.default_rng(0).permutation(len(labels))[:limit]))


def median(seconds: Sequence[float]) -> float:
    """The middle of several measurements, to the millisecond."""
    return round(statistics.median(seconds), 3)


def machine() -> dict[str, Any]:
    """What a time depends on beside the code: print it with every time."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "numpy", "featcache")},
    }


def machine_line() -> str:
    """The machine in one line, for below a table."""
    facts = machine()
    versions = ", ".join(
        f"{name} {facts[name]}"
        for name in ("python", "torch", "transformers", "numpy", "featcache")
    )
    return f"{facts['cpu']}, {facts['cores']} cores, {facts['threads']} threads; {versions}"


def plain_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        aligned = [cells[0].ljust(widths[0])]
        aligned += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "  ".join(aligned).rstrip()

    return "\n".join([line(header), "  ".join("-" * width for width in widths), *map(line, rows)])


def run(command: click.Command) -> None:
    """Run a script's command; an error of featcache ends in its message and exit code."""
    try:
        command()
    except FeatcacheError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)


def _cpu_name() -> str:
    if platform.system() == "Darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        return answer.stdout.strip() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    # ARM kernels name no model there.
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
