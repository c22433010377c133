"""The ledger of test rows: who else has been scored on them, whatever state its file is in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.data.keys import row_keys
from featcache.runs.ledger import LedgerEntry, earlier_choices, enter, test_name

name_of_rows = test_name
del test_name  # pytest would take it for a test

FIRST = LedgerEntry(
    test="a" * 16, label="mood", choice="mlp", when="2026-01-01T00:00:00+00:00", run="runs/a"
)


@pytest.fixture
def space(tmp_path: Path) -> Path:
    folder = tmp_path / "cache" / "space"
    folder.mkdir(parents=True)
    return folder


def file_of(space: Path) -> Path:
    return space.parent / "space.tests.jsonl"


def test_other_choices_on_the_same_rows_are_found_each_once_oldest_first(space: Path) -> None:
    second, third = replace(FIRST, choice="linear"), replace(FIRST, choice="logreg")
    again = replace(FIRST, when="2026-02-01T00:00:00+00:00")
    for one in (
        FIRST,
        second,
        again,
        replace(FIRST, test="b" * 16, choice="x"),
        replace(FIRST, label="y", choice="x"),
    ):
        assert enter(space, one)
    assert earlier_choices(space, third) == [FIRST, second]
    assert earlier_choices(space, FIRST) == [second]
    assert earlier_choices(space, replace(third, test="c" * 16)) == []
    assert [json.loads(line)["choice"] for line in file_of(space).read_text().splitlines()] == [
        "mlp",
        "linear",
        "mlp",
        "x",
        "x",
    ]


def test_without_a_ledger_nothing_was_read(space: Path) -> None:
    assert earlier_choices(space, FIRST) == []


@pytest.mark.parametrize(
    "damage",
    [
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b"{}",
        b'{"test": 1}',
        b"",
        b"\x00" * 40,
        b'"' + b"\xe9" * 9,
    ],
)
def test_damaged_lines_are_skipped_and_the_others_count(space: Path, damage: bytes) -> None:
    enter(space, FIRST)
    with file_of(space).open("ab") as file:
        file.write(damage + b"\n")
    second = replace(FIRST, choice="linear")
    assert enter(space, second)
    assert earlier_choices(space, replace(FIRST, choice="other")) == [FIRST, second]


def test_a_line_that_was_torn_takes_none_with_it(space: Path) -> None:
    """A power cut in the middle of a line."""
    enter(space, FIRST)
    with file_of(space).open("ab") as file:
        file.write(b'{"test": "aaaa')
    second = replace(FIRST, choice="linear")
    assert enter(space, second)
    assert earlier_choices(space, replace(FIRST, choice="other")) == [FIRST, second]


@given(words=st.lists(st.text(max_size=8), min_size=3, max_size=3))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> None:
    """Also separators of lines that only Unicode knows."""
    space = tmp_path_factory.mktemp("ledger") / "space"
    one = replace(FIRST, label=words[0], choice="1" + words[1], run=words[2])
    try:
        json.dumps(asdict(one), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    assert enter(space, one)
    assert earlier_choices(space, replace(one, choice="2")) == [one]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    assert not enter(tmp_path / "nowhere" / "space", FIRST)
    blocked = tmp_path / "space"
    file_of(blocked).mkdir()
    assert not enter(blocked, FIRST)
    assert earlier_choices(blocked, FIRST) == []


def test_a_link_out_of_the_cache_is_not_followed(space: Path, tmp_path: Path) -> None:
    outside = tmp_path / "precious"
    outside.write_text("mine")
    file_of(space).symlink_to(outside)
    assert not enter(space, FIRST)
    assert outside.read_text() == "mine"


def test_lines_of_several_processes_do_not_mix(space: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from featcache.runs.ledger import "
        "LedgerEntry, enter\n"
        "for n in range(50): enter(Path(sys.argv[1]), LedgerEntry('t', 'l', sys.argv[2] * 500 "
        "+ str(n), 'w', 'r'))"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, space, name], env=dict(os.environ))
        for name in "abc"
    ]
    assert [one.wait() for one in running] == [0, 0, 0]
    assert len(earlier_choices(space, LedgerEntry("t", "l", "", "w", "r"))) == 150


@given(seed=st.integers(0, 99), n=st.integers(1, 12))
def test_rows_have_one_name_in_any_order_and_another_with_another_label(seed: int, n: int) -> None:
    generator = np.random.default_rng(seed)
    keys, labels = row_keys([str(row) for row in range(n)]), generator.integers(0, 3, n)
    order = generator.permutation(n)
    name = name_of_rows(keys, labels)
    assert name == name_of_rows(keys[order], labels[order])
    assert len(name) == 16
    changed = labels.copy()
    changed[generator.integers(n)] += 1
    assert name != name_of_rows(keys, changed)
    assert name != name_of_rows(keys[1:], labels[1:])
