"""All fault campaigns by name, and how many trials the full form of each has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.faults import errors, hostile, kill, malformed_cache, mutations, power, writers
from tests.faults.result import Result


@dataclass(frozen=True)
class Campaign:
    """run: takes the number of trials and a seed.  full: trials that the promises rest on; every
    case where 0.
    """

    run: Callable[[int, int], Result]
    full: int


CAMPAIGNS: Mapping[str, Campaign] = {
    "kill": Campaign(kill.campaign, 1_000),
    "writers": Campaign(writers.campaign, 500),
    "power": Campaign(power.campaign, 10_000),
    "errors": Campaign(errors.campaign, 0),
    "mutations": Campaign(mutations.campaign, 100_000),
    "hostile": Campaign(hostile.campaign, 0),
    "malformed": Campaign(malformed_cache.campaign, 0),
}
