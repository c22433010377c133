"""`featcache fit-heads`: the sweep over the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from featcache.cli.options import (
    Command,
    cache_option,
    data_options,
    echo,
    json_option,
    print_json,
    sources,
)

if TYPE_CHECKING:
    from featcache.runs.result import FitResult


class _Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers separated by commas."""

    name = "list"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        try:
            return tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers such as 1,2", param, ctx)


def heads_options(command: Command) -> Command:
    """Which heads are tried, and on what."""
    for option in (
        click.option(
            "--views",
            default="single,layers,poolings,mix",
            show_default=True,
            help="Kinds of view to try.",
        ),
        click.option(
            "--pool", metavar="LIST", help="Try these poolings only [all that are cached]."
        ),
        click.option(
            "--layers", metavar="LIST", help="Try these layers only [all that are cached]."
        ),
        click.option(
            "--residual", is_flag=True, help="Hidden layers of mlp add to the one before."
        ),
        click.option("--layer-norm", is_flag=True, help="Hidden layers of mlp are normalised."),
        click.option(
            "--activation",
            type=click.Choice(["gelu", "relu", "silu"]),
            default="gelu",
            show_default=True,
            help="Of mlp's hidden layers.",
        ),
        click.option(
            "--widths",
            type=_Numbers(),
            default="64,256",
            show_default=True,
            help="Of mlp's hidden layers.",
        ),
        click.option(
            "--depths",
            type=_Numbers(),
            default="1,2",
            show_default=True,
            help="Hidden layers of mlp, to 8; 0 is linear.",
        ),
        click.option(
            "--heads", default="linear,mlp,logreg", show_default=True, help="Kinds of head to try."
        ),
    ):
        command = option(command)
    return command


def search_options(command: Command) -> Command:
    """How heads are searched, and what for."""
    metrics = click.Choice(["macro_f1", "accuracy", "weighted_f1", "mcc"])
    balances = click.Choice(["none", "weights", "oversample", "undersample"])
    searches = click.Choice(["halving", "grid", "random", "optuna"])
    for option in (
        click.option(
            "--thresholds",
            is_flag=True,
            help="Labels by thresholds tuned on validation rows for macro-F1.",
        ),
        click.option(
            "--focal",
            type=float,
            default=0.0,
            metavar="GAMMA",
            help="Focal loss with this exponent, e.g. 2; not of logreg.",
        ),
        click.option(
            "--balance",
            type=balances,
            default="none",
            show_default=True,
            help="For classes of unequal size.",
        ),
        click.option(
            "--seeds",
            type=int,
            default=1,
            show_default=True,
            help="Train each candidate with so many seeds.",
        ),
        click.option(
            "--cv",
            type=int,
            metavar="K",
            help="Choose by K folds over training and validation rows.",
        ),
        click.option(
            "--time",
            "seconds",
            type=float,
            metavar="SECONDS",
            help="Stop searching each label after so long; no folds then.",
        ),
        click.option("--trials", type=int, metavar="N", help="Candidates to try [128; grid: all]."),
        click.option(
            "--search",
            type=searches,
            default="halving",
            show_default=True,
            help="How candidates are searched.",
        ),
        click.option(
            "--metric",
            type=metrics,
            default="macro_f1",
            show_default=True,
            help="What the choice goes by.",
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("train", nargs=-1, required=True)
@click.option(
    "--label",
    "labels",
    required=True,
    multiple=True,
    metavar="COLUMN",
    help="Column of labels; several: a head each.",
)
@click.option(
    "--validation", multiple=True, metavar="FILE", help="Rows to choose on [split from TRAIN]."
)
@click.option(
    "--test",
    multiple=True,
    metavar="FILE",
    help="Rows to read once, at the end [split from TRAIN].",
)
@click.option(
    "--split",
    metavar="SHARES",
    help="train/validation/test shares [0.7/0.1/0.2; beside --test 0.8/0.2].",
)
@cache_option
@click.option(
    "--strict",
    is_flag=True,
    help="A text in two parts is an error instead of being dropped from training.",
)
@click.option("--backbone", metavar="ID_OR_PATH", help="Use the space of this model.")
@click.option("--space", metavar="NAME", help="Use this space (or the one whose name begins so).")
@data_options
@search_options
@heads_options
@click.option(
    "--evidence/--no-evidence",
    default=True,
    help="Experiments for a verdict, wrong labels and the page [yes].",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Of the split and the training.",
)
@click.option(
    "--out",
    metavar="DIR",
    help="Folder of the run; an earlier run in it is replaced [runs/DATA-LABEL].",
)
@json_option
def fit_heads(
    *,
    train: tuple[str, ...],
    validation: tuple[str, ...],
    test: tuple[str, ...],
    labels: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Try heads on every cached layer of the texts of TRAIN, and save the best one.

    The texts must be in the cache (`featcache extract`); the labels are read from the files. The head is chosen
    on validation rows, refitted with them, and scored once on test rows, beside a linear head on the last layer,
    a bag of words, and the majority class.

    \b
      featcache fit-heads reviews.csv --label stars
      featcache fit-heads train.jsonl --test test.jsonl --label topic --depths 1,2,4 --widths 128,512
    """
    from featcache.console import Console
    from featcache.progress import Terminal
    from featcache.verbs.fit import fit_heads as verb

    results = verb(
        sources(train),
        label=list(labels),
        validation=sources(validation) or None,
        test=sources(test) or None,
        progress=Terminal(Console(stderr=True)),
        **options,
    )
    if as_json:
        found = {name: result.to_json() for name, result in results.items()}
        print_json(found if len(labels) > 1 else found[labels[0]])
        return
    for name, result in results.items():
        if len(results) > 1:
            echo(f"{'' if name == labels[0] else chr(10)}label      {name}")
        show_report(result)


def show_report(result: FitResult) -> None:
    """The report on stdout: in colour on a terminal, the plain text of report.txt where it is a
    pipe.
    """
    from featcache.console import Console
    from featcache.report.text.fit import print_report, report_text

    console = Console()
    if console.is_terminal:
        print_report(result, console)
    else:
        echo(report_text(result), nl=False)
