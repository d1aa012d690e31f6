"""What a verified delivery tells, in our words."""

from __future__ import annotations

from typing import Any

import pytest

from comptoir_server.app.ports import (
    Notice,
    NoticeKind,
    OperationKind,
    OutcomeKind,
)
from tests.support import paypal_wire as wire
from tests.support.paypal_deliveries import (
    event,
    receiver,
    signed,
)

RELATED = {
    "supplementary_data": {"related_ids": {"order_id": wire.ORDER_ID, "authorization_id": wire.AUTHORIZATION_ID}}
}
UP = {"links": [{"rel": "up", "href": f"https://api.sandbox.paypal.com/v2/payments/captures/{wire.CAPTURE_ID}"}]}
OF_ORDER = {"supplementary_data": {"related_ids": {"order_id": wire.ORDER_ID}}}


async def told(event_type: str, resource: dict[str, Any]) -> Notice:
    provider, _ = receiver()
    body = event(event_type, resource)
    return await provider.read_webhook(signed(body), body)


@pytest.mark.parametrize(
    ("event_type", "status", "kind"),
    [
        ("PAYMENT.CAPTURE.COMPLETED", "COMPLETED", OutcomeKind.CAPTURED),
        ("PAYMENT.CAPTURE.PENDING", "PENDING", OutcomeKind.PENDING),
        ("PAYMENT.CAPTURE.DENIED", "DECLINED", OutcomeKind.DECLINED),
        ("PAYMENT.CAPTURE.DENIED", "DENIED", OutcomeKind.DECLINED),
        ("PAYMENT.CAPTURE.DECLINED", "FAILED", OutcomeKind.DECLINED),
        ("PAYMENT.CAPTURE.COMPLETED", "PENDING", OutcomeKind.PENDING),
    ],
)
async def test_a_charge_is_told_by_the_status_of_its_capture(event_type: str, status: str, kind: OutcomeKind) -> None:
    notice = await told(event_type, wire.capture(status) | OF_ORDER)
    assert notice.outcome is not None
    assert (notice.operation, notice.outcome.kind) == (OperationKind.CHARGE, kind)
    assert (notice.outcome.amount, notice.outcome.currency_code) == (1250, "EUR")
    assert (notice.object_id, notice.order_reference, notice.reference, notice.parent_reference) == (
        "pay_1",
        wire.ORDER_ID,
        wire.CAPTURE_ID,
        "",
    )


async def test_a_capture_of_a_hold_names_the_hold_and_our_capture() -> None:
    notice = await told("PAYMENT.CAPTURE.COMPLETED", wire.capture(invoice_id="cap_1") | RELATED)
    assert (notice.operation, notice.object_id) == (OperationKind.CAPTURE, "cap_1")
    assert notice.parent_reference == wire.AUTHORIZATION_ID


@pytest.mark.parametrize(
    ("event_type", "status", "kind"),
    [
        ("PAYMENT.CAPTURE.REFUNDED", "COMPLETED", OutcomeKind.REFUNDED),
        ("PAYMENT.REFUND.PENDING", "PENDING", OutcomeKind.PENDING),
        ("PAYMENT.REFUND.FAILED", "FAILED", OutcomeKind.DECLINED),
    ],
)
async def test_a_refund_names_our_refund_and_its_capture(event_type: str, status: str, kind: OutcomeKind) -> None:
    notice = await told(event_type, wire.refund(status, invoice_id="pay_1") | UP)
    assert notice.outcome is not None
    assert (notice.operation, notice.outcome.kind) == (OperationKind.REFUND, kind)
    assert (notice.object_id, notice.reference, notice.parent_reference) == (
        "ref_1",
        wire.REFUND_ID,
        wire.CAPTURE_ID,
    )


async def test_a_reversal_by_paypal_is_a_refund_that_nobody_here_asked_for() -> None:
    resource = wire.refund(custom_id=None, invoice_id=None) | UP
    notice = await told("PAYMENT.CAPTURE.REVERSED", resource)
    assert notice.outcome is not None
    assert (notice.operation, notice.outcome.kind, notice.object_id) == (OperationKind.REFUND, OutcomeKind.REFUNDED, "")
    assert notice.parent_reference == wire.CAPTURE_ID


@pytest.mark.parametrize(
    ("event_type", "status", "operation", "kind"),
    [
        ("PAYMENT.AUTHORIZATION.CREATED", "CREATED", OperationKind.AUTHORIZE, OutcomeKind.AUTHORIZED),
        ("PAYMENT.AUTHORIZATION.VOIDED", "VOIDED", OperationKind.VOID, OutcomeKind.VOIDED),
    ],
)
async def test_a_hold_tells_its_making_and_its_end(
    event_type: str, status: str, operation: OperationKind, kind: OutcomeKind
) -> None:
    notice = await told(event_type, wire.authorization(status) | OF_ORDER)
    assert notice.outcome is not None
    assert (notice.operation, notice.outcome.kind, notice.object_id) == (operation, kind, "pay_1")
    assert (notice.reference, notice.order_reference) == (wire.AUTHORIZATION_ID, wire.ORDER_ID)


async def test_a_token_that_the_payer_removed_is_a_revoked_wallet() -> None:
    notice = await told("VAULT.PAYMENT-TOKEN.DELETED", {"id": "8kk8451t"})
    assert (notice.kind, notice.wallet_token) == (NoticeKind.WALLET_REVOKED, "8kk8451t")


async def test_an_approved_order_is_told_with_its_reference_and_other_events_with_their_type() -> None:
    notice = await told("CHECKOUT.ORDER.APPROVED", wire.order("APPROVED"))
    assert (notice.kind, notice.order_reference) == (NoticeKind.OTHER, wire.ORDER_ID)
    notice = await told("CUSTOMER.DISPUTE.CREATED", {"dispute_id": "PP-1"})
    assert (notice.kind, notice.event_type) == (NoticeKind.OTHER, "CUSTOMER.DISPUTE.CREATED")
