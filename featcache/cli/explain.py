"""`featcache explain-miss`: why texts are not found in the cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featcache.cli.options import echo, options_of, print_json, sources
from featcache.verbs.options import EXPLAIN_MISS
from featcache.wording import layer_range

if TYPE_CHECKING:
    from featcache.verbs.explain_miss import Explanation, FieldDifference, Neighbour

_SPACES_SHOWN = 3
_FIELDS_SHOWN = 6
_WIDTH = 48  # of a value or text that is shown in part
_DIGEST_DIGITS = 64


@click.command("explain-miss")
@click.argument("data", nargs=-1, required=True)
@options_of(EXPLAIN_MISS)
def explain_miss(
    *,
    data: tuple[str, ...],
    backbone: str,
    cache: str,
    text: str | None,
    template: str | None,
    skip_empty: bool,
    encoding: str,
    layers: str,
    pooling: str | None,
    max_length: int | None,
    dtype: str,
    device: str,
    allow_pickle: bool,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Say why the texts of DATA are not found in the cache. Computes and writes nothing.

    Pass what was passed to `extract`. Either some texts are new, or no space was made with this
    model and these options; then the nearest spaces are shown, with every field that differs.

    \b
      featcache explain-miss reviews.csv --backbone models/distilbert
      featcache explain-miss reviews.csv --backbone models/distilbert --max-length 256
    """
    from featcache.verbs.explain_miss import explain_miss as verb

    told = verb(
        sources(data),
        backbone=backbone,
        cache=cache,
        text=text,
        template=template,
        layers=layers,
        pooling=pooling,
        max_length=max_length,
        dtype=dtype,
        device=device,
        encoding=encoding,
        skip_empty=skip_empty,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
    )
    if as_json:
        print_json(told)
        return
    _say("texts", f"{told.rows:,} rows, {told.unique:,} different")
    if told.space is not None:
        _print_new(told, told.space)
    else:
        _print_no_space(told)
    for number, what in enumerate(told.damaged):
        _say("" if number else "damaged", f"{what} (left out here)")


def _print_new(told: Explanation, space: str) -> None:
    if not told.new:
        _say("cache", f"all of them are in {space}: nothing misses")
        return
    _say("cache", f"{space} serves this; {told.hits:,} texts found, {told.new:,} new")
    for number, one in enumerate(told.examples):
        _say("" if number else "new", f"{one.source}, row {one.row}: {_short(repr(one.text))}")
    if told.new > len(told.examples):
        _say("", f"and {told.new - len(told.examples):,} more")
    if told.stripped:
        verb = "is" if told.stripped == 1 else "are"
        without = "cached without the white space around it: strip the texts"
        _say("", f"{told.stripped:,} of them {verb} {without}")
    better = [one for one in told.others if one.held > told.hits]
    if better:
        _print_spaces("elsewhere", better, told.unique)
    _print_cure(told, better)


def _print_no_space(told: Explanation) -> None:
    if told.serving_damaged:
        _say("cache", "the space that serves this is damaged (below)")
    elif told.others:
        _say("cache", f"no space in {told.cache} was made with this model and these options")
    elif told.damaged:
        _say("cache", f"no space in {told.cache} can be read")
    elif Path(told.cache).is_dir():
        _say("cache", f"no feature space in {told.cache} yet")
    else:
        _say("cache", f"there is no folder {told.cache} yet")
    if told.others:
        _print_spaces("nearest", told.others, told.unique)
    if not told.serving_damaged:
        _print_cure(told, told.others)


def _print_spaces(head: str, spaces: tuple[Neighbour, ...] | list[Neighbour], n_texts: int) -> None:
    for number, one in enumerate(spaces[:_SPACES_SHOWN]):
        held = f"all {n_texts:,}" if one.held == n_texts else f"{one.held:,} of {n_texts:,}"
        how = "differs in" if number else "differs (there → asked) in"
        _say("" if number else head, f"{one.space} · holds {held} texts{_kind(one)} · {how}")
        # Names of a model's own configuration come last: where the model is another one they tell
        # little.
        fields = sorted(one.differences, key=lambda each: each.field.startswith("config."))
        shown = fields if len(fields) <= _FIELDS_SHOWN + 1 else fields[:_FIELDS_SHOWN]
        width = max(len(each.field) for each in shown)
        for each in shown:
            _say(
                "",
                f"  {each.field:<{width}}  {_value(each, each.there)} → {_value(each, each.asked)}",
            )
        if len(fields) > len(shown):
            _say("", f"  and {len(fields) - len(shown)} more fields (--json has them all)")
    if len(spaces) > _SPACES_SHOWN:
        _say("", f"and {len(spaces) - _SPACES_SHOWN} more spaces (--json has them all)")


def _kind(one: Neighbour) -> str:
    """What the differing fields mean, where they are more than options."""
    if one.options is not None:
        return ""
    fields = {each.field.partition(".")[0] for each in one.differences}
    if "weights" not in fields:
        parts = [name for name in ("tokenizer", "config", "code") if name in fields]
        return f" · same weights, other {' and '.join(parts)}" if parts else ""
    if one.same_place:
        return " · same name, other weights: the files in that place have changed"
    return " · same name, other weights" if one.same_name else " · another model"


def _print_cure(told: Explanation, spaces: tuple[Neighbour, ...] | list[Neighbour]) -> None:
    by_option = next(
        (one for one in spaces if one.command is not None and one.held > told.hits), None
    )
    anew = "add them" if told.space is not None else "compute them"
    if by_option is not None and by_option.options is not None:
        _say(
            "cure",
            f"{' '.join(by_option.options)} finds {by_option.held:,} texts in {by_option.space}:",
        )
        _say("", str(by_option.command))
        anew = f"or {anew}"
    elif spaces and spaces[0].options is None and told.space is None:
        weights = any(each.field == "weights" for each in spaces[0].differences)
        reason = (
            "it is another model, or its files have changed"
            if weights
            else "the model's files differ"
        )
        anew = f"{reason}; {anew}"
    _say("" if by_option else "cure", f"{anew}:")
    _say("", told.command)


def _value(difference: FieldDifference, value: Any) -> str:
    """One side of a difference, short enough for a line."""
    if difference.field == "layers":
        return layer_range(value)
    if difference.field == "poolings":
        return ", ".join(value)
    if isinstance(value, str):
        return f"{value[:12]}…" if len(value) == _DIGEST_DIGITS else _short(value)
    return "none" if value is None else _short(json.dumps(value))


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def _say(head: str, text: str) -> None:
    echo(f"{head:<10} {text}")
