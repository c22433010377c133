"""The rows that are checked: those with a label, and findings about the ones that have none.

`parts.read_parts` refuses data with missing labels or labels of two types. A check reports them
instead, and goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from featcache.data.checks.findings import EXAMPLES, Finding
from featcache.data.keys import row_keys
from featcache.data.labels import Label, check_column, labels_of
from featcache.data.parts import LabelledRows
from featcache.data.table import Table
from featcache.data.texts import Fields, TextOptions, is_missing, render_rows
from featcache.errors import LabelError
from featcache.wording import counted, shown


def rows_to_check(
    tables: Mapping[str, Table], label: str, reading: TextOptions
) -> tuple[list[tuple[str, LabelledRows]], list[Finding]]:
    """The labelled rows of each part, also those without text, and findings about labels.

    Args:
        tables: The data of the parts by their names, training first.
        label: The column of the labels.
        reading: How rows become texts.

    Returns:
        The parts with their rows, and what is wrong with the labels.
    """
    texts: list[dict[int, str]] = []
    kept: list[list[int]] = []
    findings: list[Finding] = []
    for name, table in tables.items():
        by_row = _texts_by_row(table, label, reading)
        has_label = _labelled(table, label)
        texts.append(by_row)
        kept.append([row for row in by_row if has_label[row]])
        unlabelled = [row for row in by_row if not has_label[row]]
        if unlabelled:
            findings.append(_missing_labels(name, table, unlabelled, by_row))
    labels, odd = _labels(list(tables.values()), label, kept)
    parts = []
    for number, (name, table) in enumerate(tables.items()):
        strings = [texts[number][row] for row in kept[number]]
        places = [table.place(row) for row in kept[number]]
        rows = LabelledRows(
            origins=[source for source, _ in places],
            texts=strings,
            keys=row_keys(strings),
            labels=labels[number],
            numbers=[row for _, row in places],
        )
        parts.append((name, rows))
    return parts, findings + odd


def _texts_by_row(table: Table, label: str, reading: TextOptions) -> dict[int, str]:
    """The text of each row, in the order of the rows; empty ones too, unless they are skipped."""
    texts, empty = render_rows(table, Fields.of(table, reading, label=label))
    by_row = dict(zip(texts.rows, texts.rendered, strict=True))
    if not reading.skip_empty:
        by_row |= dict.fromkeys(empty, "")
    return dict(sorted(by_row.items()))


def _labelled(table: Table, label: str) -> list[bool]:
    """Whether each row has a label."""
    check_column(table, label)
    return [not is_missing(value, blank=True) for value in table.columns[label]]


def _missing_labels(name: str, table: Table, rows: list[int], texts: dict[int, str]) -> Finding:
    examples = []
    for row in rows[:EXAMPLES]:
        source, number = table.place(row)
        examples.append(f"{source}, row {number}: {shown(texts[row])}")
    count = len(rows)
    verb = "has" if count == 1 else "have"
    return Finding(
        kind="missing-label",
        count=count,
        total=table.n_rows,
        what=f"{counted(count, f'{name} row')} of {table.n_rows:,} {verb} no label",
        effect="fit-heads refuses such rows; the other checks have left them out",
        cure="Label these rows or take them out of the file.",
        leak=False,
        examples=tuple(examples),
    )


def _labels(
    tables: Sequence[Table], label: str, rows: Sequence[Sequence[int]]
) -> tuple[list[list[Label]], list[Finding]]:
    """Labels of the rows; as strings, with a finding, where `labels_of` refuses them."""
    try:
        return labels_of(tables, label, rows), []
    except LabelError as error:
        total = sum(len(numbers) for numbers in rows)
        finding = Finding(
            kind="odd-label",
            count=total,
            total=total,
            what=error.what,
            effect="fit-heads refuses them; here they were compared as they are written",
            cure=error.cure,
            leak=False,
            examples=(),
        )
    written: list[list[Label]] = []
    for table, numbers in zip(tables, rows, strict=True):
        column = table.columns[label]
        written.append([str(column[row]) for row in numbers])
    return written, [finding]
