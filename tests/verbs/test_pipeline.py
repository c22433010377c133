"""The pass as a pipeline: side by side, the same features, and an error of any thread ends all of
it cleanly.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import datasets
import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import featcache
from featcache.cache.space import Space
from featcache.cache.writer import ShardWriter
from featcache.data.keys import row_keys
from featcache.data.survey import Survey
from featcache.errors import BackboneError, DataFileError, MachineError
from featcache.extraction import engine, reader, writer
from featcache.verbs.plan import plan
from tests.conftest import sentences
from tests.faults.calls import Call, watched

TEXTS = sentences(300, seed=4)


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert {one for one in threading.enumerate() if one.name.startswith("featcache")} <= before


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of 40 rows, the first of 16; the tokenizer is given 7 texts at a time, and pieces have
    50 rows.
    """
    monkeypatch.setattr(engine, "SLICE_ROWS", 40)
    monkeypatch.setattr(engine, "FIRST_ROWS", 16)
    monkeypatch.setattr(reader, "_TOKENIZED_TOGETHER", 7)
    monkeypatch.setitem(Survey.of.__func__.__kwdefaults__, "chunk_rows", 50)  # type: ignore[attr-defined]


def save(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def states_in(cache: Path, texts: list[str]) -> NDArray[np.float32]:
    return featcache.open_space(cache=cache).features(texts, layer=2, pooling="mean")


def shards_in(cache: Path) -> list[int]:
    sizes = []
    for path in cache.glob("*/*.h5"):
        with h5py.File(path) as file:
            sizes.append(len(file["keys"]))
    return sorted(sizes)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("shard_rows", [None, 8, 25])
def test_many_slices_give_what_one_gives(
    encoder: Path, tmp_path: Path, shard_rows: int | None
) -> None:
    data = save(tmp_path / "texts.jsonl", [*TEXTS, *TEXTS[:20]])
    done = featcache.extract(
        data, backbone=encoder, cache=tmp_path / "many", dtype="float32", shard_rows=shard_rows
    )
    assert (done.rows, done.unique, done.computed, done.truncated) == (320, 300, 300, 0)
    assert 0 <= done.wait_seconds <= done.seconds
    sizes = {None: [4, 16, *[40] * 7], 8: [4, *[8] * 37], 25: [25] * 12}
    assert shards_in(tmp_path / "many") == sizes[shard_rows], (
        "slices are multiples of the shards asked for"
    )
    alone = [
        states_in_one(encoder, tmp_path / str(number), TEXTS[number])
        for number in (0, 15, 16, 150, 299)
    ]
    np.testing.assert_allclose(
        states_in(tmp_path / "many", [TEXTS[i] for i in (0, 15, 16, 150, 299)]), alone, atol=2e-3
    )


def states_in_one(encoder: Path, cache: Path, text: str) -> NDArray[np.float32]:
    featcache.extract([text], backbone=encoder, cache=cache, dtype="float32")
    state: NDArray[np.float32] = states_in(cache, [text])[0]
    return state


@pytest.mark.usefixtures("small")
def test_texts_that_are_cut_off_and_hits_are_counted_over_all_slices(
    encoder: Path, tmp_path: Path
) -> None:
    texts = [*TEXTS[:90], "cat " * 60, *TEXTS[90:], "dog " * 70]
    first = featcache.extract(texts[:91], backbone=encoder, cache=tmp_path, dtype="float32")
    assert (first.computed, first.truncated) == (91, 1)
    planned = plan(texts, backbone=encoder, cache=tmp_path, dtype="float32")
    done = featcache.extract(texts, backbone=encoder, cache=tmp_path, dtype="float32")
    assert (done.hits, done.computed, done.truncated) == (91, 211, 2)
    assert (planned.hits, planned.misses, planned.tokens, planned.truncated) == (
        91,
        211,
        done.tokens,
        1,
    )


def test_a_text_that_does_not_fit_into_memory_alone_is_named(encoder: Path, tmp_path: Path) -> None:
    def little_memory(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        if isinstance(module, torch.nn.Embedding) and args[0].numel() > 20:
            raise torch.OutOfMemoryError

    data = save(tmp_path / "texts.jsonl", [*TEXTS[:70], "cat " * 30, *TEXTS[70:]])
    hook = torch.nn.modules.module.register_module_forward_pre_hook(little_memory)
    try:
        with pytest.raises(
            MachineError, match=r"texts\.jsonl, row 71: a text of 32 tokens alone does not fit"
        ):
            featcache.extract(data, backbone=encoder, cache=tmp_path / "cache", dtype="float32")
    finally:
        hook.remove()
    assert (
        featcache.extract(
            data, backbone=encoder, cache=tmp_path / "cache", dtype="float32"
        ).computed
        == 301
    )


@pytest.mark.usefixtures("small")
def test_a_streaming_data_set_is_extracted_and_found_again(encoder: Path, tmp_path: Path) -> None:
    def generate() -> Iterator[dict[str, Any]]:
        for number, text in enumerate(TEXTS):
            yield {"text": text, "number": number}

    data = datasets.IterableDataset.from_generator(generate)
    done = featcache.extract(data, backbone=encoder, cache=tmp_path, dtype="float32")
    assert (done.rows, done.computed) == (300, 300)
    assert featcache.extract(TEXTS, backbone=encoder, cache=tmp_path, dtype="float32").hits == 300


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small")
def test_a_file_that_changes_during_the_pass_ends_it_and_nothing_wrong_is_kept(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = save(tmp_path / "texts.jsonl", TEXTS)
    begin = engine.run_pass

    def changed(*arguments: Any) -> Any:
        save(data, [*TEXTS[:120], "another text now", *TEXTS[121:]])
        return begin(*arguments)

    monkeypatch.setattr(import_module("featcache.extraction.run"), "run_pass", changed)
    with pytest.raises(DataFileError, match="row 121 holds another text"):
        featcache.extract(data, backbone=encoder, cache=tmp_path / "cache", dtype="float32")
    space = featcache.open_space(cache=tmp_path / "cache")
    assert space.n_rows == 96, "the slices before are kept"
    assert space.has(TEXTS).sum() == 96
    assert not space.has(["another text now"]).any()


@pytest.mark.usefixtures("small")
def test_a_tokenizer_that_fails_ends_the_pass_and_what_was_computed_is_kept(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from featcache.backbone import batching

    real = batching.tokenize

    def failing(tokenizer: Any, texts: list[str], **how: Any) -> Any:
        if TEXTS[100] in texts:
            msg = "no tokens today"
            raise RuntimeError(msg)
        return real(tokenizer, texts, **how)

    monkeypatch.setattr(batching, "tokenize", failing)
    with pytest.raises(RuntimeError, match="no tokens today"):
        featcache.extract(TEXTS, backbone=encoder, cache=tmp_path, dtype="float32")
    assert featcache.open_space(cache=tmp_path).has(TEXTS).tolist() == [True] * 96 + [False] * 204


@pytest.mark.usefixtures("small")
def test_a_model_that_fails_ends_the_pass_and_what_was_computed_is_kept(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from featcache.backbone import forward

    real = forward.halved

    def infinite(states: NDArray[np.float32]) -> NDArray[Any]:
        infinite.calls += 1  # type: ignore[attr-defined]
        return real(states) if infinite.calls < 4 else np.full_like(states, np.inf)  # type: ignore[attr-defined]

    infinite.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(forward, "halved", infinite)
    with pytest.raises(BackboneError, match="gives NaN or infinity for the data, row"):
        featcache.extract(TEXTS, backbone=encoder, cache=tmp_path, dtype="float32")
    assert 0 < featcache.open_space(cache=tmp_path).n_rows < 300


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("at", [1, 3])
def test_a_disk_that_is_full_ends_the_pass_and_shards_before_are_kept(
    encoder: Path, tmp_path: Path, at: int
) -> None:
    shards = 0

    def full(call: Call, go: Any) -> Any:
        nonlocal shards
        if call.name == "open" and call.writes and "/shard-" in call.path:
            shards += 1
        if call.name == "pwrite" and "/shard-" in call.path and shards == at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return go()

    cache = tmp_path / "cache"
    with (
        watched(cache, full),
        pytest.raises(
            MachineError, match=r"shard-.* could not be written: No space left"
        ) as caught,
    ):
        featcache.extract(TEXTS, backbone=encoder, cache=cache, dtype="float32", shard_rows=8)
    assert "Free space" in caught.value.cure
    assert shards_in(cache) == [8] * (at - 1)
    assert not list(cache.glob("*/*.partial"))
    done = featcache.extract(TEXTS, backbone=encoder, cache=cache, dtype="float32")
    assert done.hits == 8 * (at - 1)


# -- the two sides of the model --------------------------------------------------------------------


def test_states_wait_for_room_and_that_is_counted(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(call: Call, go: Any) -> Any:
        if call.name == "fsync":
            time.sleep(0.02)
        return go()

    done = featcache.extract(TEXTS[:2], backbone=encoder, cache=tmp_path, dtype="float32")
    space = Space.open(Path(done.path))
    monkeypatch.setattr(writer, "_WAITING_BYTES", 2_000)
    states = np.zeros((2, 3, 2, 32), dtype=np.float16)  # 768 bytes
    counts, cut = np.full(2, 3, dtype=np.uint32), np.zeros(2, dtype=np.bool_)
    with (
        watched(tmp_path, slow),
        writer.StateWriter(
            ShardWriter(space, space.shards[0].provenance, 2), SimpleQueue()
        ) as writing,
    ):
        for number in range(9):
            writing.put(row_keys(TEXTS[10 + 2 * number : 12 + 2 * number]), counts, cut, states)
            assert writing._bytes_put - writing._bytes_written <= 2_000 + states.nbytes
        assert writing.wait_seconds > 0.1
    assert writing.n_written == 18
    assert space.reopened().n_rows == 20
