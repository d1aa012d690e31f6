"""Our books held against the provider's own, after whatever a test did to both."""

from __future__ import annotations

import sqlalchemy as sa

from comptoir_server.domain.ledger import AccountKind
from comptoir_server.store.tables import ACCOUNTS, OPERATIONS, POSTINGS, REFUNDS
from comptoir_server.store.tx import Tx
from tests.support.world import World


async def booked(world: World) -> int:
    """What the provider holds for us as our books have it, in minor units: all that was taken less all given back."""

    async def work(tx: Tx) -> int:
        account, posting = ACCOUNTS.table.c, POSTINGS.table.c
        statement = (
            sa.select(sa.func.sum(posting.minor_units))
            .join(ACCOUNTS.table, account.id == posting.account_id)
            .where(account.kind == AccountKind.PROVIDER_CLEARING)
        )
        [[total]] = await tx.query(statement)
        return -int(total or 0)

    return await world.deps.store.read(work)


def held(world: World) -> int:
    """The same by the provider's own books."""
    books = world.provider.books
    return sum(books.captured.values()) - sum(books.refunded.values())


async def require_same_books(world: World, expected: int) -> None:
    """Both books say `expected`."""
    assert (await booked(world), held(world)) == (expected, expected)


async def sends(world: World, object_id: str) -> list[tuple[str, str, int]]:
    """(kind, outcome, sends) of every operation on an object of ours, oldest first."""
    operations = await world.deps.store.read(lambda tx: tx.load(OPERATIONS.list_by("by_object", object_id)))
    return [(one.kind, one.outcome, one.sends) for one in sorted(operations, key=lambda one: one.id)]


async def refund_states(world: World, payment_id: str) -> list[tuple[str, str, int]]:
    """(origin, state, amount) of every refund of a payment, oldest first."""
    refunds = await world.deps.store.read(lambda tx: tx.load(REFUNDS.list_by("by_payment", payment_id)))
    return [(one.origin, one.state, one.amount) for one in sorted(refunds, key=lambda one: one.id)]
