"""How deep should a head be, how wide, on which layer, and for how many rows? Heads of every depth
on cached features.

    python benchmarks/head_depths.py --data train.parquet --test test.parquet \\
        --layers 3,6 --sizes 500,2000,all

The rows are extracted once (rows already in --cache are not computed again). For every seed they
are split, no text on two sides, and of its training rows the first 500, 2,000, … of a shuffled
order are trained on: larger sizes hold the smaller ones, validation and test rows stay the same.
With --test only the split into training and validation changes with the seed. Heads of one shape,
size and seed are trained as one stack over all layers; those of several seeds see other rows, so
they cannot share a stack. Each has the recipe that `fit-heads` starts from, and its own early
stopping.

Measured are macro-F1 and accuracy on training, validation and test rows (mean and standard
deviation over seeds: of the draw of rows and of the start together) and the seconds of a stack
divided by its heads (median over seeds).

Before anything is reported, the linear heads on the largest size must agree with scikit-learn's
logistic regression on the same rows within 3 points of validation accuracy, on average over layers
and seeds; otherwise the script ends with exit code 1.
"""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from common import (
    Model,
    backbone_or_minilm,
    machine,
    machine_line,
    median,
    plain_table,
    read_rows,
    run,
)
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import featcache
from featcache.data.parts import LabelledRows
from featcache.data.splits import Fractions, split_rows
from featcache.features.find import cached_layers
from featcache.features.opened import FeatureSpace
from featcache.features.standardize import Standardization
from featcache.features.views import View
from featcache.heads.shape import HeadShape
from featcache.heads.stack import Architecture
from featcache.heads.train import StackRows, StackTraining
from featcache.search.candidates import MAX_DEPTH, Candidates, base_recipe
from featcache.tasks.metrics import scores, scores_of_many
from featcache.tasks.single_label import SingleLabel

PARTS = ("train", "validation", "test")
METRICS = ("macro_f1", "accuracy")
AGREEMENT = 0.03
# The strength best on validation is compared: the linear head's early stopping is chosen there,
# too.
ORACLE_C = (0.001, 0.01, 0.1, 1.0)
# Okabe and Ito's palette, told apart with any colour vision; the markers serve grey prints.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
MARKERS = "os^Dv<"
DASHES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class Data:
    """Features of one view for every row and layer, and the rows of each part for each seed."""

    features: dict[int, NDArray[np.float32]]  # layer -> (N, H)
    labels: NDArray[np.int64]  # (N,)
    n_classes: int
    parts: list[dict[str, NDArray[np.int64]]]

    def rows(self, seed: int, part: str, size: int | None) -> NDArray[np.int64]:
        """Rows of a part; of training rows the first `size` in the seed's order, or all."""
        rows = self.parts[seed][part]
        return rows[:size] if part == "train" else rows


@dataclass(frozen=True)
class Run:
    """One head. size: training rows asked for, None for all.  epochs: of the weights that are
    scored.

    scores: part -> metric -> value.  seconds: its share of the stack's.
    """

    layer: int
    size: int | None
    depth: int
    width: int | None
    seed: int
    rows: int
    parameters: int
    epochs: int
    seconds: float
    scores: dict[str, dict[str, float]]


def load(
    train: LabelledRows,
    test: LabelledRows | None,
    space: FeatureSpace,
    *,
    layers: Sequence[int],
    pool: str,
    seeds: int,
) -> Data:
    """Features of every row, and the split of each seed; training rows whose text is in the test
    file are left out.
    """
    kept = train if test is None else train.without_texts_of(test)
    n_kept = len(kept.labels)
    labels, texts = list(kept.labels), list(kept.texts)
    if test is not None:
        labels += test.labels
        texts += test.texts
    classes = sorted(set(labels), key=str)
    fractions = Fractions.parse("0.7/0.1/0.2" if test is None else "0.8/0.2")
    parts = []
    for seed in range(seeds):
        fit, held, drawn = split_rows(kept.keys, kept.labels, fractions, seed=seed)
        last = np.arange(n_kept, len(labels)) if drawn is None else drawn
        shuffled = np.random.default_rng(seed).permutation(fit)
        parts.append({"train": shuffled, "validation": held, "test": last})
    features = {layer: space.features(texts, layer=layer, pooling=pool) for layer in layers}
    return Data(features, SingleLabel(tuple(classes)).encode(labels), len(classes), parts)


def train_stack_over_layers(
    data: Data, shape: HeadShape, *, size: int | None, seed: int, max_epochs: int | None = None
) -> list[Run]:
    """Train one head of a shape on each layer, as `fit-heads` would, and score it on every part."""
    rows = {part: data.rows(seed, part, size) for part in PARTS}
    n_rows = len(rows["train"])
    scales = {
        layer: Standardization.of(states[rows["train"]]) for layer, states in data.features.items()
    }

    def seen(part: str) -> StackRows:
        views = [
            torch.from_numpy(scales[layer].apply(states[rows[part]]))
            for layer, states in data.features.items()
        ]
        return StackRows(views, torch.from_numpy(data.labels[rows[part]]))

    space = Candidates((), (shape,), base_recipe(n_rows, seed=seed))
    recipe = space.usual(View((0,), ("mean",)), shape).recipe
    assert recipe is not None, "heads here are trained by gradient descent"
    recipe = replace(recipe, max_epochs=max_epochs or recipe.max_epochs)
    n_inputs = next(iter(data.features.values())).shape[1]
    architecture = Architecture(shape, n_inputs, data.n_classes)
    metric = partial(scores_of_many, "macro_f1", n_classes=data.n_classes)
    heads = [(place, recipe) for place in range(len(data.features))]
    parts = {part: seen(part) for part in PARTS}
    started = time.perf_counter()
    training = StackTraining(
        architecture, parts["train"], parts["validation"], heads, metric=metric, seed=seed
    )
    training.advance(recipe.max_epochs)
    seconds = (time.perf_counter() - started) / len(heads)
    predicted = {part: training.predictions(one) for part, one in parts.items()}
    return [
        Run(
            layer=layer,
            size=size,
            depth=shape.depth,
            width=shape.width,
            seed=seed,
            rows=n_rows,
            parameters=architecture.n_parameters,
            epochs=training.trained(place).epochs,
            seconds=round(seconds, 3),
            scores={
                part: scores(data.labels[rows[part]], predicted[part][place], data.n_classes)
                for part in PARTS
            },
        )
        for place, layer in enumerate(data.features)
    ]


def oracle_accuracy(data: Data, layer: int, size: int | None, seed: int) -> float:
    """Validation accuracy of scikit-learn's logistic regression, standardised by scikit-learn, at
    its best C.
    """
    train, held = data.rows(seed, "train", size), data.rows(seed, "validation", size)
    scaler = StandardScaler().fit(data.features[layer][train])
    x, x_held = (scaler.transform(data.features[layer][rows]) for rows in (train, held))
    fitted = [LogisticRegression(C=c, max_iter=1000).fit(x, data.labels[train]) for c in ORACLE_C]
    return max(float((model.predict(x_held) == data.labels[held]).mean()) for model in fitted)


def compare_with_oracle(data: Data, linear: Sequence[Run]) -> dict[str, float]:
    """Mean validation accuracy of the linear heads beside scikit-learn's."""
    mine = statistics.mean(one.scores["validation"]["accuracy"] for one in linear)
    theirs = statistics.mean(oracle_accuracy(data, one.layer, one.size, one.seed) for one in linear)
    return {"linear": round(mine, 4), "scikit_learn": round(theirs, 4), "allowed": AGREEMENT}


def summary(runs: Sequence[Run]) -> dict[str, Any]:
    """The runs of one layer, size and shape as one record."""
    spread: dict[str, Any] = {}
    for metric in METRICS:
        values = {part: [one.scores[part][metric] for one in runs] for part in PARTS}
        spread[metric] = {
            part: {
                "mean": round(statistics.mean(of_part), 4),
                "sd": round(statistics.stdev(of_part), 4) if len(of_part) > 1 else None,
            }
            for part, of_part in values.items()
        }
    first = runs[0]
    return {
        "layer": first.layer,
        "size": first.size,
        "rows": round(statistics.mean(one.rows for one in runs)),
        "depth": first.depth,
        "width": first.width,
        "parameters": first.parameters,
        **spread,
        "epochs": statistics.median(one.epochs for one in runs),
        "seconds_per_head": median([one.seconds for one in runs]),
    }


def shape_name(one: dict[str, Any]) -> str:
    """`linear`, or depth and width."""
    return "linear" if one["depth"] == 0 else f"{one['depth']} × {one['width']}"


def table(records: Sequence[dict[str, Any]], metric: str) -> str:
    """Layers, sizes and shapes down; parameters, the three scores and the time across."""
    rows = [
        [
            f"layer {one['layer']}",
            f"{one['rows']:,}",
            shape_name(one),
            f"{one['parameters']:,}",
            *(_with_spread(one[metric][part]) for part in PARTS),
            f"{one['epochs']:g}",
            f"{one['seconds_per_head']:.2f}",
        ]
        for one in records
    ]
    return plain_table(
        ["", "rows", "head", "parameters", *PARTS, "epochs", "seconds per head"], rows
    )


def _with_spread(value: dict[str, float | None]) -> str:
    return f"{value['mean']:.3f}" + ("" if value["sd"] is None else f" ± {value['sd']:.3f}")


def draw(report: dict[str, Any], file: Path) -> None:
    """Macro-F1 on test rows against training rows: a panel a layer, a line a shape; on training
    rows thin beside it.
    """
    layers, widths, depths = report["layers"], report["widths"], report["depths"]
    figure = Figure(figsize=(1.2 + 4.6 * len(layers), 4.6), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(layers), sharey=True, squeeze=False)[0]
    for axes, layer in zip(panels, layers, strict=True):
        of_layer = [one for one in report["heads"] if one["layer"] == layer]
        for name, same in itertools.groupby(sorted(of_layer, key=_shape_key), key=shape_name):
            line = sorted(same, key=lambda one: one["rows"])
            place = depths.index(line[0]["depth"])
            look = {
                "color": COLOURS[place % len(COLOURS)],
                "linestyle": DASHES[widths.index(line[0]["width"]) % len(DASHES)]
                if line[0]["depth"]
                else "-",
            }
            x = [
                one["rows"] * 1.015 ** (place - len(depths) / 2) for one in line
            ]  # so that bars stay apart
            scored = [one["macro_f1"]["test"] for one in line]
            axes.errorbar(
                x,
                [one["mean"] for one in scored],
                yerr=[one["sd"] or 0.0 for one in scored],
                marker=MARKERS[place % len(MARKERS)],
                markersize=5,
                linewidth=1.6,
                elinewidth=1.0,
                capsize=2,
                label=name,
                **look,
            )
            axes.plot(
                x,
                [one["macro_f1"]["train"]["mean"] for one in line],
                linewidth=0.6,
                alpha=0.7,
                **look,
            )
        axes.set_xscale("log")
        sizes = sorted({one["rows"] for one in of_layer})
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel("training rows")
        axes.set_title(f"layer {layer} {report['pool']}", fontsize=10, loc="left")
        axes.grid(axis="y", color="#dddddd", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    spread = f"mean ± sd of {report['seeds']} seeds" if report["seeds"] > 1 else "one seed"
    panels[0].set_ylabel("macro-F1")
    figure.suptitle(
        f"{report['data']}, {report['backbone']}: test rows, {spread}; thin: training rows",
        fontsize=10,
    )
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        frameon=False,
        ncols=min(len(labels), 6),
        loc="outside lower center",
        title="head",
    )
    figure.savefig(file)


def _shape_key(one: dict[str, Any]) -> tuple[int, int]:
    return one["depth"], one["width"] or 0


def measure(
    train: LabelledRows,
    test: LabelledRows | None,
    model: Model,
    *,
    cache: Path,
    layers: Sequence[int] | str,
    pool: str,
    widths: Sequence[int],
    depths: Sequence[int],
    sizes: Sequence[int | None],
    seeds: int,
) -> dict[str, Any]:
    """Extract, train every head with every seed, and check the linear ones. The whole report as one
    object.
    """
    click.echo(f"extracting with {model.name}", err=True)
    texts = train.texts + (test.texts if test else [])
    extraction = featcache.extract(
        {"text": texts}, backbone=model.path, cache=cache, layers=layers, pool=pool
    )
    space = featcache.open_space(extraction.space, cache=cache)
    numbers = cached_layers(layers, space.space)
    data = load(train, test, space, layers=numbers, pool=pool, seeds=seeds)
    sizes = sizes_there(sizes, data)
    linear = HeadShape("linear")
    shapes = [linear] if 0 in depths else []
    shapes += [HeadShape("mlp", depth, width) for depth in depths if depth for width in widths]
    # The first steps of a process start threads and fill caches: not a cost of the first shape.
    train_stack_over_layers(data, HeadShape("mlp", 1, 64), size=None, seed=0, max_epochs=1)
    runs: list[Run] = []
    for seed, size in itertools.product(range(seeds), sizes):
        click.echo(
            f"seed {seed}, {'all' if size is None else f'{size:,}'} rows: {len(shapes)} shapes",
            err=True,
        )
        for shape in shapes:
            runs += train_stack_over_layers(data, shape, size=size, seed=seed)
    largest = sizes[-1]
    checked = [one for one in runs if one.depth == 0 and one.size == largest] or [
        one
        for seed in range(seeds)
        for one in train_stack_over_layers(data, linear, size=largest, seed=seed)
    ]
    return {
        "benchmark": "head_depths",
        "data": train.source,
        "test": test.source if test else None,
        "backbone": model.name,
        "space": extraction.space,
        "dtype": extraction.dtype,
        "layers": list(numbers),
        "pool": pool,
        "widths": list(widths),
        "depths": list(depths),
        "seeds": seeds,
        "rows": {part: len(rows) for part, rows in data.parts[0].items()},
        "classes": data.n_classes,
        "check": compare_with_oracle(data, checked),
        "heads": grouped(runs),
        "runs": [asdict(one) for one in runs],
        "machine": machine(),
    }


def grouped(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """One record for each layer, size and shape."""

    def key(one: Run) -> tuple[int, float, int, int]:
        return one.layer, one.size or float("inf"), one.depth, one.width or 0

    return [summary(list(same)) for _, same in itertools.groupby(sorted(runs, key=key), key=key)]


def sizes_there(sizes: Sequence[int | None], data: Data) -> list[int | None]:
    """The sizes that there are rows for, ascending. Raises ClickException where a class would be
    missing.
    """
    most = min(len(parts["train"]) for parts in data.parts)
    there: list[int | None] = [size for size in sizes if size is not None and size < most]
    there += [None] if None in sizes or len(there) < len(sizes) else []
    for seed, size in itertools.product(range(len(data.parts)), there):
        if len(np.unique(data.labels[data.rows(seed, "train", size)])) < data.n_classes:
            raise click.ClickException(
                f"a class is missing in the first {size} training rows of seed {seed}."
            )
    return there


def _numbers(text: str, least: int, most: int) -> list[int]:
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a list of numbers such as 1,2") from error
    if found[0] < least or found[-1] > most:
        raise click.BadParameter(f"{text!r}: numbers from {least} to {most}")
    return found


def _depths(_context: click.Context, _parameter: click.Parameter, value: str) -> list[int]:
    return _numbers(value, 0, MAX_DEPTH)


def _widths(_context: click.Context, _parameter: click.Parameter, value: str) -> list[int]:
    return _numbers(value, 1, 1 << 16)


def _layers(_context: click.Context, _parameter: click.Parameter, value: str) -> list[int] | str:
    return value if value in ("last", "all", "auto") else _numbers(value, 0, 1 << 16)


def _sizes(_context: click.Context, _parameter: click.Parameter, value: str) -> list[int | None]:
    parts = value.split(",")
    numbers = [part for part in parts if part != "all"]
    found: list[int | None] = list(_numbers(",".join(numbers), 1, 1 << 40)) if numbers else []
    return found + ([None] if "all" in parts else [])


@click.command(
    help="Compare heads of several depths and widths on cached layers and sizes of data."
)
@click.option(
    "--data", required=True, type=click.Path(exists=True, path_type=Path), help="Rows to train on."
)
@click.option(
    "--test", type=click.Path(exists=True, path_type=Path), help="Test rows [a split of --data]."
)
@click.option("--label", default="label", show_default=True, help="Column of the labels.")
@click.option("--backbone", help="Model folder or hub id [MiniLM of the extra `demo`].")
@click.option("--cache", type=click.Path(path_type=Path), help="Cache folder [a temporary one].")
@click.option(
    "--layers",
    default="last",
    show_default=True,
    callback=_layers,
    help="Such as 3,6; 0 is the embeddings.",
)
@click.option(
    "--pool", default="mean", show_default=True, type=click.Choice(["mean", "cls", "last", "max"])
)
@click.option(
    "--depths",
    default="0,1,2,4,8",
    show_default=True,
    callback=_depths,
    help="Numbers of hidden layers.",
)
@click.option(
    "--widths",
    default="64,256",
    show_default=True,
    callback=_widths,
    help="Widths of hidden layers.",
)
@click.option(
    "--sizes",
    default="500,2000,all",
    show_default=True,
    callback=_sizes,
    help="Numbers of training rows.",
)
@click.option(
    "--seeds",
    default=3,
    show_default=True,
    type=click.IntRange(1),
    help="Splits and starts for a head.",
)
@click.option(
    "--rows",
    type=click.IntRange(1),
    help="Use only so many rows of --data, drawn with a fixed seed.",
)
@click.option("--out", default="benchmarks-out", show_default=True, type=click.Path(path_type=Path))
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on stdout; the table goes to stderr."
)
def main(
    *,
    data: Path,
    test: Path | None,
    label: str,
    backbone: str | None,
    cache: Path | None,
    layers: list[int] | str,
    pool: str,
    depths: list[int],
    widths: list[int],
    sizes: list[int | None],
    seeds: int,
    rows: int | None,
    out: Path,
    as_json: bool,
) -> None:
    """Read the options, measure, check, and report."""
    train_rows = read_rows(data, label, rows)
    test_rows = None if test is None else read_rows(test, label)
    with tempfile.TemporaryDirectory() as temporary:
        report = measure(
            train_rows,
            test_rows,
            backbone_or_minilm(backbone),
            cache=cache or Path(temporary),
            layers=layers,
            pool=pool,
            widths=widths,
            depths=depths,
            sizes=sizes,
            seeds=seeds,
        )
    check = report["check"]
    mine, theirs = check["linear"], check["scikit_learn"]
    click.echo(
        f"check: validation accuracy {mine:.3f} (linear heads), {theirs:.3f} (scikit-learn)",
        err=True,
    )
    if abs(mine - theirs) > AGREEMENT:
        raise click.ClickException(
            f"these differ by more than {AGREEMENT:.2f}, so the heads are not reported."
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / "head_depths.json").write_text(
        json.dumps(report, indent=2, ensure_ascii=False) + "\n", "utf-8"
    )
    draw(report, out / "head_depths.png")
    part_sizes = ", ".join(f"{count:,} {part}" for part, count in report["rows"].items())
    drawn = "1 seed" if seeds == 1 else f"{seeds} seeds"
    view = f"{pool} of {report['backbone']} ({report['dtype']})"
    click.echo(f"macro-F1 on {report['data']}, {view}\n{part_sizes}; {drawn}\n", err=as_json)
    click.echo(table(report["heads"], "macro_f1"), err=as_json)
    click.echo(f"\n{machine_line()}", err=as_json)
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False))


if __name__ == "__main__":
    run(main)
