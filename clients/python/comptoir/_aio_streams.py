"""Streams that outlive their connections, awaited: the event log, and the messages of a session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import grpc
from google.protobuf.message import Message as AnyMessage

from comptoir._calls import AsyncCalls
from comptoir._retry import STREAM_CAP_SECONDS, Backoff, delay_to_reopen
from comptoir._subscription import STREAM_EVENTS, STREAM_MESSAGES, Subscription
from comptoir.services import AsyncEventMethods, AsyncSessionMethods
from comptoir.v1 import (
    Event,
    Message,
    StreamEventsRequest,
    StreamEventsResponse,
    StreamMessagesRequest,
    StreamMessagesResponse,
)


class AsyncEventStream:
    """The events of one consumer, in order, across broken connections; made by `client.events.stream(...)`.

    An event is acknowledged when the next one is asked for, so a loop whose body raises gets the same event again the
    next time. With `auto_ack=False` call `ack(event)` yourself: it says that everything up to it was dealt with.

    Every event comes at least once: one that was not acknowledged when this process ended comes again to the next.
    """

    def __init__(self, calls: AsyncCalls, subscription: Subscription, auto_ack: bool) -> None:
        self._calls = calls
        self._subscription = subscription
        self._auto_ack = auto_ack
        self._given: Event | None = None
        self._call: grpc.aio.StreamStreamCall[AnyMessage, StreamEventsResponse] | None = None
        self._outgoing: asyncio.Queue[StreamEventsRequest] = asyncio.Queue()
        self._backoff = Backoff(calls.runtime, STREAM_CAP_SECONDS)
        self._pause: asyncio.Future[None] | None = None
        self._closed = False
        self.connected = False
        """Whether the server was heard on the present connection."""
        self.breaks = 0
        """How often a connection was lost."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """The next event; waits for it, and connects again where that is needed.

        Raises ComptoirError where connecting again cannot help, such as for a revoked key.
        """
        if self._auto_ack and self._given is not None:
            self.ack(self._given)
        self._given = None
        while not self._closed:
            try:
                event = await self._receive()
            except asyncio.CancelledError:
                self._call = None
                if not self._ended_by_close():
                    raise
            else:
                if event is not None:
                    self._given = event
                    return event
        raise StopAsyncIteration

    async def _receive(self) -> Event | None:
        """Reads once; None where that brought no new event."""
        try:
            response = await (self._call or self._open()).read()
        except grpc.RpcError as failure:
            await self._break(failure)
            return None
        if not isinstance(response, StreamEventsResponse):
            await self._break(None)
            return None
        self.connected = True
        self._backoff.reset()
        return self._subscription.receive(response)

    def _ended_by_close(self) -> bool:
        """Whether a cancellation comes from close(): grpc and asyncio report it like that of the task itself."""
        task = asyncio.current_task()
        return self._closed and task is not None and not task.cancelling()

    def ack(self, event: Event) -> None:
        """Says that this event and all before it were dealt with; repeated on a new connection where one is lost."""
        self._outgoing.put_nowait(self._subscription.acknowledge(event))

    def close(self) -> None:
        """Ends the stream. Events whose acknowledgement is still on its way come again."""
        self._closed = True
        if self._call is not None:
            self._call.cancel()
        if self._pause is not None:
            self._pause.cancel()

    def _open(self) -> grpc.aio.StreamStreamCall[AnyMessage, StreamEventsResponse]:
        self._outgoing = asyncio.Queue()
        for request in self._subscription.opening():
            self._outgoing.put_nowait(request)
        subscribe = self._calls.channel.stream_stream(
            STREAM_EVENTS, StreamEventsRequest.SerializeToString, StreamEventsResponse.FromString
        )
        self._call = subscribe(_drain(self._outgoing), metadata=self._calls.metadata)
        return self._call

    async def _break(self, failure: grpc.RpcError | None) -> None:
        """Waits before the next connection; raises where there should be none."""
        self._call = None
        self.connected = False
        self.breaks += 1
        if not self._closed:
            delay = delay_to_reopen(STREAM_EVENTS, failure, self._backoff)
            self._pause = asyncio.ensure_future(self._calls.runtime.sleep_async(delay))
            try:
                await self._pause
            finally:
                self._pause.cancel()
                self._pause = None


async def _drain(outgoing: asyncio.Queue[StreamEventsRequest]) -> AsyncIterator[StreamEventsRequest]:
    while True:
        yield await outgoing.get()


class AsyncEvents(AsyncEventMethods):
    """What happened, in order, resumable."""

    def stream(
        self, consumer: str, *, cursor: str = "", max_outstanding: int = 100, auto_ack: bool = True
    ) -> AsyncEventStream:
        """Follows the log: first what this consumer did not acknowledge, then each event as it happens.

            async with client.events.stream(consumer="books") as events:
                async for event in events:
                    print(event.type, event.session_id)

        The server keeps the acknowledged place under the name `consumer` (at most 64 characters); `cursor` starts
        elsewhere. At most `max_outstanding` events (1 to 1000) are on their way unacknowledged.
        """
        return AsyncEventStream(self._calls, Subscription(consumer, cursor, max_outstanding), auto_ack)


class AsyncSessions(AsyncSessionMethods):
    """Conversations between one person and one bot."""

    async def stream_messages(self, session_id: str, after_sequence: int = 0) -> AsyncIterator[Message]:
        """Follows the messages of a session: those after a sequence, then each as it is said, each once and in order.

        A lost connection is opened again behind the last message. Ends when the session is closed.

        Raises ComptoirError where connecting again cannot help.
        """
        backoff = Backoff(self._calls.runtime, STREAM_CAP_SECONDS)
        follow = self._calls.channel.unary_stream(
            STREAM_MESSAGES, StreamMessagesRequest.SerializeToString, StreamMessagesResponse.FromString
        )
        while True:
            request = StreamMessagesRequest(session_id=session_id, after_sequence=after_sequence)
            call = follow(request, metadata=self._calls.metadata)
            try:
                async for response in call:
                    backoff.reset()
                    if response.message.sequence > after_sequence:
                        after_sequence = response.message.sequence
                        yield response.message
            except grpc.RpcError as failure:
                await self._calls.runtime.sleep_async(delay_to_reopen(STREAM_MESSAGES, failure, backoff))
            else:
                return
            finally:
                call.cancel()
