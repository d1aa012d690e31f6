"""Lists of orders."""

from __future__ import annotations

from comptoir_server.domain.orders import Order
from comptoir_server.store.reads.pages import Viewer, newest, shown_to
from comptoir_server.store.tables import ORDERS
from comptoir_server.store.tx import Tx


async def page_of_orders(
    tx: Tx, viewer: Viewer, *, partner_reference: str, page_size: int, before_id: str
) -> list[Order]:
    """The viewer's orders, newest first; those with `partner_reference` where one is given."""
    table = ORDERS.table
    wanted = [table.c.partner_reference == partner_reference] if partner_reference else []
    return await newest(tx, ORDERS, *shown_to(viewer, table), *wanted, page_size=page_size, before_id=before_id)
