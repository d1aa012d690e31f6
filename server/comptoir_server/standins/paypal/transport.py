"""The stand-in without a socket: an httpx transport, for tests and for simulators with a time of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx

from comptoir_server.runtime import Runtime
from comptoir_server.standins.paypal.model import Paypal
from comptoir_server.standins.paypal.wire import Answer, Travel

_FOR_EVER_SECONDS = 10.0 * 365 * 86_400


class PaypalTransport(httpx.AsyncBaseTransport):
    """Gives each request to the model, and its answer back in the way it travels.

    What goes wrong looks to the caller as it does over a socket: ReadTimeout, RemoteProtocolError.
    """

    def __init__(self, paypal: Paypal, runtime: Runtime) -> None:
        self._paypal = paypal
        self._runtime = runtime

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request and its answer."""
        body = await request.aread()
        answer = self._paypal.handle(
            request.method,
            request.url.path,
            dict(request.url.params),
            dict(request.headers),
            body,
            self._runtime.now(),
        )
        await self._wait(request, answer)
        return received(request, answer)

    async def _wait(self, request: httpx.Request, answer: Answer) -> None:
        """Lets the answer's delay pass, or the caller's patience end."""
        patience = request.extensions.get("timeout", {}).get("read")
        delay = _FOR_EVER_SECONDS if answer.travel is Travel.NEVER else answer.delay_seconds
        if patience is not None and delay > patience:
            await self._runtime.sleep(patience)
            raise httpx.ReadTimeout("The read operation timed out", request=request)
        if delay > 0:
            await self._runtime.sleep(delay)


def received(request: httpx.Request, answer: Answer) -> httpx.Response:
    """What reaches the caller of an answer that has travelled. Raises RemoteProtocolError where nothing does."""
    if answer.travel is Travel.CLOSED:
        raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)
    stream = _Broken(answer.body) if answer.travel is Travel.HALF else httpx.ByteStream(answer.body)
    return httpx.Response(answer.status, headers=dict(answer.headers), stream=stream, request=request)


class _Broken(httpx.AsyncByteStream):
    """Half a body, and then the end of the connection."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body[: len(self._body) // 2]
        raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")
