"""What does the cache save? One linear head, trained with the backbone run live in every epoch, and
from the cache.

    python benchmarks/live_vs_cached.py --data sms_spam.parquet --rows 1500 \\
        --epochs 20 --live-epochs 3

Both sides train the same torch.nn.Linear on the last layer's mean over tokens, not standardised
(that would cost the live side a pass of its own), with AdamW, batches of 32 in the same order, the
same start, dtype and device. Live is a plain Transformers loop: texts tokenised once, every batch
padded to its longest text, no gradients through the backbone. The cached side extracts once, reads
the features and trains on those.

Counted live: loading the model, tokenising, and the epochs over the training rows. Counted cached:
loading the model, extracting training, validation and test rows, reading, training. Scoring is
counted on neither side, so that the live side is not charged for validation; imports and first runs
are done before. With --live-epochs the live total is extrapolated from the epochs that were run,
and the tables say so.

Before times are compared, features must agree (cosine >= 0.999 for every row) and so must test
scores after the same epochs (2 points of accuracy and macro-F1); otherwise the script ends with
exit code 1. A cache that already holds some of the rows is refused, because extracting would then
seem to cost nothing.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
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
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, DataCollatorWithPadding
from transformers.utils import logging

import featcache
from featcache.cache.memo import Memo
from featcache.cache.space import Space
from featcache.data.parts import LabelledRows
from featcache.data.splits import Fractions, split_rows
from featcache.features.request import BackboneChoice, Resolved, resolve
from featcache.tasks.metrics import scores
from featcache.tasks.single_label import SingleLabel

PARTS = ("train", "validation", "test")
BATCH_ROWS = 32
LEARNING_RATE = 1e-2
COSINE = 0.999
AGREEMENT = 0.02

FeaturesOf = Callable[[Tensor], Tensor]
"""Features (B, H) in float32 of row numbers (B,): from the cache, or from the backbone."""


@dataclass(frozen=True)
class Data:
    """All rows of the benchmark, and the row numbers of each part."""

    rows: LabelledRows
    labels: NDArray[np.int64]  # (N,)
    n_classes: int
    parts: dict[str, NDArray[np.int64]]

    @classmethod
    def of(cls, rows: LabelledRows, seed: int) -> Data:
        """Split 70/10/20, no text on two sides."""
        classes = sorted(set(rows.labels), key=str)
        train, held, test = split_rows(
            rows.keys, rows.labels, Fractions.parse("0.7/0.1/0.2"), seed=seed
        )
        assert test is not None, "three shares give three parts"
        parts = dict(zip(PARTS, (train, held, test), strict=True))
        return cls(rows, SingleLabel(tuple(classes)).encode(rows.labels), len(classes), parts)


class Live:
    """The backbone as a plain Transformers loop runs it. load_seconds: the model; tokenize_seconds:
    all texts.
    """

    def __init__(
        self, backbone: str, texts: list[str], *, dtype: str, device: str, max_length: int
    ) -> None:
        started = time.perf_counter()
        tokenizer = AutoTokenizer.from_pretrained(backbone)
        model = AutoModel.from_pretrained(backbone, dtype=getattr(torch, dtype))
        if model.config.is_encoder_decoder:
            model = model.get_encoder()
        self.model = model.to(device).eval()
        self.device = device
        self.load_seconds = time.perf_counter() - started
        if tokenizer.pad_token is None:  # GPT-2, Llama; padding is masked, so any token does
            tokenizer.pad_token = tokenizer.eos_token
        tokenizer.padding_side = "right"
        started = time.perf_counter()
        encoded = tokenizer(
            texts, truncation=True, max_length=max_length, return_token_type_ids=False
        )
        self.ids: list[list[int]] = encoded["input_ids"]
        self.tokenize_seconds = time.perf_counter() - started
        self.collate = DataCollatorWithPadding(tokenizer)

    @torch.no_grad()  # and not inference_mode: its tensors cannot be saved for the head's gradient
    def __call__(self, rows: Tensor) -> Tensor:
        """Mean of the last layer's states over the real tokens of each row, (B, H)."""
        padded = self.collate([{"input_ids": self.ids[row]} for row in rows.tolist()])
        batch = {name: value.to(self.device) for name, value in padded.items()}
        hidden = self.model(**batch).last_hidden_state.float()
        mask = batch["attention_mask"].unsqueeze(-1).float()
        mean: Tensor = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        return mean.cpu()

    def all(self) -> Tensor:
        """Features of every row, (N, H)."""
        return torch.cat(
            [self(rows) for rows in torch.split(torch.arange(len(self.ids)), BATCH_ROWS)]
        )


def train_head(
    features_of: FeaturesOf, data: Data, n_inputs: int, *, epochs: int, seed: int
) -> tuple[torch.nn.Linear, list[float]]:
    """Train a linear head on the training rows; returns it with the seconds of each epoch."""
    torch.manual_seed(seed)
    head = torch.nn.Linear(n_inputs, data.n_classes)
    optimizer = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE)
    order = torch.Generator().manual_seed(seed)
    labels, train = torch.from_numpy(data.labels), torch.from_numpy(data.parts["train"])
    seconds = []
    for _ in range(epochs):
        started = time.perf_counter()
        for rows in torch.split(train[torch.randperm(len(train), generator=order)], BATCH_ROWS):
            loss = torch.nn.functional.cross_entropy(head(features_of(rows)), labels[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
        seconds.append(time.perf_counter() - started)
    return head, seconds


@torch.no_grad()
def scores_of(head: torch.nn.Linear, features: Tensor, data: Data) -> dict[str, dict[str, float]]:
    """Accuracy, macro-F1 and Matthews correlation on each part."""
    predicted = head(features).argmax(dim=1).numpy()
    return {
        part: scores(data.labels[rows], predicted[rows], data.n_classes)
        for part, rows in data.parts.items()
    }


def rows_held(target: Resolved, rows: LabelledRows) -> int:
    """How many of the rows the space that `extract` would add to already has."""
    return 0 if target.path is None else int((Space.open(target.path).find(rows.keys) >= 0).sum())


def warm_up(data: Data, model: Model, target: Resolved) -> None:
    """Load, run and train a little: a process's first model imports its modules, its first
    optimiser, too.

    Whichever side came first would pay for both.
    """
    live = Live(
        model.path,
        data.rows.texts[:BATCH_ROWS],
        dtype=target.contract.dtype,
        device=target.device,
        max_length=target.contract.max_length,
    )
    live.all()
    train_head(torch.zeros(len(data.labels), 1).__getitem__, data, 1, epochs=1, seed=0)


def measure(
    data: Data, model: Model, *, cache: Path, epochs: int, live_epochs: int, seed: int
) -> dict[str, Any]:
    """Run the cached side, then the live side, and put both into one report."""
    click.echo(f"cached: extracting {len(data.labels):,} rows with {model.name}", err=True)
    texts = data.rows.texts
    extraction = featcache.extract(
        {"text": texts}, backbone=model.path, cache=cache, layers="last", pool="mean"
    )
    started = time.perf_counter()
    space = featcache.open_space(extraction.space, cache=cache)
    cached = torch.from_numpy(space.features(texts, layer=extraction.layers[-1], pooling="mean"))
    read_seconds = time.perf_counter() - started
    n_inputs = cached.shape[1]
    cached_head, fit_seconds = train_head(
        cached.__getitem__, data, n_inputs, epochs=epochs, seed=seed
    )
    same_head, _ = train_head(cached.__getitem__, data, n_inputs, epochs=live_epochs, seed=seed)

    click.echo(
        f"live: {live_epochs} epochs over {len(data.parts['train']):,} training rows", err=True
    )
    live = Live(
        model.path,
        texts,
        dtype=extraction.dtype,
        device=extraction.device,
        max_length=space.contract.max_length,
    )
    live_head, epoch_seconds = train_head(live, data, n_inputs, epochs=live_epochs, seed=seed)
    live_features = live.all()

    cosine = torch.nn.functional.cosine_similarity(live_features, cached)
    per_epoch = median(epoch_seconds)
    live_fit = sum(epoch_seconds) + (epochs - live_epochs) * per_epoch
    live_total = live.load_seconds + live.tokenize_seconds + live_fit
    fit = sum(fit_seconds)
    cached_total = extraction.load_seconds + extraction.seconds + read_seconds + fit
    return {
        "benchmark": "live_vs_cached",
        "data": data.rows.source,
        "backbone": model.name,
        "space": extraction.space,
        "dtype": extraction.dtype,
        "device": extraction.device,
        "seed": seed,
        "rows": {part: len(rows) for part, rows in data.parts.items()},
        "unique_texts": extraction.unique,
        "batch_rows": BATCH_ROWS,
        "learning_rate": LEARNING_RATE,
        "standardized": False,
        "epochs": epochs,
        "live_epochs": live_epochs,
        "live_extrapolated": live_epochs < epochs,
        "check": {
            "lowest_cosine": round(float(cosine.min()), 6),
            "allowed_cosine": COSINE,
            "allowed_score_difference": AGREEMENT,
        },
        "scores": {
            "live": scores_of(live_head, live_features, data),
            "cached_same_epochs": scores_of(same_head, cached, data),
            "cached": scores_of(cached_head, cached, data),
        },
        "live_seconds": {
            "load_model": round(live.load_seconds, 3),
            "tokenize": round(live.tokenize_seconds, 3),
            "per_epoch": per_epoch,
            "measured_epochs": [round(seconds, 3) for seconds in epoch_seconds],
            "fit": round(live_fit, 3),
            "total": round(live_total, 3),
        },
        "cached_seconds": {
            "load_model": extraction.load_seconds,
            "extract": extraction.seconds,
            "read": round(read_seconds, 3),
            "fit": round(fit, 3),
            "total": round(cached_total, 3),
        },
        "ratio": round(live_total / cached_total, 2),
        "ratio_next_head": round(live_total / (read_seconds + fit), 1),
        "machine": machine(),
    }


def disagreement(report: dict[str, Any]) -> str | None:
    """Why the two sides are not comparable, or None where they are."""
    cosine = report["check"]["lowest_cosine"]
    if not cosine >= COSINE:  # so that NaN fails, too
        return (
            f"live and cached features differ: the lowest cosine is {cosine:.6f}, below {COSINE}."
        )
    live, cached = report["scores"]["live"]["test"], report["scores"]["cached_same_epochs"]["test"]
    for metric in ("accuracy", "macro_f1"):
        if abs(live[metric] - cached[metric]) > AGREEMENT:
            return f"test {metric} differs: {live[metric]:.3f} live, {cached[metric]:.3f} cached."
    return None


def tables(report: dict[str, Any]) -> str:
    """Scores side by side, then times side by side."""
    n_live, n_epochs = report["live_epochs"], report["epochs"]
    sides = {f"live, {n_live} epochs": "live", f"cached, {n_live} epochs": "cached_same_epochs"}
    if report["live_extrapolated"]:
        sides[f"cached, {n_epochs} epochs"] = "cached"

    def cells(side: str) -> list[str]:
        return [
            f"{one['accuracy']:.3f} / {one['macro_f1']:.3f}"
            for one in report["scores"][side].values()
        ]

    scored = plain_table(
        ["accuracy / macro-F1", *PARTS], [[name, *cells(side)] for name, side in sides.items()]
    )
    live, cached = report["live_seconds"], report["cached_seconds"]
    estimated = " *" if report["live_extrapolated"] else ""
    rows = [
        ["load model", f"{live['load_model']:.2f}", f"{cached['load_model']:.2f}"],
        ["tokenise", f"{live['tokenize']:.2f}", "in extract"],
        ["extract", "", f"{cached['extract']:.2f}"],
        ["read features", "", f"{cached['read']:.2f}"],
        ["one epoch", f"{live['per_epoch']:.2f}", f"{cached['fit'] / n_epochs:.3f}"],
        [f"{n_epochs} epochs", f"{live['fit']:.2f}{estimated}", f"{cached['fit']:.2f}"],
        ["total", f"{live['total']:.2f}{estimated}", f"{cached['total']:.2f}"],
    ]
    timed = plain_table(["seconds", "live", "cached"], rows)
    note = f"\n* extrapolated from {n_live} measured epochs" if report["live_extrapolated"] else ""
    return (
        f"{scored}\n\n{timed}{note}\n\nlive / cached: {report['ratio']:.1f}; "
        f"for a second head, with the features cached: {report['ratio_next_head']:.0f}"
    )


@click.command(
    help="Compare training a linear head with the backbone live in every epoch and from the cache."
)
@click.option(
    "--data", required=True, type=click.Path(exists=True, path_type=Path), help="Rows with labels."
)
@click.option("--label", default="label", show_default=True, help="Column of the labels.")
@click.option("--backbone", help="Model folder or hub id [MiniLM of the extra `demo`].")
@click.option(
    "--rows",
    default=2000,
    show_default=True,
    type=click.IntRange(1),
    help="Rows drawn, fixed seed.",
)
@click.option("--epochs", default=20, show_default=True, type=click.IntRange(1))
@click.option(
    "--live-epochs",
    type=click.IntRange(1),
    help="Run only so many live and extrapolate the rest [all].",
)
@click.option(
    "--seed", default=0, show_default=True, help="Of the split, the start and the order of batches."
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Cache folder without these rows [a temporary one].",
)
@click.option("--out", default="benchmarks-out", show_default=True, type=click.Path(path_type=Path))
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on stdout; the tables go to stderr."
)
def main(
    *,
    data: Path,
    label: str,
    backbone: str | None,
    rows: int,
    epochs: int,
    live_epochs: int | None,
    seed: int,
    cache: Path | None,
    out: Path,
    as_json: bool,
) -> None:
    """Read the options, measure, check, and report."""
    if live_epochs is not None and live_epochs > epochs:
        raise click.UsageError(f"--live-epochs {live_epochs} is more than --epochs {epochs}")
    model = backbone_or_minilm(backbone)
    chosen = Data.of(read_rows(data, label, rows), seed)
    with tempfile.TemporaryDirectory() as temporary:
        place = cache or Path(temporary)
        target = resolve(
            BackboneChoice(model.path, layers="last", pooling="mean"), place, Memo.load(place)
        )
        n_held = rows_held(target, chosen.rows)
        if n_held:
            raise click.ClickException(
                f"{place} already holds {n_held:,} of the {len(chosen.labels):,} rows, so "
                "extracting them would seem to cost less than it does; give an empty folder, or "
                "leave out --cache."
            )
        warm_up(chosen, model, target)
        report = measure(
            chosen, model, cache=place, epochs=epochs, live_epochs=live_epochs or epochs, seed=seed
        )
    reason = disagreement(report)
    if reason is not None:
        raise click.ClickException(f"{reason} Times of different results are not compared.")
    out.mkdir(parents=True, exist_ok=True)
    (out / "live_vs_cached.json").write_text(
        json.dumps(report, indent=2, ensure_ascii=False) + "\n", "utf-8"
    )
    part_sizes = ", ".join(f"{count:,} {part}" for part, count in report["rows"].items())
    view = (
        f"last layer mean of {model.name} ({report['dtype']}, {report['device']}), not standardised"
    )
    click.echo(
        f"{report['data']}: {part_sizes}; {report['unique_texts']:,} different texts", err=as_json
    )
    click.echo(f"linear head on the {view}", err=as_json)
    click.echo(
        "check: lowest cosine of live and cached features "
        f"{report['check']['lowest_cosine']:.6f}\n",
        err=as_json,
    )
    click.echo(f"{tables(report)}\n\n{machine_line()}", err=as_json)
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False))


if __name__ == "__main__":
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # the library leaves it untyped
    run(main)
