"""Malformed files for any reader of JSON: broken documents, and things that are no small file.

`mutations_of` takes a sound document and gives every way in which it can be wrong: each value with
another type, out of range, missing, repeated, nested too deep, or no text at all. `IMPOSTORS` puts
something else in the place of a file: a pipe, an endless device, a sparse file of 40 GB.

Neither knows what a document means. Some mutations are still valid (another name for a backbone),
so a test has to hold a reader to this: it gives an error of featcache, or reads what is written.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

Path_ = tuple[Any, ...]  # the keys and indices that lead to a value

_HOLE = "\x01hole\x01"  # stands for a value until raw JSON takes its place
_DEEP = 900  # lists in one another: read by most parsers, and too much for what comes after them
_SPARSE_BYTES = 40 << 30

RAW_VALUES: Mapping[str, str] = {
    "null": "null",
    "true": "true",
    "false": "false",
    "minus one": "-1",
    "zero": "0",
    "a hundred million": "100000000",
    "2 to the 70th": str(1 << 70),
    "a fraction": "1.5",
    "a whole fraction": "1.0",
    "beyond float64": "1e999",
    "NaN": "NaN",
    "minus infinity": "-Infinity",
    "five thousand digits": "9" * 5_000,
    "no text": '""',
    "a text": '"x"',
    "a digit as text": '"3"',
    "a lone surrogate": r'"\ud800"',
    "a control character": r'"\u001b[31m\u202e"',
    "a NUL": r'"\u0000"',
    "an empty list": "[]",
    "a list of minus one": "[-1]",
    "a list of a hundred million": "[100000000]",
    "a list of lone surrogates": r'["\ud800"]',
    "a list of null": "[null]",
    "an empty object": "{}",
    "an object": '{"x": 1}',
    f"{_DEEP} lists": "[" * _DEEP + "]" * _DEEP,
    f"{_DEEP} objects": '{"a":' * _DEEP + "1" + "}" * _DEEP,
}
"""What any value of a document is replaced by, as JSON text."""

DOCUMENTS: Mapping[str, bytes] = {
    "nothing": b"",
    "blanks": b" \n\t",
    "NUL bytes": bytes(64),
    "null as document": b"null",
    "a number as document": b"3",
    "a text as document": b'"x"',
    "an empty list as document": b"[]",
    "an empty object as document": b"{}",
    "no UTF-8": b'{"a": "\xff\xfe"}',
    "a surrogate in bytes": b'{"a": "\xed\xa0\x80"}',
    "two documents": b"{}{}",
    "a million digits": b'{"a": ' + b"9" * 1_000_000 + b"}",
    "two hundred thousand lists": b"[" * 200_000,
    "two hundred thousand objects": b'{"a":' * 200_000,
    "900 lists as document": b"[" * _DEEP + b"]" * _DEEP,
    "900 objects as document": b'{"a":' * _DEEP + b"1" + b"}" * _DEEP,
    "a pickle": b"\x80\x04\x95\x19\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94.",
}
"""Files in the place of any document."""


def mutations_of(document: Any) -> Iterator[tuple[str, bytes]]:
    """Give malformed versions of a JSON document, each with a name that says what was done.

    Args:
        document: What `json.loads` gave for a sound file: an object, or any other value.

    Yields:
        The name of the mutation, such as `layers.0: minus one`, and the bytes of the file.
    """
    text = json.dumps(document)
    yield from DOCUMENTS.items()
    yield "cut off in the middle", text[: len(text) // 2].encode()
    yield "cut off by one byte", text[:-1].encode()
    yield "rubbish behind it", text.encode() + b"]"
    yield "in UTF-16", text.encode("utf-16")
    yield "behind a byte order mark", b"\xef\xbb\xbf" + text.encode()
    for place in places_in(document):
        name = ".".join(map(str, place))
        for what, raw in RAW_VALUES.items():
            yield f"{name}: {what}", _with_raw(document, place, raw)
        yield from _shape_mutations(document, place, name)
    if isinstance(document, dict):
        yield "an extra key", json.dumps({**document, "an extra key": 1}).encode()
        yield "a key that is a lone surrogate", json.dumps({**document, "\ud800": 1}).encode()
        yield from _repeated_keys(document)


def places_in(value: Any) -> list[Path_]:
    """List where the values of a document are, as keys and indices; of a long list its ends."""
    places: list[Path_] = []
    for key in _keys_of(value):
        places.append((key,))
        places += [(key, *below) for below in places_in(value[key])]
    return places


def _keys_of(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value)
    if isinstance(value, list) and value:
        return sorted({0, len(value) - 1})
    return []


def _with_raw(document: Any, place: Path_, raw: str) -> bytes:
    """Write a document with other JSON at one place."""
    changed = copy.deepcopy(document)
    _holder(changed, place)[place[-1]] = _HOLE
    return json.dumps(changed).replace(json.dumps(_HOLE), raw).encode()


def _holder(document: Any, place: Path_) -> Any:
    """Find the object or list that holds the value at a place."""
    for key in place[:-1]:
        document = document[key]
    return document


def _shape_mutations(document: Any, place: Path_, name: str) -> Iterator[tuple[str, bytes]]:
    """Leave a value out, and write lists twice or backwards."""
    without = copy.deepcopy(document)
    del _holder(without, place)[place[-1]]
    yield f"{name}: left out", json.dumps(without).encode()
    value = _holder(document, place)[place[-1]]
    if isinstance(value, list) and value:
        yield f"{name}: twice", _with_raw(document, place, json.dumps(value + value))
        if len(value) > 1:
            yield f"{name}: backwards", _with_raw(document, place, json.dumps(value[::-1]))
    if isinstance(value, dict):
        yield f"{name}: an extra key", _with_raw(document, place, json.dumps({**value, "x y": 1}))


def _repeated_keys(document: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Give each key of the document twice, with another value the second time."""
    text = json.dumps(document)
    for key in document:
        again = f"{text[:-1]}, {json.dumps(key)}: null}}"
        yield f"{key}: once more", again.encode()


def _link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, _SPARSE_BYTES)


IMPOSTORS: Mapping[str, Callable[[Path], None]] = {
    "a pipe": os.mkfifo,
    "an endless device": _link_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": _link_to("nothing-of-this-name"),
    "a link to a text": _link_to("/etc/hostname"),
    "a folder": Path.mkdir,
    "a sparse file of 40 GB": _sparse,
}
"""What may stand where a file should be: each is called with a path at which nothing is."""
