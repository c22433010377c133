"""`featcache curves`: what more labels and larger heads would give."""

from __future__ import annotations

import click

from featcache.cli.options import echo, options_of, print_json, sources, terminal
from featcache.verbs.options import CURVES


@click.command()
@click.argument("train", nargs=-1, required=True)
@options_of(CURVES)
def curves(
    *,
    train: tuple[str, ...],
    label: str,
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
    balance: str,
    heads: str,
    depths: tuple[int, ...],
    widths: tuple[int, ...],
    layers: str | None,
    pooling: str | None,
    views: str,
    seed: int,
    as_json: bool,
) -> None:
    """Measure the score against the number of training rows, and against the size of the head.

    The texts must be in the cache (`featcache extract`). The usual linear head and the best simple
    one are trained on all rows, a half, a quarter and so on; a curve through these says what twice
    the labels would give, and how sure that is. Then heads of each depth and width are compared on
    the best view.

    \b
      featcache curves reviews.csv --label stars
      featcache curves reviews.csv --label stars --layers 3 --views single --metric accuracy
    """
    from featcache.console import Console
    from featcache.report.text.curves import curves_text, print_curves
    from featcache.verbs.curves import curves as verb

    measured = verb(
        sources(train),
        label=label,
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
        layers=layers,
        pooling=pooling,
        views=views,
        metric=metric,
        balance=balance,
        seed=seed,
        progress=terminal(),
    )
    if as_json:
        print_json(measured.to_json())
        return
    console = Console()
    n_train, n_validation = measured.rows
    echo(
        f"data       {n_train:,} train + {n_validation:,} validation · "
        f"{len(measured.classes)} classes · space {measured.space} · {measured.seconds:.0f} s\n"
    )
    if console.is_terminal:
        print_curves(measured.learning_curves, measured.view, measured.capacity, console)
    else:
        echo(curves_text(measured.learning_curves, measured.view, measured.capacity), nl=False)
