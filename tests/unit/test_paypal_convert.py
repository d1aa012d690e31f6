"""PayPal's words to ours and back: amounts, statuses, requests and the table of issues."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptoir_server.app.ports import DeclineCode, OperationKind, Outcome, OutcomeKind
from comptoir_server.providers.paypal import PaypalConfig, convert, require_addresses
from comptoir_server.providers.paypal.amounts import NotRepresentable, from_money, to_money
from comptoir_server.providers.paypal.answers import Unreadable, parse_object
from comptoir_server.providers.paypal.capabilities import CURRENCIES, iso_decimals
from comptoir_server.providers.paypal.issues import IN_DOUBT, NAME_BY_STATUS, RULES, read_problem
from comptoir_server.providers.paypal.requests import NotAskable, execution, order_body, request_id, resource_path
from tests.support import paypal_wire as wire

SPECS = Path(os.environ.get("COMPTOIR_SPECS") or Path(__file__).resolve().parents[3] / "shared" / "specs")

CHARGE, AUTHORIZE = OperationKind.CHARGE, OperationKind.AUTHORIZE
CAPTURE, VOID, REFUND = OperationKind.CAPTURE, OperationKind.VOID, OperationKind.REFUND


@pytest.mark.parametrize(
    ("minor_units", "currency_code", "value"),
    [
        (1, "EUR", "0.01"),
        (1250, "EUR", "12.50"),
        (100, "USD", "1.00"),
        (1250, "JPY", "1250"),
        (125_000, "HUF", "1250"),
        (100, "TWD", "1"),
        (2**53 - 1, "EUR", "90071992547409.91"),
    ],
)
def test_an_amount_is_said_in_the_decimals_that_paypal_takes(minor_units: int, currency_code: str, value: str) -> None:
    assert to_money(minor_units, currency_code) == {"currency_code": currency_code, "value": value}


@pytest.mark.parametrize(
    ("minor_units", "currency_code"),
    [
        (0, "EUR"),
        (-1, "EUR"),
        (2**53, "EUR"),
        (2**53 - 1, "JPY"),
        (1251, "HUF"),
        (150, "TWD"),
        (100, "XXX"),
        (1, "eur"),
    ],
)
def test_an_amount_that_paypal_cannot_take_is_refused_and_never_rounded(minor_units: int, currency_code: str) -> None:
    with pytest.raises(NotRepresentable):
        to_money(minor_units, currency_code)


@pytest.mark.parametrize(
    ("value", "currency_code"),
    [
        ("-1.00", "EUR"),
        ("1.005", "EUR"),
        ("1e3", "EUR"),
        ("", "EUR"),
        ("NaN", "EUR"),
        (".", "EUR"),
        ("１.00", "EUR"),
        ("1.5", "JPY"),
        ("9007199254740992", "JPY"),
        ("1.00", "XXX"),
        ("0" * 33, "EUR"),
        (12.5, "EUR"),
    ],
)
def test_an_amount_that_is_not_exact_in_our_minor_units_is_unreadable(value: Any, currency_code: str) -> None:
    with pytest.raises(Unreadable):
        from_money({"currency_code": currency_code, "value": value})


@given(st.sampled_from(sorted(CURRENCIES)), st.integers(1, 10**13))
def test_an_amount_said_to_paypal_comes_back_the_same(currency_code: str, whole: int) -> None:
    minor_units = whole * 10 ** (iso_decimals(currency_code) - CURRENCIES[currency_code])
    if minor_units > 2**53 - 1:
        return
    money = to_money(minor_units, currency_code)
    assert from_money(money) == (minor_units, currency_code)
    assert Decimal(money["value"]) * 10 ** iso_decimals(currency_code) == minor_units


def test_every_documented_row_of_the_error_catalogue_has_a_decided_class() -> None:
    path = SPECS / "paypal" / "error-catalogue.derived.json"
    if not path.exists():
        pytest.skip("PayPal's error catalogue is not here: set COMPTOIR_SPECS")
    catalogue = json.loads(path.read_text(encoding="utf-8"))["catalogue"]
    rows = [
        (int(status), issue)
        for operations in catalogue.values()
        for statuses in operations.values()
        for status, issues in statuses.items()
        for issue in issues
    ]
    assert len(rows) == 491
    for status, issue in rows:
        body = {"name": NAME_BY_STATUS[status], "details": [{"issue": issue}]}
        problem = read_problem(status, body)
        assert (problem.issue, problem.rule) == (issue, RULES[issue])
    undecided = {issue for _, issue in rows if RULES[issue] == IN_DOUBT}
    assert undecided == {"PREVIOUS_REQUEST_IN_PROGRESS", "ORDER_COMPLETION_IN_PROGRESS"}


@pytest.mark.parametrize(
    ("issue", "decline_code", "read_back"),
    [
        ("INSTRUMENT_DECLINED", DeclineCode.INSTRUMENT_DECLINED, False),
        ("PAYER_ACCOUNT_RESTRICTED", DeclineCode.ACCOUNT_RESTRICTED, False),
        ("AGREEMENT_ALREADY_CANCELLED", DeclineCode.WALLET_REVOKED, False),
        ("PERMISSION_DENIED", DeclineCode.MERCHANT_ACCOUNT, False),
        ("PENDING_CAPTURE", DeclineCode.REFUND_NOT_POSSIBLE, False),
        ("REFUND_AMOUNT_EXCEEDED", DeclineCode.REFUND_NOT_POSSIBLE, True),
        ("CAPTURE_FULLY_REFUNDED", DeclineCode.REFUND_NOT_POSSIBLE, True),
        ("ORDER_ALREADY_CAPTURED", None, True),
        ("AUTHORIZATION_ALREADY_CAPTURED", None, True),
        ("PREVIOUSLY_VOIDED", None, True),
        ("DUPLICATE_INVOICE_ID", None, True),
    ],
)
def test_an_issue_proves_what_the_table_says(issue: str, decline_code: DeclineCode | None, read_back: bool) -> None:
    assert (RULES[issue].decline, RULES[issue].read_back) == (decline_code, read_back)


def test_an_unknown_issue_is_a_refusal_only_as_an_unprocessable_entity() -> None:
    refused = read_problem(422, {"name": "UNPROCESSABLE_ENTITY", "details": [{"issue": "NEVER_SEEN"}]}).rule
    assert (refused.decline, refused.read_back) == (DeclineCode.DO_NOT_HONOR, True)
    assert read_problem(400, {"name": "INVALID_REQUEST", "details": [{"issue": "NEVER_SEEN"}]}).rule == IN_DOUBT
    assert read_problem(409, {"name": "RESOURCE_CONFLICT"}).rule == IN_DOUBT


def test_an_error_whose_name_contradicts_its_status_proves_nothing() -> None:
    body = {"name": "INTERNAL_SERVER_ERROR", "details": [{"issue": "INSTRUMENT_DECLINED"}]}
    assert read_problem(422, body).rule == IN_DOUBT
    assert read_problem(500, body).rule == IN_DOUBT
    assert read_problem(500, body | {"name": "UNPROCESSABLE_ENTITY"}).rule == IN_DOUBT


def test_of_several_issues_the_one_that_proves_least_decides() -> None:
    def decided(*issues: str) -> str:
        details = [{"issue": issue} for issue in issues]
        return read_problem(422, {"name": "UNPROCESSABLE_ENTITY", "details": details}).issue

    assert decided("INSTRUMENT_DECLINED", "ORDER_ALREADY_CAPTURED") == "ORDER_ALREADY_CAPTURED"
    assert decided("ORDER_ALREADY_CAPTURED", "ORDER_COMPLETION_IN_PROGRESS") == "ORDER_COMPLETION_IN_PROGRESS"
    assert decided("INSTRUMENT_DECLINED", "NEVER_SEEN") == "NEVER_SEEN"


@pytest.mark.parametrize(
    ("status", "kind", "decline_code"),
    [
        ("COMPLETED", OutcomeKind.CAPTURED, None),
        ("PARTIALLY_REFUNDED", OutcomeKind.CAPTURED, None),
        ("REFUNDED", OutcomeKind.CAPTURED, None),
        ("PENDING", OutcomeKind.PENDING, None),
        ("DECLINED", OutcomeKind.DECLINED, DeclineCode.INSTRUMENT_DECLINED),
        ("FAILED", OutcomeKind.DECLINED, DeclineCode.INSTRUMENT_DECLINED),
    ],
)
def test_a_completed_order_is_what_its_capture_says(
    status: str, kind: OutcomeKind, decline_code: DeclineCode | None
) -> None:
    outcome = convert.order_outcome(wire.order(captures=[wire.capture(status)]), wire.instruction(CHARGE))
    expected = Outcome(kind, wire.CAPTURE_ID, 1250, "EUR", decline_code, provider_code=status)
    assert outcome == expected


def test_a_completed_order_without_a_capture_is_not_paid_and_not_absent() -> None:
    with pytest.raises(Unreadable):
        convert.order_outcome(wire.order("COMPLETED"), wire.instruction(CHARGE))


@pytest.mark.parametrize("status", ["CREATED", "SAVED", "VOIDED"])
def test_an_order_that_nobody_completed_means_absent(status: str) -> None:
    assert convert.order_outcome(wire.order(status), wire.instruction(CHARGE)).kind is OutcomeKind.ABSENT


def test_an_order_that_its_payer_approved_can_be_asked_for_again() -> None:
    outcome = convert.order_outcome(wire.order("APPROVED"), wire.instruction(CHARGE))
    assert (outcome.kind, outcome.reference, outcome.amount) == (OutcomeKind.APPROVED, wire.ORDER_ID, None)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "0AB"},
        {"intent": "AUTHORIZE"},
        {"purchase_units": []},
        {"purchase_units": [{"custom_id": "pay_2"}]},
        {"purchase_units": [{"invoice_id": "pay_2"}]},
        {"purchase_units": [{}, {}]},
        {"purchase_units": "none"},
        {"status": "BRAND_NEW"},
        {"status": None},
    ],
)
def test_an_order_that_is_not_the_one_we_made_is_unreadable(change: dict[str, Any]) -> None:
    convert.order_outcome(wire.order("CREATED"), wire.instruction(CHARGE))
    with pytest.raises(Unreadable):
        convert.order_outcome(wire.order("CREATED") | change, wire.instruction(CHARGE))


@pytest.mark.parametrize("money", [wire.money("12.51"), wire.money("12.50", "USD"), wire.money("0.00")])
def test_money_that_was_not_asked_for_is_in_doubt_and_told(money: dict[str, str]) -> None:
    outcome = convert.order_outcome(wire.order(captures=[wire.capture(amount=money)]), wire.instruction(CHARGE))
    assert outcome.kind is OutcomeKind.IN_DOUBT
    assert (outcome.amount, outcome.currency_code) == from_money(money)
    assert outcome.reference == wire.CAPTURE_ID


def test_two_live_captures_in_one_order_are_unreadable_and_a_declined_one_is_passed_over() -> None:
    declined = wire.capture("DECLINED", id="9ZZ")
    order = wire.order(captures=[declined, wire.capture()])
    assert convert.order_outcome(order, wire.instruction(CHARGE)).kind is OutcomeKind.CAPTURED
    with pytest.raises(Unreadable):
        convert.order_outcome(wire.order(captures=[wire.capture(), wire.capture(id="9ZZ")]), wire.instruction(CHARGE))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("CREATED", OutcomeKind.AUTHORIZED),
        ("PARTIALLY_CAPTURED", OutcomeKind.AUTHORIZED),
        ("CAPTURED", OutcomeKind.AUTHORIZED),
        ("PENDING", OutcomeKind.PENDING),
        ("DENIED", OutcomeKind.DECLINED),
        ("VOIDED", OutcomeKind.DECLINED),
    ],
)
def test_an_authorization_says_what_became_of_the_hold_and_when_it_ends(status: str, kind: OutcomeKind) -> None:
    order = wire.order(intent="AUTHORIZE", authorizations=[wire.authorization(status)])
    outcome = convert.order_outcome(order, wire.instruction(AUTHORIZE))
    assert (outcome.kind, outcome.reference) == (kind, wire.AUTHORIZATION_ID)
    assert outcome.expire_time == 1_797_933_600_000_000


def test_a_capture_of_a_hold_is_found_by_our_id_alone() -> None:
    other = wire.capture(id="9ZZ", invoice_id="cap_0")
    ours = wire.capture(invoice_id="cap_1")
    held = [wire.authorization("PARTIALLY_CAPTURED")]
    order = wire.order(intent="AUTHORIZE", authorizations=held, captures=[other, ours])
    assert convert.capture_in_order(order, wire.instruction(CAPTURE)).reference == wire.CAPTURE_ID
    order = wire.order(intent="AUTHORIZE", authorizations=held, captures=[other])
    assert convert.capture_in_order(order, wire.instruction(CAPTURE)).kind is OutcomeKind.ABSENT


def test_a_hold_that_is_captured_without_any_capture_is_a_contradiction() -> None:
    order = wire.order(intent="AUTHORIZE", authorizations=[wire.authorization("CAPTURED")])
    with pytest.raises(Unreadable):
        convert.capture_in_order(order, wire.instruction(CAPTURE))


def test_a_capture_whose_hold_is_not_in_the_order_is_not_absent() -> None:
    with pytest.raises(Unreadable):
        convert.capture_in_order(wire.order(intent="AUTHORIZE"), wire.instruction(CAPTURE))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("COMPLETED", OutcomeKind.REFUNDED),
        ("PENDING", OutcomeKind.PENDING),
        ("FAILED", OutcomeKind.DECLINED),
        ("CANCELLED", OutcomeKind.DECLINED),
    ],
)
def test_a_refund_is_found_by_our_id_and_says_its_status(status: str, kind: OutcomeKind) -> None:
    order = wire.order(captures=[wire.capture("PARTIALLY_REFUNDED")], refunds=[wire.refund(status)])
    assert convert.refund_in_order(order, wire.instruction(REFUND)).kind is kind


def test_a_refund_that_is_not_listed_is_absent_unless_the_capture_says_that_there_was_one() -> None:
    foreign = wire.refund(id="9ZZ", custom_id="ref_0", invoice_id="ref_0")
    order = wire.order(captures=[wire.capture("PARTIALLY_REFUNDED")], refunds=[foreign])
    assert convert.refund_in_order(order, wire.instruction(REFUND)).kind is OutcomeKind.ABSENT
    with pytest.raises(Unreadable):
        convert.refund_in_order(wire.order(captures=[wire.capture("REFUNDED")]), wire.instruction(REFUND))


def test_an_order_is_asked_for_without_a_payment_source() -> None:
    asked = order_body(wire.instruction(CHARGE, description="Two\nseats " + "x" * 200, statement_descriptor="Aé rail!"))
    unit = asked["purchase_units"][0]
    assert asked["intent"] == "CAPTURE"
    assert set(asked) == {"intent", "purchase_units"}
    assert unit["amount"] == {"currency_code": "EUR", "value": "12.50"}
    assert (unit["custom_id"], unit["invoice_id"], unit["soft_descriptor"]) == ("pay_1", "pay_1", "A rail")
    assert unit["description"].startswith("Two seats xxx")
    assert len(unit["description"]) == 127


def test_what_is_empty_is_left_out_of_a_request() -> None:
    unit = order_body(wire.instruction(AUTHORIZE))["purchase_units"][0]
    assert set(unit) == {"amount", "custom_id", "invoice_id"}
    assert execution(wire.instruction(CHARGE, wallet_token=""))[1] == {}


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (CHARGE, f"/v2/checkout/orders/{wire.ORDER_ID}/capture"),
        (AUTHORIZE, f"/v2/checkout/orders/{wire.ORDER_ID}/authorize"),
        (CAPTURE, f"/v2/payments/authorizations/{wire.AUTHORIZATION_ID}/capture"),
        (VOID, f"/v2/payments/authorizations/{wire.AUTHORIZATION_ID}/void"),
        (REFUND, f"/v2/payments/captures/{wire.CAPTURE_ID}/refund"),
    ],
)
def test_each_operation_has_its_path(kind: OperationKind, path: str) -> None:
    assert execution(wire.instruction(kind))[0] == path


@pytest.mark.parametrize("reference", ["", "..", "A/B", "a", "A" * 37, "A?x", "A\n"])
def test_what_is_no_id_of_paypals_never_enters_a_path(reference: str) -> None:
    with pytest.raises(NotAskable):
        resource_path("/v2/checkout/orders", reference)


@pytest.mark.parametrize("key", ["", "é", "a b", "a\n", "k" * 102])
def test_a_key_that_paypal_would_not_keep_is_never_sent(key: str) -> None:
    with pytest.raises(NotAskable):
        request_id(key, "execute")


def test_steps_of_one_key_have_request_ids_of_their_own() -> None:
    assert [request_id("k", step) for step in ("order", "execute")] == ["k:order", "k:execute"]


@pytest.mark.parametrize(
    ("email", "label"),
    [
        ("alice@example.com", "a•••@example.com"),
        ("a@b.co", "a•••@b.co"),
        ("", "PayPal"),
        ("alice", "PayPal"),
        ("<b>@example.com", "PayPal"),
        ("alice@evil@example.com", "PayPal"),
        ("alice@exam\u202eple.com", "PayPal"),
    ],
)
def test_a_wallet_is_named_by_a_masked_address(email: str, label: str) -> None:
    assert convert.masked_email(email) == label


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b'{"a":NaN}', b'{"a":1,"a":2}', b"\xff", b"[" * 100_000, b" " * 1_048_577]
)
def test_an_answer_that_is_no_plain_object_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        parse_object(body)


def configured(base_url: str, *certificate_hosts: str) -> PaypalConfig:
    return PaypalConfig(base_url, "client", "not-for-anybody", "webhook", certificate_hosts)


@pytest.mark.parametrize(
    ("mode", "config"),
    [
        ("live", configured("https://api-m.paypal.com")),
        ("live", configured("https://api-m.paypal.com", "api.paypal.com")),
        ("test", configured("https://api-m.sandbox.paypal.com")),
        ("test", configured("http://127.0.0.1:8700")),
        ("test", configured("http://[::1]:8700", "[::1]:8700")),
        ("test", configured("http://localhost:8700")),
    ],
)
def test_the_mode_allows_paypals_own_address_and_in_test_this_machine(mode: str, config: PaypalConfig) -> None:
    require_addresses(config, mode)


@pytest.mark.parametrize(
    ("mode", "config", "mends"),
    [
        ("live", configured("https://api-m.sandbox.paypal.com"), "use that, or start the server with --mode test"),
        ("live", configured("http://127.0.0.1:8700"), "https://api-m.paypal.com"),
        ("live", configured("https://api-m.paypal.com/"), "not allowed in live mode"),
        ("live", configured("https://api-m.paypal.com.evil.example"), "not allowed in live mode"),
        ("live", configured("https://api-m.paypal.com", "127.0.0.1:8700"), "api.paypal.com"),
        ("test", configured("https://api-m.paypal.com"), "https://api-m.sandbox.paypal.com or a stand-in"),
        ("test", configured("http://example.com"), "a stand-in on this machine"),
        ("test", configured("http://127.0.0.1.example.com"), "a stand-in on this machine"),
        ("test", configured("http://user@127.0.0.1:8700"), "a stand-in on this machine"),
        ("test", configured("http://127.0.0.1:8700", "example.com"), "a loopback address"),
    ],
)
def test_another_address_is_refused_with_the_one_to_use(mode: str, config: PaypalConfig, mends: str) -> None:
    with pytest.raises(ValueError, match=r"not allowed|does not belong") as refusal:
        require_addresses(config, mode)
    assert mends in str(refusal.value)


def test_a_configuration_does_not_show_its_secret() -> None:
    assert "not-for-anybody" not in repr(configured("https://api-m.paypal.com"))
