"""JSON documents that somebody else may have written: read as one typed class, or refused.

A class of `msgspec` is the schema of a file: it is written and read by the same definition. What
does not fit it (a wrong type, a missing key, a number out of range, deep nesting, half a surrogate
pair) ends in a `DocumentError` of one sentence, never in another exception.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

import msgspec

from featcache.errors import first_line

Document = TypeVar("Document")

DEEPEST = 64  # levels of lists and objects; the deepest document of ours has nine
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_CONSTANTS = re.compile(rb"NaN|Infinity")


class DocumentError(ValueError):
    """A document is not JSON, or not of the class that it is read as."""


def decode(data: bytes, kind: type[Document]) -> Document:
    """Read a JSON document as one typed class.

    Python writes `NaN` and `Infinity`, which are no JSON; they are read as null.

    Args:
        data: The whole document.
        kind: The class that it has to fit.

    Returns:
        The document.

    Raises:
        DocumentError: It is not JSON, or does not fit the class; the message is one line.
    """
    try:
        structure = _STRINGS.sub(b"", data)
        if _nesting(structure) > DEEPEST:
            msg = f"it is nested more than {DEEPEST} levels deep"
            raise DocumentError(msg)
        if _CONSTANTS.search(structure):
            data = msgspec.json.encode(json.loads(data, parse_constant=_null))
        return msgspec.json.decode(data, type=kind)
    except DocumentError:
        raise
    # UnicodeError and json's error are kinds of ValueError, and so are those of msgspec.
    except (ValueError, msgspec.MsgspecError, RecursionError, OverflowError) as error:
        raise DocumentError(first_line(error)) from error


def encode(document: object, *, indent: int = 0) -> bytes:
    """Write a document as JSON in UTF-8; what is no finite number becomes null.

    Args:
        document: An instance of a `msgspec.Struct`, or plain data.
        indent: Spaces for each level; 0 writes one line.
    """
    data = msgspec.json.encode(document)
    return msgspec.json.format(data, indent=indent) if indent else data


def plain(document: object) -> Any:
    """Return a document as the dicts and lists that a reader of its JSON gets."""
    return msgspec.json.decode(msgspec.json.encode(document))


def _nesting(structure: bytes) -> int:
    """Return how deep lists and objects stand in each other, in JSON without its strings."""
    depth = deepest = 0
    for sign in re.sub(rb"[^\[\]{}]+", b"", structure):
        depth += 1 if sign in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _null(_constant: str) -> None:
    """Stand for `NaN`, `Infinity` and `-Infinity`."""
