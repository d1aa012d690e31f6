"""The small world of `world.py`, paying at the PayPal stand-in in place of a double, without process or socket."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx

from comptoir_server.domain.wallets import Wallet
from comptoir_server.providers.paypal import PaypalConfig, PaypalProvider
from comptoir_server.runtime import Runtime
from comptoir_server.standins.paypal import Paypal, PaypalStandinConfig, PaypalTransport, make_signer
from comptoir_server.standins.paypal.signing import Signer
from comptoir_server.store.tables import WALLETS
from comptoir_server.store.tx import Tx
from tests.support.world import MovableRuntime, World, open_world

CALL_LIMIT_SECONDS = 5.0
CONFIG = PaypalStandinConfig(webhook_url="https://comptoir.example/webhooks/paypal")


@functools.cache
def _signer() -> Signer:
    return make_signer(Runtime().now())


class _Line(Runtime):
    """A runtime whose clients speak to the stand-in, and whose clock is the world's."""

    def __init__(self, clock: MovableRuntime, paypal: Paypal) -> None:
        super().__init__()
        self._clock = clock
        self._transport = PaypalTransport(paypal, clock)

    def now(self) -> int:
        return self._clock.now()

    def http_client(self, base_url: str, timeout_seconds: float, **options: Any) -> httpx.AsyncClient:
        return super().http_client(base_url, timeout_seconds, transport=self._transport, **options)


@dataclass
class Standin:
    """The stand-in's model and what a test does to it."""

    paypal: Paypal
    clock: MovableRuntime
    line: Runtime

    def control(self, method: str, name: str, **body: Any) -> Any:
        """One of its controls."""
        content = httpx.Request(method, "http://standin", json=body).content if body else b""
        answer = self.paypal.handle(method, f"/_standin/{name}", {}, {}, content, self.clock.now())
        found = httpx.Response(answer.status, content=answer.body).json()
        assert answer.status == httpx.codes.OK, found
        return found

    def captures(self, *payment_ids: str) -> list[int]:
        """What was taken for these payments, capture by capture."""
        books = self.control("GET", "books")
        return [one["minor_units"] for one in books["captures"] if one["custom_id"] in payment_ids]

    def refunded(self, *payment_ids: str) -> int:
        """What was given back of these payments."""
        captures = self.control("GET", "books")["captures"]
        return sum(one["given_back"] for one in captures if one["custom_id"] in payment_ids)


def connect_standin(clock: MovableRuntime) -> tuple[Standin, PaypalProvider]:
    """A new stand-in, and a connector that speaks to it; close the connector, then drain the stand-in's line."""
    paypal = Paypal(CONFIG, clock.random_bytes, _signer())
    line = _Line(clock, paypal)
    config = PaypalConfig(
        base_url=CONFIG.base_url,
        client_id=CONFIG.client_id,
        client_secret=CONFIG.client_secret,
        webhook_id=CONFIG.webhook_id,
        trust_roots_pem=_signer().root_pem,
        call_limit_seconds=CALL_LIMIT_SECONDS,
    )
    return Standin(paypal, clock, line), PaypalProvider(config, line)


@asynccontextmanager
async def open_standin_world(database_url: str) -> AsyncIterator[tuple[World, Standin]]:
    """A new world on a new database, whose person has a wallet that pays at the stand-in."""
    async with open_world(database_url) as world:
        standin, connector = connect_standin(world.runtime)
        world.deps = replace(world.deps, providers={"paypal": connector})
        link = await connector.begin_link("link", "https://comptoir.example/back", "https://comptoir.example/no")
        standin.control("POST", "approve", token=link.reference, account="pays")
        token = (await connector.complete_link("link", link.reference)).token
        await _give_token(world, token)
        try:
            yield world, standin
        finally:
            await world.runtime.drain(CALL_LIMIT_SECONDS)
            await connector.close()
            await standin.line.drain(CALL_LIMIT_SECONDS)


async def _give_token(world: World, token: str) -> None:
    vault = world.deps.vault

    async def work(tx: Tx) -> None:
        wallet: Wallet | None = await tx.load(WALLETS.lock(world.wallet_id))
        assert wallet is not None
        sealed, digest = vault.seal_token(wallet.id, token), vault.hash("provider token", token)
        tx.put(replace(wallet, token_sealed=sealed, token_hash=digest))

    await world.deps.store.write(work)
