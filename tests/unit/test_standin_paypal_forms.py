"""The PayPal stand-in: the form of requests, money, and what PayPal says when they are wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptoir_server.standins.paypal.amounts import PAYPAL_DECIMALS, fee_of, read_money, write_money
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


@pytest.fixture
def caller() -> Caller:
    return Caller()


def unit(**members: Any) -> dict[str, Any]:
    return {"intent": "CAPTURE", "purchase_units": [{"amount": money("12.50"), **members}]}


@pytest.mark.parametrize(
    ("body", "issue", "field"),
    [
        ({}, "MISSING_REQUIRED_PARAMETER", "/intent"),
        ({"intent": "CAPTURE"}, "MISSING_REQUIRED_PARAMETER", "/purchase_units"),
        ({"intent": "BUY", "purchase_units": [{}]}, "INVALID_PARAMETER_VALUE", "/intent"),
        ({"intent": "CAPTURE", "purchase_units": []}, "INVALID_ARRAY_MIN_ITEMS", "/purchase_units"),
        ({"intent": "CAPTURE", "purchase_units": [{}] * 11}, "INVALID_ARRAY_MAX_ITEMS", "/purchase_units"),
        ({"intent": "CAPTURE", "purchase_units": [{}]}, "MISSING_REQUIRED_PARAMETER", "/purchase_units/0/amount"),
        (unit(custom_id=None), "INVALID_PARAMETER_SYNTAX", "/purchase_units/0/custom_id"),
        (unit(colour=None), "INVALID_PARAMETER_SYNTAX", "/purchase_units/0/colour"),
        (unit(custom_id=""), "INVALID_STRING_LENGTH", "/purchase_units/0/custom_id"),
        (unit(custom_id="x" * 128), "INVALID_STRING_LENGTH", "/purchase_units/0/custom_id"),
        (unit(custom_id=7), "INVALID_PARAMETER_SYNTAX", "/purchase_units/0/custom_id"),
        (
            unit(amount={"currency_code": "EUR", "value": 12.5}),
            "INVALID_PARAMETER_SYNTAX",
            "/purchase_units/0/amount/value",
        ),
        (unit(amount=money("12,50")), "INVALID_PARAMETER_SYNTAX", "/purchase_units/0/amount/value"),
        (unit(amount=money("١٢")), "INVALID_PARAMETER_SYNTAX", "/purchase_units/0/amount/value"),
        (unit(amount={"value": "1.00"}), "MISSING_REQUIRED_PARAMETER", "/purchase_units/0/amount/currency_code"),
    ],
)
def test_a_malformed_order_is_refused_with_the_field_at_fault(
    caller: Caller, body: dict[str, Any], issue: str, field: str
) -> None:
    status, answer = caller.post(ORDERS, body)

    assert (status, answer["name"], issue_of(answer)) == (400, "INVALID_REQUEST", issue)
    assert answer["details"][0]["field"] == field
    assert caller.control("books")["orders"] == []


@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b"[]", b"null", b'"text"', b"\xff"])
def test_a_body_that_is_no_object_is_refused(caller: Caller, body: bytes) -> None:
    caller.order()
    token = next(iter(caller.paypal.state.access_tokens))

    answer = caller.send("POST", ORDERS, {"Authorization": f"Bearer {token}"}, body)

    assert answer.status == 400
    assert issue_of(json.loads(answer.body)) in {"MALFORMED_REQUEST_JSON", "INVALID_PARAMETER_SYNTAX"}
    assert len(caller.control("books")["orders"]) == 1


@pytest.mark.parametrize(
    ("amount", "issue"),
    [
        (money("0.00"), "CANNOT_BE_ZERO_OR_NEGATIVE"),
        (money("-1.00"), "CANNOT_BE_ZERO_OR_NEGATIVE"),
        (money("1.001"), "DECIMAL_PRECISION"),
        (money("100.5", "JPY"), "DECIMAL_PRECISION"),
        (money("100.00", "HUF"), "DECIMAL_PRECISION"),
        (money("100.00", "TWD"), "DECIMAL_PRECISION"),
        (money("1.00", "XXX"), "INVALID_CURRENCY_CODE"),
        (money("1.00", "eur"), "INVALID_CURRENCY_CODE"),
        (money("1000000000000000.00"), "MAX_VALUE_EXCEEDED"),
    ],
)
def test_an_impossible_amount_is_refused(caller: Caller, amount: dict[str, str], issue: str) -> None:
    status, answer = caller.post(ORDERS, unit(amount=amount))

    assert (status, issue_of(answer)) == (422, issue)


def test_payments_call_decimals_in_yen_by_their_own_name(caller: Caller) -> None:
    hold = caller.hold_of(value="1000", code="JPY")

    status, answer = caller.post(f"{HOLDS}/{hold}/capture", {"amount": money("10.5", "JPY")})

    assert (status, issue_of(answer)) == (422, "DECIMALS_NOT_SUPPORTED")
    assert caller.effects() == [("authorization", 1000)]


@pytest.mark.parametrize(
    ("members", "issue"),
    [
        ({"amount": money("12.50") | {"breakdown": {"item_total": money("12.00")}}}, "AMOUNT_MISMATCH"),
        (
            {"amount": money("12.50") | {"breakdown": {"item_total": money("13.00"), "discount": money("0.49")}}},
            "AMOUNT_MISMATCH",
        ),
        ({"amount": money("12.50") | {"breakdown": {"item_total": money("12.50", "USD")}}}, "MULTI_CURRENCY_ORDER"),
        ({"amount": money("12.50") | {"breakdown": {"item_total": money("-1")}}}, "CANNOT_BE_NEGATIVE"),
        ({"items": [{"name": "Tea", "quantity": "2", "unit_amount": money("6.25")}]}, "ITEM_TOTAL_REQUIRED"),
        (
            {
                "amount": money("12.50") | {"breakdown": {"item_total": money("12.50")}},
                "items": [{"name": "Tea", "quantity": "2", "unit_amount": money("6.20")}],
            },
            "ITEM_TOTAL_MISMATCH",
        ),
        (
            {
                "amount": money("12.50") | {"breakdown": {"item_total": money("12.50")}},
                "items": [{"name": "Tea", "quantity": "1", "unit_amount": money("12.50"), "tax": money("1.00")}],
            },
            "TAX_TOTAL_REQUIRED",
        ),
    ],
)
def test_an_order_must_add_up(caller: Caller, members: dict[str, Any], issue: str) -> None:
    status, answer = caller.post(ORDERS, unit(**members))

    assert (status, issue_of(answer)) == (422, issue)
    assert caller.control("books")["orders"] == []


def test_an_order_that_adds_up_is_taken(caller: Caller) -> None:
    breakdown = {"item_total": money("12.00"), "shipping": money("1.00"), "discount": money("0.50")}
    items = [{"name": "Tea", "quantity": "2", "unit_amount": money("6.00")}]

    status, _ = caller.post(ORDERS, unit(amount=money("12.50") | {"breakdown": breakdown}, items=items))

    assert status == 201


@pytest.mark.parametrize(
    ("references", "intent", "issue"),
    [
        ([None, None], "CAPTURE", "REFERENCE_ID_REQUIRED"),
        (["a", "a"], "CAPTURE", "DUPLICATE_REFERENCE_ID"),
        (["a", "b"], "AUTHORIZE", "UNSUPPORTED_INTENT"),
    ],
)
def test_several_units_need_their_own_references(
    caller: Caller, references: list[str | None], intent: str, issue: str
) -> None:
    units = [{"amount": money("1.00")} | ({"reference_id": name} if name else {}) for name in references]

    status, answer = caller.post(ORDERS, {"intent": intent, "purchase_units": units})

    assert (status, issue_of(answer)) == (422, issue)


def test_each_unit_is_captured_and_one_currency_rules(caller: Caller) -> None:
    source = {"payment_source": {"paypal": {"vault_id": caller.link()}}}
    units = [{"reference_id": name, "amount": money("1.50")} for name in ("a", "b")]
    mixed = [units[0], {"reference_id": "b", "amount": money("1.50", "USD")}]

    assert issue_of(caller.post(ORDERS, {"intent": "CAPTURE", "purchase_units": mixed})[1]) == "MULTI_CURRENCY_ORDER"
    assert caller.post(ORDERS, {"intent": "CAPTURE", "purchase_units": units} | source)[0] == 201
    assert caller.effects() == [("capture", 150), ("capture", 150)]


@pytest.mark.parametrize("url", [ORDERS, HOLDS, CAPTURES, "/v2/payments/refunds", "/v3/vault/payment-tokens"])
def test_what_does_not_exist_is_not_found(caller: Caller, url: str) -> None:
    status, answer = caller.get(f"{url}/5O190127TN364715T")

    assert (status, answer["name"], issue_of(answer)) == (404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID")


def test_an_unknown_address_is_not_found_and_an_unknown_control_names_the_known_ones(caller: Caller) -> None:
    assert caller.get("/v2/checkout/order")[0] == 404
    assert caller.call("PUT", ORDERS)[0] == 404
    status, body = caller.get("/_standin/boks")
    assert (status, "GET /_standin/books" in body["error"]) == (404, True)


def test_a_return_address_is_http(caller: Caller) -> None:
    body = setup_body()
    body["payment_source"]["paypal"]["experience_context"]["return_url"] = "javascript:alert(1)"

    status, answer = caller.post("/v3/vault/setup-tokens", body)

    assert (status, issue_of(answer)) == (400, "INVALID_PARAMETER_SYNTAX")
    assert caller.control("books")["setup_tokens"] == []


def test_a_request_id_of_more_than_108_characters_is_refused(caller: Caller) -> None:
    assert caller.post(ORDERS, order_body(), key="k" * 108)[0] == 201
    assert issue_of(caller.post(ORDERS, order_body(), key="k" * 109)[1]) == "INVALID_STRING_LENGTH"


@pytest.mark.parametrize(
    ("written", "code", "minor_units", "rewritten"),
    [
        ("12.5", "EUR", 1250, "12.50"),
        (".5", "USD", 50, "0.50"),
        ("100", "JPY", 100, "100"),
        ("100", "HUF", 10_000, "100"),
        ("7", "TWD", 700, "7"),
        ("999999999999999.99", "USD", 99_999_999_999_999_999, "999999999999999.99"),
    ],
)
def test_money_is_counted_in_iso_minor_units_without_loss(
    written: str, code: str, minor_units: int, rewritten: str
) -> None:
    assert read_money(money(written, code), "", without_decimals="DECIMAL_PRECISION") == (minor_units, code)
    assert write_money(minor_units, code) == money(rewritten, code)


def test_every_cent_survives_the_way_there_and_back() -> None:
    for code in PAYPAL_DECIMALS:
        for minor_units in range(100, 30_000, 100 if PAYPAL_DECIMALS[code] == 0 else 1):
            there = write_money(minor_units, code)
            assert read_money(there, "", without_decimals="X") == (minor_units, code)


@pytest.mark.parametrize(
    ("minor_units", "code", "fee"), [(1250, "EUR", 66), (10, "EUR", 10), (1000, "JPY", 59), (100_000, "HUF", 5_900)]
)
def test_the_fee_is_2_9_per_cent_and_30_and_never_more_than_the_amount(minor_units: int, code: str, fee: int) -> None:
    assert fee_of(minor_units, code) == fee


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["EUR", "-1", "CAPTURE"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
BODIES: list[tuple[str, dict[str, Any]]] = [
    (ORDERS, order_body(custom_id="pay_1") | wallet("token")),
    ("/v3/vault/setup-tokens", setup_body()),
    ("/v3/vault/payment-tokens", exchange_body("5C991763VB2781612")),
    ("/v1/notifications/webhooks", {"url": "https://shop.example", "event_types": [{"name": "*"}]}),
    ("/v1/notifications/verify-webhook-signature", {"webhook_event": {"id": "WH-1"}}),
    ("/_standin/faults", {"operation": "orders.get", "kind": "hung", "times": 1, "seconds": 1}),
    ("/_standin/webhooks", {"mode": "late", "seconds": 1}),
    ("/_standin/approve", {"token": "5C991763VB2781612", "account": "pays"}),
    ("/_standin/dashboard/refund", {"capture_id": "A", "amount": money("1.00")}),
    ("/_standin/forget", {"what": "keys"}),
]


def places(value: Any) -> list[list[str | int]]:
    """The way to every member of a body."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [[], *([name, *rest] for name, item in members for rest in places(item))]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_nothing_that_is_sent_breaks_the_stand_in(data: st.DataObject) -> None:
    url, original = data.draw(st.sampled_from(BODIES))
    body = json.loads(json.dumps(original))
    way = data.draw(st.sampled_from(places(body)))
    target, anything = body, data.draw(ANYTHING)
    for step in way[:-1]:
        target = target[step]
    if way:
        target[way[-1]] = anything
    caller = Caller(webhook_url="")

    status, _ = caller.post(url, body if way else anything)

    assert status in {200, 201, 400, 404, 422}
    assert caller.control("books")["effects"] == []
