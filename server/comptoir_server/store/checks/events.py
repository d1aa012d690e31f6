"""What was told, and what was said."""

from __future__ import annotations

from comptoir_server.domain.events import TYPES
from comptoir_server.store.checks.invariant import OBJECT_ID, Invariant, gapless, rows_of


def _told(noun: str, table: str, logs: tuple[str, ...], code: str) -> Invariant:
    """The rule that an object's present state was told in the logs of everybody it concerns."""
    known = " ".join(f"WHEN '{state}' THEN '{kind}'" for (told, state), kind in TYPES.items() if told == noun)
    told = f"SELECT DISTINCT %s, type, {OBJECT_ID} AS object_id FROM events WHERE noun = '{noun}'"  # noqa: S608
    missing = " UNION ".join(
        f"SELECT t.id FROM {table} t LEFT JOIN ({told % log}) e ON e.object_id = t.id AND e.{log} = t.{log} "  # noqa: S608
        f"AND e.type = CASE t.state {known} END WHERE e.object_id IS NULL"
        for log in logs
    )
    words = f"The present state of each {noun.replace('_', ' ')} was told to everybody it concerns."
    return Invariant(code, words, rows_of(table), missing)


_BOTH = ("partner_id", "channel_id")

_LOGS = (
    "(SELECT partner_id AS log_id, partner_position AS position, session_id, "
    "partner_session_sequence AS session_sequence FROM events WHERE partner_id IS NOT NULL "
    "UNION ALL SELECT channel_id, channel_position, session_id, channel_session_sequence FROM events "
    "WHERE channel_id IS NOT NULL) AS logs"
)
"""Every log's events, each with its place there."""

INVARIANTS: tuple[Invariant, ...] = (
    _told("payment", "payments", _BOTH, "E1a"),
    _told("capture", "captures", _BOTH, "E1b"),
    _told("refund", "refunds", _BOTH, "E1c"),
    _told("checkout", "checkouts", _BOTH, "E1d"),
    _told("order", "orders", _BOTH, "E1e"),
    _told("session", "sessions", _BOTH, "E1f"),
    _told("wallet_link", "wallet_links", ("channel_id",), "E1g"),
    _told("wallet", "wallets", ("channel_id",), "E1h"),
    gapless("E2", "Positions in a log run from 1 without gaps.", _LOGS, "position", "log_id"),
    gapless(
        "E3",
        "Events of a session are numbered from 1 without gaps in each log.",
        _LOGS,
        "session_sequence",
        "log_id, session_id",
        "session_id IS NOT NULL",
    ),
    Invariant(
        "E4",
        "Nobody has acknowledged more than there is.",
        rows_of("consumers"),
        "SELECT c.name FROM consumers c WHERE c.position > "
        "(SELECT coalesce(max(e.partner_position), 0) FROM events e WHERE e.partner_id = c.log_id) + "
        "(SELECT coalesce(max(e.channel_position), 0) FROM events e WHERE e.channel_id = c.log_id)",
    ),
    gapless("M1", "Messages of a session are numbered from 1 without gaps.", "messages", "sequence", "session_id"),
    Invariant(
        "M2",
        "A session counts its messages.",
        rows_of("sessions"),
        "SELECT s.id FROM sessions s LEFT JOIN messages m ON m.session_id = s.id "
        "GROUP BY s.id, s.message_count HAVING count(m.id) <> s.message_count",
    ),
    Invariant(
        "M3",
        "A person has at most one open session with a bot.",
        rows_of("sessions", "state = 'OPEN'"),
        "SELECT min(id) FROM sessions WHERE state = 'OPEN' GROUP BY bot_id, user_id HAVING count(*) > 1",
    ),
)
