"""featcache: train classification heads on frozen transformers in seconds.

    featcache.extract("reviews.csv", backbone="models/distilbert")
    result = featcache.fit_heads("reviews.csv", label="stars")
    featcache.load_bundle(result.bundle).predict(["Never again."])

The names below are imported when they are first used, so that `import featcache` loads no torch.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featcache.check import Checked, check
    from featcache.curves import Curves, curves
    from featcache.diagnose import diagnose
    from featcache.errors import FeatcacheError
    from featcache.explain import explain_miss
    from featcache.extract import Extraction, extract
    from featcache.fit import fit_heads
    from featcache.predict import Predictor, load_bundle, predict_all
    from featcache.report.page import write_report
    from featcache.select.outcome import FitResult
    from featcache.select.verdict import Verdict
    from featcache.spaces import FeatureSpace, open_space
    from featcache.upkeep import export, merge, repair, verify

_HOMES = {
    "Checked": "featcache.check",
    "Curves": "featcache.curves",
    "Extraction": "featcache.extract",
    "FeatcacheError": "featcache.errors",
    "FeatureSpace": "featcache.spaces",
    "FitResult": "featcache.select.outcome",
    "Predictor": "featcache.predict",
    "Verdict": "featcache.select.verdict",
    "check": "featcache.check",
    "curves": "featcache.curves",
    "diagnose": "featcache.diagnose",
    "explain_miss": "featcache.explain",
    "export": "featcache.upkeep",
    "extract": "featcache.extract",
    "fit_heads": "featcache.fit",
    "load_bundle": "featcache.predict",
    "merge": "featcache.upkeep",
    "open_space": "featcache.spaces",
    "predict_all": "featcache.predict",
    "repair": "featcache.upkeep",
    "verify": "featcache.upkeep",
    "write_report": "featcache.report.page",
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
    "curves",
    "diagnose",
    "explain_miss",
    "export",
    "extract",
    "fit_heads",
    "load_bundle",
    "merge",
    "open_space",
    "predict_all",
    "repair",
    "verify",
    "write_report",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    if name not in _HOMES:
        msg = f"module 'featcache' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


class _Package(ModuleType):
    """`featcache.extract` is the function: importing the module of that name must not take its place."""

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401 - any attribute
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
