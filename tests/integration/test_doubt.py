"""Doubt: ended by evidence alone, whatever a repetition is answered. On both databases.

The provider's keys live for three hours here, and absence is proof a minute after the last call can have ended.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from comptoir_server.app import payments
from comptoir_server.app.ports import DeclineCode, OperationKind, Outcome, OutcomeKind
from comptoir_server.domain.checkouts import CaptureMode, CheckoutState
from comptoir_server.domain.money import Money
from comptoir_server.domain.payments import PaymentState, PendingState
from tests.support.databases import database_url
from tests.support.providers import LOST_REPLY, LOST_REQUEST, NOT_SENT, THROTTLED, Reply, answering, declined
from tests.support.tally import refund_states, require_same_books, sends
from tests.support.world import World, open_world

__all__ = ["database_url"]

REFUSED = declined(DeclineCode.REFUND_NOT_POSSIBLE)
DOUBTFUL = answering(OutcomeKind.IN_DOUBT, executed=False)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as made:
        yield made


async def paid(world: World) -> str:
    """A payment of 240.00 that was taken."""
    payment_id: str = (await world.confirm(await world.checkout()))["payment"].id
    return payment_id


async def held(world: World) -> str:
    """A payment of 240.00 that is held."""
    checkout = await world.checkout(capture_mode=CaptureMode.MANUAL)
    payment_id: str = (await world.confirm(checkout))["payment"].id
    return payment_id


async def capture(world: World, payment_id: str, minor_units: int, seconds: float = 0.3) -> str:
    """The id of a capture of a part of the hold."""
    call = world.by_partner("CreateCapture", amount=minor_units)
    call = type(call)(**{**_fields(call), "deadline": world.runtime.monotonic() + seconds})
    answer = await payments.create_capture(
        world.deps, call, payment_id=payment_id, amount=Money(minor_units, "USD"), final=False
    )
    capture_id: str = answer["capture"].id
    return capture_id
