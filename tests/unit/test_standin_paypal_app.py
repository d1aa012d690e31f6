"""The PayPal stand-in behind a socket: how answers travel, webhooks on their way, starting and stopping."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from comptoir_server.runtime import Runtime
from comptoir_server.standins.paypal import Paypal, PaypalStandinConfig, create_app, serve
from tests.support.paypal_standin import ORDERS, counted_bytes, exchange_body, order_body, setup_body, signer, wallet

HOOK_URL = "http://hooks.test/paypal"


class HookRuntime(Runtime):
    """The real runtime, whose own HTTP clients reach `hook` and nothing else."""

    def __init__(self, hook: Starlette) -> None:
        super().__init__()
        self.hook = hook

    def http_client(self, base_url: str, timeout_seconds: float, **options: Any) -> httpx.AsyncClient:
        return super().http_client(
            base_url, timeout_seconds, transport=httpx.ASGITransport(self.hook, raise_app_exceptions=False), **options
        )


class Shop:
    """A merchant's webhook: keeps what it gets, and answers as told."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        self.arrived = asyncio.Event()
        self.app = Starlette(routes=[Route("/paypal", self._receive, methods=["POST"])])

    async def _receive(self, request: Request) -> Response:
        self.events.append(json.loads(await request.body()))
        self.arrived.set()
        return Response(status_code=self.statuses.pop(0) if self.statuses else 200)

    async def wait_for(self, count: int) -> list[str]:
        """The types of the first `count` events, once they are there."""
        while len(self.events) < count:
            self.arrived.clear()
            await asyncio.wait_for(self.arrived.wait(), 20)
        return [event["event_type"] for event in self.events]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def standing(config: PaypalStandinConfig, shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    """A stand-in at its port, and a client with an access token."""
    task = asyncio.create_task(serve(config, HookRuntime(shop.app)))
    async with httpx.AsyncClient(base_url=config.base_url, timeout=1) as client:
        try:
            await log_in(client, config)
            yield client
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def log_in(client: httpx.AsyncClient, config: PaypalStandinConfig) -> None:
    """Waits until the stand-in listens, and gets an access token."""
    for _ in range(200):
        try:
            answer = await client.post(
                "/v1/oauth2/token",
                data={"grant_type": "client_credentials"},
                auth=(config.client_id, config.client_secret),
            )
        except httpx.ConnectError:
            await asyncio.sleep(0.05)
            continue
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return
    raise AssertionError("the stand-in does not listen")


async def link(client: httpx.AsyncClient, account: str = "pays") -> str:
    setup = await client.post("/v3/vault/setup-tokens", json=setup_body(), headers={"PayPal-Request-Id": "s"})
    page = await client.get(setup.json()["links"][0]["href"])
    assert "Comptoir Test Store" in page.text
    choice = {"token": setup.json()["id"], "account": account, "action": "agree"}
    assert (await client.post("/checkoutnow", data=choice)).status_code == 303
    body = exchange_body(setup.json()["id"])
    token = await client.post("/v3/vault/payment-tokens", json=body, headers={"PayPal-Request-Id": "t"})
    return str(token.json()["id"])


async def effects(client: httpx.AsyncClient) -> list[str]:
    return [effect["kind"] for effect in (await client.get("/_standin/books")).json()["effects"]]


async def test_a_payment_over_a_socket_survives_every_way_an_answer_can_be_lost(tmp_path: Path) -> None:
    shop = Shop()
    config = PaypalStandinConfig(port=free_port(), webhook_url=HOOK_URL, state_dir=tmp_path / "standin")
    async with standing(config, shop) as client:
        token = await link(client)
        order = await client.post(ORDERS, json=order_body())
        url = f"{ORDERS}/{order.json()['id']}/capture"
        expected: list[tuple[str, type[httpx.HTTPError], list[str]]] = [
            ("lost_request", httpx.RemoteProtocolError, []),
            ("hung", httpx.ReadTimeout, ["capture"]),
            ("lost_answer", httpx.RemoteProtocolError, ["capture"]),
            ("half_body", httpx.RemoteProtocolError, ["capture"]),
        ]
        for kind, failure, moved in expected:
            await client.post("/_standin/faults", json={"operation": "orders.capture", "kind": kind})
            with pytest.raises(failure):
                await client.post(url, json=wallet(token), headers={"PayPal-Request-Id": "k"})
            assert await effects(client) == moved
        final = await client.post(url, json=wallet(token), headers={"PayPal-Request-Id": "k"})

        assert (final.status_code, final.json()["status"]) == (200, "COMPLETED")
        assert await effects(client) == ["capture"]
        assert sorted(await shop.wait_for(3)) == [
            "CHECKOUT.ORDER.COMPLETED",
            "PAYMENT.CAPTURE.COMPLETED",
            "VAULT.PAYMENT-TOKEN.CREATED",
        ]
        authority = (await client.get("/_standin/ca.pem")).content
        assert (tmp_path / "standin" / "ca.pem").read_bytes() == authority


async def test_pending_money_settles_by_itself_and_a_refused_webhook_comes_again() -> None:
    shop = Shop()
    shop.statuses = [503]
    config = PaypalStandinConfig(port=free_port(), webhook_url=HOOK_URL, settle_seconds=0.1)
    async with standing(config, shop) as client:
        token = await link(client, "echeck")
        body = order_body() | wallet(token)
        await client.post(ORDERS, json=body, headers={"PayPal-Request-Id": "k"})
        seen = await shop.wait_for(5)

        assert seen.count("VAULT.PAYMENT-TOKEN.CREATED") == 2
        assert {"PAYMENT.CAPTURE.PENDING", "CHECKOUT.ORDER.COMPLETED", "PAYMENT.CAPTURE.COMPLETED"} < set(seen)
        assert shop.events[0]["id"] == next(
            event["id"] for event in reversed(shop.events) if event["event_type"] == "VAULT.PAYMENT-TOKEN.CREATED"
        )


async def test_the_port_is_free_again_when_the_stand_in_was_stopped() -> None:
    config = PaypalStandinConfig(port=free_port())
    for _ in range(2):
        async with standing(config, Shop()) as client:
            assert (await client.get("/_standin/accounts")).status_code == 200


async def test_where_there_is_no_socket_a_lost_answer_is_an_error_of_the_application() -> None:
    runtime = HookRuntime(Shop().app)
    config = PaypalStandinConfig()
    paypal = Paypal(config, counted_bytes(), signer())
    app = create_app(config, runtime, paypal)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=config.base_url) as client:
        await client.post("/_standin/faults", json={"operation": "*", "kind": "lost_answer"})
        with pytest.raises(ConnectionAbortedError):
            await client.post("/v1/oauth2/token")
