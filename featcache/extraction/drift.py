"""Noticing an environment that gives other features than the one that filled a space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featcache.cache.space import Space
from featcache.data.survey import Survey
from featcache.errors import ContractError
from featcache.extraction.compute import states_of

if TYPE_CHECKING:
    from featcache.backbone.model import Backbone


_PROBES = 4  # cached rows computed again before rows are added to a space


# Largest relative difference |new - cached| / |cached| that batching and rounding explain. Measured
# with MiniLM on 170 texts, run one by one against batches of 4,096 and 20,000 tokens, over 7 layers
# x 2 poolings: float32 4e-4 (the float16 of storage), bfloat16 1.3e-2. With one layer's output
# weights scaled by 1.1 the views after it differ by up to 0.08 (median 0.02), by 1.02 by up to
# 0.015.
_DRIFT = {"float32": 0.005, "float16": 0.02, "bfloat16": 0.05}


def check_drift(space: Space, survey: Survey, missing: NDArray[np.int64], model: Backbone) -> None:
    """Compute a few cached rows again before adding others, so that an environment that drifted is
    noticed.

    Libraries, device and thread count are provenance, not contract; here it shows whether they
    matter.
    """
    if len(missing) == len(survey.keys):
        return
    held = np.setdiff1d(np.arange(len(survey.keys)), missing, assume_unique=True)
    at_hand = held[survey.first[held] < len(survey.head)]
    # Of the texts that are in memory, if there are any; else the first ones, so that little is read
    # for them.
    some = at_hand if len(at_hand) else held[:_PROBES]
    probes = some[np.linspace(0, len(some) - 1, min(_PROBES, len(some))).astype(int)]
    contract = space.contract
    now = states_of(
        survey.texts(probes), model, contract, layers=contract.layers, poolings=contract.poolings
    )
    positions = space.find(survey.keys[probes])
    for i, layer in enumerate(contract.layers):
        for j, pooling in enumerate(contract.poolings):
            cached = space.gather(positions, layer=layer, pooling=pooling)
            change = np.linalg.norm(now[:, i, j] - cached, axis=1) / (
                np.linalg.norm(cached, axis=1) + 1e-6
            )
            if change.max() > _DRIFT[contract.dtype]:
                msg = (
                    f"layer {layer} {pooling} of rows that are in {space.name} comes out differently now "
                    f"(by {change.max():.1%}; rounding explains {_DRIFT[contract.dtype]:.1%}): "
                    "libraries or device changed"
                )
                cure = "Use another --cache, so that old and new features never mix; or restore the environment."
                raise ContractError(msg, cure=cure)
