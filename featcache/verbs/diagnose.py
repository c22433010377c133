"""Verb: what limits a head on features that are already there, and the cheapest thing that would
help.

No cache and no model are needed: features may come from anywhere. `fit-heads` asks the same of its
linear reference.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from featcache.data.texts import is_missing
from featcache.errors import InputError, LabelError
from featcache.evidence.verdict import Verdict, judge
from featcache.features.folds import N_FOLDS, enough, folds_of, most_folds, seeds_for
from featcache.features.source import ArraySource
from featcache.features.views import View, reference_view, views_of
from featcache.heads.candidate import Candidate
from featcache.heads.setup import LabelledPositions, TrainingSetup
from featcache.heads.shape import HeadShape
from featcache.search.candidates import MAX_DEPTH, base_recipe
from featcache.tasks.metrics import METRICS
from featcache.verbs.cures import CURES

if TYPE_CHECKING:
    from featcache.heads.recipe import Recipe

_RATE = {"linear": 3e-3, "mlp": 1e-3}
_MLP = re.compile(r"(?:mlp\s*)?(\d+)\s*[x×]\s*(\d+)")
_FEWEST_ROWS = 20


def diagnose(
    features: ArrayLike | Mapping[tuple[int, str], ArrayLike],
    labels: Sequence[Any] | NDArray[Any],
    *,
    head: str | None = None,
    view: tuple[int, str] | None = None,
    scale: bool = True,
    lr: float | None = None,
    epochs: int = 30,
    metric: str = "macro_f1",
    seed: int = 0,
    texts: Sequence[str] | None = None,
) -> Verdict:
    """Why a head stops where it stops, found out by experiments: `.kind`, `.why`, `.cure`, all
    `.causes`.

    features: rows x dim, or views {(layer, pooling): rows x dim} of one width.  labels: N of them,
    of any type. The head in question, the subject, is by default the linear reference: logistic
    regression on the last layer's mean (where there is no mean, its first pooling), standardised,
    its C chosen among four.
    head: "logreg", "linear" (trained by gradient descent), "mlp" (1×256) or "mlp 2×512".  view:
    what it is trained on.
    scale: whether it sees standardised features.  lr, epochs: of its training by AdamW, which is as
    plain as it is in most scripts: no dropout, weight decay 0.01, the last epoch is kept. With lr
    the default head is "linear".
    metric: accuracy, macro_f1, weighted_f1 or mcc.  texts: of the rows, to compare with a bag of
    words.

    Raises InputError where these do not fit together, features are not finite, or rows are fewer
    than 20; LabelError where a class has fewer than two different rows.
    """
    views = _checked(features, labels, metric, texts)
    own = _own_view(views, view)
    shape = _shape(head or ("logreg" if lr is None else "linear"))
    if lr is not None and (shape.kind == "logreg" or not lr > 0):
        msg = f"a learning rate of {lr:g} for {shape}" if lr > 0 else f"a learning rate of {lr:g}"
        raise InputError(
            f"{msg} makes no sense",
            cure="Rates are above 0, and logreg has none: use head='linear'.",
        )
    if epochs < 1:
        raise InputError(f"{epochs} epochs are none", cure="Give 1 or more.")
    from featcache.evidence.experiments import experiments
    from featcache.features.budget import MemoryBudget

    classes, numbers = np.unique(_names(labels), return_inverse=True)
    if len(classes) < 2:
        msg = "all labels are the same, so there is nothing to tell apart"
        raise LabelError(msg, cure="Give two classes or more.")
    keys = _keys(views)
    given = [int(number) for number in numbers]
    most = most_folds(keys, given)
    if most < 2:
        rarest = min(
            range(len(classes)), key=lambda number: len(np.unique(keys[numbers == number], axis=0))
        )
        name = str(classes[rarest]).split(" ", 1)[1]
        msg = f"all rows of the class {name} are the same one"
        raise LabelError(
            msg if (numbers == rarest).sum() > 1 else f"the class {name} has one row only",
            cure="Give it two different rows or more, or leave it out.",
        )
    folds = enough(folds_of(keys, given, min(N_FOLDS, most), seed=seed))
    sweep = TrainingSetup(
        source=ArraySource(views),
        part=LabelledPositions(np.arange(len(numbers)), numbers.astype(np.int64)),
        folds=folds,
        n_classes=len(classes),
        metric=metric,
        seed=seed,
        seeds=seeds_for(folds, seed),
    )
    subject = Candidate(
        own.standardised(scale), shape, _recipe(shape, len(folds[0].train), lr, epochs, seed)
    )
    width = views[own].shape[1]
    with MemoryBudget() as room:
        found = experiments(subject, sweep, _all_views(list(views), width), room=room, texts=texts)
    return judge(found, CURES, subject=f"{shape} head on {subject.view}")


def _checked(
    features: ArrayLike | Mapping[tuple[int, str], ArrayLike],
    labels: Sequence[Any] | NDArray[Any],
    metric: str,
    texts: Sequence[str] | None,
) -> dict[View, NDArray[np.float32]]:
    if metric not in METRICS:
        raise InputError(f"there is no metric {metric!r}", cure=f"Choose of {', '.join(METRICS)}.")
    given = features if isinstance(features, Mapping) else {(0, "mean"): features}
    if not given:
        msg = "no features are given"
        raise InputError(msg, cure="Give an array of rows x dim, or {(layer, pooling): array}.")
    views = {_view(name): _numbers(one) for name, one in given.items()}
    shapes = {one.shape for one in views.values()}
    shape = next(iter(shapes))
    if len(shapes) > 1 or len(shape) != 2 or 0 in shape:
        msg = f"features of shape {', '.join(map(str, sorted(shapes)))}"
        raise InputError(msg, cure="All views are arrays of the same rows x dim.")
    for name, count in (
        ("labels", len(labels)),
        ("texts", shape[0] if texts is None else len(texts)),
    ):
        if count != shape[0]:
            raise InputError(
                f"{shape[0]:,} rows of features and {count:,} {name}",
                cure="Each row needs one of each.",
            )
    if shape[0] < _FEWEST_ROWS:
        raise InputError(
            f"{shape[0]} rows are too few to find anything out",
            cure=f"Give {_FEWEST_ROWS} or more.",
        )
    for view, one in views.items():
        if not np.isfinite(one).all():
            row = int(np.argmax(~np.isfinite(one).all(axis=1)))
            raise InputError(
                f"row {row} of {view} is not finite",
                cure="Leave such rows out, or compute them again.",
            )
    return views


def _view(name: object) -> View:
    """Raises InputError for what is no (layer, pooling)."""
    match name:
        case (int() | np.integer() as layer, str(pooling)):
            return View((int(layer),), (pooling,))
    raise InputError(
        f"{name!r} is no view", cure="Name a view by its layer and pooling: (6, 'mean')."
    )


def _numbers(features: ArrayLike) -> NDArray[np.float32]:
    """float32; what is too large for it becomes infinite and is refused as such."""
    try:
        with np.errstate(over="ignore"):
            return np.asarray(features, np.float32)
    except (TypeError, ValueError) as error:
        msg = f"the features are not numbers: {error}"
        raise InputError(
            msg, cure="Give an array of rows x dim, or {(layer, pooling): array}."
        ) from error


def _own_view(views: Mapping[View, Any], wanted: tuple[int, str] | None) -> View:
    if wanted is None:
        layers = [view.layers[0] for view in views]
        last = [view.poolings[0] for view in views if view.layers[0] == max(layers)]
        return reference_view(layers, last)
    view = _view(wanted)
    if view not in views:
        raise InputError(
            f"there is no {view} in these features", cure=f"Choose of {', '.join(map(str, views))}."
        )
    return view


def _all_views(single: Sequence[View], width: int) -> list[View]:
    """What there is, and side by side what can be: layers of one pooling, poolings of the last
    layer.
    """
    layers = sorted({view.layers[0] for view in single})
    poolings = list(dict.fromkeys(view.poolings[0] for view in single))
    there = set(single)
    joined = [
        view
        for view in views_of(layers, poolings, width, ("layers", "poolings"))
        if set(view.parts()) <= there
    ]
    return [*single, *joined]


def _shape(head: str) -> HeadShape:
    """Raises InputError for a head that there is not."""
    if head in ("logreg", "linear"):
        return HeadShape(head)
    sized = _MLP.fullmatch(head.strip())
    depth, width = (1, 256) if head == "mlp" else map(int, sized.groups()) if sized else (0, 0)
    if not (1 <= depth <= MAX_DEPTH and width >= 1):
        msg = f"there is no head {head!r}"
        raise InputError(
            msg, cure=f"Choose of logreg, linear, mlp, or 'mlp 2×256' of depth 1 to {MAX_DEPTH}."
        )
    return HeadShape("mlp", depth, width)


def _recipe(
    shape: HeadShape, n_rows: int, lr: float | None, epochs: int, seed: int
) -> Recipe | None:
    """Training as it stands in most scripts."""
    if shape.kind == "logreg":
        return None
    return replace(
        base_recipe(n_rows, seed=seed),
        learning_rate=lr or _RATE[shape.kind],
        dropout=0.0,
        max_epochs=epochs,
        patience=None,
        average_epochs=0.0,
    )


def _names(labels: Sequence[Any] | NDArray[Any]) -> NDArray[np.str_]:
    """1 and "1" are two classes, as everywhere."""
    plain = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
    if any(isinstance(one, list) or np.ndim(one) for one in plain):
        msg = "labels are lists of several values"
        raise LabelError(
            msg, cure="Give one label a row: of columns of 0 and 1, labels.argmax(axis=1)."
        )
    missing = [row for row, one in enumerate(plain) if is_missing(one)]
    if missing:
        raise LabelError(f"row {missing[0]} has no label", cure="Leave rows without a label out.")
    return np.array([f"{type(one).__name__} {one}" for one in plain])


def _keys(views: Mapping[View, NDArray[np.float32]]) -> NDArray[np.uint8]:
    """A key for each row's features, (N, 16): rows that are equal never lie on both sides of a
    fold.
    """
    n_rows = len(next(iter(views.values())))
    found = [
        hashlib.blake2b(
            b"".join(one[row].tobytes() for one in views.values()), digest_size=16
        ).digest()
        for row in range(n_rows)
    ]
    return np.frombuffer(b"".join(found), dtype=np.uint8).reshape(n_rows, 16)
