"""What payments, captures, refunds, checkouts and operations are after each step, and what is left of their money."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from comptoir_server.domain import checkouts, operations, payments, requests, wallets
from comptoir_server.domain.checkouts import (
    Adjustment,
    AdjustmentKind,
    Checkout,
    CheckoutCommand,
    CheckoutState,
    LineItem,
    require_sums,
)
from comptoir_server.domain.errors import Reason, Refused
from comptoir_server.domain.operations import Operation, OperationCommand, OperationState
from comptoir_server.domain.payments import (
    Capture,
    CaptureCommand,
    CaptureState,
    Payment,
    PaymentCommand,
    PaymentState,
    PendingKind,
    PendingState,
    Refund,
    RefundCommand,
    RefundState,
)
from comptoir_server.domain.records import replace
from tests.support.records import some

HELD = some(Payment, state=PaymentState.AUTHORIZED, authorized=1_000, captured=300, capturing=200)
OPEN = some(Checkout, state=CheckoutState.OPEN, version=7, expire_time=5_000)


def refused(work: Callable[[], object]) -> Refused:
    """Why something is refused."""
    with pytest.raises(Refused) as refusal:
        work()
    return refusal.value


def test_each_thing_moves_by_its_table_and_notes_when() -> None:
    payment = some(Payment, state=PaymentState.AUTHORIZED)
    capture = some(Capture, state=CaptureState.PROCESSING)
    refund = some(Refund, state=RefundState.PROCESSING)
    operation = some(Operation, state=OperationState.PROCESSING)

    assert payment.move(PaymentCommand.VOID, 9) == replace(payment, state=PaymentState.VOIDED, update_time=9)
    assert capture.move(CaptureCommand.DOUBT, 9) == replace(capture, state=CaptureState.IN_DOUBT, update_time=9)
    assert refund.move(RefundCommand.FAIL, 9) == replace(refund, state=RefundState.FAILED, update_time=9)
    assert operation.move(OperationCommand.FINISH, 9) == replace(operation, state=OperationState.DONE, update_time=9)
    assert OPEN.move(CheckoutCommand.CONFIRM, 9) == replace(OPEN, state=CheckoutState.PROCESSING, update_time=9)


def test_a_thing_that_cannot_move_says_what_it_is() -> None:
    ended: list[tuple[str, Callable[[], object]]] = [
        ("payment", lambda: some(Payment, state=PaymentState.FAILED).move(PaymentCommand.VOID, 1)),
        ("capture", lambda: some(Capture, state=CaptureState.FAILED).move(CaptureCommand.SUCCEED, 1)),
        ("refund", lambda: some(Refund, state=RefundState.FAILED).move(RefundCommand.SUCCEED, 1)),
        ("operation", lambda: some(Operation, state=OperationState.DONE).move(OperationCommand.WAIT, 1)),
        ("checkout", lambda: some(Checkout, state=CheckoutState.EXPIRED).move(CheckoutCommand.CONFIRM, 1)),
    ]

    assert [refused(work).message.partition(" is ")[0] for _, work in ended] == [f"The {noun}" for noun, _ in ended]


def test_an_operation_under_way_is_noted_on_its_payment_and_taken_off_when_it_is_settled() -> None:
    busy = HELD.pending("opn_1", PendingKind.CAPTURE, 9)

    assert busy == replace(
        HELD,
        pending_operation_id="opn_1",
        pending_kind=PendingKind.CAPTURE,
        pending_state=PendingState.PROCESSING,
        pending_since=9,
        update_time=9,
    )
    assert busy.settled() == replace(
        busy, pending_operation_id="", pending_kind=PendingKind.NONE, pending_state=PendingState.NONE, pending_since=0
    )


def test_nothing_is_begun_on_a_payment_while_something_is_under_way() -> None:
    busy = replace(HELD.pending("opn_1", PendingKind.VOID, 9), pending_state=PendingState.IN_DOUBT)

    refusal = refused(busy.require_idle)

    assert refusal.reason == Reason.INVALID_STATE
    assert refusal.metadata == {"state": "AUTHORIZED with VOID IN_DOUBT", "allowed": "no pending operation"}
    busy.settled().require_idle()


def test_what_is_held_and_neither_taken_nor_being_taken_can_be_taken() -> None:
    left = {state: replace(HELD, state=state).capturable for state in PaymentState}

    assert {state: amount for state, amount in left.items() if amount} == {
        PaymentState.AUTHORIZED: 500,
        PaymentState.PARTIALLY_CAPTURED: 500,
    }
    assert set(left.values()) == {0, 500}


def test_what_was_taken_and_is_neither_given_back_nor_being_given_back_can_be_given_back() -> None:
    payment = some(Payment, state=PaymentState.CAPTURED, captured=1_000, refunded=300, refunding=50)
    capture = some(Capture, state=CaptureState.SUCCEEDED, amount=1_000, refunded=300, refunding=50)

    assert payment.refundable == 650
    assert capture.refundable == 650
    assert {replace(capture, state=state).refundable for state in set(CaptureState) - {CaptureState.SUCCEEDED}} == {0}


def test_the_groups_of_states_are_these() -> None:
    assert {str(state) for state in payments.LIVE} == {"PROCESSING", "REQUIRES_ACTION"}
    assert {str(state) for state in payments.SUCCESSFUL} == {"AUTHORIZED", "PARTIALLY_CAPTURED", "CAPTURED"}
    assert {str(state) for state in checkouts.TERMINAL} == {"COMPLETED", "CANCELED", "EXPIRED"}


def test_a_yes_to_another_version_is_stale() -> None:
    OPEN.require_version(7)

    for version in (6, 8):
        refusal = refused(functools.partial(OPEN.require_version, version))
        assert refusal.reason == Reason.VERSION_STALE
        assert refusal.metadata == {"version": str(version), "current_version": "7"}


def test_a_checkout_can_be_confirmed_until_the_very_moment_it_expires() -> None:
    OPEN.require_unexpired(4_999)

    for now in (5_000, 5_001):
        refusal = refused(functools.partial(OPEN.require_unexpired, now))
        assert refusal.reason == Reason.CHECKOUT_EXPIRED
        assert refusal.metadata == {"expire_time": "5000"}


def test_a_line_that_is_not_its_quantity_of_its_unit_is_named() -> None:
    right, wrong = LineItem("Seat", "", 3, 5, 15, ""), LineItem("Bag", "", 2, 5, 7, "")

    refusal = refused(lambda: require_sums((right, wrong), (), 22))

    assert (refusal.reason, refusal.metadata) == (Reason.AMOUNT_MISMATCH, {"expected": "10", "given": "7"})
    assert refusal.message.startswith("items[1].amount should be 10 minor units, not 7.")
    assert refused(lambda: require_sums((right,), (), 16)).message.startswith("total should be 15 minor units, not 16.")


@pytest.mark.parametrize(("kind", "total"), [("TAX", 17), ("SHIPPING", 17), ("FEE", 17), ("DISCOUNT", 13)])
def test_what_is_adjusted_is_added_but_for_a_discount(kind: str, total: int) -> None:
    require_sums((LineItem("Seat", "", 3, 5, 15, ""),), (Adjustment(AdjustmentKind(kind), kind, 2),), total)


def test_the_smallest_price_is_one_minor_unit() -> None:
    require_sums((LineItem("Seat", "", 1, 1, 1, ""),), (), 1)

    refusal = refused(lambda: require_sums((LineItem("Seat", "", 1, 0, 0, ""),), (), 0))

    assert (refusal.reason, refusal.metadata) == (Reason.AMOUNT_MISMATCH, {"expected": "1", "given": "0"})


def test_the_reconciler_looks_again_after_seconds_then_minutes_then_every_hour() -> None:
    assert [operations.delay_seconds(tries) for tries in range(8)] == [5, 15, 60, 300, 900, 3_600, 3_600, 3_600]


def test_times_and_numbers_are_those_of_the_contract() -> None:
    assert (checkouts.DEFAULT_SECONDS, checkouts.SECONDS_MAX) == (1_800, 604_800)
    assert (wallets.LINK_SECONDS, wallets.LINK_TRIES, wallets.LINKS_PENDING_MAX) == (600, 5, 5)
    assert requests.KEEP_SECONDS == 2_592_000
    assert wallets.OPEN_AT_FIRST == (("US", "paypal"),)


def test_a_request_id_counts_for_its_owner_and_method() -> None:
    assert requests.request_key("prt_1", "CreateRefund", "r-1") == "prt_1/CreateRefund/r-1"
