"""Shards: what is written is plain HDF5, and nothing that is damaged is read."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from featcache.cache.checking import verify_shard
from featcache.cache.columns import CachedRows, write_shard
from featcache.cache.contract import Contract
from featcache.cache.shard import Shard
from featcache.errors import DamageError, FormatError, MachineError


def contract(**changes: Any) -> Contract:
    fields: dict[str, Any] = {
        "weights": "a" * 64,
        "config": {"model_type": "bert"},
        "tokenizer": "b" * 64,
        "code": None,
        "special_tokens": True,
        "max_length": 48,
        "truncation_side": "right",
        "dtype": "float32",
        "quantization": None,
        "layers": (0, 2),
        "poolings": ("mean", "cls"),
    }
    return Contract(**{**fields, **changes})


def rows(n: int = 7, hidden: int = 5, seed: int = 0) -> CachedRows:
    generator = np.random.default_rng(seed)
    names = ["layer_00/mean", "layer_00/cls", "layer_02/mean", "layer_02/cls"]
    return CachedRows(
        keys=generator.integers(0, 256, (n, 16), dtype=np.uint8),
        n_tokens=generator.integers(1, 48, n).astype(np.uint32),
        truncated=generator.integers(0, 2, n).astype(np.bool_),
        features={
            name: generator.standard_normal((n, hidden)).astype(np.float32) for name in names
        },
    )


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    return write_shard(tmp_path, rows(), contract=contract(), provenance={"written": "2026-01-01"})


def test_plain_h5py_reads_what_was_written(shard: Path) -> None:
    expected = rows()
    with h5py.File(shard, "r") as file:
        assert file.userblock_size == 4096
        np.testing.assert_array_equal(file["keys"][:], expected.keys)
        np.testing.assert_array_equal(file["n_tokens"][:], expected.n_tokens)
        np.testing.assert_array_equal(file["truncated"][:], expected.truncated)
        for name, states in expected.features.items():
            assert file[name].dtype == np.float16
            assert file[name].chunks is None
            assert file[name].id.get_offset() % 64 == 0
            np.testing.assert_array_equal(file[name][:], states.astype(np.float16))
        assert json.loads(file.attrs["contract"])["max_length"] == 48


def test_a_reader_of_struct_json_and_numpy_needs_no_hdf5(shard: Path) -> None:
    data = shard.read_bytes()
    magic, version, user_block, size, zero = struct.unpack_from("<8sIIII", data)
    assert (magic, version, zero) == (b"\x93FEATC\r\n", 1, 0)
    (stored,) = struct.unpack_from("<Q", data, 24)
    assert stored == xxhash.xxh3_64_intdigest(data[:24] + data[32:user_block])
    header = json.loads(data[32 : 32 + size])
    assert header["contract"] == contract().digest
    assert header["file_bytes"] == len(data)
    offset, shape, dtype, digest = header["datasets"]["layer_02/cls"]
    states = np.frombuffer(data, dtype, int(np.prod(shape)), offset).reshape(shape)
    np.testing.assert_array_equal(states, rows().features["layer_02/cls"].astype(np.float16))
    assert digest == xxhash.xxh3_64_hexdigest(states.tobytes())
    offset, shape, dtype, _ = header["datasets"]["checksums/layer_02/cls"]
    checksums = np.frombuffer(data, dtype, shape[0], offset)
    assert [xxhash.xxh3_64_intdigest(row.tobytes()) for row in states] == checksums.tolist()


def test_gather_gives_rows_in_the_asked_order(shard: Path) -> None:
    asked = np.array([3, 0, 3, 6])
    got = Shard.open(shard).gather("layer_02/mean", asked)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, rows().features["layer_02/mean"].astype(np.float16)[asked])


def test_values_beyond_float16_are_kept_as_float32(tmp_path: Path) -> None:
    big = rows()
    big.features["layer_02/mean"][2, 3] = 70_000.0
    path = write_shard(tmp_path, big, contract=contract(), provenance={})
    with h5py.File(path, "r") as file:
        assert file["layer_02/mean"].dtype == np.float32
        assert file["layer_02/cls"].dtype == np.float16
    assert Shard.open(path).gather("layer_02/mean", np.array([2]))[0, 3] == 70_000.0


def test_a_header_larger_than_4_kib_grows_the_user_block(tmp_path: Path) -> None:
    many = rows()
    features = {
        f"layer_{layer:02d}/{name}": many.features["layer_00/mean"]
        for layer in range(40)
        for name in ("mean", "cls")
    }
    wide = CachedRows(many.keys, many.n_tokens, many.truncated, features)
    path = write_shard(tmp_path, wide, contract=contract(), provenance={})
    with h5py.File(path, "r") as file:
        assert file.userblock_size == 16384
    verify_shard(Shard.open(path))


def test_no_byte_of_a_shard_can_change_unnoticed(shard: Path) -> None:
    """Every 7th byte and every byte of the header's prefix, each flipped in turn."""
    good = shard.read_bytes()
    expected = {name: Shard.open(shard).read(name).copy() for name in rows().features}
    for place in [*range(64), *range(64, len(good), 7)]:
        bad = bytearray(good)
        bad[place] ^= 0x10
        shard.write_bytes(bad)
        with pytest.raises(DamageError) as caught:
            verify_shard(Shard.open(shard))
        assert str(shard) in caught.value.what
    shard.write_bytes(good)
    for name, states in expected.items():
        np.testing.assert_array_equal(Shard.open(shard).read(name), states)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_shard_is_refused_or_read_right(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Gathering checks rows; whatever it returns is what was written."""
    folder = tmp_path_factory.mktemp("damage")
    path = write_shard(folder, rows(), contract=contract(), provenance={})
    raw = bytearray(path.read_bytes())
    kind = data.draw(st.sampled_from(["flip", "cut", "extend", "zero"]))
    place = data.draw(st.integers(0, len(raw) - 1))
    if kind == "flip":
        raw[place] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del raw[place:]
    elif kind == "extend":
        raw += bytes(data.draw(st.integers(1, 100)))
    else:
        raw[place : place + 16] = bytes(16)
    path.write_bytes(raw)
    try:
        got = Shard.open(path).gather("layer_02/mean", np.arange(7))
    except DamageError:
        return
    np.testing.assert_array_equal(got, rows().features["layer_02/mean"].astype(np.float16))


def test_a_damaged_row_is_named_and_its_neighbours_are_served(shard: Path) -> None:
    data = bytearray(shard.read_bytes())
    size = struct.unpack_from("<I", data, 16)[0]
    offset = json.loads(data[32 : 32 + size])["datasets"]["layer_02/mean"][0]
    data[offset + 3 * 5 * 2] ^= 1  # in row 3 of 5 float16
    shard.write_bytes(data)
    opened = Shard.open(shard)
    assert len(opened.gather("layer_02/mean", np.array([0, 1, 2, 4]))) == 4
    with pytest.raises(DamageError, match="row 3 of layer_02/mean does not match"):
        opened.gather("layer_02/mean", np.array([1, 3]))


def with_header(data: bytes, **changes: Any) -> bytes:
    """A shard's bytes with fields of its header changed, and checksums that fit: what only intent
    can make.
    """
    size, user_block = struct.unpack_from("<I", data, 16)[0], struct.unpack_from("<I", data, 12)[0]
    header = json.loads(data[32 : 32 + size])
    version = changes.pop("version", 1)
    text = json.dumps({**header, **changes}).encode()
    block = bytearray(user_block)
    block[:24] = struct.pack("<8sIIII", data[:8], version, user_block, len(text), 0)
    block[32 : 32 + len(text)] = text
    struct.pack_into(
        "<Q", block, 24, xxhash.xxh3_64_intdigest(bytes(block[:24]) + bytes(block[32:]))
    )
    return bytes(block) + data[user_block:-user_block] + bytes(block)


def test_a_newer_format_is_refused_with_the_cure_and_is_no_damage(shard: Path) -> None:
    shard.write_bytes(with_header(shard.read_bytes(), version=3))
    with pytest.raises(
        FormatError, match="written in format 3; this featcache reads up to 2"
    ) as caught:
        Shard.open(shard)
    assert "Upgrade" in caught.value.cure
    assert caught.value.exit_code == 3


def test_a_flipped_version_is_damage(shard: Path) -> None:
    data = bytearray(shard.read_bytes())
    data[8] = 3
    shard.write_bytes(data)
    with pytest.raises(DamageError, match=r"checksum \(which claims format 3"):
        Shard.open(shard)


def test_a_full_disk_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk's own answer is the one thing replaced here; a real full disk is tried in the
    command line's tests.
    """
    import errno
    import os

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for call in ("posix_fallocate", "fsync", "pwrite", "open", "rename"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            with pytest.raises(MachineError, match="No space left") as caught:
                write_shard(tmp_path, rows(), contract=contract(), provenance={})
            assert caught.value.exit_code == 1
        assert list(tmp_path.iterdir()) == []
