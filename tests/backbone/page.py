"""The table of docs/backbones.md: how each family runs. `python -m tests.backbone.page` writes it
anew.

A tiny model of each family is run in padded batches, packed, and text by text; every pooling of
every layer of every text is compared. The page states bounds and not the differences themselves,
which vary between processors.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcache.backbone.linear import lay_out
from featcache.backbone.model import Backbone
from featcache.backbone.packed import why_not_packed
from tests.backbone.test_pooling import all_states, load, one_by_one
from tests.conftest import save_encoder, sentences

PAGE = Path(__file__).parents[2] / "docs" / "backbones.md"
FLOAT32, BFLOAT16 = 1e-5, 0.999  # largest difference to 1 + the largest value; lowest cosine
HEAD = "| family | model type | texts are | float32: largest difference | bfloat16: lowest cosine |"
_TEXTS = sentences(9, seed=6, longest=20)
_LIMIT = 48  # tokens, of the tiny models


@dataclass(frozen=True)
class Measured:
    """Of one family. padded, packed: largest differences in float32; cosine: lowest, in bfloat16,
    as it runs.
    """

    kind: str
    why_padded: str | None
    padded: float
    packed: float | None
    cosine: float


def measured(folder: Path) -> Measured:
    """Run a model folder in all ways."""
    model = load(folder)
    why, expected = why_not_packed(model, _LIMIT), one_by_one(model, _TEXTS)
    padded = _largest(model, expected)
    packed = None if why else _largest(replace(model, packed=True), expected)
    half = load(folder, "bfloat16")
    expected = one_by_one(half, _TEXTS)
    lay_out(half.model)
    states = all_states(replace(half, packed=why is None), _TEXTS, 80)
    norms = np.linalg.norm(states, axis=-1) * np.linalg.norm(expected, axis=-1)
    cosine = (states * expected).sum(axis=-1) / np.maximum(norms, 1e-9)
    return Measured(model.model.config.model_type, why, padded, packed, float(cosine.min()))  # type: ignore[union-attr, arg-type]  # a PreTrainedModel


def _largest(model: Backbone, expected: NDArray[np.float32]) -> float:
    return float(
        np.abs(all_states(model, _TEXTS, 80) - expected).max() / (1 + np.abs(expected).max())
    )


def row(name: str, found: Measured) -> str:
    """One line of the table."""
    texts = "packed" if found.why_padded is None else f"padded: {found.why_padded}"
    cosine = f"above {BFLOAT16}" if found.cosine >= BFLOAT16 else f"{found.cosine:.4f}"
    worst = max(found.padded, found.packed or 0.0)
    difference = f"below {FLOAT32:.0e}" if worst <= FLOAT32 else f"{worst:.0e}"
    return f"| {name} | `{found.kind}` | {texts} | {difference} | {cosine} |"


def main() -> None:
    """Write the table into the page, in place of the one there."""
    from tests.backbone.test_families import FAMILIES, build

    with tempfile.TemporaryDirectory() as place:
        encoder = Path(place) / "encoder"
        save_encoder(encoder)
        found = [
            row(name, measured(build(name, encoder, Path(place) / name)))
            for name in sorted(FAMILIES)
        ]
    before, _, rest = PAGE.read_text("utf-8").partition(HEAD)
    after = "\n".join(line for line in rest.splitlines() if not line.startswith("|"))
    PAGE.write_text(
        f"{before}{HEAD}\n| --- | --- | --- | --- | --- |\n" + "\n".join(found) + after + "\n",
        "utf-8",
    )


if __name__ == "__main__":
    main()
