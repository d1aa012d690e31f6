"""A caller of the PayPal stand-in's model: its own clock, the same ids every time, one helper a step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from comptoir_server.standins.paypal import Paypal, PaypalStandinConfig, make_signer
from comptoir_server.standins.paypal.signing import Signer
from comptoir_server.standins.paypal.wire import MICROSECONDS, Answer, Travel

START = 1_790_000_000 * MICROSECONDS
HOOK_URL = "https://shop.example/paypal"
ORDERS, HOLDS, CAPTURES = "/v2/checkout/orders", "/v2/payments/authorizations", "/v2/payments/captures"
Json = dict[str, Any]


@cache
def signer() -> Signer:
    """One signer for every test: making one takes a tenth of a second."""
    return make_signer(START)


def counted_bytes() -> Any:
    """A source of bytes that is the same in every run."""
    count = 0

    def draw(length: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(count.to_bytes(8, "big")).digest(length)

    return draw


class Caller:
    """A merchant's program at the stand-in. Each answer is `status, body`; `last` is the whole of it."""

    def __init__(self, **config: Any) -> None:
        settings = {"webhook_url": HOOK_URL, **config}
        self.paypal = Paypal(PaypalStandinConfig(**settings), counted_bytes(), signer())
        self.now = START
        self.last = Answer(0, {}, b"")
        self._keys = 0
        self._token = ""
        self.renew_token()

    def renew_token(self) -> None:
        """A new access token."""
        basic = {"Authorization": "Basic c3RhbmRpbi1jbGllbnQ6c3RhbmRpbi1zZWNyZXQ="}
        answer = self.send("POST", "/v1/oauth2/token", basic, b"grant_type=client_credentials")
        self._token = json.loads(answer.body).get("access_token", "") if answer.status == 200 else ""

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """One request exactly as given."""
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        self.last = self.paypal.handle(method, parts.path, query, headers, body, self.now)
        return self.last

    def call(
        self, method: str, url: str, body: object = None, key: str | None = None, **headers: str
    ) -> tuple[int, Json]:
        """One API call with a valid token; a POST without a `key` gets a new one, `key=""` sends none."""
        sent = {"Authorization": f"Bearer {self._token}", "Prefer": "return=representation"}
        if method == "POST" and key is None:
            self._keys += 1
            key = f"key-{self._keys}"
        if key:
            sent["PayPal-Request-Id"] = key
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        content = b"" if body is None else json.dumps(body).encode()
        answer = self.send(method, url, sent, content)
        readable = answer.travel is Travel.WHOLE and answer.body.startswith((b"{", b"["))
        return answer.status, json.loads(answer.body) if readable else {}

    def post(self, url: str, body: object = None, key: str | None = None, **headers: str) -> tuple[int, Json]:
        """POST."""
        return self.call("POST", url, {} if body is None else body, key, **headers)

    def get(self, url: str) -> tuple[int, Json]:
        """GET."""
        return self.call("GET", url)

    def control(self, name: str, body: object = None) -> Json:
        """A control: POST with a body, GET without."""
        method = "GET" if body is None else "POST"
        status, view = self.call(method, f"/_standin/{name}", body, key="")
        assert status == 200, view
        return view

    def fault(self, operation: str, kind: str, **more: Any) -> None:
        """Sets a fault."""
        self.control("faults", {"operation": operation, "kind": kind, **more})

    def pass_time(self, seconds: float) -> None:
        """Moves the clock and lets happen what was due."""
        self.now += int(seconds * MICROSECONDS)
        self.paypal.advance(self.now)

    def link(self, account: str = "pays") -> str:
        """Links the wallet of an account; answers its payment token."""
        status, setup = self.post("/v3/vault/setup-tokens", setup_body())
        assert status == 201, setup
        self.control("approve", {"token": setup["id"], "account": account})
        status, token = self.post("/v3/vault/payment-tokens", exchange_body(setup["id"]))
        assert status == 201, token
        return str(token["id"])

    def order(self, value: str = "12.50", code: str = "EUR", intent: str = "CAPTURE", **unit: Any) -> str:
        """An order that moves nothing; answers its id."""
        status, order = self.post(ORDERS, order_body(value, code, intent, **unit))
        assert status == 201, order
        return str(order["id"])

    def capture_of(self, account: str = "pays", value: str = "12.50", code: str = "EUR", **unit: Any) -> str:
        """A paid order's capture id."""
        order_id = self.order(value, code, **unit)
        status, order = self.post(f"{ORDERS}/{order_id}/capture", wallet(self.link(account)))
        assert status == 201, order
        return str(order["purchase_units"][0]["payments"]["captures"][0]["id"])

    def hold_of(self, account: str = "pays", value: str = "100.00", code: str = "EUR", **unit: Any) -> str:
        """An authorized order's authorization id."""
        order_id = self.order(value, code, "AUTHORIZE", **unit)
        status, order = self.post(f"{ORDERS}/{order_id}/authorize", wallet(self.link(account)))
        assert status == 201, order
        return str(order["purchase_units"][0]["payments"]["authorizations"][0]["id"])

    def effects(self) -> list[tuple[str, int]]:
        """What happened to money so far: kind and minor units, in order."""
        return [(effect["kind"], effect["minor_units"]) for effect in self.control("books")["effects"]]

    def events(self) -> list[str]:
        """The types of the webhook events so far, in order."""
        return [event["event_type"] for event in self.control("webhooks")["events"]]


def money(value: str, code: str = "EUR") -> Json:
    """PayPal's money."""
    return {"currency_code": code, "value": value}


def order_body(value: str = "12.50", code: str = "EUR", intent: str = "CAPTURE", **unit: Any) -> Json:
    """An order of one unit."""
    return {"intent": intent, "purchase_units": [{"amount": money(value, code), **unit}]}


def wallet(token: str) -> Json:
    """A payment with a saved wallet."""
    return {"payment_source": {"paypal": {"vault_id": token}}}


def setup_body() -> Json:
    """A request for permission."""
    context = {"return_url": "https://shop.example/back?chat=1", "cancel_url": "https://shop.example/no"}
    return {"payment_source": {"paypal": {"usage_type": "MERCHANT", "experience_context": context}}}


def exchange_body(setup_token: str) -> Json:
    """The exchange of a setup token."""
    return {"payment_source": {"token": {"id": setup_token, "type": "SETUP_TOKEN"}}}


def issue_of(body: Json) -> str:
    """The issue of a refusal, or its name where it has none."""
    details = body.get("details")
    return str(details[0]["issue"]) if details else str(body.get("name"))
