"""The demo's texts: the summary sentences of the docstrings of libraries that are installed anyway.

Real English about real things, with labels that nobody had to write: what kind of thing is
described, and, for scipy, in which sub-package. The libraries are looked at as they are installed,
so other versions give slightly other texts.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

_SHORTEST, _LONGEST = 25, 400
_SCIPY = (
    "cluster",
    "fft",
    "integrate",
    "interpolate",
    "io",
    "linalg",
    "ndimage",
    "optimize",
    "signal",
    "sparse",
    "spatial",
    "special",
    "stats",
)
_MODULES = (
    *(f"scipy.{name}" for name in _SCIPY),
    "scipy.sparse.linalg",
    "scipy.sparse.csgraph",
    "scipy.spatial.distance",
    "scipy.spatial.transform",
    "scipy.cluster.hierarchy",
    "scipy.cluster.vq",
    "scipy.stats.qmc",
    "scipy.stats.contingency",
    "scipy.signal.windows",
    *(
        f"sklearn.{name}"
        for name in (
            "base",
            "calibration",
            "cluster",
            "compose",
            "covariance",
            "cross_decomposition",
            "datasets",
            "decomposition",
            "discriminant_analysis",
            "dummy",
            "ensemble",
            "feature_extraction.text",
            "feature_selection",
            "gaussian_process",
            "impute",
            "inspection",
            "isotonic",
            "kernel_approximation",
            "linear_model",
            "manifold",
            "metrics",
            "mixture",
            "model_selection",
            "multiclass",
            "naive_bayes",
            "neighbors",
            "neural_network",
            "pipeline",
            "preprocessing",
            "random_projection",
            "semi_supervised",
            "svm",
            "tree",
            "utils",
        )
    ),
    "numpy",
    "numpy.fft",
    "numpy.linalg",
    "numpy.ma",
    "numpy.polynomial",
    "numpy.random",
    "numpy.strings",
    "numpy.testing",
    "torch",
    "torch.distributions",
    "torch.linalg",
    "torch.nn",
    "torch.nn.functional",
    "torch.optim",
    "torch.optim.lr_scheduler",
    "torch.special",
    "torch.utils.data",
    "pandas",
    "pandas.api.types",
    "pandas.tseries.offsets",
    "collections",
    "functools",
    "itertools",
    "json",
    "math",
    "random",
    "re",
    "statistics",
)


@dataclass(frozen=True)
class Described:
    """A docstring's first paragraph, what kind of thing it is of, and its sub-package of scipy
    (else None).
    """

    text: str
    kind: str
    topic: str | None


def docstrings() -> Iterator[Described]:
    """Every different summary of the libraries' public names, in a fixed order.

    A summary that describes things of two kinds (or topics) says nothing about its label and is
    left out.
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
        warnings.simplefilter(
            "ignore"
        )  # libraries warn when a deprecated name of theirs is looked at
        for name in _MODULES:
            try:
                module = importlib.import_module(name)
            except ImportError:  # a part of the standard library that this build of Python lacks
                continue
            parts = name.split(".")
            found += _described(module, parts[0], parts[1] if parts[0] == "scipy" else None)
    return found


def _described(module: ModuleType, library: str, topic: str | None) -> Iterator[Described]:
    names = getattr(module, "__all__", None) or [
        name for name in dir(module) if not name.startswith("_")
    ]
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
