"""What the workers have to do: rows whose time has come, oldest first."""

from __future__ import annotations

import sqlalchemy as sa

from comptoir_server.store.tables import CHECKOUTS, INBOX, OPERATIONS
from comptoir_server.store.tx import Tx


async def operations(tx: Tx, now: int, limit: int) -> list[str]:
    """Operations that are not done and whose next look is due."""
    table = OPERATIONS.table.c
    statement = (
        sa.select(table.id).where(table.state != "DONE", table.next_time <= now).order_by(table.next_time).limit(limit)
    )
    return [row[0] for row in await tx.query(statement)]


async def checkouts(tx: Tx, now: int, limit: int) -> list[str]:
    """Checkouts that nobody confirmed in time."""
    table = CHECKOUTS.table.c
    statement = (
        sa.select(table.id)
        .where(table.state.in_(("OPEN", "REQUIRES_ACTION")), table.expire_time <= now)
        .order_by(table.expire_time)
        .limit(limit)
    )
    return [row[0] for row in await tx.query(statement)]


async def deliveries(tx: Tx, now: int, limit: int) -> list[tuple[str, str]]:
    """Webhooks that were stored and not yet acted upon."""
    table = INBOX.table.c
    statement = (
        sa.select(table.provider, table.event_id)
        .where(table.state == "STORED", table.next_time <= now)
        .order_by(table.next_time)
        .limit(limit)
    )
    return [(provider, event_id) for provider, event_id in await tx.query(statement)]
