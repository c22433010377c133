"""Wrote `bundle-1/`, a bundle of format 1, and `bundle-1.json`, what it says of the texts of the
golden cache.

It was run once, with the last code that wrote format 1. NEVER run it again: as for the cache
(`make.py`), files of today's code prove nothing. It refuses to run with another format.

    python -m tests.golden.make_bundle

What is expected is worked out here with `math`, from the states that the golden cache has to give.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from featcache.bundles.bundle import save_bundle
from featcache.bundles.description import BUNDLE_FORMAT, Description
from featcache.heads.network import Network
from tests.golden import EXPECTED, SPACE

HERE = Path(__file__).parent
CLASSES: list[Any] = [False, 7, "größer"]
LAYERS, POOLINGS, WIDTHS = (0, 2), ("mean", "cls"), (32, 5, 5, 3)
CARD = "# A head for `kind`\n"


def weights() -> list[tuple[list[list[float]], list[float]]]:
    """For each layer its weights (in, out) and biases, all of them numbers that float32 holds
    exactly.
    """
    layers = []
    for number, (n_in, n_out) in enumerate(pairwise(WIDTHS)):
        scale = 1024 if number == 0 else 8
        matrix = [
            [((7 * i + 5 * j + 3 * number) % 17 - 8) / scale for j in range(n_out)]
            for i in range(n_in)
        ]
        layers.append((matrix, [((3 * j + number) % 5 - 2) / 4 for j in range(n_out)]))
    return layers


def inputs(text: dict[str, Any]) -> list[float]:
    """The states of a text, view by view, as the cache serves them."""
    return [
        value
        for layer in LAYERS
        for pooling in POOLINGS
        for value in text["states"][f"layer_{layer:02d}/{pooling}"]
    ]


def probabilities(hidden: list[float]) -> list[float]:
    for number, (matrix, bias) in enumerate(weights()):
        columns = zip(*matrix, strict=True)
        sums = [math.fsum(x * w for x, w in zip(hidden, column, strict=True)) for column in columns]
        hidden = [total + b for total, b in zip(sums, bias, strict=True)]
        if number < len(WIDTHS) - 2:
            hidden = [x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in hidden]
    raised = [math.exp(logit - max(hidden)) for logit in hidden]
    return [power / sum(raised) for power in raised]


def main() -> None:
    """Write both, where neither is there."""
    folder = HERE / "bundle-1"
    if folder.exists() or BUNDLE_FORMAT != 1:
        sys.exit(f"{folder} is not to be written again; read the beginning of this script")
    network = Network(
        tuple(np.array(matrix, np.float32) for matrix, _ in weights()),
        tuple(np.array(bias, np.float32) for _, bias in weights()),
    )
    description = Description(
        head="mlp",
        classes=CLASSES,
        label="kind",
        layers=list(LAYERS),
        pooling=list(POOLINGS),
        contract=json.loads((SPACE / "contract.json").read_text("utf-8")),
        space=SPACE.name,
        backbone="models/golden",
        template=None,
        text=None,
        scores={"validation": {"macro_f1": 0.75}},
        versions={"featcache": "0.1.0"},
    )
    save_bundle(folder, network, description, CARD)
    expected = {
        "classes": CLASSES,
        "probabilities": {
            text: probabilities(inputs(one)) for text, one in EXPECTED["texts"].items()
        },
        "sha256": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.iterdir())
        },
    }
    (HERE / "bundle-1.json").write_text(
        json.dumps(expected, indent=1, ensure_ascii=False) + "\n", "utf-8"
    )


if __name__ == "__main__":
    main()
