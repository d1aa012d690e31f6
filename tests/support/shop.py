"""A shop on running servers: one partner, and people with a wallet each, who all call over gRPC."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import grpc
import httpx

from comptoir import AsyncClient, AsyncServices, line_item, money, total_of
from comptoir._runtime import Runtime
from comptoir.v1 import (
    CaptureMode,
    Checkout,
    ConfirmCheckoutRequest,
    ConfirmCheckoutResponse,
    ConfirmWalletLinkRequest,
    CreateCheckoutRequest,
    CreateRefundRequest,
    CreateRefundResponse,
    OpenSessionRequest,
    Payment,
    RegisterUserRequest,
    StartWalletLinkRequest,
)
from tests.support.processes import CALL_SECONDS, LOOK_SECONDS, Server, Site

PATIENCE_SECONDS = 300.0
"""How long somebody repeats what was not answered, however often the server falls meanwhile."""

_NONCE = re.compile(r'name="nonce" value="([^"]+)"')
_CODE = re.compile(r"<output[^>]*>([^<]+)</output>")


@dataclass
class Person:
    """Somebody with a session at the bot and a linked wallet; `services` are the channel's on their behalf."""

    user_id: str
    session_id: str
    services: AsyncServices
    browser: httpx.AsyncClient
    wallet_id: str = ""

    async def confirm(
        self, checkout: Checkout, request_id: str, services: AsyncServices | None = None
    ) -> ConfirmCheckoutResponse:
        """The yes, repeated with the same request id until it is answered."""
        return await (services or self.services).checkouts.confirm_checkout(
            confirmation(checkout, request_id), timeout_seconds=PATIENCE_SECONDS
        )


def confirmation(checkout: Checkout, request_id: str) -> ConfirmCheckoutRequest:
    """The yes to the version that is shown, with the default wallet."""
    return ConfirmCheckoutRequest(request_id=request_id, checkout_id=checkout.checkout_id, version=checkout.version)


@dataclass
class Shop:
    """The partner's and the channel's side of one server."""

    site: Site
    channel: AsyncClient
    partner: AsyncClient
    browsers: AsyncExitStack
    name: str = ""
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def request_id(self, noun: str) -> str:
        """A request id that was not used before."""
        return f"{noun}-{self.name}{next(self.numbers)}"

    async def person(self, account: str = "pays") -> Person:
        """Registers somebody, opens their session and links their wallet."""
        name = self.request_id("person")
        registered = await self.channel.users.register_user(
            RegisterUserRequest(channel_user_id=name, display_name="Ada", market="US", locale="en-US")
        )
        services = self.channel.for_user(registered.user.user_id)
        opened = await services.sessions.open_session(OpenSessionRequest(bot_id=self.site.keys.partner["bot_id"]))
        browser = await self.browsers.enter_async_context(httpx.AsyncClient(timeout=CALL_SECONDS))
        person = Person(registered.user.user_id, opened.session.session_id, services, browser)
        person.wallet_id = await self.link(person, account)
        return person

    async def link(self, person: Person, account: str = "pays") -> str:
        """Links a wallet the way a browser does, pages loaded again where a server falls; answers the wallet's id."""
        started = await person.services.wallets.start_wallet_link(
            StartWalletLinkRequest(provider="paypal"), timeout_seconds=PATIENCE_SECONDS
        )
        url = started.wallet_link.link_url
        invitation = await load(person.browser, "GET", url)
        leaving = await load(person.browser, "POST", f"{url}/continue", nonce=_found(_NONCE, invitation))
        token = httpx.URL(leaving.headers["location"]).params["token"]
        approved = await self.site.standin.control("POST", "approve", token=token, account=account)
        returned = await load(person.browser, "GET", approved["return_url"])
        assert returned.status_code == httpx.codes.SEE_OTHER, returned.text
        page = await load(person.browser, "GET", url)
        request = ConfirmWalletLinkRequest(
            wallet_link_id=started.wallet_link.wallet_link_id, confirmation_code=_found(_CODE, page)
        )
        confirmed = await person.services.wallets.confirm_wallet_link(request, timeout_seconds=PATIENCE_SECONDS)
        return confirmed.wallet.wallet_id

    async def checkout(
        self,
        person: Person,
        minor_units: int = 24_000,
        capture_mode: CaptureMode.ValueType = CaptureMode.CAPTURE_MODE_AUTOMATIC,
    ) -> Checkout:
        """A new open checkout of one item."""
        items = [line_item("Flight", money(minor_units, "USD"), item_reference="CM417")]
        request = CreateCheckoutRequest(
            session_id=person.session_id, items=items, total=total_of(items), capture_mode=capture_mode
        )
        return (await self.partner.checkouts.create_checkout(request, timeout_seconds=PATIENCE_SECONDS)).checkout

    async def pay(self, person: Person, minor_units: int = 24_000) -> Payment:
        """A checkout, paid."""
        checkout = await self.checkout(person, minor_units)
        answer = await person.confirm(checkout, self.request_id("confirm"))
        return answer.payment

    async def refund(self, payment_id: str, minor_units: int | None, request_id: str) -> CreateRefundResponse:
        """Gives a part back, or the rest, repeated with the same request id until it is answered."""
        amount = None if minor_units is None else money(minor_units, "USD")
        request = CreateRefundRequest(request_id=request_id, payment_id=payment_id, amount=amount, reason="Seat 12B")
        return await self.partner.payments.create_refund(request, timeout_seconds=PATIENCE_SECONDS)


async def load(browser: httpx.AsyncClient, method: str, url: str, **form: str) -> httpx.Response:
    """A page; loaded again while nobody answers."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                answer = await browser.request(method, url, data=form or None)
            except httpx.TransportError:
                await asyncio.sleep(LOOK_SECONDS)
                continue
            if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                return answer
            await asyncio.sleep(LOOK_SECONDS)


def _found(pattern: re.Pattern[str], page: httpx.Response) -> str:
    match = pattern.search(page.text)
    assert match is not None, page.text
    return match[1]


async def until(fact: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Returns when `fact` holds; fails when it takes too long."""
    try:
        async with asyncio.timeout(seconds):
            while not fact():
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise AssertionError(f"after {seconds:.0f} s it does not hold that {what}") from None


RECONNECTING = [(f"grpc.{name}_reconnect_backoff_ms", 200) for name in ("initial", "min", "max")]
"""A channel looks for a server that fell five times a second, where people's channels are more patient."""

RETRY_SECONDS = 0.2


def _soon(low: float, high: float) -> float:
    """The pause before something is sent again: short, for servers here are back within a second."""
    return random.uniform(low, min(high, RETRY_SECONDS))


def _client(target: str, key: str, channel: grpc.aio.Channel, runtime: Runtime) -> AsyncClient:
    return AsyncClient(target, key, timeout_seconds=PATIENCE_SECONDS, channel=channel, runtime=runtime)


@asynccontextmanager
async def open_shop(site: Site, server: Server | None = None) -> AsyncIterator[Shop]:
    """The shop as it is seen through one server, the site's first if none is given."""
    target = (server or site.server).target
    runtime = Runtime(uniform=_soon)
    async with grpc.aio.insecure_channel(target, RECONNECTING) as channel, AsyncExitStack() as browsers:
        yield Shop(
            site,
            _client(target, site.keys.channel["key"], channel, runtime),
            _client(target, site.keys.partner["key"], channel, runtime),
            browsers,
            f"{server.child.name}-" if server else "",
        )
