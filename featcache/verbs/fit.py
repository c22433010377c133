"""Verb: from the cache to a head one can use, with the evidence for choosing it.

Reads top to bottom: read rows and labels, split them so that no text is on two sides, find the
space that holds them, search heads over its views, choose on validation, refit and calibrate, read
the test rows once, write the run. No backbone is ever loaded here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.cache.space import Space
from featcache.data.checks import Finding
from featcache.data.parts import Parts, read_parts
from featcache.data.texts import TextOptions
from featcache.features.commands import DEFAULT_CACHE
from featcache.features.find import find_space
from featcache.features.request import pooling_named
from featcache.features.views import VIEWS, View
from featcache.heads.shape import HeadShape
from featcache.progress import Progress, Silent
from featcache.report.card import model_card
from featcache.report.page import write_page
from featcache.report.text.fit import report_text
from featcache.runs.cures import cures_of_fit
from featcache.runs.folder import check_out, run_folders, write_run
from featcache.runs.result import FitResult
from featcache.search.candidates import HEADS
from featcache.search.options import SearchOptions, heads_asked_for, listed, seeds_from
from featcache.search.problem import LabelProblem, memory_told, unique_labels, views_asked_for
from featcache.verbs.options import BY_NAME, FIT_HEADS

if TYPE_CHECKING:
    from featcache.heads.module import Factory


def fit_heads(
    train: Any,
    *,
    label: str,
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
    depths: Sequence[int] = (1, 2),
    widths: Sequence[int] = (64, 256),
    activation: str = "gelu",
    layer_norm: bool = False,
    residual: bool = False,
    layers: str | Sequence[int] | None = None,
    pooling: str | Sequence[str] | None = None,
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
    pool: str | Sequence[str] | None = None,
) -> FitResult:
    """Try heads on every cached view of the rows, choose one, and save it as a bundle.

    The head is chosen on validation rows, refitted with them, and scored once on test rows. The
    same call with the same seed gives the same result on one machine.

    Args:
        train: Files or tables; see `data.read.read`.
        label: The column of the labels.
        validation: Rows to choose on; without them, a part of the training rows.
        test: Rows that are read once, at the end; without them, a part of the training rows.
        split: Shares of the parts, such as "0.7/0.1/0.2"; only two beside a test file.
        cache: The folder of the cache.
        strict: Raise where a text stands in two parts, instead of dropping it from training.
        backbone: The model whose space is used, where there are several spaces.
        space: The space that is used, by its name or the beginning of its name.
        text: The column of the texts; by default `text`, `sentence`, or the only one.
        template: Text made of columns, such as "{title}: {body}".
        encoding: The encoding of CSV, TSV and JSONL files.
        skip_empty: Go on without rows whose text is empty or missing.
        heads: Kinds of head, of linear, mlp and logreg, and factories of your own,
            `(n_inputs, n_classes) -> torch.nn.Module`.
        depths: Numbers of hidden layers of an mlp, up to 8; 0 is linear.
        widths: Widths of the hidden layers of an mlp.
        activation: The activation of an mlp: gelu, relu or silu.
        layer_norm: Normalise the hidden layers of an mlp.
        residual: Add to each hidden layer of an mlp the one before it.
        layers: Layers to try; by default all that are cached.
        pooling: Poolings to try; by default all that are cached.
        views: Kinds of view: single, layers (side by side), poolings (side by side), mix.
        metric: What the choice goes by: accuracy, macro_f1, weighted_f1 or mcc.
        search: How candidates are searched: halving, grid, random or optuna.
        trials: How many candidates are tried; by default 128, and all of a grid.
        seconds: The time limit of the search for each label. The result then depends on the
            machine, and close heads are not compared in folds.
        cv: Choose by this many folds over training and validation rows.
        seeds: The number of seeds that each candidate is trained with, from `seed` on.
        balance: For classes of unequal size: none, weights, oversample or undersample.
        focal: The exponent of the focal loss; 0 is cross-entropy.
        thresholds: Decide labels by thresholds tuned on validation rows for macro-F1.
        evidence: Make the experiments for a verdict, look for wrong labels, and write the page.
        seed: The seed of the split and the training.
        out: The folder of the run; by default named after data and label, in `runs`.
        progress: Where progress is shown; by default nowhere.
        pool: Another name of `pooling`.

    Returns:
        What was found, and where the bundle is.

    Raises:
        InputError: Data or options are wrong; classes derived from it say what.
        CacheMissError: No space holds all rows; the message has the `extract` command.
        SplitError: A text stands in two parts, under `strict`.
        MachineError: Memory or the disk is full.
    """
    arguments = dict(locals())  # `fit_labels` has all of them but the label
    del arguments["label"]
    return fit_labels(**arguments, labels=[label])[label]


def fit_labels(
    train: Any,
    *,
    labels: Sequence[str],
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
    depths: Sequence[int] = (1, 2),
    widths: Sequence[int] = (64, 256),
    activation: str = "gelu",
    layer_norm: bool = False,
    residual: bool = False,
    layers: str | Sequence[int] | None = None,
    pooling: str | Sequence[str] | None = None,
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
    pool: str | Sequence[str] | None = None,
) -> dict[str, FitResult]:
    """Fit heads for several labels of the same rows, on one read of the cache.

    Each label gets what `fit_heads` gives it alone.

    Args:
        train: Files or tables; see `data.read.read`.
        labels: The columns of the labels.
        validation: Rows to choose on; without them, a part of the training rows.
        test: Rows that are read once, at the end; without them, a part of the training rows.
        split: Shares of the parts, such as "0.7/0.1/0.2"; only two beside a test file.
        cache: The folder of the cache.
        strict: Raise where a text stands in two parts, instead of dropping it from training.
        backbone: The model whose space is used, where there are several spaces.
        space: The space that is used, by its name or the beginning of its name.
        text: The column of the texts; by default `text`, `sentence`, or the only one.
        template: Text made of columns, such as "{title}: {body}".
        encoding: The encoding of CSV, TSV and JSONL files.
        skip_empty: Go on without rows whose text is empty or missing.
        heads: Kinds of head, of linear, mlp and logreg, and factories of your own,
            `(n_inputs, n_classes) -> torch.nn.Module`.
        depths: Numbers of hidden layers of an mlp, up to 8; 0 is linear.
        widths: Widths of the hidden layers of an mlp.
        activation: The activation of an mlp: gelu, relu or silu.
        layer_norm: Normalise the hidden layers of an mlp.
        residual: Add to each hidden layer of an mlp the one before it.
        layers: Layers to try; by default all that are cached.
        pooling: Poolings to try; by default all that are cached.
        views: Kinds of view: single, layers (side by side), poolings (side by side), mix.
        metric: What the choice goes by: accuracy, macro_f1, weighted_f1 or mcc.
        search: How candidates are searched: halving, grid, random or optuna.
        trials: How many candidates are tried; by default 128, and all of a grid.
        seconds: The time limit of the search for each label. The result then depends on the
            machine, and close heads are not compared in folds.
        cv: Choose by this many folds over training and validation rows.
        seeds: The number of seeds that each candidate is trained with, from `seed` on.
        balance: For classes of unequal size: none, weights, oversample or undersample.
        focal: The exponent of the focal loss; 0 is cross-entropy.
        thresholds: Decide labels by thresholds tuned on validation rows for macro-F1.
        evidence: Make the experiments for a verdict, look for wrong labels, and write the page.
        seed: The seed of the split and the training.
        out: The folder of the runs' folders; of a single label, the run's folder itself.
        progress: Where progress is shown; by default nowhere.
        pool: Another name of `pooling`.

    Returns:
        What was found, by label.

    Raises:
        InputError: Data or options are wrong; classes derived from it say what.
        CacheMissError: No space holds all rows; the message has the `extract` command.
        SplitError: A text stands in two parts, under `strict`.
        MachineError: Memory or the disk is full.
    """
    pooling = pooling_named(pooling, pool)
    values = dict(locals())
    progress = progress or Silent()
    check_out(out)
    shapes, factories = heads_asked_for(
        heads, depths, widths, HeadShape("mlp", 1, 1, activation, layer_norm, residual)
    )
    options = SearchOptions(
        heads=shapes,
        factories=factories,
        views=listed(views),
        metric=metric,
        search=search,
        trials=trials,
        seconds=seconds,
        cv=cv,
        seeds=seeds_from(seed, seeds),
        balance=balance,
        focal=focal,
        thresholds=thresholds,
    )
    reading = TextOptions(text, template, encoding, skip_empty)
    labels = unique_labels(labels)
    parts = {
        label: read_parts(
            train,
            validation,
            test,
            label=label,
            split=split,
            reading=reading,
            seed=seed,
            strict=strict,
            warn=progress.note,
        )
        for label in labels
    }
    if cv is not None and validation is not None:
        what = "folds are made of training and validation rows together"
        progress.note(f"warning    with --cv, {what}")
    chosen_space = find_space(  # every label has the same rows, in other parts
        Path(cache),
        parts[labels[0]].present(),
        backbone=backbone,
        name=space,
        layers=layers,
        pool=pooling,
        reading=reading.options(),
    )
    tried = views_asked_for(chosen_space, layers, pooling, options)
    folders = run_folders(out, parts[labels[0]].train.source, labels)
    return _fit_all(parts, folders, chosen_space, tried, options, reading, values, progress)


def _fit_all(
    parts: Mapping[str, Parts],
    folders: Sequence[Path],
    space: Space,
    views: Sequence[View],
    options: SearchOptions,
    reading: TextOptions,
    values: Mapping[str, Any],
    progress: Progress,
) -> dict[str, FitResult]:
    """Fit the labels one after the other; `values` are the arguments of the call."""
    from featcache.evidence.label import findings_of
    from featcache.features.budget import MemoryBudget
    from featcache.features.cached import CachedStates

    results = {}
    with MemoryBudget() as budget, memory_told():
        rows = [space.find(part.keys) for each in parts.values() for part in each.present()]
        states = CachedStates(space, np.concatenate(rows), budget)
        # All labels before the first is fitted, so that what is wrong with one is known before
        # anything is written.
        split = values["validation"] is None
        problems = [
            LabelProblem.of(label, each, space, states, options, views, split=split)
            for label, each in parts.items()
        ]
        strict = values["strict"]
        findings = [findings_of(problem, progress, strict=strict) for problem in problems]
        command = FIT_HEADS.line(values["train"], values)
        has_depth = any(shape.depth for shape in options.heads)
        for problem, of_label, folder in zip(problems, findings, folders, strict=True):
            label, cures = problem.label, None
            if len(problems) > 1:
                progress.note(f"label      {label}")
            if values["evidence"]:
                cures = cures_of_fit(BY_NAME, values, label, folder, has_depth=has_depth)
            results[label] = _fit(problem, of_label, command, cures, reading, folder, progress)
    return results


def _fit(
    problem: LabelProblem,
    findings: list[Finding],
    command: str | None,
    cures: Mapping[str, str] | None,
    reading: TextOptions,
    folder: Path,
    progress: Progress,
) -> FitResult:
    """Fit one label: search, choose, refit, read the test rows, judge, and write the run.

    Args:
        problem: The label and its rows.
        findings: What is wrong with its data.
        command: The command that repeats the run, if there is one.
        cures: A command for each kind of verdict; None for no verdict.
        reading: How its texts were read.
        folder: The run's folder.
        progress: Where progress is shown.

    Returns:
        The result, which is written to the folder too.
    """
    from featcache.evidence.label import evidence_of
    from featcache.runs.outcome import description_of, record_test_read, result_of
    from featcache.search.finalise import finished, read_test
    from featcache.search.sweep import run_sweep

    started = time.perf_counter()
    selection = run_sweep(problem, progress)

    progress.note("refitting the choice and the linear reference on training and validation rows")
    chosen, linear, setup = selection.chosen, selection.linear, problem.sweep
    thresholds = problem.wanted.thresholds
    final = rival = finished(chosen, setup, thresholds=thresholds)
    if chosen is not linear:
        rival = finished(linear, setup, thresholds=thresholds)
    read = read_test(final, rival, setup, problem.test)

    evidence = evidence_of(problem, selection, findings, cures, progress)
    # As late as can be: nobody has seen a score of a run that was interrupted.
    earlier = record_test_read(problem, chosen, folder, progress)
    result = result_of(
        problem,
        selection,
        read,
        evidence,
        earlier=earlier,
        command=command,
        folder=folder,
        seconds=time.perf_counter() - started,
    )
    description = description_of(result, reading)
    write_run(
        folder,
        result,
        final.head,
        description,
        answered=problem.answered(read.answers.part),
        doubted=evidence.mislabelled,
        chosen_on=problem.answered("chosen on"),
        sweep=setup,
        card=model_card(result, description),
        text=report_text(result),
    )
    if cures is not None:
        write_page(folder)
    return result
