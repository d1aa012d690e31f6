"""The provider's order is made and kept before anything is charged; where that fails nothing is. On both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from comptoir_server.app import operations
from comptoir_server.app.ports import DeclineCode, Outcome, OutcomeKind, PrepareRefused
from comptoir_server.domain.checkouts import CheckoutState
from comptoir_server.domain.operations import Operation
from comptoir_server.domain.payments import Payment, PaymentState
from comptoir_server.store.tables import OPERATIONS
from tests.support.databases import database_url
from tests.support.providers import THROTTLED, capabilities
from tests.support.tally import require_same_books, sends
from tests.support.world import World, open_world

__all__ = ["database_url"]

LIMIT = capabilities().call_limit_seconds


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as made:
        yield made


async def confirming(world: World, method: str) -> tuple[asyncio.Event, asyncio.Task[dict[str, Any]]]:
    """A yes whose call of `method` waits for the event, and what it is answered."""
    gate = world.provider.hold(method)
    task = asyncio.create_task(world.confirm(await world.checkout()))
    async with asyncio.timeout(5):
        while world.provider.calls[-1:] == [] or world.provider.calls[-1][0] != method:
            await asyncio.sleep(0.01)
    return gate, task


async def operation_of(world: World, payment: Payment) -> Operation:
    [found] = await world.deps.store.read(lambda tx: tx.load(OPERATIONS.list_by("by_object", payment.id)))
    return found


async def require_nothing_charged(world: World, payment: Payment, code: str) -> None:
    """It failed for that reason, the person may try again, and the provider was not asked to charge."""
    now, operation = await world.now_payment(payment.id), await operation_of(world, payment)
    assert (now.state, now.pending_operation_id) == (PaymentState.FAILED, "")
    assert (operation.outcome, operation.provider_code) == ("NOT_SENT", code)
    assert (await world.now_checkout(payment.checkout_id)).state == CheckoutState.OPEN
    assert not any(method == "execute" for method, _ in world.provider.calls)
    await require_same_books(world, 0)


async def test_the_order_is_kept_with_the_payment_and_its_operation(world: World) -> None:
    payment = (await world.confirm(await world.checkout()))["payment"]

    operation = await operation_of(world, payment)
    assert operation.order_reference
    assert (await world.now_payment(payment.id)).order_reference == operation.order_reference
    assert operation.evidence == "reply"


async def test_an_order_that_the_provider_refuses_to_make_declines_the_payment(world: World) -> None:
    refusal = Outcome(OutcomeKind.DECLINED, decline_code=DeclineCode.INSUFFICIENT_FUNDS, provider_code="NO")
    world.provider.fail("prepare", error=PrepareRefused(refusal))

    payment = (await world.confirm(await world.checkout()))["payment"]

    assert (payment.state, payment.decline_code) == (PaymentState.DECLINED, DeclineCode.INSUFFICIENT_FUNDS)
    assert await sends(world, payment.id) == [("CHARGE", "DECLINED", 1)]
    assert not any(method == "execute" for method, _ in world.provider.calls)
    await require_same_books(world, 0)


async def test_where_no_order_can_be_made_nothing_is_charged(world: World) -> None:
    world.provider.fail("prepare")

    payment = (await world.confirm(await world.checkout()))["payment"]

    await require_nothing_charged(world, payment, "no order could be made")


async def test_an_order_that_is_made_after_its_payment_was_given_up_is_not_charged(world: World) -> None:
    gate, task = await confirming(world, "prepare")
    [(_, key)] = world.provider.calls
    world.runtime.let_pass(3 * LIMIT + 1)
    await operations.resolve(world.deps, key)
    operation = await world.deps.store.get(OPERATIONS.get(key))
    assert operation is not None
    assert (operation.outcome, operation.evidence) == ("NOT_SENT", "store")

    gate.set()
    payment = (await task)["payment"]
    await world.idle()

    await require_nothing_charged(world, payment, "no order was made")
    assert (await operation_of(world, payment)).order_reference == ""
    assert (await world.now_payment(payment.id)).order_reference == ""


async def test_nothing_is_sent_once_it_is_too_late(world: World) -> None:
    gate, task = await confirming(world, "prepare")
    world.runtime.let_pass(2 * LIMIT)
    gate.set()
    payment = (await task)["payment"]

    await require_nothing_charged(world, payment, "too late to send")


async def test_a_throttled_charge_is_sent_again_after_a_second_each_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        world.runtime.let_pass(seconds)

    monkeypatch.setattr(world.runtime, "sleep", sleep)
    world.provider.replies.extend([THROTTLED] * 2)

    payment = (await world.confirm(await world.checkout()))["payment"]

    assert slept == [1.0, 1.0]
    assert payment.state == PaymentState.CAPTURED
    await require_same_books(world, 24_000)
