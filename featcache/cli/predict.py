"""`featcache predict`: labels for texts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from featcache.cli.options import options_of, print_json, sources, terminal
from featcache.verbs.options import PREDICT

if TYPE_CHECKING:
    from featcache.verbs.predict import Predictor


@click.command()
@click.argument("arguments", nargs=-1, required=True, metavar="BUNDLE... [DATA]")
@options_of(PREDICT)
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

    Texts come from a DATA file, from --text, or, with - as DATA, from stdin, one a line. Texts that
    are in the cache cost no forward pass. Where thresholds were tuned, the label need not be the
    class of the highest probability.

    Several bundles on one backbone cost one forward pass together; a line then holds what each of
    them says, by its label column (by its folder, where two have the same column).

    \b
      featcache predict runs/reviews-stars/bundle new.csv
      featcache predict runs/reviews-stars/bundle --text "Never again."
      featcache predict runs/reviews-stars/bundle runs/reviews-topic/bundle new.csv
    """
    from featcache.verbs.predict import load_bundle, predict_all

    bundles, data = _parted(arguments, texts)
    predictors = [load_bundle(bundle, cache=cache) for bundle in bundles]
    first = predictors[0].description
    if data not in {None, "-"} and text_column is None:
        _check_columns(predictors)
    predictions = predict_all(
        predictors,
        _rendered(data, texts, text_column, encoding, first.template, first.text),
        cache=cache,
        backbone=backbone,
        device=device,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
        progress=terminal(),
    )
    for row in zip(*predictions.values(), strict=True):
        objects = [prediction.to_json() for prediction in row]
        several = dict(zip(predictions, objects, strict=True))
        print_json(objects[0] if len(objects) == 1 else several)


def _parted(arguments: Sequence[str], texts: Sequence[str]) -> tuple[Sequence[str], str | None]:
    """Tell bundles from DATA, which is the last argument where that is not a bundle too.

    With --text every argument is a bundle, so that a mistyped one is reported as such; but a file
    never is one.
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

    columns = {predictor.description.text for predictor in predictors}
    if len(columns) > 1:
        names = " and ".join(sorted(_column_name(column) for column in columns))
        msg = f"these bundles were trained on different text columns: {names}"
        raise InputError(
            msg, cure="Name one with --text-column, or run featcache predict for each of them."
        )


def _column_name(column: str | None) -> str:
    return "no column by name" if column is None else repr(column)


def _lines(text: str) -> list[str]:
    """Split a text into lines as `wc` counts them: not at U+2028, which texts may hold."""
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n") if text else []


def _rendered(
    data: str | None,
    texts: tuple[str, ...],
    text_column: str | None,
    encoding: str,
    template: str | None,
    trained_column: str | None,
) -> list[str]:
    """Read the texts, check them and put them into the bundle's template."""
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
