"""Prices add up, amounts stay within what can be kept exactly, and postings reach whom they are for."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy import func, select

from comptoir_server.domain.checkouts import AdjustmentKind
from comptoir_server.domain.ledger import AccountKind, Effect
from comptoir_server.domain.money import MINOR_UNITS_MAX
from comptoir_server.store.checks.survey import Notes, Query, Rule, Survey, by_query, rows_where, total
from comptoir_server.store.columns import metadata
from comptoir_server.store.schema import COUNTERS
from comptoir_server.store.tables import ACCOUNTS, CAPTURES, CHECKOUTS, JOURNAL, ORDERS, PAYMENTS, POSTINGS, REFUNDS

_AMOUNTS = ("amount", "authorized", "captured", "capturing", "refunded", "refunding", "total", "minor_units")
"""What columns of money are called, in whatever table they stand."""


def _unequal_parts(survey: Survey, notes: Notes) -> None:
    """Prices whose parts do not make the whole. What cannot be read as a price is another rule's to tell."""
    for table in (CHECKOUTS.table, ORDERS.table):
        for row in survey.rows(select(table.c.id, table.c.total, table.c["items"], table.c.adjustments)):
            notes.examined += 1
            try:
                items, adjustments = json.loads(row.items), json.loads(row.adjustments)
                parts = sum(item["amount"] for item in items) + sum(_signed(part) for part in adjustments)
                whole = all(item["quantity"] * item["unit_amount"] == item["amount"] for item in items)
            except (ValueError, TypeError, KeyError):
                continue
            if parts != row.total or not whole:
                notes.violated(**{table.name: row.id, "total": row.total, "parts": parts})


def _signed(part: dict[str, Any]) -> int:
    amount: int = part["amount"]
    return -amount if part["kind"] == AdjustmentKind.DISCOUNT else amount


def _too_large(survey: Survey, notes: Notes) -> None:
    for table in metadata.sorted_tables:
        amounts = [table.c[name] for name in _AMOUNTS if name in table.c]
        if not amounts:
            continue
        notes.examined += survey.count(table)
        large = [func.abs(amount) > MINOR_UNITS_MAX for amount in amounts]
        for row in survey.rows(select(*table.primary_key.columns, *amounts).where(sa.or_(*large))):
            notes.violated(table=table.name, **row._mapping)


def _posted_to_others(thing: sa.Table, effect: Effect) -> Query:
    """Captures or refunds that the books tell of another provider's or another partner's account."""
    payment, journal, posting, account = PAYMENTS.table, JOURNAL.table, POSTINGS.table, ACCOUNTS.table
    others = sa.or_(
        sa.and_(account.c.kind == AccountKind.PROVIDER_CLEARING.value, account.c.provider != payment.c.provider),
        sa.and_(account.c.kind == AccountKind.PARTNER_PAYABLE.value, account.c.partner_id != payment.c.partner_id),
    )
    return (
        select(thing.c.id.label(effect.value), journal.c.id.label("transaction"), account.c.id.label("account"))
        .join(payment, payment.c.id == thing.c.payment_id)
        .join(journal, sa.and_(journal.c.object_id == thing.c.id, journal.c.effect == effect.value))
        .join(posting, posting.c.transaction_id == journal.c.id)
        .join(account, account.c.id == posting.c.account_id)
        .where(others)
    )


def _refund_of_another_amount() -> Query:
    """A refund is owed by the partner in full: the fee of the capture is kept."""
    journal, posting, account, refund = JOURNAL.table, POSTINGS.table, ACCOUNTS.table, REFUNDS.table
    owed = total(sa.case((account.c.kind == AccountKind.PARTNER_PAYABLE.value, posting.c.minor_units), else_=0))
    return (
        select(refund.c.id.label("refund"), refund.c.amount, owed.label("posted_to_partner"))
        .join(journal, sa.and_(journal.c.object_id == refund.c.id, journal.c.effect == Effect.REFUND.value))
        .join(posting, posting.c.transaction_id == journal.c.id)
        .join(account, account.c.id == posting.c.account_id)
        .group_by(refund.c.id, refund.c.amount)
        .having(owed != -refund.c.amount)
    )


def _miscounted(table: sa.Table, column: str, *scope: str) -> Query:
    """The scopes whose last number is not the one that their counter has given."""
    counters, parts = metadata.tables[COUNTERS], [table.c[name] for name in scope]
    name: sa.ColumnElement[str] = sa.literal(f"{table.name}.{column}")
    for part in parts:
        name = name + "/" + part
    last = select(name.label("counter"), func.max(table.c[column]).label("last"))
    if parts:
        last = last.where(*(part.is_not(None) for part in parts)).group_by(*parts)
    found = last.subquery()
    return (
        select(found.c.counter, found.c.last, counters.c.value.label("given"))
        .outerjoin(counters, counters.c.name == found.c.counter)
        .where(func.coalesce(counters.c.value, 0) != func.coalesce(found.c.last, 0))
    )


_EVENTS = metadata.tables["events"]

RULES: tuple[Rule, ...] = (
    Rule("L12", "The parts of a price make the whole: items, quantities, adjustments.", _unequal_parts),
    Rule("L13", f"No amount is beyond {MINOR_UNITS_MAX} minor units.", _too_large),
    by_query(
        "L14",
        "Captures and refunds are posted to their own provider and partner, refunds to the partner in full.",
        (
            rows_where(CAPTURES.table, CAPTURES.table.c.state == "SUCCEEDED"),
            rows_where(REFUNDS.table, REFUNDS.table.c.state == "SUCCEEDED"),
        ),
        _posted_to_others(CAPTURES.table, Effect.CAPTURE),
        _posted_to_others(REFUNDS.table, Effect.REFUND),
        _refund_of_another_amount(),
    ),
    by_query(
        "L15",
        "Every counter stands at the last number that it gave: journal, logs, sessions.",
        (metadata.tables[COUNTERS],),
        _miscounted(JOURNAL.table, "position"),
        _miscounted(_EVENTS, "partner_position", "partner_id"),
        _miscounted(_EVENTS, "partner_session_sequence", "partner_id", "session_id"),
        _miscounted(_EVENTS, "channel_position", "channel_id"),
        _miscounted(_EVENTS, "channel_session_sequence", "channel_id", "session_id"),
    ),
)
