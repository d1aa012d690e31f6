"""Reading a log of events in the order of its positions."""

from __future__ import annotations

from sqlalchemy import func, select

from comptoir_server.domain.events import Event
from comptoir_server.store.reads.pages import read, records
from comptoir_server.store.tables import EVENTS
from comptoir_server.store.tx import Tx


async def last_position(tx: Tx, log_id: str) -> int:
    """The position of the newest event of a log, 0 for none. Positions are given in commit order, so that whoever
    sees one sees all before it."""
    columns = EVENTS.table.c
    [[position]] = await tx.query(select(func.max(columns.position)).where(columns.log_id == log_id))
    return int(position or 0)


async def events_between(
    tx: Tx, log_id: str, after: int, until: int, *, bot_id: str, event_type: str, session_id: str, limit: int
) -> list[Event]:
    """The first events of a log behind position `after` and not behind `until`, oldest first.

    A filter that is empty lets everything through.
    """
    columns = EVENTS.table.c
    # A session is a small part of a log: with it, the index on position is to be left aside, which the sum does.
    position = columns.position + 0 if session_id else columns.position
    statement = records(EVENTS).where(columns.log_id == log_id, position > after, position <= until)
    filters = ((columns.bot_id, bot_id), (columns.type, event_type), (columns.session_id, session_id))
    for column, value in filters:
        if value:
            statement = statement.where(column == value)
    order = columns.session_sequence if session_id else columns.position
    return await read(tx, EVENTS, statement.order_by(order).limit(limit))
