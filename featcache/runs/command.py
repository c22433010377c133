"""The command line that does the same again."""

from __future__ import annotations

import inspect
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_NAMES = {"seconds": "time"}  # options whose name in Python is another one
_SILENT = {"progress"}
_FILES = ("validation", "test")


def command_of(command: str, verb: Callable[..., Any], given: Mapping[str, Any]) -> str | None:
    """A verb's call as a command, options that are as usual left out; None where data or heads were
    given in Python.

    verb: its first parameter is data, and its keywords are named as the options of the command.
    given: all arguments.
    """
    words = command.split()
    for number, (name, parameter) in enumerate(inspect.signature(verb).parameters.items()):
        value = given[name]
        if name in _SILENT or (number and _as_usual(value, parameter.default)):
            continue
        option = "--" + _NAMES.get(name, name).replace("_", "-")
        of_files = number == 0 or name in _FILES
        if isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
            continue
        listed = [value] if isinstance(value, str | os.PathLike | int | float) else value
        if not isinstance(listed, Sequence) or not all(
            isinstance(one, str | os.PathLike | int | float) for one in listed
        ):
            return None
        strings = [os.fspath(one) if isinstance(one, os.PathLike) else str(one) for one in listed]
        if number == 0:
            words += strings
        elif of_files or name == "label":
            words += [word for one in strings for word in (option, one)]
        else:
            words += [option, ",".join(strings)]
    return shlex.join(words)


def _as_usual(value: Any, default: Any) -> bool:
    """Whether an option is at its default, which the command line writes as one string."""
    return bool(value == default) or (
        isinstance(default, tuple) and value == ",".join(map(str, default))
    )


def sibling_of(
    command: str,
    verb: Callable[..., Any],
    given: Mapping[str, Any],
    options: Sequence[str],
    *,
    label: str | None,
) -> str:
    """Another command about the rows of a call: with its data, and those of `options` that are not
    as usual.

    verb, given: of the call, as for `command_of`.  DATA stands for data that were given in Python.
    """
    words = [*command.split(), *(_paths(given["train"]) or ["DATA"])]
    words += [] if label is None else ["--label", label]
    usual = inspect.signature(verb).parameters
    for name in options:
        value, option = given[name], "--" + name.replace("_", "-")
        if _as_usual(value, usual[name].default):
            continue
        if name in _FILES:
            words += [word for one in _paths(value) for word in (option, one)]
        elif isinstance(value, bool):
            words.append(option)
        else:
            words += [
                option,
                ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value),
            ]
    return shlex.join(words)


def _paths(data: Any) -> list[str]:
    """Names of files as they were given, or none for data in memory."""
    listed = [data] if isinstance(data, str | os.PathLike) else data
    if not isinstance(listed, Sequence) or not all(
        isinstance(one, str | os.PathLike) for one in listed
    ):
        return []
    return [os.fspath(one) for one in listed]
