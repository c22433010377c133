"""The last steps for a head that was chosen: refitted, calibrated on validation rows, and scored on
test rows once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from featcache.features.matrices import raw_features
from featcache.heads.module import CustomHead
from featcache.heads.network import Network
from featcache.heads.setup import LabelledPositions, TrainingSetup
from featcache.search.refit import held_logits, refit
from featcache.search.scores import Calibration, RowPredictions, Scored, Tested
from featcache.search.trial import Trial
from featcache.tasks.breakdown import McNemar
from featcache.tasks.metrics import Difference
from featcache.tasks.protocol import Task


@dataclass(frozen=True)
class Final:
    """A head trained on training and validation rows, with what makes labels and probabilities of
    its logits.

    held: logits (V, C) of the sweep's validation rows by heads that were not trained on them.
    """

    trial: Trial
    task: Task
    head: Network | CustomHead
    calibration: Calibration
    held: NDArray[np.float32]

    def classes(self, logits: NDArray[np.float32]) -> NDArray[np.int64]:
        """(N,) of logits (N, C)."""
        return self.task.decide(logits, self.calibration.offsets)

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated, (N, C), of logits (N, C)."""
        return self.task.probabilities(logits, self.calibration.temperature)


@dataclass(frozen=True)
class Read:
    """What test rows say of the chosen head and of the linear reference; without them None, as in
    FitResult.

    calibration: of the chosen head.  gain: best less linear in the metric.  mcnemar: of the same
    two.  answers: row by row.
    """

    best: Scored
    linear: Scored
    calibration: Calibration
    gain: Difference | None
    mcnemar: McNemar | None
    answers: RowPredictions


def finished(trial: Trial, sweep: TrainingSetup, *, thresholds: bool) -> Final:
    """Refit a trial's head on all of the sweep's rows; temperature and thresholds are tuned on
    validation rows.

    Those are logits of heads that were not trained on the rows: one is trained on the training rows
    of each fold.
    """
    held = held_logits(trial, sweep)
    task = sweep.task
    found = task.temperature(held, sweep.truth)
    calibration = Calibration(
        temperature=found,
        validation_before=task.calibration_error(task.probabilities(held), sweep.truth),
        validation_after=task.calibration_error(task.probabilities(held, found), sweep.truth),
        test_before=None,
        test_after=None,
        offsets=task.thresholds(held, sweep.truth) if thresholds else None,
    )
    return Final(trial, task, refit(trial, sweep), calibration, held)


def tested(
    final: Final, sweep: TrainingSetup, test: LabelledPositions
) -> tuple[Tested, Calibration, NDArray[np.float32]]:
    """Scores on the test rows, the calibration there, and the logits, (N, C)."""
    task = sweep.task
    logits = final.head.logits(raw_features(sweep.source, final.trial.view, test.rows))
    given = final.classes(logits)
    calibrated = final.probabilities(logits)
    found = Tested(
        {name: task.interval(name, test.labels, given, seed=sweep.seed) for name in task.metrics},
        task.probability_scores(test.labels, calibrated),
        task.per_class(test.labels, given),
        task.confusion(test.labels, given),
    )
    calibration = replace(
        final.calibration,
        test_before=task.calibration_error(task.probabilities(logits), test.labels),
        test_after=task.calibration_error(calibrated, test.labels),
    )
    return found, calibration, logits


def read_test(
    final: Final,
    rival: Final,
    sweep: TrainingSetup,
    test: LabelledPositions | None,
) -> Read:
    """Scores of the chosen head and the reference on the test rows: the only place where these are
    read.
    """
    if test is None:
        answers = _answers("validation", final, rival, final.held, rival.held, sweep.truth)
        return Read(
            Scored(final.trial, None),
            Scored(rival.trial, None),
            final.calibration,
            None,
            None,
            answers,
        )
    best, calibration, mine = tested(final, sweep, test)
    linear, _, theirs = tested(rival, sweep, test)
    answers = _answers("test", final, rival, mine, theirs, test.labels)
    gain = sweep.task.difference(
        sweep.metric, test.labels, answers.best, answers.linear, seed=sweep.seed
    )
    scored = Scored(final.trial, best), Scored(rival.trial, linear)
    return Read(
        *scored,
        calibration,
        gain,
        sweep.task.compare_rows(test.labels, answers.best, answers.linear),
        answers,
    )


def _answers(
    part: str,
    final: Final,
    rival: Final,
    mine: NDArray[np.float32],
    theirs: NDArray[np.float32],
    truth: NDArray[np.int64],
) -> RowPredictions:
    probabilities, predicted = final.probabilities(mine), final.classes(mine)
    return RowPredictions(
        part,
        truth,
        predicted,
        rival.classes(theirs),
        probabilities,
        final.task.confidence(probabilities, predicted),
        final.task.reliability(probabilities, truth),
    )
