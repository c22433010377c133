"""Format 2: widths that differ, ragged views, bfloat16, new poolings, and views added later.

What is written is read here with h5py and NumPy alone; what is read was worked out with NumPy.
"""

from __future__ import annotations

import json
import shutil
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from featcache.cache.columns import CachedRows, RaggedRows
from featcache.cache.contract import Contract
from featcache.cache.folder import contracts_in
from featcache.cache.naming import SEALED
from featcache.cache.shard import Shard
from featcache.cache.space import Space
from featcache.cache.upkeep.gc import collect, unused_rows
from featcache.cache.upkeep.merge import merge
from featcache.cache.upkeep.repair import repair
from featcache.cache.upkeep.verify import verify
from featcache.data.keys import row_keys
from featcache.errors import CacheMissError, ContractError, DamageError
from featcache.features.serving import widest
from tests.cache.test_format import block
from tests.cache.test_shard import contract, rows
from tests.cache.test_space import ORIGIN, make
from tests.golden import CACHE, EXPECTED, SPACE

NARROW, WIDE = "layer_00/mean", "layer_02/mean"
TOKENS = "layer_02/tokens-all"
BITS = "layer_00/tokens-all"
NEW = contract(poolings=("mean", "tokens-all"))


def silent(_: int) -> None:
    """Progress that nobody follows."""


def bits_of(floats: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The bits of bfloat16: the upper half of a float32."""
    return (np.ascontiguousarray(floats).view(np.uint32) >> 16).astype(np.uint16)


def new_rows(n: int, seed: int) -> CachedRows:
    """Rows with all that is new: two widths, a ragged view, and a view of bfloat16."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(0, 4, n)
    lengths[0] = 3  # a ragged view holds a vector at least
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    values = generator.integers(-50, 50, (offsets[-1], 3)).astype(np.float32)
    return CachedRows(
        keys=generator.integers(0, 256, (n, 16), dtype=np.uint8),
        n_tokens=np.maximum(lengths, 1).astype(np.uint32),
        truncated=np.zeros(n, np.bool_),
        features={
            NARROW: generator.integers(-50, 50, (n, 4)).astype(np.float32),
            WIDE: generator.integers(-50, 50, (n, 7)).astype(np.float32),
            BITS: bits_of(generator.integers(-50, 50, (n, 2)).astype(np.float32)),
        },
        ragged={TOKENS: RaggedRows(values, offsets)},
    )


def made(cache: Path, *parts: CachedRows) -> Space:
    space = Space.create(cache, "new", NEW, ORIGIN)
    for part in parts:
        space.add(part, {"written": "2026-01-01"})
    return space.reopened()


@dataclass
class Truth:
    """What a row has to be, view by view."""

    vectors: dict[str, NDArray[np.float32]]


def truth_of(*parts: CachedRows) -> dict[bytes, Truth]:
    truth = {}
    for part in parts:
        for number, key in enumerate(part.keys):
            bits = part.features[BITS][number].astype(np.uint32) << 16
            truth[key.tobytes()] = Truth(
                {
                    NARROW: part.features[NARROW][number],
                    WIDE: part.features[WIDE][number],
                    BITS: bits.view(np.float32),
                    TOKENS: part.ragged[TOKENS].row(number),
                }
            )
    return truth


def check_served(space: Space, truth: dict[bytes, Truth]) -> None:
    """Every row is served, in an order drawn by chance, as it was written."""
    order = np.random.default_rng(3).permutation(len(truth))
    keys = np.array([np.frombuffer(key, np.uint8) for key in truth])[order]
    positions = space.find(keys)
    assert (positions >= 0).all()
    for view, layer, pooling in ((NARROW, 0, "mean"), (WIDE, 2, "mean"), (BITS, 0, "tokens-all")):
        states = space.gather(positions, layer=layer, pooling=pooling)
        assert states.dtype == np.float32
        expected = np.array([truth[key.tobytes()].vectors[view] for key in keys])
        np.testing.assert_array_equal(states, expected)
        loaded = space.load(layer=layer, pooling=pooling)
        np.testing.assert_array_equal(loaded[positions].astype(np.float32), expected)
    ragged = space.gather_ragged(positions, layer=2, pooling="tokens-all")
    assert len(ragged) == len(keys)
    for number, key in enumerate(keys):
        np.testing.assert_array_equal(ragged.row(number), truth[key.tobytes()].vectors[TOKENS])


@pytest.mark.parametrize("mapped", [True, False])
def test_all_that_is_new_is_served_as_it_was_written(tmp_path: Path, *, mapped: bool) -> None:
    parts = [new_rows(9, 0), new_rows(5, 1)]
    space = made(tmp_path, *parts)
    check_served(Space.open(space.path, mapped=mapped), truth_of(*parts))
    assert (space.width_of(0, "mean"), space.width_of(2, "mean")) == (4, 7)
    assert verify(space.path, progress=silent).findings == ()


def test_plain_h5py_reads_what_is_new(tmp_path: Path) -> None:
    part = new_rows(9, 0)
    (shard,) = made(tmp_path, part).shards
    with h5py.File(shard.path, "r") as file:
        assert file[NARROW].shape == (9, 4)
        assert file[WIDE].shape == (9, 7)
        assert file[BITS].dtype == np.uint16
        np.testing.assert_array_equal(file[BITS][:], part.features[BITS])
        offsets, values = file["offsets/" + TOKENS][:], file[TOKENS][:]
        np.testing.assert_array_equal(offsets, part.ragged[TOKENS].offsets)
        np.testing.assert_array_equal(values, part.ragged[TOKENS].values)
    data = shard.path.read_bytes()
    assert struct.unpack_from("<I", data, 8) == (2,)
    header = json.loads(data[32 : 32 + struct.unpack_from("<I", data, 16)[0]])
    assert header["role"] == "rows"
    assert header["datasets"][BITS][2] == "bfloat16"


def test_a_file_that_uses_nothing_new_stays_of_format_1(tmp_path: Path) -> None:
    path = make(tmp_path).add(rows(), {})
    assert struct.unpack_from("<I", path.read_bytes(), 8) == (1,)


def test_merge_seals_what_is_new(tmp_path: Path) -> None:
    """A key that is in two files is kept once, and one view differs in type between the files."""
    parts = [new_rows(9, 0), new_rows(5, 1)]
    floats = (parts[1].features[BITS].astype(np.uint32) << 16).view(np.float32)
    parts.append(
        replace(parts[1], keys=new_rows(5, 2).keys, features={**parts[1].features, BITS: floats})
    )
    space = made(tmp_path, *parts, parts[0])
    merged = merge(space, progress=silent)
    assert (merged.rows, merged.repeats) == (19, 9)
    space = space.reopened()
    (shard,) = space.shards
    assert (shard.path.name, shard.header.version, shard.sealed) == (SEALED, 2, True)
    truth = truth_of(*parts[:2])
    for number, key in enumerate(parts[2].keys):
        twin = truth[parts[1].keys[number].tobytes()]
        truth[key.tobytes()] = twin
    check_served(space, truth)
    assert verify(space.path, progress=silent).findings == ()


@pytest.mark.parametrize("dataset", [NARROW, BITS, TOKENS])
def test_repair_drops_the_damaged_row_alone(tmp_path: Path, dataset: str) -> None:
    part = new_rows(9, 0)
    space = made(tmp_path, part)
    (shard,) = space.shards
    flip(shard, dataset, 0)  # in row 0, which has vectors in every view
    (finding,) = verify(space.path, progress=silent).findings
    assert finding.rows == 1
    assert dataset in finding.what
    done = repair(space.path, progress=silent)
    assert (done.dropped, done.kept) == (1, 8)
    assert verify(space.path, progress=silent).findings == ()
    truth = truth_of(part)
    del truth[part.keys[0].tobytes()]
    check_served(space.reopened(), truth)


def flip(shard: Shard, dataset: str, byte: int) -> None:
    data = bytearray(shard.path.read_bytes())
    data[shard.header.datasets[dataset].offset + byte] ^= 4
    shard.path.unlink()  # open maps keep what they have
    shard.path.write_bytes(data)


def test_damaged_offsets_are_never_followed(tmp_path: Path) -> None:
    space = made(tmp_path, new_rows(9, 0))
    flip(space.shards[0], "offsets/" + TOKENS, 8)
    with pytest.raises(DamageError, match="offsets/"):
        space.reopened().gather_ragged(np.arange(3), layer=2, pooling="tokens-all")
    (finding,) = verify(space.path, progress=silent).findings
    assert finding.rows == 9
    assert repair(space.path, progress=silent).dropped == 9
    assert verify(space.path, progress=silent).findings == ()


@pytest.mark.parametrize("sample", [0.5, 4])
def test_a_sample_of_rows_is_checked(tmp_path: Path, sample: float) -> None:
    space = made(tmp_path, new_rows(9, 0))
    assert verify(space.path, sample=sample, progress=silent).findings == ()


def added(cache: Path) -> tuple[Space, CachedRows, NDArray[np.float32]]:
    """A space of format 1 to whose rows another pooling was added."""
    part = rows()
    space = make(cache)
    space.add(part, {"written": "x"})
    states = np.random.default_rng(5).integers(-50, 50, (7, 6)).astype(np.float32)
    space.reopened().add_views(part.keys, {"written": "y"}, features={"layer_02/max": states})
    return space.reopened(), part, states


def test_a_view_is_added_to_rows_that_are_there(tmp_path: Path) -> None:
    space, part, states = added(tmp_path)
    assert (len(space.shards), len(space.additions), space.n_rows) == (1, 1, 7)
    positions = space.find(part.keys[::-1])
    np.testing.assert_array_equal(space.gather(positions, layer=2, pooling="max"), states[::-1])
    old = space.gather(positions, layer=2, pooling="cls")
    np.testing.assert_array_equal(old, part.features["layer_02/cls"].astype(np.float16)[::-1])
    np.testing.assert_array_equal(space.load(layer=2, pooling="max")[positions], states[::-1])
    assert space.width_of(2, "max") == 6
    assert space.contract == contract()
    assert widest(contracts_in(tmp_path), contract()) == space.path
    assert verify(space.path, progress=silent).findings == ()


def test_an_added_view_lives_through_a_merge_and_goes_with_its_rows(tmp_path: Path) -> None:
    space, part, states = added(tmp_path)
    space.add(rows(5, seed=8), {"written": "z"})
    merge(space.reopened(), progress=silent)
    space = space.reopened()
    assert [shard.sealed for shard in space.shards] == [True]
    positions = space.find(part.keys)
    np.testing.assert_array_equal(space.gather(positions, layer=2, pooling="max"), states)
    everything = np.arange(space.n_rows)
    with pytest.raises(CacheMissError, match=r"5 of 12 rows of tiny-.* have no layer_02/max"):
        space.gather(everything, layer=2, pooling="max")
    removal = unused_rows(space, part.keys[:3], "unused")
    assert removal is not None
    assert removal.rows == 9
    collect(removal, progress=silent)
    space = space.reopened()
    assert (space.n_rows, space.additions[0].n_rows) == (3, 3)
    positions = space.find(part.keys[:3])
    np.testing.assert_array_equal(space.gather(positions, layer=2, pooling="max"), states[:3])


def test_repair_keeps_the_sound_rows_of_an_addition(tmp_path: Path) -> None:
    space, part, states = added(tmp_path)
    flip(space.additions[0], "layer_02/max", 0)
    done = repair(space.path, progress=silent)
    assert (done.dropped, done.kept) == (1, 6)
    space = space.reopened()
    positions = space.find(part.keys[1:])
    np.testing.assert_array_equal(space.gather(positions, layer=2, pooling="max"), states[1:])
    assert (space.find(part.keys) >= 0).all()


def test_only_other_views_of_known_rows_can_be_added(tmp_path: Path) -> None:
    space, part, states = added(tmp_path)
    with pytest.raises(ContractError, match="has layer_02/cls for all its rows"):
        space.add_views(part.keys, {}, features={"layer_02/cls": states})
    with pytest.raises(CacheMissError, match="7 of 7 rows are not in"):
        space.add_views(rows(seed=4).keys, {}, features={"layer_01/max": states})


def test_a_golden_space_takes_a_view_and_stays_a_hit(tmp_path: Path) -> None:
    cache = Path(shutil.copytree(CACHE, tmp_path / "cache"))
    space = Space.open(cache / SPACE.name)
    keys = row_keys(list(EXPECTED["texts"]))
    offsets = np.arange(len(keys) + 1, dtype=np.int64) * 2
    values = np.arange(offsets[-1] * 8, dtype=np.float32).reshape(-1, 8)
    tokens = {"layer_01/tokens": RaggedRows(values, offsets)}
    space.add_views(keys, {"written": "x"}, ragged=tokens)
    merge(space.reopened(), progress=silent)
    space = Space.open(space.path)
    assert space.contract.digest == EXPECTED["contract"]
    ragged = space.gather_ragged(space.find(keys), layer=1, pooling="tokens")
    np.testing.assert_array_equal(ragged.values, values)
    for view, layer, pooling in (("layer_02/mean", 2, "mean"), ("layer_00/cls", 0, "cls")):
        expected = [row["states"][view] for row in EXPECTED["texts"].values()]
        states = space.gather(space.find(keys), layer=layer, pooling=pooling)
        np.testing.assert_array_equal(states, np.array(expected, np.float32))
    assert verify(space.path, progress=silent).findings == ()


def test_the_reader_of_the_page_reads_what_is_new(tmp_path: Path) -> None:
    """`docs/cache-format.md` is enough to write a reader of both versions."""
    names: dict[str, Any] = {}
    exec(compile(block("python"), "docs/cache-format.md", "exec"), names)  # noqa: S102 - our own page
    texts = [f"text {number}" for number in range(9)]
    part = replace(new_rows(9, 0), keys=row_keys(texts))
    space = made(tmp_path, part)
    added_states = np.arange(27, dtype=np.float32).reshape(9, 3)
    space.add_views(part.keys[::-1], {}, features={"layer_09/x": added_states})
    truth = truth_of(part)
    for number, text in enumerate(texts):
        for view, vectors in truth[part.keys[number].tobytes()].vectors.items():
            np.testing.assert_array_equal(names["read"](space.path, text, view), vectors)
        added_state = names["read"](space.path, text, "layer_09/x")
        np.testing.assert_array_equal(added_state, added_states[8 - number])
    assert names["read"](space.path, "another", NARROW) is None


@dataclass(frozen=True, eq=False)
class LaterContract(Contract):
    """A contract of a coming release, with one field more."""

    tokens_at: int | None = None


def test_a_field_that_comes_later_changes_no_hash_at_its_default() -> None:
    fields: dict[str, Any] = vars(contract())
    later = LaterContract(**fields)
    assert later.digest == contract().digest
    assert later.to_file() == contract().to_file()
    changed = replace(later, tokens_at=3)
    assert changed.digest != later.digest
    assert json.loads(changed.to_file())["format"] == 2
    assert json.loads(changed.to_json())["format"] == 1


@pytest.mark.parametrize("pooling", ["Mean", "", "a b", "mean-", "../x", "x/y", "ü", "a" * 65])
def test_a_pooling_out_of_the_grammar_is_damage(tmp_path: Path, pooling: str) -> None:
    space = make(tmp_path)
    fields = json.loads(contract().to_json())
    text = json.dumps({**fields, "poolings": [pooling]})
    (space.path / "contract.json").write_text(text)
    with pytest.raises(DamageError, match="not a contract that can be read"):
        Space.open(space.path)


def test_a_mapped_file_that_is_cut_short_is_damage_and_no_crash(tmp_path: Path) -> None:
    """SIGBUS is the alternative; between the look at the size and the copy nothing can be done."""
    space, _, _ = added(tmp_path)
    copied = Space.open(space.path, mapped=False)
    shard = space.shards[0]
    with shard.path.open("r+b") as file:
        file.truncate(4096)
    for opened in (space, copied):
        with pytest.raises(DamageError, match="shorter while it was being read"):
            opened.gather(np.arange(7), layer=0, pooling="mean")
