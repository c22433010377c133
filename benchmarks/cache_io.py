"""What the cache costs and gains against plain files: opening, looking up, gathering, reading,
writing, merging.

    python benchmarks/cache_io.py [--rows 1000000 --rows …] [--dim 384] [--folder DIR] [--json]
    python benchmarks/cache_io.py --pass [--texts 5000] [--data FILE] [--json]

The first form writes a space of one float16 view with featcache, as several shards and, merged, as
one sealed file; and the same rows as .npy and as contiguous HDF5 written with h5py. Everything is
read from memory (the file cache), so it is the code that is measured and not the disk, but for
writing. Figures are medians of runs in turns.

The second form is the price of safety: one pass of a backbone whose rows go through featcache's
writer (checksums, fsync, claims), in turns with the same pass appending its batches to plain
resizable HDF5 datasets.

Before times are compared, the compared results must be equal. Exit code 1: they are not, or a
figure misses its bound.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import h5py
import numpy as np
from cache_files import (
    LAYER,
    POOLING,
    VIEW,
    Chunks,
    Files,
    linked,
    make_files,
    write_featcache,
    write_plain,
)
from cache_pass import price_of_safety
from common import machine, machine_line, plain_table, run
from numpy.typing import NDArray

from featcache.cache.space import Space
from featcache.cache.upkeep.merge import merge
from featcache.durable import free_bytes
from featcache.wording import megabytes

FEW, MANY = 256, 100_000  # keys looked up, rows gathered
SMALL_DIM, LARGE_ROWS = 16, 10_000_000  # so many rows are about keys, not about bytes
COPIES = 5  # of the rows on the disk at one time: shards, sealed, .npy, HDF5, one being written
WHOLE = 64 << 20  # bytes from which on reading is about bytes and not about opening files
GB_PER_SECOND, OF_NUMPY, GATHER_MS, OPEN_SECONDS, PRICE = 2.0, 0.9, 0.5, 1.0, 3.0

PEAK = """
import resource, sys, tracemalloc
from pathlib import Path
import numpy as np
from featcache.cache.space import Space

def resident():
    status = Path("/proc/self/status")  # ru_maxrss would begin with the parent's
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))

keys, traced = np.load(sys.argv[2]), sys.argv[3] == "traced"
before = resident()
if traced:
    tracemalloc.start()
assert (Space.open(Path(sys.argv[1])).find(keys) >= 0).all()
print(tracemalloc.get_traced_memory()[1] if traced else resident() - before)
"""


@dataclass(frozen=True)
class Figure:
    """One measured figure. required: the bound that it has to keep; None where it is only shown."""

    name: str
    value: float
    unit: str
    required: float | None = None
    at_least: bool = False

    @property
    def kept(self) -> bool:
        if self.required is None:
            return True
        return self.value >= self.required if self.at_least else self.value <= self.required

    def cells(self) -> list[str]:
        bound = (
            ""
            if self.required is None
            else f"{'≥' if self.at_least else '≤'} {self.required:g} {self.unit}"
        )
        return [
            self.name,
            f"{self.value:,.4g} {self.unit}",
            bound if self.kept else f"{bound}  MISSED",
        ]


def nothing() -> None:
    """What most measurements do before a run."""


def in_turns(
    variants: Mapping[str, Callable[[int], object]],
    repeats: int,
    budget: float,
    before: Callable[[], None] = nothing,
) -> dict[str, float]:
    """Median seconds of each variant, run in turns; each is given the number of the round.

    The first round warms up. A variant that has used up `budget` seconds sits out the rounds that
    are left.
    before: called before each run, off the clock.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(repeats + 1):
        for name, variant in variants.items():
            if sum(seconds[name]) > budget:
                continue
            before()
            started = time.perf_counter()
            result = variant(number)
            seconds[name].append(time.perf_counter() - started)
            del result  # freeing is not measured
    return {name: statistics.median(taken[1:] or taken) for name, taken in seconds.items()}


def key_dict(file: h5py.File) -> dict[bytes, int]:
    """The obvious index over keys in an HDF5 file."""
    data = file["keys"][:].tobytes()
    return {data[start : start + 16]: start // 16 for start in range(0, len(data), 16)}


def key_array(file: h5py.File) -> tuple[NDArray[np.void], NDArray[np.int64]]:
    """The same as a sorted array: keys as opaque 16 bytes, and their rows."""
    keys = file["keys"][:].view("V16").ravel()
    order = np.argsort(keys)
    return keys[order], order


def in_array(
    index: tuple[NDArray[np.void], NDArray[np.int64]], keys: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """Rows of keys that are in the array, all of them."""
    return index[1][np.searchsorted(index[0], keys.view("V16").ravel())]


def in_dict(index: Mapping[bytes, int], keys: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The same from a dict."""
    return np.array([index[key.tobytes()] for key in keys])


@contextmanager
def plain_index(files: Files) -> Iterator[tuple[h5py.File, dict[bytes, int], Any]]:
    """The HDF5 file with both of its indexes."""
    with h5py.File(files.plain) as file:
        yield file, key_dict(file), key_array(file)


def sorted_rows(dataset: h5py.Dataset, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """What h5py needs for rows in any order: each once, ascending."""
    unique, place = np.unique(rows, return_inverse=True)
    states: NDArray[np.float16] = dataset[unique]
    return states[place].astype(np.float32)


def check_equal(what: str, *results: NDArray[Any]) -> None:
    """Raises ClickException where results differ."""
    if not all(np.array_equal(results[0], other) for other in results[1:]):
        raise click.ClickException(f"{what} differ. Times of different results are not compared.")


def opening(
    files: Files, asked: Sequence[NDArray[np.int64]], repeats: int, budget: float
) -> list[Figure]:
    """From a path to the rows of 256 keys."""

    def featcache_opens(space: Space) -> Callable[[int], NDArray[np.int64]]:
        return lambda number: Space.open(space.path).find(files.keys[asked[number]])

    def plain_opens(
        build: Callable[[h5py.File], Any], find: Callable[[Any, Any], NDArray[np.int64]]
    ) -> Callable[[int], NDArray[np.int64]]:
        def opens(number: int) -> NDArray[np.int64]:
            with h5py.File(files.plain) as file:
                return find(build(file), files.keys[asked[number]])

        return opens

    variants = {
        "sealed": featcache_opens(files.sealed),
        "shards": featcache_opens(files.shards),
        "h5py + dict": plain_opens(key_dict, in_dict),
        "h5py + sorted array": plain_opens(key_array, in_array),
    }
    seconds = in_turns(variants, repeats, budget)
    bound = OPEN_SECONDS if files.shards.n_rows <= LARGE_ROWS else None
    return [
        Figure(f"open and find {FEW} keys, {name}", value, "s", bound if name == "sealed" else None)
        for name, value in seconds.items()
    ]


def finding(
    files: Files, generator: np.random.Generator, repeats: int, budget: float
) -> list[Figure]:
    """Keys looked up in what is open, other ones in each round."""
    figures = []
    with plain_index(files) as (_, as_dict, as_array):
        for count in (FEW, MANY):
            asked = [generator.integers(0, len(files.keys), count) for _ in range(repeats + 1)]
            keys = [files.keys[rows] for rows in asked]
            variants: dict[str, Callable[[int], NDArray[np.int64]]] = {
                "sealed": lambda number, keys=keys: files.sealed.find(keys[number]),  # type: ignore[misc]
                "shards": lambda number, keys=keys: files.shards.find(keys[number]),  # type: ignore[misc]
                "dict": lambda number, keys=keys: in_dict(as_dict, keys[number]),  # type: ignore[misc]
                "sorted array": lambda number, keys=keys: in_array(as_array, keys[number]),  # type: ignore[misc]
            }
            check_equal("rows found", asked[0], *(variant(0) for variant in variants.values()))
            seconds = in_turns(variants, repeats, budget)
            figures += [
                Figure(f"find {count:,} keys, {name}", 1e3 * one, "ms")
                for name, one in seconds.items()
            ]
    return figures


def gathering(
    files: Files, asked: Sequence[NDArray[np.int64]], repeats: int, budget: float
) -> list[Figure]:
    """Rows in any order as float32, other ones in each round, after an epoch has touched every page
    of the maps.
    """
    mapped = np.load(files.npy, mmap_mode="r")
    for rows in np.array_split(np.arange(len(mapped)), max(len(mapped) // 8192, 1)):
        gathered = [
            one.gather(rows, layer=LAYER, pooling=POOLING) for one in (files.sealed, files.shards)
        ]
        check_equal("rows gathered", mapped[rows].astype(np.float32), *gathered)
    with h5py.File(files.plain) as file:
        variants: dict[str, Callable[[int], NDArray[np.float32]]] = {
            "sealed": lambda number: files.sealed.gather(
                asked[number], layer=LAYER, pooling=POOLING
            ),
            "shards": lambda number: files.shards.gather(
                asked[number], layer=LAYER, pooling=POOLING
            ),
            "np memmap": lambda number: np.asarray(mapped[asked[number]]).astype(np.float32),
            "h5py": lambda number: sorted_rows(file[VIEW], asked[number]),
        }
        check_equal("rows gathered", *(variant(0) for variant in variants.values()))
        seconds = in_turns(variants, repeats, budget)
    small = len(files.keys) <= 1_000_000 and mapped.shape[1] <= 384
    return [
        Figure(
            f"gather {FEW} rows, {name}",
            1e3 * value,
            "ms",
            GATHER_MS if small and name == "sealed" else None,
        )
        for name, value in seconds.items()
    ]


def reading(files: Files, repeats: int, budget: float) -> list[Figure]:
    """Everything into memory."""

    def plain(_: int) -> NDArray[np.float16]:
        with h5py.File(files.plain) as file:
            whole: NDArray[np.float16] = file[VIEW][:]
            return whole

    def load(space: Space, *, verify: bool) -> Callable[[int], NDArray[Any]]:
        return lambda _: space.load(layer=LAYER, pooling=POOLING, verify=verify)

    variants: dict[str, Callable[[int], NDArray[Any]]] = {
        "sealed": load(files.sealed, verify=True),
        "sealed, verify=False": load(files.sealed, verify=False),
        "shards": load(files.shards, verify=True),
        "np.load": lambda _: np.load(files.npy),
        "h5py [:]": plain,
    }
    expected = np.load(files.npy, mmap_mode="r")
    for variant in variants.values():
        check_equal("arrays loaded", expected, variant(0))
    rates = {
        name: files.n_bytes / 1e9 / taken
        for name, taken in in_turns(variants, repeats, budget).items()
    }
    large = files.n_bytes >= WHOLE
    bounds = {"sealed": GB_PER_SECOND} if large else {}
    figures = [
        Figure(f"load all, {name}", rate, "GB/s", bounds.get(name), at_least=True)
        for name, rate in rates.items()
    ]
    share = rates["sealed, verify=False"] / rates["np.load"]
    return [
        *figures,
        Figure(
            "load all, verify=False to np.load",
            share,
            "×",
            OF_NUMPY if large else None,
            at_least=True,
        ),
    ]


def writing(
    folder: Path, chunks: Chunks, files: Files, repeats: int, budget: float
) -> list[Figure]:
    """The same float32 rows to the disk, and shards into one sealed file; each is removed again."""
    rows = list(chunks)
    target = folder / "written"

    def fresh() -> None:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()

    variants: dict[str, Callable[[int], object]] = {
        "featcache": lambda _: write_featcache(target, rows, chunks.dim),
        "h5py": lambda _: write_plain(target / "plain.h5", rows, chunks.dim, sync=False),
        "h5py, then fsync": lambda _: write_plain(target / "plain.h5", rows, chunks.dim, sync=True),
        "merge": lambda _: merge(linked(files.shards, target), progress=lambda _: None),
    }
    seconds = in_turns(variants, repeats, budget, before=fresh)
    shutil.rmtree(target)
    return [
        Figure(name if name == "merge" else f"write, {name}", files.n_bytes / 1e9 / taken, "GB/s")
        for name, taken in seconds.items()
    ]


def peaks(files: Files, folder: Path) -> list[Figure]:
    """Memory of one look-up in a new process, imports not counted."""
    np.save(folder / "asked.npy", files.keys[:: max(len(files.keys) // FEW, 1)][:FEW])
    figures = []
    for name, space in (("sealed", files.sealed), ("shards", files.shards)):
        for how in ("traced", "resident"):
            arguments = [
                sys.executable,
                "-c",
                PEAK,
                str(space.path),
                str(folder / "asked.npy"),
                how,
            ]
            answer = subprocess.run(arguments, check=True, capture_output=True, text=True)
            figures.append(
                Figure(
                    f"memory to find {FEW} keys, {name}, {how}",
                    int(answer.stdout) / (1 << 20),
                    "MiB",
                )
            )
    return figures


def measure(folder: Path, n_rows: int, dim: int, repeats: int, budget: float) -> list[Figure]:
    """All figures of one size."""
    chunks = Chunks(n_rows, dim)
    files = make_files(folder, chunks)
    generator = np.random.default_rng(0)
    asked = [generator.integers(0, n_rows, FEW) for _ in range(repeats + 1)]
    figures = opening(files, asked, repeats, budget)
    figures += finding(files, generator, repeats, budget)
    figures += gathering(files, asked, repeats, budget)
    figures += reading(files, repeats, budget)
    figures += writing(folder, chunks, files, repeats, budget)
    return figures + peaks(files, folder)


@click.command(
    help="Measure the cache against .npy and HDF5, or with --pass the price of safety in a pass."
)
@click.option(
    "--rows",
    multiple=True,
    type=click.IntRange(FEW),
    help="Rows of a space [10000, 1000000, 10000000].",
)
@click.option(
    "--dim", type=click.IntRange(1), help="Width of the rows [384, and 16 from 10,000,000 rows on]."
)
@click.option(
    "--repeats",
    default=9,
    show_default=True,
    type=click.IntRange(1),
    help="Measurements of each figure.",
)
@click.option(
    "--budget",
    default=20.0,
    show_default=True,
    help="Seconds after which a figure is not repeated.",
)
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where to write [a temporary folder]."
)
@click.option(
    "--pass",
    "run_pass",
    is_flag=True,
    help="Measure the price of safety in a pass, and nothing else.",
)
@click.option(
    "--texts", default=5000, show_default=True, type=click.IntRange(1), help="Of the pass."
)
@click.option(
    "--data", type=click.Path(exists=True, path_type=Path), help="Texts of the pass [the demo's]."
)
@click.option(
    "--backbone", help="Of the pass: model folder or hub id [MiniLM of the extra `demo`]."
)
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on stdout; the tables go to stderr."
)
def main(
    *,
    rows: tuple[int, ...],
    dim: int | None,
    repeats: int,
    budget: float,
    folder: Path | None,
    run_pass: bool,
    texts: int,
    data: Path | None,
    backbone: str | None,
    as_json: bool,
) -> None:
    """Read the options, measure, and report."""
    report: dict[str, list[Figure]] = {}
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    sizes = [] if run_pass else rows or (10_000, 1_000_000, LARGE_ROWS)
    for n_rows in sizes:
        width = dim or (SMALL_DIM if n_rows >= LARGE_ROWS else 384)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            needed, free = COPIES * n_rows * (width * 2 + 64), free_bytes(Path(place))
            if needed > free:
                raise click.ClickException(
                    f"{place} has {megabytes(free)} free; this needs {megabytes(needed)}."
                )
            report[f"{n_rows:,} rows × {width} float16"] = measure(
                Path(place), n_rows, width, repeats, budget
            )
    if run_pass:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            title, prices, seconds = price_of_safety(Path(place), data, texts, backbone, repeats)
        figures = [Figure(f"one pass, {name}", value, "s") for name, value in seconds.items()]
        report[title] = figures + [
            Figure(name, value, "%", PRICE if name.startswith("price") else None)
            for name, value in prices.items()
        ]
    for title, figures in report.items():
        table = plain_table(["figure", "value", "required"], [one.cells() for one in figures])
        click.echo(f"{title}\n\n{table}\n", err=as_json)
    click.echo(machine_line(), err=as_json)
    if as_json:
        cases = {
            title: [{**vars(one), "kept": one.kept} for one in figures]
            for title, figures in report.items()
        }
        click.echo(
            json.dumps(
                {"benchmark": "cache_io", "cases": cases, "machine": machine()}, ensure_ascii=False
            )
        )
    missed = [one.name for figures in report.values() for one in figures if not one.kept]
    if missed:
        raise click.ClickException(f"missed: {'; '.join(missed)}")


if __name__ == "__main__":
    run(main)
