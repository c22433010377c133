"""Searches over planted features: who goes on, who is dropped, and that neither threads nor time
change a number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from featcache.features.budget import MemoryBudget
from featcache.features.folds import folds_of
from featcache.features.source import ArraySource
from featcache.features.views import View
from featcache.heads.candidate import Candidate
from featcache.heads.module import Factory
from featcache.heads.setup import TrainingSetup
from featcache.runs.head_records import TrialRecord
from featcache.schema import fields_of
from featcache.search.search import ETA, Search
from featcache.search.selection import choose
from featcache.search.trial import Trial
from tests.search.planted import LINEAR, LOGREG, ONE, grid, mlp, searched, sweep_of

VIEWS = [View((layer,), ("mean",)) for layer in range(3)]
LAST = VIEWS[-1]
TWO, MIX = View((1, 2), ("mean",)), View((0, 1, 2), ("mean",), mixed=True)
SHAPES = (LOGREG, LINEAR, mlp(1, 4), mlp(2, 4))
N = 19  # of these heads on these views


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """torch's threads, which say how many stacks run side by side; as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def planted(n: int = 240, n_train: int = 160, seed: int = 0, **options: object) -> TrainingSetup:
    """Three classes, which every layer tells better than the one before."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, n)
    features = {}
    for number, view in enumerate(VIEWS):
        x = generator.standard_normal((n, 9))
        x[:, :3] += 0.9 * number * np.eye(3)[labels]
        features[view] = x
    return sweep_of(features, labels, train=n_train, held=n - n_train, **options)


def candidates_of(sweep: TrainingSetup) -> list[Candidate]:
    return grid(sweep, [*VIEWS, TWO, MIX], *SHAPES, max_epochs=21, learning_rate=1e-2)


def told(trials: Sequence[Trial]) -> list[dict[str, object]]:
    """All that a trial is but its time."""
    return [
        {
            **fields_of(TrialRecord.of(trial)),
            "seconds": 0,
            "predicted": trial.predicted.tolist(),
        }
        for trial in trials
    ]


@cache
def found(*, halving: bool) -> Sequence[Trial]:
    return searched(planted(), candidates_of(planted()), halving=halving)


def test_halving_takes_the_best_third_and_the_best_of_each_shape_to_the_end() -> None:
    trials = found(halving=True)
    assert len(trials) == len(candidates_of(planted())) == N
    done = [trial for trial in trials if not trial.dropped]
    assert {trial.head for trial in done} == set(SHAPES)
    assert len(done) <= math.ceil(N / ETA) + len(SHAPES)
    dropped = [trial for trial in trials if trial.dropped]
    trained = {
        "dropped at 2": (2, 2),
        "dropped at 6": (6, 3),
    }  # 16 steps an epoch: the first after 30 steps
    assert {trial.ended for trial in dropped} == set(trained)
    for trial in dropped:
        assert len(trial.curve["train_score"]) == trained[trial.ended][trial.head == LOGREG]
    assert not any(not trial.dropped for trial in trials if trial.view == VIEWS[0])  # noise
    assert not max(trials, key=lambda trial: trial.validation["accuracy"]).dropped


def test_who_goes_to_the_end_is_what_a_search_without_dropping_finds() -> None:
    full, halved = told(found(halving=False)), told(found(halving=True))
    assert {one["ended"] for one in full} == {"done"}
    pairs = [
        (mine, theirs) for mine, theirs in zip(halved, full, strict=True) if mine["ended"] == "done"
    ]
    assert len(pairs) > 4
    for mine, theirs in pairs:
        assert mine == theirs


def test_those_that_stay_are_never_dropped() -> None:
    sweep = planted()
    worst = {one for one in candidates_of(sweep) if one.view == VIEWS[0]}
    trials = searched(sweep, candidates_of(sweep), halving=True, stays=worst.__contains__)
    assert sum(trial.candidate in worst for trial in trials) == len(SHAPES)
    assert all(not trial.dropped for trial in trials if trial.candidate in worst)
    assert not all(not trial.dropped for trial in trials)


def test_the_best_of_a_shape_goes_on_however_bad_it_looks() -> None:
    """It may be the simplest that will do, or be slow at first."""
    sweep = planted()
    still = grid(sweep, VIEWS, mlp(2, 4), learning_rate=1e-9, max_epochs=21)
    good = grid(sweep, [*VIEWS, TWO, MIX], LINEAR, mlp(1, 4), max_epochs=21, learning_rate=1e-2)
    trials = searched(sweep, [*good, *still], halving=True)
    assert [trial.ended for trial in trials if trial.head == mlp(2, 4)].count("done") == 1


def test_few_candidates_are_all_trained_to_the_end() -> None:
    sweep = planted()
    assert all(
        not trial.dropped for trial in searched(sweep, candidates_of(sweep)[:9], halving=True)
    )


def test_a_dropped_head_is_not_chosen_even_if_it_looked_best() -> None:
    sweep = planted()
    trials = searched(sweep, grid(sweep, VIEWS[1:], LOGREG))
    best = max(trials, key=lambda trial: trial.validation["accuracy"])
    perfect = replace(
        best,
        ended="dropped at 3",
        predicted=sweep.truth[None],
        validation={"accuracy": 1.0},
        n_parameters=1,
    )
    assert choose([*trials, perfect], sweep) in trials
    assert choose([*trials, replace(perfect, ended="done")], sweep).n_parameters == 1
    late = replace(perfect, ended="out of time")
    assert choose([late], sweep) is late  # where time ran out before any was at its end


# Kept beside the module, to be compared across the runs of the fixture.
_FOUND: dict[str, list[dict[str, object]]] = {}


@pytest.mark.parametrize("form", ["plain", "folds and seeds"])
def test_a_number_of_threads_and_a_second_run_change_nothing(threads: int, form: str) -> None:
    assert torch.get_num_threads() == threads
    sweep = planted()
    if form != "plain":
        keys = np.random.default_rng(0).integers(0, 256, (240, 16)).astype(np.uint8)
        folds = folds_of(keys, sweep.part.labels.tolist(), 2, seed=0)
        sweep = replace(sweep, folds=folds, seeds=(0, 1))
    views, epochs = [*VIEWS[1:], TWO, MIX], 21 if form == "plain" else 4
    candidates = grid(
        sweep, views, LOGREG, LINEAR, mlp(1, 4), max_epochs=epochs, learning_rate=1e-2
    )
    for _ in range(2):
        now = told(searched(sweep, candidates, halving=True))
        assert _FOUND.setdefault(form, now) == now
    assert torch.get_num_threads() == threads


def noisy(n_inputs: int, n_classes: int) -> torch.nn.Module:
    """Draws from torch's own stream at every step."""
    return torch.nn.Sequential(
        torch.nn.Linear(n_inputs, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, n_classes)
    )


def test_heads_that_are_code_draw_alike_beside_other_threads(threads: int) -> None:
    """Folds and seeds run side by side, and torch has one stream for all of them."""
    sweep = planted(seeds=(0, 1, 2, 3))
    factory: Factory = noisy
    custom = replace(grid(sweep, [ONE], LINEAR, max_epochs=12)[0], view=LAST, factory=factory)
    custom = replace(custom, head=replace(custom.head, kind="custom"))
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    now = told(searched(sweep, [custom]))
    assert torch.equal(torch.rand(2), expected)
    assert torch.get_num_threads() == threads
    assert _FOUND.setdefault("custom", now) == now


def test_seeds_and_folds_give_a_prediction_of_every_row_by_each_seed() -> None:
    sweep = planted()
    keys = np.random.default_rng(0).integers(0, 256, (240, 16)).astype(np.uint8)
    folds = folds_of(keys, sweep.part.labels.tolist(), 4, seed=1)
    sweep = replace(sweep, folds=folds, seeds=(5, 6, 7))
    trials = searched(
        sweep, grid(sweep, [LAST], LOGREG, LINEAR, mlp(1, 4), max_epochs=6, learning_rate=1e-2)
    )
    for trial in trials:
        assert trial.predicted.shape == (3, 240)
        right = (trial.predicted == sweep.truth).mean()
        assert trial.validation["accuracy"] == pytest.approx(right, abs=1e-6)
        assert right > 0.6
    logreg, linear, _ = trials
    assert (logreg.predicted == logreg.predicted[0]).all()  # nothing of it is random
    assert not (linear.predicted == linear.predicted[0]).all()


@pytest.mark.parametrize("asked", [0, 20, 60])
def test_a_search_that_runs_out_of_time_leaves_what_it_has(asked: int) -> None:
    """asked: how often it is asked for the time before that is up. Candidates without a single
    epoch have no trial.
    """
    sweep, left = planted(), [asked]

    def out_of_time() -> bool:
        left[0] -= 1
        return left[0] < 0

    trials = searched(sweep, candidates_of(sweep), halving=True, out_of_time=out_of_time)
    assert n_points(trials) < n_points(found(halving=True))
    for trial in trials:
        assert trial.curve["validation_score"]
        assert trial.predicted.shape == (1, 80)
    assert trials if asked else not trials
    assert not trials or choose(trials, sweep) in trials


@pytest.mark.parametrize("halving", [False, True])
def test_whoever_waits_is_told_of_every_candidate(halving: bool) -> None:
    """Over the runs of a search, too: Optuna's candidates come some at a time."""
    sweep, told_of = planted(), []
    candidates = candidates_of(sweep)
    with MemoryBudget() as room:
        search = Search(
            sweep,
            room=room,
            watch=lambda best: told_of.append(best.n_done),
            out_of_time=lambda: False,
        )
        search.run(candidates, halving=halving)
        assert told_of[-1] == N
        search.run(candidates[:3])
    assert told_of == sorted(told_of)
    assert told_of[-1] == N + 3


def test_views_are_not_read_when_the_time_is_up() -> None:
    sweep = planted()

    class Unreadable(ArraySource):
        def gather(self, view: View, rows: NDArray[np.int64]) -> NDArray[np.float32]:
            pytest.fail(f"{len(rows)} rows of {view} were read")

    unreadable = Unreadable({ONE: np.empty((0, 9), dtype=np.float32)})
    candidates = candidates_of(sweep)
    assert not runs_of(replace(sweep, source=unreadable), candidates)


def runs_of(sweep: TrainingSetup, candidates: Sequence[Candidate]) -> list[Trial]:
    with MemoryBudget() as room:
        search = Search(sweep, room=room, watch=lambda _: None, out_of_time=lambda: True)
        return search.run(candidates, halving=True)


def test_threads_that_are_started_after_a_search_have_all_cores(threads: int) -> None:
    """Torch gives new threads the number that was set last, in whichever thread."""
    searched(planted(), [Candidate(LAST, LOGREG)])
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == threads


def test_drawn_rows_of_logistic_regression_follow_the_seed() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], [200, 40])
    x = generator.standard_normal((240, 3)) + 0.5 * labels[:, None]
    order = generator.permutation(240)
    sweep = sweep_of(
        {ONE: x[order]}, labels[order], train=120, held=120, balance="undersample", seeds=(0, 1)
    )
    (trial,) = searched(sweep, [Candidate(ONE, LOGREG)])
    assert not (trial.predicted[0] == trial.predicted[1]).all()


def n_points(trials: Sequence[Trial]) -> int:
    """Epochs and points of paths that were trained."""
    return sum(len(trial.curve["train_score"]) for trial in trials)


def test_whoever_must_be_there_is_trained_to_the_end_after_the_time_is_up() -> None:
    (late,) = searched(
        planted(), [Candidate(LAST, LOGREG)], out_of_time=lambda: True, in_time=False
    )
    assert len(late.curve["c"]) == 4
