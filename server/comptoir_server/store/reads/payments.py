"""Lists of payments, captures and refunds."""

from __future__ import annotations

from sqlalchemy import BindParameter, bindparam

from comptoir_server.domain.payments import Capture, Payment, PendingState, Refund
from comptoir_server.store.reads.pages import Viewer, newest, read, records, shown_to
from comptoir_server.store.tables import CAPTURES, PAYMENTS, REFUNDS
from comptoir_server.store.tx import Tx


async def page_of_payments(
    tx: Tx,
    viewer: Viewer,
    *,
    checkout_id: str,
    operation_state: PendingState | None,
    page_size: int,
    before_id: str,
) -> list[Payment]:
    """The viewer's payments, newest first; a filter that is empty lets everything through."""
    table = PAYMENTS.table
    wanted = []
    if checkout_id:
        wanted.append(table.c.checkout_id == checkout_id)
    if operation_state is not None:
        # Written into the statement: a partial index is not chosen for a value that comes later.
        state: BindParameter[str] = bindparam("operation_state", operation_state.value, literal_execute=True)
        wanted.append(table.c.pending_state == state)
    return await newest(tx, PAYMENTS, *shown_to(viewer, table), *wanted, page_size=page_size, before_id=before_id)


async def captures_of(tx: Tx, payment_id: str) -> list[Capture]:
    """The captures of a payment, oldest first."""
    columns = CAPTURES.table.c
    return await read(tx, CAPTURES, records(CAPTURES).where(columns.payment_id == payment_id).order_by(columns.id))


async def refunds_of(tx: Tx, payment_id: str) -> list[Refund]:
    """The refunds of a payment, oldest first."""
    columns = REFUNDS.table.c
    return await read(tx, REFUNDS, records(REFUNDS).where(columns.payment_id == payment_id).order_by(columns.id))
