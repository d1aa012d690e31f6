"""Deliveries: PayPal's own recorded ones verify, and every way to forge one is refused."""

from __future__ import annotations

import base64
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from comptoir_server.app.ports import (
    NoticeKind,
    ProviderUnavailable,
    WebhookRefused,
)
from comptoir_server.providers.paypal import PaypalConfig, PaypalProvider
from comptoir_server.providers.paypal.certificates import Certificates
from comptoir_server.providers.paypal.client import PaypalClient
from comptoir_server.providers.paypal.webhook import read_delivery, require_signature
from tests.support import paypal_wire as wire
from tests.support.paypal_deliveries import (
    AUTHORITY,
    BODY,
    CERTIFICATE_URL,
    FOREIGN,
    GENUINE,
    NOW,
    SANDBOX,
    SIGNER,
    WEBHOOK_ID,
    event,
    micros,
    receiver,
    signed,
)

SPECS = Path(os.environ.get("COMPTOIR_SPECS") or Path(__file__).resolve().parents[3] / "shared" / "specs")
VECTORS = SPECS / "golden" / "paypal-webhook-vectors.json"

# --- PayPal's own recorded deliveries --------------------------------------------------------------


def vectors() -> dict[str, Any]:
    if not VECTORS.exists():
        pytest.skip("PayPal's recorded deliveries are not here: set COMPTOIR_SPECS")
    found: dict[str, Any] = json.loads(VECTORS.read_text(encoding="utf-8"))
    return found


def recorded(vector: dict[str, Any]) -> tuple[dict[str, str], bytes]:
    url = vector.get("cert_url", CERTIFICATE_URL)
    headers = {
        "PAYPAL-TRANSMISSION-ID": vector["transmission_id"],
        "PAYPAL-TRANSMISSION-TIME": vector["transmission_time"],
        "PAYPAL-TRANSMISSION-SIG": vector["transmission_sig"],
        "PAYPAL-AUTH-ALGO": vector["auth_algo"],
        "PAYPAL-CERT-URL": url,
    }
    return headers, vector["body"].encode()


def paypal_2016(golden: dict[str, Any], webhook_id: str) -> tuple[PaypalProvider, wire.WireRuntime, wire.Script]:
    chain = f"{golden['cert_pem']}\n{golden['issuer_pem']}\n".encode()
    script = wire.Script(lambda request: wire.streamed(200, chain))
    runtime = wire.WireRuntime(script)
    config = PaypalConfig(SANDBOX, "client", "not-for-anybody", webhook_id, trust_roots_pem=golden["root_pem"].encode())
    return PaypalProvider(config, runtime), runtime, script


@pytest.mark.parametrize("index", [0, 1])
async def test_a_genuine_delivery_is_read_with_the_certificate_of_its_day(index: int) -> None:
    golden = vectors()
    assert len(golden["vectors"]) == 2
    vector = golden["vectors"][index]
    headers, body = recorded(vector)
    provider, runtime, _ = paypal_2016(golden, vector["webhook_id"])
    runtime.wall = micros(datetime.fromisoformat(vector["transmission_time"]) + timedelta(minutes=1))
    notice = await provider.read_webhook(headers, body)
    assert (notice.event_id, notice.event_type) == (json.loads(body)["id"], "PAYMENT.SALE.COMPLETED")
    assert notice.kind is NoticeKind.OTHER


@pytest.mark.parametrize("index", [0, 1])
async def test_a_genuine_signature_verifies_offline_at_the_start_of_2016(index: int) -> None:
    golden = vectors()
    vector = golden["vectors"][index]
    headers, body = recorded(vector)
    _, runtime, script = paypal_2016(golden, vector["webhook_id"])
    config = PaypalConfig(SANDBOX, "c", "s", vector["webhook_id"], trust_roots_pem=golden["root_pem"].encode())
    certificates = Certificates(config, PaypalClient(config, runtime))
    delivery = read_delivery(headers, body)
    key = await certificates.signing_key(delivery.certificate_url, datetime(2016, 1, 1, tzinfo=UTC))
    require_signature(delivery, vector["webhook_id"], key)
    assert delivery.signed_text(vector["webhook_id"]).decode() == vector["signed_string"]
    assert [str(request.url) for request in script.requests] == [delivery.certificate_url]
    with pytest.raises(WebhookRefused):
        require_signature(delivery, vector["webhook_id"][::-1], key)
    with pytest.raises(WebhookRefused, match="certificate"):
        await certificates.signing_key(delivery.certificate_url, datetime(2018, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("index", [0, 1])
async def test_no_flipped_bit_of_a_genuine_delivery_is_accepted(index: int) -> None:
    golden = vectors()
    vector = golden["vectors"][index]
    headers, body = recorded(vector)
    provider, runtime, _ = paypal_2016(golden, vector["webhook_id"])
    runtime.wall = micros(datetime.fromisoformat(vector["transmission_time"]))
    await provider.read_webhook(headers, body)
    for position in range(0, len(body), 7):
        spoiled = bytearray(body)
        spoiled[position] ^= 1 << (position % 8)
        with pytest.raises(WebhookRefused, match="signature"):
            await provider.read_webhook(headers, bytes(spoiled))
    signature = base64.b64decode(headers["PAYPAL-TRANSMISSION-SIG"])
    for position in range(0, len(signature), 16):
        spoiled = bytearray(signature)
        spoiled[position] ^= 1
        forged = headers | {"PAYPAL-TRANSMISSION-SIG": base64.b64encode(spoiled).decode()}
        with pytest.raises(WebhookRefused, match="signature"):
            await provider.read_webhook(forged, body)


# --- Deliveries signed by an authority of our own ---------------------------------------------------


async def test_a_delivery_signed_for_us_is_read() -> None:
    provider, _ = receiver()
    notice = await provider.read_webhook({name.upper(): value for name, value in signed().items()}, BODY)
    assert (notice.event_id, notice.kind) == ("WH-1", NoticeKind.OUTCOME)


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        (signed(webhook_id="9XL90610J3647323C"), "webhook id"),
        (signed(body=BODY + b" "), "signature"),
        (signed(auth_algo="SHA1withRSA"), "SHA256withRSA"),
        (signed(auth_algo="none"), "SHA256withRSA"),
        (signed(transmission_sig="!!!"), "base64"),
        (signed(transmission_sig="\xe9" * 8), "base64"),
        (signed(transmission_sig=""), "missing"),
        (signed(transmission_id="dfb3be50-fd75"), "signature"),
        (signed(transmission_id="a|b"), "malformed"),
        (signed(transmission_time="2026-11-24T12:00:01Z"), "signature"),
        (signed(transmission_time="2026-11-24 12:00:00"), "malformed"),
        (signed(transmission_time="2026-13-24T12:00:00Z"), "no time"),
        (signed(sent=NOW - timedelta(days=3, hours=1, seconds=1)), "too old"),
        (signed(sent=NOW + timedelta(minutes=5, seconds=1)), "ahead"),
        ({}, "missing"),
    ],
)
async def test_a_delivery_that_is_not_signed_for_us_now_is_refused(headers: dict[str, str], says: str) -> None:
    provider, _ = receiver()
    with pytest.raises(WebhookRefused, match=says):
        await provider.read_webhook(headers, BODY)


@pytest.mark.parametrize("sent", [NOW - timedelta(days=3), NOW + timedelta(minutes=4)])
async def test_a_repetition_of_three_days_and_a_clock_that_runs_ahead_are_taken(sent: datetime) -> None:
    provider, _ = receiver()
    assert (await provider.read_webhook(signed(sent=sent), BODY)).event_id == "WH-1"


@pytest.mark.parametrize(
    "url",
    [
        "http://api.sandbox.paypal.com/v1/notifications/certs/CERT-1",
        "https://api.paypal.com/v1/notifications/certs/CERT-1",
        "https://evil.example/v1/notifications/certs/CERT-1",
        "https://api.sandbox.paypal.com.evil.example/v1/notifications/certs/CERT-1",
        "https://api.sandbox.paypal.com@evil.example/v1/notifications/certs/CERT-1",
        "https://user@api.sandbox.paypal.com/v1/notifications/certs/CERT-1",
        "https://api.sandbox.paypal.com:8443/v1/notifications/certs/CERT-1",
        "https://api.sandbox.paypal.com./v1/notifications/certs/CERT-1",
        "https://api.sandbox.paypal.com/v1/notifications/certs/../../evil",
        "https://api.sandbox.paypal.com/v1/notifications/certs/%2e%2e/evil",
        "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1?x=1",
        "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1?",
        "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1#x",
        "https://api.sandbox.paypal.com/v1/notifications/certs/",
        "https://api.sandbox.paypal.com/other/CERT-1",
        "https://api.sandbox.paypal.com\\@evil.example/v1/notifications/certs/CERT-1",
        "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1\n",
        "http://127.0.0.1/v1/notifications/certs/CERT-1",
        "file:///v1/notifications/certs/CERT-1",
        "https://[::1/v1/notifications/certs/CERT-1",
    ],
)
async def test_a_certificate_is_asked_for_at_paypals_own_address_only(url: str) -> None:
    provider, script = receiver()
    with pytest.raises(WebhookRefused, match="address"):
        await provider.read_webhook(signed(cert_url=url), BODY)
    assert script.requests == []


@pytest.mark.parametrize(
    "chain",
    [
        FOREIGN.leaf(SIGNER),
        FOREIGN.leaf(SIGNER) + FOREIGN.root(),
        AUTHORITY.leaf(SIGNER, until=NOW - timedelta(seconds=1)),
        AUTHORITY.leaf(SIGNER, since=NOW + timedelta(hours=1)),
        AUTHORITY.leaf(SIGNER, name="messageverificationcerts.paypal.com"),
        AUTHORITY.leaf(SIGNER, name="evil.paypal.com"),
        AUTHORITY.root(),
        b"no certificate",
        b"",
        GENUINE * 7,
        GENUINE + b" " * 65_536,
    ],
)
async def test_a_certificate_that_is_not_paypals_today_is_refused(chain: bytes) -> None:
    provider, _ = receiver(chain)
    with pytest.raises(WebhookRefused, match="certificate"):
        await provider.read_webhook(signed(), BODY)


async def test_a_signature_by_another_key_is_refused() -> None:
    provider, _ = receiver(AUTHORITY.leaf(rsa.generate_private_key(65_537, 2_048)))
    with pytest.raises(WebhookRefused, match="signature"):
        await provider.read_webhook(signed(), BODY)


async def test_a_redirected_certificate_is_refused_and_not_followed() -> None:
    provider, script = receiver(lambda request: wire.streamed(302, b"", {"location": "https://evil.example/"}))
    with pytest.raises(WebhookRefused):
        await provider.read_webhook(signed(), BODY)
    assert [str(request.url) for request in script.requests] == [CERTIFICATE_URL]


async def test_a_certificate_that_cannot_be_read_now_asks_for_the_delivery_again() -> None:
    def reset(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset")

    for responder in (reset, lambda request: wire.streamed(503), lambda request: wire.streamed(429)):
        provider, _ = receiver(responder)
        with pytest.raises(ProviderUnavailable):
            await provider.read_webhook(signed(), BODY)


async def test_a_certificate_is_fetched_once_without_our_access_token_and_checked_each_time() -> None:
    script = wire.Script(lambda request: wire.streamed(200, GENUINE))
    runtime = wire.WireRuntime(script)
    runtime.wall = micros(NOW)
    config = PaypalConfig(SANDBOX, "client", "not-for-anybody", WEBHOOK_ID, trust_roots_pem=AUTHORITY.root())
    provider = PaypalProvider(config, runtime)
    await provider.read_webhook(signed(), BODY)
    await provider.read_webhook(signed(), BODY)
    assert len(script.requests) == 1
    assert "authorization" not in script.requests[0].headers
    later = NOW + timedelta(days=61)
    runtime.wall = micros(later)
    with pytest.raises(WebhookRefused, match="not in date"):
        await provider.read_webhook(signed(sent=later), BODY)


async def test_a_certificate_in_an_answer_that_is_no_success_is_refused() -> None:
    for status in (201, 302, 404):
        provider, _ = receiver(lambda request, status=status: wire.streamed(status, GENUINE))  # type: ignore[misc]
        with pytest.raises(WebhookRefused, match="no certificate at the address"):
            await provider.read_webhook(signed(), BODY)


async def test_a_refused_certificate_is_not_kept() -> None:
    chains = iter([FOREIGN.leaf(SIGNER), GENUINE])
    provider, _ = receiver(lambda request: wire.streamed(200, next(chains)))
    with pytest.raises(WebhookRefused):
        await provider.read_webhook(signed(), BODY)
    assert (await provider.read_webhook(signed(), BODY)).event_id == "WH-1"


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{",
        b"{}",
        b'{"id":"WH-1"}',
        event("PAYMENT.CAPTURE.COMPLETED", {}),
        event("PAYMENT.CAPTURE.COMPLETED", wire.capture("BRAND_NEW")),
        event("PAYMENT.CAPTURE.COMPLETED", wire.capture(amount=wire.money("1.001"))),
        event("VAULT.PAYMENT-TOKEN.DELETED", {"id": ""}),
        b" " * 262_145,
    ],
)
async def test_a_signed_body_that_cannot_be_read_is_refused_so_that_it_comes_again(body: bytes) -> None:
    provider, _ = receiver()
    with pytest.raises(WebhookRefused, match="body"):
        await provider.read_webhook(signed(body), body)
