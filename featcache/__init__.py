"""featcache: train classification heads on frozen transformers in seconds.

    featcache.extract("reviews.csv", backbone="models/distilbert")
    result = featcache.fit_heads("reviews.csv", label="stars")
    featcache.load_bundle(result.bundle).predict(["Never again."])

The names below are imported when they are first used, so that `import featcache` loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featcache.errors import FeatcacheError
    from featcache.evidence.verdict import Verdict
    from featcache.features.opened import FeatureSpace, open_space
    from featcache.runs.result import FitResult
    from featcache.verbs.check import Checked, check, check_labels
    from featcache.verbs.curves import Curves, curves
    from featcache.verbs.diagnose import diagnose
    from featcache.verbs.explain_miss import explain_miss
    from featcache.verbs.extract import Extraction, extract
    from featcache.verbs.fit import fit_heads, fit_labels
    from featcache.verbs.predict import Predictor, load_bundle, predict_all
    from featcache.verbs.report import write_report
    from featcache.verbs.upkeep import export, merge, repair, verify

_HOMES = {
    "Checked": "featcache.verbs.check",
    "Curves": "featcache.verbs.curves",
    "Extraction": "featcache.verbs.extract",
    "FeatcacheError": "featcache.errors",
    "FeatureSpace": "featcache.features.opened",
    "FitResult": "featcache.runs.result",
    "Predictor": "featcache.verbs.predict",
    "Verdict": "featcache.evidence.verdict",
    "check": "featcache.verbs.check",
    "check_labels": "featcache.verbs.check",
    "curves": "featcache.verbs.curves",
    "diagnose": "featcache.verbs.diagnose",
    "explain_miss": "featcache.verbs.explain_miss",
    "export": "featcache.verbs.upkeep",
    "extract": "featcache.verbs.extract",
    "fit_heads": "featcache.verbs.fit",
    "fit_labels": "featcache.verbs.fit",
    "load_bundle": "featcache.verbs.predict",
    "merge": "featcache.verbs.upkeep",
    "open_space": "featcache.features.opened",
    "predict_all": "featcache.verbs.predict",
    "repair": "featcache.verbs.upkeep",
    "verify": "featcache.verbs.upkeep",
    "write_report": "featcache.verbs.report",
}

__all__ = [
    "Checked",
    "Curves",
    "Extraction",
    "FeatcacheError",
    "FeatureSpace",
    "FitResult",
    "Predictor",
    "Verdict",
    "check",
    "check_labels",
    "curves",
    "diagnose",
    "explain_miss",
    "export",
    "extract",
    "fit_heads",
    "fit_labels",
    "load_bundle",
    "merge",
    "open_space",
    "predict_all",
    "repair",
    "verify",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module 'featcache' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
