"""A short form of each fault campaign; `benchmarks/faults.py` runs them in full."""

from __future__ import annotations

from unittest import mock

import pytest

from tests.faults import power
from tests.faults.campaigns import CAMPAIGNS

SHORT = {
    "kill": 10,
    "writers": 10,
    "power": 400,
    "errors": 20,
    "mutations": 3_000,
    "hostile": 25,
    "malformed": 200,
}


def test_every_campaign_has_a_short_form() -> None:
    assert SHORT.keys() == CAMPAIGNS.keys()


@pytest.mark.parametrize("name", SHORT)
def test_a_campaign_holds(name: str) -> None:
    result = CAMPAIGNS[name].run(SHORT[name], 0)
    assert result.holds, "\n".join([str(result), *result.problems])


def test_a_forgotten_sync_of_folders_is_seen() -> None:
    """A campaign that cannot fail shows nothing."""
    with mock.patch("featcache.durable.sync_folder"):
        result = power.campaign(100)
    assert result.lost
