"""Money that goes back although nobody asked for it here: the platform's doing, the provider's, or too late."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from comptoir_server.app import sessions, settlement
from comptoir_server.app.evidence import Evidence
from comptoir_server.app.ports import Outcome, OutcomeKind
from comptoir_server.domain.cards import PriceLine, ReceiptCard
from comptoir_server.domain.ids import is_valid
from comptoir_server.domain.money import Money
from comptoir_server.domain.operations import Operation
from comptoir_server.domain.payments import Capture, Payment, Refund, RefundOrigin, RefundState
from comptoir_server.domain.records import replace
from comptoir_server.store.tables import (
    ACCOUNTS,
    CAPTURES,
    EVENTS,
    JOURNAL,
    MESSAGES,
    OPERATIONS,
    ORDERS,
    PAYMENTS,
    POSTINGS,
    REFUNDS,
)
from comptoir_server.store.tx import Tx
from tests.support.databases import new_sqlite
from tests.support.providers import NOT_SENT
from tests.support.rows import rows
from tests.support.world import World, open_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(new_sqlite(tmp_path)) as made:
        yield made


async def called_off(world: World) -> Payment:
    """A payment of 240.00 that was called off while it was made; what is to be given back waits for the reconciler."""
    checkout = await world.checkout()
    gate = world.provider.hold("execute")
    confirming = asyncio.create_task(world.confirm(checkout))
    while not any(method == "execute" for method, _ in world.provider.calls):
        await asyncio.sleep(0.01)
    await world.cancel(checkout)
    gate.set()
    payment: Payment = (await confirming)["payment"]
    return payment


async def failed_refund(world: World, amount: int) -> tuple[Refund, Operation]:
    """A refund that was never sent, as far as anybody knows, and its operation; another of 1.00 succeeded before."""
    payment_id = (await world.confirm(await world.checkout()))["payment"].id
    await world.refund(payment_id, 100)
    world.provider.replies.append(NOT_SENT)
    refund: Refund = (await world.refund(payment_id, amount))["refund"]
    [operation] = [one for one in await rows(world.deps, OPERATIONS) if one.object_id == refund.id]
    assert refund.state == RefundState.FAILED
    return refund, operation


async def arrive(world: World, operation: Operation, reference: str) -> None:
    """The provider tells that it was carried out nevertheless."""
    outcome = Outcome(OutcomeKind.REFUNDED, reference, operation.amount, operation.currency_code)
    evidence = Evidence(outcome, "webhook:WH-1", world.runtime.now())
    await world.deps.store.write(
        lambda tx: settlement.settle(world.deps, tx, operation.id, operation.payment_id, evidence)
    )


async def payloads(world: World, event_type: str) -> list[dict[str, object]]:
    """What events of a type tell the partner, oldest first."""
    events = await rows(world.deps, EVENTS)
    ours = [one for one in events if (one.type, one.partner_id) == (event_type, world.partner_id)]
    return [json.loads(one.payload) for one in sorted(ours, key=lambda one: one.partner_position or 0)]


async def test_what_was_called_off_meanwhile_is_given_back_whole_by_the_platform(world: World) -> None:
    payment = await called_off(world)

    [made], [capture] = await rows(world.deps, REFUNDS), await rows(world.deps, CAPTURES)
    [operation] = [one for one in await rows(world.deps, OPERATIONS) if one.object_id == made.id]
    [reversed_] = await payloads(world, "payment.reversed")

    assert made == Refund(
        id=made.id,
        payment_id=payment.id,
        capture_id=capture.id,
        partner_id=world.partner_id,
        bot_id=world.bot_id,
        session_id=world.session_id,
        user_id=world.user_id,
        channel_id=world.channel_id,
        request_key=f"platform/{capture.id}",
        state=RefundState.PROCESSING,
        origin=RefundOrigin.PLATFORM,
        currency_code="USD",
        amount=24_000,
        reason="The purchase was cancelled.",
        decline_code="",
        reference="",
        create_time=made.create_time,
        update_time=made.create_time,
    )
    assert (operation.lease_owner, operation.sends, operation.next_time) == ("", 0, operation.create_time)
    assert (reversed_["refunding"], reversed_["refunded"]) == (24_000, 0)
    await world.work()
    assert (await world.now_payment(payment.id)).refunded == 24_000
    assert await rows(world.deps, ORDERS) == []


async def test_money_that_goes_back_after_its_refund_had_failed_is_written_down_as_the_providers(world: World) -> None:
    ended, operation = await failed_refund(world, 8_000)
    payment, [order] = await world.now_payment(ended.payment_id), await rows(world.deps, ORDERS)
    [capture], messages = await rows(world.deps, CAPTURES), len(await rows(world.deps, MESSAGES))

    await arrive(world, operation, "REFUND-LATE")

    [late] = [one for one in await rows(world.deps, REFUNDS) if one.origin == RefundOrigin.PROVIDER]
    assert is_valid("rfd", late.id)
    assert late == replace(
        ended,
        id=late.id,
        request_key=f"late/{ended.id}",
        state=RefundState.SUCCEEDED,
        origin=RefundOrigin.PROVIDER,
        reference="REFUND-LATE",
        create_time=late.create_time,
        update_time=late.create_time,
    )
    assert late.create_time > ended.create_time
    assert await world.now_payment(payment.id) == replace(payment, refunded=8_100, update_time=late.create_time)
    assert await rows(world.deps, CAPTURES) == [replace(capture, refunded=8_100, update_time=late.create_time)]
    assert await rows(world.deps, ORDERS) == [replace(order, refunded=8_100)]
    assert len(await rows(world.deps, MESSAGES)) == messages + 1
    [journal] = [one for one in await rows(world.deps, JOURNAL) if one.object_id == late.id]
    keys = {account.id: account.key for account in await rows(world.deps, ACCOUNTS)}
    postings = [one for one in await rows(world.deps, POSTINGS) if one.transaction_id == journal.id]
    assert (journal.effect, [(keys[one.account_id], one.minor_units) for one in postings]) == (
        "refund",
        [("PROVIDER_CLEARING:paypal:USD", 8_000), (f"PARTNER_PAYABLE:{world.partner_id}:USD", -8_000)],
    )
    assert [one["reference"] for one in await payloads(world, "refund.succeeded")][-1] == "REFUND-LATE"
    assert [one["refunded"] for one in await payloads(world, "payment.refunded")] == [100, 8_100]
    assert [one.type for one in await rows(world.deps, EVENTS) if one.noun != one.type.partition(".")[0]] == []


@pytest.mark.parametrize(("on_capture", "on_payment", "fits"), [(0, 0, True), (1, 0, False), (0, 1, False)])
async def test_no_more_goes_back_than_was_taken_whoever_gives_it(
    world: World, on_capture: int, on_payment: int, fits: bool
) -> None:
    ended, operation = await failed_refund(world, 23_900)
    payment, [capture] = await world.now_payment(ended.payment_id), await rows(world.deps, CAPTURES)
    await reserve(world, replace(payment, refunding=on_payment), replace(capture, refunding=on_capture))

    if fits:
        await arrive(world, operation, "REFUND-LATE")
    else:
        with pytest.raises(AssertionError, match="gave back more than was taken"):
            await arrive(world, operation, "REFUND-LATE")

    assert (await world.now_payment(payment.id)).refunded == (24_000 if fits else 100)


async def reserve(world: World, payment: Payment, capture: Capture) -> None:
    """Has something be under way already."""

    async def work(tx: Tx) -> None:
        await tx.load(PAYMENTS.lock(payment.id), CAPTURES.lock(capture.id))
        tx.put(payment)
        tx.put(capture)

    await world.deps.store.write(work)


async def test_a_refund_of_a_payment_that_is_not_the_orders_leaves_the_order_alone(world: World) -> None:
    ended, operation = await failed_refund(world, 8_000)
    [order] = await rows(world.deps, ORDERS)
    other = replace(order, payment_id=world.runtime.new_id("pay"))

    async def work(tx: Tx) -> None:
        await tx.load(ORDERS.lock(order.id))
        tx.put(other)

    await world.deps.store.write(work)
    messages = len(await rows(world.deps, MESSAGES))
    await arrive(world, operation, "REFUND-LATE")

    assert await rows(world.deps, ORDERS) == [other]
    assert len(await rows(world.deps, MESSAGES)) == messages
    assert (await world.now_payment(ended.payment_id)).refunded == 8_100


async def test_the_person_reads_how_much_of_what_they_paid_went_back(world: World) -> None:
    payment_id = (await world.confirm(await world.checkout()))["payment"].id
    [order] = await rows(world.deps, ORDERS)

    await world.refund(payment_id, 8_000)

    answer = await sessions.list_messages(
        world.deps, world.by_user("ListMessages"), session_id=world.session_id, after_sequence=0, page_size=0
    )
    assert answer["messages"][-1].content == ReceiptCard(
        order_id=order.id,
        checkout_id=order.checkout_id,
        partner_display_name="Comptoir Air",
        lines=(PriceLine("Flight", Money(24_000, "USD")),),
        total=Money(24_000, "USD"),
        refunded=Money(8_000, "USD"),
        wallet_label="PayPal a•••@example.com",
        paid_time=order.create_time,
    )
