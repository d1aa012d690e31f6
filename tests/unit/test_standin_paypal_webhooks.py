"""The PayPal stand-in: signed webhooks, the ways they travel, and the payer's page."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from comptoir_server.standins.paypal import make_signer
from comptoir_server.standins.paypal.webhooks import ATTEMPTS_MAX, Transmission
from comptoir_server.standins.paypal.wire import MICROSECONDS, moment
from tests.support.paypal_standin import HOOK_URL, ORDERS, START, Caller, setup_body, wallet

WEBHOOK_ID = "8PT597110X687430L"
SIGNER = x509.DNSName("messageverificationcerts.sandbox.paypal.com")


@pytest.fixture
def caller() -> Caller:
    return Caller()


def due(caller: Caller) -> list[Transmission]:
    return caller.paypal.state.webhooks.take_due(caller.now)


def types(transmissions: list[Transmission]) -> list[str]:
    return [json.loads(item.body)["event_type"] for item in transmissions]


def fetch_chain(caller: Caller, transmission: Transmission) -> list[x509.Certificate]:
    path = transmission.headers["paypal-cert-url"].removeprefix("http://127.0.0.1:7610")
    answer = caller.send("GET", path, {})
    assert answer.status == 200
    return x509.load_pem_x509_certificates(answer.body)


def verify(caller: Caller, transmission: Transmission, webhook_id: str = WEBHOOK_ID, body: bytes | None = None) -> None:
    headers = transmission.headers
    checksum = zlib.crc32(transmission.body if body is None else body)
    time = headers["paypal-transmission-time"]
    text = f"{headers['paypal-transmission-id']}|{time}|{webhook_id}|{checksum}"
    key = fetch_chain(caller, transmission)[0].public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    key.verify(base64.b64decode(headers["paypal-transmission-sig"]), text.encode(), PKCS1v15(), SHA256())


def test_a_delivery_is_signed_over_its_raw_bytes_and_our_webhook_id(caller: Caller) -> None:
    caller.capture_of()
    transmission = due(caller)[0]

    assert transmission.url == HOOK_URL
    assert transmission.headers["paypal-auth-algo"] == "SHA256withRSA"
    verify(caller, transmission)
    with pytest.raises(InvalidSignature):
        verify(caller, transmission, webhook_id="8PT597110X687430M")
    with pytest.raises(InvalidSignature):
        verify(caller, transmission, body=transmission.body + b" ")


def test_the_certificate_chains_to_the_stand_ins_own_authority_and_to_no_other(caller: Caller) -> None:
    caller.capture_of()
    chain = fetch_chain(caller, due(caller)[0])
    own = x509.load_pem_x509_certificates(caller.send("GET", "/_standin/ca.pem", {}).body)
    other = x509.load_pem_x509_certificates(make_signer(START).root_pem)

    def verified(roots: list[x509.Certificate], seconds: int = 0) -> None:
        at = moment(START + seconds * MICROSECONDS)
        PolicyBuilder().store(Store(roots)).time(at).build_server_verifier(SIGNER).verify(chain[0], chain[1:])

    verified(own)
    with pytest.raises(VerificationError):
        verified(other)
    with pytest.raises(VerificationError):
        verified(own, seconds=10 * 365 * 86_400)


def test_a_capture_event_carries_the_capture_and_its_order(caller: Caller) -> None:
    order_id = caller.order(custom_id="pay_1", invoice_id="inv_1")
    caller.post(f"{ORDERS}/{order_id}/capture", wallet(caller.link()))

    event = next(json.loads(item.body) for item in due(caller) if b"PAYMENT.CAPTURE.COMPLETED" in item.body)

    resource = event["resource"]
    assert (event["resource_type"], event["resource_version"]) == ("capture", "2.0")
    assert (resource["custom_id"], resource["invoice_id"]) == ("pay_1", "inv_1")
    assert resource["supplementary_data"] == {"related_ids": {"order_id": order_id}}


def test_a_delivery_comes_again_until_it_is_acknowledged(caller: Caller) -> None:
    caller.link()
    hooks = caller.paypal.state.webhooks
    seen = []
    for status in (500, 0, 302, 200):
        (transmission,) = due(caller)
        seen.append(transmission.headers["paypal-transmission-id"])
        hooks.report(transmission, status, caller.now)
        assert due(caller) == []
        caller.pass_time(600)

    assert len(set(seen)) == 1
    assert due(caller) == []
    assert caller.control("webhooks")["deliveries"][0]["answers"] == [500, 0, 302, 200]


def test_a_delivery_is_given_up_after_25_attempts(caller: Caller) -> None:
    caller.link()
    hooks = caller.paypal.state.webhooks
    attempts = 0
    while transmissions := due(caller):
        attempts += 1
        hooks.report(transmissions[0], 503, caller.now)
        caller.pass_time(600)

    assert attempts == ATTEMPTS_MAX
    assert hooks.next_time() is None


@pytest.mark.parametrize(
    ("mode", "at_once", "later"),
    [
        ("normal", ["PAYMENT.CAPTURE.COMPLETED", "CHECKOUT.ORDER.COMPLETED"], []),
        ("dropped", [], []),
        (
            "duplicate",
            ["PAYMENT.CAPTURE.COMPLETED", "CHECKOUT.ORDER.COMPLETED"],
            ["PAYMENT.CAPTURE.COMPLETED", "CHECKOUT.ORDER.COMPLETED"],
        ),
        ("late", [], ["PAYMENT.CAPTURE.COMPLETED", "CHECKOUT.ORDER.COMPLETED"]),
        ("reordered", ["CHECKOUT.ORDER.COMPLETED"], ["PAYMENT.CAPTURE.COMPLETED"]),
    ],
)
def test_events_travel_as_the_mode_says(caller: Caller, mode: str, at_once: list[str], later: list[str]) -> None:
    token, order_id = caller.link(), caller.order()
    due(caller)
    caller.control("webhooks", {"mode": mode, "seconds": 5})
    caller.post(f"{ORDERS}/{order_id}/capture", wallet(token))

    now = types(due(caller))
    caller.pass_time(5)

    assert (now, types(due(caller))) == (at_once, later)
    assert caller.events()[-2:] == ["PAYMENT.CAPTURE.COMPLETED", "CHECKOUT.ORDER.COMPLETED"]


def test_a_mode_can_be_meant_for_one_type_of_event(caller: Caller) -> None:
    token, order_id = caller.link(), caller.order()
    due(caller)
    caller.control("webhooks", {"mode": "dropped", "event_type": "PAYMENT.CAPTURE.COMPLETED"})
    caller.post(f"{ORDERS}/{order_id}/capture", wallet(token))

    assert types(due(caller)) == ["CHECKOUT.ORDER.COMPLETED"]


def test_an_unknown_mode_is_refused(caller: Caller) -> None:
    status, body = caller.call("POST", "/_standin/webhooks", {"mode": "teleported"}, key="")

    assert (status, "reordered" in body["error"]) == (400, True)
    assert caller.control("webhooks")["mode"] == "normal"


def test_a_subscription_gets_the_events_that_it_names() -> None:
    caller = Caller(webhook_url="")
    body = {"url": "https://shop.example/hook", "event_types": [{"name": "PAYMENT.CAPTURE.COMPLETED"}]}
    status, webhook = caller.post("/v1/notifications/webhooks", body)
    caller.capture_of()

    assert status == 201
    assert types(due(caller)) == ["PAYMENT.CAPTURE.COMPLETED"]
    assert caller.get("/v1/notifications/webhooks")[1]["webhooks"] == [webhook]
    assert caller.post("/v1/notifications/webhooks", body)[0] == 400
    assert caller.call("DELETE", f"/v1/notifications/webhooks/{webhook['id']}")[0] == 204
    assert caller.get(f"/v1/notifications/webhooks/{webhook['id']}")[0] == 404


def test_the_postback_verifies_genuine_deliveries_alone(caller: Caller) -> None:
    caller.link()
    (transmission,) = due(caller)
    names = ("transmission_id", "transmission_time", "transmission_sig", "cert_url", "auth_algo")
    asked: dict[str, Any] = {name: transmission.headers[f"paypal-{name.replace('_', '-')}"] for name in names}
    asked |= {"webhook_id": WEBHOOK_ID, "webhook_event": json.loads(transmission.body)}

    def verdict(**changes: Any) -> str:
        view = caller.post("/v1/notifications/verify-webhook-signature", asked | changes)[1]
        return str(view["verification_status"])

    assert verdict() == "SUCCESS"
    assert verdict(webhook_id="1PT597110X687430L") == "FAILURE"
    assert verdict(transmission_sig="AAAA") == "FAILURE"
    assert verdict(webhook_event=asked["webhook_event"] | {"summary": "other"}) == "FAILURE"


def form(token: str, action: str, account: str = "pays") -> bytes:
    return f"token={token}&account={account}&action={action}".encode()


def test_a_payer_agrees_on_the_page_and_returns_to_the_merchant(caller: Caller) -> None:
    _, setup = caller.post("/v3/vault/setup-tokens", setup_body())
    approve = next(link["href"] for link in setup["links"] if link["rel"] == "approve")
    page = caller.send("GET", approve.removeprefix("http://127.0.0.1:7610"), {})
    answer = caller.send("POST", "/checkoutnow", {}, form(setup["id"], "agree", "pays-too"))

    assert page.status == 200
    assert b"Comptoir Test Store" in page.body
    assert b"blaise.pays@example.com" in page.body
    assert answer.status == 303
    assert answer.headers["location"] == (
        f"https://shop.example/back?chat=1&approval_token_id={setup['id']}&approval_session_id={setup['id']}"
    )
    assert caller.get(f"/v3/vault/setup-tokens/{setup['id']}")[1]["status"] == "APPROVED"


def test_a_payer_cancels_and_nothing_is_approved(caller: Caller) -> None:
    _, setup = caller.post("/v3/vault/setup-tokens", setup_body())

    answer = caller.send("POST", "/checkoutnow", {}, form(setup["id"], "cancel"))

    assert answer.headers["location"].startswith("https://shop.example/no?")
    assert caller.get(f"/v3/vault/setup-tokens/{setup['id']}")[1]["status"] == "PAYER_ACTION_REQUIRED"


@pytest.mark.parametrize("body", [b"", b"token=NONE&action=agree&account=pays", b"\xff\xfe"])
def test_a_page_for_nothing_says_so(caller: Caller, body: bytes) -> None:
    assert caller.send("POST", "/checkoutnow", {}, body).status == 404
    assert caller.send("GET", "/checkoutnow?token=NONE", {}).status == 404


def test_a_choice_that_is_none_approves_nothing(caller: Caller) -> None:
    _, setup = caller.post("/v3/vault/setup-tokens", setup_body())

    assert caller.send("POST", "/checkoutnow", {}, form(setup["id"], "agree", "nobody")).status == 400
    assert caller.send("POST", "/checkoutnow", {}, form(setup["id"], "maybe")).status == 400
    assert caller.get(f"/v3/vault/setup-tokens/{setup['id']}")[1]["status"] == "PAYER_ACTION_REQUIRED"


def test_the_page_escapes_what_it_shows() -> None:
    caller = Caller(merchant_name="<script>alert(1)</script>")
    _, setup = caller.post("/v3/vault/setup-tokens", setup_body())

    page = caller.send("GET", f"/checkoutnow?token={setup['id']}", {})

    assert b"<script>" not in page.body
    assert b"&lt;script&gt;" in page.body


def test_the_same_requests_make_the_same_world_byte_for_byte() -> None:
    def world() -> bytes:
        caller = Caller()
        caller.hold_of("echeck", custom_id="pay_1")
        caller.capture_of(invoice_id="inv_1")
        caller.pass_time(10)
        return json.dumps([caller.control("books"), caller.control("webhooks")]).encode()

    assert world() == world()
