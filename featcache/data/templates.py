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
    """A parsed template. `fields` are the distinct column names in order of first use."""

    source: str
    fields: tuple[str, ...]
    _parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, source: str) -> Template:
        """Read a template such as `"{title} {body}"`.

        Raises ColumnError where it has no field, unbalanced braces, or more than a plain column
        name in a field.
        """
        try:
            parsed = list(string.Formatter().parse(source))
        except ValueError as error:
            msg = f"the template {source!r} cannot be read: {error}"
            raise ColumnError(
                msg, cure="Write {{ and }} for braces that are meant literally."
            ) from error
        parts: list[tuple[str, str | None]] = []
        for literal, name, spec, conversion in parsed:
            if name is not None and (not name or spec or conversion or not _plain(name)):
                msg = f"the template {source!r} has a field that is more than a column name"
                raise ColumnError(msg, cure="Use plain fields such as {text} or {title}.")
            parts.append((literal, name))
        fields = tuple(dict.fromkeys(name for _, name in parts if name is not None))
        if not fields:
            msg = (
                f"the template {source!r} names no column, so every row would become the same text"
            )
            raise ColumnError(
                msg, cure="Put a field into it, for example --template 'Review: {text}'."
            )
        return cls(source, fields, tuple(parts))

    def render(self, values: Mapping[str, str]) -> str:
        """The text of one row; `values` maps every field to its string."""
        return "".join(text + ("" if name is None else values[name]) for text, name in self._parts)


def _plain(name: str) -> bool:
    return not any(sign in name for sign in ".[]!:")
