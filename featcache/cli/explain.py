"""`featcache explain-miss`: why texts are not found in the cache."""

from __future__ import annotations

import json
from collections.abc import Sequence
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

    explanation = verb(
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
        print_json(explanation)
        return
    _say("texts", f"{explanation.rows:,} rows, {explanation.unique:,} different")
    if explanation.space is not None:
        _print_new(explanation, explanation.space)
    else:
        _print_no_space(explanation)
    for number, what in enumerate(explanation.damaged):
        _say("" if number else "damaged", f"{what} (left out here)")


def _print_new(explanation: Explanation, space: str) -> None:
    if not explanation.new:
        _say("cache", f"all of them are in {space}: nothing misses")
        return
    _say("cache", f"{space} serves this; {explanation.hits:,} texts found, {explanation.new:,} new")
    heading = "new"
    for example in explanation.examples:
        _say(heading, f"{example.source}, row {example.row}: {_short(repr(example.text))}")
        heading = ""
    if explanation.new > len(explanation.examples):
        _say("", f"and {explanation.new - len(explanation.examples):,} more")
    if explanation.stripped:
        verb = "is" if explanation.stripped == 1 else "are"
        without = "cached without the white space around it: strip the texts"
        _say("", f"{explanation.stripped:,} of them {verb} {without}")
    better = [neighbour for neighbour in explanation.others if neighbour.held > explanation.hits]
    if better:
        _print_spaces("elsewhere", better, explanation.unique)
    _print_cure(explanation, better)


def _print_no_space(explanation: Explanation) -> None:
    if explanation.serving_damaged:
        _say("cache", "the space that serves this is damaged (below)")
    elif explanation.others:
        _say("cache", f"no space in {explanation.cache} was made with this model and these options")
    elif explanation.damaged:
        _say("cache", f"no space in {explanation.cache} can be read")
    elif Path(explanation.cache).is_dir():
        _say("cache", f"no feature space in {explanation.cache} yet")
    else:
        _say("cache", f"there is no folder {explanation.cache} yet")
    if explanation.others:
        _print_spaces("nearest", explanation.others, explanation.unique)
    if not explanation.serving_damaged:
        _print_cure(explanation, explanation.others)


def _print_spaces(heading: str, spaces: Sequence[Neighbour], n_texts: int) -> None:
    how = "differs (there → asked) in"
    for space in spaces[:_SPACES_SHOWN]:
        n_held = f"{space.held:,} of {n_texts:,}"
        if space.held == n_texts:
            n_held = f"all {n_texts:,}"
        _say(heading, f"{space.space} · holds {n_held} texts{_kind(space)} · {how}")
        _print_differences(space.differences)
        heading, how = "", "differs in"
    if len(spaces) > _SPACES_SHOWN:
        _say("", f"and {len(spaces) - _SPACES_SHOWN} more spaces (--json has them all)")


def _print_differences(differences: Sequence[FieldDifference]) -> None:
    # Names of a model's own configuration come last: for another model they tell little.
    differences = sorted(differences, key=lambda each: each.field.startswith("config."))
    shown = differences
    if len(differences) > _FIELDS_SHOWN + 1:
        shown = differences[:_FIELDS_SHOWN]
    width = max(len(each.field) for each in shown)
    for each in shown:
        _say(
            "", f"  {each.field:<{width}}  {_value(each, each.there)} → {_value(each, each.asked)}"
        )
    if len(differences) > len(shown):
        n_more = len(differences) - len(shown)
        _say("", f"  and {n_more} more fields (--json has them all)")


def _kind(space: Neighbour) -> str:
    """Say what the differing fields mean, if they are more than options."""
    if space.options is not None:
        return ""
    fields = {each.field.partition(".")[0] for each in space.differences}
    if "weights" not in fields:
        parts = [name for name in ("tokenizer", "config", "code") if name in fields]
        return f" · same weights, other {' and '.join(parts)}" if parts else ""
    if space.same_place:
        return " · same name, other weights: the files in that place have changed"
    return " · same name, other weights" if space.same_name else " · another model"


def _print_cure(explanation: Explanation, spaces: Sequence[Neighbour]) -> None:
    anew = "compute them" if explanation.space is None else "add them"
    heading = "cure"
    by_option = _found_by_options(spaces, explanation.hits)
    if by_option is not None and by_option.options is not None:
        options = " ".join(by_option.options)
        _say(heading, f"{options} finds {by_option.held:,} texts in {by_option.space}:")
        _say("", str(by_option.command))
        anew, heading = f"or {anew}", ""
    elif spaces and spaces[0].options is None and explanation.space is None:
        anew = f"{_reason(spaces[0])}; {anew}"
    _say(heading, f"{anew}:")
    _say("", explanation.command)


def _found_by_options(spaces: Sequence[Neighbour], n_hits: int) -> Neighbour | None:
    """Return the first space that other options would find, if it has more of the texts."""
    for space in spaces:
        if space.command is not None and space.held > n_hits:
            return space
    return None


def _reason(space: Neighbour) -> str:
    """Say why the nearest space is not found, where options are not the reason."""
    if any(each.field == "weights" for each in space.differences):
        return "it is another model, or its files have changed"
    return "the model's files differ"


def _value(difference: FieldDifference, value: Any) -> str:
    """Write one side of a difference, short enough for a line."""
    if difference.field == "layers":
        return layer_range(value)
    if difference.field == "poolings":
        return ", ".join(value)
    if isinstance(value, str):
        return f"{value[:12]}…" if len(value) == _DIGEST_DIGITS else _short(value)
    return "none" if value is None else _short(json.dumps(value))


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def _say(heading: str, text: str) -> None:
    echo(f"{heading:<10} {text}")
