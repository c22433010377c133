"""Verb: what in labelled data would make a score mislead, before any head is fitted.

Reads top to bottom: read every file, keep what fit-heads would refuse (empty texts, missing labels)
as findings, find out which texts the backbone cuts off, and run the checks of `data.checks`. No
model runs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack, overload

import numpy as np

from featcache.cache.folder import spaces_in
from featcache.cache.memo import Memo
from featcache.data.checks import Finding, Truncation, by_weight, check_parts, leak_error
from featcache.data.checks.findings import EXAMPLES
from featcache.data.keys import row_keys
from featcache.data.labels import Label, labels_of
from featcache.data.parts import LabelledRows
from featcache.data.read import read
from featcache.data.table import Table
from featcache.data.texts import Fields, TextOptions, is_missing, render_rows
from featcache.errors import InputError, LabelError
from featcache.features.commands import DEFAULT_CACHE
from featcache.features.request import BackboneChoice, resolve
from featcache.wording import counted, shown

_NO_LIMIT = (1 << 31) - 1  # tokens


@dataclass(frozen=True)
class Checked:
    """What the checks found, by weight, leaks first.

    rows: of each part.  limit: words for what says which texts are cut ("space NAME at 512
    tokens"), or None where nothing does.
    """

    label: str
    rows: dict[str, int]
    classes: list[Label]
    findings: list[Finding]
    limit: str | None
    seconds: float

    @property
    def leaks(self) -> list[Finding]:
        """The findings that give labels or test rows away."""
        return [one for one in self.findings if one.leak]

    def to_json(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "rows": self.rows,
            "classes": self.classes,
            "leaks": len(self.leaks),
            "findings": [one.to_json() for one in self.findings],
            "limit": self.limit,
            "seconds": round(self.seconds, 3),
        }


class _Options(TypedDict, total=False):
    """The options of `check`, for its two signatures."""

    validation: Any
    test: Any
    text: str | None
    template: str | None
    encoding: str
    skip_empty: bool
    cache: str | os.PathLike[str]
    backbone: str | os.PathLike[str] | None
    max_length: int | None
    trust_remote_code: bool
    strict: bool


@overload
def check(data: Any, *, label: str, **options: Unpack[_Options]) -> Checked: ...
@overload
def check(
    data: Any,
    *,
    label: list[str] | tuple[str, ...],
    **options: Unpack[_Options],
) -> dict[str, Checked]: ...
def check(
    data: Any,
    *,
    label: str | Sequence[str],
    validation: Any = None,
    test: Any = None,
    text: str | None = None,
    template: str | None = None,
    encoding: str = "utf-8",
    skip_empty: bool = False,
    cache: str | os.PathLike[str] = DEFAULT_CACHE,
    backbone: str | os.PathLike[str] | None = None,
    max_length: int | None = None,
    trust_remote_code: bool = False,
    strict: bool = False,
) -> Checked | dict[str, Checked]:
    """Look through labelled texts for what makes a score mislead.

    data, validation, test: files or tables (see `data.read.read`).  label: their column of labels;
    of several, a dict of results by label.  text, template, encoding: as for `extract`.
    skip_empty: leave rows without text out instead of telling them.
    backbone: whose tokenizer says which texts are cut, at max_length or its own limit; without it,
    a space of `cache` that holds all texts says so; else cut texts are not looked for. No model
    runs.

    Raises DataFileError, ColumnError and TextError for files that cannot be read, columns that are
    not there and values that are no text; LeakError under `strict` where labels or test rows are
    given away. All else that is wrong with the data is a finding.
    """
    started = time.perf_counter()
    if max_length is not None and backbone is None:
        msg = f"--max-length {max_length} says nothing without a tokenizer"
        raise InputError(msg, cure="Name the model too: --backbone MODEL.")
    labels = [label] if isinstance(label, str) else list(dict.fromkeys(label))
    if not labels:
        msg = "no label is named"
        raise InputError(
            msg, cure="Name one or several columns: label='stars' or label=['stars', 'topic']."
        )
    reading = TextOptions(text, template, encoding, skip_empty)
    given = {
        name: one
        for name, one in (("train", data), ("validation", validation), ("test", test))
        if one is not None
    }
    tables = {name: read(one, encoding=encoding) for name, one in given.items()}
    choice = None
    if backbone is not None:
        choice = BackboneChoice(
            os.fspath(backbone),
            max_length=max_length,
            dtype="float32",
            device="cpu",
            allow_pickle=True,
            trust_remote_code=trust_remote_code,
        )
    results = {}
    for one in labels:
        parts, odd = _parts(tables, one, reading)
        truncation, limit = _truncation([rows for _, rows in parts], choice, Path(cache))
        found = check_parts(parts, truncated=truncation, label=one)
        results[one] = Checked(
            label=one,
            rows={name: len(rows.texts) for name, rows in parts},
            classes=_in_order({each for _, rows in parts for each in rows.labels}),
            findings=by_weight([*found, *odd]),
            limit=limit,
            seconds=time.perf_counter() - started,
        )
        started = time.perf_counter()
    if strict:
        error = leak_error([finding for result in results.values() for finding in result.findings])
        if error is not None:
            raise error
    return results[label] if isinstance(label, str) else results


# -- rows ------------------------------------------------------------------------------------------


def _parts(
    tables: dict[str, Table], label: str, reading: TextOptions
) -> tuple[list[tuple[str, LabelledRows]], list[Finding]]:
    """The rows that have a label, those without text among them; and findings about labels."""
    texts, kept, findings = [], [], []
    for name, table in tables.items():
        rendered, empty = render_rows(table, Fields.of(table, reading, label=label))
        by_row = dict(zip(rendered.rows, rendered.rendered, strict=True))
        if not reading.skip_empty:
            by_row |= dict.fromkeys(empty, "")
        labelled = _has_label(table, label)
        texts.append(by_row)
        kept.append([row for row in sorted(by_row) if labelled[row]])
        without = [row for row in sorted(by_row) if not labelled[row]]
        if without:
            findings.append(_missing_labels(name, table, without, by_row))
    labels, mixed = _labels(list(tables.values()), label, kept)
    findings += mixed
    parts = []
    for (name, table), by_row, rows, values in zip(
        tables.items(), texts, kept, labels, strict=True
    ):
        places = [table.place(row) for row in rows]
        strings = [by_row[row] for row in rows]
        parts.append(
            (
                name,
                LabelledRows(
                    [source for source, _ in places],
                    strings,
                    row_keys(strings),
                    values,
                    [row for _, row in places],
                ),
            )
        )
    return parts, findings


def _has_label(table: Table, label: str) -> list[bool]:
    if label not in table.columns:
        labels_of([table], label, [[]])  # raises, naming the columns there are
    return [
        not (is_missing(value) or (isinstance(value, str) and not value.strip()))
        for value in table.columns[label]
    ]


def _missing_labels(name: str, table: Table, rows: list[int], texts: dict[int, str]) -> Finding:
    examples = []
    for row in rows[:EXAMPLES]:
        source, number = table.place(row)
        examples.append(f"{source}, row {number}: {shown(texts[row])}")
    count = len(rows)
    return Finding(
        "missing-label",
        count,
        table.n_rows,
        f"{counted(count, f'{name} row')} of {table.n_rows:,} {'has' if count == 1 else 'have'} no label",
        "fit-heads refuses such rows; the other checks have left them out",
        "Label these rows or take them out of the file.",
        leak=False,
        examples=tuple(examples),
    )


def _labels(
    tables: list[Table], label: str, rows: list[list[int]]
) -> tuple[list[list[Label]], list[Finding]]:
    """Labels of the rows; as strings, with a finding, where they are of more than one type or none
    that is known.
    """
    try:
        return labels_of(tables, label, rows), []
    except LabelError as error:
        written = [
            [str(table.columns[label][row]) for row in of]
            for table, of in zip(tables, rows, strict=True)
        ]
        total = sum(map(len, rows))
        finding = Finding(
            "odd-label",
            total,
            total,
            error.what,
            "fit-heads refuses them; here they were compared as they are written",
            error.cure,
            leak=False,
            examples=(),
        )
        return [list(one) for one in written], [finding]


def _in_order(labels: set[Label]) -> list[Label]:
    return sorted(labels, key=lambda one: (type(one).__name__, one))


# -- what the backbone cuts off --------------------------------------------------------------------


def _truncation(
    parts: Sequence[LabelledRows], choice: BackboneChoice | None, cache: Path
) -> tuple[Truncation | None, str | None]:
    """What is cut, and words for what says so. Texts that are empty have no tokens and are never
    cut.
    """
    texts = [text for part in parts for text in part.texts]
    present = np.array([place for place, text in enumerate(texts) if text.strip()], dtype=np.int64)
    if not len(present):
        return None, None
    if choice is not None:
        return _by_tokenizer(texts, present, choice, cache)
    keys = np.concatenate([part.keys for part in parts])[present]
    for space in sorted(spaces_in(cache)[0], key=lambda one: one.name):
        positions = space.find(keys)
        if (positions >= 0).all():
            n_tokens, cut = space.token_counts(positions)
            limit = space.contract.max_length
            found = Truncation(
                limit, _spread(n_tokens, present, len(texts)), _spread(cut, present, len(texts))
            )
            return found, f"space {space.name} at {limit:,} tokens"
    return None, None


def _by_tokenizer(
    texts: list[str],
    present: np.ndarray[tuple[int], np.dtype[np.int64]],
    choice: BackboneChoice,
    cache: Path,
) -> tuple[Truncation, str]:
    from featcache.backbone.batching import tokenize
    from featcache.backbone.load import check_max_length, load_tokenizer

    memo = Memo.load(cache)
    resolved = resolve(choice, cache, memo)
    memo.save(cache)
    contract = resolved.contract
    tokenizer = load_tokenizer(
        resolved.folder,
        truncation_side=contract.truncation_side,
        trust_remote_code=choice.trust_remote_code,
    )
    check_max_length(contract.max_length, tokenizer)
    made = tokenize(tokenizer, [texts[place] for place in present], max_length=contract.max_length)
    whole = made.lengths.copy()
    cut = np.flatnonzero(made.truncated)
    if len(cut):
        whole[cut] = tokenize(
            tokenizer, [texts[present[one]] for one in cut], max_length=_NO_LIMIT
        ).lengths
    found = Truncation(
        contract.max_length,
        _spread(made.lengths, present, len(texts)),
        _spread(made.truncated, present, len(texts)),
        _spread(whole, present, len(texts)),
    )
    return found, f"the tokenizer of {choice.backbone} at {contract.max_length:,} tokens"


def _spread(
    values: np.ndarray[Any, np.dtype[Any]],
    places: np.ndarray[tuple[int], np.dtype[np.int64]],
    count: int,
) -> np.ndarray[tuple[int], np.dtype[Any]]:
    """Values of some rows among all of them; 0 elsewhere."""
    whole = np.zeros(count, dtype=values.dtype)
    whole[places] = values
    return whole
