"""Taking what is held, releasing it, giving it back: what is written before the provider is asked, and after."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest

from comptoir_server.app import payments
from comptoir_server.app.call import CallContext
from comptoir_server.app.ports import OutcomeKind
from comptoir_server.app.settled import Settled
from comptoir_server.domain.checkouts import CaptureMode
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.ids import is_valid
from comptoir_server.domain.money import Money
from comptoir_server.domain.operations import Operation, OperationState
from comptoir_server.domain.payments import (
    Capture,
    CaptureState,
    Payment,
    PaymentState,
    PendingKind,
    PendingState,
    Refund,
    RefundOrigin,
    RefundState,
)
from comptoir_server.domain.records import replace
from comptoir_server.runtime import arm_faults
from comptoir_server.store.tables import CAPTURES, EVENTS, OPERATIONS, ORDERS, REFUNDS
from comptoir_server.store.tx import Tx
from tests.support.databases import new_sqlite
from tests.support.providers import LOST_REPLY, NOT_SENT, answering, declined
from tests.support.rows import rows
from tests.support.tally import require_same_books
from tests.support.world import World, open_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(new_sqlite(tmp_path)) as made:
        yield made


async def refused(call: Awaitable[object]) -> Refused:
    """The refusal that an awaitable ends in."""
    with pytest.raises(Refused) as refusal:
        await call
    return refusal.value


async def held(world: World) -> Payment:
    """A payment of 240.00 that is held."""
    checkout = await world.checkout(capture_mode=CaptureMode.MANUAL)
    payment: Payment = (await world.confirm(checkout))["payment"]
    return payment


async def taken(world: World) -> Payment:
    """A payment of 240.00 that was taken."""
    payment: Payment = (await world.confirm(await world.checkout()))["payment"]
    return payment


def call_of(world: World, method: str, request_id: str = "", seconds: float = 10.0) -> CallContext:
    """A call of the partner's, who waits so long."""
    call = world.by_partner(method, request_id)
    return dataclasses.replace(call, deadline=world.runtime.monotonic() + seconds)


async def capture(
    world: World, payment: Payment, amount: int | None = None, *, final: bool = False, currency: str = "USD", **how: Any
) -> dict[str, Any]:
    """Takes of a hold."""
    money = None if amount is None else Money(amount, currency)
    call = call_of(world, "CreateCapture", **how)
    return await payments.create_capture(world.deps, call, payment_id=payment.id, amount=money, final=final)


async def void(world: World, payment: Payment, **how: Any) -> dict[str, Any]:
    """Releases a hold."""
    return await payments.void_payment(world.deps, call_of(world, "VoidPayment", **how), payment_id=payment.id)


async def refund(
    world: World,
    payment: Payment,
    amount: int | None = None,
    capture_id: str = "",
    *,
    currency: str = "USD",
    **how: Any,
) -> dict[str, Any]:
    """Gives back."""
    money = None if amount is None else Money(amount, currency)
    call = call_of(world, "CreateRefund", **how)
    return await payments.create_refund(
        world.deps, call, payment_id=payment.id, amount=money, capture_id=capture_id, reason="Seat 12B"
    )


async def operation_on(world: World, object_id: str) -> Operation:
    """The operation on an object of ours that was begun last."""
    return [one for one in await rows(world.deps, OPERATIONS) if one.object_id == object_id][-1]


async def told(world: World, noun: str) -> list[tuple[str, str]]:
    """(type, log) of every event of a noun, in the order of the channel's log and then of the partner's."""
    events = [event for event in await rows(world.deps, EVENTS) if event.type.startswith(f"{noun}.")]
    placed = [("channel", event.channel_position, event.type) for event in events if event.channel_id]
    placed += [("partner", event.partner_position, event.type) for event in events if event.partner_id]
    return [(kind, log) for log, _, kind in sorted(placed)]


async def test_a_capture_is_written_down_and_its_amount_reserved_before_the_provider_answers(world: World) -> None:
    payment = await held(world)
    gate = world.provider.hold("execute")

    answer = await capture(world, payment, 10_000, seconds=0.2)

    made, operation = answer["capture"], await operation_on(world, answer["capture"].id)
    assert made == Capture(
        id=made.id,
        payment_id=payment.id,
        partner_id=world.partner_id,
        bot_id=world.bot_id,
        session_id=world.session_id,
        user_id=world.user_id,
        channel_id=world.channel_id,
        request_key=made.request_key,
        state=CaptureState.PROCESSING,
        currency_code="USD",
        amount=10_000,
        refunded=0,
        refunding=0,
        final=False,
        decline_code="",
        reference="",
        create_time=operation.create_time,
        update_time=operation.create_time,
    )
    assert made.request_key.startswith(f"{world.partner_id}/CreateCapture/")
    assert (is_valid("cap", made.id), is_valid("opn", operation.id)) == (True, True)
    assert answer["payment"] == replace(
        payment,
        capturing=10_000,
        pending_operation_id=operation.id,
        pending_kind=PendingKind.CAPTURE,
        pending_state=PendingState.PROCESSING,
        pending_since=made.create_time,
        update_time=made.create_time,
    )
    assert (operation.kind, operation.amount, operation.target_reference, operation.final, operation.state) == (
        "CAPTURE", 10_000, payment.reference, False, OperationState.PROCESSING
    )  # fmt: skip
    assert await told(world, "capture") == [("capture.processing", "channel"), ("capture.processing", "partner")]
    busy = [await refused(capture(world, payment, 1)), await refused(void(world, payment))]
    assert [one.metadata["state"] for one in busy] == ["AUTHORIZED with CAPTURE PROCESSING"] * 2
    gate.set()
    await world.idle()
    left = await world.now_payment(payment.id)
    assert (left.state, left.captured, left.capturing, left.capturable) == (
        PaymentState.PARTIALLY_CAPTURED, 10_000, 0, 14_000
    )  # fmt: skip


async def test_a_capture_is_answered_with_its_outcome_and_the_same_request_with_the_same(world: World) -> None:
    payment = await held(world)
    points: list[str] = []
    arm_faults(points.append)
    try:
        first = await capture(world, payment, 10_000, request_id="one")
        again = await capture(world, payment, 10_000, request_id="one")
    finally:
        arm_faults(None)

    assert first == again
    assert (first["capture"].state, first["payment"].state) == ("SUCCEEDED", "PARTIALLY_CAPTURED")
    assert [point for point in points if point.startswith("answer.")] == ["answer.unsent"]
    await require_same_books(world, 10_000)


@pytest.mark.parametrize(("amount", "final", "state"), [(None, False, "CAPTURED"), (24_000, False, "CAPTURED"),
    (23_999, False, "PARTIALLY_CAPTURED"), (1, True, "CAPTURED")])  # fmt: skip
async def test_a_capture_of_all_that_is_left_is_the_last(
    world: World, amount: int | None, final: bool, state: str
) -> None:
    payment = await held(world)

    answer = await capture(world, payment, amount, final=final)

    operation = await operation_on(world, answer["capture"].id)
    assert (answer["capture"].final, operation.final, answer["payment"].state) == (
        state == "CAPTURED", state == "CAPTURED", state
    )  # fmt: skip
    await require_same_books(world, amount or 24_000)


async def test_what_is_not_held_or_no_amount_of_it_cannot_be_taken(world: World) -> None:
    payment, ended = await held(world), await taken(world)
    await capture(world, payment, 4_000)

    refusals = [
        await refused(capture(world, payment, 20_001)),
        await refused(capture(world, payment, 1, currency="EUR")),
        await refused(capture(world, payment, 0)),
        await refused(capture(world, payment, -1)),
        await refused(capture(world, ended, 1)),
        await refused(void(world, ended)),
    ]

    assert [(one.reason, one.metadata) for one in refusals] == [
        (Reason.CAPTURE_EXCEEDS_AUTHORIZATION, {"available": "20000", "given": "20001"}),
        (Reason.AMOUNT_MISMATCH, {"expected": "USD", "given": "EUR"}),
        (Reason.FIELD_INVALID, {"field": "amount.minor_units"}),
        (Reason.FIELD_INVALID, {"field": "amount.minor_units"}),
        (Reason.INVALID_STATE, {"state": "CAPTURED", "allowed": "AUTHORIZED, PARTIALLY_CAPTURED"}),
        (Reason.INVALID_STATE, {"state": "CAPTURED", "allowed": "AUTHORIZED, VOIDED"}),
    ]
    assert [one.message.partition(";")[0] for one in refusals[-2:]] == ["The payment is CAPTURED"] * 2
    assert (await capture(world, payment, 20_000))["payment"].state == PaymentState.CAPTURED


async def test_a_payment_has_a_hundred_captures_at_most(world: World) -> None:
    payment = await held(world)
    first = (await capture(world, payment, 1))["capture"]

    async def work(tx: Tx) -> None:
        for number in range(98):
            tx.put(replace(first, id=tx.new_id("cap"), request_key=f"test/{number}", reference=""))

    await world.deps.store.write(work)
    await capture(world, payment, 1)
    refusal = await refused(capture(world, payment, 1))

    assert (refusal.reason, refusal.metadata) == (Reason.LIMIT_EXCEEDED, {"limit": "captures"})


async def test_a_hold_is_released_once_however_often_that_is_asked(world: World) -> None:
    payment = await held(world)
    gate = world.provider.hold("execute")

    begun = await void(world, payment, seconds=0.2)
    operation = await operation_on(world, payment.id)
    gate.set()
    await world.idle()
    again = await void(world, payment)

    assert begun["payment"] == replace(
        payment,
        pending_operation_id=operation.id,
        pending_kind=PendingKind.VOID,
        pending_state=PendingState.PROCESSING,
        pending_since=operation.create_time,
        update_time=operation.create_time,
    )
    assert (operation.kind, operation.amount, operation.target_reference) == ("VOID", 24_000, payment.reference)
    assert again == {"payment": await world.now_payment(payment.id)}
    assert again["payment"].state == PaymentState.VOIDED
    assert [one.kind for one in await rows(world.deps, OPERATIONS)] == ["AUTHORIZE", "VOID"]


async def test_a_refund_is_written_down_and_its_amount_reserved_before_the_provider_answers(world: World) -> None:
    payment = await taken(world)
    [before] = await rows(world.deps, CAPTURES)
    gate = world.provider.hold("execute")

    answer = await refund(world, payment, 8_000, seconds=0.2)

    made, operation = answer["refund"], await operation_on(world, answer["refund"].id)
    assert made == Refund(
        id=made.id,
        payment_id=payment.id,
        capture_id=before.id,
        partner_id=world.partner_id,
        bot_id=world.bot_id,
        session_id=world.session_id,
        user_id=world.user_id,
        channel_id=world.channel_id,
        request_key=made.request_key,
        state=RefundState.PROCESSING,
        origin=RefundOrigin.PARTNER,
        currency_code="USD",
        amount=8_000,
        reason="Seat 12B",
        decline_code="",
        reference="",
        create_time=operation.create_time,
        update_time=operation.create_time,
    )
    assert made.request_key.startswith(f"{world.partner_id}/CreateRefund/")
    assert is_valid("rfd", made.id)
    assert answer["payment"] == replace(payment, refunding=8_000, update_time=made.create_time)
    assert await rows(world.deps, CAPTURES) == [replace(before, refunding=8_000, update_time=made.create_time)]
    assert (operation.kind, operation.amount, operation.target_reference) == ("REFUND", 8_000, before.reference)
    assert operation.lease_owner == "worker"
    assert await told(world, "refund") == [("refund.processing", "channel"), ("refund.processing", "partner")]
    gate.set()
    await world.idle()


async def test_a_refund_that_succeeds_is_counted_on_capture_payment_and_order_and_told(world: World) -> None:
    payment = await taken(world)
    [before], [order] = await rows(world.deps, CAPTURES), await rows(world.deps, ORDERS)

    answer = await refund(world, payment, 8_000)

    made, now = answer["refund"], answer["refund"].update_time
    operation = await operation_on(world, made.id)
    assert (made.state, made.reference, made.decline_code) == (RefundState.SUCCEEDED, made.reference, "")
    assert made.reference in world.provider.facts
    assert now == operation.update_time > made.create_time
    assert answer["payment"] == replace(payment, refunded=8_000, refunding=0, update_time=now)
    assert answer["payment"] == await world.now_payment(payment.id)
    assert await rows(world.deps, CAPTURES) == [replace(before, refunded=8_000, refunding=0, update_time=now)]
    assert await rows(world.deps, ORDERS) == [replace(order, refunded=8_000)]
    await refund(world, payment, 16_000)
    assert await rows(world.deps, ORDERS) == [replace(order, refunded=24_000, state="CANCELED")]
    assert await rows(world.deps, CAPTURES) == [
        replace(before, refunded=24_000, update_time=(await rows(world.deps, CAPTURES))[0].update_time)
    ]
    of_partner = [kind for kind, log in await told(world, "refund") if log == "partner"]
    assert of_partner == ["refund.processing", "refund.succeeded"] * 2
    assert [kind for kind, log in await told(world, "order") if log == "partner"] == [
        "order.opened", "order.refunded", "order.canceled"
    ]  # fmt: skip
    assert [kind for kind, log in await told(world, "payment") if log == "partner"][-2:] == ["payment.refunded"] * 2
    await require_same_books(world, 0)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (declined(), "INSUFFICIENT_FUNDS"),
        (answering(OutcomeKind.DECLINED, executed=False), "REFUND_NOT_POSSIBLE"),
        (NOT_SENT, ""),
    ],
)
async def test_a_refund_that_fails_leaves_everything_to_be_given_back(world: World, reply: Any, code: str) -> None:
    payment = await taken(world)
    [before] = await rows(world.deps, CAPTURES)
    world.provider.replies.append(reply)

    answer = await refund(world, payment, 8_000)

    now = answer["refund"].update_time
    assert (answer["refund"].state, answer["refund"].decline_code) == (RefundState.FAILED, code)
    assert now > answer["refund"].create_time
    assert await rows(world.deps, REFUNDS) == [answer["refund"]]
    assert answer["payment"] == replace(payment, update_time=now) == await world.now_payment(payment.id)
    assert await rows(world.deps, CAPTURES) == [replace(before, update_time=now)]
    assert [kind for kind, log in await told(world, "refund") if log == "partner"] == [
        "refund.processing", "refund.failed"
    ]  # fmt: skip
    await require_same_books(world, 24_000)


async def test_a_refund_in_doubt_keeps_its_amount_reserved_and_says_so(world: World) -> None:
    payment = await taken(world)
    world.provider.replies.append(LOST_REPLY)

    await refund(world, payment, 8_000, seconds=0.3)
    await world.idle()

    [made] = await rows(world.deps, REFUNDS)
    assert (made.state, made.update_time > made.create_time) == (RefundState.IN_DOUBT, True)
    assert (await world.now_payment(payment.id)).refunding == 8_000
    assert await told(world, "refund") == [
        (kind, log) for log in ("channel", "partner") for kind in ("refund.processing", "refund.in_doubt")
    ]


async def test_a_refund_is_of_one_capture_the_named_one_or_the_first_with_enough_left(world: World) -> None:
    payment = await held(world)
    small = (await capture(world, payment, 1_000))["capture"]
    world.runtime.advance(1)
    large = (await capture(world, payment, 5_000))["capture"]
    foreign = world.runtime.new_id("cap")

    refusals = [
        await refused(refund(world, payment, 5_001)),
        await refused(refund(world, payment, 1_001, small.id)),
        await refused(refund(world, payment, 1, foreign)),
        await refused(refund(world, payment)),
    ]
    made = [
        (await refund(world, payment, amount, name))["refund"].capture_id
        for amount, name in ((1_001, ""), (999, ""), (1, ""), (1, large.id), (1, ""))
    ]

    assert [(one.reason, one.metadata) for one in refusals] == [
        (Reason.REFUND_EXCEEDS_CAPTURE, {"available": "5000", "given": "5001"}),
        (Reason.REFUND_EXCEEDS_CAPTURE, {"available": "1000", "given": "1001"}),
        (Reason.FIELD_INVALID, {"field": "capture_id"}),
        (Reason.REFUND_EXCEEDS_CAPTURE, {"available": "5000", "given": "6000"}),
    ]
    assert made == [large.id, small.id, small.id, large.id, large.id]
    await require_same_books(world, 6_000 - 1_001 - 999 - 3)


async def test_the_rest_of_what_was_all_given_back_is_nothing_and_refused(world: World) -> None:
    payment = await taken(world)
    await refund(world, payment)

    refusal = await refused(refund(world, payment))

    assert (refusal.reason, refusal.metadata) == (Reason.REFUND_EXCEEDS_CAPTURE, {"available": "0", "given": "0"})
    await require_same_books(world, 0)


async def test_who_is_not_woken_finds_the_outcome_by_looking(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def overslept(self: Settled, key: str, seconds: float) -> None:
        await asyncio.sleep(0.02)

    payment = await taken(world)
    monkeypatch.setattr(Settled, "pause", overslept)

    async with asyncio.timeout(5):
        answer = await refund(world, payment, 8_000, seconds=60)

    assert (answer["refund"].state, answer["payment"].refunded) == (RefundState.SUCCEEDED, 8_000)


async def test_nothing_is_given_back_of_what_was_not_taken(world: World) -> None:
    payment = await held(world)

    refusal = await refused(refund(world, payment))

    assert (refusal.reason, refusal.metadata) == (
        Reason.INVALID_STATE, {"state": "AUTHORIZED", "allowed": "CAPTURED, PARTIALLY_CAPTURED"}
    )  # fmt: skip


async def test_a_capture_that_did_not_succeed_is_not_given_back(world: World) -> None:
    payment = await held(world)
    await capture(world, payment, 1_000)
    world.provider.replies.append(declined())
    failed = (await capture(world, payment, 2_000))["capture"]

    refusals = [await refused(refund(world, payment, 1, failed.id)), await refused(refund(world, payment, 2_000))]

    assert [one.reason for one in refusals] == [Reason.FIELD_INVALID, Reason.REFUND_EXCEEDS_CAPTURE]


async def test_payments_captures_and_refunds_are_read_by_those_whose_they_are(world: World) -> None:
    payment = await taken(world)
    made = (await refund(world, payment, 8_000))["refund"]
    [capture_made] = await rows(world.deps, CAPTURES)
    deps, mine = world.deps, world.by_partner()
    stranger = dataclasses.replace(mine, partner_id="prt_other")

    def asked(call: CallContext) -> list[Awaitable[dict[str, Any]]]:
        return [
            payments.get_payment(deps, call, payment_id=payment.id),
            payments.get_capture(deps, call, capture_id=capture_made.id),
            payments.get_refund(deps, call, refund_id=made.id),
            payments.list_captures(deps, call, payment_id=payment.id),
            payments.list_refunds(deps, call, payment_id=payment.id),
        ]

    def reasons(answers: list[Any]) -> list[object]:
        return [getattr(answer, "reason", answer) for answer in answers]

    assert await asyncio.gather(*asked(mine)) == [
        {"payment": await world.now_payment(payment.id)},
        {"capture": capture_made},
        {"refund": made},
        {"captures": (capture_made,)},
        {"refunds": (made,)},
    ]
    assert reasons(await asyncio.gather(*asked(stranger), return_exceptions=True)) == [Reason.NOT_FOUND] * 5
    absent = replace(payment, id=world.runtime.new_id("pay"))
    acts = [capture(world, absent, 1), void(world, absent), refund(world, absent, 1)]
    assert reasons(await asyncio.gather(*acts, return_exceptions=True)) == [Reason.NOT_FOUND] * 3


async def test_payments_are_listed_page_by_page_newest_first(world: World) -> None:
    made = [await taken(world) for _ in range(3)]
    asked: dict[str, Any] = {"checkout_id": "", "operation_state": None, "page_size": 2}
    all_at_once = await payments.list_payments(
        world.deps, world.by_partner("ListPayments"), page_token="", **{**asked, "page_size": 3}
    )

    first = await payments.list_payments(world.deps, world.by_partner("ListPayments"), page_token="", **asked)
    rest = await payments.list_payments(
        world.deps, world.by_partner("ListPayments"), page_token=first["next_page_token"], **asked
    )
    of_one = await payments.list_payments(
        world.deps, world.by_partner("ListPayments"), page_token="", **{**asked, "checkout_id": made[1].checkout_id}
    )

    found = [payment.id for payment in (*first["payments"], *rest["payments"])]
    assert found == sorted((payment.id for payment in made), reverse=True)
    assert (len(first["payments"]), rest["next_page_token"]) == (2, "")
    assert (len(all_at_once["payments"]), all_at_once["next_page_token"]) == (3, "")
    assert [payment.id for payment in of_one["payments"]] == [made[1].id]
