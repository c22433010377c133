"""A cache through a long life of additions, interruptions, damage and upkeep, against a plain
dictionary.

Whatever happens in whatever order: a row that is read is what was written; a row that was never
damaged nor removed is found; after a repair nothing is wrong, and only rows whose bytes were hit
are gone.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import featcache
import featcache.durable
from featcache.cache.contract import Contract
from featcache.cache.layout import INDEX, KEYS, Header
from featcache.cache.origin import BackboneOrigin
from featcache.cache.space import Space
from featcache.cache.upkeep.gc import collect, leftovers, unused_rows
from featcache.cache.upkeep.merge import merge
from featcache.cache.upkeep.repair import repair
from featcache.cache.upkeep.verify import verify
from featcache.cache.writer import ShardWriter
from featcache.data.keys import row_keys
from featcache.errors import CacheMissError, ContractError, DamageError, FormatError, MachineError
from tests.cache.test_shard import contract
from tests.cache.upkeep.tools import FailingDisk, KilledError, header_of, quiet

CONTRACT: Contract = contract()
ORIGIN = BackboneOrigin("models/tiny", 3, 2, 48)
N_TEXTS = 24
KEYS_OF_ALL = row_keys([f"text {number}" for number in range(N_TEXTS)])
STATES = (
    np.random.default_rng(0)
    .standard_normal((N_TEXTS, 2, 2, 3))
    .astype(np.float16)
    .astype(np.float32)
)
TOKENS = np.arange(1, N_TEXTS + 1, dtype=np.uint32)
NUMBERS = {bytes(key): number for number, key in enumerate(KEYS_OF_ALL)}

numbers = st.sets(st.integers(0, N_TEXTS - 1), min_size=1)
calls = st.one_of(st.none(), st.none(), st.integers(0, 40))  # of the disk, the first that fails


@dataclass
class _Damage:
    """What was done to one file that was sound before."""

    header: Header
    rows: list[int]
    hit: set[int] = field(default_factory=set)
    no_header: bool = False
    no_copy: bool = False
    gaps: bool = False

    @classmethod
    def nothing(cls, path: Path) -> _Damage:
        header, data = header_of(path), path.read_bytes()
        start = header.datasets[KEYS].offset
        numbers = [
            NUMBERS[data[start + 16 * row : start + 16 * row + 16]] for row in range(header.rows)
        ]
        return cls(header, numbers)

    def flipped(self, place: int) -> None:
        """A row's checksum counts as the row: with its data damaged too, nothing tells which of
        them is right.
        """
        self.no_header |= place < self.header.user_block
        self.no_copy |= place >= self.header.file_bytes - self.header.user_block
        self.gaps |= any(start <= place < end for start, end in self.header.gaps())
        for name, extent in self.header.datasets.items():
            if extent.offset <= place < extent.end and name not in INDEX:
                self.hit.add(
                    self.rows[(place - extent.offset) // (extent.n_bytes // self.header.rows)]
                )

    def cut(self, size: int) -> None:
        self.no_copy = True
        self.no_header |= size < self.header.user_block
        self.gaps |= size < self.header.file_bytes - self.header.user_block
        for name, extent in self.header.datasets.items():
            if name not in INDEX and size < extent.end:
                first = max(size - extent.offset, 0) // (extent.n_bytes // self.header.rows)
                self.hit |= set(self.rows[first:])

    @property
    def may_cost(self) -> set[int]:
        return set(self.rows) if self.no_header and self.no_copy else self.hit


class _Damages:
    """What was done to the files of a space since it was sound."""

    def __init__(self) -> None:
        self.files: dict[tuple[str, int], _Damage] = {}
        self.contract = False

    def of(self, path: Path) -> _Damage:
        key = path.name, path.stat().st_ino  # a sealed file is replaced under its name
        if key not in self.files:
            self.files[key] = _Damage.nothing(path)
        return self.files[key]

    def may_cost(self, shards: list[Path]) -> set[int]:
        """Rows that repair may have to drop. shards: the files before it."""
        if self.contract and all(
            any(name == path.name and damage.gaps for (name, _), damage in self.files.items())
            for path in shards
        ):
            return set(range(N_TEXTS))  # the last copy of the contract may be gone
        return {row for damage in self.files.values() for row in damage.may_cost}


def _drawn(chance: random.Random) -> uuid.UUID:
    return uuid.UUID(int=chance.getrandbits(128), version=4)


class CacheLife(RuleBasedStateMachine):
    """held: numbers of rows that have to be found.  loose: rows that may be there or not, such as
    an interrupted one.

    harmed: whether some file is damaged and not repaired yet; `damages` says which rows that may
    cost.
    """

    def __init__(self) -> None:
        super().__init__()
        chance = random.Random(
            0
        )  # names of shards decide on their order, which has to be the same in each run
        names = mock.patch.object(uuid, "uuid4", partial(_drawn, chance))
        self.names = names
        names.start()
        self.scratch = Path(tempfile.mkdtemp())
        self.cache = self.scratch / "cache"
        self.held: set[int] = set()
        self.loose: set[int] = set()
        self.damages = _Damages()
        self.harmed = False

    def teardown(self) -> None:
        self.names.stop()
        shutil.rmtree(self.scratch)

    @initialize()
    def begin(self) -> None:
        self.path = self.create().path

    def create(self) -> Space:
        return Space.create(self.cache, "tiny", CONTRACT, ORIGIN)

    # -- what users do -----------------------------------------------------------------------------

    @precondition(lambda self: not self.harmed)
    @rule(
        chosen=numbers,
        shard_rows=st.sampled_from([None, 1, 3, 5]),
        fail_at=calls,
        kill=st.booleans(),
    )
    def extract(
        self, chosen: set[int], shard_rows: int | None, fail_at: int | None, kill: bool
    ) -> None:
        """As `featcache.extract` does, without the model; possibly cut short."""
        asked = np.array(sorted(chosen))
        safe: set[int] = set()

        def work() -> None:
            with self.create().writing() as (space, claims):
                missing = asked[space.find(KEYS_OF_ALL[asked]) < 0]
                writer = ShardWriter(space, {"written": "2026-01-01T00:00:00+00:00"}, shard_rows)
                for mine, elsewhere in claims.slices(KEYS_OF_ALL[missing], 10, quiet):
                    assert elsewhere == 0
                    some = missing[mine]
                    writer.add(KEYS_OF_ALL[some], TOKENS[some], TOKENS[some] % 2 == 0, STATES[some])
                    writer.flush()
                    safe.update(some.tolist())
                assert chosen <= set(missing.tolist()) | self.held | self.loose

        if self.interrupted(work, fail_at, kill):
            self.held |= safe
            self.loose |= chosen - self.held
        else:
            self.held |= chosen
            self.loose -= chosen

    @precondition(lambda self: not self.harmed)
    @rule(fail_at=calls, kill=st.booleans())
    def merge(self, fail_at: int | None, kill: bool) -> None:
        done: list[int] = []

        def work() -> None:
            done.append(merge(self.create(), progress=quiet).rows)

        if not self.interrupted(work, fail_at, kill):
            assert len(self.held) <= done[0] <= len(self.held | self.loose)
            assert len(list(self.path.glob("*.h5"))) <= 1

    @precondition(lambda self: not self.harmed)
    @rule(keep=numbers, fail_at=calls, kill=st.booleans())
    def collect_rows(self, keep: set[int], fail_at: int | None, kill: bool) -> None:
        removal = unused_rows(self.create(), KEYS_OF_ALL[sorted(keep)], "")
        if removal is not None:
            cut = self.interrupted(lambda: collect(removal, progress=quiet), fail_at, kill)
            if cut:
                self.loose |= self.held - keep
            else:
                self.loose &= keep
            self.held &= keep

    @rule(age=st.booleans())
    def collect_leftovers(self, age: bool) -> None:
        if age:
            then = time.time() - 4000
            for path in self.path.glob("*.partial"):
                os.utime(path, (then, then))
        for removal in leftovers(self.cache):
            collect(removal, progress=quiet)
        assert not age or not list(self.path.glob("*.partial"))

    # -- what happens to files ---------------------------------------------------------------------

    # Without a shard nothing could be lost, and a contract could be made from nothing.
    @precondition(lambda self: any(self.path.glob("*.h5")))
    @rule(data=st.data(), mask=st.integers(1, 255))
    def flip_a_byte(self, data: st.DataObject, mask: int) -> None:
        shards = sorted(self.path.glob("*.h5"))
        path = data.draw(
            st.sampled_from([*shards, self.path / "contract.json", self.path / "origin.json"])
        )
        content = bytearray(path.read_bytes())
        if not content:
            return
        if path.suffix == ".h5":
            damage = self.damages.of(path)
            parts = [
                (extent.offset, extent.end) for extent in damage.header.datasets.values()
            ]  # else most flips hit headers
            start, end = data.draw(st.sampled_from([(0, len(content)), *parts]))
            start, end = min(start, len(content) - 1), min(end, len(content))
            place = data.draw(st.integers(start, end - 1))
            damage.flipped(place)
        else:
            place = data.draw(st.integers(0, len(content) - 1))
            # A name or number in origin.json that is another one now is taken as it is: nothing
            # depends on it.
            if path.name == "origin.json" and content[place] not in b'{}":,':
                return
            self.damages.contract |= path.name == "contract.json"
        content[place] ^= mask
        path.write_bytes(content)
        self.harmed = True

    @precondition(lambda self: any(self.path.glob("*.h5")))
    @rule(data=st.data(), longer=st.booleans())
    def change_a_size(self, data: st.DataObject, longer: bool) -> None:
        shards = sorted(self.path.glob("*.h5"))
        path = data.draw(st.sampled_from(shards))
        content = path.read_bytes()
        damage = self.damages.of(path)
        if longer:
            path.write_bytes(content + bytes(data.draw(st.integers(1, 5000))))
            damage.no_copy = True
        else:
            size = data.draw(st.integers(0, len(content)))
            path.write_bytes(content[:size])
            if size < len(content):
                damage.cut(size)
        self.harmed = True

    # -- what helps --------------------------------------------------------------------------------

    @precondition(lambda self: self.harmed)
    @rule(fail_at=calls, kill=st.booleans())
    def repair(self, fail_at: int | None, kill: bool) -> None:
        shards = list(self.path.glob("*.h5"))
        if self.interrupted(lambda: repair(self.path, progress=quiet), fail_at, kill):
            self.held -= (lost := self.held & self.damages.may_cost(shards))
            self.loose |= lost
            self.harmed = True
            return
        findings = verify(self.path, progress=quiet).findings
        assert not findings, findings
        lost = self.held & self.damages.may_cost(shards)
        self.held -= lost
        self.loose |= lost
        self.damages, self.harmed = _Damages(), False
        self.begin_anew()

    @rule()
    def verify(self) -> None:
        findings = verify(self.path, progress=quiet).findings
        assert self.harmed or not findings
        assert {finding.kind for finding in findings} <= {"damage", "newer"}

    def interrupted(self, work: object, fail_at: int | None, kill: bool) -> bool:
        """Do the work on a disk that fails, or until the process is killed; was it?"""
        assert callable(work)
        if fail_at is None:
            work()
            self.begin_anew()
            return False
        disk = FailingDisk(fail_at, KilledError() if kill else OSError(errno.EIO, "gone"))
        with mock.patch.object(featcache.durable, "os", disk):
            try:
                work()
            except (KilledError, MachineError):
                assert disk.failed
        self.begin_anew()
        return disk.failed

    def begin_anew(self) -> None:
        """Of a space without rows nothing need be left."""
        if not self.harmed and not any(self.path.glob("*.h5")):
            self.create()

    @invariant()
    def reads_are_right(self) -> None:
        try:
            space = Space.open(self.path)
            positions = space.find(KEYS_OF_ALL)
        except (DamageError, FormatError, ContractError, CacheMissError):
            assert self.harmed
            return
        found = positions >= 0
        if not self.harmed:
            assert self.held <= set(np.flatnonzero(found).tolist()) <= self.held | self.loose
        for (i, layer), (j, pooling) in (
            (a, b) for a in enumerate(CONTRACT.layers) for b in enumerate(CONTRACT.poolings)
        ):
            try:
                got = space.gather(positions[found], layer=layer, pooling=pooling)
            except DamageError:
                assert self.harmed
            else:
                np.testing.assert_array_equal(got, STATES[found, i, j])
        try:
            tokens, truncated = space.token_counts(positions[found])
        except DamageError:
            assert self.harmed
        else:
            np.testing.assert_array_equal(tokens, TOKENS[found])
            np.testing.assert_array_equal(truncated, TOKENS[found] % 2 == 0)


CacheLife.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestCacheLife = CacheLife.TestCase
