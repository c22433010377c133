"""Docstrings: their sections are complete, and public functions document every parameter."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import featcache

ROOT = Path(featcache.__file__).parents[1]
_WITHOUT = {"self", "cls"}
_LINTED = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "featcache").rglob("*.py"))]


def test_a_docstring_that_has_sections_has_all_of_them() -> None:
    command = [sys.executable, "-m", "pydoclint.main", "--config=pyproject.toml", *_LINTED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _public() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the public functions, and the public methods of public classes."""
    for name in featcache.__all__:
        value = getattr(featcache, name)
        if not inspect.isclass(value):
            yield name, value
            continue
        for member, method in vars(value).items():
            function = getattr(method, "__func__", method)
            if not member.startswith("_") and inspect.isfunction(function):
                yield f"{name}.{member}", function


def _documented(docstring: str | None) -> list[str]:
    """Return the names in the `Args:` section of a docstring."""
    names: list[str] = []
    lines = inspect.cleandoc(docstring or "").splitlines()
    if "Args:" not in lines:
        return names
    for line in lines[lines.index("Args:") + 1 :]:
        if line and not line.startswith(" "):
            break
        if line.startswith("    ") and not line.startswith("     "):
            names.append(line.strip().partition(":")[0])
    return names


# To be documented; nothing may be added here.
PUBLIC = dict(_public())


@pytest.mark.parametrize("name", PUBLIC)
def test_every_parameter_is_documented(name: str) -> None:
    parameters = set(inspect.signature(PUBLIC[name]).parameters) - _WITHOUT
    assert parameters <= set(_documented(PUBLIC[name].__doc__))


@pytest.mark.parametrize("name", featcache.__all__)
def test_every_public_name_has_a_docstring_of_its_own(name: str) -> None:
    value = getattr(featcache, name)
    written = inspect.getdoc(value) or ""
    first = written.splitlines()[0] if written else ""
    assert first.endswith("."), "one sentence in one line"
    if dataclasses.is_dataclass(value):
        assert not first.startswith(f"{name}("), "the docstring that dataclasses write"
