"""The search: every candidate trained on every fold and seed, the worse ones only part of the way.

Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943): all start, and after a few
epochs the best third goes on to three times as many, until the rest is trained to its end. The best
of each shape always goes on, so that the simplest head that will do can be found among those that
ended. Stacks run side by side, one thread each.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from featcache.features.budget import MemoryBudget
from featcache.features.matrices import FoldFeatures
from featcache.heads.candidate import Candidate
from featcache.heads.kind import FoldOutcome, Rung, Runner
from featcache.heads.kinds import runners_of
from featcache.heads.recipe import C_PATH
from featcache.heads.setup import TrainingSetup
from featcache.search.trial import Trial

ETA = 3  # one in so many goes on
# Before anyone is dropped: epochs, and steps of the optimiser. On ai_text, ag_news, cola and
# sms_spam the choice of a sweep without dropping was never more than 0.2 points better on
# validation than with these, nor with 3 and 100.
_FIRST_EPOCHS, _FIRST_STEPS = 1, 30
_MOST_WORKERS = 8
_FEW = 9  # candidates that are not worth choosing among early


@dataclass(frozen=True)
class Best:
    """The best candidate so far, shown while a search runs.

    n_done: candidates that are dropped or, in the first fold with the first seed, at their end.
    """

    candidate: Candidate
    score: float
    n_done: int

    def __str__(self) -> str:
        return f"best so far {self.score:.3f} {self.candidate.head} on {self.candidate.view}"


class Search:
    """A sweep's search. A watcher is told of the best so far; `out_of_time` ends it early, and what
    is there stands.
    """

    def __init__(
        self,
        sweep: TrainingSetup,
        *,
        room: MemoryBudget,
        watch: Callable[[Best], None],
        out_of_time: Callable[[], bool],
    ) -> None:
        self._sweep, self._watch, self.out_of_time = sweep, watch, out_of_time
        self._features = [
            FoldFeatures(sweep.source, sweep.part.rows, fold, room) for fold in sweep.folds
        ]
        self._n_done = 0  # candidates of the runs before
        self._metric = sweep.score

    def run(
        self,
        candidates: Sequence[Candidate],
        *,
        halving: bool = False,
        stays: Callable[[Candidate], bool] = lambda _: False,
        in_time: bool = True,
    ) -> list[Trial]:
        """Train the candidates on every fold with every seed.

        Args:
            candidates: The heads to be tried.
            halving: Whether the worse ones are dropped on the way.
            stays: Tells which candidates are never dropped.
            in_time: Whether the search's time limit holds.

        Returns:
            A trial of each candidate that had time for one epoch at least.
        """
        self._stopped = False

        def out_of_time() -> bool:
            return self._stopped or (in_time and self.out_of_time())

        rungs = self._plan(candidates, halving=halving)
        n_folds = len(self._sweep.folds)
        runners = [
            self._runners(candidates, fold, seed)
            for seed in self._sweep.seeds
            for fold in range(n_folds)
        ]
        with _workers() as pool, self._stopping():
            ended = self._train(pool, runners, rungs, candidates, stays, out_of_time)
            outcomes = self._outcomes(pool, runners)
        self._n_done += len(candidates)
        return self._trials(candidates, outcomes, ended)

    def _plan(self, candidates: Sequence[Candidate], *, halving: bool) -> list[Rung]:
        """Say how far candidates are trained between decisions; the last rung is their end."""
        epochs, n_points = [], []
        for candidate in candidates:
            if candidate.recipe is None:
                n_points.append(len(candidate.path))
            else:
                epochs.append(candidate.recipe.max_epochs)
        last = Rung(max(epochs, default=1), max(n_points, default=len(C_PATH)))
        if not halving or len(candidates) <= _FEW:
            return [last]
        return _rungs(last.epochs, self._steps_an_epoch(candidates), last.points)

    def _train(
        self,
        pool: ThreadPoolExecutor,
        runners: Sequence[Sequence[Runner]],
        rungs: Sequence[Rung],
        candidates: Sequence[Candidate],
        stays: Callable[[Candidate], bool],
        out_of_time: Callable[[], bool],
    ) -> list[str]:
        """Train rung by rung, dropping the worse candidates; return how each of them ended."""
        alive, ended = set(range(len(candidates))), ["done"] * len(candidates)
        for rung in rungs:
            last = rung is rungs[-1]
            self._climb(pool, runners, rung, candidates, out_of_time, alive, last=last)
            if last or out_of_time():
                break
            dropped = alive - _going_on(self._ranked(runners, alive), candidates, stays)
            alive -= dropped
            for number in dropped:
                ended[number] = f"dropped at {rung.epochs}"
            for runner in chain.from_iterable(runners):
                runner.drop(dropped)
        if out_of_time():
            for number in alive:
                ended[number] = "out of time"
        return ended

    def _trials(
        self,
        candidates: Sequence[Candidate],
        outcomes: Sequence[dict[int, FoldOutcome]],
        ended: Sequence[str],
    ) -> list[Trial]:
        """Make a trial of each candidate that has an outcome in every run."""
        held = self._pooled(
            [{number: outcome.held for number, outcome in run.items()} for run in outcomes]
        )
        trials = []
        for number in sorted(held):
            of_candidate = [run[number] for run in outcomes]
            trials.append(
                self._trial(candidates[number], of_candidate, held[number], ended[number])
            )
        return trials

    @contextlib.contextmanager
    def _stopping(self) -> Iterator[None]:
        """Whatever ends the body (Ctrl-C too) ends the threads at their next epoch, so that nobody
        waits for them.
        """
        try:
            yield
        finally:
            self._stopped = True

    def _steps_an_epoch(self, candidates: Sequence[Candidate]) -> int:
        n_rows = self._sweep.task.epoch_size(
            self._sweep.part.labels[self._sweep.folds[0].train], self._sweep.balance
        )
        return max(
            (math.ceil(n_rows / one.recipe.batch_size) for one in candidates if one.recipe),
            default=1,
        )

    def _runners(self, candidates: Sequence[Candidate], fold: int, seed: int) -> list[Runner]:
        numbered = [
            (
                number,
                one if one.recipe is None else replace(one, recipe=replace(one.recipe, seed=seed)),
            )
            for number, one in enumerate(candidates)
        ]
        sweep, some = (
            replace(self._sweep, seed=seed),
            self._sweep.folds[fold],
        )  # drawn rows of logreg follow it
        return runners_of(numbered, sweep, some, self._features[fold])

    def _climb(
        self,
        pool: ThreadPoolExecutor,
        runners: Sequence[Sequence[Runner]],
        rung: Rung,
        candidates: Sequence[Candidate],
        out_of_time: Callable[[], bool],
        alive: set[int],
        *,
        last: bool,
    ) -> None:
        """Let all runners train up to the rung, and tell of the best whenever one of the first run
        is there.

        last: whether those that get there are at their end.
        """
        n_done = self._n_done + len(candidates) - len(alive)
        first, truth = (
            {id(one) for one in runners[0]},
            self._sweep.part.labels[self._sweep.folds[0].held],
        )
        tasks: dict[Future[None], Runner] = {
            pool.submit(one.advance, rung, out_of_time): one for of_run in runners for one in of_run
        }
        best: tuple[float, int] | None = None
        waiting = set(tasks)
        while waiting:
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for task in finished:
                task.result()
                runner = tasks[task]
                if id(runner) not in first:
                    continue
                held = runner.held()
                if held:
                    scored = self._metric(truth, np.stack(list(held.values()))).tolist()
                    best = max([*zip(scored, held, strict=True), *([best] if best else [])])
                n_done += len(alive & set(held)) if last else 0
            if best is not None:
                self._watch(Best(candidates[best[1]], best[0], n_done))

    def _ranked(self, runners: Sequence[Sequence[Runner]], alive: set[int]) -> list[int]:
        """Numbers of those that go on running, the best first."""
        held = self._pooled(
            [{k: v for one in of_run for k, v in one.held().items()} for of_run in runners]
        )
        there = sorted(alive & set(held))
        score = {
            number: float(np.mean(self._metric(self._sweep.truth, held[number])))
            for number in there
        }
        return sorted(there, key=lambda number: -score[number])

    def _pooled(
        self, found: Sequence[dict[int, NDArray[np.int64]]]
    ) -> dict[int, NDArray[np.int64]]:
        """Classes (S, V) of each candidate that has some in every run; runs are seed by seed, fold
        by fold.
        """
        n_folds = len(self._sweep.folds)
        everywhere = set.intersection(*(set(one) for one in found))
        return {
            number: np.stack(
                [
                    np.concatenate([one[number] for one in found[start : start + n_folds]])
                    for start in range(0, len(found), n_folds)
                ]
            )
            for number in everywhere
        }

    def _outcomes(
        self, pool: ThreadPoolExecutor, runners: Sequence[Sequence[Runner]]
    ) -> list[dict[int, FoldOutcome]]:
        """What became of each candidate, for each run."""
        tasks = [[pool.submit(runner.outcomes) for runner in of_run] for of_run in runners]
        return [{k: v for task in of_run for k, v in task.result().items()} for of_run in tasks]

    def _trial(
        self,
        candidate: Candidate,
        outcomes: Sequence[FoldOutcome],
        predicted: NDArray[np.int64],
        ended: str,
    ) -> Trial:
        sweep, first = self._sweep, outcomes[0]
        folds = [fold for _ in sweep.seeds for fold in sweep.folds]
        train = [
            sweep.task.scores(sweep.part.labels[fold.train], one.train)
            for fold, one in zip(folds, outcomes, strict=True)
        ]
        validation = [sweep.task.scores(sweep.truth, one) for one in predicted]
        settings = dict(first.settings)
        if "epochs" in settings:
            settings["epochs"] = round(float(np.mean([one.settings["epochs"] for one in outcomes])))
        elif len(outcomes) > 1:
            mean = np.exp(np.mean([np.log(one.settings["c"]) for one in outcomes]))
            settings["c"] = float(f"{mean:.6g}")
        return Trial(
            candidate=candidate,
            settings=settings,
            train=_mean(train),
            validation=_mean(validation),
            curve=first.curve,
            n_parameters=first.n_parameters,
            seconds=sum(one.seconds for one in outcomes),
            ended=ended,
            predicted=predicted,
        )


def _rungs(longest: int, steps_an_epoch: int, n_points: int) -> list[Rung]:
    """Three times as far each time; the path over C gains a point at each rung and ends with the
    last.
    """
    first = max(_FIRST_EPOCHS, math.ceil(_FIRST_STEPS / steps_an_epoch))
    epochs = []
    while first * ETA <= longest:
        epochs.append(first)
        first *= ETA
    epochs.append(longest)
    points = [min(n_points, 2 + place) for place in range(len(epochs))]
    points[-1] = n_points
    return [Rung(*one) for one in zip(epochs, points, strict=True)]


def _going_on(
    ranked: Sequence[int], candidates: Sequence[Candidate], stays: Callable[[Candidate], bool]
) -> set[int]:
    """The best third, the best of each shape, and those that stay."""
    going = set(ranked[: math.ceil(len(ranked) / ETA)])
    shapes = set()
    for number in ranked:
        shape = (candidates[number].head, candidates[number].factory)
        if shape not in shapes:
            shapes.add(shape)
            going.add(number)
    return going | {number for number in ranked if stays(candidates[number])}


@contextlib.contextmanager
def _workers() -> Iterator[ThreadPoolExecutor]:
    """Threads that compute with their share of the cores each. What waits for one when the body
    ends is not begun.
    """
    cores = max(
        1, torch.get_num_threads()
    )  # as many as torch may use: OMP_NUM_THREADS holds here, too
    n_workers = min(cores, _MOST_WORKERS)
    share = cores // n_workers
    pool = ThreadPoolExecutor(
        n_workers, "featcache-sweep", initializer=partial(torch.set_num_threads, share)
    )
    # Libraries below NumPy and scikit-learn would each start a thread for every core, in each of
    # ours.
    with threadpool_limits(limits=share, user_api="blas"):
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(
                cores
            )  # torch gives the number last set to every thread that is started later


def _mean(found: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: round(float(np.mean([one[name] for one in found])), 6) for name in found[0]}
