"""The experiments behind a verdict: what a subject gains by each thing that could be wrong with it.

All heads are trained on the same folds, and the choice among them is cross-fitted (`cross_fit.py`),
so that a gain is around 0 where there is nothing to gain. A search looks for the best head; the
experiments look for what is wrong with one. The heads they try are in `alternatives.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from featcache.evidence.alternatives import Alternatives, with_wider_path
from featcache.evidence.cross_fit import (
    CrossFittedChoice,
    cross_fit,
    gain_over,
    permutation_test,
)
from featcache.evidence.curves import MeasuredCurve, measure_learning_curve
from featcache.evidence.floors import bag_of_words
from featcache.features.budget import MemoryBudget
from featcache.features.matrices import raw_features
from featcache.features.views import View
from featcache.heads.candidate import Candidate
from featcache.heads.setup import LabelledPositions, TrainingSetup
from featcache.search.search import Search
from featcache.search.trial import Trial

_N_SHUFFLES = 2
_CURVE_DRAWS, _CURVE_SIZES = 2, 4  # `featcache curves` takes more
_MEMORISED = 0.99  # from this score on training rows on, nothing is left to converge to
_SUBJECT_SEEDS = 3


@dataclass(frozen=True)
class Evidence:
    """What the experiments on one subject gave.

    Choices that are compared with `base` hold the heads of `base` too.

    Attributes:
        setup: The rows and folds of all experiments.
        subject: The subject as it was given.
        trained: The subject at other learning rates and for longer. None for logistic regression,
            whose solver reports whether it converged, and for what knows its rows by heart.
        scaled: The subject standardised, or not standardised if it was.
        regularised: The subject with more regularisation.
        base: The subject with what helps of the three above.
        views: Heads of its kind on every view.
        larger: Deeper and wider heads on its view.
        everything: All of these heads, and larger heads on other views.
        words: (V,) classes that a bag of words predicts for the held-out rows; None without texts.
        uneven: The scale of the largest dimension of the subject's states over the usual one.
        learning_curve: The score of the best head by the number of training rows.
        p_value: Of the test that the best head is no better than guessing.
        guessed: The score of guessing with the best head's shares of classes.
        shuffled: The score of the best head when it is trained on shuffled labels.
    """

    setup: TrainingSetup
    subject: CrossFittedChoice
    trained: CrossFittedChoice | None
    scaled: CrossFittedChoice
    regularised: CrossFittedChoice
    base: CrossFittedChoice
    views: CrossFittedChoice
    larger: CrossFittedChoice
    everything: CrossFittedChoice
    words: NDArray[np.int64] | None
    uneven: float
    learning_curve: MeasuredCurve
    p_value: float
    guessed: float
    shuffled: float


def run_experiments(
    subject: Candidate,
    setup: TrainingSetup,
    views: Sequence[View],
    *,
    room: MemoryBudget,
    texts: Sequence[str] | None = None,
    watch: Callable[[str], None] = lambda _: None,
) -> Evidence:
    """Run every experiment on a subject and collect the evidence for a verdict.

    Args:
        subject: The head in question.
        setup: Rows, folds and metric of all experiments.
        views: All views that there are.
        room: Memory for the features of the folds.
        texts: Texts of the setup's rows for the bag of words, or None.
        watch: Called with the name of each stage as it begins: four calls.

    Returns:
        The evidence.
    """
    watch("heads on every view")
    trainer = _Trainer(setup, room)
    trials_by_group = _train_groups(subject, setup, views, trainer)
    choices = _choose(trials_by_group, setup, scaled=subject.view.scaled)
    everything = choices["everything"]
    p_value, guessed = permutation_test(everything, setup)
    best = everything.simplest(setup).candidate
    watch("on fewer rows")
    learning_curve = measure_learning_curve(
        with_wider_path(best), setup, max_draws=_CURVE_DRAWS, max_sizes=_CURVE_SIZES
    )
    watch("on shuffled labels")
    shuffled = _score_shuffled(best, setup, trainer)
    watch("a bag of words")
    return Evidence(
        setup=setup,
        subject=choices["subject"],
        trained=choices.get("trained"),
        scaled=choices["scaled"],
        regularised=choices["regularised"],
        base=choices["base"],
        views=choices["views"],
        larger=choices["larger"],
        everything=everything,
        words=None if texts is None else _predict_from_words(texts, setup),
        uneven=_unevenness(subject.view, setup),
        learning_curve=learning_curve,
        p_value=p_value,
        guessed=guessed,
        shuffled=shuffled,
    )


class _Trainer:
    """Trains heads on the folds of one setup, each with as many seeds as it needs."""

    def __init__(self, setup: TrainingSetup, room: MemoryBudget) -> None:
        self._setup, self._room = setup, room
        self._one_seed = replace(setup, seeds=setup.seeds[:1])
        self._all_seeds_search = self._search(setup)
        self._one_seed_search = self._search(self._one_seed)

    def train(self, candidates: Sequence[Candidate]) -> list[Trial]:
        """Train heads with every seed, but logistic regression once: no seed changes it."""
        random = [candidate for candidate in candidates if candidate.recipe is not None]
        exact = [candidate for candidate in candidates if candidate.recipe is None]
        trials: list[Trial] = []
        if random:
            trials += self._all_seeds_search.run(random)
        if exact:
            trials += self._one_seed_search.run(exact)
        return trials

    def train_subject(self, candidates: Sequence[Candidate]) -> list[Trial]:
        """Train the subject with several seeds: everything else is compared with it."""
        setup = self._setup
        if candidates[0].recipe is None or len(setup.seeds) > 1:
            return self.train(candidates)
        seeds = tuple((setup.seed + number) % 2**32 for number in range(_SUBJECT_SEEDS))
        return self._search(replace(setup, seeds=seeds)).run(candidates)

    def train_on(self, part: LabelledPositions, candidate: Candidate) -> Trial:
        """Train one head, with one seed, on other labels."""
        (trial,) = self._search(replace(self._one_seed, part=part)).run([candidate])
        return trial

    def _search(self, setup: TrainingSetup) -> Search:
        return Search(setup, room=self._room, watch=lambda _: None, out_of_time=lambda: False)


def _train_groups(
    subject: Candidate, setup: TrainingSetup, views: Sequence[View], trainer: _Trainer
) -> dict[str, list[Trial]]:
    """Train the subject and all its alternatives, each head once; trials by group."""
    alternatives = Alternatives(subject, setup, views)
    subject_trials = trainer.train_subject(alternatives.subject_on(subject.view))
    train_score = max(trial.train[setup.metric] for trial in subject_trials)
    groups = alternatives.groups(memorised=train_score > _MEMORISED)
    trial_of = {trial.candidate: trial for trial in subject_trials}
    untrained: dict[Candidate, None] = {}  # in order, each once
    for candidates in groups.values():
        untrained |= dict.fromkeys(head for head in candidates if head not in trial_of)
    trial_of |= {trial.candidate: trial for trial in trainer.train(list(untrained))}
    trials_by_group = {"subject": subject_trials}
    for name, candidates in groups.items():
        trials_by_group[name] = [trial_of[candidate] for candidate in candidates]
    return trials_by_group


def _choose(
    trials_by_group: dict[str, list[Trial]], setup: TrainingSetup, *, scaled: bool
) -> dict[str, CrossFittedChoice]:
    """Cross-fit the choice of each experiment.

    Args:
        trials_by_group: As `_train_groups` returns them.
        setup: The setup of the trials.
        scaled: Whether the subject sees standardised features.

    Returns:
        Choices by the names of the fields of `Evidence`.
    """
    subject = trials_by_group["subject"]
    choices = {"subject": cross_fit(subject, setup)}
    for name in ("trained", "regularised"):
        if trials_by_group[name]:
            choices[name] = cross_fit([*subject, *trials_by_group[name]], setup)
    choices["scaled"] = cross_fit(trials_by_group["scaled"], setup)

    base = list(subject)
    for name in ("regularised", "trained"):
        if _helps(choices, name, setup):
            base += trials_by_group[name]
    if not scaled and _helps(choices, "scaled", setup):
        base += trials_by_group["scaled"] + trials_by_group["regularised scaled"]
    choices["base"] = choices["subject"]
    if len(base) > len(subject):
        choices["base"] = cross_fit(base, setup)
    views, larger = trials_by_group["views"], trials_by_group["larger"]
    elsewhere = trials_by_group["larger elsewhere"]
    choices["views"] = cross_fit([*base, *views], setup)
    choices["larger"] = cross_fit([*base, *larger], setup)
    choices["everything"] = cross_fit([*base, *views, *larger, *elsewhere], setup)
    return choices


def _helps(choices: dict[str, CrossFittedChoice], name: str, setup: TrainingSetup) -> bool:
    """Check whether a choice is better than the subject, by one standard error.

    One is enough here: what other layers and larger heads gain must not be what better training
    gains.
    """
    if name not in choices:
        return False
    return gain_over(choices[name], choices["subject"], setup).is_significant(n_errors=1.0)


def _score_shuffled(candidate: Candidate, setup: TrainingSetup, trainer: _Trainer) -> float:
    """Score a head that is trained and scored on shuffled labels, mean over several shuffles."""
    scores = []
    for part in _shuffled_labels(setup):
        trial = trainer.train_on(part, candidate)
        scores.append(trial.validation[setup.metric])
    return float(np.mean(scores))


def _shuffled_labels(setup: TrainingSetup) -> Iterator[LabelledPositions]:
    """Shuffle the labels within each fold's held-out rows and within the rest.

    Each side keeps its own labels in another order, so that no class is lost.
    """
    side = np.full(len(setup.part.rows), -1)  # -1: rows that no fold uses
    for fold in setup.folds:
        side[fold.train] = 0
    for number, fold in enumerate(setup.folds, start=1):
        side[fold.held] = number
    for number in range(_N_SHUFFLES):
        generator = np.random.default_rng(setup.seed + number)
        order = np.arange(len(side))
        for value in np.unique(side):
            order[side == value] = generator.permutation(order[side == value])
        yield LabelledPositions(setup.part.rows, setup.part.labels[order])


def _unevenness(view: View, setup: TrainingSetup) -> float:
    """Divide the largest scale of a view's dimensions on training rows by the usual deviation."""
    rows = setup.part.rows[setup.folds[0].train]
    states = raw_features(setup.source, view.standardised(), rows)  # (N, inputs)
    deviations = states.std(axis=0, dtype=np.float64)
    means = np.abs(states.mean(axis=0, dtype=np.float64))
    largest = max(float(deviations.max()), float(means.max()))
    return largest / max(float(np.median(deviations)), 1e-12)


def _predict_from_words(texts: Sequence[str], setup: TrainingSetup) -> NDArray[np.int64] | None:
    """Predict the held-out rows, (V,), from a bag of words; None where the texts hold no word."""
    predicted = []
    for fold in setup.folds:
        train_texts = [texts[place] for place in fold.train]
        held_texts = [texts[place] for place in fold.held]
        classes = bag_of_words(train_texts, setup.part.labels[fold.train], [held_texts])
        if classes is None:
            return None
        predicted += classes
    return np.concatenate(predicted)
