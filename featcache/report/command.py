"""The command line that does the same again."""

from __future__ import annotations

import inspect
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_NAMES = {"seconds": "time"}  # options whose name in Python is another one
_SILENT = {"progress"}


def command_of(command: str, verb: Callable[..., Any], given: Mapping[str, Any]) -> str | None:
    """A verb's call as a command, options that are as usual left out; None where data or heads were given in Python.

    verb: its first parameter is data, and its keywords are named as the options of the command.  given: all arguments.
    """
    words = command.split()
    for number, (name, parameter) in enumerate(inspect.signature(verb).parameters.items()):
        value = given[name]
        if name in _SILENT or (number and value == parameter.default):
            continue
        option = "--" + _NAMES.get(name, name).replace("_", "-")
        of_files = number == 0 or name in ("validation", "test")
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
