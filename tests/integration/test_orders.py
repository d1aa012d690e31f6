"""Reading what was bought, and the lists of checkouts and payments beside it. On both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from comptoir_server.app import checkouts, orders, payments
from comptoir_server.app.call import CallContext, Caller
from comptoir_server.app.checkouts import ItemOrder
from comptoir_server.domain.checkouts import CheckoutState
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.money import Money
from comptoir_server.domain.payments import PendingState
from tests.support.databases import database_url
from tests.support.providers import LOST_REPLY
from tests.support.world import World, open_world

__all__ = ["database_url"]


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as made:
        yield made


def strangers(world: World) -> list[CallContext]:
    """Callers of every kind to whom nothing here belongs."""
    new_id = world.runtime.new_id
    return [
        replace(world.by_partner(), partner_id=new_id("prt"), bot_id=""),
        replace(world.by_partner(), bot_id=new_id("bot")),
        replace(world.by_user(), user_id=new_id("usr")),
        replace(world.by_user(), user_id="", caller=Caller.CHANNEL, channel_id=new_id("chn")),
    ]


def owners(world: World) -> list[CallContext]:
    """Callers of every kind to whom everything here belongs."""
    return [
        world.by_partner(),
        replace(world.by_partner(), bot_id=""),
        world.by_user(),
        replace(world.by_user(), caller=Caller.CHANNEL),
        replace(world.by_user(), caller=Caller.CHANNEL, user_id=""),
    ]


async def order_ids(world: World, call: CallContext, partner_reference: str = "") -> list[str]:
    answer = await orders.list_orders(world.deps, call, partner_reference=partner_reference, page_size=0, page_token="")
    return [order.id for order in answer["orders"]]


async def test_an_order_is_absent_for_strangers(world: World) -> None:
    answer = await world.confirm(await world.checkout())

    for call in strangers(world):
        with pytest.raises(Refused) as refusal:
            await orders.get_order(world.deps, call, order_id=answer["checkout"].order_id)
        assert refusal.value.reason == Reason.NOT_FOUND
        assert await order_ids(world, call) == []


async def test_orders_are_read_by_both_sides_newest_first_and_by_reference(world: World) -> None:
    made = []
    for reference in ("trip-1", "trip-2", ""):
        answer = await world.confirm(await world.checkout(partner_reference=reference))
        made.append(answer["checkout"].order_id)

    for call in owners(world):
        assert await order_ids(world, call) == sorted(made, reverse=True)
        assert await order_ids(world, call, "trip-2") == [made[1]]
        assert await order_ids(world, call, "trip-3") == []
        read = await orders.get_order(world.deps, call, order_id=made[0])
        assert (read["order"].id, read["order"].partner_reference, read["order"].total) == (made[0], "trip-1", 24_000)


@pytest.mark.parametrize("currency_code", ["ABC", "XXX", "XAU"])
async def test_a_checkout_in_what_is_no_money_is_refused_and_not_made(world: World, currency_code: str) -> None:
    price = Money(24_000, currency_code)

    with pytest.raises(Refused) as refusal:
        await checkouts.create_checkout(
            world.deps,
            world.by_partner("CreateCheckout"),
            session_id=world.session_id,
            partner_reference="",
            statement_descriptor="",
            metadata={},
            items=(ItemOrder("Flight", "", 1, price, price, ""),),
            adjustments=(),
            total=price,
            capture_mode=None,
            expire_time=0,
            replaces_checkout_id="",
        )
    answer = await checkouts.list_checkouts(
        world.deps, world.by_user(), session_id="", partner_reference="", state=None, page_size=0, page_token=""
    )

    assert (refusal.value.reason, refusal.value.metadata) == (Reason.FIELD_INVALID, {"field": "total.currency_code"})
    assert answer["checkouts"] == ()


async def test_checkouts_are_listed_by_state_session_and_reference(world: World) -> None:
    paid, open_one = await world.checkout(partner_reference="trip-1"), await world.checkout(partner_reference="trip-2")
    await world.confirm(paid)

    async def listed(call: CallContext, **filters: Any) -> list[str]:
        asked: dict[str, Any] = {"session_id": "", "partner_reference": "", "state": None} | filters
        answer = await checkouts.list_checkouts(world.deps, call, page_size=0, page_token="", **asked)
        return [checkout.id for checkout in answer["checkouts"]]

    for call in owners(world):
        assert await listed(call) == sorted((paid.id, open_one.id), reverse=True)
        assert await listed(call, state=CheckoutState.OPEN) == [open_one.id]
        assert await listed(call, partner_reference="trip-1") == [paid.id]
        assert await listed(call, partner_reference="trip-1", state=CheckoutState.OPEN) == []
        assert await listed(call, session_id=world.runtime.new_id("ses")) == []
        assert len(await listed(call, session_id=world.session_id)) == 2
    for call in strangers(world):
        assert await listed(call) == []


async def test_payments_in_doubt_are_found_by_their_operator(world: World) -> None:
    settled = await world.confirm(await world.checkout())
    world.provider.replies.append(LOST_REPLY)
    doubtful = await world.confirm(await world.checkout(), seconds=2.0)
    await world.idle()
    operator = CallContext(Caller.OPERATOR, "ListPayments", 0.0)

    async def listed(call: CallContext, state: PendingState | None = None, checkout_id: str = "") -> list[str]:
        answer = await payments.list_payments(
            world.deps, call, checkout_id=checkout_id, operation_state=state, page_size=0, page_token=""
        )
        return [payment.id for payment in answer["payments"]]

    both = sorted((settled["payment"].id, doubtful["payment"].id), reverse=True)
    for call in (operator, *owners(world)):
        assert await listed(call) == both
        assert await listed(call, PendingState.IN_DOUBT) == [doubtful["payment"].id]
        assert await listed(call, PendingState.PROCESSING) == []
        assert await listed(call, checkout_id=settled["checkout"].id) == [settled["payment"].id]
    for call in strangers(world):
        assert await listed(call) == []
