"""Lists of sessions and of what was said in them."""

from __future__ import annotations

from comptoir_server.domain.sessions import Message, Session
from comptoir_server.store.reads.pages import Viewer, newest, read, records, shown_to
from comptoir_server.store.tables import MESSAGES, SESSIONS
from comptoir_server.store.tx import Tx


async def page_of_sessions(tx: Tx, viewer: Viewer, *, bot_id: str, page_size: int, before_id: str) -> list[Session]:
    """The viewer's sessions, newest first; those with `bot_id` where one is given."""
    table = SESSIONS.table
    wanted = [table.c.bot_id == bot_id] if bot_id else []
    return await newest(tx, SESSIONS, *shown_to(viewer, table), *wanted, page_size=page_size, before_id=before_id)


async def messages_after(tx: Tx, session_id: str, sequence: int, limit: int) -> list[Message]:
    """The first messages of a session behind `sequence`, oldest first."""
    columns = MESSAGES.table.c
    statement = records(MESSAGES).where(columns.session_id == session_id, columns.sequence > sequence)
    return await read(tx, MESSAGES, statement.order_by(columns.sequence).limit(limit))
