"""`featcache predict`: labels for texts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from featcache.cli.options import cache_option, device_option, print_json, sources, trust_options

if TYPE_CHECKING:
    from featcache.verbs.predict import Predictor


@click.command()
@click.argument("arguments", nargs=-1, required=True, metavar="BUNDLE... [DATA]")
@click.option(
    "--text",
    "texts",
    multiple=True,
    metavar="STR",
    help="A text to label; may be given several times.",
)
@click.option(
    "--text-column", metavar="COLUMN", help="Column of the texts in DATA [as in training]."
)
@click.option("--encoding", default="utf-8", show_default=True, help="Encoding of DATA or stdin.")
@cache_option
@click.option(
    "--backbone",
    metavar="ID_OR_PATH",
    help="The backbone, where it is not where the bundle remembers it.",
)
@device_option
@trust_options
@click.option(
    "--json", "as_json", is_flag=True, help="Changes nothing: the output is always JSON lines."
)
def predict(
    *,
    arguments: tuple[str, ...],
    texts: tuple[str, ...],
    text_column: str | None,
    encoding: str,
    cache: str,
    backbone: str | None,
    device: str,
    allow_pickle: bool,
    trust_remote_code: bool,
    as_json: bool,  # noqa: ARG001 - accepted so that scripts may pass it everywhere
) -> None:
    """Label texts with a BUNDLE: one JSON line a text, with label and probabilities.

    Texts come from a DATA file, from --text, or, with - as DATA, from stdin, one a line. Texts that are in the
    cache cost no forward pass. Where thresholds were tuned, the label need not be the class of the highest
    probability.

    Several bundles on one backbone cost one forward pass together; a line then holds what each of them says, by
    its label column (by its folder, where two have the same column).

    \b
      featcache predict runs/reviews-stars/bundle new.csv
      featcache predict runs/reviews-stars/bundle --text "Never again."
      featcache predict runs/reviews-stars/bundle runs/reviews-topic/bundle new.csv
    """
    from featcache.console import Console
    from featcache.progress import Terminal
    from featcache.verbs.predict import load_bundle, predict_all

    bundles, data = _parted(arguments, texts)
    predictors = [load_bundle(one, cache=cache) for one in bundles]
    one = predictors[0].description
    if data not in {None, "-"} and text_column is None:
        _check_columns(predictors)
    found = predict_all(
        predictors,
        _rendered(data, texts, text_column, encoding, one.template, one.text),
        cache=cache,
        backbone=backbone,
        device=device,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
        progress=Terminal(Console(stderr=True)),
    )
    for predictions in zip(*found.values(), strict=True):
        said = dict(zip(found, [prediction.to_json() for prediction in predictions], strict=True))
        print_json(said if len(predictors) > 1 else next(iter(said.values())))


def _parted(arguments: Sequence[str], texts: Sequence[str]) -> tuple[Sequence[str], str | None]:
    """The bundles, and DATA where the last argument is that: something after a bundle that is not
    one itself.

    With --text every argument is a bundle, so that a mistyped one is told as such; but a file never
    is.
    """
    from featcache.bundles.bundle import is_bundle

    last = Path(arguments[-1])
    if (
        len(arguments) == 1
        or is_bundle(last)
        or (texts and arguments[-1] != "-" and not last.is_file())
    ):
        return arguments, None
    return arguments[:-1], arguments[-1]


def _check_columns(predictors: Sequence[Predictor]) -> None:
    from featcache.errors import InputError

    columns = dict.fromkeys(one.description.text for one in predictors)
    if len(columns) > 1:
        names = " and ".join(
            "no column by name" if name is None else repr(name) for name in columns
        )
        msg = f"these bundles were trained on different text columns: {names}"
        raise InputError(
            msg, cure="Name one with --text-column, or run featcache predict for each of them."
        )


def _lines(text: str) -> list[str]:
    """Lines as `wc` counts them: not split at U+2028 and its like, which texts may hold."""
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n") if text else []


def _rendered(
    data: str | None,
    texts: tuple[str, ...],
    text_column: str | None,
    encoding: str,
    template: str | None,
    trained_column: str | None,
) -> list[str]:
    """The texts as the backbone is to see them: read, checked and put into the bundle's template."""
    from featcache.data.files import decode
    from featcache.data.read import read
    from featcache.data.table import Table, table_of
    from featcache.data.texts import TextOptions, render
    from featcache.errors import ColumnError, TextError

    table: Table
    if bool(texts) == (data is not None):
        message = "give texts in one way: a DATA file, - for stdin, or --text"
        raise click.UsageError(message)
    if data is not None and data != "-":
        table = read(sources((data,)), encoding=encoding)
        column = text_column or (trained_column if trained_column in table.columns else None)
    else:
        lines = list(texts) if texts else _lines(decode(sys.stdin.buffer.read(), encoding, "stdin"))
        if not lines:
            msg = "stdin holds no text"
            raise TextError(msg, cure="Give one text a line.")
        table, column = table_of({"text": lines}, "--text" if texts else "stdin"), "text"
    try:
        return render(table, TextOptions(column, template)).rendered
    except TextError as error:
        raise TextError(
            error.what, cure="Fill them in or take them out: every text gets one line."
        ) from error
    except ColumnError as error:
        raise ColumnError(error.what, cure="Name the texts' column with --text-column.") from error
