"""A PayPal connector and the stand-in it speaks to, with PayPal's own documents as the judge between them.

Every request of the connector, and every answer that no fault has spoiled, is held against PayPal's
OpenAPI documents on its way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from comptoir_server.app.ports import Instruction, LinkedWallet, Notice, OperationKind, OutcomeKind, Provider
from comptoir_server.providers.paypal import PaypalConfig, PaypalProvider, require_addresses
from comptoir_server.standins.paypal import Paypal, PaypalStandinConfig, create_app
from comptoir_server.standins.paypal.signing import Signer
from tests.support.paypal_judge import Judge, Violation, specs_folder
from tests.support.paypal_wire import WireRuntime

CHARGE, AUTHORIZE = OperationKind.CHARGE, OperationKind.AUTHORIZE
CAPTURE, VOID, REFUND = OperationKind.CAPTURE, OperationKind.VOID, OperationKind.REFUND

STANDIN = PaypalStandinConfig(webhook_url="https://comptoir.example/webhooks/paypal")
RETURN_URL = "https://comptoir.example/links/return"
CANCEL_URL = "https://comptoir.example/links/cancel"
NOW = 1_795_521_600_000_000
MINUTE = 60 * 1_000_000

EXECUTING = {
    CHARGE: "orders.capture",
    AUTHORIZE: "orders.authorize",
    CAPTURE: "authorizations.capture",
    VOID: "authorizations.void",
    REFUND: "captures.refund",
}
DONE = {
    CHARGE: OutcomeKind.CAPTURED,
    AUTHORIZE: OutcomeKind.AUTHORIZED,
    CAPTURE: OutcomeKind.CAPTURED,
    VOID: OutcomeKind.VOIDED,
    REFUND: OutcomeKind.REFUNDED,
}
EFFECT = {CHARGE: "capture", AUTHORIZE: "authorization", CAPTURE: "capture", VOID: "void", REFUND: "refund"}


class Witness(httpx.AsyncBaseTransport):
    """Has the judge look at everything that passes; remembers what he refused, for the connector may not tell."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self.judge = Judge(specs_folder() / "paypal")
        self.violations: list[str] = []
        self.spoiled = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url, asked = str(request.url), await request.aread()
        try:
            self.judge.request(request.method, url, request.headers, asked)
        except Violation as violation:
            self.violations.append(str(violation))
        answer = await self._inner.handle_async_request(request)
        body = await answer.aread()
        try:
            if not self.spoiled:
                self.judge.response(request.method, url, request.headers, answer.status_code, answer.headers, body)
        except Violation as violation:
            self.violations.append(str(violation))
        return httpx.Response(answer.status_code, headers=answer.headers, stream=httpx.ByteStream(body))


def _nothing_there(request: httpx.Request) -> httpx.Response:
    raise AssertionError("the stand-in asks nobody")


class World:
    """A connector, the stand-in it speaks to, and what a test does to the stand-in."""

    def __init__(self, signer: Signer, call_limit_seconds: float) -> None:
        self.clock = WireRuntime(httpx.MockTransport(_nothing_there))
        self.paypal = Paypal(STANDIN, self.clock.random_bytes, signer)
        inner = httpx.ASGITransport(create_app(STANDIN, self.clock, self.paypal))
        self.witness = Witness(inner)
        self.runtime = WireRuntime(self.witness)
        self.at(NOW)
        config = PaypalConfig(
            base_url=STANDIN.base_url,
            client_id=STANDIN.client_id,
            client_secret=STANDIN.client_secret,
            webhook_id=STANDIN.webhook_id,
            trust_roots_pem=signer.root_pem,
            call_limit_seconds=call_limit_seconds,
        )
        require_addresses(config, "test")
        self.provider: Provider = PaypalProvider(config, self.runtime)
        self._controls = httpx.AsyncClient(transport=inner, base_url=STANDIN.base_url)

    def at(self, time: int) -> None:
        """Sets both clocks."""
        self.now = self.clock.wall = self.runtime.wall = time

    async def control(self, method: str, name: str, **body: Any) -> Any:
        """One of the stand-in's controls."""
        answer = await self._controls.request(method, f"/_standin/{name}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def fault(self, operation: str, kind: str, **rule: Any) -> None:
        """The next call of `operation` fails so. Garbage is no longer the judge's business."""
        self.witness.spoiled = kind == "garbage"
        await self.control("POST", "faults", operation=operation, kind=kind, **rule)

    async def effects(self) -> list[tuple[str, int]]:
        """What moved at the stand-in, in order: kind and minor units."""
        books = await self.control("GET", "books")
        return [(effect["kind"], effect["minor_units"]) for effect in books["effects"]]

    async def sent(self, operation: str) -> list[str]:
        """The request ids with which `operation` was asked for."""
        requests = (await self.control("GET", "requests"))["requests"]
        return [request["request_id"] for request in requests if request["operation"] == operation]

    async def wallet(self, account: str = "pays") -> LinkedWallet:
        """A wallet that `account` linked."""
        start = await self.provider.begin_link(f"link_{account}", RETURN_URL, CANCEL_URL)
        await self.control("POST", "approve", token=start.reference, account=account)
        return await self.provider.complete_link(f"link_{account}", start.reference)

    async def prepared(self, kind: OperationKind, account: str = "pays", **changes: Any) -> Instruction:
        """An instruction of 12.50 EUR that can be executed; what it acts upon was made by the connector."""
        if kind in {CHARGE, AUTHORIZE}:
            wallet = await self.wallet(account)
            values: dict[str, Any] = {"currency_code": "EUR", "amount": 1250, "wallet_token": wallet.token}
            order = Instruction(kind, "key_1", "pay_1", "pay_1", **(values | changes))
            return replace(order, order_reference=await self.provider.prepare(order))
        first = await self.prepared(CHARGE if kind is REFUND else AUTHORIZE, account)
        made = await self.provider.execute(first)
        ours = {CAPTURE: "cap_1", REFUND: "ref_1"}.get(kind, "pay_1")
        following = replace(
            first, kind=kind, key="key_2", object_id=ours, wallet_token="", target_reference=made.reference
        )
        return replace(following, **changes)

    async def agree(self, url: str, account: str) -> None:
        """The payer opens PayPal's page, logs in as `account` and agrees."""
        page = await self._controls.get(url)
        assert page.status_code == 200, page.text
        form = {"token": page.url.params["token"], "account": account, "action": "agree"}
        assert form["token"] in page.text
        answer = await self._controls.post(str(page.url.copy_with(query=None)), data=form)
        assert answer.status_code == 303, answer.text

    async def delivered(self) -> list[Notice]:
        """Every webhook that is due, read by the connector."""
        self.paypal.advance(self.now)
        transmissions = self.paypal.state.webhooks.take_due(self.now)
        return [await self.provider.read_webhook(item.headers, item.body) for item in transmissions]


async def open_world(signer: Signer, call_limit_seconds: float = 20.0) -> AsyncIterator[World]:
    """A world; when the test is done, what its judge refused fails it. Skips where there are no documents."""
    if not (specs_folder() / "paypal").exists():
        pytest.skip("PayPal's documents are not here: set COMPTOIR_SPECS")
    made = World(signer, call_limit_seconds)
    yield made
    await made.provider.close()
    assert made.witness.violations == []
    assert made.witness.judge.judged > 0
