"""The stand-in behind a socket: a thin shell of HTTP around the model, and the courier of its webhooks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from comptoir_server.runtime import Runtime
from comptoir_server.standins.paypal.config import PaypalStandinConfig
from comptoir_server.standins.paypal.model import Paypal
from comptoir_server.standins.paypal.signing import make_signer
from comptoir_server.standins.paypal.webhooks import Transmission
from comptoir_server.standins.paypal.wire import MICROSECONDS, Answer, Travel

CA_FILE = "ca.pem"
DELIVERY_SECONDS = 10.0
DELIVERIES_AT_ONCE = 16
IDLE_SECONDS = 3_600.0


class Courier:
    """Lets happen what happens by itself, and delivers webhooks when they are due."""

    def __init__(self, paypal: Paypal, runtime: Runtime) -> None:
        self._paypal = paypal
        self._runtime = runtime
        self._woken = asyncio.Event()
        self._places = asyncio.Semaphore(DELIVERIES_AT_ONCE)

    def wake(self) -> None:
        """Looks again: something may be due now."""
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with self._runtime.http_client("", DELIVERY_SECONDS) as client:
            while True:
                now = self._runtime.now()
                self._paypal.advance(now)
                for transmission in self._paypal.state.webhooks.take_due(now):
                    self._runtime.spawn(self._deliver(client, transmission), "standin webhook")
                next_time = self._paypal.next_time()
                wait = IDLE_SECONDS if next_time is None else (next_time - self._runtime.now()) / MICROSECONDS
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), max(wait, 0.0))
                self._woken.clear()

    async def _deliver(self, client: httpx.AsyncClient, transmission: Transmission) -> None:
        async with self._places:
            try:
                answer = await client.post(
                    transmission.url, content=transmission.body, headers=dict(transmission.headers)
                )
                status = answer.status_code
            except (httpx.HTTPError, httpx.InvalidURL, RuntimeError):  # RuntimeError: the client closed, we stop
                status = 0
        self._paypal.state.webhooks.report(transmission, status, self._runtime.now())
        self.wake()


class _Endpoint:
    """The ASGI application: reads a request, asks the model, sends the answer in the way it travels."""

    def __init__(self, paypal: Paypal, courier: Courier, runtime: Runtime) -> None:
        self._paypal = paypal
        self._courier = courier
        self._runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        answer = self._paypal.handle(
            request.method, scope["path"], query, dict(request.headers), body, self._runtime.now()
        )
        self._courier.wake()
        if answer.delay_seconds > 0:
            await self._runtime.sleep(answer.delay_seconds)
        await self._send(answer, scope, receive, send)

    async def _send(self, answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
        if answer.travel is Travel.NEVER:
            await _until_gone(receive)
            return
        if answer.travel is Travel.CLOSED:
            await _close(scope, receive)
            return
        headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
        if answer.status != 204:
            headers.append((b"content-length", str(len(answer.body)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        if answer.travel is Travel.HALF:
            half = answer.body[: len(answer.body) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
            await _close(scope, receive)
            return
        await send({"type": "http.response.body", "body": answer.body})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _close(scope: Scope, receive: Receive) -> None:
    """Closes the connection under the answer. Raises ConnectionAbortedError where no socket is to be closed."""
    close = scope.get("state", {}).get("close_connection")
    if close is None:
        raise ConnectionAbortedError("the stand-in was told to lose this answer")
    close()
    await _until_gone(receive)


class _Protocol(H11Protocol):
    """Hands each request the means to close its connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "close_connection": transport.close}


def create_app(config: PaypalStandinConfig, runtime: Runtime, paypal: Paypal | None = None) -> Starlette:
    """The stand-in as an ASGI application. Its lifespan delivers webhooks; `paypal` is a model made elsewhere."""
    model = paypal or Paypal(config, runtime.random_bytes, make_signer(runtime.now()))
    courier = Courier(model, runtime)
    if config.state_dir is not None:
        config.state_dir.mkdir(parents=True, exist_ok=True)
        (config.state_dir / CA_FILE).write_bytes(model.state.webhooks.signer.root_pem)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        task = runtime.spawn(courier.run(), "standin courier")
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    return Starlette(routes=[Mount("/", app=_Endpoint(model, courier, runtime))], lifespan=lifespan)


async def serve(config: PaypalStandinConfig, runtime: Runtime) -> None:
    """Listens until cancelled or signalled. A port that is taken ends the process, with the reason on stderr."""
    settings: dict[str, Any] = {
        "host": config.host,
        "port": config.port,
        "http": _Protocol,
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "log_level": "warning",
        "server_header": False,
        "timeout_graceful_shutdown": 1,
    }
    server = uvicorn.Server(uvicorn.Config(create_app(config, runtime), **settings))
    listening = runtime.spawn(server.serve(), "standin paypal")
    try:
        await asyncio.shield(listening)
    except asyncio.CancelledError:
        server.should_exit = True
        await listening
        raise
