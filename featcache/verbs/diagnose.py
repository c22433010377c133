"""Verb: what limits a head on features that are already there, and the cheapest thing that helps.

It needs no cache and no model: the features may come from anywhere. `fit-heads` asks the same about
its linear reference.
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
from featcache.evidence.judging import judge
from featcache.evidence.verdict import Verdict
from featcache.features.folds import N_FOLDS, Fold, enough, folds_of, most_folds, seeds_for
from featcache.features.source import ArraySource
from featcache.features.views import View, reference_view, views_of
from featcache.heads.candidate import Candidate
from featcache.heads.setup import LabelledPositions, TrainingSetup
from featcache.heads.shape import HeadShape
from featcache.runs.cures import cures_of_arrays
from featcache.search.candidates import MAX_DEPTH, base_recipe
from featcache.tasks.metrics import METRICS
from featcache.tasks.single_label import SingleLabel
from featcache.verbs.options import BY_NAME

if TYPE_CHECKING:
    from featcache.heads.recipe import Recipe

_LEARNING_RATES = {"linear": 3e-3, "mlp": 1e-3}
_MLP = re.compile(r"(?:mlp\s*)?(\d+)\s*[x×]\s*(\d+)")
_MIN_ROWS = 20
_GIVE_ARRAYS = "Give an array of rows x dim, or {(layer, pooling): array}."


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
    """Find out by experiments what limits a head.

    The head in question is by default the linear reference: logistic regression on the last layer's
    mean (without a mean, on its first pooling), standardised, with the best C of four. Other heads
    are trained by AdamW as in most scripts: without dropout, with a weight decay of 0.01, and the
    last epoch is kept.

    Args:
        features: (N, dim) numbers, or {(layer, pooling): (N, dim)} of one width.
        labels: N labels of any type.
        head: `logreg`, `linear` (trained by gradient descent), `mlp` (1×256), or a size such as
            `mlp 2×512` [logreg; with `lr`, linear].
        view: The (layer, pooling) that the head is trained on [the last layer's mean].
        scale: Whether the head sees standardised features.
        lr: Learning rate of the head [3e-3 for linear, 1e-3 for mlp].
        epochs: Epochs of its training.
        metric: accuracy, macro_f1, weighted_f1 or mcc.
        seed: Of the folds and of all training.
        texts: The N texts, to compare the heads with a bag of words.

    Returns:
        The verdict: `.kind`, `.why`, `.cure`, and all `.causes` with their gains.

    Raises:
        InputError: The arguments do not fit together, features are not finite, or there are fewer
            than 20 rows.
        LabelError: A label is missing, or a class has fewer than two different rows.
    """
    arrays = _arrays(features, n_labels=len(labels), n_texts=None if texts is None else len(texts))
    own_view = _own_view(arrays, view)
    shape = _shape(head or ("logreg" if lr is None else "linear"))
    _check_options(shape, lr, epochs, metric)
    from featcache.evidence.experiments import run_experiments
    from featcache.features.budget import MemoryBudget

    names, classes = np.unique(_class_names(labels), return_inverse=True)
    folds = _folds(_row_keys(arrays), classes, names, seed)
    setup = TrainingSetup(
        source=ArraySource(arrays),
        part=LabelledPositions(np.arange(len(classes)), classes.astype(np.int64)),
        folds=folds,
        task=SingleLabel(tuple(names)),
        metric=metric,
        seed=seed,
        seeds=seeds_for(folds, seed),
    )
    recipe = _recipe(shape, len(folds[0].train), lr, epochs, seed)
    subject = Candidate(own_view.standardised(scale), shape, recipe)
    views = _all_views(list(arrays), arrays[own_view].shape[1])
    with MemoryBudget() as room:
        evidence = run_experiments(subject, setup, views, room=room, texts=texts)
    cures = cures_of_arrays(BY_NAME)
    return judge(evidence, cures, subject=f"{shape} head on {subject.view}")


# -- features --------------------------------------------------------------------------------------


def _arrays(
    features: ArrayLike | Mapping[tuple[int, str], ArrayLike], *, n_labels: int, n_texts: int | None
) -> dict[View, NDArray[np.float32]]:
    """Check features and make them float32 arrays (N, dim) by view."""
    by_name = features if isinstance(features, Mapping) else {(0, "mean"): features}
    if not by_name:
        msg = "there are no features"
        raise InputError(msg, cure=_GIVE_ARRAYS)
    arrays = {_view(name): _numbers(array) for name, array in by_name.items()}
    shapes = sorted({array.shape for array in arrays.values()})
    if len(shapes) > 1 or len(shapes[0]) != 2 or 0 in shapes[0]:
        msg = f"features of shape {', '.join(map(str, shapes))}"
        raise InputError(msg, cure="Give all views as arrays of the same rows x dim.")
    n_rows = shapes[0][0]
    for name, count in (("labels", n_labels), ("texts", n_texts)):
        if count is not None and count != n_rows:
            msg = f"there are {n_rows:,} rows of features, but {count:,} {name}"
            raise InputError(msg, cure=f"Give one of the {name} for each row.")
    if n_rows < _MIN_ROWS:
        msg = f"a verdict needs at least {_MIN_ROWS} rows; there are {n_rows}"
        raise InputError(msg, cure="Give more labelled rows.")
    for view, array in arrays.items():
        _check_finite(view, array)
    return arrays


def _view(name: object) -> View:
    """Make a view from a pair (layer, pooling)."""
    match name:
        case (int() | np.integer() as layer, str(pooling)):
            return View((int(layer),), (pooling,))
    msg = f"{name!r} is no view"
    raise InputError(msg, cure="Name a view by its layer and pooling: (6, 'mean').")


def _numbers(features: ArrayLike) -> NDArray[np.float32]:
    """Make a float32 array; numbers too large for it become infinite, which is refused later."""
    try:
        with np.errstate(over="ignore"):
            return np.asarray(features, np.float32)
    except (TypeError, ValueError) as error:
        msg = f"the features are not numbers: {error}"
        raise InputError(msg, cure=_GIVE_ARRAYS) from error


def _check_finite(view: View, array: NDArray[np.float32]) -> None:
    """Raise InputError with the first row that holds NaN or infinity."""
    is_finite = np.isfinite(array).all(axis=1)
    if is_finite.all():
        return
    msg = f"row {int(np.argmin(is_finite))} of {view} is not finite"
    raise InputError(msg, cure="Leave such rows out, or compute them again.")


def _row_keys(arrays: Mapping[View, NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Make a key (N, 16) of each row's features: equal rows never lie on both sides of a fold."""
    n_rows = len(next(iter(arrays.values())))
    digests = []
    for row in range(n_rows):
        content = b"".join(array[row].tobytes() for array in arrays.values())
        digests.append(hashlib.blake2b(content, digest_size=16).digest())
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(n_rows, 16)


# -- views -----------------------------------------------------------------------------------------


def _own_view(arrays: Mapping[View, Any], name: tuple[int, str] | None) -> View:
    """Find the view that the subject is trained on."""
    if name is None:
        last = max(view.layers[0] for view in arrays)
        poolings = [view.poolings[0] for view in arrays if view.layers[0] == last]
        return reference_view([last], poolings)
    view = _view(name)
    if view not in arrays:
        msg = f"there is no {view} in these features"
        raise InputError(msg, cure=f"Choose from: {', '.join(map(str, arrays))}.")
    return view


def _all_views(single: Sequence[View], width: int) -> list[View]:
    """List the single views, then layers of one pooling and poolings of the last layer joined."""
    layers = sorted({view.layers[0] for view in single})
    poolings = list(dict.fromkeys(view.poolings[0] for view in single))
    joined = views_of(layers, poolings, width, ("layers", "poolings"))
    return [*single, *(view for view in joined if set(view.parts()) <= set(single))]


# -- the subject -----------------------------------------------------------------------------------


def _shape(head: str) -> HeadShape:
    """Read the shape of a head from its name."""
    if head in ("logreg", "linear"):
        return HeadShape(head)
    depth, width = (1, 256) if head == "mlp" else (0, 0)
    size = _MLP.fullmatch(head.strip())
    if size:
        depth, width = map(int, size.groups())
    if not (1 <= depth <= MAX_DEPTH and width >= 1):
        msg = f"there is no head {head!r}"
        cure = (
            f"Choose logreg, linear, mlp, or a size such as 'mlp 2×256' (depth 1 to {MAX_DEPTH})."
        )
        raise InputError(msg, cure=cure)
    return HeadShape("mlp", depth, width)


def _check_options(shape: HeadShape, lr: float | None, epochs: int, metric: str) -> None:
    """Raise InputError for options of the subject that make no sense."""
    if metric not in METRICS:
        msg = f"there is no metric {metric!r}"
        raise InputError(msg, cure=f"Choose from: {', '.join(METRICS)}.")
    if lr is not None and not lr > 0:
        msg = f"the learning rate is {lr:g}"
        raise InputError(msg, cure="Give a number above 0.")
    if lr is not None and shape.kind == "logreg":
        msg = f"the learning rate is {lr:g}, but a logreg head has none"
        raise InputError(msg, cure="Use head='linear', which is trained by gradient descent.")
    if epochs < 1:
        msg = f"the number of epochs is {epochs}"
        raise InputError(msg, cure="Give 1 or more.")


def _recipe(
    shape: HeadShape, n_rows: int, lr: float | None, epochs: int, seed: int
) -> Recipe | None:
    """Make the recipe of a head as it stands in most scripts; None for logistic regression."""
    if shape.kind == "logreg":
        return None
    return replace(
        base_recipe(n_rows, seed=seed),
        learning_rate=lr or _LEARNING_RATES[shape.kind],
        dropout=0.0,
        max_epochs=epochs,
        patience=None,
        average_epochs=0.0,
    )


# -- labels ----------------------------------------------------------------------------------------


def _class_names(labels: Sequence[Any] | NDArray[Any]) -> NDArray[np.str_]:
    """Name the class of each row by type and value: 1 and "1" are two classes, as everywhere."""
    plain = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
    for row, label in enumerate(plain):
        if isinstance(label, list) or np.ndim(label):
            msg = "labels are lists of several values"
            cure = "Give one label a row: of columns of 0 and 1, labels.argmax(axis=1)."
            raise LabelError(msg, cure=cure)
        if is_missing(label):
            msg = f"row {row} has no label"
            raise LabelError(msg, cure="Leave rows without a label out.")
    return np.array([f"{type(label).__name__} {label}" for label in plain])


def _folds(
    keys: NDArray[np.uint8], classes: NDArray[np.integer], names: NDArray[np.str_], seed: int
) -> tuple[Fold, ...]:
    """Deal rows into folds that have every class; raise LabelError where that is impossible."""
    if len(names) < 2:
        msg = "all labels are the same, so there is nothing to tell apart"
        raise LabelError(msg, cure="Give rows of two classes or more.")
    labels = [int(number) for number in classes]
    most = most_folds(keys, labels)
    if most < 2:
        raise _too_few_rows(keys, classes, names)
    return enough(folds_of(keys, labels, min(N_FOLDS, most), seed=seed))


def _too_few_rows(
    keys: NDArray[np.uint8], classes: NDArray[np.integer], names: NDArray[np.str_]
) -> LabelError:
    """Name the class with the fewest different rows."""
    counts = [len(np.unique(keys[classes == number], axis=0)) for number in range(len(names))]
    rarest = int(np.argmin(counts))
    name = str(names[rarest]).split(" ", 1)[1]
    msg = f"all rows of the class {name} are the same"
    if (classes == rarest).sum() == 1:
        msg = f"the class {name} has only one row"
    return LabelError(msg, cure="Give it two different rows or more, or leave the class out.")
