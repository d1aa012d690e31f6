"""Several attempts at one checkout, and several tries of one attempt: each has its own money. On both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from comptoir_server.app import checkouts, operations, webhooks
from comptoir_server.app.deps import Deps
from comptoir_server.app.ports import Notice, OperationKind, OutcomeKind
from comptoir_server.domain.checkouts import Checkout, CheckoutState
from comptoir_server.domain.payments import PaymentState
from comptoir_server.workers import rounds
from tests.support.databases import database_url
from tests.support.providers import LOST_REPLY, answering
from tests.support.tally import refund_states, require_same_books, sends
from tests.support.world import World, open_world

__all__ = ["database_url"]

ACT = answering(OutcomeKind.REQUIRES_ACTION, executed=False, action_url="https://provider.example/act")
ASKED = ("CHARGE", "REQUIRES_ACTION", 1)
TAKEN = ("CHARGE", "CAPTURED", 1)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as made:
        yield made


async def called(world: World, method: str, times: int) -> None:
    """Returns once the provider was asked so that many times."""
    async with asyncio.timeout(5):
        while sum(name == method for name, _ in world.provider.calls) < times:
            await asyncio.sleep(0.01)


async def deliver(world: World, notice: Notice) -> None:
    """The provider tells it."""
    headers, body = world.provider.sign(notice)
    await webhooks.receive(world.deps, "paypal", await world.provider.read_webhook(headers, body))


async def given_up(world: World) -> tuple[Checkout, str]:
    """An open checkout, and its payment that was taken but found nowhere until it was given up."""
    checkout = await world.checkout()
    world.provider.replies.append(LOST_REPLY)
    payment_id: str = (await world.confirm(checkout, seconds=0.3))["payment"].id
    await world.idle()
    world.provider.unseen = 99
    for seconds in (30, 61, 61):
        await world.work(seconds)
    world.provider.unseen = 0
    assert (await world.now_payment(payment_id)).state == PaymentState.FAILED
    return await world.now_checkout(checkout.id), payment_id


async def test_a_late_success_is_given_back_and_leaves_the_attempt_that_is_under_way_alone(world: World) -> None:
    checkout, first = await given_up(world)
    gate = world.provider.hold("execute")
    confirming = asyncio.create_task(world.confirm(checkout))
    await called(world, "execute", 2)

    await deliver(world, world.provider.notice(first))
    async with asyncio.timeout(5):
        while not (await world.now_payment(first)).captured:
            await asyncio.sleep(0.01)
    assert (await world.now_checkout(checkout.id)).state == CheckoutState.PROCESSING
    world.provider.let_through("execute")
    gate.set()
    second = (await confirming)["payment"].id
    await world.work(6)

    assert (await world.now_checkout(checkout.id)).state == CheckoutState.COMPLETED
    assert await refund_states(world, first) == [("PLATFORM", "SUCCEEDED", 24_000)]
    assert await refund_states(world, second) == []
    await require_same_books(world, 24_000)


async def test_a_late_success_is_given_back_and_leaves_the_attempt_that_waits_for_its_person_alone(
    world: World,
) -> None:
    checkout, first = await given_up(world)
    world.provider.replies.append(ACT)
    second = (await world.confirm(checkout))["payment"].id

    await deliver(world, world.provider.notice(first))
    await world.work(6)
    assert (await world.now_checkout(checkout.id)).state == CheckoutState.REQUIRES_ACTION
    await deliver(world, world.provider.act(second))
    await world.work(6)
    await world.work(6)

    assert (await world.now_checkout(checkout.id)).state == CheckoutState.COMPLETED
    assert await sends(world, second) == [ASKED, TAKEN]
    await require_same_books(world, 24_000)


async def test_a_checkout_that_is_replaced_while_its_person_is_to_act_takes_its_payment_along(world: World) -> None:
    checkout = await world.checkout()
    world.provider.replies.append(ACT)
    payment_id = (await world.confirm(checkout))["payment"].id

    await world.checkout(replaces_checkout_id=checkout.id)

    assert (await world.now_checkout(checkout.id)).state == CheckoutState.CANCELED
    payment = await world.now_payment(payment_id)
    assert (payment.state, payment.pending_operation_id) == (PaymentState.FAILED, "")
    assert await sends(world, payment_id) == [("CHARGE", "NOT_SENT", 1)]
    await deliver(world, world.provider.act(payment_id))
    await world.work(6)
    await require_same_books(world, 0)


async def test_nobody_is_asked_to_act_for_what_was_called_off_meanwhile(world: World) -> None:
    checkout = await world.checkout()
    world.provider.replies.append(ACT)
    gate = world.provider.hold("execute")
    confirming = asyncio.create_task(world.confirm(checkout))
    await called(world, "execute", 1)
    await world.cancel(checkout)
    gate.set()
    answer = await confirming

    assert (answer["checkout"].state, answer["payment"].state) == (CheckoutState.CANCELED, PaymentState.FAILED)
    assert answer["payment"].action_url == ""
    assert await sends(world, answer["payment"].id) == [("CHARGE", "NOT_SENT", 1)]
    await deliver(world, world.provider.act(answer["payment"].id))
    await world.work(6)
    await world.work(6)
    assert world.provider.books.total(OperationKind.CHARGE) == 0
    await require_same_books(world, 0)


async def test_a_checkout_that_cannot_be_expired_keeps_no_other_from_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await world.checkout(), await world.checkout()
    expire = checkouts.expire

    async def failing(deps: Deps, checkout_id: str) -> None:
        if checkout_id == first.id:
            raise RuntimeError("this row cannot be told of")
        await expire(deps, checkout_id)

    monkeypatch.setattr(checkouts, "expire", failing)
    world.runtime.let_pass((second.expire_time - world.runtime.now()) / 1e6 + 1)
    await rounds.expire_checkouts(world.deps)

    assert (await world.now_checkout(first.id)).state == CheckoutState.OPEN
    assert (await world.now_checkout(second.id)).state == CheckoutState.EXPIRED


async def test_what_a_slow_look_up_of_the_first_try_finds_is_the_success_of_the_second(world: World) -> None:
    checkout = await world.checkout()
    world.provider.replies.append(ACT)
    payment = (await world.confirm(checkout))["payment"]
    await world.idle()
    world.runtime.let_pass(6)
    looking = world.provider.hold("look_up")
    slow = asyncio.create_task(operations.resolve(world.deps, payment.pending_operation_id))
    await called(world, "look_up", 1)

    await deliver(world, world.provider.act(payment.id))
    async with asyncio.timeout(5):
        while (await world.now_payment(payment.id)).pending_operation_id == payment.pending_operation_id:
            await asyncio.sleep(0.01)
    second = (await world.now_payment(payment.id)).pending_operation_id
    answer = world.provider.hold("execute")
    driving = asyncio.create_task(operations.resolve(world.deps, second))
    await called(world, "execute", 2)
    looking.set()
    await slow
    assert (await world.now_checkout(checkout.id)).state == CheckoutState.COMPLETED
    world.provider.let_through("look_up")
    answer.set()
    await driving
    await world.work(6)

    assert await sends(world, payment.id) == [ASKED, TAKEN]
    assert await refund_states(world, payment.id) == []
    assert (await world.now_checkout(checkout.id)).state == CheckoutState.COMPLETED
    await require_same_books(world, 24_000)
