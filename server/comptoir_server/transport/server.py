"""Binds the boundary to gRPC: one generic handler, health, and the limits of connections."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from comptoir_server.transport.arrivals import open_server
from comptoir_server.transport.boundary import REQUEST_BYTES_MAX, Boundary
from comptoir_server.transport.failures import Failed
from comptoir_server.transport.policy import Method

STATUS_DETAILS = "grpc-status-details-bin"

_CODES = {code.value[0]: code for code in grpc.StatusCode}

_TOO_MUCH = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]

_METADATA_BYTES_MAX = 8 * 1024
MESSAGE_BYTES_MAX = 4 * REQUEST_BYTES_MAX
"""Where gRPC itself refuses a request. Up to here the boundary does, and says which field is at fault and why."""

_CALLS_MAX = 50_000
"""Where gRPC itself refuses calls; the boundary's own limits, which say more to the caller, lie below."""

HOLD_SECONDS = 0.5
"""How long a refusal for too much is held back: whoever asks again at once, and again, is not to live on refusals."""

AWAITED_MAX = 2_000
AWAITED_SECONDS = 2.0
"""Beyond so many calls that are open without their request, one may wait for it so long."""

OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_metadata_size", _METADATA_BYTES_MAX),
    ("grpc.absolute_max_metadata_size", _METADATA_BYTES_MAX),
    ("grpc.max_concurrent_streams", 1_000),
    ("grpc.server.max_pending_requests", _CALLS_MAX),
    ("grpc.server.max_pending_requests_hard_limit", 2 * _CALLS_MAX),
    ("grpc.http2.settings_timeout", 5_000),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 2),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_connection_idle_ms", 5 * 60_000),
    ("grpc.max_connection_age_ms", 30 * 60_000),
    ("grpc.max_connection_age_grace_ms", 30_000),
)
"""What one connection may do. The absolute limit of metadata is the soft one: between the two gRPC lets some pass.

Where more calls are pending than the limit, gRPC cancels any of them at random, whoever's they are: a thousand, as is
usual, are there at once when somebody opens calls and resets them. Until a client has acknowledged our settings gRPC
holds it to none of them, so it must do so soon.
"""


class ListenError(Exception):
    """The server cannot, or must not, listen there. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Tls:
    """A certificate chain and its private key, both PEM."""

    certificate: bytes
    key: bytes


class Server:
    """A gRPC server in front of a boundary."""

    def __init__(self, boundary: Boundary, *, reflect: bool = False, reuse_port: bool = False) -> None:
        """`reflect` lets anybody read the contract from the server, `reuse_port` several processes share one port."""
        self._boundary = boundary
        options = [*OPTIONS, ("grpc.so_reuseport", 1)] if reuse_port else OPTIONS
        self._server = open_server(options, _CALLS_MAX)
        self._server.add_generic_rpc_handlers((_Door(boundary),))
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._services = sorted({method.path.split("/")[1] for method in boundary.methods})
        if reflect:
            names = (*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)

    async def start(self, address: str, tls: Tls | None = None, *, plaintext_anywhere: bool = False) -> int:
        """Listens at `address`, such as `127.0.0.1:8443`, port 0 for any, and answers the port. Raises ListenError.

        Without TLS only this machine can be listened to, unless `plaintext_anywhere` says that something in front of
        the server does the encrypting.
        """
        if tls is None and not plaintext_anywhere and not is_loopback(address):
            raise ListenError(
                f"{address} can be reached from other machines, and keys would cross the network in the clear: give a "
                "certificate and its key, or say explicitly that a proxy in front of the server encrypts."
            )
        try:
            if tls is None:
                port = self._server.add_insecure_port(address)
            else:
                credentials = grpc.ssl_server_credentials([(tls.key, tls.certificate)])
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError:
            raise ListenError(f"Cannot listen at {address}: it is taken, or not this machine's.") from None
        await self._server.start()
        for service in self._services:
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return int(port)

    async def stop(self, seconds: float) -> None:
        """Refuses new calls, gives those that run `seconds` to end, then closes every connection."""
        await self._health.enter_graceful_shutdown()
        await self._boundary.drain(seconds)
        await self._server.stop(1.0)


def is_loopback(address: str) -> bool:
    """True where only this machine can reach `address`."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Door(grpc.GenericRpcHandler):
    """Leads every method of the contract to the boundary, as bytes."""

    def __init__(self, boundary: Boundary) -> None:
        self._awaited = Awaited(boundary.runtime.monotonic)
        self._handlers = {method.path: _handler(boundary, method, self._awaited) for method in boundary.methods}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Called in the task of the call, as soon as its headers are there."""
        self._awaited.begin()
        return self._handlers.get(handler_call_details.method)


class Awaited:
    """Calls whose request has not come yet. An honest one comes with its headers; some are opened to hold a place.

    Where there are too many, those are ended that have waited too long for what should have been there.
    """

    def __init__(self, monotonic: Callable[[], float], most: int = AWAITED_MAX) -> None:
        self._monotonic = monotonic
        self._most = most
        self._since: dict[asyncio.Task[Any], float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def begin(self) -> None:
        """The headers of the call of this task are there."""
        now, task = self._monotonic(), _call()
        self._since[task] = now
        task.add_done_callback(self._forget)
        while len(self._since) > self._most:
            oldest, since = next(iter(self._since.items()))
            if now - since < AWAITED_SECONDS:
                break
            del self._since[oldest]
            oldest.cancel()

    def end(self) -> None:
        """The request is there."""
        task = _call()
        self._since.pop(task, None)
        task.remove_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._since.pop(task, None)


def _call() -> asyncio.Task[Any]:
    """The task in which gRPC runs a call, from its headers to its end."""
    task = asyncio.current_task()
    assert task is not None
    return task


def _handler(boundary: Boundary, method: Method, awaited: Awaited) -> Any:
    if not method.gives_stream:
        return grpc.unary_unary_rpc_method_handler(_unary(boundary, method.path, awaited))
    if method.takes_stream:
        return grpc.stream_stream_rpc_method_handler(_stream(boundary, method.path, awaited))
    return grpc.unary_stream_rpc_method_handler(_stream(boundary, method.path, awaited))


def _unary(boundary: Boundary, path: str, awaited: Awaited) -> Callable[[bytes, Any], Any]:
    async def answer(raw: bytes, context: Any) -> bytes:
        awaited.end()
        try:
            return await boundary.unary(path, context.invocation_metadata(), raw, context.time_remaining())
        except Failed as failed:
            if failed.code == _TOO_MUCH:
                await boundary.runtime.sleep(HOLD_SECONDS)
            _fail(context, failed)
            return b""

    return answer


def _stream(boundary: Boundary, path: str, awaited: Awaited) -> Callable[[Any, Any], AsyncIterator[bytes]]:
    async def answer(raw: Any, context: Any) -> AsyncIterator[bytes]:
        awaited.end()
        try:
            answers = boundary.stream(path, context.invocation_metadata(), raw, context.time_remaining())
            async with aclosing(answers):
                async for each in answers:
                    yield each
        except Failed as failed:
            if failed.code == _TOO_MUCH:
                await boundary.runtime.sleep(HOLD_SECONDS)
            _fail(context, failed)

    return answer


def _fail(context: Any, failed: Failed) -> None:
    """Sets the status instead of aborting: an abort costs an exception through gRPC's own machinery."""
    context.set_code(_CODES[failed.code])
    context.set_details(failed.message)
    if failed.status:
        context.set_trailing_metadata(((STATUS_DETAILS, failed.status),))
