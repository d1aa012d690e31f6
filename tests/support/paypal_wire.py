"""PayPal's side of the wire for unit tests: a connector over a function that answers its requests.

`Script` plays PayPal from a list of answers and keeps what it was asked; a test reads both.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx

from comptoir_server.app.ports import Instruction, OperationKind
from comptoir_server.providers.paypal import PaypalConfig, PaypalProvider
from comptoir_server.runtime import Runtime

BASE = "http://127.0.0.1:8700"
ORDER_ID = "5O190127TN364715T"
CAPTURE_ID = "3C679366HH908993F"
AUTHORIZATION_ID = "0VF52814937998046"
REFUND_ID = "1JU08902781691411"
TOKEN_ANSWER = {"access_token": "A21AAFs", "token_type": "Bearer", "expires_in": 32_400}

CONFIG = PaypalConfig(
    base_url=BASE, client_id="client", client_secret="not-for-anybody", webhook_id="4JH86294D6297924G"
)

Responder = Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]


class WireRuntime(Runtime):
    """The real runtime, whose HTTP clients speak to `transport` and whose clocks a test may set."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        super().__init__()
        self.transport = transport
        self.wall: int | None = None
        self.ahead = 0.0

    def now(self) -> int:
        return super().now() if self.wall is None else self.wall

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead

    def http_client(self, base_url: str, timeout_seconds: float, **options: Any) -> httpx.AsyncClient:
        return super().http_client(base_url, timeout_seconds, transport=self.transport, **options)


class Script(httpx.AsyncBaseTransport):
    """Answers each request by `responder`, and the access token by itself unless told otherwise."""

    def __init__(self, responder: Responder, *, answers_token: bool = True) -> None:
        self._responder = responder
        self._answers_token = answers_token
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        if self._answers_token and request.url.path == "/v1/oauth2/token":
            return streamed(200, TOKEN_ANSWER)
        answer = self._responder(request)
        return await answer if inspect.isawaitable(answer) else answer

    @property
    def calls(self) -> list[str]:
        """Method and path of every request but those for a token."""
        pairs = [f"{request.method} {request.url.path}" for request in self.requests]
        return [pair for pair in pairs if pair != "POST /v1/oauth2/token"]


class Stream(httpx.AsyncByteStream):
    """A body in one piece, followed by `failure` if there is one."""

    def __init__(self, body: bytes, failure: Exception | None = None) -> None:
        self._body = body
        self._failure = failure

    async def __aiter__(self) -> Any:
        yield self._body
        if self._failure is not None:
            raise self._failure


def streamed(
    status: int, body: Any = b"", headers: Mapping[str, str] | None = None, failure: Exception | None = None
) -> httpx.Response:
    """An answer whose body is read from a stream; `body` that is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.Response(status, headers=dict(headers or {}), stream=Stream(content, failure))


def connector(responder: Responder, *, answers_token: bool = True) -> tuple[PaypalProvider, Script, WireRuntime]:
    """A connector, the script it speaks to and its runtime."""
    script = Script(responder, answers_token=answers_token)
    runtime = WireRuntime(script)
    return PaypalProvider(CONFIG, runtime), script, runtime


def error(status: int, name: str, *issues: str) -> httpx.Response:
    """An error as PayPal writes it."""
    details = [{"issue": issue, "description": "Text that may change."} for issue in issues]
    body = {"name": name, "message": "Text.", "debug_id": "90957fca61718", "details": details}
    return streamed(status, body, {"paypal-debug-id": "90957fca61718"})


def instruction(kind: OperationKind, **changes: Any) -> Instruction:
    """An instruction of 12.50 EUR whose ids fit the answers of this module."""
    ours = {OperationKind.CAPTURE: "cap_1", OperationKind.REFUND: "ref_1"}.get(kind, "pay_1")
    target = {OperationKind.CAPTURE: AUTHORIZATION_ID, OperationKind.VOID: AUTHORIZATION_ID}.get(kind, CAPTURE_ID)
    values: dict[str, Any] = {
        "kind": kind,
        "key": "key_1",
        "object_id": ours,
        "payment_id": "pay_1",
        "amount": 1250,
        "currency_code": "EUR",
        "wallet_token": "8kk8451t",
        "order_reference": ORDER_ID,
        "target_reference": "" if kind in {OperationKind.CHARGE, OperationKind.AUTHORIZE} else target,
    }
    return Instruction(**(values | changes))


def money(value: str = "12.50", currency_code: str = "EUR") -> dict[str, str]:
    """PayPal's money object."""
    return {"currency_code": currency_code, "value": value}


def capture(status: str = "COMPLETED", **changes: Any) -> dict[str, Any]:
    """A capture of the charge pay_1."""
    made = {"id": CAPTURE_ID, "status": status, "amount": money(), "invoice_id": "pay_1", "custom_id": "pay_1"}
    return made | changes


def authorization(status: str = "CREATED", **changes: Any) -> dict[str, Any]:
    """The authorization of the payment pay_1, which expires at 2026-12-22T10:00:00Z."""
    expiry = "2026-12-22T10:00:00Z"
    made = {"id": AUTHORIZATION_ID, "status": status, "amount": money(), "expiration_time": expiry}
    return made | {"invoice_id": "pay_1", "custom_id": "pay_1"} | changes


def refund(status: str = "COMPLETED", **changes: Any) -> dict[str, Any]:
    """The refund ref_1."""
    made = {"id": REFUND_ID, "status": status, "amount": money(), "invoice_id": "ref_1", "custom_id": "ref_1"}
    return made | changes


def order(status: str = "COMPLETED", intent: str = "CAPTURE", **payments: list[dict[str, Any]]) -> dict[str, Any]:
    """The order of the payment pay_1 with its captures, authorizations and refunds."""
    unit: dict[str, Any] = {"amount": money(), "custom_id": "pay_1", "invoice_id": "pay_1"}
    if payments:
        unit["payments"] = payments
    return {"id": ORDER_ID, "status": status, "intent": intent, "purchase_units": [unit]}
