"""Following the log of what happened: at least once, in order, no faster than the client deals with it."""

from __future__ import annotations

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
    acknowledged last, `stored` what is kept of that, `confirmed` what of that the client was told.
    """

    consumer: str
    max_outstanding: int
    sent: int
    dealt_with: int = 0
    stored: int = 0
    confirmed: int = 0
    storing: bool = False
    failure: Exception | None = None
    """Why an acknowledgement could not be stored."""
    ended: bool = False
    """Whether the client has no more to say, or said what cannot be taken."""
    refusal: Exception | None = None
    """Why that cannot be taken."""
    outstanding: deque[int] = field(default_factory=deque)
    looked: int | None = None
    """How often the log had been woken when its end was last seen, None where there may be more."""
    look_at: float = 0.0
    """When to look again whether it was woken or not, on the monotonic clock."""

    @property
    def room(self) -> int:
        """How many events may be read now."""
        return min(self.max_outstanding - len(self.outstanding), READ_MAX)

    @property
    def kept(self) -> bool:
        """Whether all that the client acknowledged is stored and confirmed."""
        return self.dealt_with <= self.stored <= self.confirmed and not self.storing

    def deal_with(self, position: int) -> None:
        """Takes an acknowledgement; an older one than the last changes nothing."""
        self.dealt_with = max(self.dealt_with, position)
        while self.outstanding and self.outstanding[0] <= position:
            self.outstanding.popleft()


async def stream_events(
    deps: Deps, call: CallContext, requests: AsyncIterator[Subscribe | Ack]
) -> AsyncIterator[Answer]:
    """Follows the caller's log until the client has no more to say. Raises FIELD_INVALID.

    A task of its own hears the client, another stores what was acknowledged: events do not wait for that. This one
    alone reads and sends. Each stream reads for itself, at the pace of its client, so that none waits for another.
    """
    stream = await _subscribed(deps, call, requests)
    with deps.settled.listen(call.log_id) as bell:
        hearing = deps.runtime.spawn(_hear(deps, call, stream, bell, requests), f"stream of {call.log_id}")
        try:
            last_answer = deps.runtime.monotonic()
            while True:
                ended = stream.ended
                answers = await _due(deps, call, stream, bell)
                if not answers and ended and stream.kept:
                    if stream.refusal is not None:
                        raise stream.refusal
                    return
                now, ping_at = deps.runtime.monotonic(), last_answer + PING_SECONDS
                if not answers and now < ping_at:
                    await bell.rung((min(ping_at, max(stream.look_at, now)) if stream.room > 0 else ping_at) - now)
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
    try:
        async for request in requests:
            if isinstance(request, Subscribe):
                raise invalid_field("kind", "must be `ack` after the first message: a stream is subscribed once.")
            stream.deal_with(position_of(deps, call, request.cursor, "ack.cursor"))
            bell.ring()
    except Exception as error:  # noqa: BLE001 - the stream ends with it, once everything else is said
        stream.refusal = error
    stream.ended = True
    bell.ring()


async def _due(deps: Deps, call: CallContext, stream: _Stream, bell: Bell) -> list[Answer]:
    """What can be said now: that acknowledgements are stored, and events as long as there is room for them."""
    _store(deps, call, stream, bell)
    answers: list[Answer] = []
    if stream.stored > stream.confirmed:
        stream.confirmed = stream.stored
        answers.append({"acked": {"cursor": cursor_of(deps, call, stream.stored)}})
    now = deps.runtime.monotonic()
    room = stream.room
    if room > 0 and (stream.looked != bell.wakes or now >= stream.look_at):
        stream.looked, stream.look_at = bell.wakes, now + LOOK_SECONDS
        found = await find(deps, call, Wanted(after=stream.sent, limit=room))
        if len(found.events) == room:
            stream.looked = None
        stream.outstanding.extend(view.event.position for view in found.events)
        stream.sent = found.until
        answers += [{"event": view} for view in found.events]
    return answers


def _store(deps: Deps, call: CallContext, stream: _Stream, bell: Bell) -> None:
    """Has the last acknowledgement stored, unless an earlier one is being stored. Raises why that could not be."""
    if stream.failure is not None:
        raise stream.failure
    if stream.storing or stream.dealt_with <= stream.stored:
        return
    stream.storing = True

    async def store() -> None:
        try:
            stream.stored = await acknowledge(deps, call, stream.consumer, stream.dealt_with)
        except Exception as error:  # noqa: BLE001 - the stream ends with it
            stream.failure = error
        finally:
            stream.storing = False
            bell.ring()

    deps.runtime.spawn(store(), f"acknowledgement of {call.log_id}")
