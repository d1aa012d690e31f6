"""Unary calls that survive the network: the same request with the same `request_id`, until it is answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Self, TypeVar

import grpc
from google.protobuf.message import Message

from comptoir._connection import Metadata
from comptoir._failure import error_from
from comptoir._method import DEFAULT_SECONDS, Method, method_at
from comptoir._retry import Attempts
from comptoir._runtime import Runtime

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Channel = TypeVar("Channel", grpc.Channel, grpc.aio.Channel)


@dataclass(frozen=True)
class _Caller(Generic[Channel]):
    """One caller on one channel: its credential, its time and where its request ids come from."""

    channel: Channel
    metadata: Metadata
    timeout_seconds: float = DEFAULT_SECONDS
    runtime: Runtime = field(default_factory=Runtime)
    request_ids: Callable[[str], str] | None = None
    """Draws the id of a request that has none, from the method's name; a random one where this is None."""

    def acting_with(self, **changes: Any) -> Self:
        """The same connection with another credential, or other request ids."""
        return replace(self, **changes)

    def identified(self, method: Method, request: Request) -> tuple[Request, str]:
        """The request with its `request_id` filled in, and that id; a copy, so that the caller may use it again."""
        if not method.has_request_id:
            return request, ""
        if given := getattr(request, "request_id", ""):
            return request, given
        request_id = self.request_ids(method.name) if self.request_ids else self.runtime.new_request_id()
        filled = type(request)()
        filled.CopyFrom(request)
        setattr(filled, "request_id", request_id)  # noqa: B010 - not every request has the field
        return filled, request_id

    def attempts(self, method: Method, timeout_seconds: float | None) -> Attempts:
        """The attempts of one call, in the time given for it, else that of a method that waits, else the client's."""
        if timeout_seconds is None:
            timeout_seconds = method.attempt_seconds if method.waits_seconds else self.timeout_seconds
        return Attempts(method, timeout_seconds, self.runtime)


class Calls(_Caller[grpc.Channel]):
    """Calls that wait for their answer."""

    def unary(
        self, path: str, request: Message, response: type[Response], timeout_seconds: float | None = None
    ) -> Response:
        """Sends a request until it is answered; raises ComptoirError where it is refused or the time runs out."""
        method = method_at(path)
        request, request_id = self.identified(method, request)
        attempts = self.attempts(method, timeout_seconds)
        send = self.channel.unary_unary(path, method.request.SerializeToString, response.FromString)
        while True:
            try:
                return send(request, timeout=attempts.timeout_seconds(), metadata=self.metadata)
            except grpc.RpcError as failure:
                error = error_from(failure, request_id)
                delay = attempts.delay_after(error)
                if delay is None:
                    raise error from failure
            self.runtime.sleep(delay)


class AsyncCalls(_Caller[grpc.aio.Channel]):
    """Calls whose answer is awaited."""

    async def unary(
        self, path: str, request: Message, response: type[Response], timeout_seconds: float | None = None
    ) -> Response:
        """Sends a request until it is answered; raises ComptoirError where it is refused or the time runs out."""
        method = method_at(path)
        request, request_id = self.identified(method, request)
        attempts = self.attempts(method, timeout_seconds)
        send = self.channel.unary_unary(path, method.request.SerializeToString, response.FromString)
        while True:
            try:
                return await send(request, timeout=attempts.timeout_seconds(), metadata=self.metadata)
            except grpc.RpcError as failure:
                error = error_from(failure, request_id)
                delay = attempts.delay_after(error)
                if delay is None:
                    raise error from failure
            await self.runtime.sleep_async(delay)
