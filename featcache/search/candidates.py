"""What is tried: the heads and recipes of a sweep, on every view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from featcache.features.views import View
from featcache.heads.candidate import Candidate
from featcache.heads.kinds import CUSTOM, LINEAR, LOGREG, MLP, OFFERED, kind_of
from featcache.heads.recipe import Recipe
from featcache.heads.shape import HeadShape

if TYPE_CHECKING:
    from featcache.heads.module import Factory

HEADS = OFFERED
SEARCHES = ("halving", "grid", "random", "optuna")
TRIALS = 128  # candidates of a sweep, where none are asked for
MAX_DEPTH = 8
_SMALLEST_BATCH, _LARGEST_BATCH, _STEPS_PER_EPOCH = 8, 128, 16
# Where recipes are drawn: rates and decays evenly in their logarithm.
LEARNING_RATES = (3e-4, 1e-2)
WEIGHT_DECAYS = (1e-3, 1.0)
DROPOUTS = (0.0, 0.1, 0.3, 0.5)
SMOOTHINGS = (0.0, 0.1)


@dataclass(frozen=True)
class Candidates:
    """All that may be tried. base: what recipes have in common (seed, batch size, losses for
    unequal classes).
    """

    views: tuple[View, ...]
    heads: tuple[HeadShape, ...]
    base: Recipe
    factories: tuple[Factory, ...] = ()

    def asked_for(self, search: str, count: int | None) -> list[Candidate]:
        """The candidates of a search; none for Optuna, which asks for them one by one.

        count: how many, or None for what is usual: all of a grid, else 128.
        """
        if search == "optuna":
            return []
        if search == "random":
            return self.drawn(count or TRIALS, self.base.seed)
        if search == "grid":
            return self.grid() if count is None else self._part_of(self.grid(), count)
        return self.default(count or TRIALS)

    def grid(self) -> list[Candidate]:
        """Every head with its usual recipe on every view."""
        found = [
            self.usual(view, head) for head in self.heads for view in self.views if fits(view, head)
        ]
        shape = CUSTOM.shape()
        custom = [
            Candidate(view, shape, self._recipe(shape), factory)
            for factory in self.factories
            for view in self.views
            if not view.mixed
        ]
        return found + custom

    def usual(self, view: View, head: HeadShape) -> Candidate:
        """A head with the recipe that does well on most data."""
        return Candidate(view, head, self._recipe(head))

    def drawn(self, count: int, seed: int) -> list[Candidate]:
        """Random heads with random recipes on random views; different ones, so there may be fewer
        than asked for.
        """
        generator = np.random.default_rng(seed)
        found: dict[Candidate, None] = {}
        for _ in range(10 * count):
            if len(found) == count:
                break
            view = self.views[generator.integers(len(self.views))]
            heads: list[tuple[HeadShape, Factory | None]] = [
                (head, None) for head in self.heads if fits(view, head)
            ]
            heads += [] if view.mixed else [(CUSTOM.shape(), factory) for factory in self.factories]
            if heads:
                head, factory = heads[generator.integers(len(heads))]
                one = self.candidate(view, head, self._drawn_recipe(head, generator))
                found[one if factory is None else replace(one, factory=factory)] = None
        return list(found)

    def candidate(self, view: View, head: HeadShape, recipe: Recipe) -> Candidate:
        """A head with a recipe of its own; logistic regression has none."""
        return Candidate(view, head, None if kind_of(head).learning_rate is None else recipe)

    def default(self, count: int) -> list[Candidate]:
        """The grid, filled up with random recipes; where it is larger, a linear head on each view,
        and a draw of it.
        """
        grid = self.grid()
        if len(grid) <= count:
            known = set(grid)
            drawn = [one for one in self.drawn(2 * count, self.base.seed) if one not in known]
            return grid + drawn[: count - len(grid)]
        return self._part_of(grid, count)

    def _part_of(self, grid: list[Candidate], count: int) -> list[Candidate]:
        """The simplest head on each single layer, and as many of the others, drawn at random, as
        there is room for.

        Where there is no room for all of the first, two thirds are evenly spaced ones of them.
        """
        simplest = min(
            grid,
            key=lambda one: (one.head.kind != LINEAR.name, one.head.depth, one.head.width or 0),
        ).head
        first = [one for one in grid if one.head == simplest and one.view.single]
        if len(first) >= count:
            places = np.linspace(len(first) - 1, 0, max(1, 2 * count // 3)).round().astype(int)
            first = [first[place] for place in sorted(places)]
        known = set(first)
        others = [one for one in grid if one not in known]
        order = np.random.default_rng(self.base.seed).permutation(len(others))
        return first + [others[place] for place in sorted(order[: count - len(first)])]

    def _recipe(self, head: HeadShape) -> Recipe | None:
        rate = kind_of(head).learning_rate
        return None if rate is None else replace(self.base, learning_rate=rate)

    def _drawn_recipe(self, head: HeadShape, generator: np.random.Generator) -> Recipe:
        def between(low: float, high: float) -> float:
            return float(np.exp(generator.uniform(np.log(low), np.log(high))))

        return replace(
            self.base,
            learning_rate=between(*LEARNING_RATES),
            weight_decay=between(*WEIGHT_DECAYS),
            dropout=float(generator.choice(DROPOUTS)) if head.depth else self.base.dropout,
            label_smoothing=0.0
            if kind_of(head).plain_loss
            else float(generator.choice(SMOOTHINGS)),
        )


def fits(view: View, head: HeadShape) -> bool:
    """Tell whether a head can be tried on a view."""
    return kind_of(head).fits(view)


def shapes_of(
    heads: Sequence[str], depths: Sequence[int], widths: Sequence[int], form: HeadShape
) -> list[HeadShape]:
    """The heads to try, cheapest first. Depth 0 is the linear head whatever the widths. form: what
    mlps look like.
    """
    shapes = [kind.shape() for kind in (LOGREG, LINEAR) if kind.name in heads]
    if MLP.name in heads:
        if 0 in depths and LINEAR.shape() not in shapes:
            shapes.append(LINEAR.shape())
        shapes += [
            replace(form, kind=MLP.name, depth=depth, width=width)
            for depth in sorted(set(depths))
            if depth
            for width in sorted(set(widths))
        ]
    return shapes


def base_recipe(n_rows: int, *, seed: int, balanced: bool = False, focal: float = 0.0) -> Recipe:
    """What all recipes for `n_rows` training rows share."""
    # Few rows in large batches are few steps: 150 rows in batches of 128 end after 60 epochs
    # unconverged.
    batch_size = min(_LARGEST_BATCH, max(_SMALLEST_BATCH, n_rows // _STEPS_PER_EPOCH))
    return Recipe(seed=seed, batch_size=batch_size, balanced=balanced, focal=focal)
