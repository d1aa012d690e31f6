"""Lists of checkouts."""

from __future__ import annotations

from comptoir_server.domain.checkouts import Checkout, CheckoutState
from comptoir_server.store.reads.pages import Viewer, newest, shown_to
from comptoir_server.store.tables import CHECKOUTS
from comptoir_server.store.tx import Tx


async def page_of_checkouts(
    tx: Tx,
    viewer: Viewer,
    *,
    session_id: str,
    partner_reference: str,
    state: CheckoutState | None,
    page_size: int,
    before_id: str,
) -> list[Checkout]:
    """The viewer's checkouts, newest first; a filter that is empty lets everything through."""
    table = CHECKOUTS.table
    wanted = []
    if session_id:
        wanted.append(table.c.session_id == session_id)
    if partner_reference:
        wanted.append(table.c.partner_reference == partner_reference)
    if state is not None:
        wanted.append(table.c.state == state.value)
    return await newest(tx, CHECKOUTS, *shown_to(viewer, table), *wanted, page_size=page_size, before_id=before_id)
