"""The same hostile calls again and again leave nothing behind. Begins with a handler that keeps what it is given."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from comptoir_server import log
from comptoir_server.app.deps import Deps
from tests.hostile.campaign import Campaign
from tests.hostile.memory import MIB, growth
from tests.hostile.place import SEED, Place, open_place
from tests.support.door import METHODS

CALLS = 20
PASSES = 2
GROWTH_MAX = 12 * MIB
"""What a process may grow by, for caches that were not full yet."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    log.set_up(level="critical", stream=sys.stderr)  # without a cache: others in this process log anew
    async with open_place(tmp_path, SEED) as opened:
        yield opened


async def test_a_use_case_that_keeps_what_it_is_given_is_noticed(place: Place) -> None:
    kept: list[bytearray] = []

    def greedy(function: Callable[..., Any]) -> Callable[..., Any]:
        async def keep(deps: Deps, call: Any, **arguments: Any) -> Any:
            kept.append(bytearray(b"x" * MIB))
            return await function(deps, call, **arguments)

        return keep

    campaign = Campaign(place, SEED)
    await campaign.settle_in()
    place.spoil("GetPartner", greedy)

    assert await growth(campaign, ["GetPartner"], CALLS, PASSES) > GROWTH_MAX
    assert len(kept) > PASSES * GROWTH_MAX // MIB


async def test_the_same_hostile_calls_again_and_again_keep_no_memory_and_no_task(place: Place) -> None:
    campaign = Campaign(place, SEED)
    await campaign.settle_in()
    tasks = len(asyncio.all_tasks())

    grown = await growth(campaign, list(METHODS), CALLS, PASSES)

    assert campaign.tally.findings == []
    assert grown < GROWTH_MAX
    assert len(asyncio.all_tasks()) == tasks
