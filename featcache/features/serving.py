"""Which space serves a request when several could: the one rule on layers and poolings.

A space serves a contract when everything else is equal and it holds the layers and poolings of the
contract. Among spaces that differ only in layers and poolings, the one with most views goes first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from featcache.cache.contract import Contract


def widest(contracts: Mapping[Path, Contract], requested: Contract) -> Path | None:
    """Find the widest space that serves a contract; an exactly equal one goes first.

    Args:
        contracts: Contracts of the spaces by path.
        requested: The contract to serve.

    Returns:
        The path of the space, or None where none serves.
    """
    serving = [path for path, contract in contracts.items() if contract.holds(requested)]
    return max(
        serving,
        key=lambda path: (contracts[path] == requested, _n_views(contracts[path])),
        default=None,
    )


def widest_of_alike(contracts: Mapping[Path, Contract]) -> Path | None:
    """Find the widest of several spaces that differ only in layers or poolings.

    Args:
        contracts: Contracts of one or more spaces by path.

    Returns:
        The path of the space; None where they differ in more, or where two are equally wide.
    """
    if len({contract.without_views() for contract in contracts.values()}) > 1:
        return None
    most = max(map(_n_views, contracts.values()))
    wide = [path for path, contract in contracts.items() if _n_views(contract) == most]
    return wide[0] if len(wide) == 1 else None


def widest_without_a_default(
    contracts: Mapping[Path, Contract],
    requested: Contract,
    layers_for: Callable[[int], tuple[int, ...]],
) -> Path | None:
    """Find the widest space that lacks some, not all, of the default poolings and nothing else.

    Args:
        contracts: Contracts of the spaces by path.
        requested: The contract with the default poolings.
        layers_for: Gives the layers of the request for a number of poolings, because how many
            layers "auto" means depends on it.

    Returns:
        The path of the space, or None where there is none.
    """
    serving: dict[Path, Contract] = {}
    n_defaults = len(requested.poolings)
    for path, contract in contracts.items():
        held = tuple(name for name in requested.poolings if name in contract.poolings)
        if not 0 < len(held) < n_defaults:
            continue
        layers = layers_for(min(len(contract.poolings), n_defaults))
        if contract.holds(replace(requested, layers=layers, poolings=held)):
            serving[path] = contract
    return max(serving, key=lambda path: _n_views(serving[path]), default=None)


def _n_views(contract: Contract) -> int:
    """How many pairs of a layer and a pooling a space holds."""
    return len(contract.layers) * len(contract.poolings)
