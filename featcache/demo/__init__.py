"""The demo: the whole story on real text, without a network, in minutes.

The texts are the summary sentences of the docstrings of libraries that are installed anyway. They
have two labels: what `kind` of thing is described (class, function, method, property) and, for
scipy, its `topic` (the sub-package). The first label shows a linear head on the last layer staying
below a bag of words, and what cures it; the second costs no second pass over the texts.

The demo tries few heads, on the mean of each layer only, and makes experiments for the first label
alone: it has to be over in five minutes on two cores without native bfloat16. It prints the
commands that try everything.
"""

from __future__ import annotations

import csv
import io
import os
import shlex
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcache.demo.docstrings import docstrings
from featcache.demo.encoder import minilm
from featcache.durable import make_folder, write_durably
from featcache.progress import Progress, Silent
from featcache.runs.result import FitResult
from featcache.verbs.extract import Extraction, extract
from featcache.verbs.fit import fit_heads

# The refit uses validation rows, too, so that many of them cost nothing but make the choice surer.
SPLIT = "0.6/0.2/0.2"
POOLING, DEPTH, WIDTH = "mean", 1, 256
TRIALS = {"kind": 48, "topic": 24}


@dataclass(frozen=True)
class DemoResult:
    """What the demo did.

    Attributes:
        folder: Where the data, the cache and the runs lie.
        first: The pass over all texts.
        kind: The head for the kind of thing that a text describes.
        topic: The head for scipy's sub-package.
        second: The same pass again, which finds every text in the cache.
        full: For each label, the command that tries every head and makes every experiment.
        seconds: How long all of it took.
    """

    folder: str
    first: Extraction
    kind: FitResult
    topic: FitResult
    second: Extraction
    full: dict[str, str]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        return {
            "folder": self.folder,
            "extract": vars(self.first),
            "kind": self.kind.to_json(),
            "topic": self.topic.to_json(),
            "second_extract": vars(self.second),
            "full": self.full,
            "seconds": round(self.seconds, 3),
        }


def run_demo(
    out: str | os.PathLike[str] = "demo", *, progress: Progress | None = None
) -> DemoResult:
    """Collect the texts, extract their states, fit both labels, and extract once more.

    Args:
        out: Folder for everything that the demo writes.
        progress: Where the work is shown; nowhere by default.

    Returns:
        Both passes, both fits, and the commands that try everything.

    Raises:
        InputError: The extra `demo` is not installed.
        MachineError: The folder cannot be made.
    """
    started = time.perf_counter()
    progress = progress or Silent()
    backbone = minilm()
    folder = Path(out)
    make_folder(folder, "--out")
    progress.note("collecting docstrings of scipy, scikit-learn, numpy, torch, pandas and Python")
    files = _write_tables(folder)
    cache = folder / "cache"
    texts = files["kind"]
    progress.note(f"extracting  featcache extract {texts} --backbone {backbone} --cache {cache}")
    first = extract(texts, backbone=backbone, cache=cache, progress=progress)
    fits = {label: _fit(label, files[label], folder, progress) for label in files}
    second = extract(texts, backbone=backbone, cache=cache, progress=progress)
    full = {label: _command(label, files[label], cache) for label in files}
    seconds = time.perf_counter() - started
    return DemoResult(str(folder), first, fits["kind"], fits["topic"], second, full, seconds)


def _fit(label: str, file: str, folder: Path, progress: Progress) -> FitResult:
    """Fit one label on a small grid; only `kind` gets the experiments for a verdict."""
    cache, evidence = folder / "cache", label == "kind"
    small = f"--split {SPLIT} --pool {POOLING} --depths {DEPTH} --widths {WIDTH}"
    small += f" --trials {TRIALS[label]}" + ("" if evidence else " --no-evidence")
    progress.note(f"fitting     {_command(label, file, cache)} {small}")
    return fit_heads(
        file,
        label=label,
        cache=cache,
        split=SPLIT,
        pooling=POOLING,
        depths=(DEPTH,),
        widths=(WIDTH,),
        trials=TRIALS[label],
        evidence=evidence,
        out=folder / label,
        progress=progress,
    )


def _command(label: str, file: str, cache: Path) -> str:
    """Say what fits this label with the default options."""
    return shlex.join(["featcache", "fit-heads", file, "--label", label, "--cache", str(cache)])


def _write_tables(folder: Path) -> dict[str, str]:
    """Write one CSV file of texts for each label and return their paths by label."""
    described = list(docstrings())
    kinds = [(entry.text, entry.kind) for entry in described]
    topics = [(entry.text, entry.topic) for entry in described if entry.topic]
    return {
        "kind": _write_csv(folder, "docstrings.csv", [("text", "kind"), *kinds]),
        "topic": _write_csv(folder, "scipy.csv", [("text", "topic"), *topics]),
    }


def _write_csv(folder: Path, name: str, rows: Iterable[tuple[str, str]]) -> str:
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows(rows)
    return str(write_durably(folder, name, stream.getvalue().encode()))
