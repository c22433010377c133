"""The kind `custom`: a module that a function of the user makes (`heads/module.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.features.views import View
from featcache.heads.shape import HeadShape

if TYPE_CHECKING:
    from featcache.features.folds import Fold
    from featcache.features.matrices import FoldFeatures
    from featcache.heads.candidate import Candidate
    from featcache.heads.kind import Numbered, Runner
    from featcache.heads.module import CustomHead
    from featcache.heads.setup import TrainingSetup


class Custom:
    """Heads that are code, trained one at a time with plain cross-entropy."""

    name, tier, learning_rate, stacked, plain_loss = "custom", 0, 1e-3, False, True

    def shape(self, depth: int = 0, width: int | None = None) -> HeadShape:  # noqa: ARG002 - the code knows them
        """Make the shape of a head that is code."""
        return HeadShape(self.name)

    def fits(self, view: View) -> bool:
        """Refuse mixed views: a module is given one matrix."""
        return not view.mixed

    def runners(
        self,
        candidates: Numbered,
        setup: TrainingSetup,
        fold: Fold,
        features: FoldFeatures,  # noqa: ARG002 - modules are given features as cached
    ) -> list[Runner]:
        """Make one runner for all: modules draw from one stream, so they train one by one."""
        from featcache.heads.module_runner import ModuleRunner

        return [ModuleRunner(candidates, setup, fold)]

    def refit(
        self,
        candidate: Candidate,
        settings: dict[str, Any],
        setup: TrainingSetup,
        places: NDArray[np.int64],
    ) -> CustomHead:
        """Train as many epochs as were found best; see `HeadKind.refit`."""
        from featcache.heads.module_runner import refit_module

        return refit_module(candidate, settings, setup, places)
