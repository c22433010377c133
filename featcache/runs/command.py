"""Commands and their options, and how they are written so that a shell reads them back.

Which commands and options there are stands in `verbs/options.py`.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Kind = Literal["text", "integer", "number", "switch", "names", "integers", "share"]


@dataclass(frozen=True)
class Option:
    """One option: a keyword of a verb in Python, a flag on the command line.

    Attributes:
        name: The keyword in Python.
        help: One sentence; what stands in brackets is the default where no single value is.
        kind: What a value is; `names` and `integers` are lists separated by commas, a `share` is a
            fraction of the rows or a number of them.
        default: The value where none is given.
        choices: The words that are allowed.
        metavar: What stands for the value in `--help`.
        flag: The name on the command line, where it is not the keyword with hyphens.
        lowest: The smallest number that the command line accepts.
        highest: The largest number that the command line accepts.
        alone: The value that the flag has when none follows it.
        repeated: Whether the flag may be given several times.
        required: Whether it must be given.
        negated: Whether a switch also has a flag that begins with `--no-`.
    """

    name: str
    help: str
    kind: Kind = "text"
    default: Any = None
    choices: tuple[str, ...] = ()
    metavar: str | None = None
    flag: str = ""
    lowest: int | None = None
    highest: int | None = None
    alone: str | None = None
    repeated: bool = False
    required: bool = False
    negated: bool = False

    def __post_init__(self) -> None:
        if not self.flag:
            object.__setattr__(self, "flag", "--" + self.name.replace("_", "-"))

    def but(self, **changes: Any) -> Option:
        """Return the option as another command has it: other help, another default."""
        return replace(self, **changes)

    def words(self, value: Any) -> list[str] | None:
        """Return the words that give this value on the command line; None where none can.

        Args:
            value: The value of the keyword: a string, a path, a number, or several of them.

        Returns:
            Words that are not yet quoted; none where the value is the default.
        """
        if self._is_default(value):
            return []
        if self.kind == "switch":
            return [self.flag if value else self.flag.replace("--", "--no-", 1)]
        strings = typed(value)
        if strings is None:
            return None
        if not self.repeated:
            return [self.flag, ",".join(strings)]
        return [word for string in strings for word in (self.flag, string)]

    def _is_default(self, value: Any) -> bool:
        if value is None:
            return True
        if isinstance(self.default, tuple):
            return typed(value) in (typed(self.default), [",".join(map(str, self.default))])
        return isinstance(value, str | int | float) and value == self.default


def typed(value: Any) -> list[str] | None:
    """Return strings, paths and numbers as they are typed; None for data and code in memory.

    Args:
        value: One of them or several.

    Returns:
        One string for each.
    """
    values = [value] if isinstance(value, str | os.PathLike | int | float) else value
    if not isinstance(values, Sequence):
        return None
    strings = []
    for item in values:
        if not isinstance(item, str | os.PathLike | int | float):
            return None
        strings.append(os.fspath(item) if isinstance(item, os.PathLike) else str(item))
    return strings


@dataclass(frozen=True)
class Command:
    """A command, and the options it takes in the order in which `--help` lists them."""

    name: str
    options: tuple[Option, ...]

    def line(self, data: Any, values: Mapping[str, Any]) -> str | None:
        """Write the command, quoted for a shell, without the options that have their defaults.

        Args:
            data: Its arguments, such as files, bundles or a space.
            values: Values by keyword; keywords that the command does not have are left out.

        Returns:
            The command; None where something was passed in Python that nobody can type.
        """
        words = typed(data)
        for option in self.options:
            part = option.words(values.get(option.name))
            if words is None or part is None:
                return None
            words += part
        return None if words is None else shlex.join(["featcache", self.name, *words])

    def cure(self, data: Any, values: Mapping[str, Any]) -> str:
        """Write the command for a message; DATA stands for what was passed in Python.

        Args:
            data: Its arguments, such as files, bundles or a space.
            values: Values by keyword; keywords that the command does not have are left out.

        Returns:
            The command.
        """
        words = typed(data) or ["DATA"]
        for option in self.options:
            part = option.words(values.get(option.name))
            words += [option.flag, "DATA"] if part is None else part
        return shlex.join(["featcache", self.name, *words])
