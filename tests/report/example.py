"""Run folders for the tests of the page: a real run with every part that a run can have, and a made
one of any size.

`enrich` gives a folder that `fit-heads` wrote the parts that need experiments and texts;
`write_made` writes a whole folder from nothing but numbers, for many classes and for names that try
to break a page.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

CLOSING = "</script><script>window.broken = 1</script>"
HOSTILE_LABELS = [
    "<script>window.broken = 1</script>",
    "עברית (ימין)",
    "🙂 happy & 'so on'",
    'a.b[0]\\n"c"',
    "x" * 90,
    "@ink",
    "line\u2028end\u0000",
]
HOSTILE_TEXTS = [
    f"{CLOSING}<img src=x onerror='window.broken = 1'><!-- never closed",
    "{{ 7 * 7 }} {% raw %} &amp; &lt;b&gt; \u2028 \u0000 \u202e reversed",
    "مرحبا بالعالم، هذا نص من اليمين إلى اليسار",
    "a-word-without-any-place-to-break-it" * 60,
    "many words " * 600,
]


def enrich(folder: Path, texts: Sequence[str] = (), *, seed: int = 0) -> Path:
    """Add every part to a run's folder that it does not have yet. texts: for mistakes, findings and
    doubts.
    """
    path = folder / "result.json"
    result = json.loads(path.read_text("utf-8"))
    texts = list(texts) or [
        f"This is text number {number}, which says little." for number in range(12)
    ]
    result |= _parts(result, texts, seed)
    path.write_text(json.dumps(result, ensure_ascii=False), "utf-8")
    lines = [json.loads(line) for line in (folder / "trials.jsonl").read_text("utf-8").splitlines()]
    for line in lines:
        score = line["validation"][result["metric"]]
        line["interval"] = {"low": round(score - 0.02, 6), "high": round(min(1.0, score + 0.02), 6)}
    (folder / "trials.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines), "utf-8"
    )
    confusion = (
        np.array(result["best"]["test_details"]["confusion"])
        if result["best"]["test"]
        else np.eye(2) * 20
    )
    write_predictions(folder, confusion.astype(int), seed=seed)
    return folder


def write_predictions(folder: Path, confusion: Any, *, seed: int = 0, rows: str = "row") -> None:
    """predictions.parquet with this confusion matrix; rows: a word that names the rows, the same
    for the same rows.
    """
    generator = np.random.default_rng(seed)
    n_classes = len(confusion)
    cells = [(truth, given) for truth in range(n_classes) for given in range(n_classes)]
    pairs = [cell for cell in cells for _ in range(int(confusion[cell[0]][cell[1]]))]
    truth, given = (np.array([pair[side] for pair in pairs], dtype=np.int32) for side in (0, 1))
    keys = [
        hashlib.blake2b(f"{rows} {number}".encode(), digest_size=16).digest()
        for number in range(len(pairs))
    ]
    order = generator.permutation(len(pairs))
    table = pa.table(
        {
            "key": pa.array([keys[place] for place in order], pa.binary(16)),
            "label": truth[order],
            "best": given[order],
            "linear": np.where(generator.random(len(pairs)) < 0.1, (truth + 1) % n_classes, given)[
                order
            ].astype("i4"),
            "confidence": generator.uniform(1 / n_classes, 1, len(pairs)).astype(np.float32),
        }
    )
    parquet.write_table(
        table.replace_schema_metadata({"part": "test"}), folder / "predictions.parquet"
    )


def _parts(result: dict[str, Any], texts: list[str], seed: int) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    classes, metric, n_train = result["classes"], result["metric"], result["rows"]["train"]
    top = result["best"]["validation"][metric]
    floor = 0.6 * top
    sizes = sorted({max(8, round(n_train / 2**power)) for power in range(6)})

    def law(rows: float) -> float:
        return float(top - (top - floor) * (sizes[0] / rows) ** 0.7)

    dense = np.unique(np.geomspace(sizes[0], 2 * sizes[-1], 40).astype(int))
    example = [
        {
            "text": text,
            "label": classes[number % len(classes)],
            "predicted": classes[(number + 1) % len(classes)],
            "probability": round(0.998 - 0.01 * number, 4),
            "source": "reviews.csv",
            "row": 17 * number + 3,
        }
        for number, text in enumerate(texts)
    ]
    confidences = np.linspace(1 / max(2, len(classes)) + 0.05, 0.99, 8)
    return {
        "label": "stars",
        "created": "2026-03-05T14:22:07+00:00",
        "command": "featcache fit-heads reviews.csv --test 'my reviews/<1>.csv' --label stars",
        "backbone": "models/distilbert",
        "versions": {
            "featcache": "0.1.0",
            "numpy": "2.4.6",
            "torch": "2.13.0",
            "transformers": "5.23.0",
        },
        "contract": {
            "weights": "9f" * 32,
            "layers": [0, 1, 2],
            "poolings": ["mean", "cls"],
            "max_length": 512,
        },
        "verdict": {
            "kind": "features",
            "why": "the linear head on the last layer stops at 0.867 on validation rows and "
            "at 0.909 on training rows: "
            "the best other view gives +8.6 ± 0.9 points, a deeper head on it another +1.2 ± 0.3",
            "cure": "featcache predict runs/reviews-stars/bundle DATA",
            "subject": "linear head on layer 6 mean",
            "causes": [
                {
                    "kind": "features",
                    "points": 0.086,
                    "standard_error": 0.009,
                    "cure": None,
                    "why": "logistic regression on all layers, nothing else changed",
                },
                {
                    "kind": "capacity",
                    "points": 0.012,
                    "standard_error": 0.003,
                    "why": "two hidden layers on the same view",
                    "cure": "featcache fit-heads reviews.csv --label stars --depths 2",
                },
                {
                    "kind": "data-limited",
                    "points": None,
                    "standard_error": None,
                    "why": "the curve still rises",
                    "cure": None,
                },
            ],
            "experiments": [
                {
                    "name": name,
                    "what": what,
                    "score": top + difference,
                    "train": train,
                    "gain": gain,
                    "standard_error": error,
                    "against": against,
                }
                for name, what, difference, train, gain, error, against in (
                    ("subject", "as it is", -0.1, 0.9, None, None, None),
                    (
                        "trained",
                        "other learning rates, and longer",
                        -0.1,
                        top,
                        0.001,
                        0.002,
                        "the subject",
                    ),
                    ("unscaled", "not standardised", -0.13, None, -0.031, 0.006, "the subject"),
                    (
                        "held-back",
                        "more regularisation, smaller C, stopped early",
                        -0.1,
                        top,
                        -0.004,
                        0.003,
                        "the subject",
                    ),
                    (
                        "views",
                        "other layers and poolings: logreg on layers 0–6 mean",
                        -0.01,
                        0.99,
                        0.086,
                        0.009,
                        "the subject",
                    ),
                    (
                        "everything",
                        "all of it: mlp 2×256 on layers 0–6 mean",
                        0.0,
                        0.999,
                        0.098,
                        0.009,
                        "the subject",
                    ),
                    (
                        "rows-twice",
                        "twice the labels, by the curve through these",
                        0.006,
                        None,
                        0.006,
                        0.004,
                        "all rows",
                    ),
                    (
                        "shuffled",
                        "the best head trained on shuffled labels",
                        -0.4,
                        None,
                        None,
                        None,
                        None,
                    ),
                )
            ],
        },
        "learning_curve": {
            "metric": metric,
            "about": "the chosen head",
            "points": [
                {
                    "rows": size,
                    "mean": law(size) + float(generator.normal(0, 0.003)),
                    "low": law(size) - 0.02,
                    "high": law(size) + 0.02,
                    "train": min(1.0, top + 0.02),
                }
                for size in sizes
            ],
            "fit": [
                {
                    "rows": int(rows),
                    "value": law(rows),
                    "low": law(rows) - 0.012 * math.sqrt(rows / sizes[-1]),
                    "high": law(rows) + 0.012 * math.sqrt(rows / sizes[-1]),
                }
                for rows in dense
            ],
            "doubling": {"value": law(2 * sizes[-1]) - law(sizes[-1]), "standard_error": 0.004},
        },
        "reliability": {
            "part": "test",
            "bins": [
                {
                    "confidence": float(value),
                    "accuracy": float(min(1, max(0, value + generator.normal(0, 0.03)))),
                    "rows": int(10 + 800 * value**6),
                }
                for value in confidences
            ],
        },
        "mistakes": example[:20],
        "findings": [
            {
                "kind": "repeated",
                "count": 403,
                "total": 5574,
                "leak": True,
                "examples": texts[:3],
                "what": "403 texts of the file are repeated, always with the same label",
                "effect": "Split by row, they would be on two sides; here each text is on "
                "one side.",
                "cure": "Nothing to do: featcache splits by text.",
            },
            {
                "kind": "mojibake",
                "count": 104,
                "total": 5980,
                "leak": False,
                "examples": texts[3:6],
                "what": "104 texts hold characters of a wrong encoding, all of them of "
                "class human.",
                "effect": "A head can learn the encoding instead of the text.",
                "cure": "Read the source again as UTF-8.",
            },
        ],
        "mislabelled": {"count": 31, "path": "mislabelled.csv", "examples": example[:8]},
    }


def write_made(folder: Path, classes: Sequence[Any], *, n_layers: int = 4, seed: int = 0) -> Path:
    """A run's folder with these classes, as `fit-heads` would write it, from drawn numbers. Without
    the newer parts.
    """
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    n_classes = len(classes)
    confusion = generator.poisson(0.3, (n_classes, n_classes)) + 20 * np.eye(n_classes, dtype=int)

    def scores(value: float) -> dict[str, float]:
        return {"accuracy": value, "macro_f1": value, "weighted_f1": value, "mcc": value}

    def record(
        head: str, depth: int, width: int | None, layers: list[int], value: float
    ) -> dict[str, Any]:
        epochs = np.arange(1, 7)
        curve = {
            "train_loss": (1 / epochs).tolist(),
            "validation_loss": (1.1 / epochs**0.7).tolist(),
            "train_score": (1 - 0.3 / epochs).tolist(),
            "validation_score": (value - 0.2 / epochs).tolist(),
        }
        if head == "logreg":
            curve = {
                "c": [0.01, 0.1, 1.0],
                "train_score": [0.6, 0.7, 0.8],
                "validation_score": [0.6, 0.65, 0.64],
            }
        return {
            "head": head,
            "depth": depth,
            "width": width,
            "layers": layers,
            "pooling": ["mean"],
            "mixed": False,
            "settings": {"seed": 0},
            "train": scores(min(1.0, value + 0.05)),
            "validation": scores(value),
            "ended": "done",
            "curve": curve,
            "n_parameters": 770 * (1 + depth),
            "seconds": 0.2,
        }

    trials = [
        record("logreg", 0, None, [layer], 0.6 + 0.3 * layer / n_layers)
        for layer in range(n_layers)
    ]
    trials += [
        record("mlp", 1, 64, [layer], 0.65 + 0.3 * layer / n_layers) for layer in range(n_layers)
    ]
    (folder / "trials.jsonl").write_text("".join(json.dumps(one) + "\n" for one in trials), "utf-8")

    def scored(trial: dict[str, Any], value: float) -> dict[str, Any]:
        kept = {
            name: one for name, one in trial.items() if name not in ("curve", "seconds", "ended")
        }
        truth, given, right = confusion.sum(axis=1), confusion.sum(axis=0), np.diagonal(confusion)
        per_class = [
            {
                "class": classes[place],
                "precision": float(right[place] / given[place]),
                "recall": float(right[place] / truth[place]),
                "f1": float(2 * right[place] / (truth[place] + given[place])),
                "support": int(truth[place]),
            }
            for place in range(n_classes)
        ]
        test = {
            name: {"value": one, "low": one - 0.02, "high": one + 0.02}
            for name, one in scores(value).items()
        }
        details = {
            "probabilities": {"log_loss": 0.3, "roc_auc": None},
            "per_class": per_class,
            "confusion": confusion.tolist(),
        }
        return {**kept, "test": test, "test_details": details}

    floor = {"train": scores(0.9), "validation": scores(0.55), "test": scores(0.5)}
    result = {
        "best": scored(trials[-1], 0.85),
        "linear": scored(trials[n_layers - 1], 0.8),
        "floors": {"majority": {part: scores(1 / n_classes) for part in floor}, "tfidf": floor},
        "gain": {"value": 0.05, "low": 0.02, "high": 0.08, "standard_error": 0.015},
        "mcnemar": {"only_mine": 30, "only_theirs": 10, "p_value": 0.002},
        "calibration": {
            "temperature": 0.8,
            "validation_before": 0.07,
            "validation_after": 0.02,
            "test_before": 0.08,
            "test_after": 0.03,
            "offsets": None,
        },
        "verdict": {
            "kind": None,
            "why": "no layer, pooling or deeper head tried is better beyond noise",
            "cure": None,
        },
        "metric": "macro_f1",
        "classes": list(classes),
        "rows": {"train": 400, "validation": 100, "test": int(confusion.sum()), "dropped": 3},
        "search": {
            "search": "halving",
            "trials": None,
            "seconds": None,
            "cv": None,
            "balance": "none",
            "focal": 0.0,
            "thresholds": False,
            "seeds": [0],
            "compared": [{"head": "mlp 1×64", "view": f"layer {n_layers - 1} mean", "score": 0.84}],
        },
        "test_read_before": [],
        "space": "made-0123456789ab",
        "signature": "space:made-0123456789ab|metric:macro_f1",
        "trials": len(trials),
        "seconds": 12.3,
        "bundle": "runs/made/bundle",
    }
    (folder / "result.json").write_text(json.dumps(result, ensure_ascii=False), "utf-8")
    return folder
