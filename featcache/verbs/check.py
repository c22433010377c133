"""Verb: what in labelled data would make a score mislead, before any head is fitted.

Read every file, keep what fit-heads would refuse (empty texts, missing labels) as findings, find
out which texts the backbone cuts off, and run the checks of `data.checks`. No model runs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcache.cache.folder import spaces_in
from featcache.cache.memo import Memo
from featcache.data.checks import Finding, Truncation, by_weight, check_parts, leak_error
from featcache.data.checks.rows import rows_to_check
from featcache.data.labels import Label
from featcache.data.parts import LabelledRows
from featcache.data.read import read
from featcache.data.table import Table
from featcache.data.texts import TextOptions
from featcache.errors import InputError
from featcache.features.commands import DEFAULT_CACHE
from featcache.features.request import BackboneChoice, resolve

_NO_LIMIT = (1 << 31) - 1  # tokens


@dataclass(frozen=True)
class Checked:
    """What the checks found about one label.

    Attributes:
        label: The column.
        rows: The number of rows of each part.
        classes: The labels in their order.
        findings: What was found, by weight, leaks first.
        limit: What says which texts are cut, such as "space NAME at 512 tokens"; None where nothing
            does.
        seconds: How long it took.
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
        return [finding for finding in self.findings if finding.leak]

    def to_json(self) -> dict[str, Any]:
        """What `featcache check --json` prints."""
        return {
            "label": self.label,
            "rows": self.rows,
            "classes": self.classes,
            "leaks": len(self.leaks),
            "findings": [finding.to_json() for finding in self.findings],
            "limit": self.limit,
            "seconds": round(self.seconds, 3),
        }


def check(
    data: Any,
    *,
    label: str,
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
) -> Checked:
    """Look through labelled texts for what makes a score mislead. No model runs.

    Args:
        data: The training rows: files or tables, see `data.read.read`.
        label: The column of the labels.
        validation: Rows that heads are to be chosen on.
        test: Rows that are to be read once, at the end.
        text: The column of the texts; by default `text`, `sentence`, or the only one.
        template: Text made of columns, such as "{title}: {body}".
        encoding: The encoding of CSV, TSV and JSONL files.
        skip_empty: Leave rows without text out instead of reporting them.
        cache: A cache; without a backbone, a space of it that holds all texts says which are cut.
        backbone: The model whose tokenizer says which texts are cut; the model does not run.
        max_length: Tokens kept of a text; by default the model's limit, at most 512.
        trust_remote_code: Whether the tokenizer may run Python code that comes with it.
        strict: Raise where labels or test rows are given away.

    Returns:
        The findings. What fit-heads would refuse, such as missing labels, is one of them.

    Raises:
        DataFileError: A file cannot be read.
        ColumnError: A column is not there.
        TextError: Values of the text column are no text.
        LeakError: Labels or test rows are given away, under `strict`.
        InputError: The arguments contradict one another.
    """
    arguments = dict(locals())  # `check_labels` has all of them but the label
    if not isinstance(label, str):
        msg = f"label is {label!r}, not the name of one column"  # type: ignore[unreachable]  # callers may be untyped
        raise InputError(msg, cure="Give one name, or use check_labels(labels=[…]) for several.")
    del arguments["label"]
    return check_labels(**arguments, labels=[label])[label]


def check_labels(
    data: Any,
    *,
    labels: Sequence[str],
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
) -> dict[str, Checked]:
    """Look through texts with several labels for what makes a score mislead. No model runs.

    Args:
        data: The training rows: files or tables, see `data.read.read`.
        labels: The columns of the labels.
        validation: Rows that heads are to be chosen on.
        test: Rows that are to be read once, at the end.
        text: The column of the texts; by default `text`, `sentence`, or the only one.
        template: Text made of columns, such as "{title}: {body}".
        encoding: The encoding of CSV, TSV and JSONL files.
        skip_empty: Leave rows without text out instead of reporting them.
        cache: A cache; without a backbone, a space of it that holds all texts says which are cut.
        backbone: The model whose tokenizer says which texts are cut; the model does not run.
        max_length: Tokens kept of a text; by default the model's limit, at most 512.
        trust_remote_code: Whether the tokenizer may run Python code that comes with it.
        strict: Raise where labels or test rows are given away.

    Returns:
        For each label what `check` gives for it alone.

    Raises:
        DataFileError: A file cannot be read.
        ColumnError: A column is not there.
        TextError: Values of the text column are no text.
        LeakError: Labels or test rows are given away, under `strict`.
        InputError: The arguments contradict one another.
    """
    started = time.perf_counter()
    columns = list(dict.fromkeys([labels] if isinstance(labels, str) else labels))
    _check_arguments(columns, backbone, max_length)
    reading = TextOptions(text, template, encoding, skip_empty)
    tables = _read_parts({"train": data, "validation": validation, "test": test}, encoding)
    choice = None
    if backbone is not None:
        choice = _tokenizer_choice(backbone, max_length, trust_remote_code=trust_remote_code)
    results = {}
    for column in columns:
        results[column] = _checked(tables, column, reading, choice, Path(cache), started)
        started = time.perf_counter()
    if strict:
        _raise_leaks(results)
    return results


def _check_arguments(
    columns: Sequence[str], backbone: str | os.PathLike[str] | None, max_length: int | None
) -> None:
    """Raise InputError where no column is named, or a length without a tokenizer."""
    if not columns:
        msg = "no label is named"
        raise InputError(msg, cure="Name one or several columns, such as labels=['stars'].")
    if max_length is not None and backbone is None:
        msg = f"--max-length {max_length} says nothing without a tokenizer"
        raise InputError(msg, cure="Name the model too: --backbone MODEL.")


def _read_parts(parts: dict[str, Any], encoding: str) -> dict[str, Table]:
    """Read the training data, and the other parts that are not None."""
    tables = {}
    for name, data in parts.items():
        if name == "train" or data is not None:
            tables[name] = read(data, encoding=encoding)
    return tables


def _raise_leaks(results: dict[str, Checked]) -> None:
    error = leak_error([finding for result in results.values() for finding in result.findings])
    if error is not None:
        raise error


def _tokenizer_choice(
    backbone: str | os.PathLike[str], max_length: int | None, *, trust_remote_code: bool
) -> BackboneChoice:
    """A choice of backbone from which only the tokenizer is loaded, never the weights."""
    return BackboneChoice(
        os.fspath(backbone),
        max_length=max_length,
        dtype="float32",
        device="cpu",
        allow_pickle=True,
        trust_remote_code=trust_remote_code,
    )


def _checked(
    tables: dict[str, Table],
    label: str,
    reading: TextOptions,
    choice: BackboneChoice | None,
    cache: Path,
    started: float,
) -> Checked:
    parts, about_labels = rows_to_check(tables, label, reading)
    truncation, limit = _truncation([rows for _, rows in parts], choice, cache)
    findings = check_parts(parts, truncated=truncation, label=label)
    classes = {value for _, rows in parts for value in rows.labels}
    return Checked(
        label=label,
        rows={name: len(rows.texts) for name, rows in parts},
        classes=sorted(classes, key=lambda value: (type(value).__name__, value)),
        findings=by_weight([*findings, *about_labels]),
        limit=limit,
        seconds=time.perf_counter() - started,
    )


# -- what the backbone cuts off --------------------------------------------------------------------


def _truncation(
    parts: Sequence[LabelledRows], choice: BackboneChoice | None, cache: Path
) -> tuple[Truncation | None, str | None]:
    """What is cut off the texts, and what says so; both None where nothing does."""
    texts = [text for part in parts for text in part.texts]
    # Empty texts have no tokens and are never cut.
    present = np.array([place for place, text in enumerate(texts) if text.strip()], dtype=np.int64)
    if not len(present):
        return None, None
    if choice is not None:
        return _by_tokenizer(texts, present, choice, cache)
    keys = np.concatenate([part.keys for part in parts])
    return _by_space(keys, present, cache)


def _by_space(
    keys: NDArray[np.uint8], present: NDArray[np.int64], cache: Path
) -> tuple[Truncation | None, str | None]:
    """Look up in the first space that holds all texts which of them it cut off."""
    for space in sorted(spaces_in(cache)[0], key=lambda item: item.name):
        positions = space.find(keys[present])
        if (positions >= 0).all():
            n_tokens, cut = space.token_counts(positions)
            limit = space.contract.max_length
            truncation = Truncation(
                limit, _spread(n_tokens, present, len(keys)), _spread(cut, present, len(keys))
            )
            return truncation, f"space {space.name} at {limit:,} tokens"
    return None, None


def _by_tokenizer(
    texts: list[str],
    present: NDArray[np.int64],
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
    tokens = tokenize(
        tokenizer, [texts[place] for place in present], max_length=contract.max_length
    )
    whole = tokens.lengths.copy()
    cut = np.flatnonzero(tokens.truncated)
    if len(cut):
        cut_texts = [texts[place] for place in present[cut]]
        whole[cut] = tokenize(tokenizer, cut_texts, max_length=_NO_LIMIT).lengths
    truncation = Truncation(
        contract.max_length,
        _spread(tokens.lengths, present, len(texts)),
        _spread(tokens.truncated, present, len(texts)),
        _spread(whole, present, len(texts)),
    )
    return truncation, f"the tokenizer of {choice.backbone} at {contract.max_length:,} tokens"


def _spread(
    values: NDArray[Any],
    places: NDArray[np.int64],
    count: int,
) -> NDArray[Any]:
    """Spread the values of some rows over all `count` of them, with 0 elsewhere."""
    whole = np.zeros(count, dtype=values.dtype)
    whole[places] = values
    return whole
