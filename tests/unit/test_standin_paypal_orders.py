"""The PayPal stand-in: wallets, orders, holds, captures and refunds, on the pure model."""

from __future__ import annotations

import pytest

from comptoir_server.standins.paypal import __doc__ as documentation
from comptoir_server.standins.paypal.accounts import ACCOUNTS
from comptoir_server.standins.paypal.controls import CONTROLS
from comptoir_server.standins.paypal.faults import FaultKind
from tests.support.paypal_standin import (
    CAPTURES,
    HOLDS,
    ORDERS,
    Caller,
    exchange_body,
    issue_of,
    money,
    order_body,
    setup_body,
    wallet,
)

DAY_SECONDS = 86_400


@pytest.fixture
def caller() -> Caller:
    return Caller()


def test_the_package_documents_every_account_control_and_fault() -> None:
    assert documentation
    assert [name for name in ACCOUNTS if f"\n    {name} " not in documentation] == []
    assert [name for _, name in CONTROLS if f"/_standin/{name}" not in documentation] == []
    assert [kind for kind in FaultKind if kind not in documentation] == []


def test_an_order_without_a_payment_source_moves_nothing(caller: Caller) -> None:
    status, order = caller.post(ORDERS, order_body(custom_id="pay_1"))

    assert (status, order["status"]) == (201, "CREATED")
    assert caller.effects() == []
    assert caller.events() == []


def test_a_capture_with_a_saved_wallet_moves_the_amount_once(caller: Caller) -> None:
    token, order_id = caller.link(), caller.order(custom_id="pay_1", invoice_id="inv_1")

    status, order = caller.post(f"{ORDERS}/{order_id}/capture", wallet(token))

    capture = order["purchase_units"][0]["payments"]["captures"][0]
    assert (status, order["status"], capture["status"]) == (201, "COMPLETED", "COMPLETED")
    assert (capture["amount"], capture["custom_id"], capture["invoice_id"]) == (money("12.50"), "pay_1", "inv_1")
    assert caller.effects() == [("capture", 1250)]
    assert caller.control("books")["by_custom_id"]["pay_1"] == {"captured": 1250, "capture_count": 1, "fees": 66}
    assert caller.events()[1:] == ["PAYMENT.CAPTURE.COMPLETED", "CHECKOUT.ORDER.COMPLETED"]


def test_an_order_with_a_saved_wallet_is_paid_in_one_call(caller: Caller) -> None:
    body = order_body(intent="AUTHORIZE") | wallet(caller.link())

    status, order = caller.post(ORDERS, body)

    assert (status, order["status"]) == (201, "COMPLETED")
    assert caller.effects() == [("authorization", 1250)]


def test_an_order_with_a_payment_source_needs_a_request_id(caller: Caller) -> None:
    status, body = caller.post(ORDERS, order_body() | wallet(caller.link()), key="")

    assert (status, issue_of(body)) == (400, "PAYPAL_REQUEST_ID_REQUIRED")
    assert caller.effects() == []


def test_a_minimal_answer_is_id_status_and_links(caller: Caller) -> None:
    _, order = caller.post(ORDERS, order_body(), Prefer="return=minimal")

    assert set(order) == {"id", "status", "links"}


def test_a_captured_order_is_not_captured_again(caller: Caller) -> None:
    token, order_id = caller.link(), caller.order()
    caller.post(f"{ORDERS}/{order_id}/capture", wallet(token))

    status, body = caller.post(f"{ORDERS}/{order_id}/capture", wallet(token))

    assert (status, issue_of(body)) == (422, "ORDER_ALREADY_CAPTURED")
    assert caller.effects() == [("capture", 1250)]


@pytest.mark.parametrize(
    ("account", "intent", "issue"),
    [
        ("declined", "CAPTURE", "INSTRUMENT_DECLINED"),
        ("declined", "AUTHORIZE", "PAYER_CANNOT_PAY"),
        ("closed", "CAPTURE", "PAYER_ACCOUNT_LOCKED_OR_CLOSED"),
        ("closed", "AUTHORIZE", "PAYER_ACCOUNT_LOCKED_OR_CLOSED"),
        ("restricted", "CAPTURE", "PAYER_ACCOUNT_RESTRICTED"),
        ("action", "CAPTURE", "PAYER_ACTION_REQUIRED"),
    ],
)
def test_an_account_that_does_not_pay_refuses_with_its_issue(
    caller: Caller, account: str, intent: str, issue: str
) -> None:
    order_id = caller.order(intent=intent)

    status, body = caller.post(f"{ORDERS}/{order_id}/{intent.lower()}", wallet(caller.link(account)))

    assert (status, issue_of(body)) == (422, issue)
    assert caller.effects() == []


def test_a_payer_who_must_act_can_approve_the_order_and_then_it_is_captured(caller: Caller) -> None:
    token, order_id = caller.link("action"), caller.order()
    _, refused = caller.post(f"{ORDERS}/{order_id}/capture", wallet(token))
    assert refused["links"][0]["rel"] == "payer-action"

    caller.control("approve", {"token": order_id, "account": "action"})
    status, order = caller.post(f"{ORDERS}/{order_id}/capture", wallet(token))

    assert (status, order["status"]) == (201, "COMPLETED")
    assert "CHECKOUT.ORDER.APPROVED" in caller.events()


def test_an_order_nobody_approved_is_refused(caller: Caller) -> None:
    status, body = caller.post(f"{ORDERS}/{caller.order()}/capture")

    assert (status, issue_of(body)) == (422, "ORDER_NOT_APPROVED")


def test_an_unpaid_order_is_gone_after_its_three_hours(caller: Caller) -> None:
    order_id, held_id = caller.order(), caller.order(intent="AUTHORIZE")
    caller.pass_time(3 * 3_600)

    assert caller.get(f"{ORDERS}/{order_id}")[0] == 404
    assert caller.post(f"{ORDERS}/{order_id}/capture", wallet(caller.link()))[0] == 404
    assert issue_of(caller.post(f"{ORDERS}/{held_id}/authorize")[1]) == "ORDER_EXPIRED"


def test_a_completed_order_may_hold_a_declined_capture(caller: Caller) -> None:
    order_id = caller.order()

    _, order = caller.post(f"{ORDERS}/{order_id}/capture", wallet(caller.link("capture-declined")))

    assert order["status"] == "COMPLETED"
    assert order["purchase_units"][0]["payments"]["captures"][0]["status"] == "DECLINED"
    assert caller.effects() == [("capture_declined", 1250)]
    assert "PAYMENT.CAPTURE.DECLINED" in caller.events()


@pytest.mark.parametrize(("account", "settled"), [("echeck", "COMPLETED"), ("echeck-bounces", "DECLINED")])
def test_an_echeck_is_pending_until_it_settles(caller: Caller, account: str, settled: str) -> None:
    capture_id = caller.capture_of(account)
    assert caller.get(f"{CAPTURES}/{capture_id}")[1]["status_details"] == {"reason": "ECHECK"}
    assert issue_of(caller.post(f"{CAPTURES}/{capture_id}/refund")[1]) == "PENDING_CAPTURE"

    caller.pass_time(2)

    assert caller.get(f"{CAPTURES}/{capture_id}")[1]["status"] == settled
    assert caller.events()[-1] == f"PAYMENT.CAPTURE.{settled}"


def test_an_invoice_number_is_paid_once(caller: Caller) -> None:
    caller.capture_of(invoice_id="inv_1")
    order_id = caller.order(invoice_id="inv_1")

    status, body = caller.post(f"{ORDERS}/{order_id}/capture", wallet(caller.link()))

    assert (status, issue_of(body)) == (422, "DUPLICATE_INVOICE_ID")
    assert caller.effects() == [("capture", 1250)]


def test_a_deleted_wallet_pays_nothing_and_the_deletion_is_told(caller: Caller) -> None:
    token, order_id = caller.link(), caller.order()
    assert caller.call("DELETE", f"/v3/vault/payment-tokens/{token}")[0] == 204

    status, body = caller.post(f"{ORDERS}/{order_id}/capture", wallet(token))

    assert (status, issue_of(body)) == (422, "AGREEMENT_ALREADY_CANCELLED")
    assert caller.get(f"/v3/vault/payment-tokens/{token}")[0] == 404
    assert caller.events() == ["VAULT.PAYMENT-TOKEN.CREATED", "VAULT.PAYMENT-TOKEN.DELETED"]
    assert caller.effects() == []


def test_a_setup_token_is_exchanged_only_after_approval_and_only_once(caller: Caller) -> None:
    _, setup = caller.post("/v3/vault/setup-tokens", setup_body())
    refused = caller.post("/v3/vault/payment-tokens", exchange_body(setup["id"]))
    caller.control("approve", {"token": setup["id"]})

    assert (refused[0], issue_of(refused[1])) == (422, "PAYER_ACTION_REQUIRED")
    assert caller.post("/v3/vault/payment-tokens", exchange_body(setup["id"]))[0] == 201
    assert caller.post("/v3/vault/payment-tokens", exchange_body(setup["id"]))[0] == 404
    assert caller.events() == ["VAULT.PAYMENT-TOKEN.CREATED"]


def test_the_tokens_of_a_customer_are_listed(caller: Caller) -> None:
    token = caller.link("pays-too")
    customer = caller.get(f"/v3/vault/payment-tokens/{token}")[1]["customer"]["id"]

    _, listed = caller.get(f"/v3/vault/payment-tokens?customer_id={customer}&total_required=true")

    assert [item["id"] for item in listed["payment_tokens"]] == [token]
    assert listed["total_items"] == 1
    assert listed["payment_tokens"][0]["payment_source"]["paypal"]["email_address"] == "blaise.pays@example.com"


def test_a_hold_is_captured_in_parts_up_to_115_per_cent(caller: Caller) -> None:
    hold = caller.hold_of()

    assert caller.post(f"{HOLDS}/{hold}/capture", {"amount": money("60.00")})[1]["status"] == "COMPLETED"
    assert caller.get(f"{HOLDS}/{hold}")[1]["status"] == "PARTIALLY_CAPTURED"
    status, body = caller.post(f"{HOLDS}/{hold}/capture", {"amount": money("55.01")})
    assert (status, issue_of(body)) == (422, "MAX_CAPTURE_AMOUNT_EXCEEDED")
    assert caller.post(f"{HOLDS}/{hold}/capture", {"amount": money("55.00")})[0] == 201
    assert caller.get(f"{HOLDS}/{hold}")[1]["status"] == "CAPTURED"
    assert issue_of(caller.post(f"{HOLDS}/{hold}/capture")[1]) == "AUTHORIZATION_ALREADY_CAPTURED"
    assert issue_of(caller.post(f"{HOLDS}/{hold}/void")[1]) == "PREVIOUSLY_CAPTURED"
    assert caller.effects() == [("authorization", 10_000), ("capture", 6_000), ("capture", 5_500)]


def test_a_hold_captured_to_its_last_cent_is_closed(caller: Caller) -> None:
    hold = caller.hold_of()

    caller.post(f"{HOLDS}/{hold}/capture", {"amount": money("99.99")})
    assert caller.get(f"{HOLDS}/{hold}")[1]["status"] == "PARTIALLY_CAPTURED"
    caller.post(f"{HOLDS}/{hold}/capture", {"amount": money("0.01")})

    assert caller.get(f"{HOLDS}/{hold}")[1]["status"] == "CAPTURED"


def test_over_capture_in_dollars_is_at_most_75_more(caller: Caller) -> None:
    hold = caller.hold_of(value="1000.00", code="USD")

    status, body = caller.post(f"{HOLDS}/{hold}/capture", {"amount": money("1075.01", "USD")})

    assert (status, issue_of(body)) == (422, "MAX_CAPTURE_AMOUNT_EXCEEDED")
    assert caller.post(f"{HOLDS}/{hold}/capture", {"amount": money("1075.00", "USD")})[0] == 201


def test_a_final_capture_closes_the_hold(caller: Caller) -> None:
    hold = caller.hold_of()

    caller.post(f"{HOLDS}/{hold}/capture", {"amount": money("10.00"), "final_capture": True})

    assert issue_of(caller.post(f"{HOLDS}/{hold}/capture")[1]) == "AUTHORIZATION_ALREADY_CAPTURED"


def test_a_hold_is_captured_only_in_its_own_currency(caller: Caller) -> None:
    hold = caller.hold_of()

    status, body = caller.post(f"{HOLDS}/{hold}/capture", {"amount": money("10.00", "USD")})

    assert (status, issue_of(body)) == (422, "AUTH_CAPTURE_CURRENCY_MISMATCH")
    assert caller.effects() == [("authorization", 10_000)]


def test_a_voided_hold_is_neither_captured_nor_voided_again(caller: Caller) -> None:
    hold = caller.hold_of()

    assert caller.post(f"{HOLDS}/{hold}/void", Prefer="return=minimal")[0] == 204
    assert issue_of(caller.post(f"{HOLDS}/{hold}/void")[1]) == "PREVIOUSLY_VOIDED"
    assert issue_of(caller.post(f"{HOLDS}/{hold}/capture")[1]) == "AUTHORIZATION_VOIDED"
    assert caller.effects() == [("authorization", 10_000), ("void", 10_000)]
    assert caller.events()[-1] == "PAYMENT.AUTHORIZATION.VOIDED"


def test_a_hold_expires_after_29_days_and_releases_what_was_not_captured(caller: Caller) -> None:
    hold = caller.hold_of()
    caller.post(f"{HOLDS}/{hold}/capture", {"amount": money("40.00")})

    caller.pass_time(29 * DAY_SECONDS)
    caller.renew_token()

    assert caller.get(f"{HOLDS}/{hold}")[1]["status"] == "VOIDED"
    assert issue_of(caller.post(f"{HOLDS}/{hold}/capture")[1]) == "AUTHORIZATION_EXPIRED"
    assert caller.effects()[-1] == ("void", 6_000)


def test_a_hold_is_renewed_once_and_after_three_days(caller: Caller) -> None:
    hold = caller.hold_of()
    assert issue_of(caller.post(f"{HOLDS}/{hold}/reauthorize")[1]) == "REAUTHORIZATION_TOO_SOON"
    caller.pass_time(4 * DAY_SECONDS)
    caller.renew_token()

    status, renewed = caller.post(f"{HOLDS}/{hold}/reauthorize", {"amount": money("110.00")})

    assert (status, renewed["status"], renewed["amount"]) == (201, "CREATED", money("110.00"))
    assert caller.effects() == [("authorization", 10_000), ("void", 10_000), ("authorization", 11_000)]
    assert caller.get(f"{HOLDS}/{hold}")[1]["status"] == "VOIDED"
    assert issue_of(caller.post(f"{HOLDS}/{renewed['id']}/reauthorize")[1]) == "REAUTHORIZATION_NOT_SUPPORTED"
    assert caller.post(f"{HOLDS}/{renewed['id']}/capture")[0] == 201


def test_refunds_never_exceed_the_capture(caller: Caller) -> None:
    capture = caller.capture_of()

    assert caller.post(f"{CAPTURES}/{capture}/refund", {"amount": money("10.00")})[0] == 201
    assert caller.get(f"{CAPTURES}/{capture}")[1]["status"] == "PARTIALLY_REFUNDED"
    too_much = caller.post(f"{CAPTURES}/{capture}/refund", {"amount": money("2.51")})
    assert (too_much[0], issue_of(too_much[1])) == (422, "REFUND_AMOUNT_EXCEEDED")
    assert caller.post(f"{CAPTURES}/{capture}/refund")[1]["amount"] == money("2.50")
    assert caller.get(f"{CAPTURES}/{capture}")[1]["status"] == "REFUNDED"
    assert issue_of(caller.post(f"{CAPTURES}/{capture}/refund")[1]) == "CAPTURE_FULLY_REFUNDED"
    assert caller.effects() == [("capture", 1250), ("refund", 1000), ("refund", 250)]
    assert caller.events()[-2:] == ["PAYMENT.CAPTURE.REFUNDED", "PAYMENT.CAPTURE.REFUNDED"]


def test_refunds_are_refused_in_another_currency_with_a_used_invoice_and_after_180_days(caller: Caller) -> None:
    capture = caller.capture_of()
    url = f"{CAPTURES}/{capture}/refund"
    assert issue_of(caller.post(url, {"amount": money("1.00", "USD")})[1]) == "REFUND_CAPTURE_CURRENCY_MISMATCH"
    caller.post(url, {"amount": money("1.00"), "invoice_id": "ref_1"})
    assert issue_of(caller.post(url, {"amount": money("1.00"), "invoice_id": "ref_1"})[1]) == "DUPLICATE_INVOICE_ID"
    caller.pass_time(181 * DAY_SECONDS)
    caller.renew_token()

    assert issue_of(caller.post(url)[1]) == "REFUND_TIME_LIMIT_EXCEEDED"
    assert caller.effects() == [("capture", 1250), ("refund", 100)]


@pytest.mark.parametrize(
    ("account", "status", "event", "capture_status"),
    [
        ("slow-refund", "COMPLETED", "PAYMENT.CAPTURE.REFUNDED", "PARTIALLY_REFUNDED"),
        ("failed-refund", "FAILED", "PAYMENT.REFUND.FAILED", "COMPLETED"),
    ],
)
def test_a_pending_refund_is_decided_later(
    caller: Caller, account: str, status: str, event: str, capture_status: str
) -> None:
    capture = caller.capture_of(account)
    _, refund = caller.post(f"{CAPTURES}/{capture}/refund", {"amount": money("5.00")})
    assert (refund["status"], caller.events()[-1]) == ("PENDING", "PAYMENT.REFUND.PENDING")

    caller.pass_time(2)

    assert caller.get(f"/v2/payments/refunds/{refund['id']}")[1]["status"] == status
    assert caller.get(f"{CAPTURES}/{capture}")[1]["status"] == capture_status
    assert caller.events()[-1] == event


def test_the_dashboard_refunds_and_reverses_and_tells_by_webhook(caller: Caller) -> None:
    capture = caller.capture_of()

    caller.control("dashboard/refund", {"capture_id": capture, "amount": money("2.50")})
    caller.control("dashboard/reverse", {"capture_id": capture})

    assert caller.effects() == [("capture", 1250), ("refund", 250), ("reversal", 1000)]
    assert caller.events()[-2:] == ["PAYMENT.CAPTURE.REFUNDED", "PAYMENT.CAPTURE.REVERSED"]
    refused = caller.post(f"{CAPTURES}/{capture}/refund")
    assert issue_of(refused[1]) == "REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK"


@pytest.mark.parametrize("amount", [money("12.51"), money("1.00", "USD"), money("x"), {"value": "1.00"}, None, 5])
def test_the_dashboard_gives_back_no_more_than_is_left_and_only_money(caller: Caller, amount: object) -> None:
    capture = caller.capture_of()

    status, body = caller.call("POST", "/_standin/dashboard/refund", {"capture_id": capture, "amount": amount}, key="")

    assert (status, bool(body["error"])) == (400, True)
    assert caller.effects() == [("capture", 1250)]


def test_a_payer_withdraws_and_a_pending_capture_is_decided_by_order(caller: Caller) -> None:
    token, capture = caller.link(), caller.capture_of("echeck")

    caller.control("dashboard/revoke", {"token": token})
    settled = caller.control("dashboard/settle", {"capture_id": capture})
    caller.pass_time(60)

    assert settled["status"] == "COMPLETED"
    assert caller.effects() == [("capture_pending", 1250), ("capture", 1250)]
    assert caller.events()[-2:] == ["VAULT.PAYMENT-TOKEN.DELETED", "PAYMENT.CAPTURE.COMPLETED"]
