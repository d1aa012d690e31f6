"""The log of what happened: by polling, by stream, and how far a named consumer has come."""

from __future__ import annotations

from comptoir_server.app.call import CallContext
from comptoir_server.app.deps import Deps
from comptoir_server.app.event_reading import EventView, Wanted, acknowledge, cursor_of, find, position_of
from comptoir_server.app.event_streams import Ack, Subscribe, stream_events
from comptoir_server.app.once import Answer
from comptoir_server.app.paging import size
from comptoir_server.domain.errors import invalid_field
from comptoir_server.domain.events import OTHERS, TYPES

__all__ = ["Ack", "EventView", "Subscribe", "ack_events", "list_events", "stream_events"]

PAGE_SIZE = 100
PAGE_SIZE_MAX = 1000

KNOWN_TYPES = frozenset(TYPES.values()) | frozenset(OTHERS)


async def list_events(
    deps: Deps,
    call: CallContext,
    *,
    cursor: str,
    type: str,  # noqa: A002 - the field's name
    session_id: str,
    page_size: int,
) -> Answer:
    """Reads the caller's log, oldest first. Raises FIELD_INVALID."""
    if type and type not in KNOWN_TYPES:
        raise invalid_field("type", "is no type of event that this server knows, such as checkout.completed.")
    wanted = Wanted(
        after=position_of(deps, call, cursor),
        limit=size(page_size, PAGE_SIZE_MAX, PAGE_SIZE),
        event_type=type,
        session_id=session_id,
    )
    found = await find(deps, call, wanted)
    return {"events": found.events, "next_cursor": cursor_of(deps, call, found.until)}


async def ack_events(deps: Deps, call: CallContext, *, consumer: str, cursor: str) -> Answer:
    """Moves a consumer forward, never back. Raises FIELD_INVALID."""
    stored = await acknowledge(deps, call, consumer, position_of(deps, call, cursor))
    return {"cursor": cursor_of(deps, call, stored)}
