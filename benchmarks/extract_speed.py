"""How fast is the one pass? featcache's extraction against other ways to frozen features.

    python benchmarks/extract_speed.py --data sms_spam.parquet \\
        --data ag_news.test.parquet --repeats 5

Contestants, all in one process and in turns (forwards, then backwards, …), all cut to the same
length (512 tokens, or what the model takes):

  featcache           `featcache.extract` as a whole into an empty cache folder: its own `seconds`,
                      which hold finding the backbone, tokenising, all layers and poolings of
                      --layers, writing and fsync
  featcache, padded   the same with --attention padded; on CPUs featcache packs where the model
                      allows it
  featcache, compiled   the same with --compile on, compiling not counted; left out where that fails
  featcache, float32    the same with --dtype float32
  featcache, last × mean / all × 4   what keeping more costs: one view, or four poolings of all
                      layers
  sentence-transformers   `encode` of Transformer + Pooling("mean"), batches of 32, in float32 and
                      bfloat16, and with its OpenVINO (float32 and bfloat16) and ONNX back ends
                      where optimum is installed
  plain loop          Transformers alone: tokenise, sort by length, batches of 32 padded to their
                      longest text, mean of the last layer; in float32 and bfloat16
  token-budget loop   the same with batches of up to 2,048 tokens, padding included
  OpenVINO            the plain loop around the model as `openvino.convert_model` gives it, in
                      float32 and bfloat16, where openvino is installed

Only featcache keeps several views and writes them; the others hand back the last layer's mean.
Loading models is timed apart, for featcache with its trial of packing. A first run of each over a
few texts is not counted.

Texts are distinct, so that nobody gains from repeated ones. Tokens are counted once, with the
backbone's tokenizer, special tokens included and padding not, and are the same for all. tokens/s
and shares are those of median seconds.

Share of peak: the model's arithmetic in a second, over that of the best matrix product of this run
in the contestant's number type (2,048 rows, the sizes of the model's own weights; tried in every
round). Counted are 2 operations for each weight of the linear layers in the encoder's blocks and
each token, and 4 · L · H for each token of a text of L tokens in each block (scores and weighted
values; for causal models, too, which could do with half). Not counted: embeddings, norms,
activations, softmax, pooler. Blocks that are used several times (ALBERT) or in part (mixtures of
experts) are counted once, so that shares of these mean nothing.

In every run, features of up to 200 texts are compared with those of the same model in float32, one
text at a time. Where featcache's lowest cosine is below 0.999999 (float32) or 0.9995 (bfloat16), or
that of others below 0.99, the script ends with exit code 1 and no times.
"""

from __future__ import annotations

import importlib
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from common import backbone_or_minilm, machine, machine_line, median, plain_table, run
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, DataCollatorWithPadding
from transformers.utils import logging

import featcache
from featcache.backbone.batching import tokenize
from featcache.cache.memo import Memo
from featcache.data.keys import first_of_each, row_keys
from featcache.data.read import read
from featcache.data.texts import TextOptions, render
from featcache.errors import first_line
from featcache.features.request import BackboneChoice, resolve

BATCH_ROWS = 32  # of sentence-transformers, where it is the default, and of the plain loop
LOOP_TOKENS = 2048  # of the token-budget loop
WARM_ROWS, CHECK_ROWS = 32, 200
VARIANTS: dict[str, dict[str, Any]] = {
    "featcache, padded": {"attention": "padded"},
    "featcache, compiled": {"compile": "on"},
    "featcache, float32": {"dtype": "float32"},
    "featcache, last × mean": {"layers": "last", "pool": "mean"},
    "featcache, all × 4": {"layers": "all", "pool": "mean,cls,last,max"},
}
COSINE = {"float32": 0.999999, "bfloat16": 0.9995}  # required of featcache
OTHERS = 0.99  # of everybody else
PEAK_ROWS, PEAK_TRIALS = 2048, 10
COLUMNS = {  # of the table: what of a contestant, and how it is written
    "load": ("load_seconds", ".2f"),
    "median": ("median_seconds", ".2f"),
    "best": ("best_seconds", ".2f"),
    "tokens/s": ("tokens_per_second", ",d"),
    "featcache / it": ("featcache_ratio", ".2f"),
    "of peak": ("share_of_peak", ".0%"),
    "waited": ("share_waited", ".1%"),
    "lowest cosine": ("lowest_cosine", ".6f"),
}
# Of sentence-transformers: name, number type, back end, module that the back end takes
ENCODERS = (
    ("sentence-transformers, float32", "float32", "torch", "torch"),
    ("sentence-transformers, bfloat16", "bfloat16", "torch", "torch"),
    ("… OpenVINO, float32", "float32", "openvino", "optimum.intel.openvino"),
    ("… OpenVINO, bfloat16", "bfloat16", "openvino", "optimum.intel.openvino"),
    ("… ONNX, float32", "float32", "onnx", "optimum.onnxruntime"),
)


@dataclass(frozen=True)
class Setting:
    """What is the same for all contestants; dtype and layers are featcache's."""

    folder: Path
    backbone: str
    device: str
    dtype: str
    layers: str
    max_length: int
    hidden_size: int
    n_layers: int

    @classmethod
    def of(cls, backbone: str | None, *, device: str, dtype: str, layers: str) -> Setting:
        """Raises featcache's errors for an unusable backbone or device."""
        model = backbone_or_minilm(backbone)
        choice = BackboneChoice(model.path, layers=layers, dtype=dtype, device=device)
        with tempfile.TemporaryDirectory() as empty:
            found = resolve(choice, Path(empty), Memo.load(Path(empty)))
        return cls(
            found.folder.absolute(),
            model.name,
            found.device,
            found.contract.dtype,
            layers,
            found.contract.max_length,
            found.facts.hidden_size,
            found.facts.n_layers,
        )


@dataclass(frozen=True)
class Run:
    """One run over N texts. features: (N, H) in float32, the last layer's mean.  wait_seconds: of
    featcache's model.
    """

    seconds: float
    load_seconds: float
    features: Tensor
    wait_seconds: float = 0.0


@dataclass(frozen=True)
class Contestant:
    """Somebody who turns texts into features. dtype: of its arithmetic."""

    name: str
    dtype: str
    run: Callable[[list[str]], Run]


@dataclass(frozen=True)
class Texts:
    """Distinct texts of a file. lengths: (N,) tokens of each; checked: numbers of those that are
    compared.
    """

    source: str
    texts: list[str]
    lengths: NDArray[np.int64]
    checked: NDArray[np.int64]


def weights_of(model: torch.nn.Module) -> list[Tensor]:
    """Weights of the linear layers in the encoder's blocks, told by their two dimensions (GPT-2's
    are no Linear).
    """
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    inside = [
        one
        for blocks in lists
        for one in blocks.modules()
        if not isinstance(one, torch.nn.Embedding)
    ]
    found = {
        id(weight): weight
        for one in inside
        for weight in one.parameters(recurse=False)
        if weight.ndim == 2
    }
    return list(found.values())


def flops(weights: Sequence[Tensor], lengths: NDArray[np.int64], setting: Setting) -> float:
    """Operations for texts of so many tokens, as the head of this file counts them."""
    attention = (
        4 * setting.hidden_size * setting.n_layers * float((lengths.astype(np.float64) ** 2).sum())
    )
    return 2 * sum(weight.numel() for weight in weights) * float(lengths.sum()) + attention


class Loop:
    """Transformers as it is used by hand."""

    def __init__(
        self,
        setting: Setting,
        dtype: str,
        *,
        batch_rows: int = BATCH_ROWS,
        tokens: int | None = None,
    ) -> None:
        """tokens: of a batch, padding included, instead of batch_rows."""
        started = time.perf_counter()
        self.tokenizer = AutoTokenizer.from_pretrained(str(setting.folder))
        model = AutoModel.from_pretrained(str(setting.folder), dtype=getattr(torch, dtype))
        if model.config.is_encoder_decoder:
            model = model.get_encoder()
        self.model = model.to(setting.device).eval()
        self.load_seconds = time.perf_counter() - started
        _can_pad(self.tokenizer)
        self.setting, self.batch_rows, self.tokens = setting, batch_rows, tokens
        self.collate = DataCollatorWithPadding(self.tokenizer)

    def __call__(self, texts: list[str]) -> Run:
        """Features of texts, from the strings on."""
        started = time.perf_counter()
        encoded = self.tokenizer(
            texts, truncation=True, max_length=self.setting.max_length, return_token_type_ids=False
        )
        ids: list[list[int]] = encoded["input_ids"]
        order = sorted(range(len(ids)), key=lambda row: len(ids[row]), reverse=True)
        features = torch.empty(len(ids), self.setting.hidden_size)
        while order:
            n_rows = (
                self.batch_rows
                if self.tokens is None
                else max(1, self.tokens // len(ids[order[0]]))
            )
            rows, order = order[:n_rows], order[n_rows:]
            features[rows] = self._mean([ids[row] for row in rows])
        return Run(time.perf_counter() - started, self.load_seconds, features)

    @torch.inference_mode()
    def _mean(self, ids: list[list[int]]) -> Tensor:
        padded = self.collate([{"input_ids": one} for one in ids])
        batch = {name: value.to(self.setting.device) for name, value in padded.items()}
        hidden = self.last_states(**batch).float()
        mask = batch["attention_mask"].unsqueeze(-1).float()
        mean: Tensor = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
        return mean.cpu()

    def last_states(self, **batch: Tensor) -> Tensor:
        """(B, T, H) of the last layer."""
        states: Tensor = self.model(**batch).last_hidden_state
        return states


class OpenVino(Loop):
    """The loop around OpenVINO's form of the model. `dtype` is that of its arithmetic."""

    def __init__(self, setting: Setting, dtype: str) -> None:
        super().__init__(setting, "float32")
        started = time.perf_counter()
        openvino: Any = importlib.import_module("openvino")
        wrapped = _LastStates(self.model)
        example = {
            "input_ids": torch.tensor([[1, 2], [3, 4]]),
            "attention_mask": torch.tensor([[1, 1], [1, 0]]),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing's, about shapes that stay open
            converted = openvino.convert_model(wrapped, example_input=example)
        hint = {"float32": "f32", "bfloat16": "bf16"}[dtype]
        options = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": hint,
            "NUM_STREAMS": 1,
        }
        self.compiled = openvino.Core().compile_model(converted, "CPU", options)
        self.load_seconds += time.perf_counter() - started

    def last_states(self, **batch: Tensor) -> Tensor:
        """(B, T, H) of the last layer."""
        found = self.compiled([batch["input_ids"].numpy(), batch["attention_mask"].numpy()])
        return torch.from_numpy(found[0].copy())


class _LastStates(torch.nn.Module):
    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states: Tensor = self.model(
            input_ids=input_ids, attention_mask=attention_mask
        ).last_hidden_state
        return states


class Encode:
    """`encode` of sentence-transformers with one of its back ends."""

    def __init__(self, setting: Setting, backend: str, dtype: str) -> None:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

        started = time.perf_counter()
        transformer = Transformer(
            str(setting.folder), model_kwargs=_options(backend, dtype), backend=backend
        )
        modules = [transformer, Pooling(setting.hidden_size, "mean")]
        self.model = SentenceTransformer(modules=modules, device=setting.device)
        self.load_seconds = time.perf_counter() - started
        self.model.max_seq_length = setting.max_length
        _can_pad(self.model.tokenizer)

    def __call__(self, texts: list[str]) -> Run:
        """Features of texts, from the strings on."""
        started = time.perf_counter()
        features = self.model.encode(texts, batch_size=BATCH_ROWS, show_progress_bar=False)
        seconds = time.perf_counter() - started
        return Run(
            seconds, self.load_seconds, torch.from_numpy(np.asarray(features, dtype=np.float32))
        )


class Extract:
    """featcache as a whole, into a new cache folder each time. asked: options of
    `featcache.extract`.
    """

    def __init__(self, setting: Setting, **asked: Any) -> None:
        one = setting
        self.n_layers = one.n_layers
        self.asked = {
            "backbone": one.folder,
            "layers": one.layers,
            "max_length": one.max_length,
            "dtype": one.dtype,
            "device": one.device,
            "compile": "off",
            **asked,
        }

    def __call__(self, texts: list[str]) -> Run:
        """Features of texts; reading them from the cache is not counted."""
        with tempfile.TemporaryDirectory() as place:
            done = self.extract(texts, place)
            assert done.computed == len(texts)
            space = featcache.open_space(done.space, cache=place)
            features = space.features(texts, layer=self.n_layers, pooling="mean")
        return Run(done.seconds, done.load_seconds, torch.from_numpy(features), done.wait_seconds)

    def extract(self, texts: list[str], place: str) -> featcache.Extraction:
        """The pass alone."""
        return featcache.extract({"text": texts}, cache=place, **self.asked)


def _can_pad(tokenizer: Any) -> None:
    """Give GPT-2, Llama and their like a padding token (it is masked, so any does), and pad on the
    right.
    """
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"


def contestants(setting: Setting) -> tuple[list[Contestant], dict[str, str]]:
    """Those that can run here, and why the others cannot."""
    skipped: dict[str, str] = {}
    found = [Contestant("featcache", setting.dtype, Extract(setting))]
    for name, asked in VARIANTS.items():
        runner = Extract(setting, **asked)
        with tempfile.TemporaryDirectory() as place:
            tried = runner.extract(["a first text", "and another"], place)
        if asked.get("compile") == "on" and not tried.compiled:
            skipped[name] = f"featcache cannot compile this model: {tried.why_not_compiled}"
        else:
            found.append(Contestant(name, tried.dtype, runner))
    for name, dtype, backend, module in ENCODERS:
        if backend != "torch" and setting.device != "cpu":
            skipped[name] = "measured on CPUs only"
        elif not _installed("sentence_transformers") or not _installed(module):
            skipped[name] = "not installed"
        else:
            try:
                found.append(Contestant(name, dtype, Encode(setting, backend, dtype)))
            except Exception as error:  # noqa: BLE001 - exporting a model to another runtime fails in many ways
                skipped[name] = f"cannot load the model: {first_line(error)}"
    for dtype in COSINE:
        if setting.device == "cpu" and _installed("openvino"):
            found.append(Contestant(f"OpenVINO, {dtype}", dtype, OpenVino(setting, dtype)))
        else:
            skipped[f"OpenVINO, {dtype}"] = "not installed, or not on a CPU"
        found.append(Contestant(f"plain loop, {dtype}", dtype, Loop(setting, dtype)))
        found.append(
            Contestant(
                f"token-budget loop, {dtype}", dtype, Loop(setting, dtype, tokens=LOOP_TOKENS)
            )
        )
    return found, skipped


def _options(backend: str, dtype: str) -> dict[str, Any]:
    """How a back end is told its number type, and to use as many threads as torch does."""
    n_threads = torch.get_num_threads()
    if backend == "openvino":
        hint = {"float32": "f32", "bfloat16": "bf16"}[dtype]
        return {"ov_config": {"INFERENCE_NUM_THREADS": n_threads, "INFERENCE_PRECISION_HINT": hint}}
    if backend == "onnx":
        session: Any = importlib.import_module("onnxruntime").SessionOptions()
        session.intra_op_num_threads = n_threads
        return {"provider": "CPUExecutionProvider", "session_options": session}
    return {"dtype": getattr(torch, dtype)}


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False


def peak(weights: Sequence[Tensor], dtype: str, device: str) -> float:
    """Operations a second of the best product of 2,048 rows with weights of the model's sizes."""
    best = 0.0
    for n_out, n_in in sorted({tuple(weight.shape) for weight in weights}):
        rows = torch.randn(PEAK_ROWS, n_in, device=device).to(getattr(torch, dtype))
        weight = torch.randn(n_out, n_in, device=device).to(rows.dtype)
        for _ in range(PEAK_TRIALS):
            _wait(device)
            started = time.perf_counter()
            with torch.inference_mode():
                torch.nn.functional.linear(rows, weight)
            _wait(device)
            best = max(best, 2 * PEAK_ROWS * n_in * n_out / (time.perf_counter() - started))
    return best


def _wait(device: str) -> None:
    if device != "cpu":
        getattr(torch, device).synchronize()


def read_texts(file: Path, column: str | None, limit: int | None, setting: Setting) -> Texts:
    """Distinct texts of a file; with a limit, that many drawn with a fixed seed. Raises what
    featcache's readers do.
    """
    rendered = render(read(file), TextOptions(column, skip_empty=True)).rendered
    first, _ = first_of_each(row_keys(rendered))
    drawn = np.random.default_rng(0)
    if limit is not None and limit < len(first):
        first = first[np.sort(drawn.permutation(len(first))[:limit])]
    texts = [rendered[row] for row in first]
    tokenizer = AutoTokenizer.from_pretrained(str(setting.folder))
    lengths = tokenize(tokenizer, texts, max_length=setting.max_length).lengths
    return Texts(file.name, texts, lengths, np.sort(drawn.permutation(len(texts))[:CHECK_ROWS]))


def measure(
    data: Texts, setting: Setting, runners: Sequence[Contestant], reference: Loop, repeats: int
) -> dict[str, Any]:
    """All rounds over one file."""
    weights = weights_of(reference.model)
    expected = reference([data.texts[row] for row in data.checked]).features
    runs: dict[str, list[Run]] = {one.name: [] for one in runners}
    peaks = dict.fromkeys((one.dtype for one in runners), 0.0)
    for one in runners:
        one.run(data.texts[:WARM_ROWS])
    for number in range(repeats):
        click.echo(f"{data.source}: round {number + 1} of {repeats}", err=True)
        for one in runners if number % 2 == 0 else reversed(runners):
            done = one.run(data.texts)
            runs[one.name].append(replace(done, features=done.features[data.checked]))
        peaks = {
            dtype: max(best, peak(weights, dtype, setting.device)) for dtype, best in peaks.items()
        }
    n_tokens, n_flops = int(data.lengths.sum()), flops(weights, data.lengths, setting)
    results = []
    for one in runners:
        seconds = [done.seconds for done in runs[one.name]]
        ratios = [
            theirs / mine.seconds for theirs, mine in zip(seconds, runs["featcache"], strict=True)
        ]
        middle = statistics.median(seconds)
        cosines = [
            torch.nn.functional.cosine_similarity(done.features, expected).min()
            for done in runs[one.name]
        ]
        results.append(
            {
                "name": one.name,
                "dtype": one.dtype,
                "load_seconds": median([done.load_seconds for done in runs[one.name]]),
                "seconds": [round(each, 3) for each in seconds],
                "median_seconds": median(seconds),
                "best_seconds": round(min(seconds), 3),
                "tokens_per_second": round(n_tokens / middle),
                "featcache_ratio": round(
                    middle / statistics.median(done.seconds for done in runs["featcache"]), 2
                ),
                "featcache_ratio_of_rounds": [round(min(ratios), 2), round(max(ratios), 2)],
                "share_waited": round(
                    statistics.median(done.wait_seconds / done.seconds for done in runs[one.name]),
                    4,
                ),
                "share_of_peak": round(n_flops / peaks[one.dtype] / middle, 3),
                "lowest_cosine": round(float(torch.stack(cosines).min()), 7),
            }
        )
    return {
        "data": data.source,
        "texts": len(data.texts),
        "tokens": n_tokens,
        "longest": int(data.lengths.max()),
        "checked_texts": len(data.checked),
        "gflop": round(n_flops / 1e9, 1),
        "peak_gflop_per_second": {dtype: round(best / 1e9) for dtype, best in peaks.items()},
        "contestants": results,
    }


def disagreement(file: dict[str, Any]) -> str | None:
    """Whose features are not those of the model, or None."""
    for one in file["contestants"]:
        allowed = COSINE[one["dtype"]] if one["name"].startswith("featcache") else OTHERS
        if not one["lowest_cosine"] >= allowed:  # so that NaN fails, too
            least = f"{one['lowest_cosine']:.6f}, below {allowed}"
            return (
                f"{file['data']}: {one['name']} differs from texts run one by one: "
                f"the lowest cosine is {least}."
            )
    return None


def table(file: dict[str, Any]) -> str:
    """One file's contestants, below a line on its texts."""
    rows = [
        [one["name"], *(f"{one[key]:{form}}" for key, form in COLUMNS.values())]
        for one in file["contestants"]
    ]
    peaks = ", ".join(
        f"{best:,} GFLOP/s in {dtype}" for dtype, best in file["peak_gflop_per_second"].items()
    )
    tokens = (
        f"{file['tokens']:,} tokens, the longest text {file['longest']}; {file['gflop']:,} GFLOP"
    )
    head = f"{file['data']}: {file['texts']:,} different texts, {tokens}"
    return (
        f"{head}\n\n{plain_table(['seconds', *COLUMNS], rows)}\n\npeak of matrix products: {peaks}"
    )


@click.command(help="Time the one pass over texts against other ways to frozen features.")
@click.option(
    "--data",
    required=True,
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Texts.",
)
@click.option("--text", help="Column of the texts [found].")
@click.option("--backbone", help="Model folder or hub id [MiniLM of the extra `demo`].")
@click.option(
    "--device", default="cpu", show_default=True, type=click.Choice(["auto", "cpu", "cuda", "mps"])
)
@click.option(
    "--dtype",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", *COSINE]),
    help="featcache's.",
)
@click.option(
    "--layers", default="auto", show_default=True, type=click.Choice(["auto", "all", "last"])
)
@click.option(
    "--only",
    multiple=True,
    help="Contestants whose name holds this; featcache takes part always [all].",
)
@click.option(
    "--rows", type=click.IntRange(1), help="Distinct texts drawn of each file, fixed seed [all]."
)
@click.option("--repeats", default=5, show_default=True, type=click.IntRange(1), help="Rounds.")
@click.option("--out", default="benchmarks-out", show_default=True, type=click.Path(path_type=Path))
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on stdout; the tables go to stderr."
)
def main(
    *,
    data: tuple[Path, ...],
    text: str | None,
    backbone: str | None,
    device: str,
    dtype: str,
    layers: str,
    only: tuple[str, ...],
    rows: int | None,
    repeats: int,
    out: Path,
    as_json: bool,
) -> None:
    """Read the options, measure, check, and report."""
    setting = Setting.of(backbone, device=device, dtype=dtype, layers=layers)
    chosen = [read_texts(file, text, rows, setting) for file in data]
    runners, skipped = contestants(setting)
    runners = [
        one
        for one in runners
        if one.name == "featcache" or not only or any(part in one.name for part in only)
    ]
    reference = Loop(setting, "float32", batch_rows=1)
    files = []
    for texts in chosen:
        files.append(measure(texts, setting, runners, reference, repeats))
        reason = disagreement(files[-1])
        if reason is not None:
            raise click.ClickException(f"{reason} Times of different results are not compared.")
    report = {
        "benchmark": "extract_speed",
        **{
            name: getattr(setting, name)
            for name in ("backbone", "device", "dtype", "layers", "max_length")
        },
        "batch_rows": BATCH_ROWS,
        "repeats": repeats,
        "check": {"allowed_cosine": COSINE, "of_others": OTHERS},
        "skipped": skipped,
        "files": files,
        "machine": machine(),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "extract_speed.json").write_text(
        json.dumps(report, indent=2, ensure_ascii=False) + "\n", "utf-8"
    )
    ours = (
        f"{setting.backbone} ({setting.device}); "
        f"featcache: {setting.dtype}, layers {setting.layers}"
    )
    left_out = [f"left out: {name}: {why}" for name, why in skipped.items()]
    click.echo(
        "\n\n".join([ours, *map(table, files), "\n".join([*left_out, machine_line()])]), err=as_json
    )
    if as_json:
        click.echo(json.dumps(report, ensure_ascii=False))


if __name__ == "__main__":
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # the library leaves it untyped
    run(main)
