"""Wallets, links, keys, request ids and what providers told us."""

from __future__ import annotations

from comptoir_server.store.checks.invariant import Invariant, rows_of

INVARIANTS: tuple[Invariant, ...] = (
    Invariant(
        "W1",
        "A person's default wallet is their own.",
        rows_of("users"),
        "SELECT u.id FROM users u LEFT JOIN wallets w ON w.id = u.default_wallet_id "
        "WHERE u.default_wallet_id <> '' AND (w.id IS NULL OR w.user_id <> u.id)",
    ),
    Invariant(
        "W2",
        "A completed link made a wallet of the same person at the same provider.",
        rows_of("wallet_links"),
        "SELECT l.id FROM wallet_links l LEFT JOIN wallets w ON w.id = l.wallet_id "
        "WHERE (l.state = 'COMPLETED') <> (l.wallet_id <> '') "
        "OR (l.state = 'COMPLETED' AND (w.id IS NULL OR w.user_id <> l.user_id OR w.provider <> l.provider))",
    ),
    Invariant(
        "W5",
        "A payment was made with a wallet of the person who paid.",
        rows_of("payments"),
        "SELECT p.id FROM payments p LEFT JOIN wallets w ON w.id = p.wallet_id "
        "WHERE w.id IS NULL OR w.user_id <> p.user_id OR w.provider <> p.provider",
    ),
    Invariant(
        "A3",
        "A request's answer is final: no payment in it is still being confirmed.",
        rows_of("requests"),
        "SELECT r.key FROM requests r JOIN payments p ON p.id = r.object_id "
        "WHERE r.answer <> '' AND r.key LIKE '%/ConfirmCheckout/%' AND p.state = 'PROCESSING'",
    ),
    Invariant(
        "A4",
        "A request that waits for its answer waits for something that is there.",
        rows_of("requests"),
        "SELECT r.key FROM requests r WHERE r.answer = '' "
        "AND NOT EXISTS (SELECT 1 FROM payments p WHERE p.id = r.object_id) "
        "AND NOT EXISTS (SELECT 1 FROM captures c WHERE c.id = r.object_id) "
        "AND NOT EXISTS (SELECT 1 FROM refunds f WHERE f.id = r.object_id)",
    ),
)
