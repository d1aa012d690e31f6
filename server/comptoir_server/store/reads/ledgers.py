"""Reading the books: accounts, what their postings sum to, and the postings themselves."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select, tuple_

from comptoir_server.domain.ledger import Account
from comptoir_server.store.reads.pages import newest
from comptoir_server.store.tables import ACCOUNTS, JOURNAL, POSTINGS
from comptoir_server.store.tx import Tx


@dataclass(frozen=True, slots=True)
class PostedLine:
    """A posting with what its journal transaction says of it."""

    transaction_id: str
    line: int
    account_id: str
    minor_units: int
    currency_code: str
    effect: str
    object_id: str
    create_time: int

    @property
    def id(self) -> str:
        """Its place in a list."""
        return f"{self.transaction_id}:{self.line}"


async def page_of_accounts(tx: Tx, partner_id: str, *, page_size: int, before_id: str) -> list[Account]:
    """The accounts of a partner, or all where none is given, newest first."""
    mine = [ACCOUNTS.table.c.partner_id == partner_id] if partner_id else []
    return await newest(tx, ACCOUNTS, *mine, page_size=page_size, before_id=before_id)


async def sum_of_postings(tx: Tx, account_id: str) -> tuple[int, int]:
    """What the postings of an account sum to, in minor units, and how many there are."""
    columns = POSTINGS.table.c
    statement = select(func.sum(columns.minor_units), func.count()).where(columns.account_id == account_id)
    [[total, count]] = await tx.query(statement)
    return int(total or 0), int(count)


async def page_of_postings(
    tx: Tx, account_id: str, *, page_size: int, before_transaction_id: str, before_line: int
) -> list[PostedLine]:
    """Postings of an account, newest first: those before a line of a transaction, where one is given."""
    posting, journal = POSTINGS.table.c, JOURNAL.table.c
    statement = (
        select(
            posting.transaction_id,
            posting.line,
            posting.account_id,
            posting.minor_units,
            posting.currency_code,
            journal.effect,
            journal.object_id,
            journal.create_time,
        )
        .join(JOURNAL.table, journal.id == posting.transaction_id)
        .where(posting.account_id == account_id)
        .order_by(posting.transaction_id.desc(), posting.line.desc())
        .limit(page_size)
    )
    if before_transaction_id:
        place = tuple_(posting.transaction_id, posting.line)
        statement = statement.where(place < tuple_(before_transaction_id, before_line))
    return [PostedLine(*row) for row in await tx.query(statement)]
