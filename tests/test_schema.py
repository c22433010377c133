"""JSON files as typed classes: whatever lies on the disk is read as its class, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from featcache import durable, schema
from tests.faults.malformed import IMPOSTORS, mutations_of


class Example(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    layers: Annotated[list[Annotated[int, msgspec.Meta(ge=0, le=99)]], msgspec.Meta(min_length=1)]
    config: dict[str, Any]
    limit: int | None


SOUND: dict[str, Any] = {
    "name": "größe",
    "layers": [0, 2],
    "config": {"eps": 1e-12, "bounds": [0.0, 3]},
    "limit": None,
}


def test_a_sound_document_is_read_and_written_by_one_class() -> None:
    example = schema.read(json.dumps(SOUND).encode(), Example)
    assert schema.fields_of(example) == SOUND


def test_infinity_of_an_old_configuration_is_read() -> None:
    text = json.dumps({**SOUND, "config": {"time_step_limit": [0.0, float("inf")]}})
    assert schema.read(text.encode(), Example).config["time_step_limit"][1] == float("inf")


def test_every_mutation_is_refused_in_one_line_or_read_as_its_class() -> None:
    read, refused = 0, dict[str, str]()
    for name, data in mutations_of(SOUND):
        try:
            example = schema.read(data, Example)
        except schema.SchemaError as error:
            refused[name] = str(error)
        else:
            read += 1
            assert all(type(layer) is int and 0 <= layer <= 99 for layer in example.layers), name
            json.dumps(schema.fields_of(example), ensure_ascii=False).encode()
    for name, message in refused.items():
        assert message.isprintable(), name
        assert 0 < len(message) < 200, name
    assert len(refused) > 200
    assert read < len(refused)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"name": "x", "layers": [], "config": {}, "limit": null}', "length >= 1"),
        ('{"name": "x", "layers": [100000000], "config": {}, "limit": null}', "<= 99"),
        ('{"name": 3, "layers": [0], "config": {}, "limit": null}', r"got `int` - at `\$.name`"),
        ('{"name": "x", "name": "y"}', "the key 'name' twice"),
        (r'{"name": "\ud800"}', "lone surrogate"),
        ('{"config": ' + "[" * 900 + "]" * 900 + "}", "in one another"),
    ],
)
def test_a_message_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(schema.SchemaError, match=message):
        schema.read(text.encode(), Example)


@pytest.mark.parametrize("put", IMPOSTORS.values(), ids=IMPOSTORS.keys())
def test_only_a_small_regular_file_is_read(tmp_path: Path, put: Callable[[Path], None]) -> None:
    path = tmp_path / "small.json"
    put(path)
    with pytest.raises(durable.NotAFileError):
        durable.read_small(path)
