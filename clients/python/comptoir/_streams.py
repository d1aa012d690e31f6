"""Streams that outlive their connections: the event log, and the messages of a session."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue
from threading import Lock
from types import TracebackType
from typing import Protocol, Self, TypeVar

import grpc

from comptoir._calls import Calls
from comptoir._retry import STREAM_CAP_SECONDS, Backoff, delay_to_reopen
from comptoir._subscription import STREAM_EVENTS, STREAM_MESSAGES, Subscription
from comptoir.services import EventMethods, SessionMethods
from comptoir.v1 import (
    Event,
    Message,
    StreamEventsRequest,
    StreamEventsResponse,
    StreamMessagesRequest,
    StreamMessagesResponse,
)

Response_co = TypeVar("Response_co", covariant=True)


class _OpenStream(Protocol[Response_co]):
    def __next__(self) -> Response_co: ...
    def cancel(self) -> object: ...


class EventStream:
    """The events of one consumer, in order, across broken connections; made by `client.events.stream(...)`.

    An event is acknowledged when the next one is asked for, so a loop whose body raises gets the same event again the
    next time. With `auto_ack=False` call `ack(event)` yourself: it says that everything up to it was dealt with.

    Every event comes at least once: one that was not acknowledged when this process ended comes again to the next.
    One thread reads; `ack` and `close` are for any.
    """

    def __init__(self, calls: Calls, subscription: Subscription, auto_ack: bool) -> None:
        self._calls = calls
        self._subscription = subscription
        self._auto_ack = auto_ack
        self._given: Event | None = None
        self._call: _OpenStream[StreamEventsResponse] | None = None
        self._outgoing: SimpleQueue[StreamEventsRequest | None] = SimpleQueue()
        self._outgoing_lock = Lock()
        self._backoff = Backoff(calls.runtime, STREAM_CAP_SECONDS)
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        """The next event; waits for it, and connects again where that is needed.

        Raises ComptoirError where connecting again cannot help, such as for a revoked key.
        """
        if self._auto_ack and self._given is not None:
            self.ack(self._given)
        self._given = None
        while not self._closed:
            call = self._call or self._open()
            try:
                event = self._subscription.receive(next(call))
            except StopIteration:
                self._break(None)
            except grpc.RpcError as failure:
                self._break(failure)
            else:
                self._backoff.reset()
                if event is not None:
                    self._given = event
                    return event
        raise StopIteration

    def ack(self, event: Event) -> None:
        """Says that this event and all before it were dealt with; repeated on a new connection where one is lost."""
        with self._outgoing_lock:
            self._outgoing.put(self._subscription.acknowledge(event))

    def close(self) -> None:
        """Ends the stream, also from another thread. Events whose acknowledgement is still on its way come again."""
        self._closed = True
        self._outgoing.put(None)
        if self._call is not None:
            self._call.cancel()

    def _open(self) -> _OpenStream[StreamEventsResponse]:
        with self._outgoing_lock:
            self._outgoing = SimpleQueue()
            for request in self._subscription.opening():
                self._outgoing.put(request)
            requests = iter(self._outgoing.get, None)
        subscribe = self._calls.channel.stream_stream(
            STREAM_EVENTS, StreamEventsRequest.SerializeToString, StreamEventsResponse.FromString
        )
        self._call = subscribe(requests, metadata=self._calls.metadata)
        return self._call

    def _break(self, failure: grpc.RpcError | None) -> None:
        """Waits before the next connection; raises where there should be none."""
        self._outgoing.put(None)
        self._call = None
        if not self._closed:
            self._calls.runtime.sleep(delay_to_reopen(STREAM_EVENTS, failure, self._backoff))


class Events(EventMethods):
    """What happened, in order, resumable."""

    def stream(
        self, consumer: str, *, cursor: str = "", max_outstanding: int = 100, auto_ack: bool = True
    ) -> EventStream:
        """Follows the log: first what this consumer did not acknowledge, then each event as it happens.

            with client.events.stream(consumer="books") as events:
                for event in events:
                    print(event.type, event.session_id)

        The server keeps the acknowledged place under the name `consumer` (at most 64 characters); `cursor` starts
        elsewhere. At most `max_outstanding` events (1 to 1000) are on their way unacknowledged.
        """
        return EventStream(self._calls, Subscription(consumer, cursor, max_outstanding), auto_ack)


class Sessions(SessionMethods):
    """Conversations between one person and one bot."""

    def stream_messages(self, session_id: str, after_sequence: int = 0) -> Iterator[Message]:
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
                for response in call:
                    backoff.reset()
                    if response.message.sequence > after_sequence:
                        after_sequence = response.message.sequence
                        yield response.message
            except grpc.RpcError as failure:
                self._calls.runtime.sleep(delay_to_reopen(STREAM_MESSAGES, failure, backoff))
            else:
                return
            finally:
                call.cancel()
