"""Two wishes about one checkout at the same moment: at most one charge, and each caller is told what is true.

Seeded rounds, both databases; the provider's own books are the judge.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable

import pytest

from comptoir_server.app.ports import OperationKind
from comptoir_server.domain.checkouts import Checkout, CheckoutState
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.runtime import MICROSECONDS
from comptoir_server.store.checks import check_database
from tests.support.databases import database_url
from tests.support.providers import declined
from tests.support.world import World, open_world

__all__ = ["database_url"]

ROUNDS = 40
SPREAD_SECONDS = 0.03
TAKEN = 24_000


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as made:
        yield made
        assert check_database(database_url).broken == ()


async def told(wish: Awaitable[object], after: float) -> str:
    """What a caller was told who asks after so many seconds: a state, or the reason of a refusal."""
    await asyncio.sleep(after)
    try:
        answer = await wish
    except Refused as refusal:
        return refusal.reason.value
    if isinstance(answer, Checkout):
        return "CANCEL NOTED" if answer.cancel_requested else answer.state.value
    assert isinstance(answer, dict)
    return str(answer["payment"].state.value)


def charged(world: World) -> int:
    return world.provider.books.total(OperationKind.CHARGE)


def given_back(world: World) -> int:
    return world.provider.books.total(OperationKind.REFUND)


@pytest.mark.parametrize("seed", [1, 2])
async def test_taps_that_race_charge_once_and_are_told_the_same(world: World, seed: int) -> None:
    draw = random.Random(seed)
    for number in range(ROUNDS):
        checkout = await world.checkout()
        taps = [told(world.confirm(checkout), draw.uniform(0, SPREAD_SECONDS)) for _ in range(3)]

        assert await asyncio.gather(*taps) == ["CAPTURED"] * 3
        assert charged(world) == (number + 1) * TAKEN


@pytest.mark.parametrize("seed", [3])
async def test_a_late_duplicate_of_a_declined_tap_is_stale_or_declined_with_it(world: World, seed: int) -> None:
    draw = random.Random(seed)
    seen: Counter[str] = Counter()
    for _ in range(ROUNDS):
        checkout = await world.checkout()
        world.provider.replies.append(declined())
        taps = [told(world.confirm(checkout), draw.uniform(0, SPREAD_SECONDS)) for _ in range(2)]
        answers = await asyncio.gather(*taps)
        seen.update(answers)

        assert set(answers) <= {"DECLINED", Reason.VERSION_STALE.value}
        assert "DECLINED" in answers
    assert charged(world) == 0
    print(f"seed {seed}: {dict(seen)}")


@pytest.mark.parametrize("seed", [4])
async def test_a_confirm_that_races_a_cancel_ends_paid_or_given_back(world: World, seed: int) -> None:
    draw = random.Random(seed)
    seen: Counter[tuple[str, str]] = Counter()
    for _ in range(ROUNDS):
        checkout = await world.checkout()
        before = charged(world) - given_back(world)
        answers = await asyncio.gather(
            told(world.confirm(checkout), draw.uniform(0, SPREAD_SECONDS)),
            told(world.cancel(checkout), draw.uniform(0, SPREAD_SECONDS)),
        )
        await world.work()
        await world.work()
        seen[answers[0], answers[1]] += 1
        kept = charged(world) - given_back(world) - before
        state = (await world.now_checkout(checkout.id)).state

        assert state in (CheckoutState.COMPLETED, CheckoutState.CANCELED)
        assert kept == (TAKEN if state == CheckoutState.COMPLETED else 0)
        assert tuple(answers) in {
            ("CAPTURED", Reason.INVALID_STATE.value),
            ("CAPTURED", "CANCEL NOTED"),
            (Reason.INVALID_STATE.value, "CANCELED"),
        }
    print(f"seed {seed}: {dict(seen)}")


@pytest.mark.parametrize("seed", [5])
async def test_a_confirm_that_races_its_expiry_is_paid_or_told_that_it_came_too_late(world: World, seed: int) -> None:
    draw = random.Random(seed)
    seen: Counter[str] = Counter()
    for _ in range(ROUNDS):
        checkout = await world.checkout(expire_time=world.runtime.now() + int(0.02 * MICROSECONDS))
        before = charged(world)
        answer, _ = await asyncio.gather(
            told(world.confirm(checkout), draw.uniform(0, SPREAD_SECONDS)), world.work(0.01)
        )
        await world.work(0.05)
        seen[answer] += 1
        state = (await world.now_checkout(checkout.id)).state

        paid = answer == "CAPTURED"
        assert answer in ("CAPTURED", Reason.CHECKOUT_EXPIRED.value)
        assert state == (CheckoutState.COMPLETED if paid else CheckoutState.EXPIRED)
        assert charged(world) - before == (TAKEN if paid else 0)
    assert set(seen) == {"CAPTURED", Reason.CHECKOUT_EXPIRED.value}, seen
    print(f"seed {seed}: {dict(seen)}")
