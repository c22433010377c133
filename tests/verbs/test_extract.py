"""extract: whatever the mix of hits, misses and repeats, rows are what an uncached run gives."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import featcache
from featcache.cache.contract import dataset_name
from featcache.data.keys import row_keys
from featcache.errors import BackboneError, CacheMissError, ContractError, InputError
from featcache.progress import Silent
from featcache.verbs.plan import plan
from tests.conftest import everything_below, save_encoder, sentences

TEXTS = sentences(40, seed=1)
POOL = TEXTS[:14]


def extract(texts: Any, backbone: Path, cache: Path, **options: Any) -> featcache.Extraction:
    return featcache.extract(
        {"text": texts}, backbone=backbone, cache=cache, **{"dtype": "float32", **options}
    )


@pytest.fixture(scope="session")
def uncached(
    encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, NDArray[np.float32]]:
    """Every text's states from a cache of its own: text -> (views, H)."""
    cache = tmp_path_factory.mktemp("uncached")
    states = {}
    for number, text in enumerate(POOL):
        done = extract([text], encoder, cache / str(number))
        assert (done.hits, done.computed) == (0, 1)
        states[text] = all_views(cache / str(number), [text])[0]
    return states


def all_views(cache: Path, texts: list[str]) -> NDArray[np.float32]:
    space = featcache.open_space(cache=cache)
    views = [
        space.features(texts, layer=layer, pooling=name)
        for layer in space.layers
        for name in space.poolings
    ]
    return np.stack(views, axis=1)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    runs=st.lists(st.lists(st.sampled_from(POOL), min_size=1, max_size=15), min_size=1, max_size=4),
    shard_rows=st.sampled_from([None, 1, 3]),
)
def test_any_mix_of_hits_misses_and_repeats_gives_what_an_uncached_run_gives(
    runs: list[list[str]],
    shard_rows: int | None,
    encoder: Path,
    uncached: dict[str, NDArray[np.float32]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    cache = tmp_path_factory.mktemp("mix")
    seen: set[str] = set()
    for texts in runs:
        done = extract(texts, encoder, cache, shard_rows=shard_rows)
        assert (done.rows, done.unique) == (len(texts), len(set(texts)))
        assert (done.hits, done.computed) == (len(set(texts) & seen), len(set(texts) - seen))
        seen |= set(texts)
        expected = np.stack([uncached[text] for text in texts])
        np.testing.assert_allclose(
            all_views(cache, texts), expected, atol=2e-3
        )  # float16 of values up to 4


def test_what_extract_wrote_is_what_the_model_says(encoder: Path, tmp_path: Path) -> None:
    """Round the code: raw h5py on one side, Transformers in a plain loop on the other."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    done = extract(TEXTS, encoder, tmp_path, shard_rows=11)
    rows: dict[bytes, dict[str, Any]] = {}
    for path in Path(done.path).glob("*.h5"):
        with h5py.File(path) as file:
            for number, key in enumerate(file["keys"][:]):
                rows[key.tobytes()] = {
                    "mean": file["layer_02/mean"][number],
                    "cls": file["layer_00/cls"][number],
                    "n_tokens": file["n_tokens"][number],
                }
    assert len(rows) == len(TEXTS)
    tokenizer, model = (
        AutoTokenizer.from_pretrained(encoder),
        AutoModel.from_pretrained(encoder).eval(),
    )
    for text, key in zip(TEXTS, row_keys(TEXTS), strict=True):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            hidden = model(ids, output_hidden_states=True).hidden_states
        row = rows[key.tobytes()]
        assert row["n_tokens"] == ids.shape[1]
        np.testing.assert_allclose(row["mean"], hidden[2][0].mean(0), atol=2e-3)
        np.testing.assert_allclose(row["cls"], hidden[0][0, 0], atol=2e-3)


def test_the_facts_of_an_extraction_are_told(encoder: Path, tmp_path: Path) -> None:
    done = extract([*TEXTS, TEXTS[0], "cat " * 60], encoder, tmp_path)
    assert (done.rows, done.unique, done.hits, done.computed, done.truncated) == (42, 41, 0, 41, 1)
    assert done.layers == (0, 1, 2)
    assert done.poolings == ("mean", "cls")
    assert (done.hidden_size, done.dtype, done.attention, done.device) == (
        32,
        "float32",
        "packed",
        "cpu",
    )
    assert done.why_padded is None
    assert done.tokens == sum(len(text.split()) + 2 for text in TEXTS) + 48
    assert done.tokens_per_second is not None
    assert done.path == str(tmp_path / done.space)
    again = extract(TEXTS, encoder, tmp_path)
    assert (again.hits, again.computed, again.tokens) == (40, 0, 0)
    assert (again.texts_per_second, again.tokens_per_second, again.load_seconds) == (
        None,
        None,
        0.0,
    )
    assert extract(["cat " * 60], encoder, tmp_path).truncated == 1


def test_packed_and_padded_batches_give_the_same_features_under_one_contract(
    encoder: Path, tmp_path: Path
) -> None:
    packed = extract(TEXTS, encoder, tmp_path / "packed", attention="packed")
    padded = extract(TEXTS, encoder, tmp_path / "padded", attention="padded")
    assert (packed.attention, padded.attention, packed.space) == ("packed", "padded", padded.space)
    one, other = (featcache.open_space(cache=tmp_path / name) for name in ("packed", "padded"))
    for layer in one.layers:
        for pooling in one.poolings:
            states = one.features(TEXTS, layer=layer, pooling=pooling)
            np.testing.assert_allclose(
                states, other.features(TEXTS, layer=layer, pooling=pooling), atol=2e-3
            )
    assert extract(sentences(60, seed=9), encoder, tmp_path / "packed").attention in {
        "packed",
        "padded",
    }
    for wrong in ({"attention": "flash"}, {"compile": "maybe"}):
        with pytest.raises(InputError, match="does not exist"):
            extract(TEXTS, encoder, tmp_path / "packed", **wrong)


@pytest.mark.slow
def test_a_compiled_model_gives_the_same_features(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from featcache.backbone.compiled import Compiled

    texts = sentences(800, seed=12)
    batches: list[int] = []
    original = Compiled.states

    def counted(self: Compiled, backbone: Any, rows: Any) -> Any:
        batches.append(len(rows))
        return original(self, backbone, rows)

    monkeypatch.setattr(Compiled, "states", counted)
    compiled = extract(
        texts, encoder, tmp_path / "compiled", compile="on", layers="1", pool="mean,last"
    )
    assert len(batches) == 3, "two of the trial, and one of the two batches, which is full"
    assert batches[-1] > 300
    assert (compiled.compiled, compiled.why_not_compiled) == (True, None)
    assert compiled.compile_seconds > 0
    eager = extract(texts, encoder, tmp_path / "eager", compile="off", layers="1", pool="mean,last")
    assert (eager.compiled, eager.compile_seconds, eager.space) == (False, 0.0, compiled.space)
    one, other = (featcache.open_space(cache=tmp_path / name) for name in ("compiled", "eager"))
    for pooling in one.poolings:
        states = one.features(texts, layer=1, pooling=pooling)
        np.testing.assert_allclose(
            states, other.features(texts, layer=1, pooling=pooling), atol=2e-3
        )


LITTLE_MEMORY = """
import json, resource, sys
import featcache
from featcache.backbone import forward, load, linear, gelu  # what is loaded takes room, too
from featcache.progress import Silent
class Notes(Silent):
    def note(self, message): print(message, file=sys.stderr)
model, cache, spare = sys.argv[1], sys.argv[2], int(sys.argv[3])
featcache.extract(["a cat"], backbone=model, cache=cache, dtype="float32")
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + spare, used + spare))
ends = [f"{a} {b}" for a in ("dog", "rug", "sat") for b in "the a on was is not".split()]
texts = [f"{'cat ' * 44}{end}" for end in ends]
texts += [f"{word} {text}" for text in texts for word in ("mat", "ran", "film", "book")]
done = featcache.extract(texts, backbone=model, cache=cache, dtype="float32", progress=Notes())
print(json.dumps(vars(done)))
"""


def run_with_little_memory(
    model: Path, cache: Path, spare: int
) -> subprocess.CompletedProcess[str]:
    """An extraction of 90 long texts in a process whose memory may grow by `spare` bytes more."""
    return subprocess.run(
        [sys.executable, "-c", LITTLE_MEMORY, str(model), str(cache), str(spare)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_memory_that_really_runs_out_halves_the_batches_and_is_told(tmp_path: Path) -> None:
    model = save_encoder(
        tmp_path / "wide", intermediate_size=20_000
    )  # a state of 20,000 numbers for each token
    done = run_with_little_memory(model, tmp_path / "cache", 260 << 20)  # 4,096 tokens take 327 MB
    assert done.returncode == 0, done.stderr
    assert "memory ran out: batches now hold 2,048 tokens" in done.stderr
    assert json.loads(done.stdout)["computed"] == 90


def test_why_a_model_is_not_compiled_is_told(encoder: Path, tmp_path: Path) -> None:
    import torch._inductor.config

    padded = extract(TEXTS, encoder, tmp_path / "padded", compile="on", attention="padded")
    assert (
        padded.why_not_compiled == "only texts that are packed on a CPU come in batches of one size"
    )
    with torch._inductor.config.patch({"cpp.cxx": (None, "no-such-compiler")}):
        done = extract(TEXTS, encoder, tmp_path / "none", compile="on")
    assert done.computed == len(TEXTS)
    assert (done.compiled, done.why_not_compiled) == (
        False,
        "there is no C++ compiler on this machine",
    )


def test_a_model_that_cannot_be_packed_is_run_in_padded_batches_and_the_reason_is_told(
    encoder: Path, tmp_path: Path
) -> None:
    from tests.backbone.test_families import build

    class Notes(Silent):
        told: ClassVar[list[str]] = []

        def note(self, message: str) -> None:
            self.told.append(message)

    model = build("mpnet", encoder, tmp_path / "mpnet")
    done = featcache.extract(
        TEXTS, backbone=model, cache=tmp_path / "cache", attention="packed", progress=Notes()
    )
    assert (done.attention, done.why_padded) == ("padded", "it has no attention interface")
    assert Notes.told == ["padded     texts are not packed: it has no attention interface"]
    memo = json.loads((tmp_path / "cache" / "memo.json").read_text())
    assert "it has no attention interface" in memo.values(), "the trial is not made again"
    assert featcache.extract(TEXTS, backbone=model, cache=tmp_path / "cache").attention == "padded"


def test_a_rerun_loads_no_model_and_imports_no_torch(encoder: Path, tmp_path: Path) -> None:
    extract(TEXTS, encoder, tmp_path / "cache")
    (tmp_path / "texts.json").write_text(json.dumps([{"text": text} for text in TEXTS]))
    code = (
        "import sys, featcache\n"
        "done = featcache.extract(sys.argv[1], backbone=sys.argv[2], cache=sys.argv[3], "
        "dtype='float32')\n"
        "assert done.hits == 40, done\n"
        "assert not {'torch', 'transformers'} & set(sys.modules), 'a model was loaded'"
    )
    arguments = [tmp_path / "texts.json", encoder, tmp_path / "cache"]
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True)


def test_a_decoder_without_a_padding_token_goes_through(decoder: Path, tmp_path: Path) -> None:
    done = extract(TEXTS, decoder, tmp_path)
    assert done.poolings == ("mean", "last")
    alone = extract([TEXTS[5]], decoder, tmp_path / "alone")
    assert alone.hidden_size == 24
    for pooling in done.poolings:
        batched = featcache.open_space(cache=tmp_path).features(
            [TEXTS[5]], layer=2, pooling=pooling
        )
        by_itself = featcache.open_space(cache=tmp_path / "alone").features(
            [TEXTS[5]], layer=2, pooling=pooling
        )
        np.testing.assert_allclose(batched, by_itself, atol=2e-3)


# -- never each other's features -------------------------------------------------------------------


def test_two_models_in_folders_of_the_same_name_never_share_features(tmp_path: Path) -> None:
    first, second = (
        save_encoder(tmp_path / "a" / "bert", seed=0),
        save_encoder(tmp_path / "b" / "bert", seed=1),
    )
    one, two = extract(TEXTS, first, tmp_path / "cache"), extract(TEXTS, second, tmp_path / "cache")
    assert (one.computed, two.hits, two.computed) == (40, 0, 40)
    assert one.space != two.space
    spaces = [featcache.open_space(done.space, cache=tmp_path / "cache") for done in (one, two)]
    mine, theirs = (space.features(TEXTS, layer=2, pooling="mean") for space in spaces)
    assert np.abs(mine - theirs).max() > 0.1


def test_changed_weights_in_the_same_folder_miss(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "bert", seed=0)
    one = extract(TEXTS, folder, tmp_path / "cache")
    shutil.rmtree(folder)
    two = extract(TEXTS, save_encoder(folder, seed=1), tmp_path / "cache")
    assert (two.hits, two.computed) == (0, 40)
    assert one.space != two.space


def test_the_same_weights_under_another_name_hit(encoder: Path, tmp_path: Path) -> None:
    one = extract(TEXTS, encoder, tmp_path / "cache")
    two = extract(
        TEXTS, Path(shutil.copytree(encoder, tmp_path / "another-name")), tmp_path / "cache"
    )
    assert (two.space, two.hits) == (one.space, 40)


@pytest.mark.parametrize(
    "change",
    [{"max_length": 7}, {"pool": "max"}, {"dtype": "bfloat16"}, {"pool": "mean,last"}],
    ids=str,
)
def test_another_length_pooling_or_dtype_is_another_space(
    encoder: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    one = extract(TEXTS, encoder, tmp_path)
    two = extract(TEXTS, encoder, tmp_path, **change)
    assert (two.hits, two.computed) == (0, 40)
    assert one.space != two.space


def test_another_template_is_other_rows_of_the_same_space(encoder: Path, tmp_path: Path) -> None:
    one = extract(TEXTS, encoder, tmp_path)
    two = extract(TEXTS, encoder, tmp_path, template="not {text}")
    assert (two.space, two.hits, two.computed) == (one.space, 0, 40)
    space = featcache.open_space(cache=tmp_path)
    plain = space.features(TEXTS, layer=2, pooling="mean")
    rendered = space.features([f"not {text}" for text in TEXTS], layer=2, pooling="mean")
    assert np.abs(plain - rendered).max() > 0.1


def test_a_subset_of_layers_and_poolings_hits_and_more_starts_a_new_space(
    encoder: Path, tmp_path: Path
) -> None:
    one = extract(TEXTS, encoder, tmp_path, layers="0,2")
    subset = extract(TEXTS, encoder, tmp_path, layers="last", pool="cls")
    assert (subset.space, subset.hits, subset.layers) == (one.space, 40, (0, 2))
    more = extract(TEXTS, encoder, tmp_path, layers="all")
    assert (more.hits, more.layers) == (0, (0, 1, 2))
    assert extract(TEXTS, encoder, tmp_path, layers="0,2").space == one.space


def test_auto_dtype_takes_that_of_the_only_space_there_is(encoder: Path, tmp_path: Path) -> None:
    one = extract(TEXTS, encoder, tmp_path, dtype="float16")
    auto = extract(TEXTS, encoder, tmp_path, dtype="auto")
    assert (auto.space, auto.hits, auto.dtype) == (one.space, 40, "float16")


def test_features_do_not_depend_on_where_the_tokenizer_pads(encoder: Path, tmp_path: Path) -> None:
    left = Path(shutil.copytree(encoder, tmp_path / "left"))
    settings_file = left / "tokenizer_config.json"
    settings_file.write_text(
        json.dumps({**json.loads(settings_file.read_text()), "padding_side": "left"})
    )
    extract(TEXTS, encoder, tmp_path / "one", pool="mean,last,cls,max")
    extract(TEXTS, left, tmp_path / "two", pool="mean,last,cls,max")
    np.testing.assert_allclose(
        all_views(tmp_path / "one", TEXTS), all_views(tmp_path / "two", TEXTS), atol=2e-3
    )


def test_an_environment_that_gives_other_features_is_noticed(encoder: Path, tmp_path: Path) -> None:
    """The drift is planted in the cache: rows of another model, written under this
    one's contract.
    """
    done = extract(TEXTS[:20], encoder, tmp_path / "cache")
    other = extract(TEXTS[:20], save_encoder(tmp_path / "other", seed=1), tmp_path / "else")
    from featcache.cache.columns import CachedRows
    from featcache.cache.space import Space

    space = Space.open(Path(done.path))
    foreign = Space.open(Path(other.path))
    (shard,) = foreign.shards
    names = [
        dataset_name(layer, name)
        for layer in space.contract.layers
        for name in space.contract.poolings
    ]
    rows = CachedRows(
        shard.read("keys"),
        shard.read("n_tokens"),
        shard.read("truncated") != 0,
        {name: shard.gather(name, np.arange(20)) for name in names},
    )
    for path in Path(done.path).glob("*.h5"):
        path.unlink()
    space.add(rows, space.shards[0].provenance)
    before = everything_below(tmp_path / "cache")
    with pytest.raises(
        ContractError,
        match=r"layer 0 mean of rows that are in tiny-bert.* comes out differently now",
    ) as e:
        extract(TEXTS, encoder, tmp_path / "cache")
    assert "--cache" in e.value.cure
    assert everything_below(tmp_path / "cache") == before


def test_a_model_that_gives_nan_is_an_error_naming_the_row(encoder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(encoder, tmp_path / "nan"))
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][4 + 1] = float("nan")  # "a"
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match="gives NaN or infinity for the data, row 2 in float32"):
        extract(["the cat", "a dog"], folder, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


# -- interrupted and killed ------------------------------------------------------------------------


def _start(encoder: Path, folder: Path, code: str = "", n_shards: int = 3) -> subprocess.Popen[str]:
    """An extraction of 3,000 texts that has written some shards. code: runs in the process before
    it.
    """
    texts = sentences(3000, seed=9, longest=30)
    (folder / "texts.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in texts)
    )
    command = [
        sys.executable,
        "-c",
        f"{code}\nfrom featcache.cli import main\nmain()",
        "extract",
        "texts.jsonl",
        "--backbone",
        str(encoder),
        "--shard-rows",
        "20",
        "--dtype",
        "float32",
    ]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while (
        len(list(folder.glob("cache/*/*.h5"))) < n_shards
        and time.monotonic() < deadline
        and process.poll() is None
    ):
        time.sleep(0.005)
    return process


def _rows_kept(folder: Path) -> int:
    """Different rows in the shards, read with raw h5py."""
    keys: set[bytes] = set()
    for path in folder.glob("cache/*/*.h5"):
        with h5py.File(path) as file:
            keys |= {key.tobytes() for key in file["keys"][:]}
    return len(keys)


# Small slices: some are written, one is computed, one is tokenised when the signal comes.
SMALL_SLICES = "import featcache.extraction.engine as p; p.SLICE_ROWS, p.FIRST_ROWS = 100, 20"


@pytest.mark.parametrize(("code", "n_shards"), [("", 3), (SMALL_SLICES, 3), (SMALL_SLICES, 30)])
def test_ctrl_c_keeps_finished_rows_and_a_rerun_goes_on(
    encoder: Path, tmp_path: Path, code: str, n_shards: int
) -> None:
    process = _start(encoder, tmp_path, code, n_shards)
    process.send_signal(signal.SIGINT)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 130, talk
    assert "Traceback" not in talk
    assert "of 3,000 new texts are computed and kept" in talk
    assert "Run the same command again" in talk
    kept = _rows_kept(tmp_path)
    assert 0 < kept < 3000
    assert f"{kept:,} of 3,000" in talk
    assert not list(tmp_path.glob("cache/*/*.partial"))
    assert [path.name for path in tmp_path.glob("cache/*/claims/*")] == ["lock"]
    done = featcache.extract(
        tmp_path / "texts.jsonl", backbone=encoder, cache=tmp_path / "cache", dtype="float32"
    )
    assert (done.hits, done.computed) == (kept, 3000 - kept)


def test_kill_9_loses_no_written_row_and_a_rerun_goes_on(encoder: Path, tmp_path: Path) -> None:
    process = _start(encoder, tmp_path)
    process.kill()
    process.communicate(timeout=60)
    kept = _rows_kept(tmp_path)
    assert 0 < kept < 3000
    done = featcache.extract(
        tmp_path / "texts.jsonl", backbone=encoder, cache=tmp_path / "cache", dtype="float32"
    )
    assert (done.hits, done.computed) == (kept, 3000 - kept)
    assert not list(tmp_path.glob("cache/*/*.partial"))


# -- asking first ----------------------------------------------------------------------------------


def test_a_plan_counts_and_writes_nothing(encoder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    data = {"text": [*TEXTS, TEXTS[0], "cat " * 60]}
    planned = plan(data, backbone=encoder, cache=cache, dtype="float32")
    assert not cache.exists()
    assert (planned.rows, planned.unique, planned.hits, planned.misses, planned.truncated) == (
        42,
        41,
        0,
        41,
        1,
    )
    assert planned.seconds >= 0
    done = featcache.extract(data, backbone=encoder, cache=cache, dtype="float32")
    assert planned.tokens == done.tokens
    written = sum(path.stat().st_size for path in Path(done.path).glob("*.h5"))
    assert planned.n_bytes <= written <= planned.n_bytes + 40_000  # headers and alignment
    before = everything_below(cache)
    again = plan(data, backbone=encoder, cache=cache, dtype="float32")
    assert (again.hits, again.misses, again.tokens, again.n_bytes, again.space) == (
        41,
        0,
        0,
        0,
        done.space,
    )
    assert everything_below(cache) == before


@pytest.mark.parametrize(
    ("options", "what", "cure"),
    [
        (
            {"max_length": 49},
            "--max-length 49 is above the model's limit of 48 tokens",
            "--max-length 48 or less",
        ),
        (
            {"max_length": 2},
            "--max-length 2 leaves no room: 2 tokens are special ones",
            "at least 3",
        ),
        ({"layers": "9"}, "the model has layers 0 (embeddings) to 2", "or `all`"),
        ({"layers": "x"}, "--layers 'x' is not a list of layer numbers", "0,3,6"),
        ({"pool": "avg"}, "there is no pooling 'avg'", "mean, cls, last, max"),
        ({"shard_rows": 0}, "--shard-rows 0 is not a number of rows", "1 or more"),
    ],
)
def test_bad_options_are_refused_and_nothing_is_written(
    encoder: Path, tmp_path: Path, options: dict[str, Any], what: str, cure: str
) -> None:
    with pytest.raises(InputError) as caught:
        extract(TEXTS, encoder, tmp_path / "cache", **options)
    assert what in caught.value.what
    assert cure in caught.value.cure
    assert not (tmp_path / "cache").exists()


def test_missing_texts_are_counted_with_the_command_that_adds_them(
    encoder: Path, tmp_path: Path
) -> None:
    extract(TEXTS[:10], encoder, tmp_path)
    space = featcache.open_space(cache=tmp_path)
    assert space.has(TEXTS[8:12]).tolist() == [True, True, False, False]
    with pytest.raises(
        CacheMissError, match=r"30 of 40 texts are not in space tiny-bert-"
    ) as caught:
        space.features(TEXTS, layer=0, pooling="mean")
    assert "featcache extract DATA --backbone" in caught.value.cure
    assert caught.value.exit_code == 3


def test_two_processes_at_once_end_with_every_row_once(encoder: Path, tmp_path: Path) -> None:
    first = _start(encoder, tmp_path)
    command = [
        sys.executable,
        "-m",
        "featcache",
        "extract",
        "texts.jsonl",
        "--backbone",
        str(encoder),
        "--dtype",
        "float32",
    ]
    second = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    _, talk = first.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0), talk + second.stderr
    assert _rows_kept(tmp_path) == 3000
    assert featcache.open_space(cache=tmp_path / "cache").n_rows == 3000
