"""A payment is what its person agreed to, and what nobody wanted is not held."""

from __future__ import annotations

import itertools
import json

import sqlalchemy as sa
from sqlalchemy import select

from comptoir_server.domain.payments import LIVE, PaymentState
from comptoir_server.store.checks.survey import Notes, Query, Rule, Survey, by_query, rows_where
from comptoir_server.store.tables import CHECKOUTS, OPERATIONS, ORDERS, PAYMENTS, WALLETS

_checkout, _payment, _wallet = CHECKOUTS.table, PAYMENTS.table, WALLETS.table
_order, _operation = ORDERS.table, OPERATIONS.table

LIVE_STATES = tuple(sorted(state.value for state in LIVE))


def _without_consent() -> Query:
    """Payments by somebody else, too late, of an unknown version, or of another amount.

    None can come before its checkout or its wallet; that its time says so proves only that a clock was put back.
    """
    latest = sa.and_(
        _payment.c.checkout_version == _checkout.c.attempt_version,
        _checkout.c.version == _checkout.c.attempt_version + 1,
    )
    agreed = sa.and_(
        _payment.c.user_id == _checkout.c.user_id,
        _payment.c.create_time < _checkout.c.expire_time,
        _payment.c.checkout_version.between(1, _checkout.c.attempt_version),
        sa.or_(sa.not_(latest), _payment.c.amount == _checkout.c.total),
    )
    return (
        select(
            _payment.c.id.label("payment"),
            _payment.c.checkout_version.label("version"),
            _payment.c.amount,
            _checkout.c.id.label("checkout"),
            _wallet.c.id.label("wallet"),
        )
        .join(_checkout, _checkout.c.id == _payment.c.checkout_id)
        .join(_wallet, _wallet.c.id == _payment.c.wallet_id)
        .where(sa.not_(agreed))
    )


def _held_unwanted() -> Query:
    """Holds that nothing was bought with, and that nobody has even asked to release."""
    ordered = sa.exists().where(_order.c.payment_id == _payment.c.id)
    called_off = sa.exists().where(
        _checkout.c.id == _payment.c.checkout_id, _checkout.c.state.in_(("CANCELED", "EXPIRED"))
    )
    released = sa.exists().where(_operation.c.object_id == _payment.c.id, _operation.c.kind == "VOID")
    ended = _payment.c.state.in_((PaymentState.DECLINED.value, PaymentState.FAILED.value))
    still_held = _payment.c.state.not_in((PaymentState.VOIDED.value, PaymentState.EXPIRED.value))
    columns = (_payment.c.id.label("payment"), _payment.c.state, _payment.c.authorized, _payment.c.captured)
    return select(*columns).where(
        _payment.c.authorized > _payment.c.captured,
        still_held,
        sa.or_(called_off, ended),
        sa.not_(ordered),
        sa.not_(released),
    )


def _held_too_early() -> Query:
    return select(_payment.c.id.label("payment"), _payment.c.state, _payment.c.authorized).where(
        _payment.c.state.in_(LIVE_STATES), _payment.c.authorized > 0
    )


def _lists_others(survey: Survey, notes: Notes) -> None:
    """Checkouts whose list of payments is not that of their payments."""
    attempts = (
        select(_checkout.c.id, _checkout.c.payment_ids, _payment.c.id.label("payment_id"))
        .outerjoin(_payment, _payment.c.checkout_id == _checkout.c.id)
        .order_by(_checkout.c.id, _payment.c.checkout_version)
    )
    for (checkout_id, listed), rows in itertools.groupby(survey.rows(attempts), key=lambda row: (row[0], row[1])):
        notes.examined += 1
        made = [row.payment_id for row in rows if row.payment_id is not None]
        if listed != json.dumps(made, separators=(",", ":")):
            notes.violated(checkout=checkout_id, lists=listed, payments=",".join(made))


RULES: tuple[Rule, ...] = (
    by_query(
        "C14",
        "A payment is what its person agreed to: their own, in time, a version that was shown, its amount.",
        (_payment,),
        _without_consent(),
    ),
    by_query(
        "C15",
        "Nothing is held before the provider said so, and no hold is kept that nothing was bought with.",
        (rows_where(_payment),),
        _held_too_early(),
        _held_unwanted(),
    ),
    Rule("K7", "A checkout lists exactly its payments, in the order of its versions.", _lists_others),
)
