"""What format 1 wrote is read to the bit, and what a later format has written is left alone."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from featcache import open_space
from featcache.cache.contract import FORMAT
from featcache.cache.shard import Shard
from featcache.cache.space import Space
from featcache.data.keys import row_keys
from featcache.errors import FormatError
from tests.cache.test_shard import rows, with_header
from tests.cache.test_space import make
from tests.conftest import Run, everything_below
from tests.golden import CACHE, EXPECTED, SPACE

TEXTS = list(EXPECTED["texts"])
NEWER = f"was written in format {FORMAT + 1}; this featcache reads up to {FORMAT}"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A copy that may be changed, with a space of another contract beside it."""
    copy = tmp_path / "cache"
    shutil.copytree(CACHE, copy)
    make(copy).add(rows(), {"written": "2026-01-01T00:00:00+00:00"})
    return copy


def as_newer(path: Path) -> None:
    """Give a shard the next version, with a checksum that fits."""
    path.write_bytes(with_header(path.read_bytes(), version=FORMAT + 1))


def as_newer_contract(space: Path) -> None:
    """Make a space one of the next version: its contract, with a field that is not known yet, and
    its shards.
    """
    fields = json.loads((space / "contract.json").read_text("utf-8"))
    changed = {**fields, "format": FORMAT + 1, "a_new_field": [1]}
    (space / "contract.json").write_text(json.dumps(changed), "utf-8")
    for path in space.glob("*.h5"):
        as_newer(path)


def test_the_files_are_what_they_were() -> None:
    assert EXPECTED["sha256"] == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(SPACE.iterdir())
    }
    assert sum(map(len, everything_below(CACHE.parent).values())) < 200_000


def test_it_is_read_to_the_bit() -> None:
    space = open_space(cache=CACHE)
    assert space.space.contract.digest == EXPECTED["contract"]
    assert list(space.space.contract.views) == EXPECTED["views"]
    assert space.has(TEXTS).all()
    assert not space.has(EXPECTED["absent"]).any()
    for layer in space.layers:
        for pooling in space.poolings:
            expected = [
                fields["states"][f"layer_{layer:02d}/{pooling}"]
                for fields in EXPECTED["texts"].values()
            ]
            got = space.features(TEXTS, layer=layer, pooling=pooling)
            np.testing.assert_array_equal(
                got.view(np.uint32), np.array(expected, np.float32).view(np.uint32)
            )
    tokens, truncated = space.space.token_counts(space.space.find(row_keys(TEXTS)))
    assert tokens.tolist() == [fields["n_tokens"] for fields in EXPECTED["texts"].values()]
    assert truncated.tolist() == [fields["truncated"] for fields in EXPECTED["texts"].values()]


def test_keys_are_what_they_were() -> None:
    assert [bytes(key).hex() for key in row_keys(TEXTS)] == [
        fields["key"] for fields in EXPECTED["texts"].values()
    ]


def test_verify_finds_nothing(run: Run) -> None:
    told = run("verify", "--cache", CACHE)
    assert told.exit_code == 0, told.stderr


def test_plain_h5py_reads_it() -> None:
    for text, fields in EXPECTED["texts"].items():
        with h5py.File(SPACE / fields["file"], "r") as file:
            assert json.loads(file.attrs["contract"])["format"] == 1
            assert file["keys"][fields["row"]].tobytes().hex() == fields["key"], text
            for view, states in fields["states"].items():
                np.testing.assert_array_equal(file[view][fields["row"]], states)


def test_it_can_be_merged(cache: Path, run: Run) -> None:
    told = run("merge", EXPECTED["space"], "--cache", cache)
    assert told.exit_code == 0, told.stderr
    (shard,) = Space.open(cache / SPACE.name).shards
    assert (shard.n_rows, shard.sealed) == (11, True)
    space = open_space("golden", cache=cache)
    expected = [fields["states"]["layer_02/mean"] for fields in EXPECTED["texts"].values()]
    np.testing.assert_array_equal(
        space.features(TEXTS, layer=2, pooling="mean"), np.array(expected, np.float32)
    )


@pytest.mark.parametrize("what", ["an ordinary shard", "a sealed file", "the space"])
def test_an_older_reader_leaves_a_newer_version_alone(cache: Path, run: Run, what: str) -> None:
    folder = cache / SPACE.name
    if what == "the space":
        as_newer_contract(folder)
    else:
        as_newer(next(folder.glob("shard-*.h5" if what == "an ordinary shard" else "features.h5")))
    before = everything_below(cache)
    with pytest.raises(FormatError, match=NEWER) as caught:
        Space.open(folder)
    assert "Upgrade" in caught.value.cure
    for command in ("ls", "verify", "repair"):
        told = run(command, "--cache", cache)
        assert told.exit_code == 3, (command, told.stderr)
        assert NEWER in " ".join(told.stderr.split())
        assert "Upgrade" in told.stderr
        assert "tiny-" in told.stdout, f"{command} says nothing of the other space"
    after = {
        name: data for name, data in everything_below(cache).items() if not name.endswith("/lock")
    }
    assert after == {name: data for name, data in before.items() if not name.endswith("/lock")}


def test_other_spaces_of_the_cache_still_work(cache: Path, run: Run) -> None:
    as_newer_contract(cache / SPACE.name)
    space = open_space("tiny", cache=cache)
    assert space.n_rows == 7
    assert (space.space.find(rows().keys) >= 0).all()
    listed = json.loads(run("ls", "--cache", cache, "--json").stdout)
    assert [fields["space"] for fields in spaces_of(listed)] == [space.name]
    assert NEWER in " ".join(listed["damaged"])
    told = run("merge", space.name, "--cache", cache)
    assert told.exit_code == 0, told.stderr
    assert Shard.open(cache / space.name / "features.h5").n_rows == 7


def spaces_of(listed: dict[str, Any]) -> list[dict[str, Any]]:
    return list(listed["spaces"])
