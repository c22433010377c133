"""Wrote `format-1/`, the cache that every later featcache has to read, and `format-1.json`, what it
has to give.

It was run once, before the first release. NEVER run it again for format 1: the files are kept to
prove that what an old featcache wrote is still read, and files of today's code prove nothing. A new
format gets a folder and a script of its own. It refuses to run where the folder exists.

    python -m tests.golden.make

Nothing in it is drawn or dated: the same code writes the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from featcache.cache.columns import CachedRows, write_shard_file
from featcache.cache.contract import FORMAT, Contract
from featcache.cache.naming import SEALED
from featcache.cache.origin import BackboneOrigin
from featcache.cache.provenance import ORIGIN_FIELD, merged
from featcache.cache.shard import Shard
from featcache.cache.space import Space
from featcache.cache.upkeep.rewrite import RowSource, write_rows
from featcache.data.keys import row_keys

HERE = Path(__file__).parent
WIDTH = 8
SHARD = f"shard-{1:032x}.h5"
SHARD_TEXTS = [
    "a good film",
    "A good film",
    "",
    "naïve café, 日本語 🙂",
    "two\nlines",
    "in both files",
    "a large value",
]
SEALED_TEXTS = ["in both files", "sealed one", "sealed two", "sealed three", "sealed four"]
ABSENT = ["not there", "a good film ", "In both files"]
CONTRACT = Contract(
    weights=hashlib.sha256(b"golden weights").hexdigest(),
    config={
        "model_type": "bert",
        "hidden_size": WIDTH,
        "layer_norm_eps": 1e-12,
        "name_or_path": "größe",
    },
    tokenizer=hashlib.sha256(b"golden tokenizer").hexdigest(),
    code=None,
    special_tokens=True,
    max_length=48,
    truncation_side="right",
    dtype="float32",
    quantization=None,
    layers=(0, 2),
    poolings=("mean", "cls"),
)
ORIGIN = BackboneOrigin("models/golden", WIDTH, 2, 48)


def provenance(day: int) -> dict[str, Any]:
    """What made the rows, on a day of January."""
    return {
        "written": f"2026-01-{day:02d}T00:00:00+00:00",
        "device": "cpu",
        "attention": "padded",
        "featcache": "0.1.0",
        ORIGIN_FIELD: vars(ORIGIN),
    }


def rows_of(texts: list[str], start: int) -> CachedRows:
    """Rows of texts. start: a number that no value of another call repeats."""
    n = len(texts)
    features = {}
    for number, view in enumerate(CONTRACT.views):
        places = np.arange(n * WIDTH, dtype=np.float32).reshape(n, WIDTH) + 100 * number + start
        features[view] = places / 7 - 40  # sevenths: float16 has to round them
    return CachedRows(
        keys=row_keys(texts),
        n_tokens=np.arange(3, 3 + n, dtype=np.uint32) + start // 1000 * 300,
        truncated=np.arange(n) % 3 == 1,
        features=features,
    )


def shard_rows() -> CachedRows:
    """Rows of the ordinary shard: the limits of float16 in one view, and a value beyond them in
    another.
    """
    rows = rows_of(SHARD_TEXTS, 0)
    rows.features["layer_00/cls"][1] = [
        0.0,
        -0.0,
        65504.0,
        -65504.0,
        6e-8,
        6.1035156e-05,
        1.0009766,
        -1.0,
    ]
    rows.features["layer_02/mean"][6, 3] = 70_000.0  # makes this view of this file float32
    return rows


def make(cache: Path) -> Path:
    """Write the cache; returns its space."""
    space = Space.create(cache, "golden", CONTRACT, ORIGIN).path
    with tempfile.TemporaryDirectory() as folder:
        path = write_shard_file(
            Path(folder),
            "one.h5",
            rows_of(SEALED_TEXTS, 1000).columns(),
            contract=CONTRACT,
            provenance=provenance(1),
        )
        source = RowSource(Shard.open(path), np.ones(len(SEALED_TEXTS), dtype=np.bool_))
        write_rows(
            space,
            SEALED,
            [source],
            contract=CONTRACT,
            seal=True,
            progress=lambda _: None,
            provenance=merged([source.shard.provenance], [source.n_rows]),
        )
    write_shard_file(
        space, SHARD, shard_rows().columns(), contract=CONTRACT, provenance=provenance(2)
    )
    (space / "lock").unlink()
    return space


def expected(space: Path) -> dict[str, Any]:
    """What reading the cache has to give, from the arrays that were written, not the files."""
    served: dict[str, Any] = {}
    # features.h5 comes first by name: of a text in both files its row is served.
    for file, texts, rows in (
        (SHARD, SHARD_TEXTS, shard_rows()),
        (SEALED, SEALED_TEXTS, rows_of(SEALED_TEXTS, 1000)),
    ):
        for row, text in enumerate(texts):
            wide = {
                view: np.abs(states).max() > np.finfo(np.float16).max
                for view, states in rows.features.items()
            }
            states = {
                view: states[row]
                .astype(np.float32 if wide[view] else np.float16)
                .astype(float)
                .tolist()
                for view, states in rows.features.items()
            }
            served[text] = {
                "file": file,
                "row": row,
                "key": bytes(rows.keys[row]).hex(),
                "n_tokens": int(rows.n_tokens[row]),
                "truncated": bool(rows.truncated[row]),
                "states": states,
            }
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(space.iterdir())
    }
    return {
        "space": space.name,
        "contract": CONTRACT.digest,
        "views": list(CONTRACT.views),
        "width": WIDTH,
        "texts": served,
        "absent": ABSENT,
        "sha256": files,
    }


def main() -> None:
    """Write both, where neither is there."""
    cache = HERE / f"format-{FORMAT}"
    if cache.exists() or FORMAT != 1:
        sys.exit(f"{cache} is not to be written again; read the beginning of this script")
    space = make(cache)
    text = json.dumps(expected(space), indent=1, ensure_ascii=False)
    (HERE / f"format-{FORMAT}.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
