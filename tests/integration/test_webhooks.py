"""What providers tell by themselves: stored once, confirmed at the provider, acted upon once. On both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from comptoir_server.app import payments, webhooks
from comptoir_server.app.ports import Notice, NoticeKind, OperationKind, Outcome, OutcomeKind
from comptoir_server.domain.checkouts import CaptureMode, CheckoutState
from comptoir_server.domain.inbox import FOREIGN_SECONDS, DeliveryState
from comptoir_server.domain.money import Money
from comptoir_server.domain.orders import Order, OrderState
from comptoir_server.domain.payments import PaymentState, PendingState
from comptoir_server.domain.wallets import LINK_SECONDS, WalletState
from comptoir_server.store import snapshots
from comptoir_server.store.checks import check_database
from comptoir_server.store.tables import INBOX, ORDERS, WALLETS
from comptoir_server.store.tx import Tx
from tests.support.databases import database_url
from tests.support.providers import LOST_REPLY, LOST_REQUEST, Reply
from tests.support.tally import refund_states, require_same_books, sends
from tests.support.world import World, open_world

__all__ = ["database_url"]

FOREVER = 1.1 * FOREIGN_SECONDS


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as made:
        yield made


async def deliver(world: World, notice: Notice) -> None:
    """The provider delivers `notice`, which is genuine as far as its signature goes."""
    headers, body = world.provider.sign(notice)
    await webhooks.receive(world.deps, "paypal", await world.provider.read_webhook(headers, body))
    await world.idle()


async def delivery_state(world: World, notice: Notice) -> DeliveryState:
    found = await world.deps.store.read(lambda tx: tx.load(INBOX.get(("paypal", notice.event_id))))
    assert found is not None
    return found.state


async def paid(world: World) -> tuple[str, str]:
    """A payment of 240.00 that was taken, and the provider's capture of it."""
    payment = (await world.confirm(await world.checkout()))["payment"]
    return payment.id, payment.reference


async def in_doubt(world: World, reply: Reply = LOST_REPLY) -> tuple[str, str]:
    """A checkout and its payment of 240.00 whose answer was lost."""
    checkout = await world.checkout()
    world.provider.replies.append(reply)
    payment_id = (await world.confirm(checkout, seconds=0.3))["payment"].id
    await world.idle()
    assert (await world.now_payment(payment_id)).pending_state == PendingState.IN_DOUBT
    return checkout.id, payment_id


async def order_of(world: World, payment_id: str) -> Order | None:
    payment = await world.now_payment(payment_id)
    return await world.deps.store.read(lambda tx: tx.load(ORDERS.get_by("by_checkout", payment.checkout_id)))


def calls(world: World, method: str) -> int:
    """How often the provider was asked so."""
    return sum(called == method for called, _ in world.provider.calls)


# --- A signature is no proof -----------------------------------------------------------------------


async def test_a_notice_that_the_provider_does_not_confirm_changes_nothing_and_is_listed_as_foreign(
    world: World,
) -> None:
    checkout_id, payment_id = await in_doubt(world, LOST_REQUEST)
    world.provider.unseen = 99
    paid = Outcome(OutcomeKind.CAPTURED, "charge-999", 24_000, "USD")
    forged = Notice("WH-1", "", NoticeKind.OUTCOME, OperationKind.CHARGE, paid, payment_id, reference="charge-999")

    await deliver(world, forged)

    assert (await world.now_payment(payment_id)).pending_state == PendingState.IN_DOUBT
    assert (await world.now_checkout(checkout_id)).state == CheckoutState.PROCESSING
    assert await delivery_state(world, forged) == DeliveryState.STORED
    await world.work(FOREVER)
    assert await delivery_state(world, forged) == DeliveryState.FOREIGN
    await require_same_books(world, 0)


async def test_a_forged_amount_on_something_real_is_read_as_the_provider_has_it(world: World) -> None:
    payment_id, capture_reference = await paid(world)
    refunded = world.provider.give_back(capture_reference, 1_000)
    lie = Outcome(OutcomeKind.REFUNDED, refunded.reference, 24_000, "USD")

    await deliver(world, replace(refunded, outcome=lie, parent_reference="charge-999"))

    assert await refund_states(world, payment_id) == [("PROVIDER", "SUCCEEDED", 1_000)]
    await require_same_books(world, 23_000)


async def test_a_provider_that_cannot_be_asked_now_is_asked_again_and_never_disowned(world: World) -> None:
    _, payment_id = await in_doubt(world)
    world.provider.unseen = 99
    notice = world.provider.notice(payment_id)
    world.provider.fail("confirm", times=2)

    await deliver(world, notice)
    await world.work(FOREVER)
    assert await delivery_state(world, notice) == DeliveryState.STORED
    await world.work(20)

    assert await delivery_state(world, notice) == DeliveryState.PROCESSED
    assert (await world.now_payment(payment_id)).captured == 24_000


# --- Before, after, twice, reordered, alone --------------------------------------------------------


async def test_a_webhook_alone_ends_doubt(world: World) -> None:
    checkout_id, payment_id = await in_doubt(world)

    await deliver(world, world.provider.notice(payment_id))

    assert (await world.now_checkout(checkout_id)).state == CheckoutState.COMPLETED
    assert (await world.now_payment(payment_id)).state == PaymentState.CAPTURED
    assert calls(world, "look_up") == 0
    await require_same_books(world, 24_000)


async def test_a_webhook_before_the_reply_completes_once(world: World) -> None:
    checkout = await world.checkout()
    gate = world.provider.hold("execute")
    confirming = asyncio.create_task(world.confirm(checkout))
    while not calls(world, "execute"):
        await asyncio.sleep(0.01)
    while not world.provider.objects:
        await asyncio.sleep(0.01)
    payment_id = next(iter(world.provider.objects))
    headers, body = world.provider.sign(world.provider.notice(payment_id))

    await webhooks.receive(world.deps, "paypal", await world.provider.read_webhook(headers, body))
    answer = await confirming
    gate.set()
    await world.idle()

    assert answer["checkout"].state == CheckoutState.COMPLETED
    assert await world.now_checkout(checkout.id) == answer["checkout"]
    assert await world.now_payment(payment_id) == answer["payment"]
    await require_same_books(world, 24_000)


async def test_a_webhook_after_the_reply_and_every_repetition_of_it_change_nothing(world: World) -> None:
    payment_id, _ = await paid(world)
    before = await world.now_payment(payment_id), await order_of(world, payment_id)
    notice = world.provider.notice(payment_id)

    for event_id in ("WH-1", "WH-1", "WH-2"):
        await deliver(world, replace(notice, event_id=event_id))
    await world.work(60)

    assert (await world.now_payment(payment_id), await order_of(world, payment_id)) == before
    assert calls(world, "confirm") == 2, "once an event"
    await require_same_books(world, 24_000)


async def test_a_delivery_that_comes_again_is_acted_upon_once(world: World) -> None:
    payment_id, _ = await paid(world)
    notice = world.provider.notice(payment_id)

    for _ in range(3):
        await deliver(world, notice)

    assert calls(world, "confirm") == 1
    assert await delivery_state(world, notice) == DeliveryState.PROCESSED
    await require_same_books(world, 24_000)


async def test_a_refund_that_is_told_before_its_capture_waits_for_it(world: World) -> None:
    _, payment_id = await in_doubt(world)
    captured = world.provider.notice(payment_id)
    refunded = world.provider.give_back(captured.reference, 8_000)

    await deliver(world, refunded)
    assert await delivery_state(world, refunded) == DeliveryState.STORED
    assert await refund_states(world, payment_id) == []
    await deliver(world, captured)
    await world.work(6)

    assert await delivery_state(world, refunded) == DeliveryState.PROCESSED
    payment = await world.now_payment(payment_id)
    assert (payment.captured, payment.refunded) == (24_000, 8_000)
    await require_same_books(world, 16_000)


async def test_what_belongs_to_nobody_here_is_kept_for_a_week(world: World) -> None:
    payment_id, reference = await paid(world)
    unknown = replace(world.provider.facts[reference], object_id="pay_unknown", order_reference="order-999")
    world.provider.facts["charge-999"] = replace(unknown, reference="charge-999")
    notice = replace(unknown, reference="charge-999", event_id="WH-1")

    await deliver(world, notice)
    await world.work(3_600)
    assert await delivery_state(world, notice) == DeliveryState.STORED
    await world.work(FOREVER)

    assert await delivery_state(world, notice) == DeliveryState.FOREIGN
    assert (await world.now_payment(payment_id)).captured == 24_000
    await require_same_books(world, 24_000)


# --- What was done at the provider -----------------------------------------------------------------


async def test_a_refund_and_then_a_reversal_at_the_provider_become_refunds_of_ours(world: World) -> None:
    payment_id, capture_reference = await paid(world)

    part = world.provider.give_back(capture_reference, 9_000)
    await deliver(world, part)
    await deliver(world, replace(part, event_id="WH-again"))
    assert await refund_states(world, payment_id) == [("PROVIDER", "SUCCEEDED", 9_000)]
    await require_same_books(world, 15_000)
    rest = world.provider.give_back(capture_reference, 15_000)
    await deliver(world, rest)

    payment, order = await world.now_payment(payment_id), await order_of(world, payment_id)
    assert (payment.state, payment.refunded, payment.refunding) == (PaymentState.CAPTURED, 24_000, 0)
    assert order is not None
    assert (order.state, order.refunded) == (OrderState.CANCELED, 24_000)
    assert [amount for _, _, amount in await refund_states(world, payment_id)] == [9_000, 15_000]
    await require_same_books(world, 0)


async def test_a_refund_of_ours_that_is_told_without_our_id_is_not_taken_for_another(world: World) -> None:
    payment_id, _ = await paid(world)
    world.provider.replies.append(LOST_REPLY)
    refund_id = (await world.refund(payment_id, 8_000, seconds=0.3))["refund"].id
    told = world.provider.notice(refund_id)
    nameless = replace(told, object_id="", event_id="WH-1")
    world.provider.facts[told.reference] = nameless

    await deliver(world, nameless)
    assert await delivery_state(world, nameless) == DeliveryState.STORED
    await world.work(6)
    await world.work(17)

    assert await delivery_state(world, nameless) == DeliveryState.PROCESSED
    assert await refund_states(world, payment_id) == [("PARTNER", "SUCCEEDED", 8_000)]
    await require_same_books(world, 16_000)


async def test_a_refund_at_the_provider_waits_for_one_of_ours_however_long_that_takes(world: World) -> None:
    payment_id, capture_reference = await paid(world)
    world.provider.replies.append(LOST_REPLY)
    await world.refund(payment_id, 8_000, seconds=0.3)
    told = world.provider.give_back(capture_reference, 9_000)
    await deliver(world, told)

    world.runtime.advance(FOREVER)
    await webhooks.process(world.deps, "paypal", told.event_id)
    assert await delivery_state(world, told) == DeliveryState.STORED
    await world.work(6)
    await world.work(17)

    assert await delivery_state(world, told) == DeliveryState.PROCESSED
    assert sorted(await refund_states(world, payment_id)) == [
        ("PARTNER", "SUCCEEDED", 8_000),
        ("PROVIDER", "SUCCEEDED", 9_000),
    ]
    await require_same_books(world, 7_000)


async def test_a_hold_that_was_released_at_the_provider_is_void(world: World) -> None:
    checkout = await world.checkout(capture_mode=CaptureMode.MANUAL)
    payment = (await world.confirm(checkout))["payment"]

    await deliver(world, world.provider.release(payment.reference))

    released = await world.now_payment(payment.id)
    assert (released.state, released.capturable) == (PaymentState.VOIDED, 0)
    await require_same_books(world, 0)


async def test_a_hold_released_before_its_making_is_known_ends_the_payment_without_a_charge(world: World) -> None:
    checkout = await world.checkout(capture_mode=CaptureMode.MANUAL)
    world.provider.replies.append(LOST_REPLY)
    payment_id = (await world.confirm(checkout, seconds=0.3))["payment"].id
    made = world.provider.notice(payment_id)
    released = world.provider.release(made.reference)

    await deliver(world, released)
    assert (await world.now_payment(payment_id)).pending_state == PendingState.IN_DOUBT
    await world.work(6)
    await world.work(17)

    assert (await world.now_payment(payment_id)).state == PaymentState.VOIDED
    assert await delivery_state(world, released) == DeliveryState.PROCESSED
    await require_same_books(world, 0)


async def test_a_capture_that_somebody_made_of_our_hold_is_kept_for_a_person_to_look_at(world: World) -> None:
    checkout = await world.checkout(capture_mode=CaptureMode.MANUAL)
    payment = (await world.confirm(checkout))["payment"]
    taken = replace(
        world.provider.facts[payment.reference],
        event_id="WH-1",
        operation=OperationKind.CAPTURE,
        outcome=Outcome(OutcomeKind.CAPTURED, "capture-999", 24_000, "USD"),
        reference="capture-999",
        parent_reference=payment.reference,
    )
    world.provider.facts["capture-999"] = taken

    await deliver(world, taken)
    await world.work(FOREVER)

    assert await delivery_state(world, taken) == DeliveryState.FOREIGN
    assert await world.now_payment(payment.id) == payment


async def test_a_permission_taken_back_needs_a_new_link_once_the_provider_confirms_it(world: World) -> None:
    [token] = world.provider.tokens
    notice = Notice("WH-1", "", NoticeKind.WALLET_REVOKED, wallet_token=token)

    async def state() -> WalletState:
        wallet = await world.deps.store.read(lambda tx: tx.load(WALLETS.get(world.wallet_id)))
        assert wallet is not None
        return wallet.state

    await deliver(world, notice)
    assert (await state(), await delivery_state(world, notice)) == (WalletState.ACTIVE, DeliveryState.STORED)
    world.provider.tokens.clear()
    await world.work(6)

    assert (await state(), await delivery_state(world, notice)) == (WalletState.NEEDS_RELINK, DeliveryState.PROCESSED)
    stored = await world.deps.store.read(lambda tx: tx.load(INBOX.get(("paypal", notice.event_id))))
    assert stored is not None
    assert stored.notice == snapshots.dump(replace(notice, wallet_token=""))


async def test_the_token_that_a_delivery_brings_is_kept_sealed_until_it_is_acted_upon_and_no_longer(
    world: World, database_url: str
) -> None:
    [token] = world.provider.tokens
    notice = Notice("WH-1", "", NoticeKind.WALLET_REVOKED, wallet_token=token)

    async def kept() -> str:
        found = await world.deps.store.read(lambda tx: tx.load(INBOX.get(("paypal", notice.event_id))))
        assert found is not None
        return snapshots.load(Notice, found.notice).wallet_token

    await deliver(world, notice)
    waiting = check_database(database_url, vault=world.deps.vault).broken, await kept()
    world.provider.tokens.clear()
    await world.work(6)

    assert waiting[0] == ()
    assert waiting[1] not in ("", token)
    assert (check_database(database_url, vault=world.deps.vault).broken, await kept()) == ((), "")


async def test_a_permission_taken_back_before_its_link_is_confirmed_finds_the_wallet_that_comes_of_it(
    world: World,
) -> None:
    notice = Notice("WH-1", "", NoticeKind.WALLET_REVOKED, wallet_token="token-to-come")
    nobodys = Notice("WH-2", "", NoticeKind.WALLET_REVOKED, wallet_token="token-of-nobody")
    for one in (notice, nobodys):
        await deliver(world, one)
    assert [await delivery_state(world, one) for one in (notice, nobodys)] == [DeliveryState.STORED] * 2

    async def confirm_link(tx: Tx) -> None:
        wallet = await tx.load(WALLETS.lock(world.wallet_id))
        assert wallet is not None
        tx.put(replace(wallet, token_hash=world.deps.vault.hash("provider token", "token-to-come")))

    await world.deps.store.write(confirm_link)
    await world.work(6)

    wallet = await world.deps.store.read(lambda tx: tx.load(WALLETS.get(world.wallet_id)))
    assert wallet is not None
    assert (wallet.state, await delivery_state(world, notice)) == (WalletState.NEEDS_RELINK, DeliveryState.PROCESSED)
    assert await delivery_state(world, nobodys) == DeliveryState.STORED
    await world.work(LINK_SECONDS)
    assert await delivery_state(world, nobodys) == DeliveryState.PROCESSED


# --- A success that comes too late -----------------------------------------------------------------


async def test_a_charge_that_succeeds_after_it_was_given_up_is_given_back_and_leaves_the_next_one_alone(
    world: World,
) -> None:
    checkout_id, first_id = await in_doubt(world)
    world.provider.unseen = 99
    for seconds in (30, 61, 61):
        await world.work(seconds)
    assert (await world.now_payment(first_id)).state == PaymentState.FAILED
    checkout = await world.now_checkout(checkout_id)
    second_id = (await world.confirm(checkout))["payment"].id

    await deliver(world, world.provider.notice(first_id))
    world.provider.unseen = 0
    await world.work(6)

    first, second = await world.now_payment(first_id), await world.now_payment(second_id)
    assert (first.state, first.captured, first.refunded) == (PaymentState.FAILED, 24_000, 24_000)
    assert (second.state, second.captured, second.refunded) == (PaymentState.CAPTURED, 24_000, 0)
    assert await sends(world, second_id) == [("CHARGE", "CAPTURED", 1)]
    order = await order_of(world, second_id)
    assert order is not None
    assert (order.payment_id, order.state, order.refunded) == (second_id, OrderState.OPEN, 0)
    await require_same_books(world, 24_000)


async def test_a_capture_that_succeeds_after_it_was_given_up_is_given_back_although_all_was_taken_since(
    world: World,
) -> None:
    """Providers let a little more be taken than was held: PayPal 115 per cent of it."""
    payment = (await world.confirm(await world.checkout(capture_mode=CaptureMode.MANUAL)))["payment"]
    world.provider.books.held[payment.reference] = 27_600
    world.provider.replies.append(LOST_REPLY)
    given_up_id = await capture(world, payment.id, 2_000)
    world.provider.unseen = 99
    world.provider.replies.extend([LOST_REQUEST] * 3)
    for seconds in (6, 3 * 3_600, 3_600):
        await world.work(seconds)
    assert (await world.now_payment(payment.id)).capturable == 24_000
    world.provider.unseen = 0
    world.provider.replies.clear()
    await capture(world, payment.id, 24_000)

    await deliver(world, world.provider.notice(given_up_id))
    await world.work(6)

    after = await world.now_payment(payment.id)
    assert (after.captured, after.refunded) == (26_000, 2_000)
    await require_same_books(world, 24_000)


async def capture(world: World, payment_id: str, minor_units: int) -> str:
    """The id of a capture of a part of the hold; nobody waits long for it."""
    call = replace(world.by_partner("CreateCapture"), deadline=world.runtime.monotonic() + 0.3)
    amount = Money(minor_units, "USD")
    answer = await payments.create_capture(world.deps, call, payment_id=payment_id, amount=amount, final=False)
    capture_id: str = answer["capture"].id
    return capture_id
