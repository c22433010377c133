"""Strings from files as people see them: whatever they hold, a terminal only shows it."""

from __future__ import annotations

import io
import json
import unicodedata

import click
import pytest
import rich.console
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from featcache.cli.main import main
from featcache.cli.options import echo, print_json
from featcache.console import Console, plain_text, print_line
from featcache.progress import Terminal
from featcache.wording import (
    counted,
    layer_range,
    megabytes,
    named,
    percent,
    printable,
    safe_json,
    shown,
)

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates too
ACTIVE = "\x1b[31m \x07 \r \x9b \u202e \u2066 \u200b \ufeff \u00ad \u2028 \ud800 \U000e0041 \u3164"
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@given(ANY_TEXT)
def test_no_string_has_an_effect_on_a_terminal(text: str) -> None:
    safe = printable(text)
    safe.encode("utf-8")
    assert not {unicodedata.category(sign) for sign in safe} & HIDDEN - {"Cc"}
    assert {sign for sign in safe if unicodedata.category(sign) == "Cc"} <= {"\n"}
    assert printable(safe) == safe
    assert "\n" not in printable(text, keep="")


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs"))))
def test_what_can_be_seen_stays(text: str) -> None:
    kept = [
        sign for sign in text if sign.isprintable() and sign not in "\u2800\u3164\u115f\u1160\uffa0"
    ]
    assert printable("".join(kept)) == "".join(kept)


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain, “typographic” … 3 % 日本語 é", "plain, “typographic” … 3 % 日本語 é"),
        ("a\tb\x1b[2J", "a\\tb\\x1b[2J"),
        ("two\nlines\r", "two\nlines\\r"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\udcff", "\\udcff"),
        ("\U000e0041", "\\U000e0041"),
        ("12\u202f000", "12\u202f000"),
        ("\u3164", "\\u3164"),
    ],
)
def test_examples(text: str, safe: str) -> None:
    assert printable(text) == safe


@given(ANY_TEXT, st.text(st.characters(exclude_categories=())))
def test_examples_and_labels_stay_on_one_line(text: str, label: str) -> None:
    for line in (shown(text), named(label)):
        assert "\n" not in line
        assert printable(line) == line


@given(st.dictionaries(ANY_TEXT, ANY_TEXT | st.lists(ANY_TEXT)))
def test_json_is_always_utf_8_and_read_back_the_same(content: dict[str, object]) -> None:
    line = safe_json(json.dumps(content, ensure_ascii=False))
    assert json.loads(line.encode("utf-8")) == content


@given(ANY_TEXT)
def test_tables_lines_and_notes_are_harmless(text: str) -> None:
    def show(console: Console) -> None:
        table = Table(text)
        table.add_row(text)
        table.add_row(Text(text))
        console.print(table)
        console.print(text)
        print_line(console, "label", text)

    safe = plain_text(show)
    safe.encode("utf-8")
    assert printable(safe) == safe
    log = io.StringIO()
    Terminal(rich.console.Console(file=log)).note(text)
    assert printable(log.getvalue()) == log.getvalue()


def test_a_console_takes_markup_and_emoji_codes_literally() -> None:
    assert plain_text(lambda console: console.print("[red]:smile:")) == "[red]:smile:\n"


def test_a_console_keeps_its_own_colours() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, color_system="standard")
    console.print(Text("\x1b[2J", style="red"))
    assert stream.getvalue() == "\x1b[31m\\x1b[2J\x1b[0m\n"


def test_commands_print_escapes_and_valid_json(capsys: pytest.CaptureFixture[str]) -> None:
    echo(ACTIVE)
    print_json({ACTIVE: ACTIVE})
    plain, line = capsys.readouterr().out.splitlines()
    assert printable(plain) == plain
    assert json.loads(line) == {ACTIVE: ACTIVE}


def test_errors_and_usage_errors_show_what_was_typed_as_escapes() -> None:
    for arguments in (
        ["info", f"space{ACTIVE}", "--cache", "no\x1b[2Jwhere"],
        ["check", f"no{ACTIVE}.csv".replace("/", ""), "--label", "a"],
        ["ls", f"--{ACTIVE}"],
        [f"{ACTIVE}"],
    ):
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code not in {0, 1}, done.output
        assert printable(done.stderr) == done.stderr
        assert "\\x1b[" in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_locale_without_unicode_is_no_error(encoding: str) -> None:
    done = CliRunner(charset=encoding).invoke(main, ["ls", "--cache", "日本"])
    assert done.exit_code == 0
    assert done.exception is None


def test_numbers_sizes_and_layers() -> None:
    assert [counted(number, "row") for number in (0, 1, 2000)] == ["0 rows", "1 row", "2,000 rows"]
    assert [percent(part, 1000) for part in (0, 3.1, 31, 310)] == [
        "0.0 %",
        "0.31 %",
        "3.1 %",
        "31 %",
    ]
    assert percent(1, 0) == "0.0 %"
    sizes = [0, 1023, 1024, 20 << 20, 3 << 50]
    assert [megabytes(size) for size in sizes] == [
        "0 B",
        "1,023 B",
        "1.0 KiB",
        "20 MiB",
        "3,072 TiB",
    ]
    assert [layer_range(layers) for layers in ((0, 1, 2), (0, 3, 6), (4,))] == ["0–2", "0,3,6", "4"]
    assert [named(label, "the ") for label in ("good", "3", 3)] == [
        "good",
        "the label 3",
        "the label 3",
    ]


def test_a_usage_error_of_a_command_is_harmless_too() -> None:
    with pytest.raises(click.UsageError) as caught:
        main.main(["ls", "--cache", "\x1b[2J", "more\x1b[2J"], standalone_mode=False)
    assert printable(caught.value.message) == caught.value.message
