"""The tree of errors: exit codes, messages with a cure, and the drawing that opens the module."""

from __future__ import annotations

import re

import pytest

from featcache import errors


def _tree(kind: type[errors.FeatcacheError]) -> list[type[errors.FeatcacheError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _tree(child))]


CODES = {
    "InputError": 2,
    "CacheMissError": 3,
    "ContractError": 3,
    "FormatError": 3,
    "DamageError": 4,
    "MachineError": 1,
    "Interrupted": 130,
}


@pytest.mark.parametrize("kind", _tree(errors.FeatcacheError)[1:], ids=lambda kind: kind.__name__)
def test_every_error_has_the_exit_code_of_its_branch(kind: type[errors.FeatcacheError]) -> None:
    branch = next(one.__name__ for one in reversed(kind.__mro__) if one.__name__ in CODES)
    assert kind.exit_code == CODES[branch]
    error = kind("what happened", cure="what to do")
    assert (error.what, error.cure, str(error)) == (
        "what happened",
        "what to do",
        "what happened\nwhat to do",
    )
    assert isinstance(error, errors.FeatcacheError)


def test_the_drawing_shows_every_error() -> None:
    assert errors.__doc__ is not None
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__)) | {"FeatcacheError"}
    assert drawn == {kind.__name__ for kind in _tree(errors.FeatcacheError)}
