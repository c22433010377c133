"""Signatures, checks and messages agree with the table of options; its commands can be pasted."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import featcache
from featcache.backbone.device import DTYPES
from featcache.cli.main import main
from featcache.errors import InputError
from featcache.features.views import VIEWS
from featcache.heads.shape import ACTIVATIONS
from featcache.runs.command import Command
from featcache.search.candidates import HEADS, SEARCHES
from featcache.tasks.balance import BALANCES
from featcache.tasks.metrics import METRICS
from featcache.verbs import options
from featcache.verbs.extract import extract
from featcache.verbs.plan import plan

# What a verb has and its command has not: data, which are arguments, and what only Python needs.
_PYTHON_ONLY = {"data", "train", "progress", "pool", "label", "labels", "texts", "bundles"}
# What a command has and its verb has not: how results are printed.
_COMMAND_ONLY = {"as_json", "dry_run", "label", "labels", "texts", "text_column", "encoding"}
_VERBS: list[tuple[Command, Callable[..., Any]]] = [
    (options.EXTRACT, extract),
    (options.CHECK, featcache.check),
    (options.FIT_HEADS, featcache.fit_heads),
    (options.FIT_HEADS, featcache.fit_labels),
    (options.CURVES, featcache.curves),
    (options.PREDICT, featcache.predict_all),
    (options.EXPLAIN_MISS, featcache.explain_miss),
]


@pytest.mark.parametrize(("command", "verb"), _VERBS, ids=lambda case: getattr(case, "name", ""))
def test_a_verb_has_the_options_of_its_command_with_the_same_defaults(
    command: Command, verb: Callable[..., Any]
) -> None:
    parameters = inspect.signature(verb).parameters
    table = {option.name: option for option in command.options}
    assert set(parameters) - _PYTHON_ONLY - set(table) == set()
    assert set(table) - _COMMAND_ONLY - set(parameters) == set()
    for name in set(table) & set(parameters) - _PYTHON_ONLY:
        expected = inspect.Parameter.empty if table[name].required else table[name].default
        assert parameters[name].default == expected, name


def test_a_dry_run_takes_what_an_extraction_takes() -> None:
    passed_on = set(inspect.signature(extract).parameters) - {"shard_rows", "progress"}
    assert set(inspect.signature(plan).parameters) == passed_on


def test_the_words_of_the_table_are_those_that_are_checked() -> None:
    fit = {option.name: option for option in options.FIT_HEADS.options}
    assert set(fit["metric"].choices) == set(METRICS)
    assert set(fit["search"].choices) == set(SEARCHES)
    assert set(fit["balance"].choices) == set(BALANCES)
    assert set(fit["activation"].choices) == set(ACTIVATIONS)
    assert set(fit["views"].default) == set(VIEWS)
    assert set(fit["heads"].default) == set(HEADS)
    extraction = {option.name: option for option in options.EXTRACT.options}
    assert set(extraction["dtype"].choices) == {"auto", *DTYPES}


def test_every_command_is_in_the_table_and_no_other() -> None:
    assert [command.name for command in options.COMMANDS] == main.list_commands(click.Context(main))


def test_a_line_leaves_out_what_has_its_default_and_quotes_the_rest() -> None:
    defaults = {option.name: option.default for option in options.FIT_HEADS.options}
    line = options.FIT_HEADS.line
    assert line("a.csv", {**defaults, "labels": ["y"]}) == "featcache fit-heads a.csv --label y"
    assert (
        line(
            [Path("a b.csv"), "c"],
            {
                "labels": ["y", "z"],
                "split": "0.8/0.2",
                "seconds": 60,
                "thresholds": True,
                "evidence": False,
                "pooling": ["mean", "cls"],
                "template": "{it's} $HOME",
                "depths": (3,),
                "pool": None,
            },
        )
        == "featcache fit-heads 'a b.csv' c --label y --label z --split 0.8/0.2 "
        "--template '{it'\"'\"'s} $HOME' --time 60 --thresholds --depths 3 --pool mean,cls "
        "--no-evidence"
    )


def test_a_list_that_has_its_default_is_left_out_however_it_is_written() -> None:
    for heads in ("linear,mlp,logreg", ("linear", "mlp", "logreg"), ["linear", "mlp", "logreg"]):
        assert options.FIT_HEADS.line("a.csv", {"heads": heads}) == "featcache fit-heads a.csv"


def test_data_and_code_in_memory_have_no_line_unless_a_word_stands_for_the_data() -> None:
    table = {"text": ["a"]}
    line = options.CURVES.line
    assert line(table, {"label": "y"}) is None
    assert line("a.csv", {"label": "y", "test": table}) is None
    assert options.FIT_HEADS.line("a.csv", {"heads": [len]}) is None
    cure = options.CURVES.cure(table, {"label": "y", "test": table})
    assert cure == "featcache curves DATA --label y --test DATA"


def test_a_line_is_read_back_by_the_command_line_as_it_was_meant() -> None:
    values = {
        "labels": ["a b", "--odd"],
        "validation": [Path("v 1.csv"), "w.csv"],
        "template": 'Title: "{title}"\n',
        "seconds": 1.5,
        "cv": 3,
        "depths": (0, 2),
        "heads": ["logreg", "mlp"],
        "layer_norm": True,
        "evidence": False,
        "pooling": "mean",
    }
    line = options.FIT_HEADS.line(["t 1.csv"], values)
    assert line is not None
    words = shlex.split(line)
    command = main.get_command(click.Context(main), words[1])
    assert command is not None
    parsed = command.make_context(words[1], words[2:]).params
    assert parsed["train"] == ("t 1.csv",)
    for name, value in values.items():
        expected = ",".join(value) if name == "heads" else value  # type: ignore[arg-type]  # names
        if isinstance(value, list) and name != "heads":
            expected = tuple(str(item) for item in value)
        assert parsed[name] == expected, name


def test_every_option_that_a_message_names_exists() -> None:
    flags = {"--help", "--debug", "--version", "--no-evidence", "--no-"}
    flags |= {option.flag for command in options.COMMANDS for option in command.options}
    foreign = {"--force-reinstall", "--upgrade"}  # of pip
    package = Path(featcache.__file__).parent
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", node.value))
                assert named <= flags | foreign, f"{path}:{node.lineno}"


def test_poolings_have_two_names_in_python_and_one_at_a_time() -> None:
    with pytest.raises(InputError, match="two names of one keyword"):
        featcache.extract(["a"], backbone="none", pooling="mean", pool="cls")
