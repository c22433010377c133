"""`featcache fit-heads`: the sweep over the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from featcache.cli.options import echo, options_of, print_json, sources, terminal
from featcache.verbs.options import FIT_HEADS

if TYPE_CHECKING:
    from featcache.runs.result import FitResult


@click.command()
@click.argument("train", nargs=-1, required=True)
@options_of(FIT_HEADS)
def fit_heads(
    *,
    train: tuple[str, ...],
    labels: tuple[str, ...],
    validation: tuple[str, ...],
    test: tuple[str, ...],
    split: str | None,
    cache: str,
    strict: bool,
    backbone: str | None,
    space: str | None,
    text: str | None,
    template: str | None,
    skip_empty: bool,
    encoding: str,
    metric: str,
    search: str,
    trials: int | None,
    seconds: float | None,
    cv: int | None,
    seeds: int,
    balance: str,
    focal: float,
    thresholds: bool,
    heads: str,
    depths: tuple[int, ...],
    widths: tuple[int, ...],
    activation: str,
    layer_norm: bool,
    residual: bool,
    layers: str | None,
    pooling: str | None,
    views: str,
    evidence: bool,
    seed: int,
    out: str | None,
    as_json: bool,
) -> None:
    """Try heads on every cached layer of the texts of TRAIN, and save the best one.

    The texts must be in the cache (`featcache extract`); the labels are read from the files. The
    head is chosen on validation rows, refitted with them, and scored once on test rows, beside a
    linear head on the last layer, a bag of words, and the majority class.

    \b
      featcache fit-heads reviews.csv --label stars
      featcache fit-heads train.jsonl --test test.jsonl --label topic --depths 1,2,4
    """
    from featcache.verbs.fit import fit_labels

    results = fit_labels(
        sources(train),
        labels=labels,
        validation=sources(validation) or None,
        test=sources(test) or None,
        split=split,
        cache=cache,
        strict=strict,
        backbone=backbone,
        space=space,
        text=text,
        template=template,
        encoding=encoding,
        skip_empty=skip_empty,
        heads=heads,
        depths=depths,
        widths=widths,
        activation=activation,
        layer_norm=layer_norm,
        residual=residual,
        layers=layers,
        pooling=pooling,
        views=views,
        metric=metric,
        search=search,
        trials=trials,
        seconds=seconds,
        cv=cv,
        seeds=seeds,
        balance=balance,
        focal=focal,
        thresholds=thresholds,
        evidence=evidence,
        seed=seed,
        out=out,
        progress=terminal(),
    )
    if as_json:
        objects = {label: result.to_json() for label, result in results.items()}
        print_json(objects if len(labels) > 1 else objects[labels[0]])
        return
    for label, result in results.items():
        if len(results) > 1:
            echo(f"{'' if label == labels[0] else chr(10)}label      {label}")
        show_report(result)


def show_report(result: FitResult) -> None:
    """Print the report on stdout: in colour on a terminal, as in report.txt where it is a pipe."""
    from featcache.console import Console
    from featcache.report.text.fit import print_report, report_text

    console = Console()
    if console.is_terminal:
        print_report(result, console)
    else:
        echo(report_text(result), nl=False)
