"""What a power cut may leave of a sequence of writes: the model behind the campaign `power`.

After Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014 (ALICE), and harsher than
any one file system. Data of a file are safe once the file has been fsynced, names in a folder once
the folder has. Whatever is not safe yet may be on the disk or not, each operation for itself and in
any order; a write may be there by some of its 512-byte sectors, with the file's new size or
without. Only a rename is atomic.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.faults.calls import Call

SECTOR = 512
_ROOT = 0
_NEVER = 1 << 60

Tree = dict[str, "bytes | None"]  # path -> a file's bytes, None for a folder


@dataclass(frozen=True)
class Operation:
    """One thing that has an effect. target: the inode whose data change, or None where names do.

    names: (folder, name, inode or None) that are set or, with None, removed; all at once.
    synced: an inode that is safe from here on.  said: rows acknowledged here, as numbers.
    """

    target: int | None = None
    offset: int = 0
    data: bytes = b""
    size: Callable[[int], int] | None = None
    names: tuple[tuple[int, str, int | None], ...] = ()
    synced: int | None = None
    said: tuple[int, ...] = ()
    title: str = ""


@dataclass
class Journal:
    """Records calls below a folder, which is empty and safe when it begins. A `calls.Watcher`."""

    operations: list[Operation] = field(default_factory=list)
    _names: dict[int, dict[str, int]] = field(default_factory=lambda: {_ROOT: {}})
    _opened: dict[int, int] = field(default_factory=dict)
    _inodes: int = _ROOT

    def acknowledge(self, numbers: Sequence[int]) -> None:
        """Rows that were promised to be safe at this point."""
        self.operations.append(
            Operation(said=tuple(numbers), title=f"{len(numbers)} rows acknowledged")
        )

    def __call__(self, call: Call, go: Callable[[], Any]) -> Any:
        place = os.lseek(call.arguments[0], 0, os.SEEK_CUR) if call.name == "write" else 0
        result = go()
        record = getattr(self, f"_{call.name}")
        record(call, result, place)
        return result

    def _note(self, call: Call, **fields: Any) -> None:
        self.operations.append(Operation(title=f"{call.name} {call.path}", **fields))

    def _folder(self, path: str) -> tuple[int, str]:
        """The inode of the folder that a path is in, and the last name of the path."""
        *above, name = path.split("/")
        inode = _ROOT
        for one in above:
            inode = self._names[inode][one]
        return inode, name

    def _new(self, call: Call, *, folder: bool) -> int:
        self._inodes += 1
        if folder:
            self._names[self._inodes] = {}
        self._rename_to(call, [(*self._folder(call.path), self._inodes)])
        return self._inodes

    def _rename_to(self, call: Call, names: list[tuple[int, str, int | None]]) -> None:
        for where, name, inode in names:
            if inode is None:
                del self._names[where][name]
            else:
                self._names[where][name] = inode
        self._note(call, names=tuple(names))

    def _open(self, call: Call, handle: int, _place: int) -> None:
        if call.path == ".":
            self._opened[handle] = _ROOT
            return
        where, name = self._folder(call.path)
        if name not in self._names[where] and call.arguments[1] & os.O_CREAT:
            self._new(call, folder=False)
        self._opened[handle] = self._names[where][name]
        assert not call.arguments[1] & os.O_TRUNC, "no file of a cache is opened to be overwritten"

    def _close(self, call: Call, _result: None, _place: int) -> None:
        del self._opened[call.arguments[0]]

    def _write(self, call: Call, n_written: int, place: int) -> None:
        data = bytes(memoryview(call.arguments[1]).cast("B")[:n_written])
        self._note(call, target=self._opened[call.arguments[0]], offset=place, data=data)

    def _pwrite(self, call: Call, n_written: int, _place: int) -> None:
        self._write(call, n_written, call.arguments[2])

    def _ftruncate(self, call: Call, _result: None, _place: int) -> None:
        size = call.arguments[1]
        self._note(call, target=self._opened[call.arguments[0]], size=lambda _: size)

    def _posix_fallocate(self, call: Call, _result: None, _place: int) -> None:
        end = call.arguments[1] + call.arguments[2]
        self._note(call, target=self._opened[call.arguments[0]], size=lambda size: max(size, end))

    def _fsync(self, call: Call, _result: None, _place: int) -> None:
        self._note(call, synced=self._opened[call.arguments[0]])

    def _rename(self, call: Call, _result: None, _place: int) -> None:
        # The new name lies in the same folder of the same watched tree: the cache moves nothing
        # across folders.
        where, name = self._folder(call.path)
        old, new = (os.path.split(os.fspath(one)) for one in call.arguments[:2])
        assert old[0] == new[0], "renamed across folders"
        self._rename_to(call, [(where, new[1], self._names[where][name]), (where, name, None)])

    _replace = _rename

    def _unlink(self, call: Call, _result: None, _place: int) -> None:
        self._rename_to(call, [(*self._folder(call.path), None)])

    _rmdir = _unlink

    def _mkdir(self, call: Call, _result: None, _place: int) -> None:
        self._new(call, folder=True)

    def folders(self) -> set[int]:
        """Inodes of all folders that ever were."""
        return set(self._names)

    def settled(self) -> list[int]:
        """For each operation the number of the fsync that makes it safe."""
        latest: dict[int, int] = {}
        safe = [_NEVER] * len(self.operations)
        for number in range(len(self.operations) - 1, -1, -1):
            one = self.operations[number]
            inodes = {where for where, _, _ in one.names} if one.target is None else {one.target}
            safe[number] = max((latest.get(inode, _NEVER) for inode in inodes), default=_NEVER)
            if one.synced is not None:
                latest[one.synced] = number
        return safe


@dataclass(frozen=True)
class Disk:
    """All that power cuts may leave of a journal."""

    journal: Journal
    safe: list[int]

    @classmethod
    def of(cls, journal: Journal) -> Disk:
        return cls(journal, journal.settled())

    def after(self, cut: int, chance: random.Random, keep: float | None) -> Tree:
        """What is on the disk when the power fails before operation number `cut`.

        keep: the share of unsafe operations that are there whole; 1 and 0 for all and none, None
        for one drawn.
        """
        share = chance.choice((0.1, 0.5, 0.9)) if keep is None else keep
        data: dict[int, bytearray] = {}
        names: dict[int, dict[str, int]] = {inode: {} for inode in self.journal.folders()}
        for one, safe in zip(self.journal.operations[:cut], self.safe, strict=False):
            whole = safe < cut or chance.random() < share
            for where, name, inode in one.names if whole else ():
                if inode is None:
                    names[where].pop(name, None)
                else:
                    names[where][name] = inode
            if one.target is not None:
                _change(
                    data.setdefault(one.target, bytearray()),
                    one,
                    chance,
                    whole=whole,
                    torn=keep is None,
                )
        return dict(_walk(names, data, _ROOT, ""))


def _change(
    content: bytearray, one: Operation, chance: random.Random, *, whole: bool, torn: bool
) -> None:
    """Apply a change of data: all of it, or what a power cut leaves."""
    if one.size is not None:
        if whole:
            _resize(content, one.size(len(content)))
        return
    end = one.offset + len(one.data)
    if whole:
        pieces = [(one.offset, end)]
    elif not torn:
        pieces = []
    else:
        pieces = _torn(one.offset, end, chance)
    reach = max([len(content), *(stop for _, stop in pieces)])
    if torn and not whole and chance.random() < 0.5:
        reach = max(reach, end)  # the size came through, data did not
    _resize(content, reach)
    for start, stop in pieces:
        content[start:stop] = one.data[start - one.offset : stop - one.offset]


def _torn(start: int, end: int, chance: random.Random) -> list[tuple[int, int]]:
    """Parts of a write cut at sectors: none of it, its beginning, or any of its sectors."""
    edges = [start, *range((start // SECTOR + 1) * SECTOR, end, SECTOR), end]
    sectors = list(pairwise(edges))
    way = chance.randrange(3)
    if way == 0:
        return []
    if way == 1:
        return sectors[: chance.randrange(len(sectors) + 1)]
    return [sector for sector in sectors if chance.random() < 0.5]


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _walk(
    names: dict[int, dict[str, int]], data: dict[int, bytearray], folder: int, above: str
) -> Iterator[Any]:
    for name, inode in names[folder].items():
        path = f"{above}{name}"
        if inode in names:
            yield path, None
            yield from _walk(names, data, inode, f"{path}/")
        else:
            yield path, bytes(data.get(inode, b""))


def lay_down(tree: Tree, folder: Path) -> None:
    """Make a tree real."""
    for path, content in tree.items():
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)


def read_back(folder: Path) -> Tree:
    """A real tree, to compare it with the recorded one."""
    paths = sorted(folder.rglob("*"))
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in paths
    }
