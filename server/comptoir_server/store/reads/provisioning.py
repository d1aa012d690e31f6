"""Finding parties by their names, for whoever operates the database."""

from __future__ import annotations

from typing import Any, TypeVar

import sqlalchemy as sa

from comptoir_server.domain.partners import Bot, Channel, Partner
from comptoir_server.store.relation import Relation
from comptoir_server.store.tables import BOTS, CHANNELS, PARTNERS
from comptoir_server.store.tx import Tx

R = TypeVar("R")


async def partner_named(tx: Tx, name: str) -> Partner | None:
    """The oldest partner of that name."""
    return await _first(tx, PARTNERS, PARTNERS.table.c.display_name == name)


async def channel_named(tx: Tx, name: str) -> Channel | None:
    """The oldest channel of that name."""
    return await _first(tx, CHANNELS, CHANNELS.table.c.display_name == name)


async def bot_named(tx: Tx, partner_id: str, name: str) -> Bot | None:
    """The partner's oldest bot of that name."""
    return await _first(tx, BOTS, sa.and_(BOTS.table.c.partner_id == partner_id, BOTS.table.c.display_name == name))


async def _first(tx: Tx, relation: Relation[R], condition: Any) -> R | None:
    table = relation.table.c
    rows = await tx.query(sa.select(table.id).where(condition).order_by(table.id).limit(1))
    return await tx.load(relation.get(rows[0][0])) if rows else None
