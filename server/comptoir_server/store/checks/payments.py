"""Payments, captures, refunds and the operations behind them."""

from __future__ import annotations

from comptoir_server.store.checks.invariant import Invariant, rows_of

INVARIANTS: tuple[Invariant, ...] = (
    Invariant(
        "C1",
        "A checkout has at most one successful payment.",
        rows_of("payments"),
        "SELECT checkout_id FROM payments WHERE state IN ('AUTHORIZED', 'PARTIALLY_CAPTURED', 'CAPTURED', 'VOIDED', "
        "'EXPIRED') GROUP BY checkout_id HAVING count(*) > 1",
    ),
    Invariant(
        "C1b",
        "A checkout has at most one payment under way.",
        rows_of("payments"),
        "SELECT checkout_id FROM payments WHERE state IN ('PROCESSING', 'REQUIRES_ACTION') "
        "GROUP BY checkout_id HAVING count(*) > 1",
    ),
    Invariant(
        "C2",
        "What is captured, or being captured, was authorised; what was authorised was agreed to.",
        rows_of("payments"),
        "SELECT id FROM payments WHERE captured + capturing > authorized "
        "OR (authorized > amount AND reversal_reason = '') OR captured < 0 OR capturing < 0",
    ),
    Invariant(
        "C3",
        "What is refunded, or being refunded, was captured.",
        rows_of("payments"),
        "SELECT id FROM payments WHERE refunded + refunding > captured OR refunded < 0 OR refunding < 0",
    ),
    Invariant(
        "C3b",
        "What is refunded of a capture, or being refunded, is at most its amount.",
        rows_of("captures"),
        "SELECT id FROM captures WHERE refunded + refunding > amount OR refunded < 0 OR refunding < 0",
    ),
    Invariant(
        "C4",
        "A payment's captured total is the sum of its successful captures.",
        rows_of("payments"),
        "SELECT p.id FROM payments p LEFT JOIN captures c ON c.payment_id = p.id AND c.state = 'SUCCEEDED' "
        "GROUP BY p.id, p.captured HAVING coalesce(sum(c.amount), 0) <> p.captured",
    ),
    Invariant(
        "C4b",
        "What a payment has reserved for captures is the sum of those under way.",
        rows_of("payments"),
        "SELECT p.id FROM payments p LEFT JOIN captures c ON c.payment_id = p.id "
        "AND c.state IN ('PROCESSING', 'IN_DOUBT') "
        "GROUP BY p.id, p.capturing HAVING coalesce(sum(c.amount), 0) <> p.capturing",
    ),
    Invariant(
        "C4c",
        "A payment's refunded total is the sum of its successful refunds.",
        rows_of("payments"),
        "SELECT p.id FROM payments p LEFT JOIN refunds r ON r.payment_id = p.id AND r.state = 'SUCCEEDED' "
        "GROUP BY p.id, p.refunded HAVING coalesce(sum(r.amount), 0) <> p.refunded",
    ),
    Invariant(
        "C4d",
        "What a payment has reserved for refunds is the sum of those under way.",
        rows_of("payments"),
        "SELECT p.id FROM payments p LEFT JOIN refunds r ON r.payment_id = p.id "
        "AND r.state IN ('PROCESSING', 'IN_DOUBT') "
        "GROUP BY p.id, p.refunding HAVING coalesce(sum(r.amount), 0) <> p.refunding",
    ),
    Invariant(
        "C4e",
        "A capture's refunded and reserved amounts are the sums of its refunds.",
        rows_of("captures"),
        "SELECT c.id FROM captures c LEFT JOIN refunds r ON r.capture_id = c.id GROUP BY c.id, c.refunded, c.refunding "
        "HAVING coalesce(sum(CASE WHEN r.state = 'SUCCEEDED' THEN r.amount ELSE 0 END), 0) <> c.refunded "
        "OR coalesce(sum(CASE WHEN r.state IN ('PROCESSING', 'IN_DOUBT') THEN r.amount ELSE 0 END), 0) <> c.refunding",
    ),
    Invariant(
        "C5",
        "A captured payment has money captured; a declined or failed one has none that was not given back, unless the "
        "provider failed to.",
        rows_of("payments"),
        "SELECT id FROM payments WHERE (state IN ('CAPTURED', 'PARTIALLY_CAPTURED') AND captured = 0) "
        "OR (state IN ('DECLINED', 'FAILED', 'VOIDED', 'PROCESSING', 'REQUIRES_ACTION') "
        "AND captured <> refunded + refunding "
        "AND NOT EXISTS (SELECT 1 FROM refunds r WHERE r.payment_id = payments.id AND r.state = 'FAILED'))",
    ),
    Invariant(
        "C6",
        "A payment under way has an operation that is not done, and only then.",
        rows_of("payments"),
        "SELECT p.id FROM payments p LEFT JOIN operations o ON o.id = p.pending_operation_id "
        "WHERE (p.pending_operation_id <> '' AND (o.id IS NULL OR o.state = 'DONE' OR o.payment_id <> p.id)) "
        "OR (p.state IN ('PROCESSING', 'REQUIRES_ACTION') AND p.pending_operation_id = '')",
    ),
    Invariant(
        "C7",
        "What is done cites its evidence.",
        rows_of("operations"),
        "SELECT id FROM operations WHERE (state = 'DONE') <> (evidence <> '') OR (state = 'DONE' AND outcome = '')",
    ),
    Invariant(
        "C8",
        "What was taken for a checkout that was called off was given back, or is being given back.",
        rows_of("payments", "reversal_reason <> ''"),
        "SELECT p.id FROM payments p JOIN checkouts c ON c.id = p.checkout_id "
        "WHERE c.state IN ('CANCELED', 'EXPIRED') AND p.captured <> p.refunded + p.refunding "
        "AND NOT EXISTS (SELECT 1 FROM refunds r WHERE r.payment_id = p.id AND r.state = 'FAILED')",
    ),
    Invariant(
        "C9",
        "Every payment, capture and refund under way has an operation: our key at the provider, stored first.",
        rows_of("operations"),
        "SELECT id FROM (SELECT id, state, create_time FROM payments WHERE state = 'PROCESSING' "
        "UNION ALL SELECT id, state, create_time FROM captures WHERE state IN ('PROCESSING', 'IN_DOUBT') "
        "UNION ALL SELECT id, state, create_time FROM refunds WHERE state IN ('PROCESSING', 'IN_DOUBT')) under_way "
        "WHERE NOT EXISTS (SELECT 1 FROM operations o WHERE o.object_id = under_way.id AND o.state <> 'DONE')",
    ),
    Invariant(
        "C10",
        "An operation that is not done belongs to something that is under way.",
        rows_of("operations"),
        "SELECT o.id FROM operations o LEFT JOIN payments p ON p.pending_operation_id = o.id "
        "LEFT JOIN captures c ON c.id = o.object_id AND c.state IN ('PROCESSING', 'IN_DOUBT') "
        "LEFT JOIN refunds r ON r.id = o.object_id AND r.state IN ('PROCESSING', 'IN_DOUBT') "
        "WHERE o.state <> 'DONE' AND p.id IS NULL AND c.id IS NULL AND r.id IS NULL",
    ),
    Invariant(
        "C11",
        "A request id made at most one payment, capture or refund.",
        rows_of("payments"),
        "SELECT request_key FROM (SELECT request_key FROM payments UNION ALL SELECT request_key FROM captures "
        "WHERE request_key NOT LIKE 'platform/%' UNION ALL SELECT request_key FROM refunds "
        "WHERE request_key NOT LIKE 'platform/%') asked GROUP BY request_key HAVING count(*) > 1",
    ),
    Invariant(
        "C12",
        "An operation that may have been sent counts its sends, and knows when the last one was.",
        rows_of("operations"),
        "SELECT id FROM operations WHERE sends < 0 OR (state IN ('IN_DOUBT', 'WAITING') AND sends = 0) "
        "OR (sends > 0 AND last_send_time = 0)",
    ),
)
