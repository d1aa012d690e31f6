"""What a verified delivery tells, in our words, and what of it the API confirms."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from comptoir_server.app.ports import (
    Notice,
    NoticeKind,
    OperationKind,
    OutcomeKind,
    ProviderUnavailable,
    WebhookRefused,
)
from comptoir_server.providers.paypal import PaypalProvider
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
PAID = wire.order(captures=[wire.capture()])


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


@pytest.mark.parametrize(
    ("intent", "operation"), [("CAPTURE", OperationKind.CHARGE), ("AUTHORIZE", OperationKind.AUTHORIZE)]
)
async def test_an_order_that_its_payer_approved_is_told_with_our_payment(intent: str, operation: OperationKind) -> None:
    notice = await told("CHECKOUT.ORDER.APPROVED", wire.order("APPROVED", intent))
    assert notice.outcome is not None
    assert (notice.operation, notice.outcome.kind, notice.object_id) == (operation, OutcomeKind.APPROVED, "pay_1")
    assert (notice.order_reference, notice.reference) == (wire.ORDER_ID, wire.ORDER_ID)


async def test_an_order_that_is_paid_or_waits_and_other_events_tell_nothing_themselves() -> None:
    for order in (PAID, wire.order("PAYER_ACTION_REQUIRED")):
        notice = await told("CHECKOUT.ORDER.APPROVED", order)
        assert (notice.kind, notice.order_reference) == (NoticeKind.OTHER, wire.ORDER_ID)
    for event_type in ("CHECKOUT.ORDER.COMPLETED", "CUSTOMER.DISPUTE.CREATED"):
        notice = await told(event_type, PAID)
        assert (notice.kind, notice.event_type) == (NoticeKind.OTHER, event_type)


async def test_a_success_without_an_amount_is_refused() -> None:
    with pytest.raises(WebhookRefused):
        await told("PAYMENT.CAPTURE.COMPLETED", wire.capture(amount=None) | OF_ORDER)


# --- Confirming ------------------------------------------------------------------------------------


def api(answers: dict[str, Any]) -> tuple[PaypalProvider, wire.Script]:
    """A connector whose GETs find `answers` by the end of their path, and nothing else."""

    def respond(request: httpx.Request) -> httpx.Response:
        found = answers.get(request.url.path.rsplit("/", 1)[1])
        if isinstance(found, httpx.Response):
            return found
        return (
            wire.error(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID") if found is None else wire.streamed(200, found)
        )

    provider, script, _ = wire.connector(respond)
    return provider, script


async def test_a_forged_body_is_confirmed_as_the_api_tells_it_and_not_as_it_says() -> None:
    lie = wire.capture(amount=wire.money("99.99"), invoice_id="pay_2", custom_id="pay_2") | OF_ORDER
    provider, script = api({wire.CAPTURE_ID: wire.capture("PENDING") | OF_ORDER})

    notice = await provider.confirm(await told("PAYMENT.CAPTURE.COMPLETED", lie))

    assert notice is not None
    assert notice.outcome is not None
    assert (notice.outcome.kind, notice.outcome.amount, notice.object_id) == (OutcomeKind.PENDING, 1250, "pay_1")
    assert (notice.event_id, notice.event_type) == ("WH-1", "PAYMENT.CAPTURE.COMPLETED")
    assert script.calls == [f"GET /v2/payments/captures/{wire.CAPTURE_ID}"]


@pytest.mark.parametrize(
    ("event_type", "resource"),
    [
        ("PAYMENT.CAPTURE.COMPLETED", wire.capture() | OF_ORDER),
        ("PAYMENT.AUTHORIZATION.CREATED", wire.authorization() | OF_ORDER),
        ("PAYMENT.CAPTURE.REFUNDED", wire.refund() | UP),
        ("CHECKOUT.ORDER.APPROVED", wire.order("APPROVED")),
    ],
)
async def test_what_the_api_does_not_know_is_not_confirmed(event_type: str, resource: dict[str, Any]) -> None:
    provider, _ = api({})
    assert await provider.confirm(await told(event_type, resource)) is None


async def test_a_hold_released_since_it_was_told_of_is_confirmed_as_released() -> None:
    provider, _ = api({wire.AUTHORIZATION_ID: wire.authorization("VOIDED") | OF_ORDER})
    notice = await provider.confirm(await told("PAYMENT.AUTHORIZATION.CREATED", wire.authorization() | OF_ORDER))
    assert notice is not None
    assert notice.outcome is not None
    assert (notice.operation, notice.outcome.kind) == (OperationKind.VOID, OutcomeKind.VOIDED)


async def test_a_refund_is_confirmed_with_the_order_of_its_capture() -> None:
    resource = wire.refund(custom_id=None, invoice_id=None) | UP
    provider, _ = api({wire.REFUND_ID: resource, wire.CAPTURE_ID: wire.capture() | OF_ORDER})
    notice = await provider.confirm(await told("PAYMENT.CAPTURE.REVERSED", resource))
    assert notice is not None
    assert (notice.object_id, notice.order_reference, notice.parent_reference) == ("", wire.ORDER_ID, wire.CAPTURE_ID)


async def test_a_permission_is_taken_back_once_the_api_does_not_know_the_token() -> None:
    notice = await told("VAULT.PAYMENT-TOKEN.DELETED", {"id": "8kk8451t"})
    provider, _ = api({})
    assert await provider.confirm(notice) == notice
    provider, _ = api({"8kk8451t": {"id": "8kk8451t"}})
    assert await provider.confirm(notice) is None


@pytest.mark.parametrize(
    "answer",
    [
        wire.streamed(500, {"name": "INTERNAL_SERVER_ERROR"}),
        wire.streamed(404, b"<html>"),
        wire.streamed(429, {}),
        wire.streamed(200, b"{"),
        wire.streamed(200, wire.capture(id="9ZZ")),
    ],
)
async def test_an_api_that_does_not_answer_confirms_nothing_and_denies_nothing(answer: httpx.Response) -> None:
    provider, _ = api({wire.CAPTURE_ID: answer})
    with pytest.raises(ProviderUnavailable):
        await provider.confirm(await told("PAYMENT.CAPTURE.COMPLETED", wire.capture() | OF_ORDER))


async def test_a_notice_that_moves_nothing_is_confirmed_without_asking() -> None:
    provider, script = api({})
    notice = await told("CUSTOMER.DISPUTE.CREATED", {"dispute_id": "PP-1"})
    assert await provider.confirm(notice) == notice
    assert script.requests == []
