"""Bundles: what is saved is read back; what is damaged is refused; nothing executes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from safetensors.numpy import load_file

from featcache.bundles.bundle import read_bundle, save_bundle
from featcache.bundles.description import BUNDLE_FORMAT, Description, checksum_of
from featcache.errors import BundleError, DamageError, FeatcacheError
from featcache.heads.network import Network


def network() -> Network:
    generator = np.random.default_rng(0)
    shapes = [(5, 4), (4, 3)]
    return Network(
        tuple(generator.standard_normal(shape).astype(np.float32) for shape in shapes),
        tuple(generator.standard_normal(shape[1]).astype(np.float32) for shape in shapes),
    )


def description(**changes: Any) -> Description:
    fields: dict[str, Any] = {
        "head": "mlp",
        "classes": ["a", "b", "c"],
        "label": "kind",
        "layers": [2],
        "pooling": ["mean"],
        "contract": {},
        "space": "tiny-0",
        "backbone": "models/tiny",
        "template": None,
        "text": None,
        "scores": {},
        "versions": {},
    }
    return Description(**{**fields, **changes})


@pytest.mark.parametrize("classes", [["a", "b", "c"], [0, 1, 7], [False, True, "x"]])
def test_a_bundle_survives_the_disk_with_the_types_of_its_labels(
    tmp_path: Path, classes: list[Any]
) -> None:
    save_bundle(tmp_path / "bundle", network(), description(classes=classes), "# card")
    head, read = read_bundle(tmp_path / "bundle")
    assert replace(read, weights="", checksum="") == description(classes=classes)
    assert [type(one) for one in read.classes] == [type(one) for one in classes]
    features = np.random.default_rng(1).standard_normal((6, 5)).astype(np.float32)
    np.testing.assert_array_equal(head.logits(features), network().logits(features))


def test_a_bundle_is_safetensors_json_and_a_card_and_nothing_else(tmp_path: Path) -> None:
    save_bundle(tmp_path, network(), description(), "# card")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md",
        "head.json",
        "head.safetensors",
    ]
    arrays = load_file(tmp_path / "head.safetensors")
    assert sorted(arrays) == ["biases.0", "biases.1", "weights.0", "weights.1"]
    assert json.loads((tmp_path / "head.json").read_text())["format"] == BUNDLE_FORMAT == 2


@pytest.mark.parametrize(
    ("file", "content", "error", "what"),
    [
        ("head.json", None, BundleError, "has no head.json"),
        (
            "head.json",
            b'{"format": 3}',
            BundleError,
            "written in format 3; this featcache reads up to 2",
        ),
        ("head.json", b"{", DamageError, "head.json cannot be read"),
        ("head.json", b"{}", DamageError, "head.json cannot be read"),
        ("head.json", b"[]", DamageError, "head.json cannot be read"),
        ("head.json", b"\xff", DamageError, "head.json cannot be read"),
        ("head.safetensors", None, DamageError, "head.safetensors is missing"),
        (
            "head.safetensors",
            b"nonsense",
            DamageError,
            "is not the file that head.json was written for",
        ),
    ],
)
def test_what_is_not_a_whole_bundle_is_refused(
    tmp_path: Path, file: str, content: bytes | None, error: type[FeatcacheError], what: str
) -> None:
    save_bundle(tmp_path, network(), description(), "# card")
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(error, match=what) as caught:
        read_bundle(tmp_path)
    assert caught.value.cure
    assert str(tmp_path) in caught.value.what
    assert caught.value.exit_code == (2 if error is BundleError else 4)


def test_no_bit_of_the_weights_can_change_unnoticed(tmp_path: Path) -> None:
    save_bundle(tmp_path, network(), description(), "# card")
    good = (tmp_path / "head.safetensors").read_bytes()
    for place in range(0, len(good), 5):
        bad = bytearray(good)
        bad[place] ^= 0x40
        (tmp_path / "head.safetensors").write_bytes(bad)
        with pytest.raises(DamageError):
            read_bundle(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"pooling": ["max", "mean"]},
        {"classes": ["b", "a", "c"]},
        {"head": "x"},
        {"new": 1},
        {"temperature": 2.0},
        {"format": 1},
    ],
)
def test_no_field_of_the_description_can_change_unnoticed(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    save_bundle(tmp_path, network(), description(), "# card")
    path = tmp_path / "head.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DamageError):
        read_bundle(tmp_path)


def test_the_place_of_the_backbone_may_be_corrected_by_hand(tmp_path: Path) -> None:
    save_bundle(tmp_path, network(), description(), "# card")
    path = tmp_path / "head.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "backbone": "moved/tiny"}))
    assert read_bundle(tmp_path)[1].backbone == "moved/tiny"


@pytest.mark.parametrize("activation", ["relu", "silu", "gelu"])
@pytest.mark.parametrize(
    ("layer_norm", "residual"), [(False, False), (True, False), (False, True), (True, True)]
)
def test_what_stands_between_the_layers_survives_the_disk(
    tmp_path: Path, activation: str, layer_norm: bool, residual: bool
) -> None:
    """It is the head that says so, whatever the description said."""
    generator = np.random.default_rng(0)
    shapes = [(5, 4), (4, 4), (4, 3)]
    head = Network(
        tuple(generator.standard_normal(shape).astype(np.float32) for shape in shapes),
        tuple(generator.standard_normal(shape[1]).astype(np.float32) for shape in shapes),
        activation,
        layer_norm,
        residual,
    )
    save_bundle(tmp_path, head, description(layer_norm=not layer_norm), "# card")
    read, facts = read_bundle(tmp_path)
    assert (facts.activation, facts.layer_norm, facts.residual) == (
        activation,
        layer_norm,
        residual,
    )
    features = generator.standard_normal((6, 5)).astype(np.float32)
    np.testing.assert_array_equal(read.logits(features), head.logits(features))


def test_temperature_and_offsets_survive_the_disk(tmp_path: Path) -> None:
    save_bundle(
        tmp_path, network(), description(temperature=1.75, offsets=[0.0, -0.5, 0.1]), "# card"
    )
    assert (read_bundle(tmp_path)[1].temperature, read_bundle(tmp_path)[1].offsets) == (
        1.75,
        [0.0, -0.5, 0.1],
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 0.0},
        {"temperature": float("nan")},
        {"offsets": [1.0]},
        {"offsets": [1.0, 2.0, float("inf")]},
        {"activation": "tanh"},
        {"temperature": "1"},
        {"new": 1},
    ],
)
def test_what_cannot_be_used_is_not_read_even_with_a_checksum_that_fits(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    save_bundle(tmp_path, network(), description(), "# card")
    path = tmp_path / "head.json"
    fields = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({**fields, "checksum": checksum_of(fields)}))
    with pytest.raises(DamageError, match="cannot be read"):
        read_bundle(tmp_path)


def test_a_description_that_cannot_be_used_is_not_written(tmp_path: Path) -> None:
    for changes in ({"temperature": -1.0}, {"offsets": [1.0]}):
        with pytest.raises(
            ValueError, match=r"is not a positive number|are not a number for each of 3 classes"
        ):
            save_bundle(tmp_path / "bundle", network(), description(**changes), "# card")
    assert not (tmp_path / "bundle").exists()
