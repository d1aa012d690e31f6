"""Doubt: ended by evidence alone, whatever a repetition is answered. On both databases.

The provider's keys live for three hours here, and absence is proof a minute after the last call can have ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from comptoir_server.app import operations, payments, webhooks
from comptoir_server.app.deps import Deps
from comptoir_server.app.ports import DeclineCode, OperationKind, OutcomeKind
from comptoir_server.app.sightings import Sightings
from comptoir_server.domain.checkouts import CaptureMode, CheckoutState
from comptoir_server.domain.money import Money
from comptoir_server.domain.payments import CaptureState, Payment, PaymentState, PendingState, RefundState
from comptoir_server.runtime import MICROSECONDS
from comptoir_server.store.tables import CAPTURES, OPERATIONS, REFUNDS
from comptoir_server.store.tx import Tx
from tests.support.databases import database_url
from tests.support.providers import (
    LOST_REPLY,
    LOST_REQUEST,
    NOT_SENT,
    THROTTLED,
    Reply,
    ScriptedProvider,
    answering,
    capabilities,
    declined,
)
from tests.support.tally import refund_states, require_same_books, sends
from tests.support.world import World, open_world

__all__ = ["database_url"]

REFUSED = declined(DeclineCode.REFUND_NOT_POSSIBLE)
DOUBTFUL = answering(OutcomeKind.IN_DOUBT, executed=False)
ACT = answering(OutcomeKind.REQUIRES_ACTION, executed=False, action_url="https://provider.example/act")

LIMIT = capabilities().call_limit_seconds
TAKES = LIMIT + capabilities().settle_seconds
"""After how many seconds nothing of a call that is over can be on its way any more."""

REPETITIONS = pytest.mark.parametrize(
    "answer", [NOT_SENT, THROTTLED, REFUSED, DOUBTFUL], ids=["not sent", "throttled", "declined", "in doubt"]
)
"""What a repetition may be answered although the first send succeeded."""


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


async def capture(world: World, payment_id: str, minor_units: int) -> str:
    """The id of a capture of a part of the hold; nobody waits long for it."""
    call = replace(world.by_partner("CreateCapture"), deadline=world.runtime.monotonic() + 0.3)
    answer = await payments.create_capture(
        world.deps, call, payment_id=payment_id, amount=Money(minor_units, "USD"), final=False
    )
    capture_id: str = answer["capture"].id
    return capture_id


async def refund_state(world: World, refund_id: str) -> RefundState:
    found = await world.deps.store.read(lambda tx: tx.load(REFUNDS.get(refund_id)))
    assert found is not None
    return found.state


async def capture_state(world: World, capture_id: str) -> CaptureState:
    found = await world.deps.store.read(lambda tx: tx.load(CAPTURES.get(capture_id)))
    assert found is not None
    return found.state


async def confirming(world: World) -> asyncio.Task[object]:
    """A confirmation whose charge has reached the provider, which has not answered."""
    checkout = await world.checkout()
    task: asyncio.Task[object] = asyncio.create_task(world.confirm(checkout))
    while not any(method == "execute" for method, _ in world.provider.calls):
        await asyncio.sleep(0.01)
    return task


# --- What a repetition proves ----------------------------------------------------------------------


async def test_a_refund_beyond_what_was_taken_is_refused_and_nothing_moves(world: World) -> None:
    payment_id = await paid(world)
    world.provider.replies.append(REFUSED)

    answer = await world.refund(payment_id, 8_000)

    assert answer["refund"].state == RefundState.FAILED
    assert (await world.now_payment(payment_id)).refunding == 0
    await require_same_books(world, 24_000)


@REPETITIONS
async def test_no_answer_to_a_repetition_undoes_a_charge_that_succeeded(world: World, answer: Reply) -> None:
    world.provider.replies.extend([LOST_REPLY, answer])
    checkout = await world.checkout()
    payment_id = (await world.confirm(checkout, seconds=0.3))["payment"].id
    world.provider.unseen = 1
    world.provider.forget()

    await world.work(6)
    assert (await world.now_payment(payment_id)).state in (PaymentState.PROCESSING, PaymentState.CAPTURED)
    await world.work(17)

    assert (await world.now_checkout(checkout.id)).state == CheckoutState.COMPLETED
    assert await sends(world, payment_id) == [("CHARGE", "CAPTURED", 2)]
    await require_same_books(world, 24_000)


@REPETITIONS
async def test_no_answer_to_a_repetition_undoes_a_refund_that_succeeded(world: World, answer: Reply) -> None:
    payment_id = await paid(world)
    world.provider.replies.extend([LOST_REPLY, answer])
    refund_id = (await world.refund(payment_id, 8_000, seconds=0.3))["refund"].id
    world.provider.unseen = 1
    world.provider.forget()

    await world.work(6)
    assert await refund_state(world, refund_id) in (RefundState.IN_DOUBT, RefundState.SUCCEEDED)
    await world.work(17)

    assert await refund_state(world, refund_id) == RefundState.SUCCEEDED
    assert await sends(world, refund_id) == [("REFUND", "REFUNDED", 2)]
    await require_same_books(world, 16_000)


@REPETITIONS
async def test_no_answer_to_a_repetition_undoes_a_capture_that_succeeded(world: World, answer: Reply) -> None:
    payment_id = await held(world)
    world.provider.replies.extend([LOST_REPLY, answer])
    capture_id = await capture(world, payment_id, 9_000)
    world.provider.unseen = 1
    world.provider.forget()

    await world.work(6)
    assert await capture_state(world, capture_id) in (CaptureState.IN_DOUBT, CaptureState.SUCCEEDED)
    await world.work(17)

    assert await capture_state(world, capture_id) == CaptureState.SUCCEEDED
    payment = await world.now_payment(payment_id)
    assert (payment.captured, payment.capturing) == (9_000, 0)
    await require_same_books(world, 9_000)


async def test_a_refused_repetition_is_doubt_while_reading_finds_nothing_yet(world: World) -> None:
    payment_id = await paid(world)
    world.provider.replies.extend([LOST_REPLY, REFUSED])
    refund_id = (await world.refund(payment_id, 8_000, seconds=0.3))["refund"].id
    world.provider.unseen = 2
    world.provider.forget()

    await world.work(6)
    assert await refund_state(world, refund_id) == RefundState.IN_DOUBT
    assert (await world.now_payment(payment_id)).refunding == 8_000
    await world.work(17)

    assert await refund_state(world, refund_id) == RefundState.SUCCEEDED
    await require_same_books(world, 16_000)


async def test_a_refusal_stands_once_nothing_of_the_earlier_sends_can_be_on_its_way(world: World) -> None:
    payment_id = await paid(world)
    world.provider.replies.extend([LOST_REQUEST, REFUSED, REFUSED, REFUSED])
    world.provider.unseen = 99
    refund_id = (await world.refund(payment_id, 8_000, seconds=0.3))["refund"].id

    for seconds in (6, 17):
        await world.work(seconds)
        assert await refund_state(world, refund_id) == RefundState.IN_DOUBT
    await world.work(80)

    assert await refund_state(world, refund_id) == RefundState.FAILED
    assert await sends(world, refund_id) == [("REFUND", "DECLINED", 4)]
    assert (await world.now_payment(payment_id)).refunding == 0
    await require_same_books(world, 24_000)


async def test_a_provider_that_never_decides_is_not_asked_for_ever(database_url: str) -> None:
    forgetful = replace(capabilities(), key_ttl_seconds=dict.fromkeys(OperationKind, 45 * 86_400))
    async with open_world(database_url, ScriptedProvider(forgetful)) as world:
        payment_id = await held(world)
        world.provider.replies.extend([LOST_REQUEST, *[DOUBTFUL] * 40])
        capture_id = await capture(world, payment_id, 9_000)

        for _ in range(30):
            await world.work(4_000)

        assert await capture_state(world, capture_id) == CaptureState.FAILED
        assert await sends(world, capture_id) == [("CAPTURE", "NOT_SENT", 24)]
        assert (await world.now_payment(payment_id)).capturable == 24_000
        await require_same_books(world, 0)


async def charge_in_doubt(world: World) -> tuple[str, str]:
    """A payment whose charge was lost on its way, and its operation."""
    world.provider.replies.append(LOST_REQUEST)
    payment = (await world.confirm(await world.checkout(), seconds=0.3))["payment"]
    return payment.id, payment.pending_operation_id


async def payment_state(world: World, payment_id: str) -> tuple[PaymentState, PendingState]:
    payment = await world.now_payment(payment_id)
    return payment.state, payment.pending_state


async def test_a_wall_clock_that_is_put_right_makes_nothing_absent(world: World) -> None:
    payment_id, _ = await charge_in_doubt(world)
    world.runtime.advance(3_600)

    await world.work()
    await world.work(TAKES - 1)
    assert await payment_state(world, payment_id) == (PaymentState.PROCESSING, PendingState.IN_DOUBT)
    await world.work(2)

    assert await payment_state(world, payment_id) == (PaymentState.FAILED, PendingState.NONE)
    await require_same_books(world, 0)


def another_process(world: World, machine: str = "") -> Deps:
    """A server that has just been started, where it ran before or on the machine that is named."""
    world.runtime.monotonic_clock = machine or world.runtime.monotonic_clock
    return replace(world.deps, sightings=Sightings())


async def test_servers_that_live_too_briefly_to_watch_go_on_with_the_watch_of_their_machine_and_look_again_in_time(
    world: World,
) -> None:
    payment_id, operation_id = await charge_in_doubt(world)
    world.runtime.advance(3_600)

    for seconds in (0, 20, TAKES + LIMIT - 21):
        world.runtime.let_pass(seconds)
        await operations.resolve(another_process(world), operation_id)
        assert await payment_state(world, payment_id) == (PaymentState.PROCESSING, PendingState.IN_DOUBT)
    waiting = await world.deps.store.get(OPERATIONS.get(operation_id))
    assert waiting is not None
    assert waiting.provider_code == "absent so far"
    assert 0 < (waiting.next_time - world.runtime.now()) / MICROSECONDS <= 1

    world.runtime.let_pass(1)
    await operations.resolve(another_process(world), operation_id)
    assert await payment_state(world, payment_id) == (PaymentState.FAILED, PendingState.NONE)
    await require_same_books(world, 0)


async def test_no_watch_of_another_machine_is_believed_however_many_wall_clocks_are_wrong(world: World) -> None:
    payment_id, operation_id = await charge_in_doubt(world)
    for machine in ("first", "second", "third"):
        world.runtime.advance(3_600)
        await operations.resolve(another_process(world, machine), operation_id)
        assert await payment_state(world, payment_id) == (PaymentState.PROCESSING, PendingState.IN_DOUBT)

    world.runtime.let_pass(TAKES + LIMIT + 1)
    await operations.resolve(another_process(world, "fourth"), operation_id)
    assert await payment_state(world, payment_id) == (PaymentState.PROCESSING, PendingState.IN_DOUBT)
    await operations.resolve(another_process(world, "first"), operation_id)
    assert await payment_state(world, payment_id) == (PaymentState.FAILED, PendingState.NONE)
    await require_same_books(world, 0)


async def test_a_refused_repetition_stands_in_time_where_no_server_lives_long_enough_to_watch(
    world: World,
) -> None:
    payment_id = await paid(world)
    world.provider.replies.extend([LOST_REQUEST, *[REFUSED] * 3])
    world.provider.unseen = 99
    refund_id = (await world.refund(payment_id, 8_000, seconds=0.3))["refund"].id
    [operation] = await world.deps.store.read(lambda tx: tx.load(OPERATIONS.list_by("by_object", refund_id)))

    for seconds in (6, TAKES + LIMIT - 1):
        world.runtime.let_pass(seconds)
        await operations.resolve(another_process(world), operation.id)
        assert await refund_state(world, refund_id) == RefundState.IN_DOUBT
    world.runtime.let_pass(TAKES)
    await operations.resolve(another_process(world), operation.id)

    assert await refund_state(world, refund_id) == RefundState.FAILED
    assert await sends(world, refund_id) == [("REFUND", "DECLINED", 4)]
    await require_same_books(world, 24_000)


async def test_a_server_that_has_watched_too_briefly_believes_nothing_that_a_clock_says_however_often_it_jumps(
    world: World,
) -> None:
    payment_id, operation_id = await charge_in_doubt(world)
    for _ in range(3):
        world.runtime.advance(3_600)
        await operations.resolve(world.deps, operation_id)
        assert await payment_state(world, payment_id) == (PaymentState.PROCESSING, PendingState.IN_DOUBT)

    world.runtime.let_pass(TAKES + 1)
    await operations.resolve(world.deps, operation_id)
    assert await payment_state(world, payment_id) == (PaymentState.FAILED, PendingState.NONE)


async def test_what_arrives_while_it_is_looked_for_is_not_absent(world: World) -> None:
    payment_id, operation_id = await charge_in_doubt(world)
    world.runtime.let_pass(TAKES - 1)
    answer = world.provider.hold("look_up")
    looking = asyncio.create_task(operations.resolve(world.deps, operation_id))
    async with asyncio.timeout(5):
        while world.provider.calls[-1][0] != "look_up":
            await asyncio.sleep(0.01)
    world.runtime.let_pass(2)
    answer.set()
    await looking
    assert await payment_state(world, payment_id) == (PaymentState.PROCESSING, PendingState.IN_DOUBT)

    await operations.resolve(world.deps, operation_id)
    assert await payment_state(world, payment_id) == (PaymentState.FAILED, PendingState.NONE)
    await require_same_books(world, 0)


async def test_what_was_watched_before_it_was_sent_again_proves_nothing(world: World) -> None:
    payment_id = await paid(world)
    world.provider.replies.extend([LOST_REQUEST, LOST_REQUEST])
    refund_id = (await world.refund(payment_id, 8_000, seconds=0.3))["refund"].id
    operation = await world.deps.store.read(lambda tx: tx.load(OPERATIONS.list_by("by_object", refund_id)))

    async def absent(tx: Tx) -> None:
        found = await tx.load(OPERATIONS.lock(operation[0].id))
        assert found is not None
        tx.put(replace(found, watch_clock=world.runtime.monotonic_clock, watch_start=1))

    await world.deps.store.write(absent)
    await world.work(6)
    sent_again = await world.deps.store.get(OPERATIONS.get(operation[0].id))

    assert sent_again is not None
    assert (sent_again.sends, sent_again.watch_clock, sent_again.watch_start) == (2, "", 0)


async def test_a_wall_clock_that_is_behind_does_not_make_what_was_sent_again_old(world: World) -> None:
    payment_id = await paid(world)
    world.provider.replies.extend([LOST_REQUEST, LOST_REQUEST])
    refund_id = (await world.refund(payment_id, 8_000, seconds=0.3))["refund"].id
    await world.work(6)
    assert not world.provider.replies
    world.runtime.advance(4 * 3_600)

    await world.work(TAKES - 1)
    assert await refund_state(world, refund_id) == RefundState.IN_DOUBT
    await world.work(2)

    assert await refund_state(world, refund_id) == RefundState.FAILED
    assert await sends(world, refund_id) == [("REFUND", "NOT_SENT", 2)]
    await require_same_books(world, 24_000)


def test_the_oldest_sightings_are_forgotten_where_there_are_too_many() -> None:
    sightings = Sightings(most=2)

    assert [sightings.over(name, 1, latest) for name, latest in (("a", 1.0), ("b", 2.0), ("a", 9.0))] == [1.0, 2.0, 1.0]
    assert sightings.over("a", 2, 3.0) == 3.0
    assert sightings.over("c", 1, 4.0) == 4.0

    assert sightings.over("a", 2, 9.0) == 3.0
    assert sightings.over("b", 1, 9.0) == 9.0


async def test_better_evidence_that_came_meanwhile_outweighs_absence(world: World) -> None:
    checkout = await world.checkout()
    world.provider.replies.append(LOST_REPLY)
    payment_id = (await world.confirm(checkout, seconds=0.3))["payment"].id
    truth = world.provider.notice(payment_id)
    assert truth.outcome is not None
    world.provider.facts[truth.reference] = replace(truth, outcome=replace(truth.outcome, kind=OutcomeKind.PENDING))
    world.provider.unseen = 1
    gate = world.provider.hold("look_up")
    looking = asyncio.create_task(world.work(120))
    while not any(method == "look_up" for method, _ in world.provider.calls):
        await asyncio.sleep(0.01)

    await webhooks.receive(world.deps, "paypal", truth)
    while not any(method == "confirm" for method, _ in world.provider.calls):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    gate.set()
    await looking

    assert (await world.now_payment(payment_id)).state == PaymentState.PROCESSING, "pending, and not failed"
    await world.work(20)
    assert (await world.now_checkout(checkout.id)).state == CheckoutState.COMPLETED
    await require_same_books(world, 24_000)


# --- What nobody else would ask for again ----------------------------------------------------------


async def test_what_a_cancelled_purchase_owes_is_given_back_although_the_provider_is_away_at_first(
    world: World,
) -> None:
    gate = world.provider.hold("execute")
    task = await confirming(world)
    payment = await _only_payment(world)
    await world.cancel(await world.now_checkout(payment.checkout_id))
    world.provider.replies.extend([NOT_SENT, NOT_SENT])
    gate.set()
    await task

    for seconds in (1, 6):
        await world.work(seconds)
        assert await refund_states(world, payment.id) == [("PLATFORM", "PROCESSING", 24_000)]
    await world.work(17)

    assert await refund_states(world, payment.id) == [("PLATFORM", "SUCCEEDED", 24_000)]
    await require_same_books(world, 0)


async def test_a_hold_that_nobody_wants_is_released_although_the_provider_is_away_at_first(world: World) -> None:
    checkout = await world.checkout(capture_mode=CaptureMode.MANUAL)
    gate = world.provider.hold("execute")
    task = asyncio.create_task(world.confirm(checkout))
    while not any(method == "execute" for method, _ in world.provider.calls):
        await asyncio.sleep(0.01)
    await world.cancel(checkout)
    world.provider.replies.append(NOT_SENT)
    gate.set()
    await task

    await world.work(1)
    assert (await _only_payment(world)).pending_state == PendingState.PROCESSING
    await world.work(6)

    assert (await _only_payment(world)).state == PaymentState.VOIDED
    assert list(world.provider.books.held.values()) == [0]


async def _only_payment(world: World) -> Payment:
    order = next(iter(world.provider.orders.values()))
    return await world.now_payment(order.payment_id)


# --- Going on after the person has acted -----------------------------------------------------------


async def asked(world: World, capture_mode: CaptureMode | None = None) -> tuple[str, str]:
    """A checkout and its payment that wait for their person."""
    checkout = await world.checkout(capture_mode=capture_mode)
    world.provider.replies.append(ACT)
    answer = await world.confirm(checkout)
    assert answer["payment"].state == PaymentState.REQUIRES_ACTION
    return checkout.id, answer["payment"].id


@pytest.mark.parametrize("told", [0, 1, 2])
async def test_an_approval_is_acted_upon_once_however_often_it_is_told_and_looked_up(world: World, told: int) -> None:
    checkout_id, payment_id = await asked(world)
    approved = world.provider.act(payment_id)
    world.runtime.advance(6)

    for number in range(told):
        await webhooks.receive(world.deps, "paypal", replace(approved, event_id=f"WH-{number}"))
    await world.work()
    await world.work(20)

    assert (await world.now_checkout(checkout_id)).state == CheckoutState.COMPLETED
    assert await sends(world, payment_id) == [("CHARGE", "REQUIRES_ACTION", 1), ("CHARGE", "CAPTURED", 1)]
    assert len({key for method, key in world.provider.calls if method == "execute"}) == 2
    await require_same_books(world, 24_000)


async def test_an_approved_hold_goes_on_as_a_hold(world: World) -> None:
    _, payment_id = await asked(world, CaptureMode.MANUAL)

    await webhooks.receive(world.deps, "paypal", world.provider.act(payment_id))
    await world.idle()
    await world.work()

    assert (await world.now_payment(payment_id)).state == PaymentState.AUTHORIZED
    assert world.provider.books.total(OperationKind.AUTHORIZE) == 24_000


async def test_a_lost_answer_after_an_approval_is_looked_up_and_charged_once(world: World) -> None:
    checkout_id, payment_id = await asked(world)
    approved = world.provider.act(payment_id)
    world.provider.replies.append(LOST_REPLY)

    await webhooks.receive(world.deps, "paypal", approved)
    await world.idle()
    await world.work()
    await webhooks.receive(world.deps, "paypal", replace(approved, event_id="WH-again"))
    await world.idle()
    await world.work(6)

    assert (await world.now_checkout(checkout_id)).state == CheckoutState.COMPLETED
    await require_same_books(world, 24_000)


async def test_nothing_is_sent_again_while_the_person_has_not_acted(world: World) -> None:
    _, payment_id = await asked(world)
    world.provider.unseen = 1

    for seconds in (6, 17, 66):
        await world.work(seconds)

    assert (await world.now_payment(payment_id)).state == PaymentState.REQUIRES_ACTION
    assert await sends(world, payment_id) == [("CHARGE", "", 1)]
    await require_same_books(world, 0)


async def test_an_approval_after_the_purchase_was_called_off_charges_nothing(world: World) -> None:
    checkout_id, payment_id = await asked(world)
    await world.cancel(await world.now_checkout(checkout_id))

    await webhooks.receive(world.deps, "paypal", world.provider.act(payment_id))
    await world.idle()
    await world.work(20)

    assert (await world.now_payment(payment_id)).state == PaymentState.FAILED
    assert (await world.now_checkout(checkout_id)).state == CheckoutState.CANCELED
    assert await sends(world, payment_id) == [("CHARGE", "NOT_SENT", 1)]
    await require_same_books(world, 0)
