"""What was asked of providers: written down before it was sent, ended by evidence that is kept."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import select

from comptoir_server.runtime import MICROSECONDS
from comptoir_server.store.checks.survey import Notes, Query, Rule, Survey, by_query, rows_where
from comptoir_server.store.tables import CAPTURES, INBOX, OPERATIONS, PAYMENTS, REFUNDS

DOUBT_SECONDS = 24 * 3600
"""How long the reconciler may be in doubt before a person should look: it has long come to trying every hour."""

SOURCES = ("reply", "look-up", "look-up: absent", "store", "the person acted")
CALLED_OFF = "checkout % before the person acted"
WEBHOOK = "webhook:"
"""Where evidence may come from: one of these, a checkout that was called off, or a delivery in the inbox."""

PENDING_KINDS = {"CHARGE": "AUTHORIZE", "AUTHORIZE": "AUTHORIZE", "CAPTURE": "CAPTURE", "VOID": "VOID"}
"""What a payment calls an operation that is under way on it."""

_operation, _payment, _capture, _refund = OPERATIONS.table, PAYMENTS.table, CAPTURES.table, REFUNDS.table
_delivery = INBOX.table


def _without_evidence() -> Query:
    """Operations that ended by nothing known, or by a webhook that was not kept."""
    kept = sa.exists().where(
        _delivery.c.provider == _operation.c.provider, _operation.c.evidence == WEBHOOK + _delivery.c.event_id
    )
    known = sa.or_(_operation.c.evidence.in_(SOURCES), _operation.c.evidence.like(CALLED_OFF), kept)
    columns = (_operation.c.id.label("operation"), _operation.c.evidence, _operation.c.outcome)
    return select(*columns).where(_operation.c.evidence != "", sa.not_(known))


_BY_US = (
    _capture.c.request_key.not_like("platform/%"),
    _capture.c.request_key.not_like("late/%"),
)
"""Captures that were asked for as such: not those that a charge made, nor what a provider took after the end."""


def _never_written_down() -> Iterable[Query]:
    """Things of ours without an operation for their amount."""
    kind = sa.case((_payment.c.capture_mode == "AUTOMATIC", "CHARGE"), else_="AUTHORIZE")
    yield _unasked(_payment, _payment.c.id, kind)
    yield _unasked(_capture, _capture.c.payment_id, sa.literal("CAPTURE")).where(*_BY_US)
    yield _unasked(_refund, _refund.c.payment_id, sa.literal("REFUND")).where(_refund.c.origin != "PROVIDER")


def _unasked(thing: sa.Table, payment_id: sa.ColumnElement[str], kind: sa.ColumnElement[str]) -> Query:
    asked = sa.exists().where(
        _operation.c.object_id == thing.c.id,
        _operation.c.payment_id == payment_id,
        _operation.c.kind == kind,
        _operation.c.amount == thing.c.amount,
    )
    return select(thing.c.id.label(thing.name), thing.c.amount).where(sa.not_(asked))


def _pending_otherwise() -> Iterable[Query]:
    """Payments that call what is under way otherwise, and operations that their payment does not know to be."""
    kind = sa.case(PENDING_KINDS, value=_operation.c.kind, else_="")
    doubt = sa.case((_operation.c.state == "IN_DOUBT", "IN_DOUBT"), else_="PROCESSING")
    yield (
        select(
            _payment.c.id.label("payment"),
            _payment.c.pending_kind,
            _payment.c.pending_state,
            _operation.c.id.label("operation"),
            _operation.c.kind,
            _operation.c.state,
        )
        .join(_operation, _operation.c.id == _payment.c.pending_operation_id)
        .where(sa.or_(_payment.c.pending_kind != kind, _payment.c.pending_state != doubt))
    )
    known = sa.exists().where(_payment.c.pending_operation_id == _operation.c.id)
    columns = (_operation.c.id.label("operation"), _operation.c.kind, _operation.c.payment_id.label("payment"))
    yield select(*columns).where(_operation.c.state != "DONE", _operation.c.kind != "REFUND", sa.not_(known))


def _long_in_doubt(survey: Survey, notes: Notes) -> None:
    notes.examined = survey.count(_operation)
    limit = survey.now - DOUBT_SECONDS * MICROSECONDS
    columns = (_operation.c.id.label("operation"), _operation.c.kind, _operation.c.payment_id.label("payment"))
    late = (_operation.c.state == "IN_DOUBT", _operation.c.create_time < limit)
    for row in survey.rows(select(*columns, _operation.c.tries).where(*late)):
        notes.violated(**row._mapping)


RULES: tuple[Rule, ...] = (
    Rule(
        "C13",
        f"No operation is in doubt for more than {DOUBT_SECONDS // 3600} hours: an operator should look.",
        _long_in_doubt,
        warning=True,
    ),
    by_query(
        "C16",
        "Evidence is of a known kind, and a webhook that is cited was kept.",
        (rows_where(_operation, _operation.c.evidence != ""),),
        _without_evidence(),
    ),
    by_query(
        "C17",
        "Each payment, capture and refund of ours has its operation, stored with its key and for its amount.",
        (_payment, rows_where(_capture, *_BY_US), rows_where(_refund, _refund.c.origin != "PROVIDER")),
        *_never_written_down(),
    ),
    by_query(
        "C18",
        "A payment says what is under way on it, and how sure, as its operation does.",
        (rows_where(_payment, _payment.c.pending_operation_id != ""), rows_where(_operation)),
        *_pending_otherwise(),
    ),
)
