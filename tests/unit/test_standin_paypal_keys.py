"""The PayPal stand-in: request ids, what happens when they are forgotten, and faults by order."""

from __future__ import annotations

import json

import pytest

from comptoir_server.standins.paypal.wire import Travel
from tests.support.paypal_standin import (
    CAPTURES,
    HOLDS,
    ORDERS,
    Caller,
    issue_of,
    money,
    order_body,
    setup_body,
    wallet,
)

HOUR_SECONDS = 3_600
DAY_SECONDS = 24 * HOUR_SECONDS


@pytest.fixture
def caller() -> Caller:
    return Caller()


def test_a_repetition_gets_the_resource_as_it_is_now_with_200(caller: Caller) -> None:
    token, order_id = caller.link("echeck"), caller.order()
    first = caller.post(f"{ORDERS}/{order_id}/capture", wallet(token), key="k")
    caller.pass_time(2)

    status, order = caller.post(f"{ORDERS}/{order_id}/capture", wallet(token), key="k")

    assert first[0] == 201
    assert first[1]["purchase_units"][0]["payments"]["captures"][0]["status"] == "PENDING"
    assert status == 200
    assert order["purchase_units"][0]["payments"]["captures"][0]["status"] == "COMPLETED"
    assert caller.effects() == [("capture_pending", 1250), ("capture", 1250)]


def test_a_refund_repeated_under_its_key_gives_back_once(caller: Caller) -> None:
    capture = caller.capture_of()
    first = caller.post(f"{CAPTURES}/{capture}/refund", {"amount": money("5.00")}, key="r")

    again = caller.post(f"{CAPTURES}/{capture}/refund", {"amount": money("5.00")}, key="r")

    assert (first[0], again[0], again[1]["id"]) == (201, 201, first[1]["id"])
    assert caller.effects() == [("capture", 1250), ("refund", 500)]


def test_a_refund_repeated_after_the_keys_are_forgotten_gives_back_twice(caller: Caller) -> None:
    capture = caller.capture_of()
    caller.post(f"{CAPTURES}/{capture}/refund", {"amount": money("5.00")}, key="r")
    caller.control("forget", {"what": "keys"})

    status, _ = caller.post(f"{CAPTURES}/{capture}/refund", {"amount": money("5.00")}, key="r")

    assert status == 201
    assert caller.effects() == [("capture", 1250), ("refund", 500), ("refund", 500)]


def test_an_order_paid_in_one_call_is_paid_twice_when_its_key_is_forgotten(caller: Caller) -> None:
    body = order_body() | wallet(caller.link())
    caller.post(ORDERS, body, key="k")
    caller.pass_time(6 * HOUR_SECONDS)

    assert caller.post(ORDERS, body, key="k")[0] == 201
    assert caller.effects() == [("capture", 1250), ("capture", 1250)]


def test_an_order_made_first_is_captured_once_even_when_its_key_is_forgotten(caller: Caller) -> None:
    token, order_id = caller.link(), caller.order()
    caller.post(f"{ORDERS}/{order_id}/capture", wallet(token), key="k")
    caller.control("forget", {})

    status, body = caller.post(f"{ORDERS}/{order_id}/capture", wallet(token), key="k")

    assert (status, issue_of(body)) == (422, "ORDER_ALREADY_CAPTURED")
    assert caller.effects() == [("capture", 1250)]


@pytest.mark.parametrize(("seconds", "effects"), [(45 * DAY_SECONDS - 1, 1), (45 * DAY_SECONDS, 2)])
def test_payments_remember_a_key_for_45_days(caller: Caller, seconds: int, effects: int) -> None:
    capture = caller.capture_of()
    caller.post(f"{CAPTURES}/{capture}/refund", {"amount": money("1.00")}, key="r")
    caller.pass_time(seconds)
    caller.renew_token()

    caller.post(f"{CAPTURES}/{capture}/refund", {"amount": money("1.00")}, key="r")

    assert caller.effects().count(("refund", 100)) == effects


def test_without_a_key_the_same_refund_happens_twice(caller: Caller) -> None:
    capture = caller.capture_of()
    for _ in range(2):
        caller.post(f"{CAPTURES}/{capture}/refund", {"amount": money("1.00")}, key="")

    assert caller.effects() == [("capture", 1250), ("refund", 100), ("refund", 100)]


def test_a_refused_request_does_not_use_up_its_key(caller: Caller) -> None:
    order_id = caller.order()
    declined, pays = wallet(caller.link("declined")), wallet(caller.link())

    assert caller.post(f"{ORDERS}/{order_id}/capture", declined, key="k")[0] == 422
    assert caller.post(f"{ORDERS}/{order_id}/capture", pays, key="k")[0] == 201
    assert caller.effects() == [("capture", 1250)]


def test_the_vault_requires_a_key_and_refuses_it_for_another_body(caller: Caller) -> None:
    missing = caller.post("/v3/vault/setup-tokens", setup_body(), key="")
    first = caller.post("/v3/vault/setup-tokens", setup_body(), key="s")
    again = caller.post("/v3/vault/setup-tokens", setup_body(), key="s")
    other = caller.post("/v3/vault/setup-tokens", setup_body() | {"customer": {"id": "customer_1"}}, key="s")

    assert (missing[0], issue_of(missing[1])) == (400, "MISSING_REQUIRED_PARAMETER")
    assert (first[0], again[0], again[1]["id"]) == (201, 200, first[1]["id"])
    assert (other[0], issue_of(other[1])) == (422, "PAYPAL_REQUEST_ID_PREVIOUSLY_USED")
    assert len(caller.control("books")["setup_tokens"]) == 1


def test_while_a_request_runs_the_same_key_and_the_same_resource_are_in_progress(caller: Caller) -> None:
    token, order_id, other_id = caller.link(), caller.order(), caller.order()
    caller.fault("orders.capture", "latency", seconds=5)
    caller.post(f"{ORDERS}/{order_id}/capture", wallet(token), key="k")
    assert caller.last.delay_seconds == 5

    same_key = caller.post(f"{ORDERS}/{order_id}/capture", wallet(token), key="k")
    other_key = caller.post(f"{ORDERS}/{order_id}/capture", wallet(token), key="k2")
    other_order = caller.post(f"{ORDERS}/{other_id}/capture", wallet(token), key="k3")
    caller.pass_time(5)
    later = caller.post(f"{ORDERS}/{order_id}/capture", wallet(token), key="k")

    assert (same_key[0], issue_of(same_key[1])) == (409, "PREVIOUS_REQUEST_IN_PROGRESS")
    assert (other_key[0], issue_of(other_key[1])) == (409, "PREVIOUS_REQUEST_IN_PROGRESS")
    assert (other_order[0], later[0]) == (201, 200)
    assert caller.effects() == [("capture", 1250), ("capture", 1250)]


@pytest.mark.parametrize(
    ("kind", "travel", "status", "moved"),
    [
        ("lost_request", Travel.CLOSED, 0, False),
        ("lost_answer", Travel.CLOSED, 201, True),
        ("error_before", Travel.WHOLE, 500, False),
        ("error_after", Travel.WHOLE, 500, True),
        ("garbage", Travel.WHOLE, 201, True),
        ("half_body", Travel.HALF, 201, True),
        ("hung", Travel.NEVER, 201, True),
        ("wrong_amount", Travel.WHOLE, 201, True),
        ("wrong_currency", Travel.WHOLE, 201, True),
        ("throttled", Travel.WHOLE, 429, False),
        ("expired_token", Travel.WHOLE, 401, False),
        ("decline", Travel.WHOLE, 422, False),
    ],
)
def test_a_fault_strikes_once_and_the_books_say_whether_money_moved(
    caller: Caller, kind: str, travel: Travel, status: int, moved: bool
) -> None:
    token, order_id = caller.link(), caller.order()
    caller.fault("orders.capture", kind, **({"issue": "TRANSACTION_REFUSED"} if kind == "decline" else {}))

    caller.post(f"{ORDERS}/{order_id}/capture", wallet(token), key="k")
    assert (caller.last.travel, caller.last.status) == (travel, status)
    assert caller.effects() == ([("capture", 1250)] if moved else [])

    again, order = caller.post(f"{ORDERS}/{order_id}/capture", wallet(token), key="k")
    assert (again, order["status"]) == (200 if moved else 201, "COMPLETED")
    assert caller.effects() == [("capture", 1250)]


def test_a_late_effect_happens_after_its_connection_is_gone(caller: Caller) -> None:
    token, order_id = caller.link(), caller.order()
    caller.fault("orders.capture", "late_effect", seconds=30)
    caller.post(f"{ORDERS}/{order_id}/capture", wallet(token), key="k")
    assert caller.last.travel is Travel.CLOSED
    assert caller.get(f"{ORDERS}/{order_id}")[1]["status"] == "CREATED"

    caller.pass_time(30)

    assert caller.get(f"{ORDERS}/{order_id}")[1]["status"] == "COMPLETED"
    assert caller.effects() == [("capture", 1250)]


def test_a_late_effect_overtaken_by_its_own_repetition_moves_the_money_once(caller: Caller) -> None:
    capture = caller.capture_of()
    caller.fault("captures.refund", "late_effect", seconds=30)
    for _ in range(2):
        caller.post(f"{CAPTURES}/{capture}/refund", {"amount": money("5.00")}, key="r")
    caller.pass_time(30)

    assert caller.effects() == [("capture", 1250), ("refund", 500)]


def test_wrong_answers_are_wrong_in_every_amount_and_only_there(caller: Caller) -> None:
    hold = caller.hold_of()
    caller.fault("authorizations.capture", "wrong_amount")
    _, wrong = caller.post(f"{HOLDS}/{hold}/capture", {"amount": money("10.00")}, key="c")
    caller.fault("authorizations.capture", "wrong_currency")
    _, foreign = caller.post(f"{HOLDS}/{hold}/capture", {"amount": money("10.00")}, key="c")
    _, right = caller.post(f"{HOLDS}/{hold}/capture", {"amount": money("10.00")}, key="c")

    assert wrong["amount"] == money("11.00")
    assert foreign["amount"] == money("10.00", "CHF")
    assert right["amount"] == money("10.00")
    assert wrong["id"] == foreign["id"] == right["id"]


def test_a_fault_can_name_a_request_a_resource_and_how_often(caller: Caller) -> None:
    first, second = caller.order(), caller.order()
    caller.fault("orders.get", "error_before", resource_id=second, times=2)
    caller.fault("*", "throttled", request_id="unlucky", times=0)

    assert caller.get(f"{ORDERS}/{first}")[0] == 200
    assert [caller.get(f"{ORDERS}/{second}")[0] for _ in range(3)] == [500, 500, 200]
    assert [caller.post(ORDERS, order_body(), key="unlucky")[0] for _ in range(3)] == [429, 429, 429]
    assert [fault["hits"] for fault in caller.control("faults")["faults"]] == [2, 3]
    caller.call("DELETE", "/_standin/faults")
    assert caller.post(ORDERS, order_body(), key="unlucky")[0] == 201


@pytest.mark.parametrize(
    "rule",
    [
        {"operation": "orders.capture", "kind": "explosion"},
        {"operation": "orders.steal", "kind": "hung"},
        {"operation": "orders.capture", "kind": "decline"},
        {"operation": "orders.capture", "kind": "hung", "times": -1},
        {"operation": "orders.capture", "kind": "latency", "seconds": "5"},
        {"operation": "orders.capture", "kind": "hung", "colour": "red"},
        {"kind": "hung"},
        {},
    ],
)
def test_a_malformed_fault_is_refused_with_a_reason_and_not_set(caller: Caller, rule: dict[str, object]) -> None:
    status, body = caller.call("POST", "/_standin/faults", rule, key="")

    assert status == 400
    assert body["error"]
    assert caller.control("faults") == {"faults": []}


def test_paypals_own_mock_header_forces_an_issue_and_moves_nothing(caller: Caller) -> None:
    token, order_id = caller.link(), caller.order()
    mock = json.dumps({"mock_application_codes": "DUPLICATE_INVOICE_ID"})

    status, body = caller.post(f"{ORDERS}/{order_id}/capture", wallet(token), PayPal_Mock_Response=mock)

    assert (status, issue_of(body)) == (422, "DUPLICATE_INVOICE_ID")
    assert caller.effects() == []


def test_a_token_request_can_be_throttled_and_wrong_credentials_get_none(caller: Caller) -> None:
    basic = {"Authorization": "Basic c3RhbmRpbi1jbGllbnQ6c3RhbmRpbi1zZWNyZXQ="}
    caller.fault("oauth2.token", "throttled")

    assert caller.send("POST", "/v1/oauth2/token", basic, b"grant_type=client_credentials").status == 429
    assert caller.send("POST", "/v1/oauth2/token", basic, b"grant_type=client_credentials").status == 200
    assert caller.send("POST", "/v1/oauth2/token", basic, b"grant_type=password").status == 400
    for header in ("Basic d3Jvbmc6d3Jvbmc=", "Basic !", "Bearer x", ""):
        wrong = caller.send("POST", "/v1/oauth2/token", {"Authorization": header}, b"grant_type=client_credentials")
        assert (wrong.status, json.loads(wrong.body)["error"]) == (401, "invalid_client")


def test_an_access_token_expires_and_is_forgotten_by_order(caller: Caller) -> None:
    order_id = caller.order()
    caller.control("forget", {"what": "access_tokens"})
    assert caller.get(f"{ORDERS}/{order_id}")[0] == 401
    caller.renew_token()
    assert caller.get(f"{ORDERS}/{order_id}")[0] == 200
    caller.pass_time(9 * HOUR_SECONDS)
    assert caller.get(f"{ORDERS}/{order_id}")[0] == 401


def test_the_list_of_requests_names_no_secret(caller: Caller) -> None:
    token = caller.link()
    caller.get(f"/v3/vault/payment-tokens/{token}")

    listed = caller.control("requests")["requests"]

    assert listed[-1]["operation"] == "payment-tokens.get"
    assert listed[-1]["path"] == "/v3/vault/payment-tokens/..."
    assert token not in json.dumps(listed)
    assert "standin-secret" not in json.dumps(listed)
