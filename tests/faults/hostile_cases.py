"""What a hostile cache may hold. Each case changes a space that was sound; see `hostile`."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash

from featcache.cache.identity import CONTRACT, ORIGIN
from tests.faults.mutate import HEAD, PREFIX, header_of, seal, with_header


@dataclass(frozen=True)
class Stage:
    """Where a case plays. target: the shard to be replaced; sound: the one that stays."""

    cache: Path
    outside: Path

    @property
    def space(self) -> Path:
        return next(self.cache.glob("tiny-*"))

    @property
    def target(self) -> Path:
        return self.space / "shard-0.h5"

    @property
    def sound(self) -> Path:
        return self.space / "shard-1.h5"


Case = Callable[[Stage], None]
CASES: dict[str, Case] = {}
SERVED: set[str] = set()
"""Cases that need not be refused, because they do not concern the rows; nothing may come of them.
"""


def case(build: Case) -> Case:
    CASES[build.__name__.replace("_", " ")] = build
    return build


def served(build: Case) -> Case:
    SERVED.add(build.__name__.replace("_", " "))
    return case(build)


def resealed(data: bytes, fields: dict[str, Any]) -> bytes:
    """A file with these fields in both headers and every checksum right, as one who knows the
    format makes it.
    """
    user_block = PREFIX.unpack_from(data)[2]
    fields = json.loads(json.dumps(fields))
    body = data + bytes(-len(data) % 64)
    fields["file_bytes"] = len(body) + user_block
    spans, place, digest = [], user_block, xxhash.xxh3_64()
    for offset, shape, dtype, _ in fields["datasets"].values():
        spans.append((offset, offset + int(np.prod(shape)) * np.dtype(dtype).itemsize))
    for start, end in [*sorted(spans), (len(body), len(body))]:
        digest.update(body[place:start])
        place = max(place, end)
    fields["rest"] = digest.hexdigest()
    text = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    return bytes(with_header(bytearray(body + bytes(user_block)), text))


def through_hdf5(stage: Stage, change: Callable[[h5py.File], None]) -> None:
    """Change what an HDF5 reader sees, and make all checksums fit."""
    data = stage.target.read_bytes()
    stream = io.BytesIO(data)
    with h5py.File(stream, "r+") as file:
        change(file)
    stage.target.write_bytes(resealed(stream.getvalue(), header_of(data)))


def through_header(stage: Stage, change: Callable[[dict[str, Any]], None]) -> None:
    """Change fields of the header, and make its checksum fit."""
    data = stage.target.read_bytes()
    fields = header_of(data)
    change(fields)
    stage.target.write_bytes(with_header(bytearray(data), json.dumps(fields).encode()))


def replaced(file: h5py.File, link: Any) -> None:
    del file["layer_00/mean"]
    file["layer_00/mean"] = link


def secret(stage: Stage) -> str:
    """An HDF5 file outside the cache."""
    path = stage.outside / "secret.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.full((9, 5), 7, dtype=np.float16)
    return str(path)


@case
def external_link(stage: Stage) -> None:
    link = h5py.ExternalLink(secret(stage), "/x")
    through_hdf5(stage, lambda file: replaced(file, link))


@case
def external_link_beside(stage: Stage) -> None:
    link = h5py.ExternalLink(secret(stage), "/x")
    through_hdf5(stage, lambda file: file.__setitem__("more", link))


@case
def virtual_dataset(stage: Stage) -> None:
    layout = h5py.VirtualLayout((9, 5), np.float16)
    layout[:] = h5py.VirtualSource(secret(stage), "x", (9, 5))

    def change(file: h5py.File) -> None:
        del file["layer_00/mean"]
        file.create_virtual_dataset("layer_00/mean", layout)

    through_hdf5(stage, change)


@case
def external_storage(stage: Stage) -> None:
    def change(file: h5py.File) -> None:
        del file["layer_00/mean"]
        external = [(str(stage.outside / "diary.txt"), 0, 90)]
        file.create_dataset("layer_00/mean", (9, 5), np.float16, external=external)

    through_hdf5(stage, change)


@case
def soft_link_inside(stage: Stage) -> None:
    through_hdf5(stage, lambda file: replaced(file, h5py.SoftLink("/layer_02/mean")))


@case
def soft_link_in_a_circle(stage: Stage) -> None:
    through_hdf5(stage, lambda file: replaced(file, h5py.SoftLink("/layer_00/mean")))


@case
def hard_link_to_another_dataset(stage: Stage) -> None:
    through_hdf5(stage, lambda file: replaced(file, file["layer_02/mean"]))


@case
def groups_in_a_circle(stage: Stage) -> None:
    through_hdf5(stage, lambda file: file["layer_00"].__setitem__("again", file["layer_00"]))


@case
def chunked_dataset(stage: Stage) -> None:
    def change(file: h5py.File) -> None:
        states = file["layer_00/mean"][:]
        del file["layer_00/mean"]
        file.create_dataset("layer_00/mean", data=states, chunks=(3, 5))

    through_hdf5(stage, change)


@case
def compressed_dataset(stage: Stage) -> None:
    def change(file: h5py.File) -> None:
        states = file["layer_00/mean"][:]
        del file["layer_00/mean"]
        file.create_dataset("layer_00/mean", data=states, compression="gzip")

    through_hdf5(stage, change)


@case
def other_dtype_in_hdf5(stage: Stage) -> None:
    def change(file: h5py.File) -> None:
        del file["layer_00/mean"]
        file.create_dataset("layer_00/mean", (9, 5), ">f2")

    through_hdf5(stage, change)


@case
def object_references_in_hdf5(stage: Stage) -> None:
    through_hdf5(
        stage, lambda file: file.__setitem__("refs", np.array([file.ref], dtype=h5py.ref_dtype))
    )


@case
def huge_dims_in_hdf5(stage: Stage) -> None:
    def change(file: h5py.File) -> None:
        del file["layer_00/mean"]
        file.create_dataset("layer_00/mean", (1 << 40, 1 << 20), np.float16)

    through_hdf5(stage, change)


@case
def no_hdf5_at_all(stage: Stage) -> None:
    data = stage.target.read_bytes()
    user_block = PREFIX.unpack_from(data)[2]
    fields = header_of(data)
    wiped = bytearray(len(data) - user_block)
    for offset, shape, dtype, _ in fields["datasets"].values():
        end = offset + int(np.prod(shape)) * np.dtype(dtype).itemsize
        wiped[offset:end] = data[offset:end]
    stage.target.write_bytes(resealed(data[:user_block] + bytes(wiped[user_block:]), fields))


def _header_case(name: str, change: Callable[[dict[str, Any]], None]) -> None:
    CASES[name] = lambda stage: through_header(stage, change)


def _set(place: int, value: Any, name: str = "layer_00/mean") -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields["datasets"][name].__setitem__(place, value)


def _like(name: str, other: str) -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields["datasets"].__setitem__(name, fields["datasets"][other])


_header_case("huge rows", lambda fields: fields.update(rows=1 << 61))
_header_case("rows beyond any number", lambda fields: fields.update(rows=1 << 400))
_header_case("huge dims", _set(1, [1 << 31, 1 << 31]))
_header_case("dims whose product wraps round", _set(1, [1 << 32, 1 << 32]))
_header_case("negative dims", _set(1, [-9, -5]))
_header_case("no dims", _set(1, []))
_header_case("offset outside the file", _set(0, 1 << 40))
_header_case("negative offset", _set(0, -4096))
_header_case("offset in the header", _set(0, 0))
_header_case("fractional offset", _set(0, 4096.5))
_header_case("overlapping datasets", _like("layer_00/mean", "layer_02/mean"))
_header_case("keys over states", _like("keys", "layer_02/mean"))
_header_case("object dtype", _set(2, "object"))
_header_case("structured dtype", _set(2, "f2,O"))
_header_case("wide dtype", _set(2, "float64"))
_header_case("states as integers", _set(2, "uint8"))
_header_case(
    "a name that leaves the file",
    lambda fields: fields["datasets"].update({"../../x": [0, [1], "uint8", ""]}),
)
_header_case("no datasets", lambda fields: fields.update(datasets={}))
_header_case("datasets in a list", lambda fields: fields.update(datasets=[]))
_header_case("an index that is not there", _like("index/entries", "keys"))


def _header_text(name: str, text: bytes) -> None:
    """A header of any bytes, its size and checksum right."""

    def build(stage: Stage) -> None:
        data = stage.target.read_bytes()
        user_block = PREFIX.unpack_from(data)[2]
        size = 1 << (len(text) + HEAD - 1).bit_length()
        block = bytearray(max(user_block, size))
        PREFIX.pack_into(block, 0, *PREFIX.unpack_from(data)[:2], len(block), len(text), 0)
        block[HEAD : HEAD + len(text)] = text
        seal(block)
        stage.target.write_bytes(bytes(block) + data[user_block:-user_block] + bytes(block))

    CASES[name] = build


_header_text("deeply nested header", b"[" * 200_000)
_header_text("deeply nested object", b'{"a":' * 200_000)
_header_text("header of a million digits", b'{"rows": ' + b"9" * 1_000_000 + b"}")
_header_text("header of no text", b"\xff\xfe\x00\x01")
_header_text("empty header", b"")
_header_text("header of one number", b"1e999")


def _prefix_case(name: str, place: int, value: int) -> None:
    def build(stage: Stage) -> None:
        data = bytearray(stage.target.read_bytes())
        struct.pack_into("<I", data, place, value)
        stage.target.write_bytes(data)

    CASES[name] = build


_prefix_case("header of 2 GiB", 12, 1 << 31)
_prefix_case("header of 4 GiB", 12, (1 << 32) - 1)
_prefix_case("header of 0 bytes", 12, 0)
_prefix_case("JSON of 4 GiB", 16, (1 << 32) - 1)


@case
def a_sparse_file_of_a_tebibyte(stage: Stage) -> None:
    os.truncate(stage.target, 1 << 40)


@case
def empty_file(stage: Stage) -> None:
    stage.target.write_bytes(b"")


class _Trap:
    """What a pickle would do if somebody loaded it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (self.path,)


def _pickle(stage: Stage) -> bytes:
    return pickle.dumps(_Trap(str(stage.outside / "executed")))


@case
def pickle_as_shard(stage: Stage) -> None:
    stage.target.write_bytes(_pickle(stage))


@case
def pickle_as_contract(stage: Stage) -> None:
    (stage.space / CONTRACT).write_bytes(_pickle(stage))


def _other_things(name: str, put: Callable[[Stage, Path], None], *, also: bool = True) -> None:
    """Something that is no file, in place of a shard and of the other files that are read."""
    for what in ("shard", CONTRACT, ORIGIN) if also else ("shard",):

        def build(stage: Stage, what: str = what) -> None:
            path = stage.target if what == "shard" else stage.space / what
            moved = path.rename(stage.outside / path.name)
            put(stage, path)
            if path.is_symlink():
                assert moved.exists()

        CASES[f"{name} in place of {what}"] = build


_other_things(
    "a symbolic link to the same outside",
    lambda stage, path: path.symlink_to(stage.outside / path.name),
)
_other_things(
    "a symbolic link to a text", lambda stage, path: path.symlink_to(stage.outside / "diary.txt")
)
_other_things("a symbolic link to itself", lambda _, path: path.symlink_to(path))
_other_things(
    "a symbolic link to nothing", lambda stage, path: path.symlink_to(stage.outside / "nothing")
)
_other_things("an endless device", lambda _, path: path.symlink_to("/dev/zero"))
_other_things("a pipe", lambda _, path: os.mkfifo(path))
_other_things("a folder", lambda _, path: path.mkdir())


@served
def a_pipe_as_memo(stage: Stage) -> None:
    os.mkfifo(stage.cache / "memo.json")


@served
def claims_outside(stage: Stage) -> None:
    """Writers remove claims that nobody holds: not those of a folder that is somebody else's."""
    shutil.rmtree(stage.space / "claims", ignore_errors=True)
    (stage.space / "claims").symlink_to(stage.outside)


@served
def a_claim_outside(stage: Stage) -> None:
    (stage.space / "claims").mkdir(exist_ok=True)
    (stage.space / "claims" / "0").symlink_to(stage.outside / "diary.txt")


@served
def the_lock_outside(stage: Stage) -> None:
    (stage.space / "lock").unlink(missing_ok=True)
    (stage.space / "lock").symlink_to(stage.outside / "diary.txt")


@served
def an_unfinished_file_outside(stage: Stage) -> None:
    (stage.space / "shard-2.h5-0.partial").symlink_to(stage.outside / "diary.txt")


@served
def a_pipe_as_claim(stage: Stage) -> None:
    (stage.space / "claims").mkdir(exist_ok=True)
    os.mkfifo(stage.space / "claims" / "0")


@served
def a_folder_as_claim(stage: Stage) -> None:
    (stage.space / "claims" / "0").mkdir(parents=True)


@served
def a_claim_of_odd_bytes(stage: Stage) -> None:
    (stage.space / "claims").mkdir(exist_ok=True)
    (stage.space / "claims" / "0").write_bytes(b"odd")


@served
def a_pipe_as_lock(stage: Stage) -> None:
    (stage.space / "lock").unlink(missing_ok=True)
    os.mkfifo(stage.space / "lock")


@served
def a_folder_as_lock(stage: Stage) -> None:
    (stage.space / "lock").unlink(missing_ok=True)
    (stage.space / "lock").mkdir()


@served
def an_unfinished_folder(stage: Stage) -> None:
    (stage.space / "shard-2.h5-0.partial").mkdir()


def _text_case(name: str, file: str, text: str) -> None:
    def build(stage: Stage) -> None:
        (stage.space / file).write_text(text)

    CASES[f"{name} {file}"] = build


for _file in (CONTRACT, ORIGIN):
    _text_case("deeply nested", _file, "[" * 200_000)
    _text_case("a million digits as", _file, '{"format": ' + "9" * 1_000_000 + "}")
    _text_case("a number as", _file, "3")
    _text_case("nothing as", _file, "")
_text_case(
    "huge width in",
    ORIGIN,
    json.dumps({"backbone": "x", "hidden_size": 1 << 60, "n_layers": 2, "limit": None}),
)
_text_case(
    "a list as width in",
    ORIGIN,
    json.dumps({"backbone": "x", "hidden_size": [5], "n_layers": 2, "limit": None}),
)
_text_case(
    "a number as backbone in",
    ORIGIN,
    json.dumps({"backbone": 3, "hidden_size": 5, "n_layers": "x", "limit": {}}),
)
