"""Bundles that somebody else may have written: refused in one sentence, or read as they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from featcache.bundles.bundle import read_bundle, save_bundle
from featcache.bundles.description import checksum_of
from featcache.errors import BundleError, DamageError
from tests.bundles.test_bundle import description, network
from tests.faults.malformed import IMPOSTORS, mutations_of


def signed(folder: Path, fields: dict[str, Any]) -> None:
    """Write a description with the sums that fit it and the weights beside it."""
    import hashlib

    weights = (folder / "head.safetensors").read_bytes()
    fields = {**fields, "weights": hashlib.sha256(weights).hexdigest()}
    fields["checksum"] = checksum_of(fields)
    (folder / "head.json").write_text(json.dumps(fields), "utf-8")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    save_bundle(tmp_path / "bundle", network(), description(offsets=[0.0, 0.5, 1.0]), "# card")
    return tmp_path / "bundle"


def test_every_mutation_of_the_description_is_refused_or_read(bundle: Path) -> None:
    """With a checksum that fits, as whoever writes such a file would give it."""
    fields = json.loads((bundle / "head.json").read_text("utf-8"))
    n_refused = 0
    for name, data in mutations_of(fields):
        try:
            changed = json.loads(data)
            signed(bundle, changed)
        except (ValueError, TypeError, RecursionError):
            (bundle / "head.json").write_bytes(data)
        try:
            head, read = read_bundle(bundle)
        except (BundleError, DamageError) as error:
            n_refused += 1
            assert error.cure, name
            assert len(error.what.splitlines()) == 1, name
        else:
            assert len(read.classes) == head.logits(np.ones((1, 5), np.float32)).shape[1], name
            assert all(0 <= layer < 10_000 for layer in read.layers), name
            f"{read.label}{read.classes}{read.backbone}".encode()
    assert n_refused > 300


@pytest.mark.parametrize("name", ["head.json", "head.safetensors"])
@pytest.mark.parametrize("put", IMPOSTORS.values(), ids=IMPOSTORS.keys())
def test_what_is_no_file_is_not_opened(
    bundle: Path, name: str, put: Callable[[Path], None]
) -> None:
    (bundle / name).unlink()
    put(bundle / name)
    with pytest.raises((BundleError, DamageError)):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"biases.1": np.zeros(1, np.float32)}, "do not have the widths"),
        ({"biases.0": np.zeros((1, 4), np.float32)}, "do not have the widths"),
        ({"weights.1": np.zeros((7, 3), np.float32)}, "do not follow on each other"),
        ({"weights.0": np.zeros(20, np.float32)}, "are no layers"),
        ({"weights.0": np.zeros((0, 4), np.float32)}, "are no layers"),
        ({"weights.1": np.zeros((4, 3), np.float64)}, "not float32"),
        ({"weights.0": np.full((5, 4), np.nan, np.float32)}, "not finite"),
        ({"biases.1": np.full(3, np.inf, np.float32)}, "not finite"),
        ({"weights.2": np.zeros((3, 3), np.float32)}, "not those of a network"),
        ({"others.0": np.zeros(1, np.float32)}, "not those of a network"),
    ],
)
def test_weights_that_do_not_fit_are_damage(
    bundle: Path, change: dict[str, Any], what: str
) -> None:
    """NumPy would broadcast a bias of length 1, and serve what comes out."""
    fields = json.loads((bundle / "head.json").read_text("utf-8"))
    save_file({**load_file(bundle / "head.safetensors"), **change}, bundle / "head.safetensors")
    signed(bundle, fields)
    with pytest.raises(DamageError, match=what):
        read_bundle(bundle)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"classes": []}, "length >= 1"),
        ({"classes": ["a", "b"]}, "3 outputs for 2 classes"),
        ({"classes": ["a", "b", "a"]}, "listed twice"),
        ({"layers": [-1]}, ">= 0"),
        ({"layers": [10**8]}, "<= 9999"),
        ({"layers": []}, "length >= 1"),
        ({"label": "\ud800"}, "lone surrogate"),
        ({"head": "custom"}, "lack the scale"),
    ],
)
def test_a_description_that_does_not_fit_is_damage(
    bundle: Path, changes: dict[str, Any], what: str
) -> None:
    fields = json.loads((bundle / "head.json").read_text("utf-8"))
    signed(bundle, {**fields, "offsets": None, **changes})
    with pytest.raises(DamageError, match=what):
        read_bundle(bundle)


def test_other_bytes_than_safetensors_are_damage(bundle: Path) -> None:
    fields = json.loads((bundle / "head.json").read_text("utf-8"))
    for data in (b"", b"\x00" * 8, b"nonsense", (1 << 60).to_bytes(8, "little") + b"{}"):
        (bundle / "head.safetensors").write_bytes(data)
        signed(bundle, fields)
        with pytest.raises(DamageError, match="cannot be read"):
            read_bundle(bundle)
