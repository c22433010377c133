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
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.memo import Memo
from featcache.cache.space import Space, contracts_in, missing_rows
from featcache.data.keys import row_keys
from featcache.data.labels import Label, labels_of
from featcache.data.read import read
from featcache.data.splits import Fractions, split_rows
from featcache.data.texts import render
from featcache.errors import CacheMissError, InputError, LabelError, MachineError, SplitError
from featcache.files import write_durably
from featcache.heads.bundle import Description, save_bundle
from featcache.heads.network import Network
from featcache.report.card import model_card
from featcache.report.progress import Progress, Silent
from featcache.report.tables import report_text
from featcache.select.choice import best_of, choose
from featcache.select.floors import bag_of_words, majority
from featcache.select.metrics import METRICS, Difference, Interval, difference, interval, scores
from featcache.select.outcome import FitResult, Floor, Rows, Scored
from featcache.select.search import (
    HEADS,
    HeadShape,
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
from featcache.spaces import (
    DEFAULT_CACHE,
    cache_option,
    find_backbone,
    parse_layers,
    parse_poolings,
    same_backbone,
    space_choice_error,
)

DEFAULT_SPLIT = "0.7/0.1/0.2"
SPLIT_BESIDE_TEST = "0.8/0.2"
DEFAULT_DEPTHS = (1, 2)
DEFAULT_WIDTHS = (64, 256)


@dataclass(frozen=True)
class _Set:
    """Rows with their labels. source: how messages call them."""

    source: str
    texts: list[str]
    keys: NDArray[np.uint8]
    labels: list[Label]

    def take(self, rows: NDArray[np.int64], source: str | None = None) -> _Set:
        return _Set(
            source or self.source,
            [self.texts[row] for row in rows],
            self.keys[rows],
            [self.labels[row] for row in rows],
        )

    def without_texts_of(self, other: _Set) -> _Set:
        theirs = set(map(bytes, other.keys))
        return self.take(
            np.array([i for i, key in enumerate(map(bytes, self.keys)) if key not in theirs], dtype=np.int64)
        )


@dataclass(frozen=True)
class _Sets:
    train: _Set
    validation: _Set
    test: _Set | None
    dropped: int

    def present(self) -> list[_Set]:
        return [part for part in (self.train, self.validation, self.test) if part is not None]


def fit_heads(  # noqa: PLR0913 - the options of the command line, by the same names
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
    what is cached.  metric: macro_f1, accuracy or mcc, on validation rows.  out: the run's folder.

    The same call with the same seed gives the same result on one machine.
    Raises InputError and its kin for bad data or options; CacheMissError where no space holds all rows, with
    the extract command; SplitError under `strict` where a text is in two parts.
    """
    started = time.perf_counter()
    progress = progress or Silent()
    shapes, metric = _checked_shapes(heads, depths, widths), _checked_metric(metric)
    sets = _read_sets(
        train, validation, test, label=label, split=split, text=text, template=template, encoding=encoding,
        skip_empty=skip_empty, seed=seed, strict=strict, progress=progress,
    )  # fmt: skip
    classes = _classes(sets, label)
    found = _find_space(Path(cache), sets, backbone=backbone, name=space, layers=layers, pool=pool)
    wanted_layers = found.contract.layers if layers is None else _cached_layers(layers, found)
    poolings = found.contract.poolings if pool is None else parse_poolings(pool)
    sweep = _sweep(found, sets, classes, metric, seed)
    views = views_of(wanted_layers, poolings)
    trials = _run(sweep, views, shapes, progress)
    chosen = choose(trials, sweep)
    reference = _reference(sweep, trials, reference_view(found.contract.layers, found.contract.poolings))

    progress.note("refitting the choice and the linear reference on training and validation rows")
    network = refit(chosen, sweep)
    best, linear, gain = _read_test(sweep, found, sets.test, classes, (chosen, network), reference)
    majority_floor, tfidf_floor = _floors(sets, classes)
    folder = _run_folder(out, sets.train.source, label)
    bundle = folder / "bundle"
    rows = Rows(
        len(sets.train.texts), len(sets.validation.texts), len(sets.test.texts) if sets.test else 0, sets.dropped
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
        largest_share=max(sets.train.labels.count(one) for one in classes) / len(sets.train.labels),
        rows=rows,
        space=found.name,
        signature=_signature(found, best.trial, sets, metric, seed),
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


def _checked_metric(metric: str) -> str:
    if metric not in METRICS:
        msg = f"there is no metric {metric!r}"
        raise InputError(msg, cure=f"Choose of {', '.join(METRICS)}.")
    return metric


def _read_sets(  # noqa: PLR0913 - what the user said about the data
    train: Any,  # noqa: ANN401
    validation: Any,  # noqa: ANN401
    test: Any,  # noqa: ANN401
    *,
    label: str,
    split: str | None,
    text: str | None,
    template: str | None,
    encoding: str,
    skip_empty: bool,
    seed: int,
    strict: bool,
    progress: Progress,
) -> _Sets:
    fractions = _fractions(split, has_validation=validation is not None, has_test=test is not None)
    tables = [read(data, encoding=encoding) for data in (train, validation, test) if data is not None]
    texts = [render(one, text=text, template=template, label=label, skip_empty=skip_empty) for one in tables]
    labels = labels_of(tables, label, [one.rows for one in texts])
    sets = [
        _Set(table.sources, part.rendered, row_keys(part.rendered), names)
        for table, part, names in zip(tables, texts, labels, strict=True)
    ]
    given_test = sets[-1] if test is not None else None
    if fractions is None:
        return _without_shared(sets[0], sets[1], given_test, strict=strict, progress=progress)
    whole = sets[0]
    _check_two_classes(whole.labels, label)
    if given_test is not None:
        before = len(whole.texts)
        whole = _drop_shared(whole, given_test, strict=strict, progress=progress)
        train_rows, held_rows, _ = split_rows(whole.keys, whole.labels, fractions, seed=seed)
        return _Sets(whole.take(train_rows), whole.take(held_rows), given_test, before - len(whole.texts))
    train_rows, held_rows, test_rows = split_rows(whole.keys, whole.labels, fractions, seed=seed)
    drawn_test = None if test_rows is None else whole.take(test_rows)
    return _Sets(whole.take(train_rows), whole.take(held_rows), drawn_test, 0)


def _fractions(split: str | None, *, has_validation: bool, has_test: bool) -> Fractions | None:
    """The shares to split the training file in; None where validation has a file of its own."""
    if has_validation:
        if split is not None:
            msg = "--validation and --split both say which rows are for validation"
            raise SplitError(msg, cure="Give one of them.")
        return None
    fractions = Fractions.parse(split or (SPLIT_BESIDE_TEST if has_test else DEFAULT_SPLIT))
    if has_test and fractions.test is not None:
        msg = f"--split {split} has a test share, and --test names a test file"
        raise SplitError(msg, cure=f"Give two shares beside --test, for example --split {SPLIT_BESIDE_TEST}.")
    return fractions


def _without_shared(train: _Set, validation: _Set, test: _Set | None, *, strict: bool, progress: Progress) -> _Sets:
    n_before = len(train.texts) + len(validation.texts)
    if test is not None:
        train = _drop_shared(train, test, strict=strict, progress=progress)
        validation = _drop_shared(validation, test, strict=strict, progress=progress)
    train = _drop_shared(train, validation, strict=strict, progress=progress)
    return _Sets(train, validation, test, n_before - len(train.texts) - len(validation.texts))


def _drop_shared(part: _Set, later: _Set, *, strict: bool, progress: Progress) -> _Set:
    """`part` without the texts that `later` has too; under `strict` such texts are an error."""
    kept = part.without_texts_of(later)
    n_shared = len(part.texts) - len(kept.texts)
    if not n_shared:
        return part
    rows = "row" if n_shared == 1 else "rows"
    what = f"{n_shared:,} {rows} of {part.source} hold texts that are in {later.source} too"
    if strict:
        raise SplitError(
            what, cure="Take them out of one of the files, or leave out --strict to drop them from training."
        )
    if not kept.texts:
        msg = f"all rows of {part.source} are in {later.source} too, so none is left to train on"
        raise SplitError(msg, cure="Give different rows for training, validation and test.")
    progress.note(f"warning    {what}: not trained on")
    return kept


def _check_two_classes(labels: Sequence[Label], column: str) -> None:
    if len(set(labels)) < 2:  # noqa: PLR2004 - a classification
        msg = f"column {column!r} has one class only ({labels[0]!r}), so there is nothing to tell apart"
        raise LabelError(msg, cure="Name the right column with --label, or add rows of another class.")


def _classes(sets: _Sets, column: str) -> list[Label]:
    """The classes in their order. Every part's labels must occur in training."""
    _check_two_classes(sets.train.labels, column)
    classes = sorted(set(sets.train.labels))
    for part in sets.present()[1:]:
        strange = sorted(set(part.labels) - set(classes))
        if strange:
            n_rows = sum(one in strange for one in part.labels)
            msg = f"{n_rows:,} rows of {part.source} have the label {strange[0]!r}, which no training row has"
            raise LabelError(msg, cure="Add training rows of this class, or take it out.")
    return classes


def _find_space(  # noqa: PLR0913 - what the user said about the features
    cache: Path,
    sets: _Sets,
    *,
    backbone: str | os.PathLike[str] | None,
    name: str | None,
    layers: str | Sequence[int] | None,
    pool: str | Sequence[str] | None,
) -> Space:
    """The one space that fits the request and holds all rows; see DESIGN.md §8 for what happens otherwise."""
    contracts = contracts_in(cache)
    fitting = list(contracts)
    if name is not None:
        exact = [path for path in fitting if path.name == name]
        fitting = exact or [path for path in fitting if path.name.startswith(name)]
        if not fitting:
            raise space_choice_error(cache, list(contracts), fitting, name)
    if backbone is not None:
        memo = Memo.load(cache)
        fitting = same_backbone({path: contracts[path] for path in fitting}, find_backbone(backbone), memo)
        memo.save(cache)
    spaces = [Space.open(path) for path in fitting]
    spaces = [one for one in spaces if _has_views(one, layers, pool)]
    missing = {one.name: [int((one.find(part.keys) < 0).sum()) for part in sets.present()] for one in spaces}
    whole = [one for one in spaces if not any(missing[one.name])]
    if len(whole) == 1:
        return whole[0]
    if whole:
        raise space_choice_error(cache, list(contracts), [one.path for one in whole], name)
    raise _no_space(cache, sets, spaces, missing, backbone)


def _has_views(space: Space, layers: str | Sequence[int] | None, pool: str | Sequence[str] | None) -> bool:
    if pool is not None and not set(parse_poolings(pool)) <= set(space.contract.poolings):
        return False
    return layers is None or set(_cached_layers(layers, space)) <= set(space.contract.layers)


def _cached_layers(layers: str | Sequence[int], space: Space) -> tuple[int, ...]:
    if layers in ("auto", "all"):
        return space.contract.layers
    return parse_layers("-1" if layers == "last" else layers, space.origin.n_layers)


def _no_space(
    cache: Path,
    sets: _Sets,
    spaces: Sequence[Space],
    missing: dict[str, list[int]],
    backbone: str | os.PathLike[str] | None,
) -> CacheMissError:
    nearest = min(spaces, key=lambda one: sum(missing[one.name]), default=None)
    model = os.fspath(backbone) if backbone else (nearest.origin.backbone if nearest else "MODEL")
    sources = list(dict.fromkeys(part.source for part in sets.present()))
    lacking: dict[str, list[int]] = {source: [0, 0] for source in sources}
    counts = missing[nearest.name] if nearest else [len(part.texts) for part in sets.present()]
    for part, count in zip(sets.present(), counts, strict=True):
        lacking[part.source][0] += count
        lacking[part.source][1] += len(part.texts)
    where = (
        f"space {nearest.name}"
        if nearest
        else (f"any space of {model} in {cache}" if backbone else f"a space of {cache}")
    )
    phrases = [f"{count:,} of {total:,} texts of {source}" for source, (count, total) in lacking.items() if count]
    files = [source for source, (count, _) in lacking.items() if count]
    command = f"featcache extract {shlex.join(files)} --backbone {shlex.quote(model)}{cache_option(cache)}"
    hint = ""
    if all(count == total for count, total in lacking.values()):
        hint = "\nIf they were extracted with --text or --template, give the same here."
    error = missing_rows(sum(counts), sum(len(part.texts) for part in sets.present()), where, command)
    return CacheMissError(f"{', '.join(phrases)} are not in {where}", cure=error.cure + hint)


def _sweep(space: Space, sets: _Sets, classes: Sequence[Label], metric: str, seed: int) -> Sweep:
    numbers = {one: number for number, one in enumerate(classes)}

    def part(rows: _Set) -> Part:
        return Part(space.find(rows.keys), np.array([numbers[one] for one in rows.labels], dtype=np.int64))

    def gather(view: View, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        states = [
            space.gather(rows, layer=layer, pooling=pooling) for layer in view.layers for pooling in view.poolings
        ]
        return states[0] if len(states) == 1 else np.concatenate(states, axis=1)

    return Sweep(gather, part(sets.train), part(sets.validation), len(classes), metric, seed)


def _run(sweep: Sweep, views: Sequence[View], shapes: Sequence[HeadShape], progress: Progress) -> list[Trial]:
    trials: list[Trial] = []
    progress.begin("sweep", len(views) * len(shapes))
    try:
        for trial in search(sweep, views, shapes):
            trials.append(trial)
            best = best_of(trials, sweep.metric)
            progress.advance(1, f"best so far {best.validation[sweep.metric]:.3f} {best.head} on {best.view}")
    finally:
        progress.end()
    return trials


def _reference(sweep: Sweep, trials: Sequence[Trial], view: View) -> Trial:
    """The linear reference: a trial of the sweep, or one of its own where the sweep was asked not to hold it."""
    shape = HeadShape("logreg")
    known = [trial for trial in trials if trial.head == shape and trial.view == view]
    return known[0] if known else next(search(sweep, [view], [shape]))


def _read_test(  # noqa: PLR0913 - the two heads and what they are read on
    sweep: Sweep,
    space: Space,
    test: _Set | None,
    classes: Sequence[Label],
    chosen: tuple[Trial, Network],
    reference: Trial,
) -> tuple[Scored, Scored, Difference | None]:
    """Scores of the chosen head and the reference on the test rows: the only place where these are read."""
    trial, network = chosen
    if test is None:
        return Scored(trial, None), Scored(reference, None), None
    rows = space.find(test.keys)
    truth = np.array([classes.index(one) for one in test.labels], dtype=np.int64)
    linear = network if trial is reference else refit(reference, sweep)
    mine = network.logits(sweep.gather(trial.view, rows)).argmax(axis=1)
    theirs = linear.logits(sweep.gather(reference.view, rows)).argmax(axis=1)

    def intervals(predicted: NDArray[np.int64]) -> dict[str, Interval]:
        return {name: interval(name, truth, predicted, sweep.n_classes, seed=sweep.seed) for name in METRICS}

    gain = difference(sweep.metric, truth, mine, theirs, sweep.n_classes, seed=sweep.seed)
    return Scored(trial, intervals(mine)), Scored(reference, intervals(theirs)), gain


def _floors(sets: _Sets, classes: Sequence[Label]) -> tuple[Floor, Floor | None]:
    """Majority class and bag of words, trained on the rows the heads are trained on."""
    n_classes = len(classes)
    numbers = {one: number for number, one in enumerate(classes)}
    parts = [np.array([numbers[one] for one in part.labels], dtype=np.int64) for part in sets.present()]
    texts = [part.texts for part in sets.present()]
    both_texts, both = texts[0] + texts[1], np.concatenate(parts[:2])

    def floor(train: NDArray[np.int64], held: NDArray[np.int64], test: NDArray[np.int64] | None) -> Floor:
        return Floor(
            scores(parts[0], train, n_classes),
            scores(parts[1], held, n_classes),
            None if test is None else scores(parts[2], test, n_classes),
        )

    constant = [majority(parts[0], len(part)) for part in parts[:2]]
    constant_test = majority(both, len(parts[2])) if sets.test else None
    words = bag_of_words(texts[0], parts[0], texts[:2])
    words_test = bag_of_words(both_texts, both, texts[2:]) if sets.test else None
    lexical = None if words is None else floor(words[0], words[1], words_test[0] if words_test else None)
    return floor(constant[0], constant[1], constant_test), lexical


def _signature(space: Space, trial: Trial, sets: _Sets, metric: str, seed: int) -> str:
    """Everything the scores depend on, in one line: print it beside a score that is to be compared."""
    rows = hashlib.sha256(b"".join(part.keys.tobytes() for part in sets.present())).hexdigest()[:12]
    parts = {
        "space": space.name,
        "head": str(trial.head).replace(" ", "-"),
        "view": str(trial.view).replace(" ", "-"),
        "rows": rows,
        "metric": metric,
        "seed": seed,
        "version": version("featcache"),
    }
    return "|".join(f"{name}:{value}" for name, value in parts.items())


def _run_folder(out: str | os.PathLike[str] | None, source: str, label: str) -> Path:
    """The folder asked for, or `runs/<data>-<label>`, with a number where that is taken."""
    if out is not None:
        return Path(out)
    stem = Path(source.split(", ")[0].split(":")[0]).name.split(".")[0]
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
