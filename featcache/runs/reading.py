"""Reads a run's folder back: `result.json`, `trials.jsonl` and `predictions.parquet` as checked,
frozen data.

Needs neither the cache nor torch. Runs of earlier versions lack some parts; these are None or empty
here. A folder that is no run is bad input, a file that cannot be what a run wrote is damage: each
is one sentence that names the file.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from featcache.errors import DamageError, InputError
from featcache.evidence.verdict import Cause
from featcache.features.views import View
from featcache.heads.shape import HeadShape
from featcache.runs.record import (
    NO_VERDICT,
    Bin,
    ClassScore,
    Example,
    Experiment,
    Finding,
    Floor,
    LearningCurve,
    McNemar,
    Mislabelled,
    Predictions,
    Reliability,
    Run,
    Score,
    Scored,
    Search,
    SizePoint,
    Trial,
    Verdict,
)

_LARGE = 1e15  # no score, count or time is; 100 times it is still a number


def read_run(folder: Path) -> Run:
    """The run that a folder holds.

    Raises InputError where it holds none; DamageError where one of its files is not what a run
    writes.
    """
    path = folder / "result.json"
    if not path.is_file():
        what = "there is no such folder" if not folder.exists() else "it holds no result.json"
        if folder.is_file():
            what = "it is a file"
        inner = sorted(one.parent.name for one in folder.glob("*/result.json"))
        cure = "A run is a folder that `featcache fit-heads` wrote, such as runs/reviews-stars."
        if inner:
            shown = " ".join(str(folder / name) for name in inner[:3]) + (
                " …" if len(inner) > 3 else ""
            )
            cure = f"Name the runs in it: featcache report {shown}"
        msg = f"{folder} is not a run: {what}"
        raise InputError(msg, cure=cure)
    with _whole(path):
        raw = json.loads(path.read_bytes())
        if not isinstance(raw, dict):
            msg = "it is not a JSON object"
            raise TypeError(msg)
        names = _names(raw["classes"])
        trials = _trials(folder / "trials.jsonl", str(raw["metric"]))
        with _whole(path):
            return _run(folder, raw, names, trials)


def _run(
    folder: Path, raw: dict[str, Any], names: tuple[str, ...], trials: tuple[Trial, ...]
) -> Run:
    metric = str(raw["metric"])
    gain, calibration = raw.get("gain"), raw.get("calibration") or {}
    tfidf = raw["floors"].get("tfidf")
    return Run(
        folder=folder,
        label=None if raw.get("label") is None else str(raw["label"]),
        metric=metric,
        classes=names,
        best=_scored(raw["best"], metric, names),
        linear=_scored(raw["linear"], metric, names),
        majority=_floor(raw["floors"]["majority"], metric),
        tfidf=None if tfidf is None else _floor(tfidf, metric),
        gain=None if gain is None else _score(gain),
        gain_error=None if gain is None else _number(gain.get("standard_error")),
        verdict=_verdict(raw["verdict"]),
        rows={name: int(raw["rows"][name]) for name in ("train", "validation", "test", "dropped")},
        space=str(raw["space"]),
        seconds=_finite(raw["seconds"]),
        trials=trials,
        learning_curve=_learning_curve(raw.get("learning_curve")),
        reliability=_reliability(raw.get("reliability")),
        mistakes=tuple(_example(one) for one in raw.get("mistakes") or ()),
        findings=None
        if raw.get("findings") is None
        else tuple(_finding(one) for one in raw["findings"]),
        mislabelled=_mislabelled(raw.get("mislabelled")),
        predictions=_predictions(folder / "predictions.parquet", len(names)),
        mcnemar=_mcnemar(raw.get("mcnemar")),
        calibration=_calibration(calibration),
        thresholds=bool(calibration.get("offsets")),
        search=_search(raw.get("search") or {}),
        n_trials=int(raw.get("trials", len(trials))),
        read_before=tuple(
            ", ".join(f"{name} {value}" for name, value in one.items())
            for one in raw.get("test_read_before") or ()
        ),
        facts={
            name: str(raw[name])
            for name in ("backbone", "created", "signature", "bundle")
            if raw.get(name) is not None
        },
        contract=_lines(raw.get("contract")),
        versions=_lines(raw.get("versions")),
        command=_text(raw.get("command")),
        knows_command="command" in raw,
    )


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[None]:
    """What only a file that is not whole can cause, as damage that names the file."""
    try:
        yield
    except KeyError as error:
        raise _damaged(path, f"{error.args[0]!r} is missing") from error
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise _damaged(path, why) from error


def _damaged(path: Path, why: str) -> DamageError:
    msg = f"{path} is not what a run writes: {why}"
    return DamageError(msg, cure="Run the same `featcache fit-heads` again, or leave this run out.")


def _names(classes: Any) -> tuple[str, ...]:
    """Classes as they are shown; quoted where 1 and "1" would look alike, or a name is blank."""
    if not isinstance(classes, list):
        msg = "'classes' is not a list"
        raise TypeError(msg)
    plain = [str(one) for one in classes]
    clear = len(set(plain)) == len(plain) and all(one.strip() for one in plain)
    return tuple(plain if clear else [json.dumps(one, ensure_ascii=False) for one in classes])


def _number(value: Any) -> float | None:
    """A finite number, or None for what is none."""
    if value is None:
        return None
    number = float(value)
    return number if abs(number) < _LARGE else None


def _finite(value: Any) -> float:
    """A number that must be one. Raises ValueError."""
    number = float(value)
    if not abs(number) < _LARGE:  # not a number is not less, either
        msg = f"{number} where a number is expected"
        raise ValueError(msg)
    return number


def _scores(found: Mapping[str, Any], metric: str | None = None) -> dict[str, float]:
    scores = {str(name): _finite(value) for name, value in found.items() if value is not None}
    if metric is not None:
        scores[metric]
    return scores


def _score(found: Mapping[str, Any]) -> Score:
    low, high = _number(found.get("low")), _number(found.get("high"))
    return Score(
        _finite(found["value"]), *((None, None) if low is None or high is None else (low, high))
    )


def _trial(found: Mapping[str, Any], metric: str | None = None) -> Trial:
    shape = HeadShape(
        str(found["head"]),
        int(found["depth"]),
        None if found["width"] is None else int(found["width"]),
        str(found.get("activation", "gelu")),
        bool(found.get("layer_norm", False)),
        bool(found.get("residual", False)),
    )
    layers = tuple(int(one) for one in found["layers"])
    if not layers:
        msg = "a head without layers"
        raise ValueError(msg)
    interval = found.get("interval")
    return Trial(
        shape=shape,
        view=View(
            layers, tuple(str(one) for one in found["pooling"]), bool(found.get("mixed", False))
        ),
        settings=dict(found["settings"]),
        train=_scores(found["train"], metric),
        validation=_scores(found["validation"], metric),
        interval=None
        if interval is None
        else (_finite(interval["low"]), _finite(interval["high"])),
        curve={
            str(name): [float(one) for one in values]
            for name, values in (found.get("curve") or {}).items()
        },
        ended=str(found.get("ended", "done")),
        n_parameters=int(found.get("n_parameters", 0)),
        seconds=_finite(found.get("seconds", 0.0)),
    )


def _scored(found: Mapping[str, Any], metric: str, names: tuple[str, ...]) -> Scored:
    test = found.get("test")
    details = found.get("test_details") or {}
    confusion = details.get("confusion")
    counts = None if confusion is None else np.array(confusion, dtype=np.int64)
    if counts is not None and counts.shape != (len(names), len(names)):
        msg = f"a confusion matrix of {counts.shape} for {len(names)} classes"
        raise ValueError(msg)
    per_class = details.get("per_class") or []
    if per_class and len(per_class) != len(names):
        msg = f"scores of {len(per_class)} classes for {len(names)}"
        raise ValueError(msg)
    scores = None if test is None else {str(name): _score(one) for name, one in test.items()}
    if scores is not None:
        scores[metric]
    return Scored(
        trial=_trial(found, metric),
        test=scores,
        per_class=tuple(
            ClassScore(
                name,
                _finite(one["precision"]),
                _finite(one["recall"]),
                _finite(one["f1"]),
                int(one["support"]),
            )
            for name, one in zip(names, per_class, strict=False)
        ),
        confusion=counts,
        probabilities={
            str(name): _number(one) for name, one in (details.get("probabilities") or {}).items()
        },
    )


def _floor(found: Mapping[str, Any], metric: str) -> Floor:
    test = found.get("test")
    return Floor(
        _scores(found["train"], metric),
        _scores(found["validation"], metric),
        None if test is None else _scores(test, metric),
    )


def _verdict(found: Mapping[str, Any] | None) -> Verdict:
    if found is None:
        return NO_VERDICT
    causes = tuple(
        Cause(
            str(one["kind"]),
            _number(one.get("points")),
            _number(one.get("standard_error")),
            str(one["why"]),
            _text(one.get("cure")),
        )
        for one in found.get("causes") or ()
    )
    experiments = tuple(
        Experiment(
            str(one["what"]),
            _number(one.get("score")),
            _number(one.get("train")),
            _number(one.get("gain")),
            _number(one.get("standard_error")),
            _text(one.get("against")),
        )
        for one in found.get("experiments") or ()
    )
    return Verdict(
        _text(found.get("kind")),
        str(found["why"]),
        _text(found.get("cure")),
        _text(found.get("subject")),
        causes,
        experiments,
    )


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _mcnemar(found: Mapping[str, Any] | None) -> McNemar | None:
    if found is None:
        return None
    return McNemar(int(found["only_mine"]), int(found["only_theirs"]), _finite(found["p_value"]))


def _calibration(found: Mapping[str, Any]) -> dict[str, float]:
    numbers = {name: _number(value) for name, value in found.items() if name != "offsets"}
    return {str(name): value for name, value in numbers.items() if value is not None}


def _search(found: Mapping[str, Any]) -> Search:
    cv, compared = found.get("cv"), found.get("compared") or ()
    return Search(
        how=str(found.get("search", "search")),
        seconds=_number(found.get("seconds")),
        cv=None if cv is None else int(cv),
        balance=str(found.get("balance") or "none"),
        focal=_finite(found.get("focal") or 0.0),
        seeds=tuple(int(one) for one in found.get("seeds") or ()),
        compared=tuple(
            (str(one["head"]), str(one["view"]), _finite(one["score"])) for one in compared
        ),
    )


def _lines(found: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """A JSON object as lines; what is deeper is shown as JSON."""
    lines = (found or {}).items()
    return tuple(
        (str(name), one if isinstance(one, str) else json.dumps(one, ensure_ascii=False))
        for name, one in lines
    )


def _learning_curve(found: Mapping[str, Any] | None) -> LearningCurve | None:
    if not found:
        return None
    points = tuple(
        SizePoint(
            int(one["rows"]),
            _finite(one["mean"]),
            _number(one.get("low")),
            _number(one.get("high")),
            _number(one.get("train")),
        )
        for one in found["points"]
    )
    fit = tuple(
        (int(one["rows"]), _finite(one["value"]), _finite(one["low"]), _finite(one["high"]))
        for one in found.get("fit") or ()
    )
    doubling = found.get("doubling")
    gain = (
        None
        if doubling is None
        else (_finite(doubling["value"]), _number(doubling.get("standard_error")))
    )
    return LearningCurve(str(found.get("about", "the head")), points, fit, gain)


def _reliability(found: Mapping[str, Any] | None) -> Reliability | None:
    if not found:
        return None
    bins = tuple(
        Bin(_finite(one["confidence"]), _finite(one["accuracy"]), int(one["rows"]))
        for one in found["bins"]
    )
    if not all(0 <= one.confidence <= 1 and 0 <= one.accuracy <= 1 for one in bins):
        msg = "a probability that is none"
        raise ValueError(msg)
    return Reliability(str(found["part"]), tuple(one for one in bins if one.rows > 0))


def _example(found: Mapping[str, Any]) -> Example:
    row = found.get("row")
    return Example(
        str(found["text"]),
        str(found["label"]),
        str(found["predicted"]),
        _number(found.get("probability")),
        _text(found.get("source")),
        None if row is None else int(row),
    )


def _finding(found: Mapping[str, Any]) -> Finding:
    total = found.get("total")
    return Finding(
        str(found["kind"]),
        int(found["count"]),
        None if total is None else int(total),
        str(found["what"]),
        str(found.get("effect") or ""),
        str(found.get("cure") or ""),
        bool(found.get("leak", False)),
        tuple(str(one) for one in found.get("examples") or ()),
    )


def _mislabelled(found: Mapping[str, Any] | None) -> Mislabelled | None:
    if not found:
        return None
    examples = tuple(_example(one) for one in found.get("examples") or ())
    return Mislabelled(
        int(found["count"]), _text(found.get("said")), _text(found.get("path")), examples
    )


def _trials(path: Path, metric: str) -> tuple[Trial, ...]:
    if not path.exists():
        return ()
    trials = []
    with _whole(path):
        lines = path.read_text("utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            trials.append(_trial(json.loads(line), metric))
        except (
            KeyError,
            ValueError,
            TypeError,
            AttributeError,
            RecursionError,
            OverflowError,
        ) as error:
            raise _damaged(path, f"line {number} is not the record of a head") from error
    return tuple(trials)


def _predictions(path: Path, n_classes: int) -> Predictions | None:
    if not path.exists():
        return None
    import pyarrow as pa
    from pyarrow import parquet

    with _whole(path):
        try:
            table = parquet.read_table(path)
        except pa.ArrowException as error:
            raise _damaged(path, str(error).splitlines()[0]) from error
        columns = {
            name: np.asarray(table[name].to_numpy(zero_copy_only=False), dtype=np.int64)
            for name in ("label", "best", "linear")
        }
        joined = b"".join(bytes(one) for one in table["key"].to_pylist())
        keys = np.frombuffer(joined, dtype=np.uint8).reshape(table.num_rows, 16)
        for name, numbers in columns.items():
            if len(numbers) and not (numbers.min() >= 0 and numbers.max() < n_classes):
                msg = f"column {name!r} holds a class that the run does not know"
                raise ValueError(msg)
        part = (table.schema.metadata or {}).get(b"part", b"test").decode()
        return Predictions(part, keys, columns["label"], columns["best"], columns["linear"])
