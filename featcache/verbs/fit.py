"""Verb: from the cache to a head one can use, with the evidence for choosing it.

Reads top to bottom: read rows and labels, split them so that no text is on two sides, find the
space that holds them, search heads over its views, choose on validation, refit and calibrate, read
the test rows once, write the run. No backbone is ever loaded here.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

import numpy as np

from featcache.bundles.description import Description
from featcache.data.checks import Finding, Truncation, check_parts, leak_error, leaks
from featcache.data.parts import read_parts
from featcache.data.texts import TextOptions
from featcache.errors import InputError
from featcache.evidence import mislabelled
from featcache.evidence.floors import floors
from featcache.evidence.verdict import KINDS, Verdict, judge
from featcache.features.commands import DEFAULT_CACHE
from featcache.features.find import find_space
from featcache.features.views import VIEWS
from featcache.heads.shape import HeadShape
from featcache.progress import Progress, Silent, Stage
from featcache.report.card import model_card
from featcache.report.page import write_page
from featcache.report.text.fit import report_text
from featcache.runs.command import command_of, sibling_of
from featcache.runs.folder import check_out, run_folders, signature_of, write_run
from featcache.runs.ledger import LedgerEntry, earlier_choices, enter, test_name
from featcache.runs.result import FitResult, Mislabelled, RunOrigin
from featcache.search.candidates import HEADS, TRIALS, Candidates, base_recipe
from featcache.search.options import SearchOptions, heads_asked_for, listed, seeds_from
from featcache.search.problem import LabelProblem, memory_told, views_asked_for
from featcache.search.rows import ShownRow
from featcache.search.scores import RowPredictions
from featcache.search.selection import indistinct
from featcache.search.trial import Trial
from featcache.tasks.balance import epoch_size

if TYPE_CHECKING:
    from featcache.evidence.curves import MeasuredCurve
    from featcache.evidence.mislabelled import MislabelledCandidates
    from featcache.features.budget import MemoryBudget
    from featcache.heads.kinds.custom import Factory
    from featcache.search.finalists import Compared

_SHOWN = 20  # mistakes, and rows that may be labelled wrongly, that a report shows
DEFAULT_DEPTHS = (1, 2)
DEFAULT_WIDTHS = (64, 256)


class _Options(TypedDict, total=False):
    """The options of `fit_heads`, for its two signatures."""

    validation: Any
    test: Any
    split: str | None
    cache: str | os.PathLike[str]
    strict: bool
    backbone: str | os.PathLike[str] | None
    space: str | None
    text: str | None
    template: str | None
    encoding: str
    skip_empty: bool
    heads: Sequence[str | Factory] | str
    depths: Sequence[int]
    widths: Sequence[int]
    activation: str
    layer_norm: bool
    residual: bool
    layers: str | Sequence[int] | None
    pool: str | Sequence[str] | None
    views: str | Sequence[str]
    metric: str
    search: str
    trials: int | None
    seconds: float | None
    cv: int | None
    seeds: int
    balance: str
    focal: float
    thresholds: bool
    evidence: bool
    seed: int
    out: str | os.PathLike[str] | None
    progress: Progress | None


@overload
def fit_heads(train: Any, *, label: str, **options: Unpack[_Options]) -> FitResult: ...
@overload
def fit_heads(
    train: Any,
    *,
    label: list[str] | tuple[str, ...],
    **options: Unpack[_Options],
) -> dict[str, FitResult]: ...
def fit_heads(
    train: Any,
    *,
    label: str | Sequence[str],
    validation: Any = None,
    test: Any = None,
    split: str | None = None,
    cache: str | os.PathLike[str] = DEFAULT_CACHE,
    strict: bool = False,
    backbone: str | os.PathLike[str] | None = None,
    space: str | None = None,
    text: str | None = None,
    template: str | None = None,
    encoding: str = "utf-8",
    skip_empty: bool = False,
    heads: Sequence[str | Factory] | str = HEADS,
    depths: Sequence[int] = DEFAULT_DEPTHS,
    widths: Sequence[int] = DEFAULT_WIDTHS,
    activation: str = "gelu",
    layer_norm: bool = False,
    residual: bool = False,
    layers: str | Sequence[int] | None = None,
    pool: str | Sequence[str] | None = None,
    views: str | Sequence[str] = VIEWS,
    metric: str = "macro_f1",
    search: str = "halving",
    trials: int | None = None,
    seconds: float | None = None,
    cv: int | None = None,
    seeds: int = 1,
    balance: str = "none",
    focal: float = 0.0,
    thresholds: bool = False,
    evidence: bool = True,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> FitResult | dict[str, FitResult]:
    """Try heads on every cached view of the rows, choose one on validation, and save it as a
    bundle.

    train, validation, test: files or tables (see `data.read.read`).  label: their column of labels;
    of several, one head each, on one read of the cache, and a dict of results by label.
    split: shares "train/validation/test", or "train/validation" beside a test file or without a
    test.
    heads: of linear, mlp, logreg, and factories `(n_inputs, n_classes) -> torch.nn.Module` of your
    own. depths, widths, activation (gelu, relu, silu), layer_norm, residual: of the mlp (depth 0 is
    linear).
    layers, pool: a part of what is cached.  views: of single, layers (side by side), poolings (side
    by side), mix.
    metric: accuracy, macro_f1, weighted_f1 or mcc, on validation rows.
    search: halving, grid, random or optuna; trials: how many candidates [128; grid: all]; seconds:
    at most so long for each label (the result then depends on the machine, and close heads are not
    compared in folds).
    cv: folds over training and validation rows.  seeds: each candidate is trained so often, with
    seeds from `seed` on.
    balance: none, weights, oversample or undersample; focal: exponent of the focal loss, 0 for
    cross-entropy.
    thresholds: labels by thresholds that are tuned on validation rows for macro-F1.  evidence:
    whether the experiments for a verdict are made, rows looked for that are labelled wrongly, and a
    page written.  out: the run's folder; of several labels, the folder of their folders.

    The same call with the same seed gives the same result on one machine.
    Raises InputError and its kin for bad data or options; CacheMissError where no space holds all
    rows, with the extract command; SplitError under `strict` where a text is in two parts.
    """
    asked = dict(locals())
    progress = progress or Silent()
    check_out(out)
    shapes, factories = heads_asked_for(
        heads, depths, widths, HeadShape("mlp", 1, 1, activation, layer_norm, residual)
    )
    wanted = SearchOptions(
        shapes,
        factories,
        listed(views),
        metric,
        search,
        trials,
        seconds,
        cv,
        seeds_from(seed, seeds),
        balance,
        focal,
        thresholds,
    )
    reading = TextOptions(text, template, encoding, skip_empty)
    labels = [label] if isinstance(label, str) else list(dict.fromkeys(label))
    if not labels:
        msg = "no label is named"
        raise InputError(
            msg, cure="Name one or several columns: label='stars' or label=['stars', 'topic']."
        )
    parts = {
        one: read_parts(
            train,
            validation,
            test,
            label=one,
            split=split,
            reading=reading,
            seed=seed,
            strict=strict,
            warn=progress.note,
        )
        for one in labels
    }
    if wanted.cv is not None and validation is not None:
        progress.note(
            "warning    with --cv, folds are made of training and validation rows together"
        )
    found = find_space(  # every label has the same rows, in other parts
        Path(cache),
        parts[labels[0]].present(),
        backbone=backbone,
        name=space,
        layers=layers,
        pool=pool,
        reading=reading.options(),
    )
    views_there = views_asked_for(found, layers, pool, wanted)
    from featcache.features.budget import MemoryBudget
    from featcache.features.cached import CachedStates

    results = {}
    with MemoryBudget() as room:
        rows = [found.find(part.keys) for one in parts.values() for part in one.present()]
        states = CachedStates(found, np.concatenate(rows), room)
        folders = run_folders(out, parts[labels[0]].train.source, labels)
        # All before the first is fitted: what is wrong with a label is known before anything is
        # written.
        tasks = [
            LabelProblem.of(
                one, parts[one], found, states, wanted, views_there, split=validation is None
            )
            for one in labels
        ]
        findings = [_findings(task, reading, progress, strict=strict) for task in tasks]
        command = command_of("featcache fit-heads", fit_heads, asked)
        for task, of_data, folder in zip(tasks, findings, folders, strict=True):
            if len(labels) > 1:
                progress.note(f"label      {task.label}")
            with memory_told():
                cures = (
                    _cures(asked, task.label, folder, deep=any(one.depth for one in shapes))
                    if evidence
                    else None
                )
                results[task.label] = _fit(task, of_data, command, reading, folder, progress, cures)
    return results[label] if isinstance(label, str) else results


def _findings(
    task: LabelProblem, reading: TextOptions, progress: Progress, *, strict: bool
) -> list[Finding]:
    """What is wrong with the data. Raises LeakError under `strict` where they give labels or test
    rows away.

    Near duplicates on two sides are no such error where the sides were drawn here: nobody can mend
    that in a file.
    """
    parts = list(zip(("train", "validation", "test"), task.parts.present(), strict=False))
    n_tokens, cut = task.space.token_counts(
        np.concatenate([task.space.find(part.keys) for _, part in parts])
    )
    truncated = Truncation(task.space.contract.max_length, n_tokens, cut)
    found = check_parts(parts, truncated=truncated, label=task.label, reading=reading, quick=True)
    files = {origin for _, part in parts[1:] for origin in part.origins} - set(
        task.parts.train.origins
    )
    refused = [one for one in found if files or one.kind != "near-duplicate-shared"]
    error = leak_error(refused) if strict else None
    if error is not None:
        raise error
    for one in leaks(found):
        progress.note(f"warning    {one.what}")
    return found


def _fit(
    task: LabelProblem,
    findings: list[Finding],
    command: str | None,
    reading: TextOptions,
    folder: Path,
    progress: Progress,
    cures: Mapping[str, str] | None,
) -> FitResult:
    """Search, choice, refit, test, verdict, run. cures: of each kind of verdict; None for no
    verdict.
    """
    from featcache.features.budget import MemoryBudget
    from featcache.search.finalise import finished, read_test

    started = time.perf_counter()
    parts, classes, sweep, wanted = task.parts, task.classes, task.sweep, task.wanted
    with MemoryBudget() as room:
        trials, linear = _searched(task, room, progress)
        trials = trials or [linear]  # there was no time for any other
        chosen, compared = _chosen(trials, task, room, progress)

    progress.note("refitting the choice and the linear reference on training and validation rows")
    final = finished(chosen, sweep, thresholds=wanted.thresholds)
    rival = final if chosen is linear else finished(linear, sweep, thresholds=wanted.thresholds)
    read = read_test(final, rival, sweep, task.test, classes)
    bundle = folder / "bundle"
    majority_floor, tfidf_floor = floors(
        [part.texts for part in parts.present()], task.numbers, len(classes)
    )
    verdict, growth = (None, None) if cures is None else _judged(task, cures, progress)
    doubted = None if cures is None else _doubted(task, trials, chosen, progress)
    before = _entered(
        task, chosen, folder, progress
    )  # as late as can be: of an interrupted run nobody saw a score
    if before:
        progress.note(_flag(before))
    result = FitResult(
        best=read.best,
        linear=read.linear,
        majority=majority_floor,
        tfidf=tfidf_floor,
        gain=read.gain,
        mcnemar=read.mcnemar,
        calibration=read.calibration,
        answers=read.answers,
        mistakes=_mistakes(task, read.answers),
        verdict=verdict,
        growth=growth,
        findings=findings,
        mislabelled=_mislabelled(task, doubted),
        metric=wanted.metric,
        classes=classes,
        largest_share=max(parts.train.labels.count(one) for one in classes)
        / len(parts.train.labels),
        rows=task.rows,
        searched={**wanted.told(), "compared": [asdict(one) for one in compared]},
        test_read_before=[asdict(one) for one in before],
        space=task.space.name,
        signature=signature_of(task.space.name, chosen, parts, wanted),
        trials=tuple(trials),
        seconds=time.perf_counter() - started,
        bundle=str(bundle),
        folder=str(folder),
        origin=RunOrigin(
            label=task.label,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=command,
            backbone=task.space.origin.backbone,
            versions={
                name: version(name) for name in ("featcache", "numpy", "scikit-learn", "torch")
            },
            contract=json.loads(task.space.contract.to_json()),
        ),
    )
    description = Description(
        head=chosen.head.kind,
        classes=classes,
        label=task.label,
        layers=list(chosen.view.layers),
        pooling=list(chosen.view.poolings),
        contract=result.origin.contract,
        space=task.space.name,
        backbone=task.space.origin.backbone,
        template=reading.template,
        text=reading.text,
        scores=result.to_json()["best"],
        versions=result.origin.versions,
        temperature=read.calibration.temperature,
        offsets=read.calibration.offsets,
    )
    write_run(
        folder,
        result,
        final.head,
        description,
        answered=task.answered(read.answers.part),
        doubted=doubted,
        chosen_on=task.answered("chosen on"),
        sweep=sweep,
        card=model_card(result, description),
        text=report_text(result),
    )
    if cures is not None:
        write_page(folder)
    return result


# -- search ----------------------------------------------------------------------------------------


def _searched(
    task: LabelProblem, room: MemoryBudget, progress: Progress
) -> tuple[list[Trial], Trial]:
    """Trials of all candidates, and that of the linear reference, which need not be one of them."""
    from featcache.search.search import Search

    sweep, wanted, reference = task.sweep, task.wanted, task.reference
    recipe = base_recipe(
        epoch_size(sweep.part.labels[sweep.folds[0].train], wanted.balance),
        seed=sweep.seed,
        balanced=wanted.balance == "weights",
        focal=wanted.focal,
    )
    offered = Candidates(tuple(task.views), wanted.heads, recipe, wanted.factories)
    deadline = None if wanted.seconds is None else time.monotonic() + wanted.seconds
    count = wanted.trials or TRIALS
    candidates = offered.asked_for(wanted.search, wanted.trials)
    total = count if wanted.search == "optuna" else len(candidates)
    with Stage(progress, "sweep", total) as stage:
        search = Search(
            sweep,
            room=room,
            watch=lambda best: stage.reach(best.n_done, str(best)),
            out_of_time=lambda: deadline is not None and time.monotonic() > deadline,
        )
        if wanted.search == "optuna":
            from featcache.search.tpe import search_with_optuna

            trials = search_with_optuna(
                search, offered, count, metric=wanted.metric, seed=sweep.seed
            )
        else:
            stays = reference.__eq__
            trials = search.run(candidates, halving=wanted.search == "halving", stays=stays)
    known = [trial for trial in trials if trial.candidate == reference]
    return trials, known[0] if known else search.run([reference], in_time=False)[0]


def _chosen(
    trials: Sequence[Trial], task: LabelProblem, room: MemoryBudget, progress: Progress
) -> tuple[Trial, list[Compared]]:
    """The choice, on validation rows; heads that these do not tell apart are compared in folds of
    all rows.

    Not so where validation rows have a file of their own: they may be meant to differ from those of
    training.
    """
    from featcache.search.finalists import chosen_among

    finalists, wanted = indistinct(trials, task.sweep), task.wanted
    if len(finalists) == 1 or not task.split or wanted.cv is not None or wanted.seconds is not None:
        return finalists[0], []
    folds = task.folds()
    if not folds:
        return finalists[0], []
    progress.note(
        f"comparing {len(finalists)} heads that validation rows do not tell apart, in {len(folds)} folds"
    )
    return chosen_among(finalists, task.sweep, folds, room=room)


# -- verdict and rows to look at -------------------------------------------------------------------


def _cures(asked: Mapping[str, Any], label: str, folder: Path, *, deep: bool) -> dict[str, str]:
    """A command for each kind of verdict. asked: the arguments of the call.  deep: whether heads
    with hidden layers were tried, so that the bundle may have one.
    """
    predict = shlex.join(["featcache", "predict", str(folder / "bundle"), "DATA"])
    texts = ("text", "template", "encoding", "skip_empty", "cache")
    parts = ("validation", "test")
    curves = (*parts, *texts, "backbone", "space", "layers", "pool", "metric", "balance")

    def command(name: str, options: Sequence[str], label: str | None) -> str:
        return sibling_of(f"featcache {name}", fit_heads, asked, options, label=label)

    cures = dict.fromkeys(KINDS, predict) | {  # the bundle has what helps already
        "data-limited": command("curves", curves, label),
        "backbone": command("extract", texts, None) + " --backbone ANOTHER",
        "no-signal": command("check", (*parts, *texts), label),
    }
    if not deep:
        cures["capacity"] = command(
            "fit-heads", (*parts, *texts, "backbone", "space", "split", "metric"), label
        )
        cures["capacity"] += " {head}"
    return cures


def _judged(
    task: LabelProblem, cures: Mapping[str, str], progress: Progress
) -> tuple[Verdict, MeasuredCurve]:
    """The verdict on the linear reference, by experiments on rows of training and validation."""
    from featcache.evidence.experiments import experiments
    from featcache.features.budget import MemoryBudget

    subject = task.reference
    sweep, left_out = task.for_verdict()
    texts = task.answered("chosen on").texts
    with Stage(progress, "verdict", 4) as stage, MemoryBudget() as room:
        found = experiments(
            subject,
            sweep,
            task.views,
            room=room,
            texts=texts,
            watch=lambda what: stage.advance(1, what),
        )
    return judge(
        found, cures, subject=f"linear head on {subject.view}", left_out=left_out
    ), found.growth


def _doubted(
    task: LabelProblem, trials: Sequence[Trial], chosen: Trial, progress: Progress
) -> MislabelledCandidates | None:
    """Rows of training and validation whose label is probably wrong; None where no folds can be
    had.
    """
    folds = task.folds()
    if not folds:
        return None
    progress.note("looking for rows that are labelled wrongly")
    few = mislabelled.best_few(trials, task.wanted.metric) or [chosen]
    return mislabelled.suspects(
        mislabelled.held_out(few, task.sweep, folds), task.sweep.part.labels
    )


def _mislabelled(task: LabelProblem, doubted: MislabelledCandidates | None) -> Mislabelled:
    if doubted is None:
        return Mislabelled(0, None, None, [])
    rows = [
        task.row("chosen on", int(place), int(given), float(sure))
        for place, given, sure in zip(
            doubted.rows, doubted.predicted, doubted.probability, strict=True
        )
    ]
    return Mislabelled(
        len(rows), doubted.sentence(), mislabelled.NAME if rows else None, rows[:_SHOWN]
    )


def _mistakes(task: LabelProblem, answers: RowPredictions) -> list[ShownRow]:
    """The most confident wrong ones."""
    return [
        task.row(
            answers.part, int(place), int(answers.best[place]), float(answers.confidence[place])
        )
        for place in answers.mistakes(_SHOWN)
    ]


# -- test and run ----------------------------------------------------------------------------------


def _entered(
    task: LabelProblem, chosen: Trial, folder: Path, progress: Progress
) -> list[LedgerEntry]:
    """Other choices that the cache remembers on these test rows; this one is added to them."""
    if task.parts.test is None:
        return []
    named = {
        "head": str(chosen.head),
        "view": str(chosen.view),
        "seed": task.sweep.seed,
        **chosen.settings,
    }
    reading = LedgerEntry(
        test=test_name(task.parts.test.keys, task.numbers[2]),
        label=task.label,
        choice=json.dumps(named, sort_keys=True, ensure_ascii=False),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        run=str(folder),
    )
    before = earlier_choices(task.space.path, reading)
    if not enter(task.space.path, reading):
        progress.note(
            "warning    the cache is read-only: that these test rows were read is not recorded"
        )
    return before


def _flag(before: Sequence[LedgerEntry]) -> str:
    others = "another choice was" if len(before) == 1 else f"{len(before)} other choices were"
    return f"warning    {others} scored on these test rows before: whoever reports the best of them has chosen on test"
