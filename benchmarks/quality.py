"""What does one get by asking for nothing? The choice of `fit-heads` with default options, on
several data sets.

    python benchmarks/quality.py --data spam=sms_spam.parquet \\
        --data ai=ai_text.train.parquet,ai_text.test.parquet
        --data cola=cola.train.parquet,cola.validation.parquet:mcc

A data set is NAME=TRAIN[,[VALIDATION,]TEST][:METRIC[:LABEL]]. Without a test file a fifth of the
rows is the test. With a metric the choice goes by it, and it is what is compared; without one the
choice goes by fit-heads' default, macro-F1, and accuracy is compared. On the test rows of each set
are scored, all refitted on training and validation rows:

choice         what `fit-heads` chooses linear         the linear reference: logistic regression on
the last layer's mean, C tuned on validation rows single layer   the best head on one layer and
pooling, by validation: what side by side and mixed views add TF-IDF         the bag of words,
logistic regression with C = 10

Checked before anything is shown: the choice, refitted and scored once more by this script, has the
test scores that `fit-heads` reported, and so has the linear reference. Exit code 1: they have not.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from common import Model, backbone_or_minilm, machine, machine_line, plain_table, run
from head_data import Prepared, Task, extracted, prepared
from numpy.typing import NDArray

import featcache
from featcache.features.budget import MemoryBudget
from featcache.runs.result import FitResult
from featcache.search.finalise import finished, tested
from featcache.search.selection import best_of
from featcache.search.trial import Trial
from featcache.tasks.metrics import METRICS, Interval, difference

SHOWN = ("accuracy", "macro_f1", "mcc")
SAME = 1e-3  # of a score: the refit is deterministic but for the order in which threads sum
DEFAULT_METRIC, COMPARED = "macro_f1", "accuracy"


@dataclass(frozen=True)
class DataSet:
    """Files with their name. metric: what the choice goes by and what is compared; None for the
    defaults.
    """

    name: str
    train: Path
    validation: Path | None
    test: Path | None
    metric: str | None
    label: str

    @classmethod
    def parse(cls, text: str, label: str) -> DataSet:
        """Read NAME=TRAIN[,[VALIDATION,]TEST][:METRIC[:LABEL]]. Raises BadParameter."""
        name, equals, rest = text.partition("=")
        files, *options = rest.split(":")
        paths = [Path(one) for one in files.split(",")]
        if not (name and equals and 1 <= len(paths) <= 3 and len(options) <= 2):
            raise click.BadParameter(
                f"{text!r} is not NAME=TRAIN[,[VALIDATION,]TEST][:METRIC[:LABEL]]"
            )
        for path in paths:
            if not path.is_file():
                raise click.BadParameter(f"there is no file {path}")
        metric = options[0] if options and options[0] else None
        if metric is not None and metric not in METRICS:
            raise click.BadParameter(f"{metric!r} is none of {', '.join(METRICS)}")
        validation, test = (
            paths[1] if len(paths) == 3 else None,
            paths[-1] if len(paths) > 1 else None,
        )
        return cls(name, paths[0], validation, test, metric, options[1] if options[1:] else label)


@dataclass(frozen=True)
class Head:
    """A head on the test rows. predicted: classes (N,)."""

    named: str
    validation: float
    scores: dict[str, Interval]
    predicted: NDArray[np.int64]

    def to_json(self) -> dict[str, Any]:
        """Without the predictions."""
        scores = {name: asdict(one) for name, one in self.scores.items()}
        return {"head": self.named, "validation": self.validation, "test": scores}


def head_of(trial: Trial, ready: Prepared) -> Head:
    """The trial refitted, and scored."""
    final = finished(trial, ready.sweep, thresholds=False)
    found, _, logits = tested(final, ready.sweep, ready.test)
    validation = trial.validation[ready.sweep.metric]
    return Head(f"{trial.head} on {trial.view}", validation, found.intervals, final.classes(logits))


def measure(
    one: DataSet, model: Model, *, cache: Path, rows: int | None, seed: int, runs: Path
) -> dict[str, Any]:
    """Fit heads on one data set, and score what it found beside its rivals."""
    task = Task.read(one.train, one.test, one.label, rows, one.validation)
    space = extracted(task, model, cache)
    click.echo(f"{one.name}: fitting heads", err=True)
    chosen_by, compared = one.metric or DEFAULT_METRIC, one.metric or COMPARED
    started = time.perf_counter()
    result = featcache.fit_heads(
        task.train,
        validation=task.validation,
        test=task.test,
        label=one.label,
        text="text",
        cache=cache,
        space=space.name,
        metric=chosen_by,
        seed=seed,
        out=runs / one.name,
    )
    seconds = time.perf_counter() - started
    with MemoryBudget() as room:
        ready = prepared(task, space, room, metric=chosen_by, seed=seed)
        heads = {
            "choice": head_of(result.best.trial, ready),
            "linear": head_of(result.linear.trial, ready),
            "single layer": head_of(best_single(result), ready),
        }
        check(one, result, heads)
        gains = {
            rival: gain(compared, ready, heads["choice"], heads[rival], seed)
            for rival in ("linear", "single layer")
        }
    return {
        "name": one.name,
        "train": one.train.name,
        "test": one.test.name if one.test else None,
        "rows": ready.rows,
        "classes": len(ready.classes),
        "space": space.name,
        "chosen_by": chosen_by,
        "compared": compared,
        "heads": {name: head.to_json() for name, head in heads.items()},
        "tfidf": None if result.tfidf is None else result.tfidf.test,
        "majority": result.majority.test,
        "choice_less": gains,
        "verdict": result.to_json()["verdict"],
        "trials": len(result.trials),
        "seconds": round(seconds, 2),
        "signature": result.signature,
    }


def best_single(result: FitResult) -> Trial:
    """The best head on one layer and pooling that was trained to its end."""
    return best_of(
        [trial for trial in result.trials if not trial.dropped and trial.view.single], result.metric
    )


def check(one: DataSet, result: FitResult, heads: dict[str, Head]) -> None:
    """Raises ClickException where scores here are not those that fit-heads reported."""
    for name, reported in (("choice", result.best.test), ("linear", result.linear.test)):
        assert reported is not None, "there are test rows"
        for metric in SHOWN:
            mine, theirs = heads[name].scores[metric].value, reported[metric].value
            if not abs(mine - theirs) <= SAME:
                msg = (
                    f"{one.name}: {metric} of the {name} is {mine:.4f} here, "
                    f"{theirs:.4f} as fit-heads reported it."
                )
                raise click.ClickException(msg)


def gain(metric: str, ready: Prepared, mine: Head, theirs: Head, seed: int) -> dict[str, float]:
    """Points on the test rows by which one head is better, paired, with its interval."""
    found = difference(
        metric, ready.test.labels, mine.predicted, theirs.predicted, len(ready.classes), seed=seed
    )
    return {name: round(100 * value, 3) for name, value in asdict(found).items()}


def summary(sets: list[dict[str, Any]]) -> dict[str, Any]:
    """Choice less linear over the sets."""
    gains = {one["name"]: one["choice_less"]["linear"]["value"] for one in sets}
    worst = min(gains, key=lambda name: gains[name])
    return {
        "mean": round(float(np.mean(list(gains.values()))), 3),
        "worst": gains[worst],
        "worst_set": worst,
    }


def scores_table(one: dict[str, Any]) -> str:
    """The heads of one set, with intervals."""
    rows = [
        [
            name,
            *(_with_interval(head["test"][metric]) for metric in SHOWN),
            f"{head['validation']:.3f}",
            head["head"],
        ]
        for name, head in one["heads"].items()
    ]
    floors = {"TF-IDF": one["tfidf"], "majority": one["majority"]}
    rows += [
        [name, *(f"{scores[metric]:.3f}" for metric in SHOWN), "", ""]
        for name, scores in floors.items()
        if scores
    ]
    sizes = ", ".join(f"{count:,} {part}" for part, count in one["rows"].items())
    header = [one["name"], *SHOWN, f"validation {one['chosen_by']}", "head"]
    tried = f"{one['trials']} heads tried in {one['seconds']:.0f} s"
    return f"{plain_table(header, rows)}\n{sizes}; {tried}"


def gains_table(report: dict[str, Any]) -> str:
    """Choice less its rivals, in points, a set a line."""
    rows = []
    for one in report["sets"]:
        less, metric = one["choice_less"], one["compared"]
        words = ""
        if one["tfidf"] is not None:
            choice = one["heads"]["choice"]["test"][metric]["value"]
            words = f"{_points(choice, one['tfidf'][metric]):+.1f}"
        gains = [
            f"{gain['value']:+.1f} [{gain['low']:+.1f}, {gain['high']:+.1f}]"
            for gain in less.values()
        ]
        rows.append([one["name"], metric, *gains, words, f"{one['seconds']:.0f}"])
    table = plain_table(
        ["choice less, points", "metric", "linear", "single layer", "TF-IDF", "seconds"], rows
    )
    total = report["choice_less_linear"]
    return (
        f"{table}\n\nchoice − linear: mean {total['mean']:+.2f}, "
        f"worst {total['worst']:+.2f} ({total['worst_set']})"
    )


def _points(mine: float, theirs: float) -> float:
    return 100 * (mine - theirs)


def _with_interval(score: dict[str, float]) -> str:
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


@click.command(
    help="Fit heads with default options on data sets; compare the choice with plainer ones."
)
@click.option(
    "--data",
    "sets",
    multiple=True,
    required=True,
    help="NAME=TRAIN[,[VALIDATION,]TEST][:METRIC[:LABEL]].",
)
@click.option(
    "--label",
    default="label",
    show_default=True,
    help="Column of the labels, where a set names none.",
)
@click.option("--backbone", help="Model folder or hub id [MiniLM of the extra `demo`].")
@click.option(
    "--rows",
    type=click.IntRange(1),
    help="Training rows of each set at most, drawn with a fixed seed.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Cache folder, kept between runs [a temporary one].",
)
@click.option("--seed", default=0, show_default=True, help="Of splits and heads.")
@click.option("--out", default="benchmarks-out", show_default=True, type=click.Path(path_type=Path))
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on stdout; the tables go to stderr."
)
def main(
    *,
    sets: tuple[str, ...],
    label: str,
    backbone: str | None,
    rows: int | None,
    cache: Path | None,
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """Read the options, measure, check, and report."""
    asked = [DataSet.parse(one, label) for one in sets]
    model = backbone_or_minilm(backbone)
    with tempfile.TemporaryDirectory() as temporary:
        found = []
        for one in asked:
            found.append(
                measure(
                    one,
                    model,
                    cache=cache or Path(temporary) / "cache",
                    rows=rows,
                    seed=seed,
                    runs=Path(temporary) / "runs",
                )
            )
            click.echo(f"{scores_table(found[-1])}\n", err=as_json)
    report = {
        "benchmark": "quality",
        "backbone": model.name,
        "seed": seed,
        "limit": rows,
        "sets": found,
        "choice_less_linear": summary(found),
        "machine": machine(),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "quality.json").write_text(
        json.dumps(report, indent=2, ensure_ascii=False) + "\n", "utf-8"
    )
    click.echo(f"{gains_table(report)}\n\n{machine_line()}", err=as_json)
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False))


if __name__ == "__main__":
    run(main)
