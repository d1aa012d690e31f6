"""Checkouts and orders."""

from __future__ import annotations

from comptoir_server.store.checks.invariant import Invariant, rows_of

INVARIANTS: tuple[Invariant, ...] = (
    Invariant(
        "K1",
        "A completed checkout has an order and a payment that succeeded.",
        rows_of("checkouts", "state = 'COMPLETED'"),
        "SELECT c.id FROM checkouts c LEFT JOIN orders o ON o.id = c.order_id AND o.checkout_id = c.id "
        "LEFT JOIN payments p ON p.checkout_id = c.id AND p.id = o.payment_id "
        "AND p.state IN ('AUTHORIZED', 'PARTIALLY_CAPTURED', 'CAPTURED', 'VOIDED', 'EXPIRED') "
        "WHERE c.state = 'COMPLETED' AND (o.id IS NULL OR p.id IS NULL)",
    ),
    Invariant(
        "K2",
        "A checkout that is being paid has a payment under way, and only then.",
        rows_of("checkouts"),
        "SELECT c.id FROM checkouts c LEFT JOIN payments p ON p.checkout_id = c.id "
        "AND p.state IN ('PROCESSING', 'REQUIRES_ACTION') "
        "WHERE (c.state IN ('PROCESSING', 'REQUIRES_ACTION')) <> (p.id IS NOT NULL)",
    ),
    Invariant(
        "K3",
        "A payment is of the amount and currency of its checkout, unless the price changed after it was refused.",
        rows_of("payments"),
        "SELECT p.id FROM payments p JOIN checkouts c ON c.id = p.checkout_id WHERE p.currency_code <> c.currency_code "
        "OR (p.amount <> c.total AND p.state NOT IN ('DECLINED', 'FAILED'))",
    ),
    Invariant(
        "K4",
        "The version that was agreed to last is that of the last payment, and no payment has a later one.",
        rows_of("checkouts"),
        "SELECT c.id FROM checkouts c LEFT JOIN payments p ON p.checkout_id = c.id GROUP BY c.id, c.attempt_version "
        "HAVING coalesce(max(p.checkout_version), 0) <> c.attempt_version",
    ),
    Invariant(
        "K5",
        "An order is of its checkout's total, and refunded by what was given back of it.",
        rows_of("orders"),
        "SELECT o.id FROM orders o LEFT JOIN checkouts c ON c.id = o.checkout_id "
        "LEFT JOIN (SELECT payment_id, sum(amount) AS given_back FROM refunds "
        "WHERE state = 'SUCCEEDED' AND origin <> 'PLATFORM' GROUP BY payment_id) r ON r.payment_id = o.payment_id "
        "WHERE c.id IS NULL OR o.total <> c.total OR o.refunded <> coalesce(r.given_back, 0)",
    ),
    Invariant(
        "K6",
        "An order is cancelled when all of it was given back, and only then.",
        rows_of("orders"),
        "SELECT id FROM orders WHERE (state = 'CANCELED') <> (refunded = total)",
    ),
    Invariant(
        "K8",
        "A partner's reference is open or paid once.",
        rows_of("checkouts", "partner_reference <> ''"),
        "SELECT min(id) FROM checkouts WHERE partner_reference <> '' AND state NOT IN ('CANCELED', 'EXPIRED') "
        "GROUP BY partner_id, partner_reference HAVING count(*) > 1",
    ),
)
