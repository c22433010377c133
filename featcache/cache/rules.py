"""Which datasets a file of rows has, with which shapes and types. N rows, H numbers in a vector:

    keys                     (N, 16) uint8     BLAKE2b-128 of each text
    n_tokens, truncated      (N,) uint32, uint8
    layer_06/mean            (N, H) float16, or float32 where a value does not fit; one a view
    checksums/keys           (N,) uint64       xxh3-64 of a row's key, n_tokens, truncated, 21 bytes
    checksums/layer_06/mean  (N,) uint64       xxh3-64 of a row's bytes; one a view

A sealed file also has `index/entries`, `index/first` and `index/checksums` (see `index.py`).
Format 2 adds what format 1 refuses: any pooling of the grammar, a width for each view, bfloat16,
files that add views to rows of other files, and ragged views with a number of vectors that
differs from row to row: `layer_06/tokens` is then (T, H), and row i has the vectors from
`offsets/layer_06/tokens`[i] up to [i + 1], of N + 1 uint64.
"""

from __future__ import annotations

import re

import msgspec

from featcache import schema
from featcache.cache.contract import FIRST_FORMAT, FORMAT, POOLINGS, Layer, Pooling, dataset_name
from featcache.cache.index import BLOCK
from featcache.cache.layout import (
    BFLOAT16,
    CHECKSUMS,
    INDEX,
    KEYS,
    N_TOKENS,
    OFFSETS,
    ROW_CHECKSUMS,
    TRUNCATED,
    Header,
    HeaderFields,
    MalformedError,
)

_VIEW = re.compile(r"layer_([0-9]{2,4})/(.+)")
_FLOATS = {"float16", "float32"}

Expected = dict[str, tuple[tuple[int, ...], set[str]]]


class View(msgspec.Struct, frozen=True):
    """One layer with one pooling."""

    layer: Layer
    pooling: Pooling


def view_of(name: str) -> View | None:
    """Read the name of a view, such as `layer_06/mean`; None where it is no such name."""
    match = _VIEW.fullmatch(name)
    if match is None:
        return None
    layer, pooling = int(match[1]), match[2]
    try:
        view = schema.convert({"layer": layer, "pooling": pooling}, View)
    except schema.SchemaError:
        return None
    return view if dataset_name(layer, pooling) == name else None


def needed_format(fields: HeaderFields) -> int:
    """The oldest format that can say what a header says."""
    try:
        check(Header(msgspec.structs.replace(fields, role=None), user_block=0), places=False)
    except MalformedError:
        return FORMAT
    return FORMAT if fields.role == "addition" else FIRST_FORMAT


def check(header: Header, *, places: bool = True) -> None:
    """Hold a header to every rule of its format.

    Args:
        header: What `layout.parse` read.
        places: Also look at where the datasets lie.

    Raises:
        MalformedError: A rule is broken; the message says the first.
    """
    if (header.version > FIRST_FORMAT) != (header.fields.role is not None):
        msg = f"its header has other fields than a header of format {header.version}"
        raise MalformedError(msg)
    _check_views(header)
    expected = _expected_datasets(header)
    if set(expected) != set(header.datasets):
        odd = min(set(expected) ^ set(header.datasets))
        verb = "lacks" if odd in expected else "has an unexpected"
        msg = f"its header {verb} {odd[:40]!a}"
        raise MalformedError(msg)
    for name, (shape, kinds) in expected.items():
        extent = header.datasets[name]
        if extent.shape != shape or extent.kind not in kinds:
            msg = f"its header gives {name} a wrong shape or dtype"
            raise MalformedError(msg)
    if places and any(start > end for start, end in header.gaps()):
        msg = "its header places a dataset where it cannot be"
        raise MalformedError(msg)


def _check_views(header: Header) -> None:
    """Refuse views without a known name or without vectors; in format 1 all have one width."""
    for name in header.views:
        if not _is_known_view(name, header.version):
            msg = f"its header has an unexpected {name[:40]!a}"
            raise MalformedError(msg)
    widths = {header.datasets[name].shape[1:] for name in header.views}
    has_widths = bool(widths) and () not in widths
    if not has_widths or (header.version == FIRST_FORMAT and len(widths) > 1):
        msg = "its header gives no width, or several, to its states"
        raise MalformedError(msg)


def _is_known_view(name: str, version: int) -> bool:
    """Return True if a format has a view of this name."""
    view = view_of(name)
    if view is None:
        return False
    return version > FIRST_FORMAT or view.pooling in POOLINGS


def _expected_datasets(header: Header) -> Expected:
    """Exactly the datasets of a file with these views, each with its shape and types."""
    rows = header.rows
    expected: Expected = {
        KEYS: ((rows, 16), {"uint8"}),
        N_TOKENS: ((rows,), {"uint32"}),
        TRUNCATED: ((rows,), {"uint8"}),
        ROW_CHECKSUMS: ((rows,), {"uint64"}),
    }
    kinds = _FLOATS if header.version == FIRST_FORMAT else {*_FLOATS, BFLOAT16}
    for name in header.views:
        width = header.width(name)
        if header.version > FIRST_FORMAT and header.is_ragged(name):
            expected[name] = ((header.datasets[name].shape[0], width), kinds)
            expected[OFFSETS + name] = ((rows + 1,), {"uint64"})
        else:
            expected[name] = ((rows, width), kinds)
        expected[CHECKSUMS + name] = ((rows,), {"uint64"})
    if header.sealed and not header.is_addition:
        n_blocks = -(-rows // BLOCK)
        shapes = ((rows, 3), (n_blocks,), (n_blocks,))
        for name, shape in zip(INDEX, shapes, strict=True):
            expected[name] = (shape, {"uint64"})
    return expected
