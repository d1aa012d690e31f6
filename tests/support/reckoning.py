"""Our database held against the stand-in's books, row by row, by somebody who trusts neither."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from comptoir_server.domain.operations import OperationState
from comptoir_server.domain.payments import CaptureState, PaymentState, PendingState, RefundState
from comptoir_server.store.backend import new_engine
from comptoir_server.store.relation import Relation
from comptoir_server.store.tables import CAPTURES, CHECKOUTS, OPERATIONS, PAYMENTS, REFUNDS

Row = Any
"""A row of a table, its columns as attributes."""

UNDECIDED = {PaymentState.PROCESSING, PaymentState.REQUIRES_ACTION}
TAKEN = {"COMPLETED", "PARTIALLY_REFUNDED", "REFUNDED"}
"""What the stand-in calls a capture whose money moved."""


@dataclass(frozen=True)
class Account:
    """What a database holds about money."""

    checkouts: dict[str, Row]
    payments: dict[str, Row]
    operations: list[Row]
    captures: dict[str, Row]
    refunds: dict[str, Row]

    @property
    def undecided(self) -> list[str]:
        """Every payment and operation about which there is still something to find out."""
        payments = [
            payment.id
            for payment in self.payments.values()
            if payment.state in UNDECIDED or payment.pending_state != PendingState.NONE
        ]
        return payments + [one.id for one in self.operations if one.state != OperationState.DONE]

    @property
    def states(self) -> Counter[str]:
        """How many payments are in each state."""
        return Counter(payment.state for payment in self.payments.values())

    @property
    def evidence(self) -> Counter[str]:
        """What ended how many operations: a reply, a look-up, a webhook, our own store."""
        return Counter(
            one.evidence.partition(":")[0] if "webhook" in one.evidence else one.evidence for one in self.operations
        )


def read(database: str) -> Account:
    """Everything as it is committed now."""
    engine = new_engine(database)
    with engine.connect() as connection:
        return read_from(connection)


def read_from(connection: sa.Connection) -> Account:
    """As `read`, on a connection."""

    def rows(relation: Relation[Any]) -> list[Row]:
        return list(connection.execute(sa.select(relation.table)).all())

    return Account(
        {row.id: row for row in rows(CHECKOUTS)},
        {row.id: row for row in rows(PAYMENTS)},
        rows(OPERATIONS),
        {row.id: row for row in rows(CAPTURES)},
        {row.id: row for row in rows(REFUNDS)},
    )


def require_equal_books(account: Account, books: dict[str, Any]) -> tuple[int, int]:
    """Every capture and every refund is in both books with the same amount, no checkout was paid twice, and what is
    held is held in both.

    Answers how many captures and refunds there are.
    """
    moved = require_equal_movements(account, books)
    held = {payment.id for payment in account.payments.values() if payment.state == PaymentState.AUTHORIZED}
    held_there = {one["custom_id"] for one in books["authorizations"] if one["status"] == "CREATED"}
    assert held == held_there, f"the holds differ: {held ^ held_there}"
    paid = Counter(account.payments[row.payment_id].checkout_id for row in account.captures.values())
    assert all(count == 1 for count in paid.values()), paid.most_common(3)
    return moved


def require_equal_movements(account: Account, books: dict[str, Any]) -> tuple[int, int]:
    """Every capture and every refund is in both books with the same amount. Answers how many there are."""
    ours = {
        row.reference: (row.payment_id, row.amount, row.currency_code)
        for row in account.captures.values()
        if row.state == CaptureState.SUCCEEDED
    }
    theirs = {
        one["id"]: (one["custom_id"], one["minor_units"], one["currency_code"])
        for one in books["captures"]
        if one["status"] in TAKEN
    }
    assert ours == theirs, f"the captures differ: {ours.items() ^ theirs.items()}"
    given = {
        row.reference: (account.captures[row.capture_id].reference, row.amount)
        for row in account.refunds.values()
        if row.state == RefundState.SUCCEEDED
    }
    taken_back = {
        one["id"]: (one["capture_id"], one["minor_units"]) for one in books["refunds"] if one["status"] == "COMPLETED"
    }
    assert given == taken_back, f"the refunds differ: {given.items() ^ taken_back.items()}"
    return len(ours), len(given)
