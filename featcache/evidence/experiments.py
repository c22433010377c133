"""The experiments behind a verdict: what a subject gains by each thing that could be wrong with it.

All heads are trained on the same folds, with their epochs, C and seeds fixed beforehand, so that
the held rows have no part in any of them, and the choice among heads is cross-fitted (`cross_fit.py`): a
gain is around 0 where nothing is to be gained. What is tried is chosen so that each cause has an
arm of its own; a sweep looks for the best head, this looks for what is wrong with one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from featcache.evidence.cross_fit import CrossFittedChoice, arm_of, chance, effect
from featcache.evidence.curves import MeasuredCurve, by_rows
from featcache.evidence.floors import bag_of_words
from featcache.features.budget import MemoryBudget
from featcache.features.matrices import raw_features
from featcache.features.views import View
from featcache.heads.candidate import Candidate
from featcache.heads.kinds.logreg import C_PATH
from featcache.heads.setup import LabelledPositions, TrainingSetup
from featcache.heads.shape import HeadShape
from featcache.search.candidates import MAX_DEPTH, base_recipe
from featcache.search.search import Search
from featcache.search.trial import Trial

_LOGREG = HeadShape("logreg")
_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
_LONGER, _SHORTER = 4, 8  # times the epochs of a subject
_SMALLER_C = (1e-5, 1e-4)
# Steps of the optimiser, and how much a head is held back meanwhile. With 250 and 750 steps the
# arms of ai_text came out within half a point of what they are with these.
_MILD, _STRONG = (300, 0.1, 0.01), (500, 0.5, 0.1)  # steps, dropout, weight decay
_SHUFFLES = 2
_DRAWS, _SIZES = 2, 4  # of a part of the rows; `featcache curves` takes more
_BY_HEART = 0.99  # of the score on training rows: nothing is left to converge to
_SUBJECT_SEEDS = 3
_WIDEST = 512  # a subject of this width is not tried wider
LARGER = (HeadShape("mlp", 1, 64), HeadShape("mlp", 2, 256))


@dataclass(frozen=True)
class Evidence:
    """Arms (see `cross_fit.py`), each about one thing. Those that are compared with `base` hold its
    heads, too.

    subject: as it was given.  trained: at other learning rates and for longer; None for logistic
    regression, whose solver says itself whether it converged, and for what knows its rows by heart.
    scaled: standardised, or not if the subject is.  held_back: regularised.  base: the subject,
    with what of these three helps.  views: heads of its kind on every view.  larger: deeper and
    wider ones on its view.  everything: all of it, larger heads on other views, too.
    words: (V,) by a bag of words.  uneven: size of the largest dimension of the subject's states
    over the usual one.
    growth: score of the best head by the number of training rows.  p_value: of the permutation test
    that the best is no better than guessing; guessed: the score of guessing with its class shares.
    shuffled: the score of the best head when it is trained on shuffled labels.
    """

    sweep: TrainingSetup
    subject: CrossFittedChoice
    trained: CrossFittedChoice | None
    scaled: CrossFittedChoice
    held_back: CrossFittedChoice
    base: CrossFittedChoice
    views: CrossFittedChoice
    larger: CrossFittedChoice
    everything: CrossFittedChoice
    words: NDArray[np.int64] | None
    uneven: float
    growth: MeasuredCurve
    p_value: float
    guessed: float
    shuffled: float


def experiments(
    subject: Candidate,
    sweep: TrainingSetup,
    views: Sequence[View],
    *,
    room: MemoryBudget,
    texts: Sequence[str] | None = None,
    watch: Callable[[str], None] = lambda _: None,
) -> Evidence:
    """Conduct them all.

    texts: of the sweep's rows, for the bag of words.  watch: told
    what is done next.
    """
    bench = _Bench(subject, sweep, views, room)
    watch("heads on every view")
    of = bench.tried()
    standing = arm_of(of["subject"], sweep)
    fixes = {
        name: arm_of([*of["subject"], *of[name]], sweep)
        for name in ("trained", "held back")
        if of[name]
    }
    scaled = arm_of(of["scaled"], sweep)
    # In doubt it helps: what other layers and larger heads gain must not be what better training
    # gains.
    helps = {name for name, arm in fixes.items() if effect(arm, standing, sweep).beyond(1.0)}
    base = [*of["subject"], *(one for name in sorted(helps) for one in of[name])]
    if not subject.view.scaled and effect(scaled, standing, sweep).beyond(1.0):
        base += [*of["scaled"], *of["own"]]
    everything = arm_of([*base, *of["views"], *of["larger"], *of["elsewhere"]], sweep)
    p_value, guessed = chance(everything, sweep)
    watch("on fewer rows")
    best = everything.simplest(sweep).candidate
    growth = by_rows(bench.open(best), sweep, most_draws=_DRAWS, most_sizes=_SIZES)
    watch("on shuffled labels")
    shuffled = bench.shuffled(best)
    watch("a bag of words")
    return Evidence(
        sweep=sweep,
        subject=standing,
        trained=fixes.get("trained"),
        scaled=scaled,
        held_back=fixes["held back"],
        base=standing if len(base) == len(of["subject"]) else arm_of(base, sweep),
        views=arm_of([*base, *of["views"]], sweep),
        larger=arm_of([*base, *of["larger"]], sweep),
        everything=everything,
        words=None if texts is None else _bag_of_words(texts, sweep),
        uneven=bench.uneven(),
        growth=growth,
        p_value=p_value,
        guessed=guessed,
        shuffled=shuffled,
    )


class _Bench:
    """The heads that are tried about one subject, and where they are trained."""

    def __init__(
        self,
        subject: Candidate,
        sweep: TrainingSetup,
        views: Sequence[View],
        room: MemoryBudget,
    ) -> None:
        self._subject, self._sweep, self._room = subject, sweep, room
        self._views = [view for view in views if not view.mixed]  # logistic regression knows no mix
        self._n_train = len(sweep.folds[0].train)
        self._recipe = base_recipe(
            self._n_train, seed=sweep.seed, balanced=sweep.balance == "weights"
        )
        self._once = replace(sweep, seeds=sweep.seeds[:1])
        self._searches = [self._search(one) for one in (sweep, self._once)]

    def tried(self) -> dict[str, list[Trial]]:
        """The trials of each set of heads, by its name."""
        given, own = self._subject, self._subject.view.standardised()
        small, *larger = _larger(given.head)
        joined = [view for view in self._views if len(view.layers) > 1][:1]
        subject = self._subject_trials()
        known = max(trial.train[self._sweep.metric] for trial in subject) > _BY_HEART
        candidates = {
            "trained": [] if known else self._retrained(),
            "scaled": self._as_given(own.standardised(not given.view.scaled)),
            "held back": self._held_back(given.view),
            "own": self._held_back(own),
            "views": [one for view in self._views for one in self._usual(view, given.head)],
            "larger": [*self._usual(own, small), *(self._strong(own, one) for one in larger)],
            "elsewhere": [
                self._mild(view, small) for view in self._views if view.single or view in joined
            ],
        }
        trial_of = {trial.candidate: trial for trial in subject}
        every = dict.fromkeys(one for some in candidates.values() for one in some)
        trial_of |= {
            trial.candidate: trial
            for trial in self._run([one for one in every if one not in trial_of])
        }
        return {"subject": subject} | {
            name: [trial_of[one] for one in some] for name, some in candidates.items()
        }

    def _subject_trials(self) -> list[Trial]:
        """The subject, which all else is compared with: where it is drawn at random, what it is by
        several seeds.
        """
        own = self._as_given(self._subject.view)
        if self._subject.recipe is None or len(self._sweep.seeds) > 1:
            return self._run(own)
        seeds = tuple((self._sweep.seed + number) % 2**32 for number in range(_SUBJECT_SEEDS))
        return self._search(replace(self._sweep, seeds=seeds)).run(own)

    def shuffled(self, candidate: Candidate) -> float:
        """Its mean score when it is trained on labels in another order, held to labels in that
        order.

        Each fold's held rows keep their own labels, in another order, and so do all others: no
        class is lost.
        """
        side = np.full(len(self._sweep.part.rows), -1)  # of rows that are left out
        for fold in self._sweep.folds:
            side[fold.train] = 0
        for number, fold in enumerate(self._sweep.folds, start=1):
            side[fold.held] = number
        scores = []
        for number in range(_SHUFFLES):
            generator = np.random.default_rng(self._sweep.seed + number)
            order = np.arange(len(side))
            for one in np.unique(side):
                order[side == one] = generator.permutation(order[side == one])
            part = LabelledPositions(self._sweep.part.rows, self._sweep.part.labels[order])
            (trial,) = self._search(replace(self._once, part=part)).run([candidate])
            scores.append(trial.validation[self._sweep.metric])
        return float(np.mean(scores))

    def uneven(self) -> float:
        """Largest deviation or mean of the subject's dimensions on training rows, over the usual
        deviation.
        """
        rows = self._sweep.part.rows[self._sweep.folds[0].train]
        states = raw_features(self._sweep.source, self._subject.view.standardised(), rows)
        spread = states.std(axis=0, dtype=np.float64)
        largest = max(
            float(spread.max()), float(np.abs(states.mean(axis=0, dtype=np.float64)).max())
        )
        return largest / max(float(np.median(spread)), 1e-12)

    def open(self, candidate: Candidate) -> Candidate:
        """The head with its C left open, for fewer rows want a smaller one."""
        return (
            candidate
            if candidate.recipe is not None
            else replace(candidate, path=(*_SMALLER_C, *C_PATH))
        )

    def _search(self, sweep: TrainingSetup) -> Search:
        return Search(sweep, room=self._room, watch=lambda _: None, out_of_time=lambda: False)

    def _run(self, candidates: Sequence[Candidate]) -> list[Trial]:
        """Heads that are drawn at random with every seed, logistic regression once: no seed changes
        it.
        """
        drawn, exact = (
            [one for one in candidates if (one.recipe is None) is how] for how in (False, True)
        )
        often, once = self._searches
        return [*(often.run(drawn) if drawn else []), *(once.run(exact) if exact else [])]

    def _as_given(self, view: View) -> list[Candidate]:
        one = self._subject
        return self._points(view, one.path) if one.recipe is None else [replace(one, view=view)]

    def _points(self, view: View, path: Sequence[float] = C_PATH) -> list[Candidate]:
        """Logistic regression, each C a head of its own: which is best is for other rows to say."""
        return [Candidate(view, _LOGREG, path=(c,)) for c in path]

    def _retrained(self) -> list[Candidate]:
        """The subject at other rates and for longer; a linear one also by a solver that stops when
        it is done.
        """
        one = self._subject
        if one.recipe is None:
            return []
        recipes = [replace(one.recipe, learning_rate=rate) for rate in _RATES]
        recipes.append(replace(one.recipe, max_epochs=_LONGER * one.recipe.max_epochs))
        exact = [] if one.head.depth else self._points(one.view)
        return [
            *(replace(one, recipe=recipe) for recipe in recipes if recipe != one.recipe),
            *exact,
        ]

    def _held_back(self, view: View) -> list[Candidate]:
        """The subject with more regularisation, stopped early, or as small as it can be."""
        one = self._subject
        found = self._points(view, (*_SMALLER_C, *C_PATH))
        if one.recipe is None:
            return found
        short = replace(one.recipe, max_epochs=max(1, one.recipe.max_epochs // _SHORTER))
        return [
            *found,
            replace(one, view=view, recipe=short),
            *(self._usual(view, one.head) if one.head.depth else []),
        ]

    def _usual(self, view: View, head: HeadShape) -> list[Candidate]:
        """A head of this shape as one would train it, held back a little or more."""
        return (
            [self._mild(view, head), self._strong(view, head)] if head.depth else self._points(view)
        )

    def _mild(self, view: View, head: HeadShape) -> Candidate:
        return self._trained(view, head, *_MILD)

    def _strong(self, view: View, head: HeadShape) -> Candidate:
        return self._trained(view, head, *_STRONG)

    def _trained(
        self, view: View, head: HeadShape, steps: int, dropout: float, decay: float
    ) -> Candidate:
        epochs = max(2, round(steps * self._recipe.batch_size / self._n_train))
        recipe = replace(
            self._recipe, dropout=dropout, weight_decay=decay, max_epochs=epochs, patience=None
        )
        return Candidate(view, head, recipe)


def _larger(head: HeadShape) -> tuple[HeadShape, ...]:
    """A hidden layer, and more of them; of a head that has some, one more, and twice as wide, as
    far as that goes.
    """
    if not head.depth:
        return LARGER
    deeper = (replace(head, depth=head.depth + 1),) if head.depth < MAX_DEPTH else ()
    wider = (replace(head, width=2 * head.width),) if head.width and head.width < _WIDEST else ()
    return (*deeper, *wider) or (head,)


def _bag_of_words(texts: Sequence[str], sweep: TrainingSetup) -> NDArray[np.int64] | None:
    """Classes (V,) of the held rows, or None where the texts hold no word."""
    found = []
    for fold in sweep.folds:
        train, held = ([texts[place] for place in places] for places in (fold.train, fold.held))
        given = bag_of_words(train, sweep.part.labels[fold.train], [held])
        if given is None:
            return None
        found += given
    return np.concatenate(found)
