"""Templates: how the columns of a row become the one string that the tokenizer is given.

`"Review: {text}"` is filled by column names only. Attribute access, indices, conversions and format
specifications are refused: a template comes from bundles and command lines and must stay plain
text.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass

from featcache.errors import ColumnError


@dataclass(frozen=True)
class Template:
    """A parsed template; `fields` are the distinct column names in order of first use."""

    source: str
    fields: tuple[str, ...]
    _parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, source: str) -> Template:
        """Read a template such as `"{title} {body}"`.

        Args:
            source: The template as it is written.

        Returns:
            The parsed template.

        Raises:
            ColumnError: It has no field, unbalanced braces, or more than a plain column name in a
                field.
        """
        parts = _parts_of(source)
        fields = tuple(dict.fromkeys(name for _, name in parts if name is not None))
        if not fields:
            msg = f"the template {source!r} names no column, so every row becomes the same text"
            cure = "Put a field into it, for example --template 'Review: {text}'."
            raise ColumnError(msg, cure=cure)
        return cls(source, fields, parts)

    def render(self, values: Mapping[str, str]) -> str:
        """Return the text of one row; `values` maps every field to its string."""
        return "".join(text + ("" if name is None else values[name]) for text, name in self._parts)


def _parts_of(source: str) -> tuple[tuple[str, str | None], ...]:
    """Cut a template into literals, each with the field behind it or None at the end."""
    try:
        parsed = list(string.Formatter().parse(source))
    except ValueError as error:
        msg = f"the template {source!r} cannot be read: {error}"
        cure = "Write {{ and }} for braces that are meant literally."
        raise ColumnError(msg, cure=cure) from error
    for _, name, spec, conversion in parsed:
        if name is not None and (spec or conversion or not _is_plain(name)):
            msg = f"the template {source!r} has a field that is more than a column name"
            raise ColumnError(msg, cure="Use plain fields such as {text} or {title}.")
    return tuple((literal, name) for literal, name, _, _ in parsed)


def _is_plain(name: str) -> bool:
    """Return True if a field holds nothing but the name of a column."""
    return bool(name) and not any(sign in name for sign in ".[]!:")
