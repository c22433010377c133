"""Templates: plain column names in braces, and nothing else that Python's format strings can do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.data.templates import Template
from featcache.errors import ColumnError
from tests.data import refused


@pytest.mark.parametrize(
    ("source", "fields", "text"),
    [
        ("{text}", ("text",), "T"),
        ("Review: {text}\n", ("text",), "Review: T\n"),
        ("{title} {text} {title}", ("title", "text"), "U T U"),
        ("{{{text}}}", ("text",), "{T}"),
        ("{{text}} {text}", ("text",), "{text} T"),
        ("{{}}{text}{{", ("text",), "{}T{"),
        ("{two words}-{naïve}", ("two words", "naïve"), "W-N"),
        ("{0}{__class__}", ("0", "__class__"), "ZC"),
        ("%s $text \\{text}", ("text",), "%s $text \\T"),
    ],
)
def test_fields_are_filled_and_everything_else_is_literal(
    source: str, fields: tuple[str, ...], text: str
) -> None:
    template = Template.parse(source)
    assert template.source == source
    assert template.fields == fields
    values = {"text": "T", "title": "U", "two words": "W", "naïve": "N", "0": "Z", "__class__": "C"}
    assert template.render(values) == text


@pytest.mark.parametrize(
    "source",
    [
        "{text.upper}",
        "{text.__class__.__mro__}",
        "{text[0]}",
        "{text[key]}",
        "{text!r}",
        "{text:>10}",
        "{text:{width}}",
        "{text!s:>10}",
        "{}",
        "{} {text}",
        "{:>10}",
        "{!r}",
    ],
)
def test_a_field_that_is_more_than_a_column_name_is_refused(source: str) -> None:
    with refused(ColumnError, repr(source), "more than a column name", cure="{text}"):
        Template.parse(source)


@pytest.mark.parametrize("source", ["", "plain", "{{text}}", "{{", "}}"])
def test_a_template_without_a_field_is_refused(source: str) -> None:
    with refused(ColumnError, repr(source), "names no column", cure="--template"):
        Template.parse(source)


@pytest.mark.parametrize("source", ["{text", "text}", "{text}}", "{text} {", "{{{text}}", "{a{b}}"])
def test_unbalanced_braces_are_refused(source: str) -> None:
    with refused(ColumnError, repr(source), cure="{"):
        Template.parse(source)


@given(before=st.text(), value=st.text(), after=st.text())
@settings(derandomize=True, deadline=None)
def test_any_literal_and_any_value_come_through_unchanged(
    before: str, value: str, after: str
) -> None:
    escaped = [part.replace("{", "{{").replace("}", "}}") for part in (before, after)]
    template = Template.parse(f"{escaped[0]}{{column}}{escaped[1]}")
    assert template.render({"column": value}) == before + value + after
