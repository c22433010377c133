"""Verb: from the cache to a head one can use, with the evidence for choosing it.

Reads top to bottom: read rows and labels, split them so that no text is on two sides, find the space that
holds them, search heads over its views, choose on validation, refit and calibrate, read the test rows once,
write the run. No backbone is ever loaded here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from featcache.cache.ledger import Reading as TestReading
from featcache.cache.ledger import earlier_choices, enter, test_name
from featcache.cache.space import Space
from featcache.data.parts import Parts, class_numbers, classes_of, read_parts
from featcache.data.texts import Reading
from featcache.errors import InputError, MachineError
from featcache.files import write_durably
from featcache.heads.balance import BALANCES
from featcache.heads.bundle import Description, save_bundle
from featcache.heads.network import Network
from featcache.heads.shape import ACTIVATIONS, HeadShape
from featcache.report.card import model_card
from featcache.report.progress import Progress, Silent
from featcache.report.tables import report_text
from featcache.select.breakdown import McNemar, mcnemar
from featcache.select.candidates import (
    HEADS,
    MAX_DEPTH,
    SEARCHES,
    TRIALS,
    Candidates,
    base_recipe,
    fits,
    shapes_of,
)
from featcache.select.choice import choose
from featcache.select.floors import floors
from featcache.select.folds import folds_of, one_fold
from featcache.select.metrics import METRICS, Difference, difference
from featcache.select.outcome import Calibration, FitResult, Rows, Scored
from featcache.select.sweep import Candidate, Fold, Part, Sweep, Trial
from featcache.select.verdict import judge
from featcache.select.views import VIEWS, View, reference_view, views_of
from featcache.spaces import DEFAULT_CACHE, cached_layers, find_space, parse_poolings

if TYPE_CHECKING:
    from featcache.heads.custom import CustomHead, Factory
    from featcache.select.features import Room, States
    from featcache.select.final import Final

DEFAULT_DEPTHS = (1, 2)
DEFAULT_WIDTHS = (64, 256)
_MOST_SEEDS, _FEWEST_FOLDS, _MOST_FOLDS, _LARGEST_FOCAL = 20, 2, 50, 10


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
    seed: int
    out: str | os.PathLike[str] | None
    progress: Progress | None


@overload
def fit_heads(train: Any, *, label: str, **options: Unpack[_Options]) -> FitResult: ...  # noqa: ANN401
@overload
def fit_heads(
    train: Any,  # noqa: ANN401
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
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> FitResult | dict[str, FitResult]:
    """Try heads on every cached view of the rows, choose one on validation, and save it as a bundle.

    train, validation, test: files or tables (see `data.read.read`).  label: their column of labels; of several, one
    head each, on one read of the cache, and a dict of results by label.
    split: shares "train/validation/test", or "train/validation" beside a test file or without a test.
    heads: of linear, mlp, logreg, and factories `(n_inputs, n_classes) -> torch.nn.Module` of your own.
    depths, widths, activation (gelu, relu, silu), layer_norm, residual: of the mlp (depth 0 is linear).
    layers, pool: a part of what is cached.  views: of single, layers (side by side), poolings (side by side), mix.
    metric: accuracy, macro_f1, weighted_f1 or mcc, on validation rows.
    search: halving, grid, random or optuna; trials: how many candidates [128; grid: all]; seconds: at most so long
    (the result then depends on the machine).  cv: folds over training and validation rows.  seeds: each candidate is
    trained so often, with seeds that follow `seed`.
    balance: none, weights, oversample or undersample; focal: exponent of the focal loss, 0 for cross-entropy.
    thresholds: labels by thresholds that are tuned on validation rows for macro-F1.  out: the run's folder; of
    several labels, the folder of their folders.

    The same call with the same seed gives the same result on one machine.
    Raises InputError and its kin for bad data or options; CacheMissError where no space holds all rows, with
    the extract command; SplitError under `strict` where a text is in two parts.
    """
    progress = progress or Silent()
    _check_out(out)
    _check_numbers(seed=seed, seeds=seeds, cv=cv, trials=trials, seconds=seconds, focal=focal)
    names, factories = _named(heads)
    wanted = _Wanted(
        heads=tuple(_checked_shapes(names, depths, widths, HeadShape("mlp", 1, 1, activation, layer_norm, residual))),
        factories=factories,
        views=_checked("view", _listed(views), VIEWS),
        metric=_checked("metric", [metric], METRICS)[0],
        search=_checked("search", [search], SEARCHES)[0],
        trials=trials,
        seconds=seconds,
        cv=cv,
        seeds=tuple((seed + number) % 2**32 for number in range(seeds)),
        balance=_checked("balance", [balance], BALANCES)[0],
        focal=focal,
        thresholds=thresholds,
    )
    _check_heads_are_some(wanted)
    reading = Reading(text, template, encoding, skip_empty)
    labels = [label] if isinstance(label, str) else list(dict.fromkeys(label))
    if not labels:
        msg = "no label is named"
        raise InputError(msg, cure="Name one or several columns: label='stars' or label=['stars', 'topic'].")
    parts = {
        one: read_parts(
            train, validation, test, label=one, split=split, reading=reading, seed=seed, strict=strict,
            warn=progress.note,
        )
        for one in labels
    }  # fmt: skip
    found = find_space(  # every label has the same rows, in other parts
        Path(cache), parts[labels[0]].present(), backbone=backbone, name=space, layers=layers, pool=pool,
        reading=reading.options(),
    )  # fmt: skip
    views_there = views_of(
        found.contract.layers if layers is None else cached_layers(layers, found),
        found.contract.poolings if pool is None else parse_poolings(pool),
        found.origin.hidden_size,
        wanted.views,
    )
    _check_views_are_some(views_there, wanted)
    from featcache.select.features import Room, States

    results: dict[str, FitResult] = {}
    with Room() as room:
        rows = [found.find(part.keys) for one in parts.values() for part in one.present()]
        states = States(found, np.concatenate(rows), room, kept=len(labels) > 1 or cv is not None)
        # All before the first is fitted: what is wrong with a label is known before anything is written.
        tasks = {one: _task(found, states, parts[one], one, wanted) for one in labels}
        for one in labels:
            taken = {Path(result.folder) for result in results.values()}
            folder = _run_folder(out, parts[one].train.source, one, taken, alone=len(labels) == 1)
            if len(labels) > 1:
                progress.note(f"label      {one}")
            results[one] = _fit(
                found, tasks[one], room, parts[one], one, views_there, wanted, reading, folder, progress
            )
    return results[label] if isinstance(label, str) else results


@dataclass(frozen=True)
class _Wanted:
    """What is searched, and how; checked. See `fit_heads`."""

    heads: tuple[HeadShape, ...]
    factories: tuple[Factory, ...]
    views: tuple[str, ...]
    metric: str
    search: str
    trials: int | None
    seconds: float | None
    cv: int | None
    seeds: tuple[int, ...]
    balance: str
    focal: float
    thresholds: bool

    def told(self) -> dict[str, Any]:
        """What `result.json` says of it."""
        names = ("search", "trials", "seconds", "cv", "balance", "focal", "thresholds")
        return {**{name: getattr(self, name) for name in names}, "seeds": list(self.seeds)}


@dataclass(frozen=True)
class _Task:
    """One label: its classes, the class numbers of each part's rows, and the sweep."""

    classes: Sequence[Any]
    labels: list[NDArray[np.int64]]
    sweep: Sweep


def _task(space: Space, states: States, parts: Parts, label: str, wanted: _Wanted) -> _Task:
    classes = classes_of(parts, label)
    labels = [class_numbers(part.labels, classes) for part in parts.present()]
    return _Task(classes, labels, _sweep(space, states, parts, labels, len(classes), wanted))


def _fit(
    space: Space,
    task: _Task,
    room: Room,
    parts: Parts,
    label: str,
    views: Sequence[View],
    wanted: _Wanted,
    reading: Reading,
    folder: Path,
    progress: Progress,
) -> FitResult:
    """One label: search, choice, refit, test, run."""
    from featcache.select.final import finished

    started = time.perf_counter()
    classes, labels, sweep = task.classes, task.labels, task.sweep
    reference = Candidate(reference_view(space.contract.layers, space.contract.poolings), HeadShape("logreg"))
    trials = _searched(sweep, space.origin.hidden_size, views, wanted, reference, room, progress)
    asked = reference.view in views and reference.head in wanted.heads
    chosen = choose([trial for trial in trials if asked or trial.candidate != reference] or trials, sweep)
    linear = next(trial for trial in trials if trial.candidate == reference)

    progress.note("refitting the choice and the linear reference on training and validation rows")
    final = finished(chosen, sweep, thresholds=wanted.thresholds)
    rival = final if chosen is linear else finished(linear, sweep, thresholds=wanted.thresholds)
    test = None if parts.test is None else Part(space.find(parts.test.keys), labels[2])
    best, plain, gain, disagreement = _read_test(sweep, test, final, rival, classes)
    bundle = folder / "bundle"
    before = _entered(space, parts, labels, label, chosen, sweep.seed, folder)
    if before:
        progress.note(_flag(before))
    majority_floor, tfidf_floor = floors([part.texts for part in parts.present()], labels, len(classes))
    n_test = len(parts.test.texts) if parts.test else 0
    result = FitResult(
        best=best[0],
        linear=plain,
        majority=majority_floor,
        tfidf=tfidf_floor,
        gain=gain,
        mcnemar=disagreement,
        calibration=best[1],
        verdict=judge(linear, trials, sweep, cure=shlex.join(["featcache", "predict", str(bundle), "DATA"])),
        metric=wanted.metric,
        classes=list(classes),
        largest_share=max(parts.train.labels.count(one) for one in classes) / len(parts.train.labels),
        rows=Rows(len(parts.train.texts), len(parts.validation.texts), n_test, parts.dropped),
        searched=wanted.told(),
        test_read_before=[asdict(one) for one in before],
        space=space.name,
        signature=_signature(space, chosen, parts, wanted, sweep.seed),
        trials=tuple(trials),
        seconds=time.perf_counter() - started,
        bundle=str(bundle),
        folder=str(folder),
    )
    description = Description(
        head=chosen.head.kind,
        classes=list(classes),
        label=label,
        layers=list(chosen.view.layers),
        pooling=list(chosen.view.poolings),
        contract=json.loads(space.contract.to_json()),
        space=space.name,
        backbone=space.origin.backbone,
        template=reading.template,
        text=reading.text,
        scores=best[0].to_json(),
        versions={name: version(name) for name in ("featcache", "numpy", "scikit-learn", "torch")},
        temperature=best[1].temperature,
        offsets=best[1].offsets,
    )
    _write_run(folder, result, final.head, description)
    return result


# -- what was asked for -----------------------------------------------------------------------------------------------


def _listed(names: str | Sequence[str]) -> list[str]:
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)


def _named(heads: Sequence[str | Factory] | str) -> tuple[list[str], tuple[Factory, ...]]:
    """Kinds of heads by name, and factories of custom ones."""
    given = _listed(heads) if isinstance(heads, str) else list(heads)
    names = [one for one in given if isinstance(one, str)]
    return names, tuple(one for one in given if not isinstance(one, str))


def _checked(noun: str, names: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        msg = f"there is no {noun} {(unknown or [''])[0]!r}"
        raise InputError(msg, cure=f"Choose of {', '.join(known)}.")
    return tuple(dict.fromkeys(names))


def _checked_shapes(
    names: Sequence[str], depths: Sequence[int], widths: Sequence[int], form: HeadShape
) -> list[HeadShape]:
    unknown = [name for name in names if name not in HEADS]
    if unknown:
        msg = f"there is no head {unknown[0]!r}"
        raise InputError(msg, cure=f"Choose of {', '.join(HEADS)}, separated by commas.")
    if any(not 0 <= depth <= MAX_DEPTH for depth in depths) or any(width < 1 for width in widths):
        msg = f"depths {list(depths)} and widths {list(widths)}: a depth is 0 to {MAX_DEPTH}, a width 1 or more"
        raise InputError(msg, cure="For example --depths 1,2 --widths 64,256.")
    _checked("activation", [form.activation], ACTIVATIONS)
    return shapes_of(names, depths, widths, form)


def _check_heads_are_some(wanted: _Wanted) -> None:
    if not wanted.heads and not wanted.factories:
        msg = "no head is left to try: mlp needs depths and widths"
        raise InputError(msg, cure="For example --heads logreg,mlp --depths 1,2 --widths 64,256.")


def _check_views_are_some(views: Sequence[View], wanted: _Wanted) -> None:
    fit_somewhere = any(fits(view, head) for view in views for head in wanted.heads)
    if not fit_somewhere and not (wanted.factories and any(not view.mixed for view in views)):
        msg = f"nothing is left to try: these heads on the views {', '.join(wanted.views)} of what is cached"
        raise InputError(msg, cure=f"Choose views of {', '.join(VIEWS)}; `mix` needs several layers, and no logreg.")


def _check_numbers(
    *, seed: int, seeds: int, cv: int | None, trials: int | None, seconds: float | None, focal: float
) -> None:
    rules = (
        (0 <= seed < 2**32, f"the seed {seed} is not between 0 and 2^32 - 1", "Give another --seed."),
        (1 <= seeds <= _MOST_SEEDS, f"{seeds} seeds are not between 1 and {_MOST_SEEDS}", "For example --seeds 3."),
        (
            cv is None or _FEWEST_FOLDS <= cv <= _MOST_FOLDS,
            f"{cv} folds are not between {_FEWEST_FOLDS} and {_MOST_FOLDS}",
            "For example --cv 5.",
        ),
        (trials is None or trials >= 1, f"{trials} trials are no trial", f"Give --trials 1 or more [{TRIALS}]."),
        (seconds is None or seconds > 0, f"{seconds} seconds are no time", "For example --time 60."),
        (
            0 <= focal <= _LARGEST_FOCAL,
            f"the focal exponent {focal} is not between 0 and {_LARGEST_FOCAL}",
            "2 is usual: --focal 2.",
        ),
    )
    for holds, what, cure in rules:
        if not holds:
            raise InputError(what, cure=cure)


def _check_out(out: str | os.PathLike[str] | None) -> None:
    """A folder that cannot be written is worth knowing before the sweep, not after it."""
    place = Path(out or "runs")
    existing = next(folder for folder in (place, *place.absolute().parents) if folder.exists())
    if not existing.is_dir():
        msg = f"{existing} is a file, so no run can be kept in {place}"
        raise InputError(msg, cure="Choose a folder: --out DIR.")
    if not os.access(existing, os.W_OK):
        msg = f"the folder {existing} cannot be written"
        raise MachineError(msg, cure="Choose a folder that can be written: --out DIR.")


# -- search -----------------------------------------------------------------------------------------------------------


def _sweep(
    space: Space,
    states: States,
    parts: Parts,
    labels: Sequence[NDArray[np.int64]],
    n_classes: int,
    wanted: _Wanted,
) -> Sweep:
    """Training and validation rows with their folds; under --cv all of them are both."""
    train, held = parts.train, parts.validation
    part = Part(np.concatenate([space.find(train.keys), space.find(held.keys)]), np.concatenate(labels[:2]))
    folds: tuple[Fold, ...] = one_fold(len(train.texts), len(held.texts))
    if wanted.cv is not None:
        keys = np.concatenate([train.keys, held.keys])
        folds = folds_of(keys, [*train.labels, *held.labels], wanted.cv, seed=wanted.seeds[0])
    return Sweep(states.gather, part, folds, n_classes, wanted.metric, wanted.seeds[0], wanted.seeds, wanted.balance)


def _searched(
    sweep: Sweep,
    width: int,
    views: Sequence[View],
    wanted: _Wanted,
    reference: Candidate,
    room: Room,
    progress: Progress,
) -> list[Trial]:
    """Trials of all candidates, and of the linear reference."""
    from featcache.select.search import Best, Search

    recipe = base_recipe(
        len(sweep.folds[0].train), seed=sweep.seed, balanced=wanted.balance == "weights", focal=wanted.focal
    )
    space = Candidates(tuple(views), wanted.heads, recipe, wanted.factories)
    deadline = None if wanted.seconds is None else time.monotonic() + wanted.seconds
    shown = 0

    def watch(best: Best) -> None:
        nonlocal shown
        detail = f"best so far {best.score:.3f} {best.candidate.head} on {best.candidate.view}"
        progress.advance(best.n_done - shown, detail)
        shown = best.n_done

    search = Search(
        sweep, width, room=room, watch=watch,
        out_of_time=lambda: deadline is not None and time.monotonic() > deadline,
    )  # fmt: skip
    count = wanted.trials or TRIALS
    candidates = space.asked_for(wanted.search, wanted.trials)
    progress.begin("sweep", count if wanted.search == "optuna" else len(candidates))
    try:
        if wanted.search == "optuna":
            from featcache.select.tpe import search_with_optuna

            trials = search_with_optuna(search, space, count, metric=wanted.metric, seed=sweep.seed)
        else:
            stays = reference.__eq__
            trials = search.run(candidates, halving=wanted.search == "halving", stays=stays)
    except (RuntimeError, MemoryError) as error:
        if "memory" not in str(error) and not isinstance(error, MemoryError):
            raise
        msg = f"memory ran out while {len(candidates)} heads were trained"
        raise MachineError(msg, cure="Try fewer --widths, --layers, --pool, --trials or --cv.") from error
    finally:
        progress.end()
    if not any(trial.candidate == reference for trial in trials):
        trials += search.run([reference], halving=False, in_time=False)
    return trials


# -- test and run -----------------------------------------------------------------------------------------------------


def _read_test(
    sweep: Sweep, test: Part | None, final: Final, rival: Final, classes: Sequence[Any]
) -> tuple[tuple[Scored, Calibration], Scored, Difference | None, McNemar | None]:
    """Scores of the chosen head and the reference on the test rows: the only place where these are read."""
    from featcache.select.final import tested

    if test is None:
        return (Scored(final.trial, None), final.calibration), Scored(rival.trial, None), None, None
    best, calibration, mine = tested(final, sweep, test, classes)
    plain, _, theirs = tested(rival, sweep, test, classes)
    gain = difference(sweep.metric, test.labels, mine, theirs, sweep.n_classes, seed=sweep.seed)
    scored = Scored(final.trial, best), calibration
    return scored, Scored(rival.trial, plain), gain, mcnemar(test.labels, mine, theirs)


def _entered(
    space: Space,
    parts: Parts,
    labels: Sequence[NDArray[np.int64]],
    label: str,
    chosen: Trial,
    seed: int,
    folder: Path,
) -> list[TestReading]:
    """Other choices that the cache remembers on these test rows; this one is added to them."""
    if parts.test is None:
        return []
    named = {"head": str(chosen.head), "view": str(chosen.view), "seed": seed, **chosen.settings}
    reading = TestReading(
        test=test_name(parts.test.keys, labels[2]),
        label=label,
        choice=json.dumps(named, sort_keys=True, ensure_ascii=False),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        run=str(folder),
    )
    before = earlier_choices(space.path, reading)
    enter(space.path, reading)
    return before


def _flag(before: Sequence[TestReading]) -> str:
    others = "another choice was" if len(before) == 1 else f"{len(before)} other choices were"
    return f"warning    {others} scored on these test rows before: whoever reports the best of them has chosen on test"


def _signature(space: Space, trial: Trial, parts: Parts, wanted: _Wanted, seed: int) -> str:
    """Everything the scores depend on, in one line: print it beside a score that is to be compared."""
    named = {
        "space": space.name,
        "head": str(trial.head).replace(" ", "-"),
        "view": str(trial.view).replace(" ", "-"),
        "recipe": hashlib.sha256(json.dumps(trial.settings, sort_keys=True).encode()).hexdigest()[:12],
        "rows": hashlib.sha256(b"".join(part.keys.tobytes() for part in parts.present())).hexdigest()[:12],
        "metric": wanted.metric,
        "search": hashlib.sha256(repr(wanted.told()).encode()).hexdigest()[:12],
        "seed": seed,
        "version": version("featcache"),
    }
    return "|".join(f"{name}:{value}" for name, value in named.items())


def _run_folder(
    out: str | os.PathLike[str] | None, source: str, label: str, taken: Collection[Path], *, alone: bool
) -> Path:
    """The folder asked for (with one for each of several labels), or `runs/<data>-<label>`, numbered if taken.

    taken: by other labels of this call.
    """
    if out is not None and alone:
        return Path(out)
    named = label
    if out is None:
        stem = Path(source.split(", ", maxsplit=1)[0].split(":", maxsplit=1)[0]).name.split(".")[0]
        named = f"{stem}-{label}"
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", named).strip("-") or ("run" if out is None else "label")
    parent, number = Path("runs" if out is None else out), 2
    folder = parent / name
    while folder in taken or (out is None and folder.exists()):
        folder, number = parent / f"{name}-{number}", number + 1
    return folder


def _write_run(folder: Path, result: FitResult, head: Network | CustomHead, description: Description) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"the folder {folder} cannot be made: {error.strerror}"
        raise MachineError(msg, cure="Choose a folder that can be written: --out DIR.") from error
    lines = "".join(json.dumps(trial.record(), ensure_ascii=False) + "\n" for trial in result.trials)
    write_durably(folder, "trials.jsonl", lines.encode())
    save_bundle(folder / "bundle", head, description, model_card(result, asdict(description)))
    write_durably(folder, "report.txt", report_text(result).encode())
    write_durably(folder, "result.json", json.dumps(result.to_json(), indent=2, ensure_ascii=False).encode())
