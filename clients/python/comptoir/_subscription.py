"""Where a follower of the event log stands: what it saw, what it acknowledged, what to say when it connects again."""

from __future__ import annotations

from collections import deque

from comptoir.v1 import Ack, Event, StreamEventsRequest, StreamEventsResponse, Subscribe

STREAM_EVENTS = "/comptoir.v1.EventService/StreamEvents"
STREAM_MESSAGES = "/comptoir.v1.SessionService/StreamMessages"

REMEMBERED_EVENTS = 2000
"""How many event ids are kept to recognise one that comes twice: twice the largest `max_outstanding`."""


class Subscription:
    """The memory of one consumer's stream, across as many connections as it takes. It does no input or output."""

    def __init__(self, consumer: str, cursor: str, max_outstanding: int) -> None:
        self.consumer = consumer
        self._seen_cursor = cursor
        self._acknowledged_cursor = ""
        self._max_outstanding = max_outstanding
        self._recent_ids: deque[str] = deque(maxlen=REMEMBERED_EVENTS)

    def opening(self) -> list[StreamEventsRequest]:
        """What to say first on a new connection: go on behind the last event seen, and repeat the last ack.

        Events that were seen but not acknowledged are still in the hands of the caller; should this process end, the
        server sends them again to its successor.
        """
        subscribe = Subscribe(consumer=self.consumer, cursor=self._seen_cursor, max_outstanding=self._max_outstanding)
        requests = [StreamEventsRequest(subscribe=subscribe)]
        if self._acknowledged_cursor:
            requests.append(StreamEventsRequest(ack=Ack(cursor=self._acknowledged_cursor)))
        return requests

    def receive(self, response: StreamEventsResponse) -> Event | None:
        """The event that a response brings; None for a ping, a confirmation, or an event that came before."""
        if response.WhichOneof("kind") != "event":
            return None
        event = response.event
        self._seen_cursor = event.cursor
        if event.event_id in self._recent_ids:
            return None
        self._recent_ids.append(event.event_id)
        return event

    def acknowledge(self, event: Event) -> StreamEventsRequest:
        """What to say when everything up to an event was dealt with."""
        self._acknowledged_cursor = event.cursor
        return StreamEventsRequest(ack=Ack(cursor=event.cursor))
