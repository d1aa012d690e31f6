"""Reading a log of events: whose it is, where in it one stands, and the objects as they were."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comptoir_server.app import messages
from comptoir_server.app.call import CallContext
from comptoir_server.app.deps import Deps
from comptoir_server.app.once import NOUNS
from comptoir_server.domain.errors import invalid_field
from comptoir_server.domain.events import Consumer, LogEntry
from comptoir_server.domain.users import User
from comptoir_server.store import snapshots
from comptoir_server.store.reads.events import events_between, last_position
from comptoir_server.store.tables import CONSUMERS, USERS
from comptoir_server.store.tx import Tx


@dataclass(frozen=True, slots=True)
class EventView:
    """An event with its place in the log and the object as it was; a message is opened with its person's key."""

    event: LogEntry
    cursor: str
    payload: Any


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events of the log: those behind `after` that pass the filters, of which an empty one is none."""

    after: int
    limit: int
    event_type: str = ""
    session_id: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """Events, oldest first, and the position up to which nothing else was wanted."""

    events: tuple[EventView, ...]
    until: int


async def find(deps: Deps, call: CallContext, wanted: Wanted) -> Found:
    """The first events that are wanted, opened for reading: once for all who follow one log at one place in it."""
    known, key = deps.store.conclusions(), (call.log_id, call.bot_id, wanted)
    found: Found | None = known.get(key)
    if found is None:
        found = known[key] = await _find(deps, call, wanted)
    return found


async def _find(deps: Deps, call: CallContext, wanted: Wanted) -> Found:
    async def work(tx: Tx) -> tuple[Sequence[LogEntry], int, dict[str, User]]:
        last = await last_position(tx, call.log_id)
        if last <= wanted.after:
            return (), wanted.after, {}
        events = await events_between(
            tx,
            call.log_id,
            wanted.after,
            last,
            bot_id=call.bot_id,
            event_type=wanted.event_type,
            session_id=wanted.session_id,
            limit=wanted.limit,
        )
        until = events[-1].position if len(events) == wanted.limit else last
        return events, until, await _users(tx, events)

    events, until, users = await deps.store.read(work)
    return Found(tuple(_view(deps, call, event, users) for event in events), until)


async def acknowledged(deps: Deps, call: CallContext, consumer: str) -> int:
    """How far a consumer has come, 0 for one that was never heard of."""
    stored = await deps.store.get(CONSUMERS.get(_key(call, consumer)))
    return stored.position if stored is not None else 0


async def acknowledge(deps: Deps, call: CallContext, consumer: str, position: int) -> int:
    """Moves a consumer forward to `position` and answers where it stands: later, where it was later before."""

    async def work(tx: Tx) -> int:
        log_id, name = _key(call, consumer)
        stored = await tx.load(CONSUMERS.lock((log_id, name)))
        if stored is not None and stored.position >= position:
            return stored.position
        tx.put(Consumer(log_id, name, position, tx.now))
        return position

    return await deps.store.write(work)


def cursor_of(deps: Deps, call: CallContext, position: int) -> str:
    """A position as callers see it: bound to their log, and none that they could make themselves."""
    mark = deps.vault.hash("event cursor", f"{call.log_id}|{position}")
    return base64.urlsafe_b64encode(f"{position}~{mark}".encode()).rstrip(b"=").decode()


def position_of(deps: Deps, call: CallContext, cursor: str, field: str = "cursor") -> int:
    """The position that a cursor stands for, 0 for none. Raises FIELD_INVALID for one that this log did not give.

    `field` is where it stood in the request.
    """
    if not cursor:
        return 0
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except ValueError:
        text = ""
    digits, _, mark = text.partition("~")
    if not deps.vault.matches("event cursor", f"{call.log_id}|{digits}", mark):
        raise invalid_field(field, "is not one that this log gave you. Start without it, or from the last one.")
    return int(digits)


def _key(call: CallContext, consumer: str) -> tuple[str, str]:
    """Keys of different bots see different events, so that consumers of one name are different consumers."""
    return call.log_id, f"{call.bot_id}/{consumer}"


async def _users(tx: Tx, events: Sequence[LogEntry]) -> dict[str, User]:
    """The people whose keys open what is sealed in these events."""
    wanted = sorted({event.user_id for event in events if event.noun == "message"})
    return {user.id: user for user in await tx.load_all(USERS.get(user_id) for user_id in wanted) if user is not None}


def _view(deps: Deps, call: CallContext, event: LogEntry, users: dict[str, User]) -> EventView:
    payload = snapshots.load(NOUNS[event.noun], event.payload)
    if event.noun == "message":
        payload = messages.view(deps, payload, users[event.user_id])
    return EventView(event, cursor_of(deps, call, event.position), payload)
