"""The protocol of a kind of head, and how its candidates are trained some way at a time.

Each kind is one file in `kinds/`; nothing else knows a kind by its name. A kind makes runners,
which train candidates on one fold with one seed. How far is a `Rung`; between rungs a search lets
the worse candidates go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from featcache.features.folds import Fold
    from featcache.features.matrices import FoldFeatures
    from featcache.features.views import View
    from featcache.heads.candidate import Candidate
    from featcache.heads.module import CustomHead
    from featcache.heads.network import Network
    from featcache.heads.recipe import Recipe, TrainingCurves
    from featcache.heads.setup import TrainingSetup
    from featcache.heads.shape import HeadShape

Classes = NDArray[np.int64]
Numbered = Sequence[tuple[int, "Candidate"]]
"""Candidates with the numbers that a search knows them by."""


@dataclass(frozen=True)
class Rung:
    """How far candidates are trained: heads so many epochs in all, logistic regression so many
    points of its path.
    """

    epochs: int
    points: int


@dataclass(frozen=True)
class FoldOutcome:
    """What became of a candidate in one fold. train, held: classes of its rows. settings: what a
    refit needs.
    """

    train: Classes
    held: Classes
    settings: dict[str, Any]
    curve: dict[str, list[float]]
    n_parameters: int
    seconds: float


class Runner(Protocol):
    """Some candidates, by their numbers, on one fold with one seed."""

    def advance(self, rung: Rung, out_of_time: Callable[[], bool]) -> None:
        """Train up to the rung."""

    def held(self) -> dict[int, Classes]:
        """Classes of the validation rows by each candidate that has been trained at all, at its
        best.
        """

    def drop(self, numbers: set[int]) -> None:
        """Train these no longer."""

    def outcomes(self) -> dict[int, FoldOutcome]:
        """What became of each candidate that has been trained at all."""


class HeadKind(Protocol):
    """A kind of head: what is particular to it, and how it is trained."""

    @property
    def name(self) -> str:
        """Its name on the command line, in results and in bundles."""

    @property
    def tier(self) -> int:
        """How complex heads of this kind are by nature; of equals the lower tier is preferred."""

    @property
    def learning_rate(self) -> float | None:
        """That of its usual recipe; None for kinds that have a path over C instead of a recipe."""

    @property
    def stacked(self) -> bool:
        """Whether many heads are trained as one, so that the order of runners matters."""

    @property
    def plain_loss(self) -> bool:
        """Whether its loss is plain cross-entropy, without smoothing or a focal exponent."""

    def shape(self, depth: int = 0, width: int | None = None) -> HeadShape:
        """Make the shape of a head of this kind."""

    def fits(self, view: View) -> bool:
        """Tell whether such a head can be tried on a view."""

    def runners(
        self, candidates: Numbered, setup: TrainingSetup, fold: Fold, features: FoldFeatures
    ) -> list[Runner]:
        """Make what trains some candidates of this kind on one fold.

        Args:
            candidates: All of this kind, each with its number.
            setup: What every trial shares; its seed is that of these runs.
            fold: Training and held-out rows.
            features: The fold's features, standardised.

        Returns:
            Runners, the quickest first.
        """

    def refit(
        self,
        candidate: Candidate,
        settings: dict[str, Any],
        setup: TrainingSetup,
        places: NDArray[np.int64],
    ) -> Network | CustomHead:
        """Train a chosen candidate once more, as long as its trial found best.

        Args:
            candidate: What was chosen.
            settings: Of its trial: C, or epochs and the recipe.
            setup: What every trial shares.
            places: Of the rows to train on, among the rows of the setup.

        Returns:
            A head on inputs as they are in the source.
        """


def complexity(kind: HeadKind, n_parameters: int) -> tuple[int, int]:
    """Order heads by their complexity: the tier of the kind, then the trained numbers."""
    return kind.tier, n_parameters


def recipe_settings(recipe: Recipe) -> dict[str, Any]:
    """Pick what of a recipe is worth knowing afterwards."""
    names = (
        "learning_rate",
        "weight_decay",
        "dropout",
        "label_smoothing",
        "balanced",
        "focal",
        "batch_size",
    )
    return {name: getattr(recipe, name) for name in names}


def rounded(curves: TrainingCurves) -> dict[str, list[float]]:
    """Round the numbers of each epoch to 6 places."""
    return {name: [round(value, 6) for value in values] for name, values in vars(curves).items()}
