"""Reading a log of events in the order of its positions."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Column, ColumnElement, case, func, select

from comptoir_server.domain.events import LogEntry
from comptoir_server.store.tables import EVENTS
from comptoir_server.store.tx import Tx

_event = EVENTS.table.c


@dataclass(frozen=True, slots=True)
class Side:
    """Whose logs these are, and the columns that hold an event's place in one: in all of it, and in its session."""

    owner: Column[str]
    position: Column[int]
    session_sequence: Column[int]


PARTNERS = Side(_event.partner_id, _event.partner_position, _event.partner_session_sequence)
CHANNELS = Side(_event.channel_id, _event.channel_position, _event.channel_session_sequence)

SIDES = (PARTNERS, CHANNELS)
"""An event has a row of its own once; where it stands in a log, that side's columns say."""


def _side_of(log_id: str) -> Side:
    return CHANNELS if log_id.startswith("chn_") else PARTNERS


async def last_position(tx: Tx, log_id: str) -> int:
    """The position of the newest event of a log, 0 for none. Positions are given in commit order, so that whoever
    sees one sees all before it."""
    side = _side_of(log_id)
    [[position]] = await tx.query(select(func.max(side.position)).where(side.owner == log_id))
    return int(position or 0)


async def events_between(
    tx: Tx, log_id: str, after: int, until: int, *, bot_id: str, event_type: str, session_id: str, limit: int
) -> list[LogEntry]:
    """The first events of a log behind position `after` and not behind `until`, oldest first.

    A filter that is empty lets everything through.
    """
    side = _side_of(log_id)
    own: ColumnElement[bool] = side.owner == log_id
    # A session is a small part of a log: with it, the index on the log is to be left aside, which the CASE does. One
    # index serves both sides: a channel's page comes in its order, a partner's is sorted from the rest of the session.
    own = case((own, True), else_=False) if session_id else own
    statement = select(
        side.position,
        side.session_sequence,
        _event.id,
        _event.type,
        _event.noun,
        _event.bot_id,
        _event.session_id,
        _event.user_id,
        _event.payload,
        _event.create_time,
    ).where(own, side.position > after, side.position <= until)
    filters = ((_event.bot_id, bot_id), (_event.type, event_type), (_event.session_id, session_id))
    for column, value in filters:
        if value:
            statement = statement.where(column == value)
    rows = await tx.query(statement.order_by(side.position).limit(limit))
    return [LogEntry(*row) for row in rows]
