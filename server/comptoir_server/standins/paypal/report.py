"""The books as JSON: what a test holds a client's own books against."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict

from comptoir_server.standins.paypal.amounts import fee_of
from comptoir_server.standins.paypal.books import Authorization, Books, Capture, Order, Refund, Unit
from comptoir_server.standins.paypal.wire import Json

_TOTAL_OF = {
    "authorization": "authorized",
    "void": "voided",
    "capture": "captured",
    "capture_pending": "capture_pending",
    "capture_declined": "capture_declined",
    "refund": "refunded",
    "refund_pending": "refund_pending",
    "refund_failed": "refund_failed",
    "reversal": "reversed",
}
"""Effect to the name of its sum. A pending one that settles counts under both names."""


def report(books: Books) -> Json:
    """Everything in the books. Amounts are ISO 4217 minor units, times microseconds."""
    return {
        "totals": _sums(books, by="currency_code"),
        "by_custom_id": _sums(books, by="custom_id"),
        "by_invoice_id": _sums(books, by="invoice_id"),
        "orders": [_order(order) for order in books.orders.values()],
        "authorizations": [_authorization(hold) for hold in books.authorizations.values()],
        "captures": [_capture(capture) for capture in books.captures.values()],
        "refunds": [_refund(refund) for refund in books.refunds.values()],
        "setup_tokens": [
            {"id": token.id, "status": token.status, "account": token.account.name if token.account else ""}
            for token in books.setup_tokens.values()
        ],
        "payment_tokens": [
            {"id": token.id, "account": token.account.name, "deleted": token.deleted}
            for token in books.payment_tokens.values()
        ],
        "effects": [asdict(effect) for effect in books.effects],
    }


def _sums(books: Books, by: str) -> Json:
    sums: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for effect in books.effects:
        row = sums[getattr(effect, by)]
        row[_TOTAL_OF[effect.kind]] += effect.minor_units
        row[f"{effect.kind}_count"] += 1
        if effect.kind == "capture":
            row["fees"] += fee_of(effect.minor_units, effect.currency_code)
    return {key: dict(row) for key, row in sums.items()}


def _order(order: Order) -> Json:
    return {
        "id": order.id,
        "intent": order.intent,
        "status": order.status,
        "account": order.account.name if order.account else "",
        "create_time": order.create_time,
        "units": [{**_money(unit, unit.minor_units), "reference_id": unit.reference_id} for unit in order.units],
    }


def _authorization(hold: Authorization) -> Json:
    return {
        **_money(hold.unit, hold.minor_units),
        "id": hold.id,
        "order_id": hold.order.id,
        "status": hold.status,
        "expired": hold.expired,
        "captured": hold.captured,
        "parent_id": hold.parent.id if hold.parent else "",
    }


def _capture(capture: Capture) -> Json:
    return {
        **_money(capture.unit, capture.minor_units),
        "id": capture.id,
        "order_id": capture.order.id,
        "authorization_id": capture.authorization.id if capture.authorization else "",
        "invoice_id": capture.invoice_id,
        "status": capture.status,
        "given_back": capture.given_back,
        "reversed": capture.reversed,
    }


def _refund(refund: Refund) -> Json:
    return {
        "id": refund.id,
        "capture_id": refund.capture.id,
        "minor_units": refund.minor_units,
        "currency_code": refund.capture.unit.currency_code,
        "custom_id": refund.custom_id,
        "invoice_id": refund.invoice_id,
        "status": refund.status,
        "reversal": refund.reversal,
    }


def _money(unit: Unit, minor_units: int) -> Json:
    return {
        "minor_units": minor_units,
        "currency_code": unit.currency_code,
        "custom_id": unit.custom_id,
        "invoice_id": unit.invoice_id,
    }
