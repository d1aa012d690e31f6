"""What the PayPal connector asks, and what it makes of refusals, look-ups, links and hostile answers."""

from __future__ import annotations

import asyncio
import json
import traceback
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comptoir_server.app.ports import (
    DeclineCode,
    LinkRefused,
    OperationKind,
    OutcomeKind,
    PrepareRefused,
    ProviderUnavailable,
)
from tests.support import paypal_wire as wire

CHARGE, AUTHORIZE = OperationKind.CHARGE, OperationKind.AUTHORIZE
CAPTURE, VOID, REFUND = OperationKind.CAPTURE, OperationKind.VOID, OperationKind.REFUND
ORDER_PATH = f"/v2/checkout/orders/{wire.ORDER_ID}"
PAID = wire.order(captures=[wire.capture()])


def fails(failure: Exception) -> wire.Responder:
    def respond(request: httpx.Request) -> httpx.Response:
        raise failure

    return respond


def answers(status: int, body: Any = b"", **headers: str) -> wire.Responder:
    return lambda request: wire.streamed(status, body, headers)


# --- What is sent ----------------------------------------------------------------------------------


async def test_a_charge_names_the_saved_wallet_and_the_key_of_its_step() -> None:
    provider, script, _ = wire.connector(answers(201, PAID))
    outcome = await provider.execute(wire.instruction(CHARGE, return_url="https://pay.example/r"))
    sent = script.requests[-1]
    assert (outcome.kind, outcome.reference, outcome.amount) == (OutcomeKind.CAPTURED, wire.CAPTURE_ID, 1250)
    assert sent.headers["paypal-request-id"] == "key_1:execute"
    assert sent.headers["prefer"] == "return=representation"
    assert sent.headers["accept-encoding"] == "identity"
    wallet = json.loads(sent.content)["payment_source"]["paypal"]
    assert wallet["vault_id"] == "8kk8451t"
    assert wallet["experience_context"]["return_url"] == "https://pay.example/r"


@pytest.mark.parametrize(
    "changes",
    [
        {"order_reference": ""},
        {"order_reference": "../../v1/oauth2"},
        {"key": ""},
        {"wallet_token": "a b"},
    ],
)
async def test_an_instruction_that_cannot_be_asked_is_not_sent(changes: dict[str, Any]) -> None:
    provider, script, _ = wire.connector(answers(201, PAID))
    assert (await provider.execute(wire.instruction(CHARGE, **changes))).kind is OutcomeKind.NOT_SENT
    assert script.requests == []


@pytest.mark.parametrize("kind", [CAPTURE, REFUND])
async def test_an_amount_that_paypal_cannot_take_is_not_sent(kind: OperationKind) -> None:
    provider, script, _ = wire.connector(answers(201, PAID))
    outcome = await provider.execute(wire.instruction(kind, amount=1251, currency_code="HUF"))
    assert outcome.kind is OutcomeKind.NOT_SENT
    assert script.requests == []


# --- Refusals and read-backs -----------------------------------------------------------------------


def refuses(issue: str, then: dict[str, Any] | None = None, status: int = 422) -> wire.Responder:
    """Refuses every POST with `issue`; a GET finds `then`."""
    name = {404: "RESOURCE_NOT_FOUND", 422: "UNPROCESSABLE_ENTITY"}[status]

    def respond(request: httpx.Request) -> httpx.Response:
        if request.method == "POST" or then is None:
            return wire.error(status, name, issue)
        return wire.streamed(200, then)

    return respond


async def test_a_declined_instrument_is_declined_without_a_read_back() -> None:
    provider, script, _ = wire.connector(refuses("INSTRUMENT_DECLINED"))
    outcome = await provider.execute(wire.instruction(CHARGE))
    assert (outcome.kind, outcome.decline_code) == (OutcomeKind.DECLINED, DeclineCode.INSTRUMENT_DECLINED)
    assert (outcome.provider_code, outcome.debug_id) == ("INSTRUMENT_DECLINED", "90957fca61718")
    assert script.calls == [f"POST {ORDER_PATH}/capture"]


async def test_an_order_captured_already_is_decided_by_reading_it() -> None:
    provider, script, _ = wire.connector(refuses("ORDER_ALREADY_CAPTURED", PAID))
    outcome = await provider.execute(wire.instruction(CHARGE))
    assert (outcome.kind, outcome.reference, outcome.amount) == (OutcomeKind.CAPTURED, wire.CAPTURE_ID, 1250)
    assert script.calls == [f"POST {ORDER_PATH}/capture", f"GET {ORDER_PATH}"]


@pytest.mark.parametrize(
    ("issue", "then", "kind"),
    [
        ("ORDER_ALREADY_CAPTURED", wire.order("CREATED"), OutcomeKind.IN_DOUBT),
        ("ORDER_ALREADY_CAPTURED", None, OutcomeKind.IN_DOUBT),
        ("ORDER_ALREADY_CAPTURED", wire.order(captures=[wire.capture("DECLINED")]), OutcomeKind.DECLINED),
        ("DUPLICATE_INVOICE_ID", wire.order("CREATED"), OutcomeKind.IN_DOUBT),
        ("DUPLICATE_INVOICE_ID", PAID, OutcomeKind.CAPTURED),
        ("PAYPAL_REQUEST_ID_PREVIOUSLY_USED", wire.order("CREATED"), OutcomeKind.IN_DOUBT),
        ("NEVER_SEEN", PAID, OutcomeKind.CAPTURED),
        ("NEVER_SEEN", wire.order("CREATED"), OutcomeKind.DECLINED),
        ("NEVER_SEEN", None, OutcomeKind.IN_DOUBT),
    ],
)
async def test_a_refusal_that_our_own_success_would_cause_is_decided_by_reading(
    issue: str, then: dict[str, Any] | None, kind: OutcomeKind
) -> None:
    provider, _, _ = wire.connector(refuses(issue, then))
    assert (await provider.execute(wire.instruction(CHARGE))).kind is kind


async def test_a_saved_wallet_that_paypal_does_not_know_is_revoked_when_the_order_is_there() -> None:
    provider, _, _ = wire.connector(refuses("INVALID_RESOURCE_ID", wire.order("CREATED"), status=404))
    outcome = await provider.execute(wire.instruction(CHARGE))
    assert (outcome.kind, outcome.decline_code) == (OutcomeKind.DECLINED, DeclineCode.WALLET_REVOKED)
    provider, _, _ = wire.connector(refuses("INVALID_RESOURCE_ID", None, status=404))
    assert (await provider.execute(wire.instruction(CHARGE))).kind is OutcomeKind.IN_DOUBT


@pytest.mark.parametrize(
    ("issue", "status", "kind"),
    [
        ("PREVIOUSLY_VOIDED", "VOIDED", OutcomeKind.VOIDED),
        ("PREVIOUSLY_VOIDED", "CREATED", OutcomeKind.IN_DOUBT),
        ("PREVIOUSLY_CAPTURED", "CAPTURED", OutcomeKind.DECLINED),
        ("CANNOT_BE_VOIDED", "CREATED", OutcomeKind.DECLINED),
    ],
)
async def test_a_void_that_is_refused_is_decided_by_the_state_of_the_hold(
    issue: str, status: str, kind: OutcomeKind
) -> None:
    provider, script, _ = wire.connector(refuses(issue, wire.authorization(status)))
    assert (await provider.execute(wire.instruction(VOID))).kind is kind
    assert script.calls[-1] == f"GET /v2/payments/authorizations/{wire.AUTHORIZATION_ID}"


async def test_a_refund_beyond_the_rest_is_declined_unless_it_was_our_own() -> None:
    refunded = wire.capture("PARTIALLY_REFUNDED")
    other = wire.order(captures=[refunded], refunds=[wire.refund(custom_id="ref_0", invoice_id="ref_0")])
    provider, _, _ = wire.connector(refuses("REFUND_AMOUNT_EXCEEDED", other))
    outcome = await provider.execute(wire.instruction(REFUND))
    assert (outcome.kind, outcome.decline_code) == (OutcomeKind.DECLINED, DeclineCode.REFUND_NOT_POSSIBLE)
    provider, _, _ = wire.connector(
        refuses("REFUND_AMOUNT_EXCEEDED", wire.order(captures=[refunded], refunds=[wire.refund()]))
    )
    assert (await provider.execute(wire.instruction(REFUND))).kind is OutcomeKind.REFUNDED


@pytest.mark.parametrize(
    ("href", "kind"),
    [
        ("https://www.sandbox.paypal.com/checkoutnow?token=5O", OutcomeKind.REQUIRES_ACTION),
        (f"{wire.BASE}/approve/5O", OutcomeKind.REQUIRES_ACTION),
        ("https://evil.example/paypal.com", OutcomeKind.DECLINED),
        ("https://evilpaypal.com/", OutcomeKind.DECLINED),
        ("https://user@www.paypal.com/", OutcomeKind.DECLINED),
        ("http://www.paypal.com/", OutcomeKind.DECLINED),
        ("javascript:alert(1)", OutcomeKind.DECLINED),
        ("", OutcomeKind.DECLINED),
    ],
)
async def test_a_payer_is_sent_to_paypal_and_nowhere_else(href: str, kind: OutcomeKind) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        details = [{"issue": "PAYER_ACTION_REQUIRED"}]
        links = [{"rel": "payer-action", "href": href, "method": "GET"}]
        return wire.streamed(422, {"name": "UNPROCESSABLE_ENTITY", "details": details, "links": links})

    provider, _, _ = wire.connector(respond)
    outcome = await provider.execute(wire.instruction(CHARGE))
    assert outcome.kind is kind
    assert outcome.action_url == (href if kind is OutcomeKind.REQUIRES_ACTION else "")
    declined = outcome.decline_code is DeclineCode.PAYER_ACTION_NEEDED
    assert declined == (kind is OutcomeKind.DECLINED)


# --- Look-ups --------------------------------------------------------------------------------------


async def test_a_look_up_reads_and_never_writes() -> None:
    provider, script, _ = wire.connector(answers(200, PAID))
    for kind in OperationKind:
        await provider.look_up(wire.instruction(kind))
    assert {call.split()[0] for call in script.calls} == {"GET"}


async def test_a_charge_without_an_order_was_never_executed() -> None:
    provider, script, _ = wire.connector(answers(500))
    assert (await provider.look_up(wire.instruction(CHARGE, order_reference=""))).kind is OutcomeKind.ABSENT
    assert script.requests == []


@pytest.mark.parametrize("status", [404, 403, 429, 500, 302])
@pytest.mark.parametrize("kind", list(OperationKind))
async def test_a_look_up_that_paypal_does_not_answer_proves_nothing(kind: OperationKind, status: int) -> None:
    name = {404: "RESOURCE_NOT_FOUND", 403: "NOT_AUTHORIZED"}.get(status, "OTHER")
    provider, _, _ = wire.connector(lambda request: wire.error(status, name, "INVALID_RESOURCE_ID"))
    assert (await provider.look_up(wire.instruction(kind))).kind is OutcomeKind.IN_DOUBT


async def test_an_order_in_an_answer_that_is_no_success_proves_nothing() -> None:
    for status in (201, 202, 404, 500):
        provider, _, _ = wire.connector(answers(status, PAID))
        assert (await provider.look_up(wire.instruction(CHARGE))).kind is OutcomeKind.IN_DOUBT
    provider, _, _ = wire.connector(answers(200, PAID))
    assert (await provider.look_up(wire.instruction(CHARGE))).kind is OutcomeKind.CAPTURED


@pytest.mark.parametrize(
    ("kind", "target"),
    [(CAPTURE, f"authorizations/{wire.AUTHORIZATION_ID}"), (REFUND, f"captures/{wire.CAPTURE_ID}")],
)
async def test_the_order_of_a_capture_or_a_refund_is_asked_for_when_it_is_not_known(
    kind: OperationKind, target: str
) -> None:
    made = {CAPTURE: [wire.capture(invoice_id="cap_1")], REFUND: [wire.capture("REFUNDED")]}[kind]
    order = wire.order(captures=made, refunds=[wire.refund()], authorizations=[wire.authorization("CAPTURED")])

    def respond(request: httpx.Request) -> httpx.Response:
        if "/orders/" in request.url.path:
            return wire.streamed(200, order)
        return wire.streamed(200, {"supplementary_data": {"related_ids": {"order_id": wire.ORDER_ID}}})

    provider, script, _ = wire.connector(respond)
    outcome = await provider.look_up(wire.instruction(kind, order_reference=""))
    assert outcome.kind is {CAPTURE: OutcomeKind.CAPTURED, REFUND: OutcomeKind.REFUNDED}[kind]
    assert script.calls == [f"GET /v2/payments/{target}", f"GET {ORDER_PATH}"]


# --- Preparing and linking -------------------------------------------------------------------------


async def test_preparing_answers_the_order_and_names_its_step() -> None:
    provider, script, _ = wire.connector(answers(201, wire.order("CREATED")))
    assert await provider.prepare(wire.instruction(CHARGE, order_reference="")) == wire.ORDER_ID
    assert script.requests[-1].headers["paypal-request-id"] == "key_1:order"
    assert "payment_source" not in json.loads(script.requests[-1].content)


async def test_an_order_for_another_amount_is_not_used() -> None:
    order = wire.order("CREATED")
    order["purchase_units"][0]["amount"] = wire.money("125.00")
    provider, _, _ = wire.connector(answers(201, order))
    with pytest.raises(ProviderUnavailable):
        await provider.prepare(wire.instruction(CHARGE))


async def test_an_order_that_paypal_refuses_is_refused_and_one_it_cannot_make_is_not() -> None:
    provider, _, _ = wire.connector(refuses("PAYEE_ACCOUNT_RESTRICTED"))
    with pytest.raises(PrepareRefused) as refusal:
        await provider.prepare(wire.instruction(CHARGE))
    assert refusal.value.outcome.kind is OutcomeKind.DECLINED
    assert refusal.value.outcome.decline_code is DeclineCode.MERCHANT_ACCOUNT
    for responder in (answers(500), answers(429), fails(httpx.ReadTimeout("slow"))):
        provider, _, _ = wire.connector(responder)
        with pytest.raises(ProviderUnavailable):
            await provider.prepare(wire.instruction(CHARGE))


async def test_an_amount_that_paypal_cannot_take_is_refused_before_anything_is_sent() -> None:
    provider, script, _ = wire.connector(answers(201, wire.order("CREATED")))
    with pytest.raises(PrepareRefused):
        await provider.prepare(wire.instruction(CHARGE, amount=150, currency_code="TWD"))
    assert script.requests == []


async def test_a_link_leads_to_paypal_and_has_a_key_of_its_own() -> None:
    href = "https://www.sandbox.paypal.com/agreements/approve?approval_session_id=8X"
    body = {"id": "8XV", "status": "PAYER_ACTION_REQUIRED", "links": [{"rel": "approve", "href": href}]}
    provider, script, _ = wire.connector(answers(201, body))
    start = await provider.begin_link("key_1", "https://pay.example/r", "https://pay.example/c")
    assert (start.reference, start.approve_url) == ("8XV", href)
    assert script.requests[-1].headers["paypal-request-id"] == "key_1:setup"
    body["links"] = [{"rel": "approve", "href": "https://evil.example/"}]
    with pytest.raises(ProviderUnavailable):
        await provider.begin_link("key_2", "https://pay.example/r", "https://pay.example/c")


async def test_an_approved_link_gives_a_wallet_and_an_unapproved_one_is_refused() -> None:
    body = {
        "id": "8kk8451t",
        "customer": {"id": "cus_1"},
        "payment_source": {"paypal": {"email_address": "alice@example.com"}},
    }
    provider, script, _ = wire.connector(answers(201, body))
    wallet = await provider.complete_link("key_1", "8XV")
    assert (wallet.token, wallet.label, wallet.customer_reference) == ("8kk8451t", "a•••@example.com", "cus_1")
    sent = script.requests[-1]
    assert sent.headers["paypal-request-id"] == "key_1:token"
    assert json.loads(sent.content) == {"payment_source": {"token": {"id": "8XV", "type": "SETUP_TOKEN"}}}
    provider, _, _ = wire.connector(refuses("TOKEN_NOT_APPROVED"))
    with pytest.raises(LinkRefused):
        await provider.complete_link("key_1", "8XV")
    provider, _, _ = wire.connector(answers(500))
    with pytest.raises(ProviderUnavailable):
        await provider.complete_link("key_1", "8XV")


async def test_deleting_a_token_that_is_gone_is_fine_and_a_failure_is_told() -> None:
    for responder in (answers(204), refuses("INVALID_RESOURCE_ID", None, status=404)):
        provider, script, _ = wire.connector(responder)
        await provider.revoke_link("8kk8451t")
        assert script.calls == ["DELETE /v3/vault/payment-tokens/8kk8451t"]
    provider, _, _ = wire.connector(answers(500))
    with pytest.raises(ProviderUnavailable):
        await provider.revoke_link("8kk8451t")


# --- Hostile answers and secrets -------------------------------------------------------------------

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["COMPLETED", "12.50", "EUR"])
)
NAMES = st.sampled_from(
    "id status intent purchase_units payments captures authorizations refunds amount currency_code value invoice_id "
    "custom_id links rel href name details issue status_details reason expiration_time".split()
)
ANY_JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6), max_leaves=20
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(list(OperationKind)), st.sampled_from([200, 201, 400, 404, 422, 500]), ANY_JSON)
def test_no_answer_makes_the_connector_raise_or_say_paid(kind: OperationKind, status: int, body: Any) -> None:
    async def both() -> list[OutcomeKind]:
        provider, _, _ = wire.connector(answers(status, body))
        return [
            (await provider.execute(wire.instruction(kind))).kind,
            (await provider.look_up(wire.instruction(kind))).kind,
        ]

    moved = {OutcomeKind.CAPTURED, OutcomeKind.AUTHORIZED, OutcomeKind.REFUNDED, OutcomeKind.VOIDED}
    assert moved.isdisjoint(asyncio.run(both()))


async def test_no_failure_shows_a_token_or_a_secret() -> None:
    provider, _, _ = wire.connector(fails(httpx.ReadTimeout("slow")))
    with pytest.raises(ProviderUnavailable) as failure:
        await provider.complete_link("key_1", "SETUP-TOKEN-1")
    shown = "".join(traceback.format_exception(failure.value, chain=True))
    assert failure.value.__cause__ is None
    for secret in ("A21AAFs", "not-for-anybody", "SETUP-TOKEN-1"):
        assert secret not in str(failure.value)
        assert secret not in shown.replace('complete_link("key_1", "SETUP-TOKEN-1")', "")
