"""Comptoir's side of the wire for the client's tests: refusals by script, and a server that keeps a log of events.

`ScriptedServer` keeps what the contract promises a bot (a cursor for each consumer, one message a request id) and
lets a test break streams and refuse calls.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.message import Message as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from comptoir._method import method_at
from comptoir.v1 import (
    AckEventsRequest,
    AckEventsResponse,
    Checkout,
    CreateCheckoutRequest,
    CreateCheckoutResponse,
    Event,
    ListEventsRequest,
    ListEventsResponse,
    Message,
    SendMessageRequest,
    SendMessageResponse,
    StreamEventsRequest,
    StreamEventsResponse,
    StreamMessagesRequest,
    StreamMessagesResponse,
)

Trailing = tuple[tuple[str, bytes], ...]


def refusal_details(
    reason: str,
    *,
    domain: str = "comptoir.dev",
    metadata: dict[str, str] | None = None,
    retry_after_seconds: float | None = None,
    violations: tuple[tuple[str, str], ...] = (),
) -> Trailing:
    """The trailing metadata of a refusal, as the server writes it."""
    status = status_pb2.Status()
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata or {}))
    if retry_after_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(retry_after_seconds * 1_000_000_000))
        status.details.add().Pack(retry)
    if violations:
        bad_request = error_details_pb2.BadRequest()
        for field, description in violations:
            bad_request.field_violations.add(field=field, description=description)
        status.details.add().Pack(bad_request)
    return (("grpc-status-details-bin", status.SerializeToString()),)


def event(number: int, session: str = "ses_a", kind: str = "message.received", payload: str = "") -> Event:
    """The event of a log at a place, with what was said in it."""
    happened = Event(event_id=f"evt_{number}", type=kind, cursor=f"{number:06}", session_id=session)
    if kind == "postback.received":
        happened.message.content.postback.title = "A button"
        happened.message.content.postback.payload = payload
    else:
        happened.message.content.text.text = f"words {number}"
    return happened


class ScriptedServer:
    """A server on a loopback port."""

    def __init__(self) -> None:
        self.log: list[Event] = []
        self.acked: dict[str, str] = defaultdict(str)
        self.ack_history: list[str] = []
        self.subscriptions: list[str] = []
        self.messages: list[Message] = []
        self.break_messages_after: set[int] = set()
        self.said: dict[str, SendMessageRequest] = {}
        self.checkouts: dict[str, CreateCheckoutRequest] = {}
        self.calls: list[tuple[str, AnyMessage, dict[str, str], float]] = []
        self.refusals: dict[str, deque[tuple[grpc.StatusCode, Trailing]]] = defaultdict(deque)
        self.silent: dict[str, int] = defaultdict(int)
        self.target = ""
        self._changed = asyncio.Condition()
        self._streams: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> ScriptedServer:
        await self.start("127.0.0.1:0")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)

    async def start(self, address: str) -> None:
        """Listens on an address; `target` names it."""
        self._server = grpc.aio.server()
        for path, kind, behaviour in (
            ("comptoir.v1.SessionService/SendMessage", grpc.unary_unary_rpc_method_handler, self.send_message),
            ("comptoir.v1.SessionService/StreamMessages", grpc.unary_stream_rpc_method_handler, self.stream_messages),
            ("comptoir.v1.CheckoutService/CreateCheckout", grpc.unary_unary_rpc_method_handler, self.create_checkout),
            ("comptoir.v1.EventService/ListEvents", grpc.unary_unary_rpc_method_handler, self.list_events),
            ("comptoir.v1.EventService/AckEvents", grpc.unary_unary_rpc_method_handler, self.ack_events),
            ("comptoir.v1.EventService/StreamEvents", grpc.stream_stream_rpc_method_handler, self.stream_events),
        ):
            service, name = path.split("/")
            handler = kind(behaviour, method_at(path).request.FromString, method_at(path).response.SerializeToString)
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
        self.target = f"127.0.0.1:{self._server.add_insecure_port(address)}"
        await self._server.start()

    async def happen(self, *events: Event) -> None:
        """Adds events to the log."""
        async with self._changed:
            self.log.extend(events)
            self._changed.notify_all()

    async def until_acked(self, cursor: str, consumer: str = "bot") -> None:
        """Waits until a consumer acknowledged a cursor."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.acked[consumer] == cursor)

    def end_streams(self) -> None:
        """Ends every open stream as a lost connection would."""
        for stream in list(self._streams):
            stream.cancel()

    async def until_subscribed(self) -> None:
        """Waits until somebody follows the log."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.subscriptions)

    def refuse(self, method: str, code: grpc.StatusCode, details: Trailing = (), times: int = 1) -> None:
        """Refuses the next calls of a method."""
        self.refusals[method].extend([(code, details)] * times)

    async def break_streams(self) -> None:
        """Ends every open stream as a lost connection would, and waits for the next subscription."""
        subscribed = len(self.subscriptions)
        self.end_streams()
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.subscriptions) > subscribed)

    async def send_message(self, request: SendMessageRequest, context: Any) -> SendMessageResponse:
        await self._note("SendMessage", request, context)
        before = self.said.setdefault(request.request_id, request)
        if before != request:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, "reused", refusal_details("REQUEST_ID_REUSED"))
        return SendMessageResponse(message=Message(message_id=f"msg_{request.request_id}", content=request.content))

    async def create_checkout(self, request: CreateCheckoutRequest, context: Any) -> CreateCheckoutResponse:
        await self._note("CreateCheckout", request, context)
        self.checkouts.setdefault(request.request_id, request)
        return CreateCheckoutResponse(checkout=Checkout(checkout_id=f"chk_{len(self.checkouts)}", total=request.total))

    async def ack_events(self, request: AckEventsRequest, context: Any) -> AckEventsResponse:
        await self._note("AckEvents", request, context)
        await self._acknowledge(request.consumer, request.cursor)
        return AckEventsResponse(cursor=self.acked[request.consumer])

    async def list_events(self, request: ListEventsRequest, context: Any) -> ListEventsResponse:
        await self._note("ListEvents", request, context)
        wanted = [each for each in self.log if each.cursor > request.cursor and request.type in ("", each.type)]
        page = wanted[: request.page_size]
        return ListEventsResponse(events=page, next_cursor=page[-1].cursor if page else request.cursor or "0")

    async def stream_messages(
        self, request: StreamMessagesRequest, context: Any
    ) -> AsyncIterator[StreamMessagesResponse]:
        await self._note("StreamMessages", request, context)
        for message in self.messages:
            if message.sequence > request.after_sequence:
                yield StreamMessagesResponse(message=message)
                if message.sequence in self.break_messages_after:
                    self.break_messages_after.discard(message.sequence)
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the connection was lost")

    async def stream_events(
        self, requests: AsyncIterator[StreamEventsRequest], context: Any
    ) -> AsyncIterator[StreamEventsResponse]:
        first = await anext(aiter(requests))
        await self._note("StreamEvents", first, context)
        subscribe = first.subscribe
        async with self._changed:
            self.subscriptions.append(subscribe.cursor)
            self._changed.notify_all()
        cursor = subscribe.cursor or self.acked[subscribe.consumer]
        place = next((index for index, each in enumerate(self.log) if each.cursor > cursor), len(self.log))
        reader = asyncio.create_task(self._read_acks(subscribe.consumer, requests))
        stream = asyncio.create_task(asyncio.Event().wait())
        self._streams.add(stream)
        try:
            while not stream.done():
                while place < len(self.log) and not stream.done():
                    yield StreamEventsResponse(event=self.log[place])
                    place += 1
                waiting = asyncio.create_task(self._grown(place))
                await asyncio.wait({waiting, stream}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the connection was lost")
        finally:
            reader.cancel()
            stream.cancel()
            self._streams.discard(stream)

    async def _grown(self, length: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.log) > length)

    async def _read_acks(self, consumer: str, requests: AsyncIterator[StreamEventsRequest]) -> None:
        async for request in requests:
            await self._acknowledge(consumer, request.ack.cursor)

    async def _acknowledge(self, consumer: str, cursor: str) -> None:
        async with self._changed:
            self.ack_history.append(cursor)
            self.acked[consumer] = max(self.acked[consumer], cursor)
            self._changed.notify_all()

    async def _note(self, method: str, request: AnyMessage, context: Any) -> None:
        """Keeps what was asked; refuses it, or leaves it without an answer, where the script says so."""
        kept = type(request)()
        kept.CopyFrom(request)
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        self.calls.append((method, kept, metadata, context.time_remaining() or 0.0))
        if self.refusals[method]:
            code, details = self.refusals[method].popleft()
            await context.abort(code, "refused by script", details)
        if self.silent[method]:
            self.silent[method] -= 1
            await asyncio.sleep(3600)
