"""Lists of markets, and the wallets and links that something is due for."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, select

from comptoir_server.domain.checkouts import CheckoutState
from comptoir_server.domain.wallets import LinkState, Market
from comptoir_server.store.relation import Relation
from comptoir_server.store.tables import CHECKOUTS, MARKETS, WALLET_LINKS, WALLETS
from comptoir_server.store.tx import Tx


async def all_markets(tx: Tx) -> list[Market]:
    """Every market that was ever opened or closed, by code, then provider."""
    table = MARKETS.table
    columns = [table.c[name] for name in MARKETS.columns]
    rows = await tx.query(select(*columns).order_by(table.c.market, table.c.provider))
    return [MARKETS.codec.decode(row) for row in rows]


async def links_to_expire(tx: Tx, now: int, limit: int) -> list[str]:
    """The ids of pending links whose time is over, the longest overdue first."""
    columns = WALLET_LINKS.table.c
    pending = columns.state.in_([LinkState.PENDING_APPROVAL.value, LinkState.PENDING_CONFIRMATION.value])
    return await _first_ids(tx, WALLET_LINKS, pending & (columns.expire_time <= now), columns.expire_time, limit)


async def links_to_revoke(tx: Tx, now: int, limit: int) -> list[str]:
    """The ids of links whose token is to be deleted at the provider now, the longest due first."""
    due = WALLET_LINKS.table.c.revoke_time
    return await _first_ids(tx, WALLET_LINKS, (due > 0) & (due <= now), due, limit)


async def wallets_to_revoke(tx: Tx, now: int, limit: int) -> list[str]:
    """The ids of wallets whose token is to be deleted at the provider now, the longest due first."""
    due = WALLETS.table.c.revoke_time
    return await _first_ids(tx, WALLETS, (due > 0) & (due <= now), due, limit)


async def open_checkouts(tx: Tx, session_id: str) -> list[str]:
    """The ids of the open checkouts of a session, oldest first."""
    columns = CHECKOUTS.table.c
    mine = (columns.session_id == session_id) & (columns.state == CheckoutState.OPEN.value)
    return [row.id for row in await tx.query(select(columns.id).where(mine).order_by(columns.id))]


async def _first_ids(
    tx: Tx, relation: Relation[Any], condition: ColumnElement[bool], order: ColumnElement[int], limit: int
) -> list[str]:
    identity = relation.table.c.id
    rows = await tx.query(select(identity).where(condition).order_by(order, identity).limit(limit))
    return [row.id for row in rows]
