"""JSON files as typed classes: each file is one `msgspec.Struct`, which reads and writes it.

What is read from a disk is not trusted for its shape. `parse` refuses text that is no JSON, that
repeats a key, nests too deep, or holds a lone surrogate, which no text for people can; `convert`
refuses what is not of the class: wrong types, missing and extra fields, numbers out of range.
Numbers keep the form that Python's `json` gives them, NaN and Infinity of old files included.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, TypeVar

import msgspec

DEEPEST = 32  # lists and objects in one another; a model's configuration has 4 or 5

Kind = TypeVar("Kind")


class SchemaError(ValueError):
    """A file is not what its class says; the message is one sentence without the file's name."""


def read(data: bytes, kind: type[Kind]) -> Kind:
    """Read a JSON file as the class that describes it.

    Args:
        data: The bytes of the file.
        kind: A `msgspec.Struct`, a dataclass, or any type that `msgspec.convert` takes.

    Returns:
        An instance of the class.

    Raises:
        SchemaError: The bytes are no JSON, or not of this class.
    """
    return convert(parse(data), kind)


def parse(data: bytes) -> Any:
    """Read JSON of bounded depth, without repeated keys and lone surrogates.

    Args:
        data: The bytes of the file.

    Returns:
        The value: lists, dictionaries, text, numbers, booleans, None.

    Raises:
        SchemaError: The bytes are no such JSON.
    """
    try:
        text = data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_object)
    except SchemaError:
        raise
    except UnicodeDecodeError as error:
        msg = "it is not UTF-8"
        raise SchemaError(msg) from error
    except RecursionError as error:
        raise SchemaError(_too_deep()) from error
    except ValueError as error:  # not JSON, or a number of thousands of digits
        msg = f"it is not JSON: {error}"
        raise SchemaError(msg) from error
    _check_depth(value)
    if "\\u" in text:
        _check_surrogates(value)
    return value


def convert(value: Any, kind: type[Kind]) -> Kind:
    """Make parsed JSON an instance of a class.

    Args:
        value: What `parse` returned.
        kind: As in `read`.

    Returns:
        An instance of the class.

    Raises:
        SchemaError: The value is not of this class; the message names the field.
    """
    try:
        converted = msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        raise SchemaError(_printable(str(error))) from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        msg = f"a field has an impossible value: {_printable(str(error))}"
        raise SchemaError(msg) from error
    if dataclasses.is_dataclass(kind):  # which msgspec lets have fields that it does not know
        unknown = sorted(value.keys() - {field.name for field in dataclasses.fields(kind)})
        if unknown:
            msg = f"it has an unknown field {unknown[0][:40]!a}"
            raise SchemaError(msg)
    return converted


def fields_of(value: msgspec.Struct) -> dict[str, Any]:
    """Give the fields of a typed file as plain JSON values, for writing and for comparing."""
    fields: dict[str, Any] = msgspec.to_builtins(value)
    return fields


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        msg = f"it has the key {repeated[:40]!a} twice"
        raise SchemaError(msg)
    return fields


def _check_depth(value: Any) -> None:
    """Refuse what nests too deep; level by level, so that this itself needs no depth."""
    level = [value]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for container in level:
            if isinstance(container, dict):
                below += container.values()
            elif isinstance(container, list):
                below += container
        level = below
        if not level:
            return
    raise SchemaError(_too_deep())


def _printable(text: str) -> str:
    """Escape what could steer a terminal: the names in a message may come from the file."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _too_deep() -> str:
    return f"it has more than {DEEPEST} lists and objects in one another"


def _check_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        msg = "it holds half of a character (a lone surrogate)"
        raise SchemaError(msg) from error
