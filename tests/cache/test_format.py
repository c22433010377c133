"""docs/cache-format.md: its reader, run as it stands, reads what featcache wrote; its example is
the golden file.
"""

from __future__ import annotations

import ast
import json
import re
import struct
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

from featcache.cache.columns import CachedRows
from featcache.cache.layout import USER_BLOCKS
from featcache.cache.naming import SEALED
from featcache.cache.shard import Shard
from featcache.cache.space import Space
from featcache.cache.upkeep.merge import merge
from featcache.data.keys import row_keys
from tests.cache.test_shard import contract, rows
from tests.cache.test_space import make
from tests.golden import EXPECTED, SPACE

PAGE = (Path(__file__).parents[2] / "docs" / "cache-format.md").read_text("utf-8")
GOLDEN_SHARD = next(SPACE.glob("shard-*.h5"))
TYPES = {"uint8": "<B", "uint32": "<I", "uint64": "<Q", "float16": "<e"}


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return str(found)


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def table_rows(text: str) -> list[list[str]]:
    lines = [
        line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| ---")
    ]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """The names that the page's reader defines."""
    names: dict[str, Any] = {}
    exec(compile(block("python"), "docs/cache-format.md", "exec"), names)  # noqa: S102 - our own page
    return names


def check_all(file: Any) -> None:
    """Hold a file, opened by the page's reader, to every rule and checksum that the page states."""
    data, n = bytes(file.data), file.rows
    size, length = struct.unpack_from("<II", data, 12)
    assert data[:size] == data[-size:]
    assert data[20:24] == bytes(4)
    assert data[32 + length : size] == bytes(size - 32 - length)
    fields = re.findall(r"^\| `(\w+)` \| \w+ \| ", header_table(), flags=re.MULTILINE)
    assert set(json.loads(data[32 : 32 + length])) == set(fields)
    assert all(offset % 64 == 0 for offset, *_ in file.datasets.values())
    arrays = {name: file.whole(name) for name in file.datasets}
    views = [name for name in arrays if re.fullmatch(r"layer_\d\d+/(mean|cls|last|max)", name)]
    facts = ["keys", "n_tokens", "truncated", "checksums/keys"]
    index = ["index/entries", "index/first", "index/checksums"] if "index/entries" in arrays else []
    assert set(arrays) == {*facts, *views, *(f"checksums/{view}" for view in views), *index}
    for row in range(n):
        parts = [arrays[name][row].tobytes() for name in facts[:3]]
        assert [len(part) for part in parts] == [16, 4, 1]
        assert xxhash.xxh3_64_intdigest(b"".join(parts)) == arrays["checksums/keys"][row]
        for view in views:
            assert (
                xxhash.xxh3_64_intdigest(arrays[view][row].tobytes())
                == arrays[f"checksums/{view}"][row]
            )
            np.testing.assert_array_equal(
                file.state(view, row), arrays[view][row].astype(np.float32)
            )
        assert file.find(arrays["keys"][row].tobytes()) == row
    for view in views:
        assert (arrays[view].dtype == np.float32) == bool(
            (abs(arrays[view].astype(np.float32)) > 65504).any()
        )
    if index:
        keys = [arrays["keys"][row].tobytes() for row in arrays["index/entries"][:, 2]]
        assert all(key < other for key, other in pairwise(keys))
        halves = [struct.unpack(">QQ", key) for key in keys]
        assert arrays["index/entries"][:, :2].tolist() == [list(pair) for pair in halves]
        assert arrays["index/first"].tolist() == [pair[0] for pair in halves[::512]]
        assert len(arrays["index/checksums"]) == -(-n // 512)
        for number, checksum in enumerate(arrays["index/checksums"]):
            piece = arrays["index/entries"][512 * number : 512 * (number + 1)].tobytes()
            assert xxhash.xxh3_64_intdigest(piece) == checksum


def header_table() -> str:
    return PAGE.split("one object with exactly these fields:")[1].split("`offset` is in bytes")[0]


def many_rows(n: int) -> CachedRows:
    """Rows of which three runs of 600, more than a block, have keys with equal first halves."""
    generator = np.random.default_rng(0)
    made = rows(n, seed=9)
    for start in (0, 1000, 2000):
        made.keys[start : start + 600, :8] = generator.integers(0, 256, 8, dtype=np.uint8)
    made.keys[0, :8], made.keys[2599, :8] = 0, 255  # the very first and the very last entry
    return made


def test_the_reader_of_the_page_needs_neither_featcache_nor_hdf5() -> None:
    imported = set()
    for node in ast.walk(ast.parse(block("python"))):
        if isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module))
    assert imported == {"hashlib", "json", "struct", "math", "pathlib", "numpy", "xxhash"}


def test_it_reads_the_golden_cache(page: dict[str, Any]) -> None:
    for text, one in EXPECTED["texts"].items():
        for view, states in one["states"].items():
            got = page["read"](SPACE, text, view)
            np.testing.assert_array_equal(got, np.array(states, np.float32))
            np.testing.assert_array_equal(np.signbit(got), np.signbit(states))
    assert [page["read"](SPACE, text, "layer_00/mean") for text in EXPECTED["absent"]] == [None] * 3


def test_every_rule_holds_in_the_golden_files(page: dict[str, Any]) -> None:
    files = [page["File"](path) for path in sorted(SPACE.glob("*.h5"))]
    assert [file.rows for file in files] == [5, 7]
    for file in files:
        check_all(file)


@pytest.mark.parametrize("sealed", [False, True])
def test_it_reads_what_featcache_writes(
    page: dict[str, Any], tmp_path: Path, *, sealed: bool
) -> None:
    """Over 5 blocks of the index, with runs of equal first halves that go over their ends."""
    space = make(tmp_path)
    parts = [many_rows(2600), rows(40, seed=1)]
    for part in parts:
        part.features["layer_02/mean"][3, 1] = 70_000 * (part is parts[0])
        space.add(part, {"written": "2026-01-01"})
    if sealed:
        merge(space, progress=lambda _: None)
    space = space.reopened()
    files = [page["File"](shard.path) for shard in space.shards]
    assert [file.rows for file in files] == [shard.n_rows for shard in space.shards]
    keys = np.concatenate([part.keys for part in parts])
    order = np.random.default_rng(2).permutation(len(keys))[:400]
    order = np.concatenate([order, [0, 599, 1000, 1599, 2599]])
    positions = space.find(keys[order])
    starts = np.cumsum([0, *(file.rows for file in files)])
    for layer, pooling in ((0, "cls"), (2, "mean")):
        expected = space.gather(positions, layer=layer, pooling=pooling)
        for key, position, states in zip(keys[order], positions, expected, strict=True):
            found = [(number, file.find(key.tobytes())) for number, file in enumerate(files)]
            ((number, row),) = [finding for finding in found if finding[1] is not None]
            assert starts[number] + row == position
            np.testing.assert_array_equal(
                files[number].state(f"layer_{layer:02d}/{pooling}", row), states
            )
    for key in keys[:5]:
        absent = key.copy()
        absent[15] ^= 1
        assert [file.find(absent.tobytes()) for file in files] == [None] * len(files)


def test_every_rule_holds_in_what_featcache_writes(page: dict[str, Any], tmp_path: Path) -> None:
    space = make(tmp_path)
    shard = space.add(rows(1030), {})
    check_all(page["File"](shard))
    merge(space.reopened(), progress=lambda _: None)
    check_all(page["File"](space.path / SEALED))


def test_it_looks_texts_up_over_several_files(page: dict[str, Any], tmp_path: Path) -> None:
    """Of a text in two files the first by name is served, as by featcache."""
    space = make(tmp_path)
    texts = [f"text {number}" for number in range(14)]
    for seed in range(2):
        part = rows(8, seed=seed)
        space.add(
            CachedRows(
                row_keys(texts[6 * seed : 6 * seed + 8]),
                part.n_tokens,
                part.truncated,
                part.features,
            ),
            {},
        )
    opened = Space.open(space.path)
    expected = opened.gather(opened.find(row_keys(texts)), layer=2, pooling="cls")
    got = [page["read"](space.path, text, "layer_02/cls") for text in texts]
    np.testing.assert_array_equal(got, expected)


def test_it_refuses_damage_or_reads_right(page: dict[str, Any], tmp_path: Path) -> None:
    """A byte flipped in every stretch of 61, and files cut off: never another value, never another
    error.
    """
    one = EXPECTED["texts"]["sealed two"]
    (tmp_path / "contract.json").write_bytes((SPACE / "contract.json").read_bytes())
    path = tmp_path / SEALED
    good = (SPACE / SEALED).read_bytes()
    cases = [good[:place] for place in (1, 31, 32, 4096, 9000, len(good) - 1)] + [good + b"\0"]
    places = [*range(32), *range(32, len(good), 61)]
    cases += [good[:place] + bytes([good[place] ^ 0x20]) + good[place + 1 :] for place in places]
    refused = 0
    for bad in cases:
        path.unlink(missing_ok=True)  # the last reader may still have it mapped
        path.write_bytes(bad)
        try:
            got = page["read"](tmp_path, "sealed two", "layer_02/cls")
        except ValueError:
            refused += 1
        else:
            np.testing.assert_array_equal(got, np.array(one["states"]["layer_02/cls"], np.float32))
    assert len(cases) * 0.5 < refused < len(cases)


def test_it_refuses_what_is_newer_or_of_another_contract(
    page: dict[str, Any], tmp_path: Path
) -> None:
    from tests.cache.test_shard import with_header

    path = tmp_path / SEALED
    path.write_bytes(with_header((SPACE / SEALED).read_bytes(), version=3))
    with pytest.raises(ValueError, match="format 3 is newer"):
        page["File"](path)
    space = make(tmp_path / "cache")
    space.add(rows(), {})
    (space.path / "contract.json").write_text(contract(max_length=47).to_json(), "utf-8")
    with pytest.raises(ValueError, match="another contract"):
        page["read"](space.path, "a text", "layer_00/mean")


def test_the_hexdump_is_the_golden_file() -> None:
    data = GOLDEN_SHARD.read_bytes()
    shown = b""
    for line in block("hexdump").splitlines():
        offset, *octets, text = line.split(maxsplit=17)
        piece = bytes.fromhex("".join(octets))
        assert int(offset, 16) == len(shown)
        assert text == "|" + "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece) + "|"
        shown += piece
    assert len(shown) == 64
    assert data.startswith(shown)


def test_the_json_is_the_golden_files() -> None:
    data = GOLDEN_SHARD.read_bytes()
    length = struct.unpack_from("<I", data, 16)[0]
    assert json.loads(data[32 : 32 + length]) == json.loads(block("json"))


def test_the_numbers_of_the_example_are_the_golden_files() -> None:
    data = GOLDEN_SHARD.read_bytes()
    stated = table_rows(section("Example"))[1:]
    assert len(stated) == 11
    for offset, kind, value, meaning in stated:
        place = int(offset)
        if kind == "16 bytes":
            assert data[place : place + 16].hex() == value
            assert bytes(row_keys(["a good film"])[0]).hex() == value
            continue
        (found,) = struct.unpack_from(TYPES[kind], data, place)
        assert value == str(found)
        if kind == "uint64":
            spans = [(int(start), int(end)) for start, end in re.findall(r"(\d+) … (\d+)", meaning)]
            assert (
                xxhash.xxh3_64_intdigest(b"".join(data[start:end] for start, end in spans)) == found
            )
            assert f"`{found:016x}`" in meaning
    gaps = re.findall(r"(\d+)\s…\s(\d+)", section("Example").split("joined for `rest`")[1])
    joined = b"".join(data[int(start) : int(end)] for start, end in gaps)
    header = Shard.open(GOLDEN_SHARD).header
    assert [(int(start), int(end)) for start, end in gaps] == list(header.gaps())
    assert xxhash.xxh3_64_hexdigest(joined) == header.rest
    covered = sum(prod(extent.shape) * extent.dtype.itemsize for extent in header.datasets.values())
    assert len(joined) + covered + 2 * header.user_block == len(data)


def test_the_constants_of_the_page_are_those_of_the_code() -> None:
    for text, digest in ((b"", "2d06800538d394c2"), (b"featcache", "da0ca4d0469f4338")):
        assert xxhash.xxh3_64_hexdigest(text) == digest
        assert f"`{digest}`" in section("Checksums")
    assert f"a power of two from {USER_BLOCKS[0]} to {USER_BLOCKS[-1]:,}" in PAGE
    fields = re.findall(r"`(\w+)`", " ".join(row[0] for row in table_rows(section("Folders"))[1:]))
    assert set(fields) == set(json.loads(contract().to_json()))
