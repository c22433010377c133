"""The price of safety, for `cache_io.py --pass`: one pass with featcache's writer, and with plain
HDF5 instead.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click
import h5py
import numpy as np
from common import backbone_or_minilm
from numpy.typing import NDArray

from featcache.backbone.batching import Tokens, tokenize
from featcache.backbone.forward import Pooled, pooled_states
from featcache.backbone.load import load_backbone
from featcache.backbone.model import Backbone
from featcache.cache.contract import Contract, dataset_name
from featcache.cache.memo import Memo
from featcache.cache.writer import ShardWriter
from featcache.data.keys import row_keys
from featcache.data.read import read
from featcache.data.texts import TextOptions, render
from featcache.demo.docstrings import docstrings
from featcache.extraction.engine import SLICE_ROWS
from featcache.features.request import BackboneChoice, Resolved, make_space, resolve

_T = TypeVar("_T")
_CHUNK_ROWS = 1024  # of a resizable dataset, which has to be in chunks

Sink = Callable[[NDArray[np.int64], Tokens, Pooled], object]
"""Takes a batch: which texts, their tokens, their states."""


@dataclass
class Pass:
    """Texts to be run through a backbone. write_seconds: of the last run, spent on writing."""

    model: Backbone
    resolved: Resolved
    backbone: str
    texts: Sequence[str]
    keys: NDArray[np.uint8]
    write_seconds: float = 0.0

    @property
    def contract(self) -> Contract:
        return self.resolved.contract

    def run(self, rows: NDArray[np.int64], sink: Sink) -> None:
        """Compute texts, as `extract` does, and hand them on batch by batch."""
        tokens = tokenize(
            self.model.tokenizer,
            [self.texts[row] for row in rows],
            max_length=self.contract.max_length,
        )
        contract = self.contract
        for batch in pooled_states(
            self.model, tokens, layers=contract.layers, poolings=contract.poolings
        ):
            self.write(lambda batch=batch: sink(rows[batch.rows], tokens, batch))  # type: ignore[misc]

    def write(self, work: Callable[[], object]) -> None:
        """Do some of the writing, on the clock."""
        started = time.perf_counter()
        work()
        self.write_seconds += time.perf_counter() - started

    def _timed(self, items: Iterator[_T]) -> Iterator[_T]:
        """The items, with what it takes to get them on the clock."""
        while True:
            started = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self.write_seconds += time.perf_counter() - started
            yield item

    def with_featcache(self, folder: Path) -> None:
        """Into a space: claims, checksums, fsync."""
        space = make_space(folder, replace(self.resolved, path=None), self.backbone)
        with space.writing() as (now, claims):
            writer = ShardWriter(now, {"written": "2026-01-01T00:00:00+00:00"})

            def sink(picked: NDArray[np.int64], tokens: Tokens, batch: Pooled) -> None:
                counts = tokens.lengths[batch.rows].astype(np.uint32)
                writer.add(self.keys[picked], counts, tokens.truncated[batch.rows], batch.states)

            for rows, _ in self._timed(claims.slices(self.keys, SLICE_ROWS, lambda _: None)):
                self.run(rows, sink)
                self.write(writer.flush)

    def with_h5py(self, folder: Path) -> None:
        """Into resizable datasets of one HDF5 file: neither checksums nor fsync, lost if it is
        killed.
        """
        folder.mkdir(parents=True)
        views = [(i, j, name) for name, (i, j) in self._views().items()]
        width = self.resolved.facts.hidden_size
        with h5py.File(folder / "plain.h5", "w") as file:
            facts = {
                "keys": (np.uint8, (16,)),
                "n_tokens": (np.uint32, ()),
                "truncated": (np.uint8, ()),
            }
            for name, (kind, rest) in {
                **facts,
                **{name: (np.float16, (width,)) for *_, name in views},
            }.items():
                file.create_dataset(
                    name, (0, *rest), kind, maxshape=(None, *rest), chunks=(_CHUNK_ROWS, *rest)
                )

            def append(name: str, values: NDArray[Any]) -> None:
                start = len(file[name])
                file[name].resize(start + len(values), axis=0)
                file[name][start:] = values

            def sink(picked: NDArray[np.int64], tokens: Tokens, batch: Pooled) -> None:
                append("keys", self.keys[picked])
                append("n_tokens", tokens.lengths[batch.rows])
                append("truncated", tokens.truncated[batch.rows])
                for i, j, name in views:
                    append(name, batch.states[:, i, j].astype(np.float16))

            for start in range(0, len(self.texts), SLICE_ROWS):
                self.run(np.arange(start, min(start + SLICE_ROWS, len(self.texts))), sink)
            self.write(file.flush)

    def check(self, cache: Path, folder: Path) -> None:
        """Raises ClickException where the two wrote different rows."""
        space = make_space(cache, replace(self.resolved, path=None), self.backbone)
        with h5py.File(folder / "plain.h5") as file:
            positions = space.find(file["keys"][:])
            for name in self._views():
                layer, pooling = name.removeprefix("layer_").split("/")
                if not np.array_equal(
                    space.gather(positions, layer=int(layer), pooling=pooling), file[name][:]
                ):
                    raise click.ClickException(
                        f"{name} differs. Times of different results are not compared."
                    )

    def _views(self) -> dict[str, tuple[int, int]]:
        return {
            dataset_name(layer, pooling): (i, j)
            for i, layer in enumerate(self.contract.layers)
            for j, pooling in enumerate(self.contract.poolings)
        }


def texts_of(data: Path | None, count: int) -> list[str]:
    """The first different texts of a file, or of the demo."""
    found = (
        [one.text for one in docstrings()]
        if data is None
        else render(read(data), TextOptions()).rendered
    )
    return list(dict.fromkeys(found))[:count]


def price_of_safety(
    folder: Path, data: Path | None, count: int, backbone: str | None, repeats: int
) -> tuple[str, dict[str, float], dict[str, float]]:
    """Run the pass both ways in turns. Returns a title, prices in percent of the plain pass, and
    all seconds.

    The prices are what featcache's writing takes longer, and all that it takes, which leaves out
    how well plain HDF5 is written. Both are times of writing: their difference is smaller than the
    scatter of whole passes.
    """
    model = backbone_or_minilm(backbone)
    resolved = resolve(BackboneChoice(model.path), folder, Memo())
    contract = resolved.contract
    loaded = load_backbone(
        resolved.folder,
        dtype=contract.dtype,
        device=resolved.device,
        truncation_side=contract.truncation_side,
    )
    texts = texts_of(data, count)
    one = Pass(loaded, resolved, model.path, texts, row_keys(texts))
    one.run(
        np.arange(min(64, len(texts))), lambda *_: None
    )  # the first batch of a process is slower
    kinds = {"featcache": one.with_featcache, "plain h5py": one.with_h5py}
    whole: dict[str, list[float]] = {kind: [] for kind in kinds}
    write: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(repeats):
        for kind in list(kinds)[:: 1 if number % 2 else -1]:
            one.write_seconds, started = 0.0, time.perf_counter()
            kinds[kind](folder / f"{kind}-{number}")
            whole[kind].append(time.perf_counter() - started)
            write[kind].append(one.write_seconds)
        one.check(folder / f"featcache-{number}", folder / f"plain h5py-{number}")
    seconds = {kind: statistics.median(taken) for kind, taken in whole.items()}
    writing = {kind: statistics.median(taken) for kind, taken in write.items()}
    share = {kind: 100 * taken / seconds["plain h5py"] for kind, taken in writing.items()}
    prices = {
        "price of safety, of the pass": share["featcache"] - share["plain h5py"],
        "all of featcache's writing, of the pass": share["featcache"],
    }
    title = f"a pass of {model.name} ({contract.dtype}) over {len(texts):,} texts"
    return (
        title,
        prices,
        {**seconds, **{f"of it writing, {kind}": taken for kind, taken in writing.items()}},
    )
