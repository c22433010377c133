"""The demo's texts: the summary sentences of the docstrings of libraries that are installed anyway.

They are real English about real things, with labels that nobody had to write: what kind of thing
is described and, for scipy, in which sub-package. The libraries are read as they are installed, so
other versions give slightly other texts.
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
    """One summary sentence and its labels.

    Attributes:
        text: The first paragraph of a docstring, on one line.
        kind: What it describes: class, function, method or property.
        topic: The sub-package of scipy that it stands in; None elsewhere.
    """

    text: str
    kind: str
    topic: str | None


def docstrings() -> Iterator[Described]:
    """Yield every different summary of the libraries' public names, in a fixed order.

    A summary that describes things of two kinds, or of two topics, tells nothing about its label
    and is left out.
    """
    by_text: dict[str, list[Described]] = {}
    for entry in _all_docstrings():
        by_text.setdefault(entry.text, []).append(entry)
    for entries in by_text.values():
        kinds, topics = {entry.kind for entry in entries}, {entry.topic for entry in entries}
        if len(kinds) == len(topics) == 1:
            yield entries[0]


def _all_docstrings() -> list[Described]:
    """Collect the summaries of all libraries, repeated ones too."""
    entries: list[Described] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # libraries warn when a deprecated name is looked at
        for name in _MODULES:
            try:
                module = importlib.import_module(name)
            except ImportError:  # this build of Python lacks a part of the standard library
                continue
            library, *inner = name.split(".")
            topic = inner[0] if library == "scipy" else None
            entries += _described(module, library, topic)
    return entries


def _described(module: ModuleType, library: str, topic: str | None) -> Iterator[Described]:
    """Yield what the module's own classes and functions say about themselves."""
    for thing in _own(module, library):
        if inspect.isclass(thing):
            yield from _summary(thing, "class", topic)
            yield from _members(thing, topic)
        elif callable(thing):
            yield from _summary(thing, "function", topic)


def _own(module: ModuleType, library: str) -> Iterator[object]:
    """Yield the public things of a module that were not imported from another library."""
    public = [name for name in dir(module) if not name.startswith("_")]
    for name in sorted(getattr(module, "__all__", None) or public):
        try:
            thing = getattr(module, name)
        except (AttributeError, ImportError):  # some names only explain why they are missing
            continue
        home = getattr(thing, "__module__", None) or library
        if home.split(".")[0] == library or home.startswith("_"):
            yield thing


def _members(owner: type, topic: str | None) -> Iterator[Described]:
    """Yield what a class's public properties and methods say about themselves."""
    for name in sorted(dir(owner)):
        if name.startswith("_"):
            continue
        member = inspect.getattr_static(owner, name)
        if isinstance(member, property):
            yield from _summary(member, "property", topic)
        elif callable(getattr(owner, name, None)) and not inspect.isclass(member):
            yield from _summary(getattr(owner, name), "method", topic)


def _summary(thing: object, kind: str, topic: str | None) -> Iterator[Described]:
    """Yield the first paragraph of the thing's docstring, if it is neither short nor long."""
    docstring = inspect.getdoc(thing)
    if not isinstance(docstring, str):
        return
    for paragraph in docstring.split("\n\n"):
        text = " ".join(paragraph.split())
        # Functions written in C begin with their signature, which would give the kind away.
        if text and not text.split("(")[0].isidentifier():
            if _SHORTEST <= len(text) <= _LONGEST:
                yield Described(text, kind, topic)
            return
