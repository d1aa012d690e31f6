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
        "W3",
        "A link that ended keeps no token, unless it is yet to be deleted at the provider.",
        rows_of("wallet_links"),
        "SELECT id FROM wallet_links WHERE state IN ('COMPLETED', 'CANCELED', 'EXPIRED', 'FAILED') "
        "AND length(token_sealed) > 0 AND revoke_time = 0",
    ),
    Invariant(
        "W4",
        "An active wallet has a token.",
        rows_of("wallets"),
        "SELECT id FROM wallets WHERE state = 'ACTIVE' AND length(token_sealed) = 0",
    ),
    Invariant(
        "W5",
        "A payment was made with a wallet of the person who paid.",
        rows_of("payments"),
        "SELECT p.id FROM payments p LEFT JOIN wallets w ON w.id = p.wallet_id "
        "WHERE w.id IS NULL OR w.user_id <> p.user_id OR w.provider <> p.provider",
    ),
    Invariant(
        "A1",
        "A payment, its checkout and its session belong to the same partner, person and channel.",
        rows_of("payments"),
        "SELECT p.id FROM payments p JOIN checkouts c ON c.id = p.checkout_id JOIN sessions s ON s.id = c.session_id "
        "WHERE p.partner_id <> c.partner_id OR p.user_id <> c.user_id OR p.channel_id <> c.channel_id "
        "OR c.partner_id <> s.partner_id OR c.user_id <> s.user_id OR c.channel_id <> s.channel_id",
    ),
    Invariant(
        "A2",
        "No text that is kept holds a key of ours.",
        rows_of("events"),
        "SELECT id FROM events WHERE payload LIKE '%cmp_test_%' OR payload LIKE '%cmp_live_%' "
        "UNION ALL SELECT key FROM requests WHERE answer LIKE '%cmp_test_%' OR answer LIKE '%cmp_live_%' "
        "UNION ALL SELECT event_id FROM inbox WHERE notice LIKE '%cmp_test_%' OR notice LIKE '%cmp_live_%'",
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
