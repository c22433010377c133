"""The experiments behind a verdict: what a subject gains by each thing that could be wrong with it.

All heads are trained on the same folds, with their epochs, C and seeds fixed beforehand, so that the held rows have no
part in any of them, and the choice among heads is cross-fitted (`arms.py`): 0 is what a gain is around where there is
nothing to gain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from featcache.heads.logistic import C_PATH
from featcache.heads.recipe import Recipe
from featcache.heads.shape import HeadShape
from featcache.select.arms import Arm, Effect, arm_of, chance, effect
from featcache.select.features import Room
from featcache.select.search import Search
from featcache.select.sweep import Candidate, Fold, Part, Sweep, Trial
from featcache.select.views import View

LOGREG = HeadShape("logreg")
_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
_SMALLER_C = (1e-5, 1e-4)
_LONGER = 4
_N_SEEDS = 2
_SHUFFLES = 3
_PROMISING = 2  # single views on which larger heads are tried, beside the subject's own and all layers side by side
_SHARES = (0.25, 0.5)
_DRAWS, _DRAWN_ROWS = 6, 1500


@dataclass(frozen=True)
class Evidence:
    """Arms (see `arms.py`) by what they try; each holds the heads of `base` too, where it is about gains over it.

    subject: as it was given.  trained: at other learning rates and for longer.  scaled: standardised; None where it
    is.  regular: held back more.  base: the subject, with what of the three helps.  views: heads of its kind on every
    view.  deeper: deeper and wider heads on its view.  all: everything.  smaller: the best head on a quarter and a
    half of the training rows.  shuffled: the score of the best head when it is trained on shuffled labels.
    """

    sweep: Sweep
    subject: Arm
    trained: Arm | None
    scaled: Arm | None
    unscaled: Arm | None
    regular: Arm
    base: Arm
    views: Arm
    deeper: Arm
    all: Arm
    smaller: dict[float, Arm]
    shuffled: float
    p_value: float


class Laboratory:
    """Runs experiments about one subject on one sweep."""

    def __init__(self, subject: Candidate, sweep: Sweep, views: Sequence[View], *, width: int, room: Room, base: Recipe):
        self._subject, self._sweep, self._views, self._room, self._width = subject, sweep, views, room, width
        self._recipe = base
        self._often, self._once = self._on(sweep), self._on(replace(sweep, seeds=sweep.seeds[:1]))

    def _on(self, sweep: Sweep) -> Search:
        return Search(sweep, self._width, room=self._room, watch=lambda _: None, out_of_time=lambda: False)

    def _run(self, candidates: Sequence[Candidate]) -> dict[Candidate, Trial]:
        """Trials by candidate; of logistic regression with one seed, for it depends on none."""
        drawn = [one for one in dict.fromkeys(candidates) if one.recipe is not None]
        rest = [one for one in dict.fromkeys(candidates) if one.recipe is None]
        trials = [*(self._often.run(drawn) if drawn else []), *(self._once.run(rest) if rest else [])]
        return {trial.candidate: trial for trial in trials}

    # -- what is tried

    def _points(self, view: View, path: Sequence[float] = C_PATH) -> list[Candidate]:
        return [Candidate(view, LOGREG, None, path=(c,)) for c in path]

    def _as_given(self, view: View) -> list[Candidate]:
        one = self._subject
        if one.recipe is None:
            return self._points(view, one.path)
        return [replace(one, view=view)]

    def _usual(self, view: View, head: HeadShape) -> list[Candidate]:
        """A head held back a little for long, and more for longer."""
        if head.kind == "logreg" or head.depth == 0:
            return self._points(view)
        mild = replace(self._recipe, learning_rate=1e-3, dropout=0.1, max_epochs=self._epochs(200), patience=None)
        strong = replace(mild, dropout=0.5, max_epochs=self._epochs(500), weight_decay=0.1)
        return [Candidate(view, head, one) for one in (mild, strong)]

    def _epochs(self, steps: int) -> int:
        """So many steps in epochs; at least two."""
        return max(2, round(steps * self._recipe.batch_size / len(self._sweep.folds[0].train)))

    def _retrained(self) -> list[Candidate]:
        recipe = self._subject.recipe
        if recipe is None:
            return []
        rates = [replace(recipe, learning_rate=rate) for rate in _RATES if rate != recipe.learning_rate]
        longer = replace(recipe, max_epochs=_LONGER * recipe.max_epochs)
        found = [replace(self._subject, recipe=one) for one in [*rates, longer]]
        return found + (self._points(self._subject.view) if self._subject.head.depth == 0 else [])

    def _held_back(self, view: View) -> list[Candidate]:
        one = self._subject
        found = self._points(view, (*_SMALLER_C, *C_PATH))
        if one.recipe is not None:
            found += self._usual(view, one.head)
            found.append(replace(one, view=view, recipe=replace(one.recipe, max_epochs=max(1, one.recipe.max_epochs // 8))))
        return found

    def conducted(self) -> Evidence:
        sweep, given = self._sweep, self._subject
        own = given.view.standardised()
        shapes = _larger(given.head)
        tried: dict[str, list[Candidate]] = {
            "subject": self._as_given(given.view),
            "trained": self._retrained(),
            "scaled": [] if given.view.scaled else self._as_given(own),
            "unscaled": self._as_given(own.standardised(False)) if given.view.scaled else [],
            "regular": self._held_back(given.view),
            "own": self._held_back(own),
            "views": [one for view in self._views if not view.mixed for one in self._usual(view, given.head)],
            "deeper": [*self._usual(own, shapes[0]), *(self._usual(own, shape)[-1] for shape in shapes[1:])],
            "everywhere": [one for view in self._views if view.single for one in self._usual(view, shapes[0])],
        }
        ran = self._run([one for some in tried.values() for one in some])
        of = {name: [ran[one] for one in some] for name, some in tried.items()}
        subject = arm_of(of["subject"], sweep)

        def arm(*names: str) -> Arm:
            trials = {id(one): one for name in names for one in of[name]}
            return arm_of(list(trials.values()), sweep)

        of["base"] = list(of["subject"])
        trained = arm("subject", "trained") if of["trained"] else None
        scaled = arm("scaled") if of["scaled"] else None
        unscaled = arm("unscaled") if of["unscaled"] else None
        regular = arm("subject", "regular")
        for some, name in ((trained, "trained"), (scaled, "scaled"), (regular, "regular")):
            if some is not None and effect(some, subject, sweep).beyond(2, 0.005):
                of["base"] += of[name] + (of["own"] if name == "scaled" else [])
        base = arm("base")
        views = arm("base", "views")
        deeper = arm("base", "deeper")
        joined = [view for view in self._views if not view.single and not view.mixed and len(view.layers) > 1][:1]
        more = [self._usual(view, shapes[0])[0] for view in joined]
        of["more"] = list(self._run(more).values()) if more else []
        everything = arm("base", "views", "deeper", "everywhere", "more")
        p_value, _ = chance(everything, sweep)
        return Evidence(
            sweep, subject, trained, scaled, unscaled, regular, base, views, deeper, everything,
            self._of_less(everything), self._of_shuffled(everything), p_value,
        )

    def _family(self, arm: Arm) -> list[Candidate]:
        """The best head of an arm with how much it is held back left open."""
        one = arm.best.candidate
        return self._points(one.view, (*_SMALLER_C, *C_PATH)) if one.recipe is None else self._usual(one.view, one.head)

    def _of_less(self, arm: Arm) -> dict[float, Arm]:
        sweep = replace(self._sweep, seeds=self._sweep.seeds[:1])
        draws = max(1, min(_DRAWS, _DRAWN_ROWS // len(sweep.folds[0].train)))
        family = self._family(arm)
        found = {}
        for share in (*_SHARES, 1.0):
            trials = []
            for draw in range(draws if share < 1 else 1):
                folds = tuple(Fold(_part_of(fold.train, sweep.part.labels, share, sweep.seed + draw), fold.held) for fold in sweep.folds)
                some = replace(sweep, folds=folds)
                trials.append(arm_of((self._on(some) if share < 1 else self._once).run(family), some))
            predicted = np.concatenate([one.predicted for one in trials])
            found[share] = replace(trials[0], predicted=predicted, score=float(np.mean([one.score for one in trials])))
        return found

    def _of_shuffled(self, arm: Arm) -> float:
        """Of the best head on shuffled labels; folds stay as they are, so each has its shuffled share of each class."""
        sweep, scores = replace(self._sweep, seeds=self._sweep.seeds[:1]), []
        for number in range(_SHUFFLES):
            order = np.random.default_rng(sweep.seed + number).permutation(len(sweep.part.rows))
            some = replace(sweep, part=Part(sweep.part.rows, sweep.part.labels[order]))
            (trial,) = self._on(some).run([arm.best.candidate])
            scores.append(trial.validation[sweep.metric])
        return float(np.mean(scores))


def _larger(head: HeadShape) -> list[HeadShape]:
    usual = [HeadShape("mlp", 1, 64), HeadShape("mlp", 2, 256)]
    if head.depth == 0:
        return usual
    return [*usual, replace(head, depth=head.depth + 1), replace(head, width=2 * (head.width or 64))]


def _part_of(places: NDArray[np.int64], labels: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    generator = np.random.default_rng(seed)
    taken = []
    for one in np.unique(labels[places]):
        mine = places[labels[places] == one]
        taken.append(generator.permutation(mine)[: max(1, round(share * len(mine)))])
    return np.sort(np.concatenate(taken))
