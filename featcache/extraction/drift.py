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


_N_PROBES = 4  # cached rows computed again before rows are added to a space


# Largest relative difference |new - cached| / |cached| that batching and rounding explain. Measured
# with MiniLM on 170 texts, run one by one against batches of 4,096 and 20,000 tokens, over 7 layers
# x 2 poolings: float32 4e-4 (the float16 of storage), bfloat16 1.3e-2. With one layer's output
# weights scaled by 1.1 the views after it differ by up to 0.08 (median 0.02), by 1.02 by up to
# 0.015.
_TOLERANCE = {"float32": 0.005, "float16": 0.02, "bfloat16": 0.05}


def check_drift(space: Space, survey: Survey, missing: NDArray[np.int64], model: Backbone) -> None:
    """Compute a few cached rows again before others are added, and compare.

    Libraries, device and thread count are provenance, not contract; here it shows whether they
    matter.

    Args:
        space: The space to which rows will be added.
        survey: The texts.
        missing: Numbers of the different texts that the space lacks, (M,).
        model: The backbone.

    Raises:
        ContractError: Some view of a cached row comes out differently.
    """
    if len(missing) == len(survey.keys):
        return
    rows = _probes(survey, missing)
    contract = space.contract
    computed = states_of(
        survey.texts(rows), model, contract, layers=contract.layers, poolings=contract.poolings
    )  # (probes, layers, poolings, H)
    positions = space.find(survey.keys[rows])
    tolerance = _TOLERANCE[contract.dtype]
    for i, layer in enumerate(contract.layers):
        for j, pooling in enumerate(contract.poolings):
            cached = space.gather(positions, layer=layer, pooling=pooling)  # (probes, H)
            difference = np.linalg.norm(computed[:, i, j] - cached, axis=1)
            change = (difference / (np.linalg.norm(cached, axis=1) + 1e-6)).max()
            if change > tolerance:
                msg = (
                    f"layer {layer} {pooling} of rows that are in {space.name} comes out "
                    f"differently now (by {change:.1%}; rounding explains {tolerance:.1%}): "
                    "libraries or device changed"
                )
                cure = (
                    "Use another --cache, so that old and new features never mix; "
                    "or restore the environment."
                )
                raise ContractError(msg, cure=cure)


def _probes(survey: Survey, missing: NDArray[np.int64]) -> NDArray[np.int64]:
    """A few of the cached texts, by number: of those in memory, if there are any, else the first.

    The first ones cost little reading.
    """
    cached = np.setdiff1d(np.arange(len(survey.keys)), missing, assume_unique=True)
    in_memory = cached[survey.first[cached] < len(survey.head)]
    candidates = in_memory if len(in_memory) else cached[:_N_PROBES]
    count = min(_N_PROBES, len(candidates))
    places = np.linspace(0, len(candidates) - 1, count).astype(int)
    probes: NDArray[np.int64] = candidates[places]
    return probes
