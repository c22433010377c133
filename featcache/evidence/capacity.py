"""Capacity curves: the score of a head by its depth and width, measured on the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from featcache.features.views import View
from featcache.heads.setup import TrainingSetup
from featcache.heads.shape import HeadShape
from featcache.search.candidates import Candidates, base_recipe
from featcache.search.trial import Trial
from featcache.tasks.metrics import Difference, Interval

DEPTHS, WIDTHS = (0, 1, 2, 3, 4), (64, 256)


@dataclass(frozen=True)
class CapacityPoint:
    """What a head of some size scored on one view.

    Attributes:
        depth: Hidden layers.
        width: Their width; None without hidden layers.
        score: The score on held-out rows with its interval.
        train: The score on training rows.
        n_parameters: Weights that are trained.
        gain: The score less that of the head without hidden layers; None for that head.
    """

    depth: int
    width: int | None
    score: Interval
    train: float
    n_parameters: int
    gain: Difference | None

    def to_json(self) -> dict[str, Any]:
        """Make the object that `--json` prints.

        Returns:
            All fields by name.
        """
        return asdict(self)


def measure_capacity(
    view: View,
    setup: TrainingSetup,
    *,
    depths: Sequence[int] = DEPTHS,
    widths: Sequence[int] = WIDTHS,
    watch: Callable[[int], None] = lambda _: None,
) -> list[CapacityPoint]:
    """Train heads of several depths and widths on one view, each to its best epoch.

    The head without hidden layers is always trained, because the others are compared with it.

    Args:
        view: What the heads see.
        setup: Rows, folds and metric.
        depths: Numbers of hidden layers; 0 lists the head without hidden layers too.
        widths: Widths of the hidden layers.
        watch: Called with the number of heads that are done.

    Returns:
        The smallest head first.
    """
    linear = HeadShape("linear")
    shapes = [linear]
    for depth in sorted({depth for depth in depths if depth}):
        shapes += [HeadShape("mlp", depth, width) for width in sorted(set(widths))]
    trials = _train(view, shapes, setup, watch)
    by_shape = {trial.head: trial for trial in trials}
    listed = [shape for shape in shapes if shape.depth or 0 in depths]
    return [_capacity_point(by_shape[shape], by_shape[linear], setup) for shape in listed]


def _capacity_point(trial: Trial, linear: Trial, setup: TrainingSetup) -> CapacityPoint:
    """Compare a head with the one without hidden layers."""
    metric, truth, task, seed = setup.metric, setup.truth, setup.task, setup.seed
    gain = None
    if trial is not linear:
        gain = task.difference(metric, truth, trial.predicted, linear.predicted, seed=seed)
    return CapacityPoint(
        trial.head.depth,
        trial.head.width,
        task.interval(metric, truth, trial.predicted, seed=seed),
        trial.train[metric],
        trial.n_parameters,
        gain,
    )


def _train(
    view: View, shapes: Sequence[HeadShape], setup: TrainingSetup, watch: Callable[[int], None]
) -> list[Trial]:
    """Train a head of each shape with its usual recipe."""
    from featcache.features.budget import MemoryBudget
    from featcache.search.search import Search

    n_train = len(setup.folds[0].train)
    recipe = base_recipe(n_train, seed=setup.seed, balanced=setup.balance == "weights")
    candidates = Candidates((view,), tuple(shapes), recipe)
    with MemoryBudget() as room:
        search = Search(
            setup,
            room=room,
            watch=lambda best: watch(best.n_done),
            out_of_time=lambda: False,
        )
        return search.run([candidates.usual(view, shape) for shape in shapes])
