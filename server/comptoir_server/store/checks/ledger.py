"""The books."""

from __future__ import annotations

from comptoir_server.store.checks.invariant import Invariant, gapless, rows_of

INVARIANTS: tuple[Invariant, ...] = (
    Invariant(
        "L1",
        "Each journal transaction sums to zero.",
        rows_of("journal"),
        "SELECT j.id FROM journal j LEFT JOIN postings p ON p.transaction_id = j.id "
        "GROUP BY j.id HAVING coalesce(sum(p.minor_units), 1) <> 0",
    ),
    gapless("L2", "Journal positions run from 1 without gaps.", "journal", "position", "1"),
    Invariant(
        "L2b",
        "The lines of a journal transaction are numbered from 0 without gaps, two or more.",
        rows_of("postings"),
        "SELECT transaction_id FROM postings GROUP BY transaction_id "
        "HAVING min(line) <> 0 OR max(line) <> count(*) - 1 OR count(*) < 2",
    ),
    Invariant(
        "L4",
        "A posting is in the currency of its account and of its transaction.",
        rows_of("postings"),
        "SELECT p.transaction_id FROM postings p JOIN accounts a ON a.id = p.account_id "
        "JOIN journal j ON j.id = p.transaction_id "
        "WHERE p.currency_code <> a.currency_code OR p.currency_code <> j.currency_code",
    ),
    Invariant(
        "L5",
        "A posting has an account and a transaction.",
        rows_of("postings"),
        "SELECT p.transaction_id FROM postings p LEFT JOIN accounts a ON a.id = p.account_id "
        "LEFT JOIN journal j ON j.id = p.transaction_id WHERE a.id IS NULL OR j.id IS NULL",
    ),
    Invariant(
        "L6",
        "There is one journal transaction an object and effect.",
        rows_of("journal"),
        "SELECT min(id) FROM journal GROUP BY object_id, effect HAVING count(*) > 1",
    ),
    Invariant(
        "L7",
        "A capture's postings at the provider are its amount; a capture without success has none.",
        rows_of("captures"),
        "SELECT c.id FROM captures c LEFT JOIN journal j ON j.object_id = c.id AND j.effect = 'capture' "
        "LEFT JOIN (SELECT p.transaction_id, sum(p.minor_units) AS held FROM postings p "
        "JOIN accounts a ON a.id = p.account_id WHERE a.kind = 'PROVIDER_CLEARING' GROUP BY p.transaction_id) h "
        "ON h.transaction_id = j.id "
        "WHERE (c.state = 'SUCCEEDED' AND coalesce(h.held, 0) <> -c.amount) "
        "OR (c.state <> 'SUCCEEDED' AND j.id IS NOT NULL)",
    ),
    Invariant(
        "L8",
        "A refund's postings at the provider are its amount; a refund without success has none.",
        rows_of("refunds"),
        "SELECT r.id FROM refunds r LEFT JOIN journal j ON j.object_id = r.id AND j.effect = 'refund' "
        "LEFT JOIN (SELECT p.transaction_id, sum(p.minor_units) AS held FROM postings p "
        "JOIN accounts a ON a.id = p.account_id WHERE a.kind = 'PROVIDER_CLEARING' GROUP BY p.transaction_id) h "
        "ON h.transaction_id = j.id "
        "WHERE (r.state = 'SUCCEEDED' AND coalesce(h.held, 0) <> r.amount) "
        "OR (r.state <> 'SUCCEEDED' AND j.id IS NOT NULL)",
    ),
    Invariant(
        "L10",
        "A journal transaction belongs to a capture or a refund.",
        rows_of("journal"),
        "SELECT j.id FROM journal j LEFT JOIN captures c ON c.id = j.object_id AND j.effect = 'capture' "
        "LEFT JOIN refunds r ON r.id = j.object_id AND j.effect = 'refund' WHERE c.id IS NULL AND r.id IS NULL",
    ),
    Invariant(
        "L11",
        "An account is of a known kind, and its key says kind, owner and currency.",
        rows_of("accounts"),
        "SELECT id FROM accounts WHERE key <> kind || ':' || partner_id || provider || ':' || currency_code",
    ),
)
