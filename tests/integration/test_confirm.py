"""Confirming: charged once, whatever happens around it. On both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from comptoir_server.app import checkouts
from comptoir_server.app.ports import OperationKind, OutcomeKind
from comptoir_server.domain.checkouts import CheckoutState
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.payments import PaymentState, PendingState
from comptoir_server.runtime import MICROSECONDS
from comptoir_server.store.tables import OPERATIONS
from tests.support.databases import database_url
from tests.support.providers import LOST_REPLY, LOST_REQUEST, NOT_SENT, THROTTLED, answering, declined
from tests.support.world import World, open_world

__all__ = ["database_url"]


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as made:
        yield made


def charged(world: World) -> int:
    """What the provider's own books say was taken, in minor units."""
    return world.provider.books.total(OperationKind.CHARGE)


async def test_an_absent_checkout_is_refused_and_nothing_moves(world: World) -> None:
    checkout = await world.checkout()
    call = world.by_user("ConfirmCheckout")
    with pytest.raises(Refused) as refusal:
        await checkouts.confirm_checkout(
            world.deps, call, checkout_id=world.runtime.new_id("chk"), version=1, wallet_id="", button_payload=""
        )

    assert refusal.value.reason == Reason.NOT_FOUND
    assert charged(world) == 0
    assert await world.now_checkout(checkout.id) == checkout


async def test_a_confirmed_checkout_is_completed_and_captured(world: World) -> None:
    checkout = await world.checkout()

    answer = await world.confirm(checkout)

    assert answer["checkout"].state == CheckoutState.COMPLETED
    assert answer["payment"].state == PaymentState.CAPTURED
    assert (answer["payment"].captured, answer["payment"].refunded) == (24_000, 0)
    assert charged(world) == 24_000


async def test_the_same_request_sixteen_times_at_once_is_one_payment_and_one_answer(world: World) -> None:
    checkout = await world.checkout()

    answers = await asyncio.gather(*(world.confirm(checkout, "the-one") for _ in range(16)))

    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["payment"].state == PaymentState.CAPTURED
    assert charged(world) == 24_000


async def test_a_double_tap_joins_the_first_attempt(world: World) -> None:
    checkout = await world.checkout()

    first, second = await asyncio.gather(world.confirm(checkout), world.confirm(checkout))

    assert first["payment"].id == second["payment"].id
    assert charged(world) == 24_000


async def test_a_yes_after_it_was_paid_is_answered_with_the_payment(world: World) -> None:
    checkout = await world.checkout()
    first = await world.confirm(checkout)

    again = await world.confirm(checkout)

    assert again == first
    assert charged(world) == 24_000


async def test_a_second_yes_while_the_first_is_in_doubt_joins_it(world: World) -> None:
    checkout = await world.checkout()
    world.provider.replies.append(LOST_REPLY)
    first = await world.confirm(checkout, seconds=0.3)

    again = await world.confirm(checkout, seconds=0.3)

    assert again["payment"].id == first["payment"].id
    assert (await world.now_checkout(checkout.id)).payment_ids == (first["payment"].id,)
    assert (await world.now_checkout(checkout.id)).state == CheckoutState.PROCESSING
    assert sum(method == "execute" for method, _ in world.provider.calls) == 1


async def test_our_key_is_stored_before_the_provider_is_asked_for_anything(world: World) -> None:
    gates = [world.provider.hold(method) for method in ("prepare", "execute")]
    stored = []
    confirming = asyncio.create_task(world.confirm(await world.checkout()))
    for number, gate in enumerate(gates, 1):
        while len(world.provider.calls) < number:
            await asyncio.sleep(0.01)
        method, key = world.provider.calls[-1]
        operation = await world.deps.store.read(lambda tx, key=key: tx.load(OPERATIONS.get(key)))  # type: ignore[misc]
        stored.append((method, operation is not None and bool(operation.order_reference)))
        assert operation is not None, f"{method} was called with a key that nobody has kept"
        gate.set()
    await confirming

    assert stored == [("prepare", False), ("execute", True)]
    assert charged(world) == 24_000


async def test_a_late_duplicate_after_a_decline_is_stale_and_charges_nothing(world: World) -> None:
    checkout = await world.checkout()
    world.provider.replies.append(declined())
    answer = await world.confirm(checkout)
    assert answer["payment"].state == PaymentState.DECLINED
    assert (answer["checkout"].state, answer["checkout"].version) == (CheckoutState.OPEN, 2)

    with pytest.raises(Refused) as refusal:
        await world.confirm(checkout)

    assert refusal.value.reason == Reason.VERSION_STALE
    assert refusal.value.metadata == {"version": "1", "current_version": "2"}
    assert charged(world) == 0


async def test_after_a_decline_the_new_version_can_be_paid(world: World) -> None:
    checkout = await world.checkout()
    world.provider.replies.append(declined())
    await world.confirm(checkout)

    answer = await world.confirm(checkout, version=2)

    assert answer["checkout"].state == CheckoutState.COMPLETED
    assert len(answer["checkout"].payment_ids) == 2
    assert charged(world) == 24_000


async def test_a_request_id_with_other_content_is_refused(world: World) -> None:
    first, second = await world.checkout(), await world.checkout()
    await world.confirm(first, "the-one")

    with pytest.raises(Refused) as refusal:
        await world.confirm(second, "the-one")

    assert refusal.value.reason == Reason.REQUEST_ID_REUSED
    assert charged(world) == 24_000


async def test_a_lost_reply_is_resolved_by_a_look_up_and_charged_once(world: World) -> None:
    checkout = await world.checkout()
    world.provider.replies.append(LOST_REPLY)

    answer = await world.confirm(checkout, seconds=0.3)
    assert answer["payment"].state == PaymentState.PROCESSING
    await world.idle()
    assert (await world.now_payment(answer["payment"].id)).pending_state == PendingState.IN_DOUBT
    await world.work(6)

    assert (await world.now_checkout(checkout.id)).state == CheckoutState.COMPLETED
    assert charged(world) == 24_000


async def test_a_lost_request_is_sent_again_under_the_same_key_while_its_person_waits(world: World) -> None:
    checkout = await world.checkout()
    world.provider.replies.append(LOST_REQUEST)

    await world.confirm(checkout, seconds=0.3)
    await world.work(6)

    keys = [key for method, key in world.provider.calls if method == "execute"]
    assert len(keys) == 2
    assert keys[0] == keys[1]
    assert (await world.now_checkout(checkout.id)).state == CheckoutState.COMPLETED
    assert charged(world) == 24_000


async def test_absence_is_believed_only_after_the_provider_has_settled(world: World) -> None:
    checkout = await world.checkout()
    world.provider.replies.append(LOST_REQUEST)
    answer = await world.confirm(checkout, seconds=0.3)

    await world.work(30)
    assert (await world.now_payment(answer["payment"].id)).pending_state == PendingState.IN_DOUBT
    await world.work(61)
    await world.work(61)

    assert (await world.now_payment(answer["payment"].id)).state == PaymentState.FAILED
    assert (await world.now_checkout(checkout.id)).state == CheckoutState.OPEN
    assert charged(world) == 0


async def test_what_was_never_sent_is_failed_at_once_and_can_be_tried_again(world: World) -> None:
    checkout = await world.checkout()
    world.provider.replies.append(NOT_SENT)

    answer = await world.confirm(checkout)
    assert answer["payment"].state == PaymentState.FAILED
    again = await world.confirm(checkout, version=answer["checkout"].version)

    assert again["payment"].state == PaymentState.CAPTURED
    assert charged(world) == 24_000


async def test_a_throttled_charge_is_sent_again_and_charged_once(world: World) -> None:
    checkout = await world.checkout()
    world.provider.replies.append(THROTTLED)

    answer = await world.confirm(checkout)

    assert answer["payment"].state == PaymentState.CAPTURED
    assert charged(world) == 24_000


async def test_another_amount_than_was_asked_for_is_doubt_and_never_a_success(world: World) -> None:
    checkout = await world.checkout()
    wrong = answering(OutcomeKind.CAPTURED)
    object.__setattr__(wrong.answered, "amount", 1)
    object.__setattr__(wrong.answered, "currency_code", "USD")
    world.provider.replies.append(wrong)

    answer = await world.confirm(checkout, seconds=0.3)
    await world.idle()

    payment = await world.now_payment(answer["payment"].id)
    assert (payment.state, payment.pending_state) == (PaymentState.PROCESSING, PendingState.IN_DOUBT)
    assert payment.captured == 0


async def test_a_confirm_after_expiry_charges_nothing_and_says_expired(world: World) -> None:
    checkout = await world.checkout()
    world.runtime.advance(31 * 60)

    with pytest.raises(Refused) as refusal:
        await world.confirm(checkout)

    assert refusal.value.reason == Reason.CHECKOUT_EXPIRED
    assert charged(world) == 0
    await world.work()
    assert (await world.now_checkout(checkout.id)).state == CheckoutState.EXPIRED


async def test_a_cancel_during_the_charge_gives_back_what_was_taken(world: World) -> None:
    checkout = await world.checkout()
    gate = world.provider.hold("execute")
    confirming = asyncio.create_task(world.confirm(checkout))
    while not any(method == "execute" for method, _ in world.provider.calls):
        await asyncio.sleep(0.01)

    canceled = await world.cancel(checkout)
    assert (canceled.state, canceled.cancel_requested) == (CheckoutState.PROCESSING, True)
    gate.set()
    answer = await confirming
    await world.work()

    payment = await world.now_payment(answer["payment"].id)
    assert (await world.now_checkout(checkout.id)).state == CheckoutState.CANCELED
    assert (payment.captured, payment.refunded) == (24_000, 24_000)
    assert payment.reversal_reason == "The purchase was cancelled."
    assert world.provider.books.total(OperationKind.REFUND) == 24_000


async def test_a_cancelled_checkout_cannot_be_confirmed(world: World) -> None:
    checkout = await world.checkout()
    await world.cancel(checkout)

    with pytest.raises(Refused) as refusal:
        await world.confirm(checkout)

    assert refusal.value.reason == Reason.INVALID_STATE
    assert refusal.value.metadata["state"] == "CANCELED"
    assert charged(world) == 0


async def test_a_hung_up_caller_leaves_the_payment_to_the_server(world: World) -> None:
    checkout = await world.checkout()
    gate = world.provider.hold("execute")
    confirming = asyncio.create_task(world.confirm(checkout))
    while not any(method == "execute" for method, _ in world.provider.calls):
        await asyncio.sleep(0.01)

    confirming.cancel()
    gate.set()
    await world.idle()

    assert (await world.now_checkout(checkout.id)).state == CheckoutState.COMPLETED
    assert charged(world) == 24_000


async def test_a_payment_that_needs_its_person_goes_on_once_they_have_acted(world: World) -> None:
    checkout = await world.checkout()
    world.provider.replies.append(
        answering(OutcomeKind.REQUIRES_ACTION, executed=False, action_url="https://provider.example/act")
    )

    answer = await world.confirm(checkout)
    assert answer["payment"].state == PaymentState.REQUIRES_ACTION
    assert answer["checkout"].state == CheckoutState.REQUIRES_ACTION
    await world.work(6)
    assert (await world.now_payment(answer["payment"].id)).state == PaymentState.REQUIRES_ACTION
    world.provider.act(answer["payment"].id)
    await world.work(17)
    await world.work()

    assert (await world.now_checkout(checkout.id)).state == CheckoutState.COMPLETED
    assert charged(world) == 24_000


async def test_two_refunds_of_the_rest_at_once_never_give_back_more_than_was_taken(world: World) -> None:
    checkout = await world.checkout()
    payment_id = (await world.confirm(checkout))["payment"].id

    outcomes = await asyncio.gather(world.refund(payment_id), world.refund(payment_id), return_exceptions=True)

    refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert [refusal.reason for refusal in refused] == [Reason.REFUND_EXCEEDS_CAPTURE]
    assert world.provider.books.total(OperationKind.REFUND) == 24_000
    payment = await world.now_payment(payment_id)
    assert (payment.refunded, payment.refunding) == (24_000, 0)


async def test_a_lost_refund_is_resolved_by_evidence_and_never_repeated(world: World) -> None:
    checkout = await world.checkout()
    payment_id = (await world.confirm(checkout))["payment"].id
    world.provider.replies.append(LOST_REPLY)

    answer = await world.refund(payment_id, 8_000, seconds=0.3)
    assert answer["refund"].state == "IN_DOUBT"
    await world.work(6)

    payment = await world.now_payment(payment_id)
    assert (payment.refunded, payment.refunding) == (8_000, 0)
    assert world.provider.books.total(OperationKind.REFUND) == 8_000


async def test_a_server_that_stopped_before_it_sent_leaves_no_charge(world: World) -> None:
    checkout = await world.checkout()
    world.provider.fail("execute", error=RuntimeError("the process died"))

    answer = await world.confirm(checkout, seconds=0.3)
    assert answer["payment"].pending_state == PendingState.PROCESSING
    await world.work(20)
    assert (await world.now_payment(answer["payment"].id)).pending_state == PendingState.IN_DOUBT
    await world.work(120)

    assert (await world.now_payment(answer["payment"].id)).state == PaymentState.FAILED
    assert charged(world) == 0


async def test_expiry_leaves_a_checkout_alone_that_is_being_paid(world: World) -> None:
    soon = world.runtime.now() + 60 * MICROSECONDS
    checkout = await world.checkout(expire_time=soon)
    world.provider.replies.append(LOST_REPLY)
    await world.confirm(checkout, seconds=0.3)

    world.runtime.advance(61)
    await world.work()

    assert (await world.now_checkout(checkout.id)).state == CheckoutState.COMPLETED
    assert charged(world) == 24_000
