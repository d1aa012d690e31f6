"""Reading what was bought."""

from __future__ import annotations

from comptoir_server.app import paging
from comptoir_server.app.access import owned
from comptoir_server.app.call import CallContext
from comptoir_server.app.deps import Deps
from comptoir_server.app.once import Answer
from comptoir_server.store.reads.orders import page_of_orders
from comptoir_server.store.tables import ORDERS


async def get_order(deps: Deps, call: CallContext, *, order_id: str) -> Answer:
    """Reads an order. Raises NOT_FOUND."""
    return {"order": owned(call, await deps.store.get(ORDERS.get(order_id)))}


async def list_orders(
    deps: Deps, call: CallContext, *, partner_reference: str, page_size: int, page_token: str
) -> Answer:
    """Lists the caller's orders, newest first. Raises FIELD_INVALID."""
    wanted = paging.size(page_size)
    before_id = paging.position(deps, call, page_token)
    orders = await deps.store.read(
        lambda tx: page_of_orders(
            tx, call, partner_reference=partner_reference, page_size=wanted + 1, before_id=before_id
        )
    )
    return paging.page(deps, call, "orders", orders, wanted)
