"""What `linear` and `mlp` have in common: many heads are trained as one stack
(`heads/train.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcache.features.views import View

if TYPE_CHECKING:
    from featcache.features.folds import Fold
    from featcache.features.matrices import FoldFeatures
    from featcache.heads.candidate import Candidate
    from featcache.heads.kind import Numbered, Runner
    from featcache.heads.network import Network
    from featcache.heads.setup import TrainingSetup


class StackedKind:
    """Networks that are trained in stacks, by gradient descent. PyTorch is imported when needed."""

    stacked, plain_loss = True, False

    def fits(self, view: View) -> bool:
        """Accept every view of states."""
        return bool(view.layers)

    def runners(
        self, candidates: Numbered, setup: TrainingSetup, fold: Fold, features: FoldFeatures
    ) -> list[Runner]:
        """Make the stacks, the cheapest shape first."""
        from featcache.heads.stack_runner import stack_runners

        return stack_runners(candidates, setup, fold, features)

    def refit(
        self,
        candidate: Candidate,
        settings: dict[str, Any],
        setup: TrainingSetup,
        places: NDArray[np.int64],
    ) -> Network:
        """Train as many epochs as were found best; see `HeadKind.refit`."""
        from featcache.heads.stack_runner import refit_stacked

        return refit_stacked(candidate, settings, setup, places)
