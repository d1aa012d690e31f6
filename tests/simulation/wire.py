"""The line to the provider: latency, loss, and every way in which an answer can be wrong."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import httpx

from comptoir_server.standins.paypal import received
from comptoir_server.standins.paypal.faults import Fault, FaultKind
from comptoir_server.standins.paypal.model import Paypal
from comptoir_server.standins.paypal.wire import Answer, Travel
from tests.simulation.machine import Clock

LATENCY_SECONDS = 0.15
"""The mean of one way."""

PATIENCE_SECONDS = 60.0

REFUSED = "refused"
"""No connection is made."""

PROVIDER_FAULTS = (REFUSED, *(kind.value for kind in FaultKind if kind is not FaultKind.DECLINE))

LIES = {FaultKind.WRONG_AMOUNT.value, FaultKind.WRONG_CURRENCY.value}
REFUNDS = "/v2/payments/refunds/"
"""What was given back at the provider's own pages is known by the word of its API alone: there it tells the truth."""

LATE_SECONDS = 120.0
"""The latest that a request arrives: well within the time after which absence is taken for proof."""

SLOW_SECONDS = 40.0
"""The latest that an answer comes; some come after the caller's patience has ended."""


class Watch(Protocol):
    """Who looks at what is asked of the provider, under which of our keys."""

    def arrives(self, key: str) -> None:
        """A request that moves money is at the provider, which has not looked at it yet."""

    def driven_twice(self, key: str) -> None:
        """Two tasks ask for the same at the same time, and neither of their processes is dead."""


def _key_of(request: httpx.Request) -> str:
    """Our key of a request that moves money, or releases it; "" for any other."""
    key, _, step = request.headers.get("paypal-request-id", "").partition(":")
    return key if step == "execute" else ""


class Line:
    """The provider as the servers reach it. `rates` gives how often each fault strikes a request."""

    def __init__(
        self,
        paypal: Paypal,
        clock: Clock,
        draw: random.Random,
        rates: Mapping[str, float],
        moved: Callable[[], None],
        watch: Watch,
    ) -> None:
        self.paypal = paypal
        self.struck: Counter[str] = Counter()
        self.rates: Mapping[str, float] = rates
        self._clock = clock
        self._draw = draw
        self._moved = moved
        self._watch = watch
        self._drivers: dict[str, list[Sender]] = {}
        self._context = contextvars.Context()

    def strike(self) -> str:
        """The fault that strikes the next request, "" for none."""
        chance = self._draw.random()
        for kind, rate in self.rates.items():
            chance -= rate
            if chance < 0:
                self.struck[f"provider.{kind}"] += 1
                return kind
        return ""

    @contextmanager
    def driven(self, request: httpx.Request, sender: Sender) -> Iterator[None]:
        """While a process waits for what it has asked to move, nobody else may ask for the same."""
        key = _key_of(request)
        drivers = self._drivers.setdefault(key, [])
        if key and any(other.alive for other in drivers):
            self._watch.driven_twice(key)
        drivers.append(sender)
        try:
            yield
        finally:
            drivers.remove(sender)

    async def ask(self, request: httpx.Request) -> Answer:
        """The provider's answer, or how it is lost. Once it is sent, the request travels on without its sender."""
        body = await request.aread()
        kind = self.strike()
        if kind in LIES and request.url.path.startswith(REFUNDS):
            kind = ""
        if kind == REFUSED:
            await asyncio.sleep(self._latency())
            raise httpx.ConnectError("Connection refused", request=request)
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Answer] = loop.create_future()
        travelling = loop.create_task(self._carry(request, body, kind, reply), context=self._context)
        reply.add_done_callback(lambda _reply: travelling)
        trace = request.extensions.get("trace")
        if trace is not None:
            await trace("http11.send_request_body.complete", {})
        patience = request.extensions.get("timeout", {}).get("read") or PATIENCE_SECONDS
        try:
            async with asyncio.timeout(patience):
                return await reply
        except TimeoutError:
            raise httpx.ReadTimeout("The read operation timed out", request=request) from None

    async def _carry(self, request: httpx.Request, body: bytes, kind: str, reply: asyncio.Future[Answer]) -> None:
        await asyncio.sleep(self._latency())
        key = _key_of(request)
        if key:
            self._watch.arrives(key)
        faults = self.paypal.state.faults.rules
        if kind:
            limit = LATE_SECONDS if kind == FaultKind.LATE_EFFECT else SLOW_SECONDS
            faults.append(Fault("*", FaultKind(kind), seconds=self._draw.uniform(1.0, limit)))
        try:
            url = request.url
            answer = self.paypal.handle(
                request.method, url.path, dict(url.params), dict(request.headers), body, self._clock.now()
            )
        finally:
            faults.clear()
        self._moved()
        if answer.travel is Travel.NEVER:
            return
        await asyncio.sleep(self._latency() + answer.delay_seconds)
        if not reply.done():
            reply.set_result(answer)

    def _latency(self) -> float:
        return self._draw.expovariate(1 / LATENCY_SECONDS)


class Sender(Protocol):
    """A process that asks the provider."""

    alive: bool
    name: str


class ProviderTransport(httpx.AsyncBaseTransport):
    """Puts the line under the HTTP client of one server process."""

    def __init__(self, line: Line, sender: Sender) -> None:
        self._line = line
        self._sender = sender

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert self._sender.alive, "a process that has died asks the provider"
        with self._line.driven(request, self._sender):
            answer = await self._line.ask(request)
        return received(request, answer)
