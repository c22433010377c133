"""A bundle of format 1 says of the texts of the golden cache what it said when it was written."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import featcache
from featcache.bundles.bundle import read_bundle, save_bundle
from featcache.bundles.description import BUNDLE_FORMAT
from featcache.errors import DamageError
from featcache.heads.network import Network
from tests.conftest import Run
from tests.golden import CACHE, SPACE

BUNDLE = Path(__file__).parent / "bundle-1"
EXPECTED: dict[str, Any] = json.loads((Path(__file__).parent / "bundle-1.json").read_text("utf-8"))
TEXTS = list(EXPECTED["probabilities"])


def test_the_files_are_what_they_were() -> None:
    assert EXPECTED["sha256"] == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(BUNDLE.iterdir())
    }
    assert "temperature" not in json.loads((BUNDLE / "head.json").read_text("utf-8"))


def test_it_is_read_as_what_it_was() -> None:
    head, description = read_bundle(BUNDLE)
    assert (description.format, description.space, description.classes) == (
        1,
        SPACE.name,
        EXPECTED["classes"],
    )
    assert (description.temperature, description.offsets, description.factory) == (1.0, None, None)
    assert isinstance(head, Network)
    assert (head.activation, head.layer_norm, head.residual) == ("gelu", False, False)
    arrays = load_file(BUNDLE / "head.safetensors")
    for number, (weight, bias) in enumerate(zip(head.weights, head.biases, strict=True)):
        np.testing.assert_array_equal(weight, arrays[f"weights.{number}"])
        np.testing.assert_array_equal(bias, arrays[f"biases.{number}"])


def test_it_says_what_it_said(run: Run) -> None:
    """From Python and from the command line; every class is somewhere the most probable one."""
    told = featcache.load_bundle(BUNDLE, cache=CACHE).predict(TEXTS)
    assert {prediction.label for prediction in told} == set(EXPECTED["classes"])
    for prediction, expected in zip(told, EXPECTED["probabilities"].values(), strict=True):
        np.testing.assert_allclose(list(prediction.probabilities.values()), expected, atol=1e-6)
        assert list(prediction.probabilities) == EXPECTED["classes"]
        assert prediction.label == EXPECTED["classes"][int(np.argmax(expected))]
        assert type(prediction.label) is type(EXPECTED["classes"][int(np.argmax(expected))])
    written = run("predict", BUNDLE, "--cache", CACHE, "--text", TEXTS[0], "--text", TEXTS[1])
    assert [json.loads(line) for line in written.stdout.splitlines()] == [
        prediction.to_json() for prediction in told[:2]
    ]


@pytest.mark.parametrize(
    "change", [{"label": "x"}, {"format": 2}, {"temperature": 1.0}, {"classes": [False, 7]}]
)
def test_its_checksum_still_counts(tmp_path: Path, change: dict[str, Any]) -> None:
    """Over just the fields that it has: one more is a change, even with the value that stands for
    its absence.
    """
    folder = Path(shutil.copytree(BUNDLE, tmp_path / "bundle"))
    fields = json.loads((folder / "head.json").read_text("utf-8"))
    (folder / "head.json").write_text(json.dumps({**fields, **change}), "utf-8")
    with pytest.raises(DamageError):
        read_bundle(folder)
    (folder / "head.json").write_text(json.dumps({**fields, "backbone": "moved"}), "utf-8")
    assert read_bundle(folder)[1].backbone == "moved"


def test_written_again_it_is_of_this_format_and_says_the_same(tmp_path: Path) -> None:
    head, description = read_bundle(BUNDLE)
    assert isinstance(head, Network)
    save_bundle(tmp_path, head, description, "# card")
    assert (tmp_path / "head.safetensors").read_bytes() == (
        BUNDLE / "head.safetensors"
    ).read_bytes()
    assert read_bundle(tmp_path)[1].format == BUNDLE_FORMAT
    told = [
        featcache.load_bundle(folder, cache=CACHE).predict(TEXTS) for folder in (BUNDLE, tmp_path)
    ]
    assert told[0] == told[1]
