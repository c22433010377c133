"""`featcache curves`: what more labels and larger heads would give."""

from __future__ import annotations

from typing import Any

import click

from featcache.cli.fit import _Numbers
from featcache.cli.options import cache_option, data_options, echo, json_option, print_json, sources


@click.command()
@click.argument("train", nargs=-1, required=True)
@click.option("--label", required=True, metavar="COLUMN", help="Column of labels.")
@click.option(
    "--validation", multiple=True, metavar="FILE", help="Rows to score on [split from TRAIN]."
)
@click.option(
    "--test",
    multiple=True,
    metavar="FILE",
    help="Its texts are left out; nothing else of it is read.",
)
@click.option("--split", metavar="SHARES", help="train/validation shares [0.8/0.2].")
@cache_option
@click.option(
    "--strict",
    is_flag=True,
    help="A text in two parts is an error instead of being dropped from training.",
)
@click.option("--backbone", metavar="ID_OR_PATH", help="Use the space of this model.")
@click.option("--space", metavar="NAME", help="Use this space (or the one whose name begins so).")
@data_options
@click.option(
    "--metric",
    type=click.Choice(["macro_f1", "accuracy", "weighted_f1", "mcc"]),
    default="macro_f1",
    show_default=True,
    help="What is drawn.",
)
@click.option(
    "--balance",
    type=click.Choice(["none", "weights", "oversample", "undersample"]),
    default="none",
    show_default=True,
    help="For classes of unequal size.",
)
@click.option(
    "--heads",
    default="logreg,mlp",
    show_default=True,
    help="Kinds of simple head; the best is drawn, too.",
)
@click.option(
    "--depths",
    type=_Numbers(),
    default="0,1,2,3,4",
    show_default=True,
    help="Hidden layers to compare; 0 is linear.",
)
@click.option(
    "--widths",
    type=_Numbers(),
    default="64,256",
    show_default=True,
    help="Widths of hidden layers.",
)
@click.option("--layers", metavar="LIST", help="These layers only [all that are cached].")
@click.option("--pool", metavar="LIST", help="These poolings only [all that are cached].")
@click.option(
    "--views", default="single,layers,poolings,mix", show_default=True, help="Kinds of view."
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Of the split, draws and training.",
)
@json_option
def curves(
    *,
    train: tuple[str, ...],
    validation: tuple[str, ...],
    test: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Measure the score against the number of training rows, and against the size of the head.

    The texts must be in the cache (`featcache extract`). The usual linear head and the best simple one are trained on
    all rows, a half, a quarter and so on; a curve through these says what twice the labels would give, and how sure
    that is. Then heads of each depth and width are compared on the best view.

    \b
      featcache curves reviews.csv --label stars
      featcache curves reviews.csv --label stars --layers 3 --views single --metric accuracy
    """
    from featcache.console import Console
    from featcache.progress import Terminal
    from featcache.report.text.curves import growth_text, print_curves
    from featcache.verbs.curves import curves as verb

    found = verb(
        sources(train),
        validation=sources(validation) or None,
        test=sources(test) or None,
        progress=Terminal(Console(stderr=True)),
        **options,
    )
    if as_json:
        print_json(found.to_json())
        return
    console = Console()
    echo(
        f"data       {found.rows[0]:,} train + {found.rows[1]:,} validation · {len(found.classes)} classes · "
        f"space {found.space} · {found.seconds:.0f} s\n"
    )
    if console.is_terminal:
        print_curves(found.growths, found.view, found.capacity, console)
    else:
        echo(growth_text(found.growths, found.view, found.capacity), nl=False)
