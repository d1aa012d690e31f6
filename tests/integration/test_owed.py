"""What the platform owes for what nobody wanted: asked for until it is taken, whatever others do. On both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from comptoir_server.app import payments, webhooks
from comptoir_server.app.evidence import Evidence
from comptoir_server.app.ports import DeclineCode, Instruction, Notice, OperationKind, Outcome, OutcomeKind
from comptoir_server.app.settlement import settle
from comptoir_server.domain.checkouts import CaptureMode, Checkout, CheckoutState
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.inbox import DeliveryState
from comptoir_server.domain.money import Money
from comptoir_server.domain.payments import Payment, PaymentState
from comptoir_server.store.checks import check_database
from comptoir_server.store.tables import INBOX, OPERATIONS, PAYMENTS, REFUNDS
from comptoir_server.store.tx import Tx
from tests.support.databases import database_url
from tests.support.providers import LOST_REPLY, LOST_REQUEST, NOT_SENT, declined
from tests.support.tally import refund_states, require_same_books, sends
from tests.support.world import World, open_world

__all__ = ["database_url"]

REFUSED = declined(DeclineCode.REFUND_NOT_POSSIBLE)
SCHEDULE = (1, 6, 17, 66, 301, 901, 3_601, 3_601)
"""Seconds after which the reconciler has tried everything several times."""


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with open_world(database_url) as made:
        yield made


async def called(world: World, method: str) -> None:
    """Returns once the provider was asked so."""
    async with asyncio.timeout(5):
        while not any(name == method for name, _ in world.provider.calls):
            await asyncio.sleep(0.01)


async def called_off(world: World, capture_mode: CaptureMode | None = None) -> tuple[Checkout, Payment]:
    """A purchase of 240.00 that was called off while it was paid; what is owed waits for the workers."""
    checkout = await world.checkout(capture_mode=capture_mode)
    gate = world.provider.hold("execute")
    confirming = asyncio.create_task(world.confirm(checkout))
    await called(world, "execute")
    await world.cancel(checkout)
    gate.set()
    world.provider.let_through("execute")
    return checkout, (await confirming)["payment"]


async def capture(world: World, payment_id: str, minor_units: int | None, seconds: float = 5.0) -> str:
    """The partner takes that much of a hold, all of it for None."""
    call = replace(world.by_partner("CreateCapture"), deadline=world.runtime.monotonic() + seconds)
    amount = Money(minor_units, "USD") if minor_units is not None else None
    answer = await payments.create_capture(world.deps, call, payment_id=payment_id, amount=amount, final=False)
    await world.idle()
    capture_id: str = answer["capture"].id
    return capture_id


async def deliver(world: World, notice: Notice) -> DeliveryState:
    """The provider tells it; answers where the delivery stands."""
    headers, body = world.provider.sign(notice)
    await webhooks.receive(world.deps, "paypal", await world.provider.read_webhook(headers, body))
    await world.idle()
    found = await world.deps.store.get(INBOX.get(("paypal", notice.event_id)))
    assert found is not None
    return found.state


async def owed(world: World, payment_id: str) -> list[tuple[str, str]]:
    """The refunds of a payment, by id, and where they stand."""
    refunds = await world.deps.store.read(lambda tx: tx.load(REFUNDS.list_by("by_payment", payment_id)))
    return [(refund.id, refund.state) for refund in refunds]


def keys(world: World) -> list[str]:
    """The keys of all that was sent to be executed."""
    return [key for method, key in world.provider.calls if method == "execute"]


@pytest.mark.parametrize("replies", [[REFUSED], [LOST_REQUEST, *[REFUSED] * 4]], ids=["refused", "lost, then refused"])
async def test_a_refund_that_is_owed_is_asked_for_under_new_keys_until_it_is_taken(
    world: World, replies: list[object]
) -> None:
    _, payment = await called_off(world)
    world.provider.replies.extend(replies)  # type: ignore[arg-type]

    for seconds in SCHEDULE:
        await world.work(seconds)

    assert not world.provider.replies
    assert await refund_states(world, payment.id) == [("PLATFORM", "SUCCEEDED", 24_000)]
    assert world.provider.books.total(OperationKind.REFUND) == 24_000
    assert len(set(keys(world))) >= 3
    await require_same_books(world, 0)


async def test_a_refund_that_was_executed_late_is_found_when_asking_for_it_anew_is_refused(world: World) -> None:
    _, payment = await called_off(world)
    [(refund_id, _)] = await owed(world, payment.id)
    world.provider.replies.extend([LOST_REPLY, *[REFUSED] * 9])
    world.provider.unseen = 99
    for seconds in SCHEDULE:
        await world.work(seconds)
        if len(await sends(world, refund_id)) == 2:
            break
    assert [outcome for _, outcome, _ in await sends(world, refund_id)] == ["DECLINED", ""]

    world.provider.unseen = 0
    await world.work(SCHEDULE[-1])

    assert [outcome for _, outcome, _ in await sends(world, refund_id)] == ["DECLINED", "REFUNDED"]
    assert await refund_states(world, payment.id) == [("PLATFORM", "SUCCEEDED", 24_000)]
    assert world.provider.books.total(OperationKind.REFUND) == 24_000
    await require_same_books(world, 0)


@pytest.mark.parametrize(
    ("given", "left"),
    [(24_000, []), (1_000, [("PLATFORM", "SUCCEEDED", 23_000)])],
    ids=["all of it", "a part of it"],
)
@pytest.mark.parametrize("tried", [False, True], ids=["before it was sent", "after a refusal"])
async def test_what_somebody_gives_back_by_hand_is_no_longer_owed(
    world: World, given: int, left: list[tuple[str, str, int]], tried: bool
) -> None:
    _, payment = await called_off(world)
    if tried:
        world.provider.replies.append(REFUSED)
        await world.work(1)
    told = world.provider.give_back(payment.reference, given)

    assert await deliver(world, told) == DeliveryState.PROCESSED
    for seconds in SCHEDULE:
        await world.work(seconds)

    refunds = await refund_states(world, payment.id)
    assert sorted(refunds) == sorted([("PLATFORM", "FAILED", 24_000), ("PROVIDER", "SUCCEEDED", given), *left])
    now = await world.now_payment(payment.id)
    assert (now.refunded, now.refunding) == (24_000, 0)
    await require_same_books(world, 0)


async def test_a_refund_that_is_told_without_our_id_waits_while_ours_is_on_its_way(world: World) -> None:
    _, payment = await called_off(world)
    [(refund_id, _)] = await owed(world, payment.id)
    gate = world.provider.hold("execute")
    working = asyncio.create_task(world.work(1))
    async with asyncio.timeout(5):
        while refund_id not in world.provider.objects:
            await asyncio.sleep(0.01)
    told = replace(world.provider.notice(refund_id), object_id="", parent_reference=payment.reference)
    world.provider.facts[told.reference] = told
    await webhooks.receive(world.deps, "paypal", told)
    await webhooks.process(world.deps, "paypal", told.event_id)

    assert await owed(world, payment.id) == [(refund_id, "PROCESSING")]
    gate.set()
    world.provider.let_through("execute")
    await working
    await world.work(6)
    assert await refund_states(world, payment.id) == [("PLATFORM", "SUCCEEDED", 24_000)]
    assert (await world.deps.store.get(INBOX.get(("paypal", told.event_id)))).state == DeliveryState.PROCESSED  # type: ignore[union-attr]
    await require_same_books(world, 0)


async def test_a_hold_that_nobody_wants_is_released_although_that_was_refused_and_cannot_be_captured(
    world: World,
) -> None:
    checkout, payment = await called_off(world, CaptureMode.MANUAL)
    world.provider.replies.append(declined(DeclineCode.DO_NOT_HONOR))
    await world.work(1)
    assert await sends(world, payment.id) == [("AUTHORIZE", "AUTHORIZED", 1), ("VOID", "DECLINED", 1), ("VOID", "", 0)]

    with pytest.raises(Refused) as refusal:
        await capture(world, payment.id, None)
    assert refusal.value.reason == Reason.INVALID_STATE
    for seconds in SCHEDULE:
        await world.work(seconds)

    assert (await world.now_payment(payment.id)).state == PaymentState.VOIDED
    assert (await world.now_checkout(checkout.id)).state == CheckoutState.CANCELED
    assert await sends(world, payment.id) == [
        ("AUTHORIZE", "AUTHORIZED", 1),
        ("VOID", "DECLINED", 1),
        ("VOID", "VOIDED", 1),
    ]
    await require_same_books(world, 0)


async def test_a_hold_that_nobody_wants_is_not_released_beyond_its_time_and_never_captured(world: World) -> None:
    _, payment = await called_off(world, CaptureMode.MANUAL)

    async def ends(tx: Tx) -> None:
        found = await tx.load(PAYMENTS.lock(payment.id))
        assert found is not None
        tx.put(replace(found, authorization_expire_time=tx.now))

    await world.deps.store.write(ends)
    world.provider.replies.append(declined(DeclineCode.DO_NOT_HONOR))
    await world.work(1)
    assert await sends(world, payment.id) == [("AUTHORIZE", "AUTHORIZED", 1), ("VOID", "DECLINED", 1)]
    now = await world.now_payment(payment.id)
    assert (now.state, now.pending_operation_id) == (PaymentState.AUTHORIZED, "")

    with pytest.raises(Refused, match="was called off") as refusal:
        await capture(world, payment.id, 24_000)

    assert refusal.value.reason == Reason.INVALID_STATE
    assert world.provider.books.total(OperationKind.CAPTURE) == 0
    assert await world.now_payment(payment.id) == now
    await require_same_books(world, 0)


async def test_of_a_hold_of_which_nothing_is_left_nothing_can_be_captured(world: World) -> None:
    payment = (await world.confirm(await world.checkout(capture_mode=CaptureMode.MANUAL)))["payment"]
    world.provider.replies.append(LOST_REPLY)
    given_up = await capture(world, payment.id, 24_000, seconds=0.3)
    world.provider.unseen = 99
    world.provider.replies.extend([LOST_REQUEST] * 3)
    for seconds in (6, 3 * 3_600, 3_600):
        await world.work(seconds)
    world.provider.unseen = 0
    world.provider.replies.clear()
    await deliver(world, world.provider.notice(given_up))
    await world.work(6)
    assert (await world.now_payment(payment.id)).capturable == 0

    with pytest.raises(Refused) as refusal:
        await capture(world, payment.id, None)

    assert refusal.value.reason == Reason.CAPTURE_EXCEEDS_AUTHORIZATION
    assert refusal.value.metadata == {"available": "0", "given": "0"}
    await require_same_books(world, 0)


@pytest.mark.parametrize("void_before", [False, True], ids=["no void before", "a void that was not sent"])
async def test_a_release_says_nothing_of_a_capture_that_is_in_doubt(world: World, void_before: bool) -> None:
    payment = (await world.confirm(await world.checkout(capture_mode=CaptureMode.MANUAL)))["payment"]
    if void_before:
        world.provider.replies.append(NOT_SENT)
        await payments.void_payment(world.deps, world.by_partner("VoidPayment"), payment_id=payment.id)
        await world.idle()
        assert (await sends(world, payment.id))[-1] == ("VOID", "NOT_SENT", 1)
    world.provider.replies.append(LOST_REPLY)
    capture_id = await capture(world, payment.id, 9_000, seconds=0.3)

    await deliver(world, world.provider.release(payment.reference))
    now = await world.now_payment(payment.id)
    assert (now.captured, now.capturing, now.pending_kind) == (0, 9_000, "CAPTURE")
    for seconds in SCHEDULE:
        await world.work(seconds)

    assert await sends(world, capture_id) == [("CAPTURE", "CAPTURED", 1)]
    now = await world.now_payment(payment.id)
    assert (now.captured, now.capturing, now.pending_kind) == (9_000, 0, "")
    await require_same_books(world, 9_000)


async def test_a_refund_by_hand_that_names_no_capture_is_nobodys(world: World) -> None:
    payment = (await world.confirm(await world.checkout(capture_mode=CaptureMode.MANUAL)))["payment"]
    world.provider.replies.append(declined(DeclineCode.DO_NOT_HONOR))
    await capture(world, payment.id, 9_000)
    taken = await capture(world, payment.id, 10_000)
    told = replace(world.provider.give_back(world.provider.objects[taken].reference, 1_000), parent_reference="")
    world.provider.facts[told.reference] = told

    assert await deliver(world, told) == DeliveryState.STORED
    assert await refund_states(world, payment.id) == []


async def test_what_an_earlier_try_came_to_late_is_taken_on_by_the_one_that_was_not_sent_yet(
    world: World, database_url: str
) -> None:
    _, payment = await called_off(world)
    [(refund_id, _)] = await owed(world, payment.id)
    world.provider.replies.extend([LOST_REQUEST] * 30)
    world.provider.unseen = 99
    for seconds in (1, 6, 4 * 3_600, 3_601, 3_601):
        await world.work(seconds)
        if len(await sends(world, refund_id)) == 2:
            break
    assert (await sends(world, refund_id))[-1] == ("REFUND", "", 0)
    fact = replace(world.provider.facts[payment.reference], object_id=refund_id, parent_reference=payment.reference)
    pending = Outcome(OutcomeKind.PENDING, "RFD-LATE", 24_000, "USD")

    await deliver(world, world.provider._know(fact, pending, OperationKind.REFUND))

    assert (await sends(world, refund_id))[-1] == ("REFUND", "", 1)
    assert check_database(database_url, vault=world.deps.vault).broken == ()


async def test_a_refund_that_the_provider_made_and_failed_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, payment = await called_off(world)
    failed = Outcome(OutcomeKind.DECLINED, "RFD-1", 24_000, "USD", decline_code=DeclineCode.REFUND_NOT_POSSIBLE)

    async def execute(instruction: Instruction) -> Outcome:
        world.provider.objects[instruction.object_id] = failed
        return failed

    monkeypatch.setattr(world.provider, "execute", execute)
    for seconds in SCHEDULE:
        await world.work(seconds)

    [(refund_id, _)] = await owed(world, payment.id)
    assert await sends(world, refund_id) == [("REFUND", "DECLINED", 1)]
    assert await refund_states(world, payment.id) == [("PLATFORM", "FAILED", 24_000)]


async def test_a_void_that_was_executed_late_leaves_a_capture_in_doubt_alone(world: World) -> None:
    payment = (await world.confirm(await world.checkout(capture_mode=CaptureMode.MANUAL)))["payment"]
    world.provider.replies.append(NOT_SENT)
    await payments.void_payment(world.deps, world.by_partner("VoidPayment"), payment_id=payment.id)
    await world.idle()
    operations = await world.deps.store.read(lambda tx: tx.load(OPERATIONS.list_by("by_object", payment.id)))
    [void] = [one for one in operations if one.kind == "VOID"]
    world.provider.replies.append(LOST_REPLY)
    await capture(world, payment.id, 9_000, seconds=0.3)
    evidence = Evidence(Outcome(OutcomeKind.VOIDED, payment.reference), "reply", world.runtime.now())

    await world.deps.store.write(lambda tx: settle(world.deps, tx, void.id, payment.id, evidence))
    for seconds in SCHEDULE:
        await world.work(seconds)
    assert (await world.now_payment(payment.id)).captured == 9_000
    await require_same_books(world, 9_000)
