"""Following the log of what happened: at least once, in order, no faster than the client deals with it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from comptoir_server.app.call import CallContext
from comptoir_server.app.deps import Deps
from comptoir_server.app.event_reading import Wanted, acknowledge, acknowledged, cursor_of, find, position_of
from comptoir_server.app.once import Answer
from comptoir_server.app.settled import Bell
from comptoir_server.domain.errors import invalid_field

PING_SECONDS = 15.0
"""How long a stream may be silent."""

LOOK_SECONDS = 5.0
"""How often a stream looks for itself. It hears every wake-up; this is for one that was lost between databases."""

OUTSTANDING = 100
OUTSTANDING_MAX = 1000

READ_MAX = 100
"""How many events are read at once: what one slow client can hold in memory."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """The first thing that a client says: who it is, where to start, how many events it takes at once."""

    consumer: str
    cursor: str
    max_outstanding: int


@dataclass(frozen=True, slots=True)
class Ack:
    """Everything up to `cursor` was dealt with."""

    cursor: str


@dataclass(slots=True)
class _Stream:
    """Where one stream stands, by positions in the log.

    `sent` is the last event on its way or skipped, `outstanding` what is on its way, `dealt_with` what the client
    acknowledged last, `stored` what is kept of that.
    """

    consumer: str
    max_outstanding: int
    sent: int
    dealt_with: int = 0
    stored: int = 0
    outstanding: deque[int] = field(default_factory=deque)

    def deal_with(self, position: int) -> None:
        """Takes an acknowledgement; an older one than the last changes nothing."""
        self.dealt_with = max(self.dealt_with, position)
        while self.outstanding and self.outstanding[0] <= position:
            self.outstanding.popleft()


async def stream_events(
    deps: Deps, call: CallContext, requests: AsyncIterator[Subscribe | Ack]
) -> AsyncIterator[Answer]:
    """Follows the caller's log until the client has no more to say. Raises FIELD_INVALID.

    A task of its own hears the client; this one alone reads, sends and stores. Each stream reads for itself, at the
    pace of its client, so that none waits for another.
    """
    stream = await _subscribed(deps, call, requests)
    with deps.settled.listen(call.log_id) as bell:
        hearing = deps.runtime.spawn(_hear(deps, call, stream, bell, requests), f"stream of {call.log_id}")
        hearing.add_done_callback(lambda task: _end(task, bell))
        try:
            last_answer = deps.runtime.monotonic()
            while True:
                ended = hearing.done()
                answers = await _due(deps, call, stream)
                silence = deps.runtime.monotonic() - last_answer
                if not answers and ended:
                    hearing.result()
                    return
                if not answers and silence < PING_SECONDS:
                    await bell.rung(min(PING_SECONDS - silence, LOOK_SECONDS))
                    continue
                for answer in answers or [{"ping": {}}]:
                    yield answer
                last_answer = deps.runtime.monotonic()
        finally:
            hearing.cancel()


async def _subscribed(deps: Deps, call: CallContext, requests: AsyncIterator[Subscribe | Ack]) -> _Stream:
    """The stream that the first request asks for, at the cursor that it names or where its consumer left off."""
    first = await anext(requests, None)
    if not isinstance(first, Subscribe):
        raise invalid_field("kind", "must be `subscribe` in the first message of a stream.")
    if not 0 <= first.max_outstanding <= OUTSTANDING_MAX:
        raise invalid_field("subscribe.max_outstanding", f"must be 1 to {OUTSTANDING_MAX}, or 0 for {OUTSTANDING}.")
    sent = position_of(deps, call, first.cursor, "subscribe.cursor")
    if not first.cursor:
        sent = await acknowledged(deps, call, first.consumer)
    return _Stream(first.consumer, first.max_outstanding or OUTSTANDING, sent)


async def _hear(
    deps: Deps, call: CallContext, stream: _Stream, bell: Bell, requests: AsyncIterator[Subscribe | Ack]
) -> None:
    """Takes the client's acknowledgements until it ends, or says what cannot be taken."""
    async for request in requests:
        if isinstance(request, Subscribe):
            raise invalid_field("kind", "must be `ack` after the first message: a stream is subscribed once.")
        stream.deal_with(position_of(deps, call, request.cursor, "ack.cursor"))
        bell.ring()


def _end(hearing: asyncio.Task[None], bell: Bell) -> None:
    """The client has ended, or said what cannot be taken: the stream looks at the task's result, unless it is gone."""
    if not hearing.cancelled():
        hearing.exception()
    bell.ring()


async def _due(deps: Deps, call: CallContext, stream: _Stream) -> list[Answer]:
    """What can be said now: that acknowledgements are stored, and events as long as there is room for them."""
    answers: list[Answer] = []
    if stream.dealt_with > stream.stored:
        stream.stored = await acknowledge(deps, call, stream.consumer, stream.dealt_with)
        answers.append({"acked": {"cursor": cursor_of(deps, call, stream.stored)}})
    room = min(stream.max_outstanding - len(stream.outstanding), READ_MAX)
    if room > 0:
        found = await find(deps, call, Wanted(after=stream.sent, limit=room))
        stream.outstanding.extend(view.event.position for view in found.events)
        stream.sent = found.until
        answers += [{"event": view} for view in found.events]
    return answers
