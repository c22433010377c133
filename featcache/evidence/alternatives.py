"""Alternatives to a subject: the heads that each experiment tries.

Each group of heads is about one thing that could be wrong with the subject. Epochs, C and seeds are
fixed beforehand, so that the held-out rows have no part in training any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from featcache.features.views import View
from featcache.heads.candidate import Candidate
from featcache.heads.recipe import C_PATH, Recipe
from featcache.heads.setup import TrainingSetup
from featcache.heads.shape import HeadShape
from featcache.search.candidates import MAX_DEPTH, base_recipe

_LOGREG = HeadShape("logreg")
_LEARNING_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
_LONGER, _SHORTER = 4, 8  # the subject's epochs are multiplied by one and divided by the other
_SMALLER_C = (1e-5, 1e-4)
# Optimiser steps, dropout and weight decay. With 250 and 750 steps the scores on ai_text came out
# within half a point of what they are with these.
_MILD, _STRONG = (300, 0.1, 0.01), (500, 0.5, 0.1)
_MAX_WIDTH = 512  # a subject of this width is not tried wider
_LARGER_THAN_LINEAR = (HeadShape("mlp", 1, 64), HeadShape("mlp", 2, 256))


class Alternatives:
    """The heads that are tried beside one subject."""

    def __init__(self, subject: Candidate, setup: TrainingSetup, views: Sequence[View]) -> None:
        """Keep what the heads are made from.

        Args:
            subject: The head in question.
            setup: The setup that all heads are trained in.
            views: All views that there are.
        """
        self._subject = subject
        # Logistic regression cannot learn the weights of a mix of layers.
        self._views = [view for view in views if not view.mixed]
        self._n_train = len(setup.folds[0].train)
        self._recipe = base_recipe(
            self._n_train, seed=setup.seed, balanced=setup.balance == "weights"
        )

    def groups(self, *, memorised: bool) -> dict[str, list[Candidate]]:
        """Make all groups of heads; some heads are in several of them.

        Args:
            memorised: Whether the subject knows its training rows by heart, so that it has nothing
                left to converge to.

        Returns:
            Heads by the name of their group. `trained`: the subject trained otherwise. `scaled`:
            standardised, or not if the subject is. `regularised`: with more regularisation.
            `regularised scaled`: the same, standardised. `views`: heads of its kind on every view.
            `larger`: deeper and wider ones on its view. `larger elsewhere`: those on other views.
        """
        shape, view = self._subject.head, self._subject.view
        standardised = view.standardised()
        return {
            "trained": [] if memorised else self._trained_otherwise(),
            "scaled": self.subject_on(standardised.standardised(not view.scaled)),
            "regularised": self._regularised(view),
            "regularised scaled": self._regularised(standardised),
            "views": self._on_every_view(shape),
            "larger": self._larger(standardised, _larger_shapes(shape)),
            "larger elsewhere": self._larger_elsewhere(_larger_shapes(shape)[0]),
        }

    def subject_on(self, view: View) -> list[Candidate]:
        """Make the subject on a view; of logistic regression one head for each C of its path.

        Args:
            view: What the heads see.

        Returns:
            One head or more.
        """
        if self._subject.recipe is None:
            return _logistic_regressions(view, self._subject.path)
        return [replace(self._subject, view=view)]

    def _trained_otherwise(self) -> list[Candidate]:
        """Make the subject at other rates and for longer; a linear one also by an exact solver."""
        subject = self._subject
        if subject.recipe is None:
            return []  # its solver reports whether it converged
        recipes = [replace(subject.recipe, learning_rate=rate) for rate in _LEARNING_RATES]
        recipes.append(replace(subject.recipe, max_epochs=_LONGER * subject.recipe.max_epochs))
        candidates = [
            replace(subject, recipe=recipe) for recipe in recipes if recipe != subject.recipe
        ]
        if not subject.head.depth:
            candidates += _logistic_regressions(subject.view)
        return candidates

    def _regularised(self, view: View) -> list[Candidate]:
        """Make the subject with more regularisation, stopped early, and as logistic regression."""
        subject = self._subject
        candidates = _logistic_regressions(view, (*_SMALLER_C, *C_PATH))
        if subject.recipe is None:
            return candidates
        n_epochs = max(1, subject.recipe.max_epochs // _SHORTER)
        short = replace(subject.recipe, max_epochs=n_epochs)
        candidates.append(replace(subject, view=view, recipe=short))
        if subject.head.depth:
            candidates += self._usual(view, subject.head)
        return candidates

    def _on_every_view(self, shape: HeadShape) -> list[Candidate]:
        """Make usual heads of one shape on all views."""
        candidates: list[Candidate] = []
        for view in self._views:
            candidates += self._usual(view, shape)
        return candidates

    def _larger(self, view: View, shapes: Iterable[HeadShape]) -> list[Candidate]:
        """Make larger heads on one view: the smallest of them twice, the others regularised."""
        smallest, *others = shapes
        candidates = self._usual(view, smallest)
        candidates += [self._with_recipe(view, shape, *_STRONG) for shape in others]
        return candidates

    def _larger_elsewhere(self, shape: HeadShape) -> list[Candidate]:
        """Make a larger head on every single view and on the first of several layers."""
        joined = [view for view in self._views if len(view.layers) > 1][:1]
        views = [view for view in self._views if view.single or view in joined]
        return [self._with_recipe(view, shape, *_MILD) for view in views]

    def _usual(self, view: View, shape: HeadShape) -> list[Candidate]:
        """Make heads of one shape as one would train them: with mild and strong regularisation."""
        if not shape.depth:
            return _logistic_regressions(view)
        return [self._with_recipe(view, shape, *strength) for strength in (_MILD, _STRONG)]

    def _with_recipe(
        self, view: View, shape: HeadShape, n_steps: int, dropout: float, weight_decay: float
    ) -> Candidate:
        """Make a head that is trained for about `n_steps` steps of the optimiser."""
        n_epochs = max(2, round(n_steps * self._recipe.batch_size / self._n_train))
        recipe: Recipe = replace(
            self._recipe,
            dropout=dropout,
            weight_decay=weight_decay,
            max_epochs=n_epochs,
            patience=None,
        )
        return Candidate(view, shape, recipe)


def with_wider_path(candidate: Candidate) -> Candidate:
    """Let logistic regression choose among smaller values of C too, for few rows need them.

    Args:
        candidate: A head of any kind; one that is trained by a recipe is left as it is.

    Returns:
        The head.
    """
    if candidate.recipe is not None:
        return candidate
    return replace(candidate, path=(*_SMALLER_C, *C_PATH))


def _logistic_regressions(view: View, path: Sequence[float] = C_PATH) -> list[Candidate]:
    """Make one head for each C, because other rows than the held-out ones choose among them."""
    return [Candidate(view, _LOGREG, path=(c,)) for c in path]


def _larger_shapes(shape: HeadShape) -> tuple[HeadShape, ...]:
    """Shapes with hidden layers; for a head that has some, one more layer, and twice the width."""
    if not shape.depth:
        return _LARGER_THAN_LINEAR
    shapes = []
    if shape.depth < MAX_DEPTH:
        shapes.append(replace(shape, depth=shape.depth + 1))
    if shape.width and shape.width < _MAX_WIDTH:
        shapes.append(replace(shape, width=2 * shape.width))
    return tuple(shapes) or (shape,)
