"""Verb: from the cache to a head one can use, with the evidence for choosing it.

Reads top to bottom: read rows and labels, split them so that no text is on two sides, find the space that
holds them, sweep heads over its views, choose on validation, refit, read the test rows once, write the run.
No backbone is ever loaded here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.space import Space
from featcache.data.parts import Parts, class_numbers, classes_of, read_parts
from featcache.data.texts import Reading
from featcache.errors import InputError, MachineError
from featcache.files import write_durably
from featcache.heads.bundle import Description, save_bundle
from featcache.heads.network import Network
from featcache.heads.shape import HeadShape
from featcache.report.card import model_card
from featcache.report.progress import Progress, Silent
from featcache.report.tables import report_text
from featcache.select.choice import best_of, choose
from featcache.select.floors import floors
from featcache.select.metrics import METRICS, Difference, Interval, difference, interval
from featcache.select.outcome import FitResult, Rows, Scored
from featcache.select.search import (
    HEADS,
    Part,
    Sweep,
    Trial,
    View,
    reference_view,
    refit,
    search,
    shapes_of,
    views_of,
)
from featcache.select.verdict import judge
from featcache.spaces import DEFAULT_CACHE, cached_layers, find_space, parse_poolings

DEFAULT_DEPTHS = (1, 2)
DEFAULT_WIDTHS = (64, 256)


def fit_heads(
    train: Any,  # noqa: ANN401 - see data.read
    *,
    label: str,
    validation: Any = None,  # noqa: ANN401
    test: Any = None,  # noqa: ANN401
    split: str | None = None,
    cache: str | os.PathLike[str] = DEFAULT_CACHE,
    strict: bool = False,
    backbone: str | os.PathLike[str] | None = None,
    space: str | None = None,
    text: str | None = None,
    template: str | None = None,
    encoding: str = "utf-8",
    skip_empty: bool = False,
    heads: Sequence[str] | str = HEADS,
    depths: Sequence[int] = DEFAULT_DEPTHS,
    widths: Sequence[int] = DEFAULT_WIDTHS,
    layers: str | Sequence[int] | None = None,
    pool: str | Sequence[str] | None = None,
    metric: str = "macro_f1",
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> FitResult:
    """Try heads on every cached view of the rows, choose one on validation, and save it as a bundle.

    train, validation, test: files or tables (see `data.read.read`); label: their column of labels.
    split: shares "train/validation/test", or "train/validation" beside a test file or without a test.
    heads: of linear, mlp, logreg; depths, widths: of the mlp (depth 0 is linear).  layers, pool: a part of
    what is cached.  metric: macro_f1, weighted_f1, accuracy or mcc, on validation rows.  out: the run's folder.

    The same call with the same seed gives the same result on one machine.
    Raises InputError and its kin for bad data or options; CacheMissError where no space holds all rows, with
    the extract command; SplitError under `strict` where a text is in two parts.
    """
    started = time.perf_counter()
    progress = progress or Silent()
    shapes, metric = _checked_shapes(heads, depths, widths), _checked_metric(metric)
    _check_out(out)
    if not 0 <= seed < 2**32:
        msg = f"the seed {seed} is not between 0 and 2^32 - 1"
        raise InputError(msg, cure="Give another --seed.")
    reading = Reading(text, template, encoding, skip_empty)
    parts = read_parts(
        train, validation, test, label=label, split=split, reading=reading, seed=seed, strict=strict,
        warn=progress.note,
    )  # fmt: skip
    classes = classes_of(parts, label)
    found = find_space(
        Path(cache), parts.present(), backbone=backbone, name=space, layers=layers, pool=pool,
        reading=reading.options(),
    )  # fmt: skip
    wanted_layers = found.contract.layers if layers is None else cached_layers(layers, found)
    poolings = found.contract.poolings if pool is None else parse_poolings(pool)
    labels = [class_numbers(part.labels, classes) for part in parts.present()]
    sweep = _sweep(found, parts, labels, len(classes), metric, seed)
    views = views_of(wanted_layers, poolings)
    trials = _run(sweep, views, shapes, progress)
    chosen = choose(trials, sweep)
    reference = _reference(sweep, trials, reference_view(found.contract.layers, found.contract.poolings))

    progress.note("refitting the choice and the linear reference on training and validation rows")
    network = refit(chosen, sweep)
    test_part = None if parts.test is None else Part(found.find(parts.test.keys), labels[2])
    best, linear, gain = _read_test(sweep, test_part, (chosen, network), reference)
    majority_floor, tfidf_floor = floors([part.texts for part in parts.present()], labels, len(classes))
    folder = _run_folder(out, parts.train.source, label)
    bundle = folder / "bundle"
    rows = Rows(
        len(parts.train.texts), len(parts.validation.texts), len(parts.test.texts) if parts.test else 0, parts.dropped
    )
    result = FitResult(
        best=best,
        linear=linear,
        majority=majority_floor,
        tfidf=tfidf_floor,
        gain=gain,
        verdict=judge(reference, trials, sweep, cure=shlex.join(["featcache", "predict", str(bundle), "DATA"])),
        metric=metric,
        classes=list(classes),
        largest_share=max(parts.train.labels.count(one) for one in classes) / len(parts.train.labels),
        rows=rows,
        space=found.name,
        signature=_signature(found, best.trial, parts, metric, seed),
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
        contract=json.loads(found.contract.to_json()),
        space=found.name,
        backbone=found.origin.backbone,
        template=template,
        text=text,
        scores=best.to_json(),
        versions={name: version(name) for name in ("featcache", "numpy", "scikit-learn", "torch")},
    )
    _write_run(folder, result, network, description)
    return result


def _checked_shapes(heads: Sequence[str] | str, depths: Sequence[int], widths: Sequence[int]) -> list[HeadShape]:
    names = [name.strip() for name in heads.split(",")] if isinstance(heads, str) else list(heads)
    unknown = [name for name in names if name not in HEADS]
    if unknown or not names:
        msg = f"there is no head {(unknown or [''])[0]!r}"
        raise InputError(msg, cure=f"Choose of {', '.join(HEADS)}, separated by commas.")
    if any(depth < 0 for depth in depths) or any(width < 1 for width in widths):
        msg = f"depths {list(depths)} and widths {list(widths)}: a depth is 0 or more, a width 1 or more"
        raise InputError(msg, cure="For example --depths 1,2 --widths 64,256.")
    shapes = shapes_of(names, depths, widths)
    if not shapes:
        msg = "no head is left to try: mlp needs depths and widths"
        raise InputError(msg, cure="For example --depths 1,2 --widths 64,256.")
    return shapes


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


def _checked_metric(metric: str) -> str:
    if metric not in METRICS:
        msg = f"there is no metric {metric!r}"
        raise InputError(msg, cure=f"Choose of {', '.join(METRICS)}.")
    return metric


def _sweep(
    space: Space, parts: Parts, labels: Sequence[NDArray[np.int64]], n_classes: int, metric: str, seed: int
) -> Sweep:
    def gather(view: View, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        states = [
            space.gather(rows, layer=layer, pooling=pooling) for layer in view.layers for pooling in view.poolings
        ]
        return states[0] if len(states) == 1 else np.concatenate(states, axis=1)

    train = Part(space.find(parts.train.keys), labels[0])
    validation = Part(space.find(parts.validation.keys), labels[1])
    return Sweep(gather, train, validation, n_classes, metric, seed)


def _run(sweep: Sweep, views: Sequence[View], shapes: Sequence[HeadShape], progress: Progress) -> list[Trial]:
    trials: list[Trial] = []
    progress.begin("sweep", len(views) * len(shapes))
    try:
        for trial in search(sweep, views, shapes):
            trials.append(trial)
            best = best_of(trials, sweep.metric)
            progress.advance(1, f"best so far {best.validation[sweep.metric]:.3f} {best.head} on {best.view}")
    except (RuntimeError, MemoryError) as error:
        if "memory" not in str(error) and not isinstance(error, MemoryError):
            raise
        msg = f"memory ran out after {len(trials)} of {len(views) * len(shapes)} heads"
        raise MachineError(msg, cure="Try fewer --widths, --layers or --pool.") from error
    finally:
        progress.end()
    return trials


def _reference(sweep: Sweep, trials: Sequence[Trial], view: View) -> Trial:
    """The linear reference: a trial of the sweep, or one of its own where the sweep was asked not to hold it."""
    shape = HeadShape("logreg")
    known = [trial for trial in trials if trial.head == shape and trial.view == view]
    return known[0] if known else next(search(sweep, [view], [shape]))


def _read_test(
    sweep: Sweep, test: Part | None, chosen: tuple[Trial, Network], reference: Trial
) -> tuple[Scored, Scored, Difference | None]:
    """Scores of the chosen head and the reference on the test rows: the only place where these are read."""
    trial, network = chosen
    if test is None:
        return Scored(trial, None), Scored(reference, None), None
    linear = network if trial is reference else refit(reference, sweep)
    mine = network.logits(sweep.gather(trial.view, test.rows)).argmax(axis=1)
    theirs = linear.logits(sweep.gather(reference.view, test.rows)).argmax(axis=1)

    def intervals(predicted: NDArray[np.int64]) -> dict[str, Interval]:
        return {name: interval(name, test.labels, predicted, sweep.n_classes, seed=sweep.seed) for name in METRICS}

    gain = difference(sweep.metric, test.labels, mine, theirs, sweep.n_classes, seed=sweep.seed)
    return Scored(trial, intervals(mine)), Scored(reference, intervals(theirs)), gain


def _signature(space: Space, trial: Trial, parts: Parts, metric: str, seed: int) -> str:
    """Everything the scores depend on, in one line: print it beside a score that is to be compared."""
    named = {
        "space": space.name,
        "head": str(trial.head).replace(" ", "-"),
        "view": str(trial.view).replace(" ", "-"),
        "rows": hashlib.sha256(b"".join(part.keys.tobytes() for part in parts.present())).hexdigest()[:12],
        "metric": metric,
        "seed": seed,
        "version": version("featcache"),
    }
    return "|".join(f"{name}:{value}" for name, value in named.items())


def _run_folder(out: str | os.PathLike[str] | None, source: str, label: str) -> Path:
    """The folder asked for, or `runs/<data>-<label>`, with a number where that is taken."""
    if out is not None:
        return Path(out)
    stem = Path(source.split(", ", maxsplit=1)[0].split(":", maxsplit=1)[0]).name.split(".")[0]
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", f"{stem}-{label}").strip("-") or "run"
    folder, number = Path("runs") / name, 2
    while folder.exists():
        folder, number = Path("runs") / f"{name}-{number}", number + 1
    return folder


def _write_run(folder: Path, result: FitResult, network: Network, description: Description) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"the folder {folder} cannot be made: {error.strerror}"
        raise MachineError(msg, cure="Choose a folder that can be written: --out DIR.") from error
    lines = "".join(json.dumps(trial.record(), ensure_ascii=False) + "\n" for trial in result.trials)
    write_durably(folder, "trials.jsonl", lines.encode())
    save_bundle(folder / "bundle", network, description, model_card(result, asdict(description)))
    write_durably(folder, "report.txt", report_text(result).encode())
    write_durably(folder, "result.json", json.dumps(result.to_json(), indent=2, ensure_ascii=False).encode())
