"""Peak memory of an extraction by the number of rows: it must hardly grow, whatever the size of the
data.

    python benchmarks/extract_memory.py [--rows 10000 --rows 1000000] [--json]

For each number of rows a Parquet file of short, different texts is written and extracted by a tiny
random BERT, whose pass over a million texts takes a minute or two, in a process of its own, whose
peak of resident memory is read when it ends. Checked before any figure is printed: every row
arrived, and a sample of texts is found in the cache.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import machine, machine_line, plain_table, run

import featcache

_WORDS = 1_000
_GROUP = 100_000  # rows written together
_SAMPLE = 1_000
# The peak of a process that is the command and nothing else: counted for it alone, where Linux can
# do that.
_COMMAND = """
import atexit, resource, sys
from featcache.cli import main

def peak():
    try:
        lines = open("/proc/self/status").read().splitlines()
        kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except OSError:
        unit = 1024 if sys.platform == "darwin" else 1  # macOS counts bytes
        kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit
    print(f"peak {kib}", file=sys.stderr)

atexit.register(peak)
main()
"""


@dataclass(frozen=True)
class Pass:
    """One extraction. mebibytes: its peak of resident memory; waiting: the share of the pass that
    the model waited.
    """

    rows: int
    mebibytes: float
    seconds: float
    waiting: float


def save_backbone(folder: Path) -> Path:
    """A BERT of one layer of width 32 with a word tokenizer, random."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]"]
    vocabulary = {
        word: number
        for number, word in enumerate([*special, *(f"w{one}" for one in range(_WORDS))])
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # the library leaves it untyped
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=32,
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
        pad_token_id=1,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def texts_between(start: int, stop: int) -> list[str]:
    """Texts of 4 to 11 words that all differ: their first three words are their number."""
    generator = np.random.default_rng(start)
    counts, words = (
        generator.integers(1, 9, stop - start),
        generator.integers(0, _WORDS, (stop - start, 8)),
    )
    return [
        " ".join(
            f"w{word}"
            for word in (one // 10**6, one // 1000 % 1000, one % 1000, *more[:count].tolist())
        )
        for one, count, more in zip(range(start, stop), counts.tolist(), words, strict=True)
    ]


def save_texts(file: Path, rows: int) -> None:
    """A Parquet file of so many different texts, written piece by piece."""
    with pq.ParquetWriter(file, pa.schema([("text", pa.string())])) as writer:
        for start in range(0, rows, _GROUP):
            writer.write_table(pa.table({"text": texts_between(start, min(start + _GROUP, rows))}))


def measure(folder: Path, backbone: Path, rows: int) -> Pass:
    """Extract so many rows in a fresh process. Raises CalledProcessError where it fails."""
    file, cache = folder / f"{rows}.parquet", folder / f"cache-{rows}"
    save_texts(file, rows)
    arguments = ["extract", str(file), "--backbone", str(backbone), "--cache", str(cache), "--json"]
    command = [sys.executable, "-c", _COMMAND, *arguments, "--layers", "last", "--pool", "mean"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        click.echo(ended.stderr, err=True)
        ended.check_returncode()
    done: dict[str, Any] = json.loads(ended.stdout)
    assert done["rows"] == done["unique"] == done["computed"] == rows, done
    space = featcache.open_space(cache=cache)
    assert space.n_rows == rows
    assert space.has(texts_between(0, min(_GROUP, rows))[:_SAMPLE]).all()
    kib = int(ended.stderr.rpartition("peak ")[2])
    return Pass(rows, kib / 1024, done["seconds"], done["wait_seconds"] / done["seconds"])


@click.command()
@click.option(
    "--rows",
    multiple=True,
    type=int,
    default=(10_000, 1_000_000),
    show_default=True,
    help="Rows of a pass.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on stdout, the table on stderr."
)
def main(*, rows: tuple[int, ...], as_json: bool) -> None:
    """Measure the peak memory of extractions of different sizes."""
    with tempfile.TemporaryDirectory() as name:
        backbone = save_backbone(Path(name) / "tiny")
        passes = [measure(Path(name), backbone, count) for count in rows]
    table = [
        [
            f"{one.rows:,}",
            f"{one.mebibytes:,.0f}",
            f"{one.mebibytes - passes[0].mebibytes:+,.0f}",
            f"{one.seconds:.1f}",
            f"{one.waiting:.1%}",
        ]
        for one in passes
    ]
    report = plain_table(["rows", "peak MiB", "more than first", "seconds", "model waits"], table)
    click.echo(f"{report}\n\n{machine_line()}", err=as_json)
    if as_json:
        click.echo(json.dumps({"machine": machine(), "passes": [vars(one) for one in passes]}))


if __name__ == "__main__":
    run(main)
